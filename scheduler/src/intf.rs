//! The records both halves share; mirrors `bpf/intf.h`.
//!
//! Records are read from and written to bytes field by field, in the layout C
//! gives them, so that no byte is ever reinterpreted.

use crate::policy::ExecPriority;

/// Priority levels.
pub const LEVELS: usize = 4;
/// Lanes: the levels and the deadline lane.
pub const LANES: usize = LEVELS + 1;
/// Latency buckets: bucket `n` counts latencies below 2^n microseconds.
pub const LATENCY_BUCKETS: usize = 32;
/// The most CPUs the BPF half knows.
pub const MAX_CPUS: usize = 512;
/// The most last-level caches the BPF half keeps lanes for.
pub const MAX_LLCS: usize = 64;
/// Bytes of a task's name, the final 0 included.
pub const COMM_LEN: usize = 16;

/// Set in [`DispatchedTask::flags`]: any CPU may run the task.
pub const ANY_CPU: u64 = 1 << 32;

/// Takes fields off the front of a record.
struct Fields<'d>(&'d [u8]);

impl<'d> Fields<'d> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_ne_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_ne_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_ne_bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut values = [0; N];
        for value in &mut values {
            *value = self.u64()?;
        }
        Some(values)
    }

    /// The text before the first 0 of the next `len` bytes.
    fn text(&mut self, len: usize) -> Option<String> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(text(head))
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default())
        .into_owned()
}

/// A task that waits for user space to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedTask {
    /// The task.
    pub pid: i32,
    /// The CPU it ran on last.
    pub cpu: i32,
    /// The kernel's enqueue flags.
    pub flags: u64,
    /// CPU time it has had, in nanoseconds.
    pub sum_exec_runtime: u64,
    /// Its weight, 1 to 10000; 100 at nice 0.
    pub weight: u64,
    /// How often it gave up the CPU by itself.
    pub nvcsw: u64,
    /// What is left of its slice, in nanoseconds.
    pub slice: u64,
    /// Its virtual time, as the scheduler last set it.
    pub vtime: u64,
    /// When it asked to run (`CLOCK_MONOTONIC`).
    pub enqueued_at: u64,
    /// Its absolute deadline on the same clock; 0 for none.
    pub deadline: u64,
    /// Its level by rule, cgroup weight or nice value.
    pub level: ExecPriority,
    /// On how many CPUs it may run.
    pub nr_cpus_allowed: u32,
    /// Its name.
    pub comm: String,
}

impl QueuedTask {
    /// Reads a record. A pid of 0 is no task but a call for more decisions.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        Some(Self {
            pid: fields.i32()?,
            cpu: fields.i32()?,
            flags: fields.u64()?,
            sum_exec_runtime: fields.u64()?,
            weight: fields.u64()?,
            nvcsw: fields.u64()?,
            slice: fields.u64()?,
            vtime: fields.u64()?,
            enqueued_at: fields.u64()?,
            deadline: fields.u64()?,
            level: level(fields.u32()?),
            nr_cpus_allowed: fields.u32()?,
            comm: fields.text(COMM_LEN)?,
        })
    }
}

fn level(number: u32) -> ExecPriority {
    ExecPriority::ALL
        .get(number as usize)
        .copied()
        .unwrap_or_default()
}

/// A decision: this task, there, for that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchedTask {
    /// The task.
    pub pid: i32,
    /// The CPU; without meaning under [`ANY_CPU`].
    pub cpu: i32,
    /// [`ANY_CPU`] or 0.
    pub flags: u64,
    /// Its slice in nanoseconds; 0 for the scheduler's default.
    pub slice_ns: u64,
}

impl DispatchedTask {
    /// Bytes of a record.
    pub(crate) const SIZE: usize = 32;

    /// A decision for a queued task: any CPU, the default slice.
    pub fn new(task: &QueuedTask) -> Self {
        Self {
            pid: task.pid,
            cpu: task.cpu,
            flags: ANY_CPU,
            slice_ns: 0,
        }
    }

    /// On this CPU and no other.
    #[must_use]
    pub fn on_cpu(mut self, cpu: i32) -> Self {
        self.cpu = cpu;
        self.flags &= !ANY_CPU;
        self
    }

    /// For this long.
    #[must_use]
    pub fn with_slice(mut self, slice_ns: u64) -> Self {
        self.slice_ns = slice_ns;
        self
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.cpu.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.slice_ns.to_ne_bytes());
        bytes
    }
}

/// An explicit rule's effect; `struct rule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleEffect {
    /// The level, if the rule names one.
    pub level: Option<ExecPriority>,
    /// The relative deadline in nanoseconds; 0 for none.
    pub deadline_ns: u64,
}

impl RuleEffect {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let level = self.level.map_or(LEVELS, ExecPriority::index) as u32;
        let mut bytes = [0; 16];
        bytes[0..4].copy_from_slice(&level.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.deadline_ns.to_ne_bytes());
        bytes
    }
}

