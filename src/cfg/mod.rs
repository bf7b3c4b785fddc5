//! What can run: instruction decoding, constant folding per kernel, call graph and contexts.
//!
//! [`Explorer`] follows functions the way the verifier does, with the constants ([`Inputs`]) of one
//! kernel; [`Reach`] is what one program reaches; [`nesting`] is the graph of callbacks that run
//! inside kfuncs that callbacks call.

pub mod explore;
mod function;
pub mod inputs;
pub mod insn;
pub mod nesting;
pub mod reach;
mod state;
pub mod value;

pub use explore::{AsyncKind, Explorer, Obstacle};
pub use inputs::{InputId, InputTable, Inputs, Known, kfunc_match};
pub use reach::{KfuncCall, Reach, Role, RoleKind, Site};
