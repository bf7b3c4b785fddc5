//! `scx-lint kernels`: what the tables describe, and how each part of it is known.

use std::fmt;

use serde::Serialize;

use crate::kernel::{Area, Enforcement, Kernel, RulesError, Status, Tables};

/// The kernels of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelList {
    /// What the tables describe.
    pub title: String,
    /// One for each series, oldest first.
    pub kernels: Vec<KernelAnswer>,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelAnswer {
    /// `7.0`.
    pub kernel: String,
    /// The newest point release looked at, which `7.0` without a point release means.
    pub newest: String,
    /// When contexts are enforced: `run-time` or `load`.
    pub enforcement: &'static str,
    /// How many kfuncs of the scheduler interface it has.
    pub kfuncs: usize,
    /// The struct_ops types and how many callbacks each has.
    pub callbacks: Vec<(String, usize)>,
    /// How its facts are known.
    pub evidence: Vec<Evidence>,
    /// What changed between its point releases.
    pub changes: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// How some facts are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The kinds of fact.
    pub of: Vec<Area>,
    /// Only of these names; of all when empty.
    pub names: Vec<String>,
    /// How.
    pub status: Status,
    /// Where from.
    pub source: String,
}

/// What the tables describe.
pub fn kernels(tables: &Tables) -> Result<KernelList, RulesError> {
    let mut list = Vec::new();
    for release in tables.releases() {
        let kernel = tables.kernel(*release)?;
        let (evidence, notes) = tables.evidence(*release);
        list.push(KernelAnswer {
            kernel: release.to_string(),
            newest: kernel.exact_release().to_string(),
            enforcement: match kernel.enforcement {
                Enforcement::RunTime => "run-time",
                Enforcement::Load => "load",
            },
            kfuncs: kernel.kfuncs().count(),
            callbacks: kernel
                .struct_ops_types()
                .iter()
                .map(|struct_ops| (struct_ops.name.to_string(), struct_ops.callbacks.len()))
                .collect(),
            evidence: evidence
                .iter()
                .map(|evidence| Evidence {
                    of: evidence.of.clone(),
                    names: evidence
                        .names
                        .iter()
                        .map(|name| name.get_ref().clone())
                        .collect(),
                    status: evidence.status,
                    source: evidence.source.clone(),
                })
                .collect(),
            changes: tables.changes_inside(*release),
            notes: notes.to_vec(),
        });
    }
    Ok(KernelList {
        title: tables.title().to_owned(),
        kernels: list,
    })
}

impl KernelList {
    /// Only the series that some of `kernels` belong to.
    #[must_use]
    pub fn only(mut self, kernels: &[Kernel]) -> Self {
        let series: Vec<String> = kernels
            .iter()
            .map(|kernel| kernel.release.series().to_string())
            .collect();
        self.kernels
            .retain(|answer| series.contains(&answer.kernel));
        self
    }
}

impl fmt::Display for KernelList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for kernel in &self.kernels {
            let when = match kernel.enforcement {
                "load" => "contexts checked when a program is loaded",
                _ => "contexts checked when a kfunc is called",
            };
            writeln!(f, "\n{} (up to {}): {when}", kernel.kernel, kernel.newest)?;
            let callbacks: Vec<String> = kernel
                .callbacks
                .iter()
                .map(|(name, count)| format!("{count} callbacks of {name}"))
                .collect();
            writeln!(f, "  {} kfuncs, {}", kernel.kfuncs, callbacks.join(", "))?;
            for evidence in &kernel.evidence {
                let status = match evidence.status {
                    Status::Measured => "measured",
                    Status::Read => "read",
                    Status::Inferred => "inferred",
                };
                let of: Vec<&str> = evidence.of.iter().map(|area| area.name()).collect();
                let names = match evidence.names.as_slice() {
                    [] => String::new(),
                    names => format!(" of {}", names.join(", ")),
                };
                writeln!(
                    f,
                    "  {status:<8}  {}{names}: {}",
                    of.join(", "),
                    evidence.source
                )?;
            }
            for change in &kernel.changes {
                writeln!(f, "  changed   {change}")?;
            }
            for note in &kernel.notes {
                writeln!(f, "  note      {note}")?;
            }
        }
        Ok(())
    }
}
