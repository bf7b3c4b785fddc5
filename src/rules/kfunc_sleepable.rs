//! A kfunc that may sleep is called where that is not possible, or one needs an RCU read section.
//!
//! ## What it finds
//!
//! Calls of `KF_SLEEPABLE` kfuncs in programs, timers or RCU read sections that cannot sleep, and calls
//! of `KF_RCU_PROTECTED` kfuncs in sleepable programs outside an RCU read section. The same for the
//! use, and be it only the end, of an iterator that such a kfunc made.
//!
//! ## Why
//!
//! The verifier refuses both on every kernel ("program must be sleepable to call sleepable kfunc").
//! Only some callbacks may have a sleepable program at all (see `callback-sleepable`): in the others a
//! sleepable kfunc can be permitted by context and still never load. A program that cannot sleep is
//! always inside an RCU read section.
//!
//! ## What to do
//!
//! Declare the program sleepable (`SEC("struct_ops.s/…")`) if its callback may sleep, else move the
//! call to one that may. Enclose an RCU-protected call, and the use of what it returns, in an RCU read
//! section.

use super::support::{Case, Findings, Host};
use super::{Lifecycle, Rule, RuleInfo};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct KfuncSleepable;

static INFO: RuleInfo = RuleInfo {
    name: "kfunc-sleepable",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("kfunc_sleepable.rs"),
};

impl Rule for KfuncSleepable {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            // What follows an iterator's first mistake are consequences of it.
            let mut told_of_iterator = false;
            for call in case.calls(program) {
                let Some(kfunc) = call.kfunc else { continue };
                let role = program
                    .reach
                    .as_ref()
                    .and_then(|reach| reach.role(call.call.site));
                let asynchronous = role.and_then(|role| role.asynchronous);
                let sleeps = match asynchronous {
                    None => program.program.sleepable,
                    Some(kind) => {
                        kind.sleepable
                            || (case.kernel.async_sleeps_with_program()
                                && program.program.sleepable)
                    }
                };
                let place = match (asynchronous, program.host) {
                    (Some(kind), _) => super::support::evidence::async_name(kind).to_owned(),
                    (None, Host::Callback { member, .. }) => format!("`{member}`"),
                    (None, _) => format!("`{}`", program.program.name),
                };
                let (message, help) = if kfunc.sleepable && !sleeps {
                    let may = asynchronous.is_none()
                        && matches!(program.host, Host::Callback { callback: Some(callback), .. } if callback.sleepable);
                    let help = if may {
                        format!(
                            "declare the program sleepable: `BPF_STRUCT_OPS_SLEEPABLE` or `SEC(\"struct_ops.s/{}\")`",
                            program.program.name
                        )
                    } else {
                        format!(
                            "call it from a callback that may sleep: {}",
                            case.sleepable_callbacks(kfunc)
                        )
                    };
                    (
                        format!("`{}` may sleep and {place} is not sleepable", kfunc.name),
                        help,
                    )
                } else if kfunc.sleepable && call.call.in_rcu_section {
                    (
                        format!(
                            "`{}` may sleep and is called inside an RCU read section",
                            kfunc.name
                        ),
                        "call it before `bpf_rcu_read_lock()` or after `bpf_rcu_read_unlock()`"
                            .to_owned(),
                    )
                } else if kfunc.rcu_iterator && sleeps && !call.call.in_rcu_section {
                    if told_of_iterator {
                        continue;
                    }
                    told_of_iterator = true;
                    (
                        format!(
                            "`{}` needs the RCU read section of its iterator and {place} is sleepable",
                            kfunc.name
                        ),
                        "make, step and end the iterator between one `bpf_rcu_read_lock()` and its \
                         `bpf_rcu_read_unlock()`"
                            .to_owned(),
                    )
                } else if kfunc.rcu_protected && sleeps && !call.call.in_rcu_section {
                    (
                        format!(
                            "`{}` needs an RCU read section and {place} is sleepable",
                            kfunc.name
                        ),
                        "enclose the call and the use of its result in `bpf_rcu_read_lock()` and \
                         `bpf_rcu_read_unlock()`"
                            .to_owned(),
                    )
                } else {
                    continue;
                };
                let mut diagnostic =
                    case.at_call(INFO.name, program, &call, Outcome::Refused, message);
                diagnostic.help = Some(help);
                out.program(program, diagnostic);
            }
        }
    }
}
