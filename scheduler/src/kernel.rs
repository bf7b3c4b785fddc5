//! What the running kernel is: release, sched_ext state, types, topology.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::{fmt, fs};

use libbpf_rs::btf::{Btf, ReferencesType, types};
use thiserror::Error;

use crate::intf::{MAX_CPUS, MAX_LLCS};

const SCHED_EXT: &str = "/sys/kernel/sched_ext";
const CPUS: &str = "/sys/devices/system/cpu";
/// The first release with sched_ext.
const OLDEST: (u32, u32) = (6, 12);

/// Why this machine cannot run the scheduler.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Not enough privilege.
    #[error("loading a scheduler needs root; run it with sudo")]
    NotRoot,
    /// The kernel is older than sched_ext.
    #[error("Linux {0} has no sched_ext; 6.12 is the first release that does")]
    TooOld(String),
    /// The kernel was built without sched_ext.
    #[error(
        "Linux {0} was built without sched_ext (no {SCHED_EXT}); it needs CONFIG_SCHED_CLASS_EXT=y"
    )]
    NoSchedExt(String),
    /// Another scheduler is in place.
    #[error("the sched_ext scheduler `{0}` is enabled already; stop it first")]
    OtherScheduler(String),
    /// The kernel's type information cannot be read.
    #[error("cannot read the kernel's type information, which CONFIG_DEBUG_INFO_BTF=y provides")]
    NoBtf(#[source] libbpf_rs::Error),
    /// A file of the kernel's cannot be read or understood.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The kernel's types are unusable for what most modes need.
    #[error(
        "this kernel's types list `scx_bpf_create_dsq` with a hidden argument, so that no program \
         can call it: a defect of the pahole it was built with, known of some 7.1 and 7.2 \
         packages; `--mode fifo` does without"
    )]
    NoQueues,
    /// More CPUs than the BPF half has room for.
    #[error("{0} possible CPUs, and the scheduler knows {MAX_CPUS}; raise MAX_CPUS in bpf/intf.h")]
    TooManyCpus(usize),
}

/// Checks what can be checked before anything is opened.
///
/// # Errors
/// The first of [`KernelError`]'s reasons that holds.
pub fn check() -> Result<(), KernelError> {
    let sched_ext = Path::new(SCHED_EXT).is_dir();
    Situation {
        release: release()?,
        state: if sched_ext { Some(state()?) } else { None },
        // SAFETY: geteuid has no preconditions and cannot fail.
        root: unsafe { libc::geteuid() } == 0,
    }
    .judge(|| {
        let name = fs::read_to_string(format!("{SCHED_EXT}/root/ops"));
        name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
    })
}

/// What decides whether a scheduler can be loaded at all.
struct Situation {
    release: String,
    /// The state of sched_ext, where there is one.
    state: Option<String>,
    root: bool,
}

impl Situation {
    /// `other` names the scheduler in place; it is asked only when there is one.
    fn judge(self, other: impl FnOnce() -> String) -> Result<(), KernelError> {
        if series(&self.release).is_some_and(|series| series < OLDEST) {
            return Err(KernelError::TooOld(self.release));
        }
        let Some(state) = self.state else {
            return Err(KernelError::NoSchedExt(self.release));
        };
        if !self.root {
            return Err(KernelError::NotRoot);
        }
        if state != "disabled" {
            return Err(KernelError::OtherScheduler(other()));
        }
        Ok(())
    }
}

/// The release, as `uname -r` prints it.
///
/// # Errors
/// When procfs is not mounted.
pub fn release() -> Result<String, KernelError> {
    read("/proc/sys/kernel/osrelease")
}

/// The state of sched_ext: `enabled`, `disabled` or a transition.
///
/// # Errors
/// When the kernel has no such file.
pub fn state() -> Result<String, KernelError> {
    read(&format!("{SCHED_EXT}/state"))
}

