//! Asking a running kernel: which callback may call which kfunc.
//!
//! Every question is one program that clears its argument registers and calls the kfunc. It is
//! handed to the verifier and dropped at once, loaded or not: nothing runs, nothing stays. What
//! to ask about (callbacks, kfuncs) comes from the kernel's own BTF.

pub mod answers;
pub mod command;
mod hooks;
mod record;
mod sys;
pub mod table;
pub mod types;
pub mod verdict;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use hooks::{HOOKS, Hook, STRUCT_OPS, Target};
pub use record::Record;
use sys::{Insn, LoadAs};
use types::{KernelTypes, KfuncType};
use verdict::Verdict;

/// Where a kernel shows its types.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The struct_ops types of sched_ext: the first every kernel with sched_ext has.
const SCHED_EXT: &[&str] = &["sched_ext_ops", "sched_ext_ops_cid"];

/// How the names of sched_ext's kfuncs begin.
const KFUNC_PREFIXES: &[&str] = &["scx_bpf_", "__scx_bpf_", "bpf_iter_scx_"];

/// The stack of a BPF program, in bytes.
const MAX_STACK: i32 = 512;

/// How the names of sched_ext's enum values begin.
const ENUM_PREFIX: &str = "SCX_";

/// Why a kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel shows no types.
    #[error(
        "cannot read {KERNEL_BTF}: {0}; the kernel must be built with CONFIG_DEBUG_INFO_BTF and \
         sysfs be mounted on /sys"
    )]
    NoBtf(io::Error),
    /// The types are not readable.
    #[error("{KERNEL_BTF}: {0}")]
    BadBtf(#[from] crate::btf::BtfError),
    /// A kernel without sched_ext.
    #[error("this kernel has no sched_ext (no struct {} in {KERNEL_BTF}); it must be 6.12 or newer and \
         built with CONFIG_SCHED_CLASS_EXT", SCHED_EXT[0])]
    NoSchedExt,
    /// Not allowed to load programs.
    #[error(
        "not allowed to load BPF programs ({0}): run as root (CAP_BPF and CAP_PERFMON are needed)"
    )]
    NoPrivilege(io::Error),
    /// Even a program that does nothing does not load.
    #[error("the verifier refuses a program that does nothing: {error}: {log}")]
    Verifier {
        /// What the system said.
        error: io::Error,
        /// What the verifier said.
        log: String,
    },
    /// The results could not be written.
    #[error("cannot write the results: {0}")]
    Output(io::Error),
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What is asked about now.
    pub hook: &'a str,
    /// The callback or attach target.
    pub target: &'a str,
    /// Questions asked.
    pub asked: usize,
}

/// An answer with the line that says why.
struct Answer {
    verdict: Verdict,
    /// The verifier's decisive line; empty when the program loaded.
    log: String,
}

/// A program that is known to load as long as it calls nothing.
#[derive(Clone, Copy)]
struct Baseline {
    what: LoadAs,
    arena: bool,
}

/// A kernel that can be asked.
pub struct Probe {
    types: KernelTypes,
    /// None on kernels (or machines) without arenas.
    arena: Option<OwnedFd>,
    log: RefCell<Vec<u8>>,
}

impl Probe {
    /// Opens the running kernel.
    pub fn open() -> Result<Probe, ProbeError> {
        let bytes = std::fs::read(KERNEL_BTF).map_err(ProbeError::NoBtf)?;
        let types = KernelTypes::parse(&bytes)?;
        if !SCHED_EXT
            .iter()
            .any(|name| types.struct_ops(name).is_some())
        {
            return Err(ProbeError::NoSchedExt);
        }
        let probe = Probe {
            types,
            arena: sys::create_arena().ok(),
            log: RefCell::default(),
        };
        // The first hook needs no target and no more privilege than the others.
        if let Some(hook) = HOOKS.first() {
            let what = LoadAs {
                program_type: hook.program_type,
                attach_type: hook.attach_type,
                attach_btf_id: 0,
                sleepable: true,
            };
            let loaded = probe.load(what, None, false);
            if let Some(error) = loaded.error {
                return Err(if error.raw_os_error() == Some(libc::EPERM) {
                    ProbeError::NoPrivilege(error)
                } else {
                    ProbeError::Verifier {
                        error,
                        log: loaded.log,
                    }
                });
            }
        }
        Ok(probe)
    }

