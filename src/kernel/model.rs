//! What the tables say of one kernel, in the words the rest of scx-lint uses.

use std::sync::Arc;

use super::context::{Contexts, ProgramHooks};
pub use super::format::{
    Area, CallbackTime, CidOnly, Form, HazardOutcome, LockedRq, RegionKind, Status,
};
use super::release::Release;
use crate::btf::prototype::Prototype;

/// Whether a kernel has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It has it.
    Present,
    /// It does not.
    Absent,
    /// The tables do not say: explore both ways.
    Unknown,
}

/// What libbpf finds when it looks a kfunc up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SymbolMatch {
    /// It is there and its prototype fits.
    Present,
    /// It is not there.
    Absent,
    /// It is there with another prototype: absent to a weak extern, fatal to a strong one.
    PrototypeMismatch,
    /// The tables do not say: explore both ways.
    Unknown,
}

/// The value of a `__kconfig` extern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KconfigValue {
    /// This value; `y` is 1.
    Known(u64),
    /// The bits of `mask` are those of `value`, the others are not known.
    Bits {
        /// Known bits.
        value: u64,
        /// Which bits are known.
        mask: u64,
    },
    /// Not set: 0 to a weak extern, fatal to a strong one.
    Absent,
    /// Depends on the kernel's configuration.
    Unknown,
}

/// When a kernel checks the context of a kfunc call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// `scx_kf_allowed()` at each call; the scheduler is killed (up to 7.0).
    RunTime,
    /// `scx_kfunc_context_filter()` in the verifier; the load is refused (from 7.1).
    Load,
}

/// How a fact is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNote {
    /// Where from.
    pub text: String,
    /// How.
    pub status: Status,
}

/// A kfunc attribute (`KF_*`, include/linux/btf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// Returns a reference (`KF_ACQUIRE`).
    Acquire,
    /// Consumes a reference (`KF_RELEASE`).
    Release,
    /// May return NULL (`KF_RET_NULL`).
    RetNull,
    /// Arguments have to be trusted (`KF_TRUSTED_ARGS`; the default from 7.0).
    TrustedArgs,
    /// Only from programs that may sleep (`KF_SLEEPABLE`).
    Sleepable,
    /// Pointer arguments are RCU or trusted (`KF_RCU`).
    Rcu,
    /// Only inside an RCU read section (`KF_RCU_PROTECTED`).
    RcuProtected,
    /// Iterator constructor (`KF_ITER_NEW`).
    IterNew,
    /// Iterator step (`KF_ITER_NEXT`).
    IterNext,
    /// Iterator destructor (`KF_ITER_DESTROY`).
    IterDestroy,
    /// The kernel appends arguments programs do not pass (`KF_IMPLICIT_ARGS`).
    ImplicitArgs,
    /// Returns a pointer into the program's arena (`KF_ARENA_RET`).
    ArenaRet,
    /// Takes pointers into the program's arena (`KF_ARENA_ARG1`, `KF_ARENA_ARG2`).
    ArenaArgs,
    /// Destructive (`KF_DESTRUCTIVE`).
    Destructive,
    /// Takes an iterator that is valid only in the RCU read section in which it was made
    /// (kernel/bpf/verifier.c, `is_iter_reg_valid_init`).
    RcuIterator,
}

impl Flag {
    /// Every flag with the name that `rules/` uses.
    pub const NAMED: [(&'static str, Flag); 15] = [
        ("acquire", Flag::Acquire),
        ("release", Flag::Release),
        ("ret_null", Flag::RetNull),
        ("trusted_args", Flag::TrustedArgs),
        ("sleepable", Flag::Sleepable),
        ("rcu", Flag::Rcu),
        ("rcu_protected", Flag::RcuProtected),
        ("iter_new", Flag::IterNew),
        ("iter_next", Flag::IterNext),
        ("iter_destroy", Flag::IterDestroy),
        ("implicit_args", Flag::ImplicitArgs),
        ("arena_ret", Flag::ArenaRet),
        ("arena_args", Flag::ArenaArgs),
        ("destructive", Flag::Destructive),
        ("rcu_iterator", Flag::RcuIterator),
    ];

    /// The flag of that name.
    pub fn named(name: &str) -> Option<Flag> {
        Self::NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, flag)| *flag)
    }

    /// The name of the flag.
    pub fn name(self) -> &'static str {
        Self::NAMED
            .iter()
            .find(|(_, flag)| *flag == self)
            .map_or("", |(name, _)| *name)
    }
}

