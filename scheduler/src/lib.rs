//! The library behind `scx_tiers`: the policy core and the framework for
//! schedulers that decide in user space.
//!
//! The policy core ([`policy`]) orders requests and needs no kernel:
//!
//! ```
//! use scheduler::{BpfQueue, ExecPriority, ExecRequest, ProgId, ThroughputPolicy};
//!
//! let mut queue = BpfQueue::new(ThroughputPolicy::default());
//! queue.submit(ExecRequest::new(ProgId(1), "compile"))?;
//! queue.submit(ExecRequest::new(ProgId(2), "audio").with_priority(ExecPriority::Critical))?;
//! assert_eq!(queue.next().map(|request| request.payload), Some("audio"));
//! # Ok::<(), scheduler::SchedError>(())
//! ```

pub mod cli;
pub mod gate;
pub mod intf;
pub mod kernel;
pub mod loader;
pub mod policy;
pub mod report;
pub mod run;
pub mod user;

pub use policy::{
    Aging, BpfQueue, Deadline, DeadlinePolicy, ExecPriority, ExecRequest, Policy, Profile, ProgId,
    SchedError, ThroughputPolicy,
};
