//! A kfunc is called from a program type it is not registered for.
//!
//! ## What it finds
//!
//! Calls of scheduler kfuncs from `syscall`, tracing, perf, LSM and any other programs, and from
//! programs of other `struct_ops` types, against the registration of the kfunc's sets.
//!
//! ## Why
//!
//! The kernel registers each set of kfuncs for some program types: what acts on a callback for
//! `struct_ops` only, what needs no lock also for `syscall`, what needs no context also for tracing. The
//! verifier refuses any other on every kernel. Programs of another `struct_ops` type may load all of them
//! up to Linux 7.0, where a kfunc bound to a callback then ends the running scheduler; from 7.1 the
//! verifier refuses them.
//!
//! ## What to do
//!
//! Do it in a callback of the scheduler, and pass what is needed through a map; `scx-lint kfunc NAME`
//! shows the program types.

use super::support::{Case, Findings, Host};
use super::{Lifecycle, Rule, RuleInfo};
use crate::kernel::{Enforcement, ProgramHooks};
use crate::object::ProgramKind;
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct KfuncProgramType;

static INFO: RuleInfo = RuleInfo {
    name: "kfunc-program-type",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("kfunc_program_type.rs"),
};

impl Rule for KfuncProgramType {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let (place, foreign) = match program.host {
                Host::Callback { .. }
                | Host::MissingType { .. }
                | Host::Other(ProgramKind::StructOps) => continue,
                Host::ForeignStructOps { map, .. } => {
                    (format!("a `{}` program", map.essential_type_name()), true)
                }
                Host::Other(_) => (
                    format!(
                        "a `{}` program",
                        super::support::evidence::section_kind(program.program.section)
                    ),
                    false,
                ),
            };
            for call in case.calls(program) {
                let Some(kfunc) = call.kfunc else { continue };
                let outcome = if program
                    .host
                    .hook()
                    .is_none_or(|hook| !kfunc.hooks.contains(hook))
                {
                    Outcome::Refused
                } else if foreign
                    && case.kernel.enforcement == Enforcement::RunTime
                    && !case.permitted_outside(kfunc)
                {
                    Outcome::Killed
                } else {
                    continue;
                };
                let message = format!("`{}` cannot be called from {place}", kfunc.name);
                let mut diagnostic = case.at_call(INFO.name, program, &call, outcome, message);
                // Other types may load it on some kernels; only the scheduler's own are worth writing for.
                let types = kfunc
                    .hooks
                    .without(ProgramHooks::FOREIGN_STRUCT_OPS)
                    .without(ProgramHooks::EXTENSION);
                diagnostic.help = Some(format!(
                    "it is registered for programs of type {}",
                    super::support::evidence::quoted(types.names())
                ));
                out.program(program, diagnostic);
            }
        }
    }
}
