//! What can go wrong in the policy core.

use thiserror::Error;

use super::request::ProgId;

/// A refusal of the policy core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SchedError {
    /// The queue holds as many requests as its profile allows.
    #[error(
        "the queue is full ({capacity} requests); take requests out with `next` before submitting more"
    )]
    QueueFull {
        /// The bound that was reached.
        capacity: usize,
    },
    /// No pending request has this id.
    #[error("no pending request has id {}", .0.0)]
    NotFound(
        /// The id that was asked for.
        ProgId,
    ),
    /// A request was submitted with a deadline that had passed already.
    #[error("the deadline {deadline_ns} ns is not after the queue's clock, {now_ns} ns")]
    InvalidDeadline {
        /// The request's absolute deadline.
        deadline_ns: u64,
        /// The queue's clock at submission.
        now_ns: u64,
    },
    /// A request was selected after its deadline.
    #[error("the deadline was missed by {late_ns} ns")]
    DeadlineMiss {
        /// How long ago the deadline passed.
        late_ns: u64,
    },
}
