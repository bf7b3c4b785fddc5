//! A callback leads back to itself through a kfunc.
//!
//! ## What it finds
//!
//! Cycles in the graph of callbacks, the kfuncs they call, and the callbacks the kernel runs inside
//! those kfuncs. What the kernel defers and what it runs in a sub-scheduler is not nested.
//!
//! ## Why
//!
//! Nesting must be a directed acyclic graph, or it has no end. Up to Linux 7.0 the mask check ends such
//! a scheduler when it goes round; from 7.1 the calls on the way are refused at load.
//!
//! ## What to do
//!
//! Break the cycle: use a deferred kfunc, or set a flag and act on it in another callback.

use super::support::nest;
use super::support::{Case, Findings};
use super::{Lifecycle, Rule, RuleInfo};
use crate::cfg::nesting::Node;
use crate::kernel::{Enforcement, Permission};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct NestingCycle;

static INFO: RuleInfo = RuleInfo {
    name: "nesting-cycle",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("nesting_cycle.rs"),
};

impl Rule for NestingCycle {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for map in nest::maps(case) {
            for steps in map.graph.cycles() {
                let way: Vec<String> = steps
                    .iter()
                    .map(|(node, _)| match node {
                        Node::Callback(name) | Node::Kfunc(name) => format!("`{name}`"),
                    })
                    .collect();
                let refused = steps.windows(2).any(|pair| match pair {
                    [(Node::Callback(name), _), (Node::Kfunc(_), Some(index))] => map
                        .callback(name)
                        .zip(map.call(*index).and_then(|(call, _)| call.kfunc))
                        .is_some_and(|((callback, _), kfunc)| {
                            case.kernel.permission(callback, kfunc) != Permission::Permitted
                        }),
                    _ => false,
                });
                let outcome = match case.kernel.enforcement {
                    Enforcement::Load if refused => Outcome::Refused,
                    _ => Outcome::Killed,
                };
                let message = format!(
                    "the kernel would call back without end: {}",
                    way.join(" → ")
                );
                let Some((program, mut diagnostic)) =
                    map.diagnostic(case, INFO.name, &steps, outcome, message)
                else {
                    continue;
                };
                diagnostic.help = Some(
                    "break the cycle: use a deferred kfunc, or set a flag and act on it elsewhere"
                        .into(),
                );
                out.program(program, diagnostic);
            }
        }
    }
}
