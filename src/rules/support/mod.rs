//! What rules share: what they are given, where they put what they find, and the words for it.

mod advice;
pub mod case;
mod conditions;
pub mod evidence;
pub mod nest;

pub use case::{Call, Case, Finding, Findings, Host, ProgramCase};
