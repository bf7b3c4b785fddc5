//! Facts over releases: a timeline is a list of periods, each inheriting from the one before what
//! it does not say itself.

use super::release::Point;

/// Facts that a later period may state in part.
pub(crate) trait Inherit: Clone {
    /// Takes from `earlier` what is not stated here.
    fn inherit(&mut self, earlier: &Self);
}

/// Where a statement stands: file index and byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub file: usize,
    pub offset: usize,
}

/// One statement about a name, as read.
#[derive(Debug, Clone)]
pub(crate) struct Statement<T> {
    /// Which table of several on top of each other; the later wins.
    pub layer: usize,
    pub origin: Origin,
    pub since: Point,
    pub maybe_since: Point,
    /// Last kernel it holds for, when it says so.
    pub until: Option<Point>,
    /// `None` says that the thing is gone.
    pub facts: Option<T>,
}

/// One stretch of releases in which nothing changes.
#[derive(Debug, Clone)]
pub(crate) struct Period<T> {
    pub since: Point,
    /// First kernel at which this period may already have begun.
    pub maybe_since: Point,
    /// `None`: not there.
    pub facts: Option<T>,
}

/// Everything known about one name, in order.
#[derive(Debug, Clone)]
pub(crate) struct Timeline<T> {
    pub periods: Vec<Period<T>>,
}

/// Two statements that speak of the same release.
#[derive(Debug)]
pub(crate) struct Overlap {
    pub second: Origin,
    pub first: Origin,
}

impl<T: Inherit> Timeline<T> {
    /// Puts statements in order. Within one layer no two may begin at the same release, and none
    /// may begin before an explicit end of another.
    pub fn build(mut statements: Vec<Statement<T>>) -> Result<Timeline<T>, Overlap> {
        statements.sort_by_key(|statement| (statement.since, statement.layer));
        for (index, first) in statements.iter().enumerate() {
            for second in statements.iter().skip(index + 1) {
                let together = second.since == first.since
                    || first.until.is_some_and(|until| second.since <= until);
                if together && first.layer == second.layer {
                    return Err(Overlap {
                        second: second.origin,
                        first: first.origin,
                    });
                }
            }
        }
        let mut periods: Vec<Period<T>> = Vec::new();
        for (index, statement) in statements.iter().enumerate() {
            let mut facts = statement.facts.clone();
            if let (Some(facts), Some(earlier)) = (
                facts.as_mut(),
                periods.last().and_then(|period| period.facts.as_ref()),
            ) {
                facts.inherit(earlier);
            }
            // A later layer's statement about the same release replaces the earlier one.
            if periods
                .last()
                .is_some_and(|period| period.since == statement.since)
            {
                periods.pop();
            }
            periods.push(Period {
                since: statement.since,
                maybe_since: statement.maybe_since,
                facts,
            });
            let next = statements.get(index + 1).map(|next| next.since);
            if let Some(end) = statement.until.map(Point::next)
                && next.is_none_or(|next| next > end)
            {
                periods.push(Period {
                    since: end,
                    maybe_since: end,
                    facts: None,
                });
            }
        }
        Ok(Timeline { periods })
    }
}

impl<T> Timeline<T> {
    /// What holds for a kernel.
    pub fn at(&self, point: Point) -> Option<&T> {
        self.period(point)?.facts.as_ref()
    }

    /// The period a kernel is in.
    pub fn period(&self, point: Point) -> Option<&Period<T>> {
        let after = self.periods.partition_point(|period| period.since <= point);
        self.periods.get(after.checked_sub(1)?)
    }

    /// The next period, if it may have begun already.
    pub fn possibly(&self, point: Point) -> Option<&Period<T>> {
        let after = self.periods.partition_point(|period| period.since <= point);
        self.periods
            .get(after)
            .filter(|period| period.maybe_since <= point)
    }
}

impl Point {
    /// The next kernel.
    pub fn next(self) -> Point {
        match (self.patch.checked_add(1), self.minor.checked_add(1)) {
            (Some(patch), _) => Point { patch, ..self },
            (None, Some(minor)) => Point {
                minor,
                patch: 0,
                ..self
            },
            (None, None) => Point {
                major: self.major.saturating_add(1),
                minor: 0,
                patch: 0,
            },
        }
    }

    /// The kernel before.
    pub fn previous(self) -> Point {
        match (self.patch.checked_sub(1), self.minor.checked_sub(1)) {
            (Some(patch), _) => Point { patch, ..self },
            (None, Some(minor)) => Point {
                minor,
                patch: u16::MAX,
                ..self
            },
            (None, None) => Point {
                major: self.major.saturating_sub(1),
                minor: u16::MAX,
                patch: u16::MAX,
            },
        }
    }
}
