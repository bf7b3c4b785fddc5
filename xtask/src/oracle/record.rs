//! What a kernel answered, as kept in `tests/oracle/<X.Y>.json`.
//!
//! Compiled into `cargo xtask oracle`, which writes the records, and into `tests/oracle.rs`, which
//! compares the linter with them without a kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why a record cannot be used.
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
    /// It is no record.
    #[error("{}: {source}; make it anew with `cargo xtask oracle`", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// All answers of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// The release (`7.0.13`), which is what the linter is asked about.
    pub release: String,
    /// `uname -v`: which build it was.
    pub build: String,
    /// The day it first answered so, `2026-11-20`.
    pub date: String,
    /// kfuncs this build lacks the true prototype of, so that no program that calls one loads,
    /// whatever its context.
    pub damaged: Vec<String>,
    /// What its verifier said to `scx-lint probe`.
    pub matrix: Matrix,
    /// What became of loading each fixture.
    pub load: Vec<Loaded>,
    /// What became of running each fixture that is a scheduler.
    pub run: Vec<Ran>,
}

/// The answers to the probe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Matrix {
    /// The kfuncs asked about, in the order of every [`Row::verdicts`].
    pub kfuncs: Vec<String>,
    /// Callbacks by struct_ops type.
    pub callbacks: BTreeMap<String, Vec<String>>,
    /// Data members by struct_ops type.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Values by enum.
    pub enums: BTreeMap<String, BTreeMap<String, i128>>,
    /// One row for each hook, target and sleepability.
    pub rows: Vec<Row>,
}

/// The answers for one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// A struct_ops type or a program kind.
    pub hook: String,
    /// A callback or what the program attached to.
    pub target: String,
    /// Whether the program could sleep.
    pub sleepable: bool,
    /// One letter for each kfunc, see the `judge` module; empty when no program loads there at all.
    pub verdicts: String,
}

/// Whether a fixture loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The fixture.
    pub case: String,
    /// [`fingerprint`] of the object that was loaded.
    pub object: String,
    /// The whole object.
    pub whole: LoadResult,
    /// Every program alone.
    pub programs: BTreeMap<String, LoadResult>,
}

/// Whether something loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadResult {
    /// It does.
    pub loads: bool,
    /// Why not: the decisive line of libbpf or the verifier.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// The answer comes from a defect of the kernel's build (see [`Record::damaged`]) and says
    /// nothing of the release.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defect: bool,
}

/// What became of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The fixture.
    pub case: String,
    /// [`fingerprint`] of the object that was run.
    pub object: String,
    /// The struct_ops map.
    pub map: String,
    /// How it ended.
    pub end: End,
    /// The decisive line of whoever ended it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// As in [`LoadResult`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defect: bool,
}

/// How a scheduler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It ran until it was taken away.
    Alive,
    /// The kernel ended it.
    Killed,
    /// The kernel did not take it: `BPF_LINK_CREATE` or enabling failed.
    NotAttached,
    /// It did not load.
    NotLoaded,
    /// The machine stood still or went down.
    Hung,
}

impl Record {
    /// Where the record of a series is kept.
    pub fn path(root: &Path, series: &str) -> PathBuf {
        root.join("tests/oracle").join(format!("{series}.json"))
    }

    /// Whether the answers about a fixture are there, and about this object of it.
    pub fn answers(&self, case: &str, object: &str, schedulers: &[String]) -> bool {
        let loaded = self.load.iter().find(|loaded| loaded.case == case);
        let ran = |map: &String| {
            let mut ran = self.run.iter().filter(|ran| ran.case == case);
            ran.any(|ran| ran.map == *map && ran.object == object)
        };
        loaded.is_some_and(|loaded| loaded.object == object) && schedulers.iter().all(ran)
    }

    /// Reads one.
    pub fn read(path: &Path) -> Result<Record, RecordError> {
        let text = std::fs::read(path).map_err(|source| RecordError::File {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| RecordError::Format {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes it, one item a line, so that a change is a readable difference.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let format = |source| RecordError::Format {
            path: path.to_owned(),
            source,
        };
        let text = self.text().map_err(format)?;
        std::fs::write(path, text).map_err(|source| RecordError::File {
            path: path.to_owned(),
            source,
        })
    }

    fn text(&self) -> Result<String, serde_json::Error> {
        let Matrix {
            kfuncs,
            callbacks,
            fields,
            enums,
            rows,
        } = &self.matrix;
        let mut text = String::from("{\n");
        put(&mut text, "release", line(&self.release)?);
        put(&mut text, "build", line(&self.build)?);
        put(&mut text, "date", line(&self.date)?);
        put(&mut text, "damaged", line(&self.damaged)?);
        text.push_str("\"matrix\": {\n");
        put(&mut text, "kfuncs", line(kfuncs)?);
        put(&mut text, "callbacks", line(callbacks)?);
        put(&mut text, "fields", line(fields)?);
        put(&mut text, "enums", line(enums)?);
        text.push_str(&format!("\"rows\": {}}},\n", lines(rows)?));
        put(&mut text, "load", lines(&self.load)?);
        text.push_str(&format!("\"run\": {}\n}}\n", lines(&self.run)?));
        Ok(text)
    }
}

fn put(text: &mut String, key: &str, value: String) {
    text.push_str(&format!("\"{key}\": {value},\n"));
}

fn line<T: Serialize>(item: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(item)
}

fn lines<T: Serialize>(items: &[T]) -> Result<String, serde_json::Error> {
    let items: Result<Vec<String>, _> = items.iter().map(serde_json::to_string).collect();
    Ok(format!("[\n{}\n]", items?.join(",\n")))
}

/// Tells whether an object is the one that was asked about: FNV-1a, 64 bits. It guards against
/// forgetting, not against forgery.
pub fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let result = LoadResult {
            loads: false,
            because: "a \"reason\"".into(),
            defect: false,
        };
        let record = Record {
            release: "7.0.13".into(),
            matrix: Matrix {
                kfuncs: vec!["f".into()],
                enums: BTreeMap::from([("e".into(), BTreeMap::from([("V".into(), -1)]))]),
                rows: vec![Row {
                    hook: "sched_ext_ops".into(),
                    target: "init".into(),
                    sleepable: true,
                    verdicts: "p".into(),
                }],
                ..Matrix::default()
            },
            load: vec![Loaded {
                case: "fifo".into(),
                object: fingerprint(b""),
                whole: result.clone(),
                programs: BTreeMap::from([("p".into(), result)]),
            }],
            ..Record::default()
        };
        assert_eq!(
            serde_json::from_str::<Record>(&record.text().unwrap()).unwrap(),
            record
        );
    }

    #[test]
    fn a_fingerprint_tells_objects_apart() {
        assert_eq!(fingerprint(b""), "cbf29ce484222325");
        assert_ne!(fingerprint(b"a"), fingerprint(b"b"));
    }
}
