//! The fixtures, as the oracle needs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scx_lint::profile::MemberPath;
use serde::Deserialize;

use super::judge::Expected;
use super::record::fingerprint;

/// The rule of fixtures that show what the linter will not analyse.
const UNANALYSED: &str = "unverifiable";

/// What keeps a fixture from being asked about.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A `case.toml` that does not follow fixtures/README.md.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// No fixture of that name.
    #[error("no fixture is called `{0}`: a case is a folder of fixtures/ with a case.toml")]
    Unknown(String),
}

/// One fixture.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The object.
    pub object: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Tells this object from an older one.
    pub fingerprint: String,
    /// From its `case.toml`.
    pub settings: Settings,
}

/// What `case.toml` says to the oracle.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// The struct_ops maps that form schedulers.
    #[serde(default)]
    pub attach: Vec<String>,
    /// It is about a kernel that does not exist, of which this is the BTF: no real one is asked.
    pub btf: Option<PathBuf>,
    /// The rule it fires.
    pub rule: Option<String>,
    /// Whether what the fixture is about happens when it is driven.
    #[serde(default = "yes")]
    pub reached: bool,
    /// Variables that its user space sets.
    #[serde(default)]
    pub set: BTreeMap<String, i64>,
    /// Sizes it gives to maps.
    #[serde(default)]
    pub max_entries: BTreeMap<String, u32>,
    /// Sizes it gives to resizable arrays, by section.
    #[serde(default)]
    pub value_sizes: BTreeMap<String, u32>,
    /// Programs it does not load.
    #[serde(default)]
    pub no_autoload: Vec<String>,
    /// struct_ops members it clears.
    #[serde(default)]
    pub null: Vec<MemberPath>,
}

impl Case {
    /// What its `case.toml` says that bears on the comparison.
    pub fn expected(&self) -> Expected {
        Expected {
            reached: self.settings.reached,
            unanalysed: self.settings.rule.as_deref() == Some(UNANALYSED),
        }
    }
}

fn yes() -> bool {
    true
}

/// All fixtures of a repository, or those of these names, by name.
pub fn read(root: &Path, names: &[String]) -> Result<Vec<Case>, CaseError> {
    let directory = root.join("fixtures");
    let entries = std::fs::read_dir(&directory).map_err(at(&directory))?;
    let mut all: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("case.toml").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    all.sort_unstable();
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        return Err(CaseError::Unknown(unknown.clone()));
    }
    all.retain(|name| names.is_empty() || names.contains(name));
    let cases = all.into_iter().map(|name| one(&directory, name));
    cases
        .filter(|case| !case.as_ref().is_ok_and(|case| case.settings.btf.is_some()))
        .collect()
}

fn one(directory: &Path, name: String) -> Result<Case, CaseError> {
    let path = directory.join(&name).join("case.toml");
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    let settings = toml::from_str(&text).map_err(|source| CaseError::Format {
        path,
        source: Box::new(source),
    })?;
    let object = directory.join(&name).join(format!("{name}.bpf.o"));
    let bytes = std::fs::read(&object).map_err(at(&object))?;
    Ok(Case {
        fingerprint: fingerprint(&bytes),
        name,
        object,
        bytes,
        settings,
    })
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> CaseError {
    let path = path.to_owned();
    move |source| CaseError::File { path, source }
}
