//! A sleepable program is attached to a callback that may not sleep.
//!
//! ## What it finds
//!
//! `struct_ops.s` programs on members that the kernel does not accept them for.
//!
//! ## Why
//!
//! `bpf_scx_check_member()` (kernel/sched/ext.c) accepts sleepable programs for a few members only; most
//! callbacks run with a run queue locked. The load fails with "attach to unsupported member".
//!
//! ## What to do
//!
//! Use `SEC("struct_ops/…")`, and do what may sleep in a callback that may: `scx-lint callback NAME`
//! tells.

use super::support::{Case, Findings, Host};
use super::{Lifecycle, Rule, RuleInfo};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct CallbackSleepable;

static INFO: RuleInfo = RuleInfo {
    name: "callback-sleepable",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("callback_sleepable.rs"),
};

impl Rule for CallbackSleepable {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let Host::Callback {
                callback: Some(callback),
                ops,
                ..
            } = program.host
            else {
                continue;
            };
            if !program.program.sleepable || callback.sleepable {
                continue;
            }
            let message = format!(
                "`{}` is a sleepable program and `{}` may not sleep",
                program.program.name, callback.name
            );
            let mut diagnostic = case.diagnostic(INFO.name, program, Outcome::Refused, message);
            diagnostic.location =
                super::support::evidence::line(case.object, program.program.function, 0);
            let may: Vec<_> = ops
                .callbacks
                .iter()
                .filter(|other| other.sleepable)
                .map(|other| &other.name)
                .collect();
            diagnostic.help = Some(format!(
                "use `SEC(\"struct_ops/{}\")`; callbacks that may sleep here are {}",
                program.program.name,
                super::support::evidence::quoted(may)
            ));
            out.program(program, diagnostic);
        }
    }
}
