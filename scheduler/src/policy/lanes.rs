//! Lanes, policies and aging.
//!
//! A lane is a sequence of requests ordered by a key and, where keys are
//! equal, by submission. Lanes have a fixed rank; a policy puts every request
//! into one lane and the lanes are served by rank, with aging against
//! starvation.

use super::request::{Deadline, ExecPriority};

/// How many lanes a queue has: one per level and one for deadlines.
pub const LANES: usize = ExecPriority::ALL.len() + 1;

/// A lane by its rank; the higher one is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// The lane ahead of all levels, ordered by absolute deadline.
    pub const DEADLINE: Self = Self(ExecPriority::ALL.len() as u8);

    /// The lane of a priority level.
    pub const fn of(priority: ExecPriority) -> Self {
        Self(priority as u8)
    }

    /// The lane's rank, from 0 (last) to `LANES - 1` (first).
    pub const fn rank(self) -> usize {
        self.0 as usize
    }

    fn highest_first() -> impl Iterator<Item = Self> {
        (0..LANES as u8).rev().map(Self)
    }
}

/// Where a policy puts a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The lane.
    pub lane: Lane,
    /// The key inside the lane, smallest first; equal keys keep the order of
    /// submission.
    pub key: u64,
}

/// What a policy sees of a lane when it selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Requests pending in the lane; 0 says the lane is empty.
    pub pending: usize,
}

/// Decides the order of a queue.
pub trait Policy {
    /// The place of a request with these properties.
    fn place(&self, priority: ExecPriority, deadline: Option<Deadline>) -> Place;

    /// The lane to serve next: one that is not empty, or `None` when all are.
    /// `lanes` is indexed by [`Lane::rank`].
    fn select(&mut self, lanes: &[Head; LANES]) -> Option<Lane>;
}

/// Bounds starvation: a lane that is passed over too often gets a turn out of
/// its rank.
///
/// Each selection that serves another lane adds `1 + pending / 8` to the count
/// of every lower lane with pending requests: long lanes age faster. A
/// lane whose count reaches its limit is starved. Every second selection may
/// go to a starved lane, the one served longest ago; its count starts again.
///
/// **The bound:** the first request of the level with limit `n` is selected
/// after at most `n + 2 * LANES` other selections; in return the highest lane
/// with pending requests keeps at least every second selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aging {
    limits: Option<[u64; LANES]>,
    passed: [u64; LANES],
    last_served: [u64; LANES],
    selections: u64,
    last_was_aged: bool,
}

impl Aging {
    /// Limits for Low, Normal, High, Critical and the deadline lane.
    pub const DEFAULT_LIMITS: [u64; LANES] = [32, 16, 8, 4, u64::MAX];

    /// No aging: a lower lane runs only when all higher ones are empty.
    pub const fn off() -> Self {
        Self::new(None)
    }

    /// Aging with a limit per lane, by rank.
    pub const fn with_limits(limits: [u64; LANES]) -> Self {
        Self::new(Some(limits))
    }

    const fn new(limits: Option<[u64; LANES]>) -> Self {
        Self {
            limits,
            passed: [0; LANES],
            last_served: [0; LANES],
            selections: 0,
            last_was_aged: false,
        }
    }

    /// How many other selections the first request of `priority`'s lane may
    /// have to wait for; `None` without aging.
    pub fn bound(&self, priority: ExecPriority) -> Option<u64> {
        let limit = self.limits.as_ref()?.get(priority.index())?;
        Some(limit.saturating_add(2 * LANES as u64))
    }

    /// The lane to serve and its turn booked.
    fn select(&mut self, lanes: &[Head; LANES]) -> Option<Lane> {
        let pending = |lane: &Lane| lanes.get(lane.rank()).is_some_and(|head| head.pending > 0);
        let top = Lane::highest_first().find(pending)?;
        let aged = if self.last_was_aged {
            None
        } else {
            self.starved_longest(top, lanes)
        };
        self.last_was_aged = aged.is_some();
        let served = aged.unwrap_or(top);
        self.book(served, lanes);
        Some(served)
    }

    fn starved_longest(&self, top: Lane, lanes: &[Head; LANES]) -> Option<Lane> {
        let limits = self.limits.as_ref()?;
        (0..top.0)
            .map(Lane)
            .filter(|lane| {
                let rank = lane.rank();
                lanes[rank].pending > 0 && self.passed[rank] >= limits[rank]
            })
            .min_by_key(|lane| self.last_served[lane.rank()])
    }

    fn book(&mut self, served: Lane, lanes: &[Head; LANES]) {
        self.selections += 1;
        for (rank, head) in lanes.iter().enumerate() {
            if rank == served.rank() {
                self.passed[rank] = 0;
                self.last_served[rank] = self.selections;
            } else if head.pending == 0 {
                // An empty lane waits for nothing.
                self.passed[rank] = 0;
            } else {
                let weight = 1 + head.pending as u64 / 8;
                self.passed[rank] = self.passed[rank].saturating_add(weight);
            }
        }
    }
}

impl Default for Aging {
    fn default() -> Self {
        Self::with_limits(Self::DEFAULT_LIMITS)
    }
}

/// Highest level first, submission order inside a level; deadlines play no
/// part.
#[derive(Debug, Clone, Default)]
pub struct ThroughputPolicy {
    aging: Aging,
}

impl ThroughputPolicy {
    /// The policy with its own aging.
    pub const fn new(aging: Aging) -> Self {
        Self { aging }
    }
}

impl Policy for ThroughputPolicy {
    fn place(&self, priority: ExecPriority, _deadline: Option<Deadline>) -> Place {
        Place {
            lane: Lane::of(priority),
            key: 0,
        }
    }

    fn select(&mut self, lanes: &[Head; LANES]) -> Option<Lane> {
        self.aging.select(lanes)
    }
}

/// Earliest absolute deadline first; requests without a deadline follow in
/// priority order.
///
/// Requests with the same deadline keep their order of submission. Aging
/// works for the requests without a deadline, so that a stream of deadlines
/// cannot starve them.
#[derive(Debug, Clone, Default)]
pub struct DeadlinePolicy {
    aging: Aging,
}

impl DeadlinePolicy {
    /// The policy with its own aging.
    pub const fn new(aging: Aging) -> Self {
        Self { aging }
    }
}

impl Policy for DeadlinePolicy {
    fn place(&self, priority: ExecPriority, deadline: Option<Deadline>) -> Place {
        match deadline {
            Some(deadline) => Place {
                lane: Lane::DEADLINE,
                key: deadline.as_nanos(),
            },
            None => Place {
                lane: Lane::of(priority),
                key: 0,
            },
        }
    }

    fn select(&mut self, lanes: &[Head; LANES]) -> Option<Lane> {
        self.aging.select(lanes)
    }
}
