//! A complete scheduler in user space: first come, first served.
//!
//! Run it as root on a kernel with sched_ext; Ctrl-C ends it.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use scheduler::gate::GateMode;
use scheduler::intf::{DispatchedTask, QueuedTask};
use scheduler::loader::{LoadError, Mode, Options};
use scheduler::report::ExitReport;
use scheduler::user::BpfScheduler;

/// How long to sleep when nothing happens.
const PATIENCE: Duration = Duration::from_millis(100);

/// The scheduler: the connection to the kernel half, and a queue.
struct Fifo {
    bpf: BpfScheduler,
    waiting: VecDeque<QueuedTask>,
}

impl Fifo {
    fn start(options: &Options) -> Result<Self, LoadError> {
        Ok(Self {
            bpf: BpfScheduler::init(options)?,
            waiting: VecDeque::new(),
        })
    }

    /// Takes in every task that wants to run.
    fn collect(&mut self) {
        while let Some(task) = self.bpf.dequeue_task() {
            self.waiting.push_back(task);
        }
    }

    /// Sends out as many as there is room for, oldest first. More would only
    /// move the waiting elsewhere.
    fn dispatch(&mut self) {
        for _ in 0..self.bpf.room() {
            let Some(task) = self.waiting.pop_front() else {
                return;
            };
            let decision = DispatchedTask::new(&task);
            let decision = match self.bpf.select_cpu(task.pid, task.cpu, task.flags) {
                Some(idle) => decision.on_cpu(idle),
                None => decision,
            };
            if !self.bpf.dispatch_task(&decision) {
                // The ring is full: keep the task and its turn.
                self.waiting.push_front(task);
                return;
            }
        }
    }

    /// Schedules until told to stop or the kernel ends it.
    fn run(mut self, stop: &AtomicBool) -> Result<ExitReport, LoadError> {
        while !stop.load(Ordering::Relaxed) && !self.bpf.exited() {
            self.collect();
            self.dispatch();
            let pending = self.waiting.len() as u64;
            self.bpf.notify_complete(pending, PATIENCE)?;
        }
        self.bpf.shutdown_and_report()
    }
}

fn main() -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("cannot watch for signal {signal}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let mut options = Options::new(Mode::User);
    if std::env::args().any(|argument| argument == "--gate=off") {
        options.gate = GateMode::Off;
    }
    loop {
        let report = match Fifo::start(&options).and_then(|fifo| fifo.run(&stop)) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        eprintln!("{report}");
        // CPUs came or went: the kernel wants the scheduler loaded afresh.
        if !report.wants_restart() || stop.load(Ordering::Relaxed) {
            return ExitCode::from(u8::from(report.is_error()));
        }
    }
}