/// How often CPUs have come and gone; the kernel refuses a scheduler that was
/// prepared before the last change.
pub fn hotplug_seq() -> Option<u64> {
    read(&format!("{SCHED_EXT}/hotplug_seq")).ok()?.parse().ok()
}

fn read(path: &str) -> Result<String, KernelError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(KernelError::File {
            path: path.to_owned(),
            what: error.to_string(),
        }),
    }
}

/// Major and minor number of a release.
fn series(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What the loader asks of the kernel's types.
#[derive(Debug, Default)]
pub struct KernelTypes {
    ops_members: HashSet<String>,
    enumerators: HashMap<String, u64>,
    /// Local DSQs can be emptied from anywhere, and `cpu_release` is deprecated.
    pub reenqueues_from_anywhere: bool,
    /// Programs can create dispatch queues.
    pub has_queues: bool,
}

impl KernelTypes {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// When the kernel has no BTF.
    pub fn of_running_kernel() -> Result<Self, KernelError> {
        let btf = Btf::from_vmlinux().map_err(KernelError::NoBtf)?;
        let mut found = Self::default();
        if let Some(ops) = btf.type_by_name::<types::Struct<'_>>("sched_ext_ops") {
            for member in ops.iter() {
                found.ops_members.extend(member.name.map(lossy));
            }
        }
        for kind in btf.type_by_kind::<types::Enum64<'_>>() {
            for member in kind.iter() {
                found.note(member.name, member.value as u64);
            }
        }
        for kind in btf.type_by_kind::<types::Enum<'_>>() {
            for member in kind.iter() {
                found.note(member.name, member.value as u64);
            }
        }
        found.reenqueues_from_anywhere = btf
            .type_by_name::<types::Func<'_>>("scx_bpf_reenqueue_local___v2")
            .is_some();
        // A prototype libbpf cannot match counts as absent.
        found.has_queues = btf
            .type_by_name::<types::Func<'_>>("scx_bpf_create_dsq")
            .and_then(|function| types::FuncProto::try_from(function.referenced_type()).ok())
            .is_some_and(|proto| proto.len() == 2);
        Ok(found)
    }

    fn note(&mut self, name: Option<&std::ffi::OsStr>, value: u64) {
        if let Some(name) = name.and_then(std::ffi::OsStr::to_str)
            && name.starts_with("SCX_")
        {
            self.enumerators.insert(name.to_owned(), value);
        }
    }

    /// Whether `struct sched_ext_ops` has this member.
    pub fn has_ops_member(&self, name: &str) -> bool {
        self.ops_members.contains(name)
    }

    /// The value of one of sched_ext's enumerators.
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.enumerators.get(name).copied()
    }
}

fn lossy(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// CPUs and the last-level caches they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// For each possible CPU the number of its last-level cache, from 0.
    pub llc_of_cpu: Vec<u32>,
    /// The CPUs that are online.
    pub online: Vec<usize>,
}

impl Topology {
    /// Reads this machine's. Where a CPU's caches are not known (offline, or
    /// a machine that does not say) it counts to the first.
    ///
    /// # Errors
    /// When the list of CPUs cannot be read or is longer than the BPF half's.
    pub fn of_machine() -> Result<Self, KernelError> {
        let path = format!("{CPUS}/possible");
        let list = read(&path)?;
        let cpus = last_of(&list)
            .map(|last| last + 1)
            .ok_or(KernelError::File {
                path,
                what: format!("`{list}` is not a list of CPUs"),
            })?;
        if cpus > MAX_CPUS {
            return Err(KernelError::TooManyCpus(cpus));
        }
        let online = list_of(&read(&format!("{CPUS}/online"))?);
        Ok(Self {
            llc_of_cpu: number_caches((0..cpus).map(last_cache_id)),
            online,
        })
    }

    /// How many CPUs there can be.
    pub fn nr_cpus(&self) -> usize {
        self.llc_of_cpu.len()
    }

