//! Context groups: what a callback runs as and what a kfunc asks for.

/// A set of context names (mask bits or allow groups); see [`super::Kernel::context_names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Contexts(pub u64);

impl Contexts {
    /// No context at all: for a kfunc, that it asks for none.
    pub const NONE: Contexts = Contexts(0);

    /// Everything in either.
    pub fn union(self, other: Contexts) -> Contexts {
        Contexts(self.0 | other.0)
    }

    /// Whether something is in both.
    pub fn intersects(self, other: Contexts) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether everything of `other` is here too.
    pub fn contains(self, other: Contexts) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, one by one.
    pub fn iter(self) -> impl Iterator<Item = Contexts> {
        (0..u64::BITS)
            .map(|bit| Contexts(1 << bit))
            .filter(move |one| self.contains(*one))
    }
}

impl std::ops::BitOr for Contexts {
    type Output = Contexts;

    fn bitor(self, other: Contexts) -> Contexts {
        self.union(other)
    }
}

/// One context of one kernel, with the value and order the kernel gives it.
///
/// Up to 7.0 these are the bits of `enum scx_kf_mask` (include/linux/sched/ext.h, 6.12 to 7.0), and
/// their order is the order in which callbacks may nest; from 7.1 the groups of
/// `enum scx_kf_allow_flags` (kernel/sched/ext*), which do not nest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextInfo {
    /// This context as a set of one.
    pub context: Contexts,
    /// Its name: `ENQUEUE`.
    pub name: String,
    /// The kernel's symbol: `SCX_KF_ENQUEUE`.
    pub symbol: String,
    /// Its value there; 0 for the absence of a mask.
    pub value: u64,
    /// What the kernel says when a kfunc whose highest context is this one is called from an
    /// operation nested inside it; `None` when it does not check.
    pub nested_error: Option<String>,
}

/// Program kinds a kfunc is registered for, a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProgramHooks(pub u16);

impl ProgramHooks {
    /// Callbacks of the scheduler types that the tables describe.
    pub const STRUCT_OPS: ProgramHooks = ProgramHooks(1);
    /// Callbacks of any other struct_ops type.
    pub const FOREIGN_STRUCT_OPS: ProgramHooks = ProgramHooks(1 << 1);
    /// `SEC("syscall")`.
    pub const SYSCALL: ProgramHooks = ProgramHooks(1 << 2);
    /// fentry, fexit, fmod_ret, tp_btf, iterators.
    pub const TRACING: ProgramHooks = ProgramHooks(1 << 3);
    /// Tracepoints.
    pub const TRACEPOINT: ProgramHooks = ProgramHooks(1 << 4);
    /// Raw tracepoints.
    pub const RAW_TRACEPOINT: ProgramHooks = ProgramHooks(1 << 5);
    /// Perf events.
    pub const PERF_EVENT: ProgramHooks = ProgramHooks(1 << 6);
    /// LSM hooks.
    pub const LSM: ProgramHooks = ProgramHooks(1 << 7);
    /// kprobes, uprobes and their kin.
    pub const KPROBE: ProgramHooks = ProgramHooks(1 << 8);
    /// `freplace` of a function of a scheduler.
    pub const EXTENSION: ProgramHooks = ProgramHooks(1 << 9);

    /// Every kind with the name that `rules/` uses.
    pub const NAMED: [(&'static str, ProgramHooks); 10] = [
        ("struct_ops", Self::STRUCT_OPS),
        ("foreign_struct_ops", Self::FOREIGN_STRUCT_OPS),
        ("syscall", Self::SYSCALL),
        ("tracing", Self::TRACING),
        ("tracepoint", Self::TRACEPOINT),
        ("raw_tracepoint", Self::RAW_TRACEPOINT),
        ("perf_event", Self::PERF_EVENT),
        ("lsm", Self::LSM),
        ("kprobe", Self::KPROBE),
        ("extension", Self::EXTENSION),
    ];

    /// The kind of that name.
    pub fn named(name: &str) -> Option<ProgramHooks> {
        Self::NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, hook)| *hook)
    }

    /// Everything in either.
    pub fn union(self, other: ProgramHooks) -> ProgramHooks {
        ProgramHooks(self.0 | other.0)
    }

    /// What is here and not in `other`.
    pub fn without(self, other: ProgramHooks) -> ProgramHooks {
        ProgramHooks(self.0 & !other.0)
    }

    /// Whether every kind of `other` is here.
    pub fn contains(self, other: ProgramHooks) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the kinds in it.
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMED
            .iter()
            .filter(|(_, hook)| self.contains(*hook))
            .map(|(name, _)| *name)
            .collect()
    }
}
