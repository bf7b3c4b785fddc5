//! Why a file is not read at all.

/// A file that could not be read as a BPF object. One line: what, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct ObjectError {
    /// The file, as the user named it.
    pub path: String,
    /// What is wrong with it.
    pub cause: Cause,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// It cannot be opened or read.
    #[error("{reason}; check the path and its permissions")]
    Unreadable {
        /// The system's reason.
        reason: String,
    },
    /// It is a directory.
    #[error("is a directory; name the object files in it")]
    Directory,
    /// It has no bytes.
    #[error("the file is empty; compile the program again")]
    Empty,
    /// It does not start like an ELF file.
    #[error("not an ELF file; give an object compiled with `clang -g -target bpf -c`")]
    NotElf,
    /// A 32-bit ELF file.
    #[error("a 32-bit ELF file; BPF objects are 64-bit, compile with `clang -target bpf`")]
    Elf32,
    /// A big-endian ELF file.
    #[error("a big-endian object, which is not supported; compile with `clang -target bpfel`")]
    BigEndian,
    /// Another machine's ELF file.
    #[error("an ELF file for machine {machine}, not BPF; compile with `clang -target bpf`")]
    OtherMachine {
        /// `e_machine`.
        machine: u16,
    },
    /// An executable or shared object.
    #[error("an ELF file of type {kind}, not a relocatable object; give the output of `clang -c`")]
    NotRelocatable {
        /// `e_type`.
        kind: u16,
    },
    /// No symbol table.
    #[error("no symbol table; strip BPF objects with `llvm-strip -g`, which keeps it")]
    Stripped,
    /// Not what the format promises.
    #[error("{message} (byte {offset:#x}); the file is damaged, build it again")]
    Malformed {
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
    /// Its `.BTF` or `.BTF.ext` is damaged.
    #[error("{message} (byte {offset:#x}); the file is damaged, build it again")]
    Btf {
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
}

impl Cause {
    /// This cause, for a file.
    pub fn of(self, path: &str) -> ObjectError {
        ObjectError {
            path: path.to_owned(),
            cause: self,
        }
    }

    /// Where in the file, if one place can be named.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Cause::Malformed { offset, .. } | Cause::Btf { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    pub(super) fn malformed(offset: u64, message: impl Into<String>) -> Cause {
        Cause::Malformed {
            offset,
            message: message.into(),
        }
    }
}