    /// The kernel's types.
    pub fn types(&self) -> &KernelTypes {
        &self.types
    }

    /// Asks everything and hands over the records one by one.
    pub fn run(
        &self,
        emit: &mut dyn FnMut(Record) -> Result<(), ProbeError>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), ProbeError> {
        let (release, version) = kernel_name();
        emit(Record::Kernel { release, version })?;
        let kfuncs = self.types.kfuncs(KFUNC_PREFIXES);
        for kfunc in &kfuncs {
            emit(Record::Kfunc(kfunc.clone()))?;
        }
        for an_enum in self.types.enums(ENUM_PREFIX) {
            emit(Record::Enum(an_enum.clone()))?;
        }
        let mut asked = 0;
        for struct_ops in SCHED_EXT
            .iter()
            .filter_map(|name| self.types.struct_ops(name))
        {
            emit(Record::StructOps(struct_ops.clone()))?;
            for callback in &struct_ops.callbacks {
                progress(Progress {
                    hook: &struct_ops.name,
                    target: &callback.name,
                    asked,
                });
                let what = |sleepable| LoadAs {
                    program_type: STRUCT_OPS,
                    attach_type: callback.index,
                    attach_btf_id: struct_ops.id,
                    sleepable,
                };
                for sleepable in [false, true] {
                    let names = (struct_ops.name.as_str(), callback.name.as_str());
                    if let Some(baseline) = self.hook(names, what(sleepable), emit)? {
                        asked += self.calls(names, baseline, &kfuncs, false, emit)?;
                    }
                }
            }
        }
        for (hook, target, what) in self.other_hooks() {
            progress(Progress {
                hook,
                target: &target,
                asked,
            });
            let names = (hook, target.as_str());
            if let Some(baseline) = self.hook(names, what, emit)? {
                asked += self.calls(names, baseline, &kfuncs, true, emit)?;
            }
        }
        Ok(())
    }

    /// Whether a program for this hook loads when it calls nothing, and what it needs for that.
    fn hook(
        &self,
        (hook, target): (&str, &str),
        what: LoadAs,
        emit: &mut dyn FnMut(Record) -> Result<(), ProbeError>,
    ) -> Result<Option<Baseline>, ProbeError> {
        let (loaded, baseline) = self.baseline(what);
        emit(Record::Hook {
            hook: hook.to_owned(),
            target: target.to_owned(),
            sleepable: what.sleepable,
            verdict: match baseline {
                Some(_) => Verdict::Permitted,
                None => Verdict::HookRefused,
            },
            log: explanation(&loaded),
        })?;
        Ok(baseline)
    }

    fn baseline(&self, what: LoadAs) -> (sys::Loaded, Option<Baseline>) {
        let mut arena = false;
        let mut loaded = self.load(what, None, arena);
        if verdict::wants_arena(&loaded.log) && self.arena.is_some() {
            arena = true;
            loaded = self.load(what, None, arena);
        }
        let baseline = loaded.error.is_none().then_some(Baseline { what, arena });
        (loaded, baseline)
    }

    fn calls(
        &self,
        (hook, target): (&str, &str),
        baseline: Baseline,
        kfuncs: &[KfuncType],
        twins: bool,
        emit: &mut dyn FnMut(Record) -> Result<(), ProbeError>,
    ) -> Result<usize, ProbeError> {
        let mut asked = 0;
        // That a twin cannot be called does not depend on the callback; asking once per program
        // type is enough.
        for kfunc in kfuncs.iter().filter(|kfunc| twins || !kfunc.implicit_twin) {
            let answer = self.ask(baseline, kfunc);
            asked += 1;
            emit(Record::Call {
                hook: hook.to_owned(),
                target: target.to_owned(),
                kfunc: kfunc.name.clone(),
                sleepable: baseline.what.sleepable,
                verdict: answer.verdict,
                log: answer.log,
            })?;
        }
        Ok(asked)
    }

