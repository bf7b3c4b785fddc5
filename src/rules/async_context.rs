//! A kfunc bound to a callback is called from an asynchronous callback.
//!
//! ## What it finds
//!
//! Calls reached through a function handed to a timer, a workqueue or task work, of kfuncs that ask
//! for a context such a function does not run in.
//!
//! ## Why
//!
//! Asynchronous callbacks run later, outside every scheduler callback. Up to Linux 7.0 their mask is
//! empty: a kfunc that asks for a context ends the scheduler there, unless it is also permitted in
//! unlocked callbacks. From 7.1 the verifier judges the function as part of the program that *arms* it:
//! the same function is refused when armed in one callback and accepted when armed in another, although
//! at run time nothing is being enqueued or dispatched in either. What is accepted and still wrong is a
//! warning, or an error where it was measured to hang.
//!
//! ## What to do
//!
//! Arm it in `init`, where it is judged as an unlocked callback on every kernel, and move tasks from
//! there with kfuncs permitted in unlocked callbacks; or kick a CPU and act in `dispatch`.

use super::support::{Call, Case, Findings, Host, ProgramCase};
use super::{Lifecycle, Rule, RuleInfo};
use crate::cfg::AsyncKind;
use crate::kernel::{Enforcement, HazardOutcome, Kfunc, Permission};
use crate::report::{Diagnostic, Level, Outcome};

/// See the module's documentation.
pub struct AsyncContext;

static INFO: RuleInfo = RuleInfo {
    name: "async-context",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("async_context.rs"),
};

impl Rule for AsyncContext {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            for call in case.calls(program) {
                let role = program
                    .reach
                    .as_ref()
                    .and_then(|reach| reach.role(call.call.site));
                let (Some(kfunc), Some(kind)) =
                    (call.kfunc, role.and_then(|role| role.asynchronous))
                else {
                    continue;
                };
                if let Some(diagnostic) = self.judge(case, program, &call, kfunc, kind) {
                    out.program(program, diagnostic);
                }
            }
        }
    }
}

impl AsyncContext {
    fn judge(
        &self,
        case: &Case<'_>,
        program: &ProgramCase<'_>,
        call: &Call<'_>,
        kfunc: &Kfunc,
        kind: AsyncKind,
    ) -> Option<Diagnostic> {
        let place = super::support::evidence::async_name(kind);
        let at_home = case.permitted_outside(kfunc);
        let refused = case.kernel.enforcement == Enforcement::Load
            && matches!(
                program.host,
                Host::Callback { callback: Some(callback), .. }
                    if case.kernel.permission(callback, kfunc) == Permission::WrongContext
            );
        let mut diagnostic = if refused {
            let message = match program.host {
                Host::Callback { member, .. } => format!(
                    "`{}` is not permitted in {place} armed from `{member}`",
                    kfunc.name
                ),
                _ => format!("`{}` is not permitted in {place}", kfunc.name),
            };
            let mut diagnostic = case.at_call(INFO.name, program, call, Outcome::Refused, message);
            if let Host::Callback {
                callback: Some(callback),
                ..
            } = program.host
            {
                let says = case.kernel.refusal(kfunc, callback.contexts);
                diagnostic.notes.push(format!("the kernel says \"{says}\""));
            }
            diagnostic
        } else if let Some(hazard) = case
            .kernel
            .async_hazard(kfunc)
            .filter(|h| h.outcome != HazardOutcome::Misbehaves)
        {
            let outcome = if hazard.outcome == HazardOutcome::Hangs {
                Outcome::Hangs
            } else {
                Outcome::Killed
            };
            let message = format!("`{}` in {place} locks up or ends the scheduler", kfunc.name);
            let mut diagnostic = case.at_call(INFO.name, program, call, outcome, message);
            diagnostic.notes.push(hazard.text.to_string());
            diagnostic
        } else if at_home {
            return None;
        } else {
            let message = format!(
                "`{}` acts on a callback, and {place} runs outside every callback",
                kfunc.name
            );
            match case.kernel.enforcement {
                Enforcement::RunTime => {
                    let mut diagnostic =
                        case.at_call(INFO.name, program, call, Outcome::Killed, message);
                    let says = case.kernel.refusal(kfunc, case.kernel.async_contexts());
                    diagnostic.notes.push(format!("the kernel says \"{says}\""));
                    diagnostic
                }
                Enforcement::Load => {
                    let mut diagnostic =
                        case.at_call(INFO.name, program, call, Outcome::Ok, message);
                    diagnostic.level = Level::Warning;
                    diagnostic.notes.push(
                        "the verifier accepts it, because it judges the function as part of the program that \
                         arms it; what it does at run time is undefined"
                            .into(),
                    );
                    if let Some(hazard) = case.kernel.async_hazard(kfunc) {
                        diagnostic.notes.push(hazard.text.to_string());
                    }
                    diagnostic
                }
            }
        };
        diagnostic.help = Some(if at_home {
            format!(
                "arm it from a callback in which `{}` is permitted: {}",
                kfunc.name,
                case.callbacks_permitting(kfunc)
            )
        } else {
            format!(
                "kick the CPU with a context-free kfunc and call `{}` from {}",
                kfunc.name,
                case.callbacks_permitting(kfunc)
            )
        });
        Some(diagnostic)
    }
}
