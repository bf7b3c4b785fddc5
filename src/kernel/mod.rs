//! What one kernel version is: its kfuncs, callbacks, context groups, enums, types and Kconfig
//! values, and when it enforces them; built from `rules/` or from a kernel's BTF.
//! Knows nothing of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

mod assemble;
mod check;
mod context;
mod error;
mod facts;
pub mod format;
mod from_btf;
mod load;
mod model;
mod nearest;
mod query;
mod release;
mod selection;
mod tables;
mod target;
mod timeline;
mod types;

pub use context::{ContextInfo, Contexts, ProgramHooks};
pub use error::{Place, RulesError};
pub use model::*;
pub use release::{NotARelease, Release};
pub use selection::KernelSelection;
pub use tables::{KfuncHistory, NeverThere, Tables};

/// The most similar of `names`, at most three, best first; none when nothing is similar.
pub fn nearest_names<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    nearest::nearest(name, names)
}

/// One kernel, as far as we know it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Version.
    pub release: Release,
    /// How output names it: `6.12`, `7.0.13`, or the name of the BTF file.
    pub label: String,
    /// When contexts are enforced.
    pub enforcement: Enforcement,
    /// The remaining content is private to this module; use the methods.
    pub(crate) facts: Arc<Facts>,
}

/// Every timeline read at one point.
#[derive(Debug)]
pub(crate) struct Facts {
    point: release::Point,
    exact: Release,
    data: Arc<tables::Data>,
    contexts: Vec<ContextInfo>,
    async_contexts: Contexts,
    async_checked_as_armer: bool,
    nested_inherits: bool,
    async_sleeps_with_program: bool,
    nested_increases: bool,
    refusal: Arc<str>,
    hook_contexts: Vec<(ProgramHooks, Contexts)>,
    kfuncs: BTreeMap<Arc<str>, Kfunc>,
    uncertain_kfuncs: Vec<Arc<str>>,
    struct_ops: Vec<StructOpsType>,
    nesting: Vec<NestingEdge>,
    hazards: Vec<Hazard>,
    notes: Vec<String>,
    /// Whether the release is that of the kernel, not just of the most similar one.
    release_known: bool,
    /// What the kernel's own BTF says, which overrides the tables.
    btf: Option<&'static crate::btf::Btf<'static>>,
}