    /// One question.
    fn ask(&self, Baseline { what, arena }: Baseline, kfunc: &KfuncType) -> Answer {
        let mut loaded = self.load(what, Some(kfunc), arena);
        if !arena && verdict::wants_arena(&loaded.log) && self.arena.is_some() {
            loaded = self.load(what, Some(kfunc), true);
        }
        let (verdict, line) = verdict::classify(loaded.error.is_none(), &loaded.log);
        Answer {
            verdict,
            log: if line.is_empty() {
                explanation(&loaded)
            } else {
                line.to_owned()
            },
        }
    }

    fn load(&self, what: LoadAs, kfunc: Option<&KfuncType>, arena: bool) -> sys::Loaded {
        let mut program = Vec::with_capacity(16);
        if arena && let Some(arena) = &self.arena {
            program.extend(Insn::map(1, sys::raw(arena)));
        }
        if let Some(kfunc) = kfunc {
            program.extend((1..=5).map(|register| Insn::set(register, 0)));
            // The verifier looks at an iterator before it asks for the RCU section.
            if let Some(size) = kfunc.iterator {
                let size = i32::try_from(size.next_multiple_of(8)).unwrap_or(MAX_STACK);
                program.extend(Insn::stack(1, size.min(MAX_STACK)));
            }
            program.push(Insn::call_kfunc(
                i32::try_from(kfunc.id).unwrap_or(i32::MAX),
            ));
        }
        program.push(Insn::set(0, 0));
        program.push(Insn::exit());
        sys::load(what, &program, &mut self.log.borrow_mut())
    }

    /// Other program types, each with the first target that works, and every other struct_ops
    /// type by its first callback that works.
    fn other_hooks(&self) -> Vec<(&str, String, LoadAs)> {
        let mut found = Vec::new();
        for hook in HOOKS {
            for sleepable in [false, true] {
                found.extend(
                    self.first_that_loads(self.targets(hook, sleepable))
                        .map(|(target, what)| (hook.name, target, what)),
                );
            }
        }
        for name in self.types.struct_ops_names() {
            if SCHED_EXT.contains(&name) {
                continue;
            }
            let Some(struct_ops) = self.types.struct_ops(name) else {
                continue;
            };
            for sleepable in [false, true] {
                let candidates = struct_ops
                    .callbacks
                    .iter()
                    .map(|callback| {
                        let what = LoadAs {
                            program_type: STRUCT_OPS,
                            attach_type: callback.index,
                            attach_btf_id: struct_ops.id,
                            sleepable,
                        };
                        (callback.name.clone(), what)
                    })
                    .collect();
                found.extend(
                    self.first_that_loads(candidates)
                        .map(|(target, what)| (name, target, what)),
                );
            }
        }
        found
    }

    /// The first that loads, or, to say why none does, the last.
    fn first_that_loads(&self, candidates: Vec<(String, LoadAs)>) -> Option<(String, LoadAs)> {
        let mut last = None;
        for candidate in candidates {
            let loads = self.baseline(candidate.1).1.is_some();
            last = Some(candidate);
            if loads {
                break;
            }
        }
        last
    }

    fn targets(&self, hook: &Hook, sleepable: bool) -> Vec<(String, LoadAs)> {
        let what = |attach_btf_id| LoadAs {
            program_type: hook.program_type,
            attach_type: hook.attach_type,
            attach_btf_id,
            sleepable,
        };
        let named = |names: &[&str], id: &dyn Fn(&str) -> Option<u32>| {
            names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), what(id(name)?))))
                .collect()
        };
        match hook.target {
            Target::None => vec![(String::new(), what(0))],
            Target::Function(names) => named(names, &|name| self.types.function(name)),
            Target::Typedef(names) => named(names, &|name| self.types.typedef(name)),
        }
    }
}

/// The verifier's decisive line, or the error where it was silent.
fn explanation(loaded: &sys::Loaded) -> String {
    match &loaded.error {
        None => String::new(),
        Some(error) => {
            let line = verdict::decisive(&loaded.log);
            if line.is_empty() {
                error.to_string()
            } else {
                line.to_owned()
            }
        }
    }
}

/// `uname -r` and `uname -v`, as procfs has them.
fn kernel_name() -> (String, String) {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/kernel/{name}"))
            .map_or_else(|_| String::new(), |text| text.trim().to_owned())
    };
    (read("osrelease"), read("version"))
}
