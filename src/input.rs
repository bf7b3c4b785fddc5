//! Files in: mapped, never copied, so that a 20 MB arena section costs address space and no memory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// Nothing that is loaded into a kernel, and no host binary with such objects inside, comes near
/// this; offsets beyond it do not fit the formats.
pub const MAX_BYTES: u64 = 4 << 30;

/// A file whose bytes are at hand.
#[derive(Debug)]
pub struct Input {
    path: PathBuf,
    map: Mmap,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A directory was named.
    #[error("{}: is a directory; name the object files in it", path.display())]
    Directory {
        /// As given.
        path: PathBuf,
    },
    /// A pipe, socket or device.
    #[error("{}: is not a regular file; write the object to a file first", path.display())]
    NotAFile {
        /// As given.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("{}: is empty; the compiler may have failed while writing it", path.display())]
    Empty {
        /// As given.
        path: PathBuf,
    },
    /// More than [`MAX_BYTES`].
    #[error("{}: has {size} bytes, more than the {MAX_BYTES} that any object can have", path.display())]
    TooLarge {
        /// As given.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The system says no.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Input {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// For everything that is not a readable regular file with something in it.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let unreadable = |source| InputError::Unreadable {
            path: path.to_owned(),
            source,
        };
        // Before opening: to open a pipe would wait for its other end.
        let kind = fs::metadata(path).map_err(unreadable)?.file_type();
        if kind.is_dir() {
            return Err(InputError::Directory {
                path: path.to_owned(),
            });
        }
        if !kind.is_file() {
            return Err(InputError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size == 0 {
            return Err(InputError::Empty {
                path: path.to_owned(),
            });
        }
        if size > MAX_BYTES {
            return Err(InputError::TooLarge {
                path: path.to_owned(),
                size,
            });
        }
        // SAFETY: the map is private and read-only, so nothing in this process changes the bytes.
        // Another process can: bytes that change while they are read give a wrong or malformed
        // reading, which every reader here has to survive anyway; a file that is *truncated* in
        // that time ends this process with SIGBUS. That is accepted, as in other tools that map
        // their input: copying would cost the memory that mapping is here to save, and a truncated
        // object could not have been judged.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            map,
        })
    }

    /// The path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The contents.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(path: &Path) -> String {
        Input::open(path).unwrap_err().to_string()
    }

    #[test]
    fn each_unusable_file_has_one_clear_line() {
        let dir = std::env::temp_dir().join(format!("scx-lint-input-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = |name: &str| dir.join(name);
        fs::write(file("empty"), "").unwrap();
        File::create(file("huge"))
            .unwrap()
            .set_len(MAX_BYTES + 1)
            .unwrap();

        assert!(message(&dir).contains("is a directory; name the object files"));
        assert!(message(&file("empty")).contains("is empty"));
        assert!(message(&file("huge")).contains("more than the 4294967296"));
        assert!(message(&file("none")).contains("cannot be read: No such file"));
        assert!(message(Path::new("/dev/null")).contains("not a regular file"));
        for name in ["empty", "huge", "none"] {
            assert_eq!(message(&file(name)).lines().count(), 1);
        }
        fs::write(file("some"), "bytes").unwrap();
        assert_eq!(Input::open(&file("some")).unwrap().bytes(), b"bytes");
        fs::remove_dir_all(dir).unwrap();
    }
}
