//! What can be wrong with a table, a kernel's name or a kernel's BTF.

use std::fmt;
use std::path::PathBuf;

/// A place in a rules file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// File, as it was named or relative to the rules directory.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Place {
    /// The place `offset` bytes into the text of `file`.
    pub(crate) fn at(file: &str, text: &str, offset: usize) -> Place {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: file.to_owned(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        }
    }
}

/// A table that cannot be used, or a question it cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A directory or file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// It.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory without a single rules file.
    #[error("{}: no rules in it; a table is one or more *.toml files", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Something wrong at a place that can be pointed at.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What, and what would be right.
        message: String,
    },
    /// Something wrong with the table as a whole.
    #[error("{table}: {message}")]
    Incomplete {
        /// The table's name.
        table: String,
        /// What, and what would be right.
        message: String,
    },
    /// A kernel the table does not describe.
    #[error("the tables do not describe Linux {asked}; they describe {known}")]
    UnknownRelease {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// A `--kernel` that cannot be understood, or that selects nothing.
    #[error("`{text}` selects no kernel: {reason}")]
    Selection {
        /// As written.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A kernel's BTF that cannot be used.
    #[error("{path}: {message}")]
    KernelBtf {
        /// The file.
        path: String,
        /// Why not.
        message: String,
    },
}
