//! The format of `rules/`: what a TOML file may say, before anything is checked against anything
//! else. `rules/README.md` is its manual. Everything serialises too, so that a table made from a
//! running kernel is written by the same types that read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::release::Release;

/// A text with its place in the file, for messages.
pub type Text = Spanned<String>;

/// One file. Any file of a table may hold any of these.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// What the table is; at most once, in `manifest.toml` by convention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Kernel releases, and what was looked at for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<ReleaseEntry>,
    /// When contexts are enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub era: Vec<EraEntry>,
    /// Mask bits and allow groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<ContextEntry>,
    /// Registration hooks and the program types they cover.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hook: Vec<HookEntry>,
    /// BTF kfunc id sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<SetEntry>,
    /// The kfuncs of the scheduler interface.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kfunc: Vec<KfuncEntry>,
    /// The struct_ops types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub struct_ops: Vec<StructOpsEntry>,
    /// Members that are programs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callback: Vec<CallbackEntry>,
    /// Members that are data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub field: Vec<FieldEntry>,
    /// What a release no longer has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedEntry>,
    /// Which kfuncs make the kernel call back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nesting: Vec<NestingEntry>,
    /// Calls that pass the kernel's own check and still end badly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hazard: Vec<HazardEntry>,
    /// Helpers and kfuncs that take a function.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taker: Vec<TakerEntry>,
    /// Kfuncs that open and close a region the verifier tracks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub region: Vec<RegionEntry>,
    /// BPF helper numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helpers: Option<HelpersEntry>,
    /// Kconfig values every kernel with this interface has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kconfig: Vec<KconfigEntry>,
    /// Names that no release of the table has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Kernel enums, a line per value.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub enums: Vec<EnumEntry>,
    /// Kernel structs and unions, a line per member.
    #[serde(rename = "struct", skip_serializing_if = "Vec::is_empty")]
    pub structs: Vec<StructEntry>,
    /// Other kfuncs, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_kfuncs: Vec<OtherEntry>,
    /// Typed ksym variables, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<OtherEntry>,
}

/// `[manifest]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub format: Spanned<u32>,
    /// One line on what the table describes.
    pub title: String,
    /// `"bundled"`: what is not said here is taken from the tables built into scx-lint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<Text>,
    /// With `extends`: the kinds of entry (`"kfunc"`, `"callback"`, …) not taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<Text>,
    /// With `extends`: the releases to keep; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Spanned<Release>>,
    /// Beginnings of kfunc names of which the table lists every one there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complete_prefixes: Vec<String>,
    /// Beginnings of struct, union and enum names of which the table lists every one there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complete_type_prefixes: Vec<String>,
}

/// How a fact is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A kernel was booted and asked.
    Measured,
    /// Source, BTF or a disassembled image was read.
    Read,
    /// Concluded from the releases around it.
    Inferred,
}

/// What a source speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Existence, sets, flags and registration of kfuncs.
    Kfuncs,
    /// The contexts kfuncs ask for.
    Requires,
    /// The C prototypes of kfuncs.
    Prototypes,
    /// Existence of struct_ops members.
    Members,
    /// Contexts of callbacks.
    Callbacks,
    /// Which callbacks may sleep.
    Sleepable,
    /// Nesting, hazards, and other behaviour at run time.
    Behaviour,
    /// Enum values.
    Enums,
    /// Structs and their members.
    Types,
    /// Kfuncs of other subsystems.
    OtherKfuncs,
}

impl Area {
    /// Every area; each release has to say how it knows each.
    pub const ALL: [Area; 10] = [
        Area::Kfuncs,
        Area::Requires,
        Area::Prototypes,
        Area::Members,
        Area::Callbacks,
        Area::Sleepable,
        Area::Behaviour,
        Area::Enums,
        Area::Types,
        Area::OtherKfuncs,
    ];