/// The kernel's notice that something goes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deprecation {
    /// The kernel's own words.
    pub message: Arc<str>,
    /// First release that says so.
    pub since: Release,
}

/// A kfunc of the scheduler interface, in one kernel.
#[derive(Debug, Clone)]
pub struct Kfunc {
    /// As programs call it.
    pub name: Arc<str>,
    /// What it asks of its context, any one of these; empty when it may be called from anywhere.
    pub requires: Contexts,
    /// Only from programs that may sleep.
    pub sleepable: bool,
    /// Only inside an RCU read section, which a program that cannot sleep always is.
    pub rcu_protected: bool,
    /// Takes an iterator that is valid only in the RCU read section in which it was made.
    pub rcu_iterator: bool,
    /// All its attributes.
    pub flags: Vec<Flag>,
    /// The program kinds it is registered for.
    pub hooks: ProgramHooks,
    /// Refused to cid-form schedulers.
    pub cpu_only: bool,
    /// Ends the scheduler unless its task argument is the callback's own task.
    pub own_task: bool,
    /// Ends the scheduler where the kernel knows of no locked run queue.
    pub locked_rq: bool,
    /// This build's types keep its implicit arguments and lack its true prototype: libbpf refuses
    /// what is declared as every other build has it, and the verifier every call.
    pub damaged: bool,
    /// C prototype, without a name: `void (struct task_struct *p)`.
    pub prototype_text: Option<Arc<str>>,
    /// The same as libbpf compares it, implicit arguments left out.
    pub prototype: Option<Arc<Prototype>>,
    /// The kernel announces its end.
    pub deprecated: Option<Deprecation>,
    /// What to call in its place.
    pub replaced_by: Vec<Arc<str>>,
    /// The id sets it is in.
    pub group: Vec<Arc<str>>,
    /// What users should know.
    pub note: Option<Arc<str>>,
}

impl Kfunc {
    /// Whether a build that has the kfunc as `here`, with or without a twin for its true prototype,
    /// keeps the implicit arguments that programs do not pass.
    pub(crate) fn keeps_implicit_arguments(&self, here: &Prototype, twin: bool) -> bool {
        let declared = self
            .prototype_text
            .as_deref()
            .and_then(|text| Prototype::parse(text).ok());
        self.flags.contains(&Flag::ImplicitArgs)
            && !twin
            && declared.is_some_and(|declared| declared.params.len() < here.params.len())
    }
}

/// A struct_ops type, in one kernel.
#[derive(Debug, Clone)]
pub struct StructOpsType {
    /// `sched_ext_ops`.
    pub name: Arc<str>,
    /// How its schedulers name CPUs.
    pub form: Form,
    /// Members that are programs, by name.
    pub callbacks: Vec<Callback>,
    /// Members that are data, by name.
    pub fields: Vec<Arc<str>>,
    /// Sizes of data members in bytes, where they are known.
    pub field_bytes: Vec<(Arc<str>, u64)>,
}

impl StructOpsType {
    /// The callback of that name.
    pub fn callback(&self, name: &str) -> Option<&Callback> {
        let index = self
            .callbacks
            .binary_search_by(|callback| (*callback.name).cmp(name))
            .ok()?;
        self.callbacks.get(index)
    }

    /// Whether the kernel's struct has a member of that name, program or data.
    pub fn has_member(&self, name: &str) -> bool {
        self.callback(name).is_some() || self.fields.iter().any(|field| **field == *name)
    }
}

