//! What was found, and the ways to print it.
//!
//! [`diagnostic`] holds the canonical types, which are the JSON contract; every renderer is one
//! file beside it and is fed exactly those. Nothing here knows how a finding was made.

pub mod diagnostic;
pub mod escape;
pub mod human;
pub mod json;
pub mod kernels;
mod snippet;
pub mod style;
pub mod table;

pub use diagnostic::{
    Attachment, CallbackReport, ChainKind, ChainLink, Diagnostic, Failure, KernelVerdict, Level,
    Location, ObjectReport, Outcome, ProgramReport, ProgramVerdict, Report, SCHEMA_VERSION,
    StructOpsReport, Summary, Tool,
};
