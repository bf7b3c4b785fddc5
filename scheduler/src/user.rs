//! The framework for schedulers that decide in user space.
//!
//! The BPF half parks every task that wants to run and reports it; the
//! scheduler takes reports with [`BpfScheduler::dequeue_task`], decides, and
//! answers with [`BpfScheduler::dispatch_task`]. When it finishes no round within
//! the stall limit, and when it leaves a task undecided for five seconds, the
//! waiting tasks run from the global queue: user space can be slow, stopped or
//! killed, and no task is lost.
//!
//! `examples/fifo.rs` is a complete scheduler.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, RingBuffer, RingBufferBuilder, UserRingBuffer};

use crate::intf::{Counters, Depths, DispatchedTask, ExitRecord, QueuedTask};
use crate::kernel::Topology;
use crate::loader::{FREE_PROGRAM, LoadError, Mode, Options, PICK_PROGRAM, Scheduler};
use crate::report::ExitReport;

/// The BPF half, seen from a scheduler in user space.
pub struct BpfScheduler {
    // Dropped in this order: the rings before the maps they read.
    reports: RingBuffer<'static>,
    decisions: UserRingBuffer,
    inbox: Rc<RefCell<VecDeque<QueuedTask>>>,
    scheduler: Scheduler,
}

impl BpfScheduler {
    /// Loads the BPF half in user mode and enables it. The process's memory is
    /// locked: a page fault here would wait for a scheduler that waits for it.
    ///
    /// # Errors
    /// Whatever [`Scheduler::start`] says.
    pub fn init(options: &Options) -> Result<Self, LoadError> {
        let mut options = options.clone();
        options.mode = Mode::User;
        // SAFETY: mlockall has no memory preconditions. Where it is not
        // permitted the scheduler works, only less predictably.
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
        let scheduler = Scheduler::start(&options)?;
        let inbox = Rc::new(RefCell::new(VecDeque::new()));
        let reports = reports(&scheduler, Rc::clone(&inbox))?;
        let decisions = UserRingBuffer::new(&scheduler.map("decisions")?).map_err(|source| {
            LoadError::Libbpf {
                doing: "open the ring of decisions",
                source,
                log: String::new(),
            }
        })?;
        Ok(Self {
            reports,
            decisions,
            inbox,
            scheduler,
        })
    }

    /// The next task that waits for a decision, if one has been reported.
    pub fn dequeue_task(&mut self) -> Option<QueuedTask> {
        if self.inbox.borrow().is_empty() {
            // An error leaves the inbox empty; the reports stay in the ring.
            let _ = self.reports.consume();
        }
        self.inbox.borrow_mut().pop_front()
    }

    /// Sends a decision; `false` when the ring is full and the task stays
    /// where it is, to be decided on again or left to the stall limit.
    #[must_use]
    pub fn dispatch_task(&mut self, decision: &DispatchedTask) -> bool {
        let Ok(mut record) = self.decisions.reserve(DispatchedTask::SIZE) else {
            return false;
        };
        record.copy_from_slice(&decision.to_bytes());
        self.decisions.submit(record).is_ok()
    }

    /// An idle CPU for the task: the given one, else one of its last-level
    /// cache, else any; `None` when none is idle. The CPU counts as taken.
    pub fn select_cpu(&self, pid: i32, prev_cpu: i32, flags: u64) -> Option<i32> {
        let mut args = [0; 16];
        args[0..4].copy_from_slice(&pid.to_ne_bytes());
        args[4..8].copy_from_slice(&prev_cpu.to_ne_bytes());
        args[8..16].copy_from_slice(&flags.to_ne_bytes());
        let cpu = self.scheduler.run(PICK_PROGRAM, Some(&mut args)).ok()?;
        (cpu >= 0).then_some(cpu)
    }

    /// How many CPUs have nothing to run and no decision waiting. Deciding
    /// for more only moves the waiting from the policy's queue to a plain one.
    pub fn room(&self) -> usize {
        let free = self.scheduler.run(FREE_PROGRAM, None).unwrap_or(0);
        usize::try_from(free).unwrap_or(0)
    }

    /// The machine it runs on.
    pub fn topology(&self) -> &Topology {
        self.scheduler.topology()
    }

    /// How many CPUs the machine can have.
    pub fn nr_cpus(&self) -> usize {
        self.scheduler.topology().nr_cpus()
    }

    /// Ends a round: says how many tasks are still held without a decision,
    /// and sleeps until there is something to do (at most `patience`).
    ///
    /// # Errors
    /// When the kernel refuses the note.
    pub fn notify_complete(&mut self, pending: u64, patience: Duration) -> Result<(), LoadError> {
        let mut state = [0; 24];
        state[0..8].copy_from_slice(&pending.to_ne_bytes());
        state[16..24].copy_from_slice(&now_ns().to_ne_bytes());
        self.scheduler
            .map("user_states")?
            .update(&0u32.to_ne_bytes(), &state, MapFlags::ANY)
            .map_err(|source| LoadError::Libbpf {
                doing: "tell the kernel half what is pending",
                source,
                log: String::new(),
            })?;
        // Interrupted by a signal is as good as woken.
        let _ = self.reports.poll(patience);
        Ok(())
    }

    /// Whether the kernel has ended the scheduler.
    pub fn exited(&self) -> bool {
        self.scheduler.exited()
    }

    /// What the BPF half has counted.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        self.scheduler.counters()
    }

    /// How many tasks wait where.
    ///
    /// # Errors
    /// When the kernel refuses to count.
    pub fn depths(&self) -> Result<Depths, LoadError> {
        self.scheduler.depths()
    }

    /// Disables the scheduler and reports how it ended; the report says
    /// whether the kernel asks for a restart.
    ///
    /// # Errors
    /// When the kernel's record cannot be read.
    pub fn shutdown_and_report(self) -> Result<ExitReport, LoadError> {
        let record: ExitRecord = self.scheduler.stop()?;
        Ok(ExitReport::new(record))
    }
}

/// The ring of reports, feeding the inbox.
fn reports(
    scheduler: &Scheduler,
    inbox: Rc<RefCell<VecDeque<QueuedTask>>>,
) -> Result<RingBuffer<'static>, LoadError> {
    let failed = |source| LoadError::Libbpf {
        doing: "open the ring of waiting tasks",
        source,
        log: String::new(),
    };
    let map = scheduler.map("queued")?;
    let mut builder = RingBufferBuilder::new();
    builder
        .add(&map, move |bytes| {
            // Pid 0 only wakes us: the queues run low.
            if let Some(task) = QueuedTask::from_bytes(bytes)
                && task.pid != 0
            {
                inbox.borrow_mut().push_back(task);
            }
            0
        })
        .map_err(failed)?;
    builder.build().map_err(failed)
}

/// The time on the clock tasks' deadlines are on (`CLOCK_MONOTONIC`).
pub fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid place for the result, and the clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).saturating_mul(1_000_000_000) + now.tv_nsec as u64
}