/// What the scheduler has done so far; `struct counters`, summed over CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks that asked to run, by level.
    pub enqueued: [u64; LEVELS],
    /// Tasks taken from a lane to a CPU.
    pub dispatched: [u64; LANES],
    /// Tasks that went straight to an idle CPU, by level.
    pub direct: [u64; LEVELS],
    /// Turns given to a starved lane.
    pub aged: u64,
    /// Tasks that went on because nothing more urgent waited.
    pub kept: u64,
    /// Turns taken from another cache's lanes.
    pub stolen: u64,
    /// Running tasks that gave way to a more urgent waker.
    pub preempted: u64,
    /// Jobs done before their deadline.
    pub deadlines_met: u64,
    /// Jobs that ran past it.
    pub deadlines_missed: u64,
    /// Tasks reported to user space.
    pub to_user: u64,
    /// Decisions applied.
    pub from_user: u64,
    /// Decisions for tasks that had gone or run already.
    pub stale: u64,
    /// Decisions that overtook their task and were tried again.
    pub retried: u64,
    /// Tasks that ran from the global queue because the ring buffer was full.
    pub fallback_full: u64,
    /// The same because no decision came in time.
    pub fallback_stall: u64,
    /// Calls for more decisions.
    pub nudges: u64,
    /// Wake-up to running, by level, in powers of two of microseconds.
    pub latency: [[u64; LATENCY_BUCKETS]; LEVELS],
}

impl Counters {
    /// Reads one CPU's record.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let mut counters = Self {
            enqueued: fields.array()?,
            dispatched: fields.array()?,
            direct: fields.array()?,
            ..Self::default()
        };
        for scalar in counters.scalars_mut() {
            *scalar = fields.u64()?;
        }
        for level in &mut counters.latency {
            *level = fields.array()?;
        }
        Some(counters)
    }

    /// The single counters in the record's order.
    fn scalars_mut(&mut self) -> [&mut u64; 13] {
        [
            &mut self.aged,
            &mut self.kept,
            &mut self.stolen,
            &mut self.preempted,
            &mut self.deadlines_met,
            &mut self.deadlines_missed,
            &mut self.to_user,
            &mut self.from_user,
            &mut self.stale,
            &mut self.retried,
            &mut self.fallback_full,
            &mut self.fallback_stall,
            &mut self.nudges,
        ]
    }

    /// Applies `change` to each counter and its counterpart in `other`.
    fn zip(&mut self, other: &Self, change: impl Fn(u64, u64) -> u64) {
        let mut other = other.clone();
        let apply = |mine: &mut [u64], theirs: &[u64]| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine = change(*mine, *theirs);
            }
        };
        apply(&mut self.enqueued, &other.enqueued);
        apply(&mut self.dispatched, &other.dispatched);
        apply(&mut self.direct, &other.direct);
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            apply(mine, theirs);
        }
        for (mine, theirs) in self.scalars_mut().into_iter().zip(other.scalars_mut()) {
            *mine = change(*mine, *theirs);
        }
    }

    /// Adds another CPU's counters.
    pub fn add(&mut self, other: &Self) {
        self.zip(other, u64::wrapping_add);
    }

    /// What happened since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut delta = self.clone();
        delta.zip(earlier, u64::saturating_sub);
        delta
    }
}

/// How many tasks wait where; `struct depths`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depths {
    /// By lane, over all last-level caches.
    pub lanes: [u64; LANES],
    /// User mode: decided on, waiting for a CPU.
    pub shared: u64,
    /// User mode: waiting for a decision.
    pub parked: u64,
}

impl Depths {
    /// Bytes of a record.
    pub(crate) const SIZE: usize = (LANES + 2) * 8;

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        Some(Self {
            lanes: fields.array()?,
            shared: fields.u64()?,
            parked: fields.u64()?,
        })
    }
}

/// What the kernel said when the scheduler ended; `struct exit_record`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitRecord {
    /// `enum scx_exit_kind`; 0 while it runs.
    pub kind: i32,
    /// The exit code, with the kernel's request to restart.
    pub code: i64,
    /// The kind in words.
    pub reason: String,
    /// The kernel's message.
    pub message: String,
    /// The kernel's dump of the scheduler's state, when it made one.
    pub dump: String,
}

impl ExitRecord {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let kind = fields.i32()?;
        fields.u32()?;
        Some(Self {
            kind,
            code: fields.i64()?,
            reason: fields.text(128)?,
            message: fields.text(1024)?,
            dump: fields.text(32768)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn short_records_are_refused() {
        assert_eq!(QueuedTask::from_bytes(&[0; 95]), None);
        assert!(QueuedTask::from_bytes(&[0; 96]).is_some());
        assert_eq!(Counters::from_bytes(&[0; 100]), None);
        assert_eq!(ExitRecord::from_bytes(&[]), None);
    }

    #[test]
    fn counters_add_and_subtract() {
        let size = (LEVELS + LANES + LEVELS + 13 + LEVELS * LATENCY_BUCKETS) * 8;
        let bytes: Vec<u8> = (0..size / 8)
            .flat_map(|n| (n as u64).to_ne_bytes())
            .collect();
        let one = Counters::from_bytes(&bytes).unwrap();
        assert_eq!(one.nudges, 25);
        let mut two = one.clone();
        two.add(&one);
        assert_eq!(two.nudges, 50);
        assert_eq!(two.since(&one), one);
    }

    #[test]
    fn a_name_ends_at_its_zero() {
        let mut bytes = [0; 96];
        bytes[80..85].copy_from_slice(b"hog\0x");
        let task = QueuedTask::from_bytes(&bytes).unwrap();
        assert_eq!(task.comm, "hog");
    }
}