    /// As written in `rules/`.
    pub fn name(self) -> &'static str {
        match self {
            Area::Kfuncs => "kfuncs",
            Area::Requires => "requires",
            Area::Prototypes => "prototypes",
            Area::Members => "members",
            Area::Callbacks => "callbacks",
            Area::Sleepable => "sleepable",
            Area::Behaviour => "behaviour",
            Area::Enums => "enums",
            Area::Types => "types",
            Area::OtherKfuncs => "other-kfuncs",
        }
    }
}

/// `[[release]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseEntry {
    /// The series, `7.0`.
    pub version: Spanned<Release>,
    /// The newest point release looked at: what the series means when no point release is named.
    pub newest: Spanned<Release>,
    /// What is worth knowing about the series as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How its facts are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceEntry>,
}

/// `[[release.evidence]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceEntry {
    /// The kinds of fact it is about.
    pub of: Vec<Area>,
    /// Only for these kfuncs, callbacks or types; all of the area when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Text>,
    /// How it is known.
    pub status: Status,
    /// Where from.
    pub source: String,
}

/// When contexts are enforced, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcementEntry {
    /// At each call.
    RunTime,
    /// By the verifier.
    Load,
}

/// `[[era]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EraEntry {
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// When it checks.
    pub enforcement: Spanned<EnforcementEntry>,
    /// What it says when it refuses.
    pub message: String,
    /// What an asynchronous callback runs as.
    pub async_contexts: Vec<Text>,
    /// Whether asynchronous callbacks are also checked as part of the program that arms them.
    pub async_checked_as_armer: bool,
    /// Whether a nested callback keeps the contexts of the one outside.
    pub nested_inherits: bool,
    /// Whether the verifier takes an asynchronous callback for sleepable when the program that arms it
    /// is, whatever runs it.
    pub async_sleeps_with_program: bool,
    /// Whether the contexts of nested callbacks have to increase.
    pub nested_increases: bool,
    /// Where from.
    pub source: String,
}

/// `[[context]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContextEntry {
    /// `ENQUEUE`.
    pub name: Text,
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// The kernel's symbol.
    pub symbol: String,
    /// The kernel's value.
    pub value: u64,
    /// What it says to a kfunc of this context called from an operation nested inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested_error: Option<String>,
    /// Where from.
    pub source: String,
}

/// `[[hook]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HookEntry {
    /// `tracing`.
    pub name: Text,
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// The program types it covers.
    pub programs: Vec<Text>,
    /// What such programs run as when contexts are checked at run time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<Text>,
    /// Where from.
    pub source: String,
}

/// `[[set]]`, and `[[set.change]]` without a name.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetEntry {
    /// `enqueue_dispatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// First release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// The hooks it is registered for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Vec<Text>>,
    /// Whether programs of other struct_ops types may call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<bool>,
    /// Whether an extension of a scheduler's function may call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<bool>,
    /// The groups the verifier's filter asks for, any one of them; none when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Text>>,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How the source knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What later releases change; the rest stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<SetEntry>,
}

/// `[[kfunc]]`, and `[[kfunc.change]]` without a name.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KfuncEntry {
    /// As programs call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// First release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// First release that may already have it, when it is not known which did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// The id sets it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sets: Option<Vec<Text>>,
    /// What its body asks `scx_kf_allowed()` for, where contexts are checked at run time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Vec<Text>>,
    /// What it asks for, in place of what its mask or its sets say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<Vec<Text>>,
    /// `sleepable`, `rcu`, `rcu_protected`, `acquire`, `release`, `ret_null`, `implicit_args`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<Text>>,
    /// `void (struct task_struct *p, u64 flags)`, as programs declare it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prototype: Option<Text>,
    /// Refused to programs of cid-form schedulers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_only: Option<bool>,
    /// Ends the scheduler unless its task argument is the callback's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_task: Option<bool>,
    /// Ends the scheduler where the kernel knows of no locked run queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_rq: Option<bool>,
    /// This build's types keep its implicit arguments: `prototype` is with them, libbpf refuses what
    /// is declared without, and the verifier every call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<bool>,
    /// The kernel's own words on its deprecation; empty takes it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// What to call in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Vec<Text>>,
    /// What users should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where from, when it is not the release's own evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How the source knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What later releases change; the rest stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<KfuncEntry>,
}