/// A member of a struct_ops type that is a program, in one kernel.
#[derive(Debug, Clone)]
pub struct Callback {
    /// Member name: `cpuctl_move`.
    pub name: Arc<str>,
    /// The name of the same callback in the type this one is derived from: `cgroup_move`. Facts
    /// about callbacks (nesting, hazards) use it.
    pub role: Arc<str>,
    /// The struct it is a member of.
    pub struct_ops: Arc<str>,
    /// Whether that is a cid-form type.
    pub form: Form,
    /// What it runs as.
    pub contexts: Contexts,
    /// Whether its program may sleep.
    pub sleepable: bool,
    /// Whether the kernel records the task it is called for.
    pub records_task: bool,
    /// It runs when the scheduler is already going away: a call the kernel ends it for is not seen.
    pub ends_anyway: bool,
    /// The run queue the kernel knows to be locked inside.
    pub locked_rq: LockedRq,
    /// The kernel refuses a scheduler of this type that sets it.
    pub attach_refused: bool,
    /// Nor does any program for it load.
    pub program_refused: bool,
    /// The kernel announces its end.
    pub deprecated: Option<Deprecation>,
    /// C prototype, without a name.
    pub prototype_text: Option<Arc<str>>,
    /// The kernel functions that call it.
    pub called_from: Vec<Arc<str>>,
    /// What users should know.
    pub note: Option<Arc<str>>,
}

/// What may be called from where, all things considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// It may.
    Permitted,
    /// The callback's context is not one of those the kfunc asks for.
    WrongContext,
    /// The kfunc is for cpu-form schedulers and the callback is a cid-form one's.
    CpuOnly,
}

/// How something that calls back is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NestingSource {
    /// A call of this kfunc.
    Kfunc(Arc<str>),
    /// The kernel's own code around this callback (by role).
    Callback(Arc<str>),
}

/// A way in which the kernel calls a callback because of something a program did.
#[derive(Debug, Clone)]
pub struct NestingEdge {
    /// What makes it call.
    pub from: NestingSource,
    /// What it calls (by role).
    pub to: Arc<str>,
    /// Later and outside: cannot nest, can loop.
    pub deferred: bool,
    /// Deferred, and following every call at once: asked for by the callback it calls, it has no end.
    pub repeats: bool,
    /// The callback is a sub-scheduler's.
    pub child: bool,
    /// The kernel functions on the way.
    pub chain: Arc<str>,
    /// Where from.
    pub source: SourceNote,
}

/// Calls that pass the kernel's own check and end badly all the same.
#[derive(Debug, Clone)]
pub struct Hazard {
    /// Its name in `rules/hazards.toml`.
    pub name: Arc<str>,
    /// What happens.
    pub outcome: HazardOutcome,
    /// Why; one sentence, lower case, no final stop.
    pub text: Arc<str>,
    /// The kernel's message, if it prints one.
    pub message: Option<Arc<str>>,
    /// Where from.
    pub source: SourceNote,
    pub(crate) kfuncs: Vec<Arc<str>>,
    pub(crate) callbacks: Vec<Arc<str>>,
    pub(crate) place: Option<super::format::Where>,
}

/// A helper or kfunc that takes a function, and what it does with it.
#[derive(Debug, Clone)]
pub struct CallbackTaker {
    /// The helper's number, when it is one.
    pub helper: Option<u32>,
    /// The helper's or kfunc's name.
    pub name: Arc<str>,
    /// The argument that is the function, counted from 1 like the registers.
    pub function: u8,
    /// When the function runs.
    pub runs: CallbackTime,
    /// Whether it may sleep there.
    pub sleepable: bool,
    /// `(from, to)`: the caller's argument `from` is the callee's argument `to`, both from 1.
    pub passes: Vec<(u8, u8)>,
    /// The argument that says how often; at a constant 0 the function is never verified.
    pub count: Option<u8>,
}

impl CallbackTaker {
    /// Whether the function runs before the call returns.
    pub fn is_sync(&self) -> bool {
        self.runs == CallbackTime::Sync
    }
}

/// What a call of a kfunc does to an RCU read section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RcuEffect {
    /// Opens one.
    Lock,
    /// Closes one.
    Unlock,
}

/// A kfunc that opens or closes a region the verifier tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegionEffect {
    /// The kind of region.
    pub kind: RegionKind,
    /// Opens it; closes it when false.
    pub enters: bool,
}
