//! A request for execution and what it is ordered by.

use super::error::SchedError;

/// Names the program (or task) a request is for.
///
/// Several pending requests may carry the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgId(
    /// The number itself; user-space schedulers put the pid here.
    pub u64,
);

/// The four priority levels, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum ExecPriority {
    /// Runs when nothing else wants to, but for aging.
    Low = 0,
    /// The level of a request that names none.
    #[default]
    Normal = 1,
    /// Before normal work.
    High = 2,
    /// Before everything else.
    Critical = 3,
}

impl ExecPriority {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The level's number: 0 for `Low` to 3 for `Critical`.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// An absolute deadline in nanoseconds, on the clock the queue is given with
/// [`update_time`](super::BpfQueue::update_time).
///
/// ```
/// use scheduler::Deadline;
/// let deadline = Deadline::from_now(1_000, 500);
/// assert_eq!(deadline, Deadline::new(1_500));
/// assert_eq!(deadline.time_remaining(1_200), 300);
/// assert!(deadline.is_expired(1_501));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(u64);

impl Deadline {
    /// A deadline at an absolute time.
    pub const fn new(at_ns: u64) -> Self {
        Self(at_ns)
    }

    /// A deadline `relative_ns` after `now_ns`; saturates at the clock's end.
    pub const fn from_now(now_ns: u64, relative_ns: u64) -> Self {
        Self(now_ns.saturating_add(relative_ns))
    }

    /// The absolute time.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether the deadline lies before `now_ns`. Finishing exactly at the
    /// deadline is in time.
    pub const fn is_expired(self, now_ns: u64) -> bool {
        now_ns > self.0
    }

    /// Nanoseconds left at `now_ns`; 0 once it has passed.
    pub const fn time_remaining(self, now_ns: u64) -> u64 {
        self.0.saturating_sub(now_ns)
    }

    /// [`SchedError::DeadlineMiss`] when `now_ns` is past the deadline.
    pub const fn check(self, now_ns: u64) -> Result<(), SchedError> {
        if self.is_expired(now_ns) {
            return Err(SchedError::DeadlineMiss {
                late_ns: now_ns - self.0,
            });
        }
        Ok(())
    }
}

/// Something that wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest<T> {
    /// Whom it is for.
    pub id: ProgId,
    /// Its level; [`ExecPriority::Normal`] unless set.
    pub priority: ExecPriority,
    /// Its deadline, if it has one.
    pub deadline: Option<Deadline>,
    /// What the caller wants back when the request is selected.
    pub payload: T,
}

impl<T> ExecRequest<T> {
    /// A request at the normal level without a deadline.
    pub const fn new(id: ProgId, payload: T) -> Self {
        Self {
            id,
            priority: ExecPriority::Normal,
            deadline: None,
            payload,
        }
    }

    /// Sets the level.
    #[must_use]
    pub fn with_priority(mut self, priority: ExecPriority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }
}
