//! The queue against a naive model: a plain list, scanned in full each time.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use scheduler::policy::LANES;
use scheduler::{
    Aging, BpfQueue, Deadline, DeadlinePolicy, ExecPriority, ExecRequest, Policy, Profile, ProgId,
    SchedError, ThroughputPolicy,
};

#[derive(Debug, Clone)]
enum Step {
    Submit {
        id: u64,
        level: usize,
        deadline: Option<u64>,
    },
    Next,
    Cancel(u64),
    Tick(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let submit = (0..40u64, 0..4usize, proptest::option::of(0..4_000u64)).prop_map(
        |(id, level, deadline)| Step::Submit {
            id,
            level,
            deadline,
        },
    );
    let step = prop_oneof![
        5 => submit,
        4 => Just(Step::Next),
        1 => (0..40u64).prop_map(Step::Cancel),
        1 => (0..200u64).prop_map(Step::Tick),
    ];
    proptest::collection::vec(step, 0..400)
}

/// What the documentation says, done the slow way.
struct Model {
    by_deadline: bool,
    aging: bool,
    capacity: usize,
    pending: Vec<(ExecRequest<u64>, u64)>,
    submitted: u64,
    now: u64,
    executed: u64,
    misses: u64,
    passed: [u64; LANES],
    served_at: [u64; LANES],
    last_aged: bool,
}

impl Model {
    fn new(by_deadline: bool, aging: bool, profile: Profile) -> Self {
        Self {
            by_deadline,
            aging,
            capacity: profile.capacity(),
            pending: Vec::new(),
            submitted: 0,
            now: 0,
            executed: 0,
            misses: 0,
            passed: [0; LANES],
            served_at: [0; LANES],
            last_aged: false,
        }
    }

    fn lane(&self, request: &ExecRequest<u64>) -> usize {
        if self.by_deadline && request.deadline.is_some() {
            4
        } else {
            request.priority.index()
        }
    }

    fn submit(&mut self, request: ExecRequest<u64>) -> Result<(), SchedError> {
        if self.pending.len() >= self.capacity {
            return Err(SchedError::QueueFull {
                capacity: self.capacity,
            });
        }
        if let Some(deadline) = request.deadline
            && deadline.as_nanos() < self.now
        {
            return Err(SchedError::InvalidDeadline {
                deadline_ns: deadline.as_nanos(),
                now_ns: self.now,
            });
        }
        self.pending.push((request, self.submitted));
        self.submitted += 1;
        Ok(())
    }

    fn next(&mut self) -> Option<ExecRequest<u64>> {
        let mut count = [0u64; LANES];
        for (request, _) in &self.pending {
            count[self.lane(request)] += 1;
        }
        let top = (0..LANES).rev().find(|lane| count[*lane] > 0)?;
        let limits = [32, 16, 8, 4];
        let mut lane = top;
        let mut aged = false;
        if self.aging && !self.last_aged {
            for candidate in 0..top {
                let starved = count[candidate] > 0 && self.passed[candidate] >= limits[candidate];
                if starved && (!aged || self.served_at[candidate] < self.served_at[lane]) {
                    lane = candidate;
                    aged = true;
                }
            }
        }
        self.last_aged = aged;
        self.executed += 1;
        for (other, pending) in count.into_iter().enumerate() {
            if other == lane {
                self.passed[other] = 0;
                self.served_at[other] = self.executed;
            } else if pending == 0 {
                self.passed[other] = 0;
            } else {
                self.passed[other] += 1 + pending / 8;
            }
        }
        let key = |request: &ExecRequest<u64>| match request.deadline {
            Some(deadline) if self.by_deadline => deadline.as_nanos(),
            _ => 0,
        };
        let at = (0..self.pending.len())
            .filter(|at| self.lane(&self.pending[*at].0) == lane)
            .min_by_key(|at| (key(&self.pending[*at].0), self.pending[*at].1))?;
        let (request, _) = self.pending.remove(at);
        if request.deadline.is_some_and(|d| d.as_nanos() < self.now) {
            self.misses += 1;
        }
        Some(request)
    }

