//! How a scheduler ended, and what it did meanwhile, for people and programs.

use std::fmt;

use serde::Serialize;

use crate::intf::{Counters, Depths, ExitRecord, LATENCY_BUCKETS, LEVELS};

/// Exit kinds from here on are errors.
const FIRST_ERROR: i32 = 1024;
/// Kinds below these are the kernel's own bookkeeping.
const ASKED_FOR: i32 = 64;
/// Set in the exit code: the kernel wants the scheduler to be loaded again.
const ACT_RESTART: i64 = 1 << 48;

/// How a scheduler ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    record: ExitRecord,
}

impl ExitReport {
    /// A report from the kernel's record.
    pub fn new(record: ExitRecord) -> Self {
        Self { record }
    }

    /// Whether the kernel asks for a restart, as it does after CPUs came or
    /// went.
    pub fn wants_restart(&self) -> bool {
        !self.is_error() && self.record.code & ACT_RESTART != 0
    }

    /// Whether the kernel ended it for a fault.
    pub fn is_error(&self) -> bool {
        self.record.kind >= FIRST_ERROR
    }

    /// The kernel's record.
    pub fn record(&self) -> &ExitRecord {
        &self.record
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        if record.kind < ASKED_FOR {
            return f.write_str("ended; the kernel gave no reason");
        }
        write!(f, "ended: {}", record.reason)?;
        if !record.message.is_empty() {
            write!(f, " ({})", record.message)?;
        }
        write!(f, ", kind {}, code {:#x}", record.kind, record.code)?;
        if self.is_error() && !record.dump.is_empty() {
            write!(f, "\n{}", record.dump.trim_end())?;
        }
        Ok(())
    }
}

const NAMES: [&str; LEVELS] = ["low", "normal", "high", "critical"];
/// The shares of latencies that are reported.
const PERCENTILES: [u64; 3] = [50, 90, 99];

/// An interval's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Seconds the interval lasted.
    pub seconds: f64,
    /// Figures by level, lowest first.
    pub levels: Vec<LevelStats>,
    /// Tasks taken from the deadline lane.
    pub dispatched_by_deadline: u64,
    /// Tasks waiting in the deadline lane at the interval's end.
    pub depth_by_deadline: u64,
    /// Tasks waiting for user space to decide, at the interval's end.
    pub depth_parked: u64,
    /// Tasks decided on and waiting for a CPU, at the interval's end.
    pub depth_shared: u64,
    /// Turns given to a starved lane.
    pub aged: u64,
    /// Tasks that went on because nothing more urgent waited.
    pub kept: u64,
    /// Turns taken from another cache's lanes.
    pub stolen: u64,
    /// Running tasks that gave way.
    pub preempted: u64,
    /// Jobs done in time.
    pub deadlines_met: u64,
    /// Jobs that ran past their deadline.
    pub deadlines_missed: u64,
    /// Tasks reported to user space.
    pub to_user: u64,
    /// Decisions applied.
    pub from_user: u64,
    /// Decisions that came too late.
    pub stale: u64,
    /// Tasks that ran from the global queue: full ring, or no decision in time.
    pub fallbacks: u64,
}

/// One level's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelStats {
    /// The level.
    pub level: &'static str,
    /// Tasks that asked to run and found no idle CPU.
    pub enqueued: u64,
    /// Tasks taken from the level's lane.
    pub dispatched: u64,
    /// Tasks that went straight to an idle CPU.
    pub direct: u64,
    /// Tasks waiting in the level's lane at the interval's end.
    pub depth: u64,
    /// Upper bounds of the 50th, 90th and 99th percentile of the time from
    /// wake-up to running, in microseconds; 0 where nothing woke.
    pub latency_us: [u64; PERCENTILES.len()],
}

impl Stats {
    /// The figures of an interval from the counters at its ends.
    pub fn between(earlier: &Counters, later: &Counters, depths: &Depths, seconds: f64) -> Self {
        let delta = later.since(earlier);
        let levels = NAMES
            .iter()
            .enumerate()
            .map(|(at, level)| LevelStats {
                level,
                enqueued: delta.enqueued[at],
                dispatched: delta.dispatched[at],
                direct: delta.direct[at],
                depth: depths.lanes[at],
                latency_us: PERCENTILES.map(|share| percentile(&delta.latency[at], share)),
            })
            .collect();
        Self {
            seconds,
            levels,
            dispatched_by_deadline: delta.dispatched[LEVELS],
            depth_by_deadline: depths.lanes[LEVELS],
            depth_parked: depths.parked,
            depth_shared: depths.shared,
            aged: delta.aged,
            kept: delta.kept,
            stolen: delta.stolen,
            preempted: delta.preempted,
            deadlines_met: delta.deadlines_met,
            deadlines_missed: delta.deadlines_missed,
            to_user: delta.to_user,
            from_user: delta.from_user,
            stale: delta.stale,
            fallbacks: delta.fallback_full + delta.fallback_stall,
        }
    }
}

/// The upper bound of the bucket that holds the share; 0 for no samples.
fn percentile(buckets: &[u64; LATENCY_BUCKETS], share: u64) -> u64 {
    let total: u64 = buckets.iter().sum();
    let rank = (total * share).div_ceil(100);
    let mut seen = 0;
    for (at, count) in buckets.iter().enumerate() {
        seen += count;
        if seen >= rank && total > 0 {
            return 1 << at;
        }
    }
    0
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<9} {:>9} {:>10} {:>8} {:>6} {:>9} {:>9} {:>9}",
            "level", "enqueued", "dispatched", "direct", "depth", "p50 us", "p90 us", "p99 us"
        )?;
        for level in self.levels.iter().rev() {
            let [p50, p90, p99] = level.latency_us;
            writeln!(
                f,
                "{:<9} {:>9} {:>10} {:>8} {:>6} {p50:>9} {p90:>9} {p99:>9}",
                level.level, level.enqueued, level.dispatched, level.direct, level.depth
            )?;
        }
        write!(
            f,
            "by deadline {} (depth {}, met {}, missed {}); aged {}, kept {}, stolen {}, preempted {}; \
             user: {} out, {} back, {} stale, {} fallbacks, {} parked, {} shared",
            self.dispatched_by_deadline,
            self.depth_by_deadline,
            self.deadlines_met,
            self.deadlines_missed,
            self.aged,
            self.kept,
            self.stolen,
            self.preempted,
            self.to_user,
            self.from_user,
            self.stale,
            self.fallbacks,
            self.depth_parked,
            self.depth_shared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_bounds() {
        let mut buckets = [0; LATENCY_BUCKETS];
        assert_eq!(percentile(&buckets, 50), 0);
        buckets[3] = 90;
        buckets[10] = 10;
        assert_eq!(percentile(&buckets, 50), 8);
        assert_eq!(percentile(&buckets, 90), 8);
        assert_eq!(percentile(&buckets, 99), 1024);
    }

    #[test]
    fn the_kernel_may_ask_for_a_restart() {
        let hotplug = ExitReport::new(ExitRecord {
            kind: 66,
            code: ACT_RESTART | 1 << 32,
            reason: "unregistered from the main kernel".into(),
            ..ExitRecord::default()
        });
        assert!(hotplug.wants_restart());
        assert!(!hotplug.is_error());
        let stall = ExitReport::new(ExitRecord {
            kind: 1026,
            reason: "runnable task stall".into(),
            ..ExitRecord::default()
        });
        assert!(stall.is_error());
        assert!(!stall.wants_restart());
        assert_eq!(
            stall.to_string(),
            "ended: runnable task stall, kind 1026, code 0x0"
        );
    }
}
