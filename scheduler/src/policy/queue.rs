//! The bounded queue that a policy orders.

use std::collections::{BTreeMap, HashMap};

use super::error::SchedError;
use super::lanes::{Head, LANES, Lane, Policy};
use super::request::{ExecRequest, ProgId};

/// How large a queue may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 1024 requests.
    Cloud,
    /// 32 requests.
    Embedded,
}

impl Profile {
    /// The bound on pending requests.
    pub const fn capacity(self) -> usize {
        match self {
            Self::Cloud => 1024,
            Self::Embedded => 32,
        }
    }
}

impl Default for Profile {
    /// The profile of the crate's features: `embedded` when that feature is
    /// on, else `cloud`.
    fn default() -> Self {
        if cfg!(feature = "embedded") {
            Self::Embedded
        } else {
            Self::Cloud
        }
    }
}

/// Orders requests inside a lane: the policy's key, then submission.
type Slot = (u64, u64);

/// A bounded queue of requests, ordered by a [`Policy`].
///
/// `submit`, `next` and `cancel` of one request cost O(log n).
///
/// ```
/// use scheduler::{BpfQueue, Deadline, DeadlinePolicy, ExecRequest, ProgId};
///
/// let mut queue = BpfQueue::new(DeadlinePolicy::default());
/// queue.update_time(1_000);
/// queue.submit(ExecRequest::new(ProgId(1), ()))?;
/// queue.submit(ExecRequest::new(ProgId(2), ()).with_deadline(Deadline::new(9_000)))?;
/// queue.submit(ExecRequest::new(ProgId(3), ()).with_deadline(Deadline::new(5_000)))?;
/// assert!(queue.cancel(ProgId(2)));
/// assert_eq!(queue.next().map(|request| request.id), Some(ProgId(3)));
/// assert_eq!(queue.next().map(|request| request.id), Some(ProgId(1)));
/// assert!(!queue.has_pending());
/// # Ok::<(), scheduler::SchedError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BpfQueue<T, P: Policy> {
    policy: P,
    capacity: usize,
    lanes: [BTreeMap<Slot, ExecRequest<T>>; LANES],
    /// Where the requests of each id are, by submission, for `cancel`.
    places: HashMap<ProgId, BTreeMap<u64, (Lane, Slot)>>,
    now_ns: u64,
    submissions: u64,
    executed: u64,
    misses: u64,
}

impl<T, P: Policy> BpfQueue<T, P> {
    /// An empty queue with the default profile's bound.
    pub fn new(policy: P) -> Self {
        Self::with_profile(policy, Profile::default())
    }

    /// An empty queue with a profile's bound.
    pub fn with_profile(policy: P, profile: Profile) -> Self {
        Self {
            policy,
            capacity: profile.capacity(),
            lanes: std::array::from_fn(|_| BTreeMap::new()),
            places: HashMap::new(),
            now_ns: 0,
            submissions: 0,
            executed: 0,
            misses: 0,
        }
    }

    /// Sets the clock. It never goes back: an earlier time is ignored.
    pub fn update_time(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Adds a request.
    ///
    /// # Errors
    /// [`SchedError::QueueFull`] at the profile's bound and
    /// [`SchedError::InvalidDeadline`] when its deadline has passed already.
    /// The queue is unchanged then.
    pub fn submit(&mut self, request: ExecRequest<T>) -> Result<(), SchedError> {
        if self.pending_count() >= self.capacity {
            return Err(SchedError::QueueFull {
                capacity: self.capacity,
            });
        }
        if let Some(deadline) = request.deadline
            && deadline.is_expired(self.now_ns)
        {
            return Err(SchedError::InvalidDeadline {
                deadline_ns: deadline.as_nanos(),
                now_ns: self.now_ns,
            });
        }
        let place = self.policy.place(request.priority, request.deadline);
        let slot = (place.key, self.submissions);
        self.submissions += 1;
        self.places
            .entry(request.id)
            .or_default()
            .insert(slot.1, (place.lane, slot));
        self.lanes[place.lane.rank()].insert(slot, request);
        Ok(())
    }

    /// Takes the next request out, or `None` when nothing is pending.
    ///
    /// A request whose deadline has passed is returned all the same and
    /// counted in [`deadline_misses`](Self::deadline_misses);
    /// [`Deadline::check`](super::Deadline::check) tells the caller.
    #[allow(clippy::should_implement_trait)] // a queue is not an iterator: it refills
    pub fn next(&mut self) -> Option<ExecRequest<T>> {
        let heads = std::array::from_fn(|rank| Head {
            pending: self.lanes.get(rank).map_or(0, BTreeMap::len),
        });
        let lane = self.policy.select(&heads)?;
        let (slot, request) = self.lanes.get_mut(lane.rank())?.pop_first()?;
        self.forget(request.id, slot);
        self.executed += 1;
        if request
            .deadline
            .is_some_and(|deadline| deadline.is_expired(self.now_ns))
        {
            self.misses += 1;
        }
        Some(request)
    }

    /// Removes every pending request of `id`; whether there was one.
    pub fn cancel(&mut self, id: ProgId) -> bool {
        let Some(places) = self.places.remove(&id) else {
            return false;
        };
        for (lane, slot) in places.into_values() {
            self.lanes[lane.rank()].remove(&slot);
        }
        true
    }

    /// The pending request of `id` that was submitted first.
    ///
    /// # Errors
    /// [`SchedError::NotFound`] when none is pending.
    pub fn find(&self, id: ProgId) -> Result<&ExecRequest<T>, SchedError> {
        self.places
            .get(&id)
            .and_then(BTreeMap::first_key_value)
            .and_then(|(_, (lane, slot))| self.lanes.get(lane.rank())?.get(slot))
            .ok_or(SchedError::NotFound(id))
    }

    /// Whether anything is pending.
    pub fn has_pending(&self) -> bool {
        !self.places.is_empty()
    }

    /// How many requests are pending.
    pub fn pending_count(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    /// The bound on pending requests.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many requests `next` has returned so far.
    pub fn exec_count(&self) -> u64 {
        self.executed
    }

    /// How many of those were returned after their deadline.
    pub fn deadline_misses(&self) -> u64 {
        self.misses
    }

    fn forget(&mut self, id: ProgId, (_, submission): Slot) {
        if let Some(places) = self.places.get_mut(&id) {
            places.remove(&submission);
            if places.is_empty() {
                self.places.remove(&id);
            }
        }
    }
}