/// Whether schedulers of a struct_ops type address CPUs by number or by topological id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `sched_ext_ops`.
    Cpu,
    /// `sched_ext_ops_cid`.
    Cid,
}

/// `[[struct_ops]]`, and `[[struct_ops.change]]` without a type.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StructOpsEntry {
    /// The struct's name.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<Text>,
    /// First release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// How its schedulers name CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// Its members are those of that other type, but for `without` and `rename`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<Text>,
    /// Members of the other type it lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<Vec<Text>>,
    /// Members of the other type that have another name here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rename: Option<BTreeMap<String, Text>>,
    /// Members of the other type that have another prototype here, by their name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prototype: Option<BTreeMap<String, Text>>,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How the source knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What later releases change; the rest stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<StructOpsEntry>,
}

/// What `scx_locked_rq()` gives inside a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockedRq {
    /// A run queue.
    Known,
    /// Nothing.
    None,
    /// Depends on where the kernel calls it from, or is not known.
    Depends,
}

/// When the kernel refuses a cpu-form scheduler that sets a callback of the cid form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CidOnly {
    /// No program for it loads.
    Load,
    /// Its programs load, and the scheduler does not register.
    Registration,
}

/// `[[callback]]`, and `[[callback.change]]` without a name.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallbackEntry {
    /// Member name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// The struct_ops types that have it; every type without `like` when absent.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<Text>>,
    /// First release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// First release that may already have it, when it is not known which did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// What it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contexts: Option<Vec<Text>>,
    /// Whether its program may sleep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleepable: Option<bool>,
    /// Whether the kernel records the task it is called for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_task: Option<bool>,
    /// It runs when the scheduler is already going away: being ended has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_anyway: Option<bool>,
    /// The run queue the kernel knows to be locked inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_rq: Option<LockedRq>,
    /// When the kernel refuses a cpu-form scheduler that sets it; not at all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid_only: Option<CidOnly>,
    /// The kernel's own words on its deprecation; empty takes it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// `s32 (struct task_struct *p, s32 prev_cpu, u64 wake_flags)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prototype: Option<Text>,
    /// The kernel functions that call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_from: Option<Vec<String>>,
    /// What users should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where from, when it is not the release's own evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How the source knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What later releases change; the rest stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<CallbackEntry>,
}

/// `[[field]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FieldEntry {
    /// Member names.
    pub names: Vec<Text>,
    /// The struct_ops types that have it; every type without `like` when absent.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<Text>>,
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// Size in bytes, which libbpf compares with the object's before it copies a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What users should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `[[removed]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedEntry {
    /// The kfunc that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kfunc: Option<Text>,
    /// The callback that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Text>,
    /// The data member that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Text>,
    /// The first release without it.
    pub since: Spanned<Release>,
}

/// `[[nesting]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NestingEntry {
    /// The kfuncs that make the kernel call back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kfuncs: Vec<Text>,
    /// The callbacks after or inside which it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Text>,
    /// What it calls.
    pub calls: Vec<Text>,
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// Later and outside (irq_work, balance callback, kthread): cannot nest, can loop.
    #[serde(default)]
    pub deferred: bool,
    /// With `deferred`: it follows every call at once, so that a callback which asks for it each time
    /// it runs never comes to an end.
    #[serde(default)]
    pub repeats: bool,
    /// The callback is a sub-scheduler's, not this object's.
    #[serde(default)]
    pub child: bool,
    /// The kernel functions on the way.
    pub chain: String,
    /// Where from.
    pub source: String,
    /// How the source knows.
    pub status: Status,
}

/// What a hazard ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HazardOutcome {
    /// The CPU or the machine locks up.
    Hangs,
    /// The kernel ends the scheduler.
    Killed,
    /// The call does something else than it seems to.
    Misbehaves,
}

