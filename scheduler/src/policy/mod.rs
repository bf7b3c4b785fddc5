//! The policy core: what runs next, decided without a kernel.
//!
//! A [`BpfQueue`] keeps pending [`ExecRequest`]s in lanes; a [`Policy`] says
//! which lane a request belongs to and which lane is served next. The BPF half
//! of `scx_tiers` follows the same rules with dispatch queues as its lanes.

mod error;
mod lanes;
mod queue;
mod request;

pub use error::SchedError;
pub use lanes::{Aging, DeadlinePolicy, Head, LANES, Lane, Place, Policy, ThroughputPolicy};
pub use queue::{BpfQueue, Profile};
pub use request::{Deadline, ExecPriority, ExecRequest, ProgId};
