//! `case.toml`: what a fixture is and what is expected of it. The format is described for people in
//! fixtures/README.md; this is the same for programs, and the place that checks it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A `case.toml`.
#[allow(dead_code, reason = "some members are for those who run the fixtures")]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// One sentence: what the object is.
    pub about: String,
    /// Nothing may be found, on any kernel that can run it.
    #[serde(default)]
    pub clean: bool,
    /// The rule that fires.
    pub rule: Option<String>,
    /// All rules that fire, when they are more than `rule`.
    #[serde(default)]
    pub fires: Vec<String>,
    /// Not an object at all, or not one of ours: exit status 2.
    #[serde(default)]
    pub bad: bool,
    /// The silent case nearest to this firing one.
    pub neighbour: Option<String>,
    /// The firing case this silent one stands beside.
    pub neighbour_of: Option<String>,
    /// `struct_ops` maps that are complete schedulers, each attached in turn.
    #[serde(default)]
    pub attach: Vec<String>,
    /// What has to happen for the bad call to be reached.
    pub stimulus: Option<Stimulus>,
    /// False when no run reaches the call that the verifier objects to.
    #[serde(default = "yes")]
    pub reached: bool,
    /// A folder of tables to use instead of the bundled ones.
    pub rules: Option<PathBuf>,
    /// The types of a kernel to use instead of the tables, made from the `kernel.c` beside it.
    pub btf: Option<PathBuf>,
    /// The release whose types those are.
    pub btf_of: Option<String>,
    /// How the object is made.
    #[serde(default)]
    pub build: Build,
    /// Outcomes other than `ok`.
    #[serde(default)]
    pub expect: Vec<Expectation>,
}

fn yes() -> bool {
    true
}

/// What drives a scheduler into its bad call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stimulus {
    /// Enabling it is enough.
    Enable,
    /// Tasks sleep and wake.
    Wake,
    /// A task is moved to another cgroup.
    CgroupMove,
}

/// How the object differs from a plain compilation of `<case>.bpf.c`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// More arguments for clang, after the common ones.
    #[serde(default)]
    pub args: Vec<String>,
    /// Compile without `-g`, so without BTF.
    #[serde(default)]
    pub no_debug: bool,
    /// Clang target, when not little-endian `bpfel`.
    pub target: Option<String>,
    /// Sources to link with `bpftool gen object`, when not one file.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Sections to remove afterwards.
    #[serde(default)]
    pub remove_sections: Vec<String>,
}

/// One expected outcome. Programs and kernels that no expectation names are `ok`.
#[allow(dead_code, reason = "some members are for those who run the fixtures")]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The program it concerns; without one, the object as a whole and so all of its programs.
    pub program: Option<String>,
    /// The kfunc at fault, by the name the kernel knows.
    pub kfunc: Option<String>,
    /// The rule that says so, when it is not the case's.
    pub rule: Option<String>,
    /// Kernels: `6.12`, `6.13..6.19`, `<=7.0`, `>=7.1`, `all`.
    pub kernels: String,
    /// As in the JSON output.
    pub outcome: Outcome,
    /// A `?` program or map: this is what loading it on request gives.
    #[serde(default)]
    pub optional: bool,
    /// The kernel accepts it and a finding is due all the same.
    #[serde(default)]
    pub finding: bool,
    /// It is registering the scheduler that fails, not loading a program.
    #[serde(default)]
    pub attach: bool,
    /// Holds under this load profile only; `scx` fills the `__SCX_*` variables.
    pub profile: Option<String>,
}

/// The outcomes of the JSON contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Runs.
    Ok,
    /// Loads, and the scheduler is ended when the call is reached.
    Killed,
    /// Loads, and reaching the call hangs the machine.
    Hangs,
    /// Does not load.
    Refused,
    /// The kernel lacks something the object needs.
    Unsupported,
    /// Cannot be analysed.
    Unknown,
}

/// A `case.toml` that does not say what it must.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Not readable.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not in the format.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: toml::de::Error,
    },
    /// In the format and contradicting itself.
    #[error("{}: {problem}", path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Case {
    /// Reads and checks `fixtures/<name>/case.toml`.
    pub fn read(root: &Path, name: &str) -> Result<Self, CaseError> {
        let path = root.join("fixtures").join(name).join("case.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(CaseError::Io { path, source }),
        };
        let case: Self = match toml::from_str(&text) {
            Ok(case) => case,
            Err(source) => return Err(CaseError::Format { path, source }),
        };
        match case.problem(root) {
            Some(problem) => Err(CaseError::Meaning { path, problem }),
            None => Ok(case),
        }
    }

    /// What the case says that cannot be, if anything.
    fn problem(&self, root: &Path) -> Option<String> {
        let kinds = [self.clean, self.rule.is_some(), self.bad];
        if kinds.iter().filter(|is| **is).count() != 1 {
            return Some(
                "exactly one of `clean = true`, `rule = \"...\"` and `bad = true` is needed"
                    .to_owned(),
            );
        }
        if self.rule.is_some() && self.neighbour.is_none() {
            return Some("a firing case names its silent `neighbour`".to_owned());
        }
        if self.btf.is_some() != self.btf_of.is_some() {
            return Some("`btf` and `btf_of` go together".to_owned());
        }
        let fires = self
            .rule
            .iter()
            .all(|rule| self.fires.is_empty() || self.fires.contains(rule));
        if !fires {
            return Some("`fires` does not list `rule`".to_owned());
        }
        let related = self.neighbour.iter().chain(&self.neighbour_of);
        for other in related {
            if !root
                .join("fixtures")
                .join(other)
                .join("case.toml")
                .is_file()
            {
                return Some(format!("the neighbour `{other}` is no case"));
            }
        }
        None
    }
}
