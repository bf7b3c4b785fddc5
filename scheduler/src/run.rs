//! Runs a scheduler until it is told to stop or the kernel ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cli::{Cli, ModeName};
use crate::intf::{Counters, Depths, DispatchedTask, QueuedTask};
use crate::loader::{LoadError, Options, Scheduler};
use crate::policy::{
    BpfQueue, Deadline, DeadlinePolicy, ExecRequest, Policy, ProgId, SchedError, ThroughputPolicy,
};
use crate::report::{ExitReport, Stats};
use crate::user::{BpfScheduler, now_ns};

/// How often a running scheduler is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Runs one scheduler, from load to its end; `left` is how long it may be
/// enabled.
///
/// # Errors
/// When it cannot be loaded, or the kernel refuses to say how it is doing.
pub fn once(
    cli: &Cli,
    options: &Options,
    stop: &Arc<AtomicBool>,
    left: Option<Duration>,
) -> Result<ExitReport, LoadError> {
    let mut end = End {
        stop: Arc::clone(stop),
        left,
        until: None,
    };
    match (cli.user, cli.mode) {
        (false, _) => in_kernel(cli, options, &mut end),
        (true, ModeName::Deadline) => {
            in_user_space(cli, options, DeadlinePolicy::default(), &mut end)
        }
        (true, _) => in_user_space(cli, options, ThroughputPolicy::default(), &mut end),
    }
}

/// What ends a scheduler from our side.
struct End {
    stop: Arc<AtomicBool>,
    left: Option<Duration>,
    until: Option<Instant>,
}

impl End {
    /// The scheduler is enabled: its time runs.
    fn begin(&mut self) {
        self.until = self.left.map(|left| Instant::now() + left);
    }

    fn reached(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

fn in_kernel(cli: &Cli, options: &Options, end: &mut End) -> Result<ExitReport, LoadError> {
    let scheduler = Scheduler::start(options)?;
    eprintln!("scx_tiers: enabled on {}", scheduler.topology());
    end.begin();
    let mut printer = Printer::new(cli);
    while !end.reached() && !scheduler.exited() {
        std::thread::sleep(LOOK);
        printer.look(|| Ok((scheduler.counters()?, scheduler.depths()?)))?;
    }
    printer.last(|| Ok((scheduler.counters()?, scheduler.depths()?)))?;
    Ok(ExitReport::new(scheduler.stop()?))
}

fn in_user_space<P: Policy>(
    cli: &Cli,
    options: &Options,
    policy: P,
    end: &mut End,
) -> Result<ExitReport, LoadError> {
    let mut scheduler = BpfScheduler::init(options)?;
    eprintln!(
        "scx_tiers: enabled on {}, deciding in user space",
        scheduler.topology()
    );
    end.begin();
    let mut queue = BpfQueue::new(policy);
    let mut printer = Printer::new(cli);
    let mut looked = Instant::now();
    while !end.reached() {
        queue.update_time(now_ns());
        while let Some(task) = scheduler.dequeue_task() {
            admit(&mut scheduler, &mut queue, task);
        }
        for _ in 0..scheduler.room() {
            let Some(request) = queue.next() else { break };
            decide(&mut scheduler, &request.payload);
        }
        scheduler.notify_complete(queue.pending_count() as u64, LOOK)?;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if scheduler.exited() {
                break;
            }
            printer.look(|| Ok((scheduler.counters()?, scheduler.depths()?)))?;
        }
    }
    printer.last(|| Ok((scheduler.counters()?, scheduler.depths()?)))?;
    scheduler.shutdown_and_report()
}

/// Queues a task, or decides at once when the queue will not have it.
fn admit<P: Policy>(
    scheduler: &mut BpfScheduler,
    queue: &mut BpfQueue<QueuedTask, P>,
    task: QueuedTask,
) {
    let id = ProgId(u64::from(task.pid.unsigned_abs()));
    let request = |task: QueuedTask| ExecRequest::new(id, task.clone()).with_priority(task.level);
    let mut submitted = request(task.clone());
    if task.deadline != 0 {
        submitted = submitted.with_deadline(Deadline::new(task.deadline));
    }
    let refused = match queue.submit(submitted) {
        Ok(()) => None,
        // Late already: it has its level left.
        Err(SchedError::InvalidDeadline { .. }) => queue.submit(request(task.clone())).err(),
        Err(error) => Some(error),
    };
    if refused.is_some() {
        decide(scheduler, &task);
    }
}

/// An idle CPU if there is one, else whichever is free first. A decision the
/// ring has no room for is not lost: the task runs at the stall limit.
fn decide(scheduler: &mut BpfScheduler, task: &QueuedTask) {
    let decision = DispatchedTask::new(task);
    let decision = match scheduler.select_cpu(task.pid, task.cpu, task.flags) {
        Some(cpu) => decision.on_cpu(cpu),
        None => decision,
    };
    let _ = scheduler.dispatch_task(&decision);
}

/// Prints statistics when they are due.
struct Printer {
    interval: Option<Duration>,
    json: bool,
    since: Instant,
    earlier: Counters,
    first: Option<Instant>,
}

impl Printer {
    fn new(cli: &Cli) -> Self {
        Self {
            interval: cli.stats_interval(),
            json: cli.stats_json,
            since: Instant::now(),
            earlier: Counters::default(),
            first: Some(Instant::now()),
        }
    }

    fn look(
        &mut self,
        read: impl FnOnce() -> Result<(Counters, Depths), LoadError>,
    ) -> Result<(), LoadError> {
        let Some(interval) = self.interval else {
            return Ok(());
        };
        let passed = self.since.elapsed();
        if passed < interval {
            return Ok(());
        }
        let (counters, depths) = read()?;
        let stats = Stats::between(&self.earlier, &counters, &depths, passed.as_secs_f64());
        self.print(&stats, "");
        self.since = Instant::now();
        self.earlier = counters;
        Ok(())
    }

    /// The whole run, once.
    fn last(
        &mut self,
        read: impl FnOnce() -> Result<(Counters, Depths), LoadError>,
    ) -> Result<(), LoadError> {
        if let (Some(_), Some(first)) = (self.interval, self.first.take()) {
            let (counters, depths) = read()?;
            let whole = first.elapsed().as_secs_f64();
            let stats = Stats::between(&Counters::default(), &counters, &depths, whole);
            self.print(&stats, "total");
        }
        Ok(())
    }

    fn print(&self, stats: &Stats, label: &str) {
        if self.json {
            let line = serde_json::json!({ "total": !label.is_empty(), "stats": stats });
            println!("{line}");
        } else {
            println!("{label}{}{stats}", if label.is_empty() { "" } else { "\n" });
        }
    }
}