    /// How many last-level caches there are.
    pub fn nr_llcs(&self) -> u32 {
        self.llc_of_cpu.iter().max().map_or(1, |last| last + 1)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpus, caches) = (self.online.len(), self.nr_llcs());
        let (an_s, another) = (
            if cpus == 1 { "" } else { "s" },
            if caches == 1 { "" } else { "s" },
        );
        write!(
            f,
            "{cpus} CPU{an_s} with {caches} last-level cache{another}"
        )
    }
}

/// Numbers the caches in the order they appear.
fn number_caches(ids: impl Iterator<Item = Option<String>>) -> Vec<u32> {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let llc_of_cpu = ids.map(|id| {
        let next = numbers.len() as u32;
        let number = id.map_or(0, |id| *numbers.entry(id).or_insert(next));
        // Caches past the BPF half's room share the last lanes.
        number.min(MAX_LLCS as u32 - 1)
    });
    llc_of_cpu.collect()
}

/// The last number of a list such as `0-3,8-11`.
fn last_of(list: &str) -> Option<usize> {
    list.rsplit([',', '-']).next()?.parse().ok()
}

/// All numbers of such a list, as far as there can be CPUs.
fn list_of(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?.min(MAX_CPUS))
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// Names the CPU's cache of the highest level: level and the CPUs that share it.
fn last_cache_id(cpu: usize) -> Option<String> {
    let dir = fs::read_dir(format!("{CPUS}/cpu{cpu}/cache")).ok()?;
    dir.flatten()
        .filter_map(|entry| {
            let level = fs::read_to_string(entry.path().join("level")).ok()?;
            let shared = fs::read_to_string(entry.path().join("shared_cpu_list")).ok()?;
            Some((level.trim().parse::<u32>().ok()?, shared.trim().to_owned()))
        })
        .max()
        .map(|(level, shared)| format!("{level}:{shared}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn releases_have_a_series() {
        assert_eq!(series("6.12.117-amd64"), Some((6, 12)));
        assert_eq!(series("7.3"), Some((7, 3)));
        assert_eq!(series("nonsense"), None);
    }

    #[test]
    fn the_first_obstacle_is_named() {
        let judge = |release: &str, state: Option<&str>, root| {
            let situation = Situation {
                release: release.to_owned(),
                state: state.map(str::to_owned),
                root,
            };
            let verdict = situation.judge(|| "simple".to_owned());
            verdict.map_err(|error| error.to_string())
        };
        assert_eq!(judge("6.12.0", Some("disabled"), true), Ok(()));
        for (release, state, root, words) in [
            ("6.11.10-amd64", None, true, "6.12 is the first"),
            ("6.12.57-amd64", None, true, "CONFIG_SCHED_CLASS_EXT=y"),
            ("7.3.4", Some("disabled"), false, "needs root"),
            (
                "7.3.4",
                Some("enabled"),
                true,
                "`simple` is enabled already",
            ),
            ("7.3.4", Some("disabling"), true, "stop it first"),
        ] {
            let said = judge(release, state, root).unwrap_err();
            assert!(said.contains(words), "{release}: {said}");
        }
    }

    #[test]
    fn cpu_lists_end_with_their_last() {
        assert_eq!(last_of("0"), Some(0));
        assert_eq!(last_of("0-3"), Some(3));
        assert_eq!(last_of("0-3,8-11"), Some(11));
        assert_eq!(last_of(""), None);
        assert_eq!(list_of("0-2,8,x"), [0, 1, 2, 8]);
    }

    #[test]
    fn caches_are_numbered_as_they_appear() {
        let ids = ["3:0-1", "3:0-1", "3:2-3", "3:2-3"].map(|id| Some(id.to_owned()));
        let topology = Topology {
            llc_of_cpu: number_caches(ids.into_iter().chain([None])),
            online: Vec::new(),
        };
        assert_eq!(topology.llc_of_cpu, [0, 0, 1, 1, 0]);
        assert_eq!(topology.nr_llcs(), 2);
    }
}