/// Callbacks picked by what the tables say of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// The kernel does not record the task it is called for.
    NoTask,
    /// The kernel knows of no locked run queue.
    NoLockedRq,
    /// An asynchronous callback (timer, workqueue, task work).
    Async,
}

/// `[[hazard]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HazardEntry {
    /// Name for messages and tests.
    pub name: Text,
    /// The calls.
    pub kfuncs: Vec<Text>,
    /// In these callbacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Text>,
    /// Or in callbacks of this kind.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Spanned<Where>>,
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// First release that may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maybe_since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// Last release that may have it, when it is not known which was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maybe_until: Option<Spanned<Release>>,
    /// What happens.
    pub outcome: HazardOutcome,
    /// Why, in a sentence for the finding; lower case, no final stop.
    pub text: String,
    /// The kernel's message, if it prints one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where from.
    pub source: String,
    /// How the source knows.
    pub status: Status,
}

/// When a function that was handed over runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackTime {
    /// Before the call returns.
    Sync,
    /// From a BPF timer.
    Timer,
    /// From a BPF workqueue.
    Workqueue,
    /// From task work.
    TaskWork,
}

/// `[[taker]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TakerEntry {
    /// A helper's name (its number is in `[helpers]`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<Text>,
    /// A kfunc's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kfunc: Option<Text>,
    /// Which argument is the function, counted from 1 like the registers.
    pub function: Spanned<u8>,
    /// When it runs.
    pub runs: CallbackTime,
    /// Whether it may sleep there.
    #[serde(default)]
    pub sleepable: bool,
    /// `[from, to]`: the caller's argument `from` is the callee's argument `to`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<Spanned<[u8; 2]>>,
    /// The argument that says how often; at a constant 0 the function is never verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Spanned<u8>>,
    /// Where from.
    pub source: String,
}

/// What the verifier tracks between two kfuncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionKind {
    /// An RCU read section.
    Rcu,
    /// Preemption off.
    Preempt,
    /// Interrupts off.
    Irq,
    /// A resilient spin lock held.
    Lock,
}

/// `[[region]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegionEntry {
    /// What it is.
    pub kind: RegionKind,
    /// The kfuncs that open it.
    pub enter: Vec<Text>,
    /// The kfuncs that close it.
    pub leave: Vec<Text>,
    /// Where from.
    pub source: String,
}

/// `[helpers]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HelpersEntry {
    /// `id name`, a line each.
    pub ids: Text,
    /// Where from.
    pub source: String,
}

/// `[[kconfig]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KconfigEntry {
    /// `CONFIG_BPF`.
    pub name: Text,
    /// Its value (y is 1); absent when it is switched off or not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// First release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Spanned<Release>>,
    /// Last release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Spanned<Release>>,
    /// Where from.
    pub source: String,
}

/// `[[history]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    /// The names.
    pub names: Vec<Text>,
    /// What to use today.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub today: Vec<String>,
    /// What it was, or why no kernel has it; a sentence.
    pub text: String,
    /// Where from.
    pub source: String,
}

/// `[[enum]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnumEntry {
    /// The enum's name; empty for nameless ones.
    pub name: Text,
    /// When the enum itself is there; a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Text>,
    /// Whether a value that is not listed is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// `NAME VALUE [RANGE]`, a line each.
    pub values: Text,
}

/// `[[struct]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StructEntry {
    /// The struct's name.
    pub name: Text,
    /// A union, not a struct.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub union: bool,
    /// When the struct itself is there; a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Text>,
    /// Whether a member that is not listed is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// `member [: type] [RANGE]`, a line each.
    pub members: Text,
}

/// `[[other_kfuncs]]` and `[[variables]]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OtherEntry {
    /// Whether a kernel's configuration may leave them out: then they are never certain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config: bool,
    /// `name [RANGE]`, a line each.
    pub names: Text,
}