    fn cancel(&mut self, id: ProgId) -> bool {
        let before = self.pending.len();
        self.pending.retain(|(request, _)| request.id != id);
        self.pending.len() != before
    }
}

fn compare<P: Policy>(policy: P, mut model: Model, profile: Profile, steps: Vec<Step>) {
    let mut queue = BpfQueue::with_profile(policy, profile);
    for (serial, step) in steps.into_iter().enumerate() {
        match step {
            Step::Submit {
                id,
                level,
                deadline,
            } => {
                let mut request = ExecRequest::new(ProgId(id), serial as u64)
                    .with_priority(ExecPriority::ALL[level]);
                if let Some(deadline) = deadline {
                    request = request.with_deadline(Deadline::new(deadline));
                }
                assert_eq!(queue.submit(request.clone()), model.submit(request));
            }
            Step::Next => assert_eq!(queue.next(), model.next()),
            Step::Cancel(id) => assert_eq!(queue.cancel(ProgId(id)), model.cancel(ProgId(id))),
            Step::Tick(by) => {
                model.now += by;
                queue.update_time(model.now);
            }
        }
        assert_eq!(queue.pending_count(), model.pending.len());
        assert_eq!(queue.has_pending(), !model.pending.is_empty());
        assert_eq!(queue.exec_count(), model.executed);
        assert_eq!(queue.deadline_misses(), model.misses);
    }
}

proptest! {
    #[test]
    fn throughput_is_the_model(steps in steps(), embedded in any::<bool>(), aging in any::<bool>()) {
        let profile = if embedded { Profile::Embedded } else { Profile::Cloud };
        let policy = ThroughputPolicy::new(if aging { Aging::default() } else { Aging::off() });
        compare(policy, Model::new(false, aging, profile), profile, steps);
    }

    #[test]
    fn deadline_is_the_model(steps in steps(), embedded in any::<bool>(), aging in any::<bool>()) {
        let profile = if embedded { Profile::Embedded } else { Profile::Cloud };
        let policy = DeadlinePolicy::new(if aging { Aging::default() } else { Aging::off() });
        compare(policy, Model::new(true, aging, profile), profile, steps);
    }

    /// However the higher lanes are refilled, the first request of a level is
    /// selected within the stated bound.
    #[test]
    fn the_aging_bound_holds(level in 0..3usize, others in proptest::collection::vec((0..5usize, 1..4usize), 1..200)) {
        let aging = Aging::default();
        let priority = ExecPriority::ALL[level];
        let bound = aging.bound(priority).unwrap();
        let mut queue = BpfQueue::new(DeadlinePolicy::new(aging));
        let mut refill = others.into_iter().cycle();
        // History before the watched request arrives.
        for _ in 0..60 {
            fill(&mut queue, refill.next().unwrap(), level);
            queue.next();
        }
        queue.submit(ExecRequest::new(ProgId(7), ()).with_priority(priority)).unwrap();
        let mut waited = 0;
        loop {
            for _ in 0..2 {
                fill(&mut queue, refill.next().unwrap(), level);
            }
            match queue.next() {
                Some(request) if request.id == ProgId(7) => break,
                _ => waited += 1,
            }
            prop_assert!(waited <= bound, "waited {waited}, bound {bound}");
        }
    }
}

/// Adds `count` requests to any lane but the watched one.
fn fill(queue: &mut BpfQueue<(), DeadlinePolicy>, (lane, count): (usize, usize), watched: usize) {
    for _ in 0..count {
        let request = ExecRequest::new(ProgId(1), ());
        let request = match ExecPriority::ALL.get(lane) {
            Some(priority) if lane != watched => request.with_priority(*priority),
            _ => request.with_deadline(Deadline::new(u64::MAX)),
        };
        // Full is fine: the lanes are refilled as far as they go.
        let _ = queue.submit(request);
    }
    // Keep room for the watched request.
    while queue.pending_count() + 4 > queue.capacity() {
        queue.cancel(ProgId(1));
    }
}

#[test]
fn submission_order_inside_a_level_is_exact() {
    let mut queue = BpfQueue::new(ThroughputPolicy::default());
    for serial in 0..500u64 {
        queue
            .submit(ExecRequest::new(ProgId(serial % 3), serial))
            .unwrap();
    }
    for serial in 0..500u64 {
        assert_eq!(queue.next().map(|request| request.payload), Some(serial));
    }
}

#[test]
fn profiles_bound_the_queue() {
    for (profile, bound) in [(Profile::Cloud, 1024), (Profile::Embedded, 32)] {
        let mut queue = BpfQueue::with_profile(ThroughputPolicy::default(), profile);
        for serial in 0..bound {
            queue.submit(ExecRequest::new(ProgId(serial), ())).unwrap();
        }
        let refused = queue.submit(ExecRequest::new(ProgId(0), ()));
        assert_eq!(
            refused,
            Err(SchedError::QueueFull {
                capacity: bound as usize
            })
        );
    }
}

#[test]
fn find_names_the_missing_id() {
    let queue: BpfQueue<(), _> = BpfQueue::new(ThroughputPolicy::default());
    assert_eq!(queue.find(ProgId(9)), Err(SchedError::NotFound(ProgId(9))));
}

#[test]
fn the_clock_never_goes_back() {
    let mut queue = BpfQueue::new(DeadlinePolicy::default());
    queue.update_time(100);
    queue.update_time(50);
    let late = ExecRequest::new(ProgId(1), ()).with_deadline(Deadline::new(99));
    assert!(matches!(
        queue.submit(late),
        Err(SchedError::InvalidDeadline { now_ns: 100, .. })
    ));
    queue
        .submit(ExecRequest::new(ProgId(2), ()).with_deadline(Deadline::new(150)))
        .unwrap();
    queue.update_time(151);
    let request = queue.next().unwrap();
    assert_eq!(queue.deadline_misses(), 1);
    assert_eq!(
        request.deadline.unwrap().check(151),
        Err(SchedError::DeadlineMiss { late_ns: 1 })
    );
}
