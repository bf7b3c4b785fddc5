//! The ledger as it is kept, `tests/ledger/<source>.toml`.
//!
//! Compiled into `cargo xtask ledger`, which writes it, and into `tests/ledger.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scx_lint::report::Outcome;
use serde::{Deserialize, Serialize};

/// What a kernel made of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Theirs {
    /// It loads; whether it runs was not asked.
    Loads,
    /// It loads, is attached, is driven, and stays until it is taken away.
    Runs,
    /// It does not load.
    Refused,
    /// It loads, and the kernel does not take it as a scheduler.
    NotAttached,
    /// It runs, and the kernel ends it.
    Killed,
    /// The machine stands still or goes down.
    Hangs,
    /// It does not load for a defect of this build of the kernel, which says nothing of the release.
    Damaged,
}

/// One object on one kernel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The kernel: a release if it was asked, else a series.
    pub kernel: String,
    /// Its verdict, if it was asked.
    pub theirs: Option<Theirs>,
    /// Ours.
    pub ours: Outcome,
    /// The kernel's (or libbpf's) decisive line.
    #[serde(default)]
    pub said: String,
    /// Our first reason.
    #[serde(default)]
    pub we: String,
    /// Why the two differ.
    #[serde(default)]
    pub reason: String,
}

impl Line {
    /// Whether the verdicts are the same, as far as the kernel gave one.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let Some(theirs) = self.theirs else {
            return true;
        };
        match theirs {
            Theirs::Loads => matches!(self.ours, Outcome::Ok | Outcome::Killed | Outcome::Hangs),
            Theirs::Runs => self.ours == Outcome::Ok,
            Theirs::Refused => matches!(self.ours, Outcome::Refused | Outcome::Unsupported),
            Theirs::NotAttached => false,
            Theirs::Killed => self.ours == Outcome::Killed,
            Theirs::Hangs => self.ours == Outcome::Hangs,
            Theirs::Damaged => true,
        }
    }
}

/// One object.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// `selftests/maximal`
    pub name: String,
    /// Tells it from an object compiled otherwise.
    pub fingerprint: String,
    /// What user space does before loading it, as options of the command line.
    #[serde(default)]
    pub profile: String,
    /// Oldest kernel first.
    pub on: Vec<Line>,
}

/// All objects of one source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The kernel release the sources are of.
    pub source: String,
    /// What compiled them.
    pub compiler: String,
    /// The linter's version.
    pub tool: String,
    /// The day our verdicts are of.
    pub linted: String,
    /// The day each kernel was asked.
    pub asked: BTreeMap<String, String>,
    /// By name.
    #[serde(rename = "object", default)]
    pub objects: Vec<Object>,
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no ledger.
    #[error("{}: {source}; make it anew with `cargo xtask ledger`", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
}

impl Ledger {
    /// Reads one; none if there is none yet.
    pub fn read(path: &Path) -> Result<Option<Ledger>, RecordError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| RecordError::File {
                path: path.to_owned(),
                source,
            })?,
        };
        let ledger = toml::from_str(&text).map_err(|source| RecordError::Format {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Some(ledger))
    }

    /// Writes it, one verdict a line, so that a change is a readable difference.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        std::fs::write(path, self.text()).map_err(|source| RecordError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// As it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# The kernel's own schedulers: what each kernel makes of them, and what we say.\n\
             # Written by `cargo xtask ledger`; do not edit.\n\n",
        );
        for (key, value) in [
            ("source", &self.source),
            ("compiler", &self.compiler),
            ("tool", &self.tool),
            ("linted", &self.linted),
        ] {
            text.push_str(&format!("{key} = {}\n", quoted(value)));
        }
        text.push_str("\n# The day each kernel was asked.\n[asked]\n");
        let mut asked: Vec<(&String, &String)> = self.asked.iter().collect();
        asked.sort_by_key(|(kernel, _)| version(kernel));
        for (kernel, date) in asked {
            text.push_str(&format!("{} = {}\n", quoted(kernel), quoted(date)));
        }
        for object in &self.objects {
            text.push_str(&format!("\n[[object]]\nname = {}\n", quoted(&object.name)));
            text.push_str(&format!("fingerprint = {}\n", quoted(&object.fingerprint)));
            if !object.profile.is_empty() {
                text.push_str(&format!("profile = {}\n", quoted(&object.profile)));
            }
            text.push_str("on = [\n");
            for line in &object.on {
                text.push_str(&line_text(line));
            }
            text.push_str("]\n");
        }
        text
    }
}

/// The numbers of a version, for sorting.
#[must_use]
pub fn version(text: &str) -> Vec<u32> {
    text.split('.')
        .map(|part| part.parse().unwrap_or(u32::MAX))
        .collect()
}

fn line_text(line: &Line) -> String {
    let mut text = format!("  {{ kernel = {}", quoted(&line.kernel));
    if let Some(theirs) = line.theirs {
        text.push_str(&format!(", theirs = {}", word(&theirs)));
    }
    text.push_str(&format!(", ours = {}", word(&line.ours)));
    for (key, value) in [
        ("said", &line.said),
        ("we", &line.we),
        ("reason", &line.reason),
    ] {
        if !value.is_empty() {
            text.push_str(&format!(", {key} = {}", quoted(value)));
        }
    }
    text.push_str(" },\n");
    text
}

/// A value of an enum as serde names it.
fn word<T: Serialize>(value: &T) -> String {
    toml::Value::try_from(value).map_or_else(|_| quoted(""), |value| value.to_string())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
