//! `ledger.toml`: what is compiled, how it is loaded, and known differences.

use std::collections::BTreeMap;

use scx_lint::profile::{LoadProfile, MemberPath};
use serde::Deserialize;

use super::LedgerError;
use super::record::{Line, Theirs};
use crate::kernels::Series;
use crate::oracle::cases::Settings;

const PLAN: &str = include_str!("../../ledger.toml");

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Source packages, oldest first.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    #[serde(rename = "loader", default)]
    loaders: Vec<Loader>,
    #[serde(rename = "reason", default)]
    reasons: Vec<Reason>,
}

/// Where schedulers come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The kernel series they were written for.
    pub series: Series,
    /// The package.
    pub package: String,
}

/// What user space does to objects before it loads them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Loader {
    objects: Vec<String>,
    #[serde(default)]
    sources: Vec<Series>,
    #[serde(default)]
    set: BTreeMap<String, i64>,
    #[serde(default)]
    max_entries: BTreeMap<String, u32>,
    #[serde(default)]
    value_sizes: BTreeMap<String, u32>,
    #[serde(default)]
    no_autoload: Vec<String>,
    #[serde(default)]
    null: Vec<MemberPath>,
}

/// Why a kernel says something else than we do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    objects: Vec<String>,
    #[serde(default)]
    sources: Vec<Series>,
    theirs: Theirs,
    /// A part of what the kernel says, so that another failure is not taken for this one.
    says: String,
    because: String,
}

impl Plan {
    /// The plan in the tree.
    pub fn load() -> Result<Plan, LedgerError> {
        toml::from_str(PLAN).map_err(|source| LedgerError::Plan(Box::new(source)))
    }

    /// How user space loads an object: to the linter and to the guest.
    pub fn loader(&self, source: Series, object: &str) -> (LoadProfile, Settings) {
        let mut profile = LoadProfile::default();
        let mut settings = Settings {
            attach: Vec::new(),
            reached: true,
            set: BTreeMap::new(),
            max_entries: BTreeMap::new(),
            value_sizes: BTreeMap::new(),
            no_autoload: Vec::new(),
            null: Vec::new(),
            rule: None,
            btf: None,
        };
        for loader in &self.loaders {
            if !concerns(&loader.objects, &loader.sources, source, object) {
                continue;
            }
            profile.set.extend(
                loader
                    .set
                    .iter()
                    .map(|(name, value)| (name.clone(), i128::from(*value))),
            );
            profile
                .no_autoload
                .extend(loader.no_autoload.iter().cloned());
            profile.null.extend(loader.null.iter().cloned());
            settings.set.extend(loader.set.clone());
            settings.max_entries.extend(loader.max_entries.clone());
            settings.value_sizes.extend(loader.value_sizes.clone());
            settings
                .no_autoload
                .extend(loader.no_autoload.iter().cloned());
            settings.null.extend(loader.null.iter().cloned());
        }
        (profile, settings)
    }

    /// Why this line differs, if somebody knows.
    pub fn reason(&self, source: Series, object: &str, line: &Line) -> Option<&str> {
        let found = self.reasons.iter().find(|reason| {
            concerns(&reason.objects, &reason.sources, source, object)
                && line.theirs == Some(reason.theirs)
                && line.said.contains(&reason.says)
        });
        found.map(|reason| reason.because.as_str())
    }
}

/// Whether an entry of the plan is about an object; one without sources is about all of them.
fn concerns(objects: &[String], sources: &[Series], source: Series, object: &str) -> bool {
    (sources.is_empty() || sources.contains(&source)) && objects.iter().any(|name| name == object)
}
