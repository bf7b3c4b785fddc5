//! A kfunc is called from a callback that does not permit it.
//!
//! ## What it finds
//!
//! Every kfunc call that a `struct_ops` program reaches, however deep in subprograms and helper
//! callbacks, against the callback the program is attached to. A function shared by two callbacks is
//! judged once for each. Calls in timers, workqueues and task work are `async-context`.
//!
//! Also calls that pass the kernel's own check and still hang the CPU or end the scheduler, because
//! the kernel's label of a callback was wrong or the call needs more than the label says.
//!
//! ## Why
//!
//! Many scheduler kfuncs act on what the kernel is doing at that moment: the task being enqueued, the
//! CPU being dispatched to. Up to Linux 7.0 the kernel checks a mask at each call
//! (`scx_kf_allowed()`, kernel/sched/ext.c) and ends the scheduler when it does not fit: the object
//! loads and works until the call is reached. From 7.1 the verifier refuses the program
//! (`scx_kfunc_context_filter()`), with one line for one kernel.
//!
//! ## What to do
//!
//! Move the call to a callback that permits it; `scx-lint kfunc NAME` and `scx-lint callback NAME`
//! show which. A test with `bpf_ksym_exists()` does not help: where the kfunc exists the branch is live.
//! A branch on a `const volatile` variable does, if the loader sets it.

use super::support::{Call, Case, Findings, Host, ProgramCase};
use super::{Lifecycle, Rule, RuleInfo};
use crate::kernel::{Callback, Enforcement, Hazard, HazardOutcome, Kfunc, Permission};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct KfuncContext;

static INFO: RuleInfo = RuleInfo {
    name: "kfunc-context",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("kfunc_context.rs"),
};

impl Rule for KfuncContext {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let Host::Callback {
                callback: Some(callback),
                ..
            } = program.host
            else {
                continue;
            };
            for call in case.calls(program) {
                let Some(kfunc) = call.kfunc else { continue };
                let asynchronous = program
                    .reach
                    .as_ref()
                    .and_then(|reach| reach.role(call.call.site))
                    .is_some_and(|role| role.asynchronous.is_some());
                if asynchronous {
                    continue;
                }
                if case.kernel.permission(callback, kfunc) == Permission::WrongContext {
                    out.program(program, self.denied(case, program, callback, &call, kfunc));
                } else if let Some(hazard) = case.kernel.hazard(callback, kfunc) {
                    out.program(program, self.hazard(case, program, callback, &call, hazard));
                }
            }
        }
    }
}

impl KfuncContext {
    fn denied(
        &self,
        case: &Case<'_>,
        program: &ProgramCase<'_>,
        callback: &Callback,
        call: &Call<'_>,
        kfunc: &Kfunc,
    ) -> crate::report::Diagnostic {
        let harmless = callback.ends_anyway;
        let outcome = match case.kernel.enforcement {
            Enforcement::Load => Outcome::Refused,
            Enforcement::RunTime if harmless => Outcome::Ok,
            Enforcement::RunTime => Outcome::Killed,
        };
        let message = format!("`{}` is not permitted in `{}`", kfunc.name, callback.name);
        let mut diagnostic = case.at_call(INFO.name, program, call, outcome, message);
        if harmless && outcome == Outcome::Ok {
            diagnostic.level = Level::Warning;
            diagnostic.notes.push(format!(
                "the kernel refuses the call, but `{}` runs when the scheduler is already going away",
                callback.name
            ));
        }
        diagnostic.help = Some(case.where_permitted(kfunc));
        let says = case.kernel.refusal(kfunc, callback.contexts);
        diagnostic.notes.push(format!("the kernel says \"{says}\""));
        diagnostic
    }

    fn hazard(
        &self,
        case: &Case<'_>,
        program: &ProgramCase<'_>,
        callback: &Callback,
        call: &Call<'_>,
        hazard: &Hazard,
    ) -> crate::report::Diagnostic {
        let (outcome, verb) = match hazard.outcome {
            HazardOutcome::Killed if callback.ends_anyway => (Outcome::Ok, "is an error"),
            HazardOutcome::Hangs => (Outcome::Hangs, "hangs the CPU"),
            HazardOutcome::Killed => (Outcome::Killed, "ends the scheduler"),
            HazardOutcome::Misbehaves => (Outcome::Ok, "does not do what it seems to"),
        };
        let name = call.symbol.essential_name;
        let message = format!("`{name}` {verb} when called from `{}`", callback.name);
        let mut diagnostic = case.at_call(INFO.name, program, call, outcome, message);
        if outcome == Outcome::Ok {
            diagnostic.level = Level::Warning;
        }
        diagnostic.notes.push(hazard.text.to_string());
        if let Some(says) = &hazard.message {
            diagnostic.notes.push(format!("the kernel says \"{says}\""));
        }
        diagnostic.help = call.kfunc.map(|kfunc| case.where_safe(kfunc));
        diagnostic
    }
}
