//! A nested callback breaks the order of masks or calls what nesting forbids.
//!
//! ## What it finds
//!
//! Ways from a callback through a kfunc into a callback that the kernel runs before the kfunc returns,
//! along which masks do not increase, or on which a kfunc bound to an outer operation is called from
//! inside a nested one.
//!
//! ## Why
//!
//! Re-enqueueing in `cpu_release` runs `enqueue` for every task. Up to Linux 7.0 the masks of nested
//! callbacks must increase along the way (`scx_kf_allow()`), and a kfunc bound to a CPU release or a
//! dispatch ends the scheduler when it is called from an operation nested inside one
//! (`scx_kf_allowed()`), even where the mask alone would permit it. Nobody checks this before run time,
//! and a test that never takes the nested way never sees it.
//!
//! ## What to do
//!
//! Call it from the outer callback itself.

use super::support::nest;
use super::support::{Case, Findings};
use super::{Lifecycle, Rule, RuleInfo};
use crate::cfg::nesting::{Node, Step, nested_error, out_of_order};
use crate::kernel::Contexts;
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct NestingOrder;

static INFO: RuleInfo = RuleInfo {
    name: "nesting-order",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("nesting_order.rs"),
};

impl Rule for NestingOrder {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        if !case.kernel.nested_increases() {
            return;
        }
        for map in nest::maps(case) {
            let mut found: Vec<(Vec<Step>, String, Option<String>)> = Vec::new();
            map.graph.walk(&mut |steps| {
                let contexts = steps.iter().filter_map(|(node, _)| match node {
                    Node::Callback(name) => {
                        map.callback(name).map(|(callback, _)| callback.contexts)
                    }
                    Node::Kfunc(_) => None,
                });
                let contexts: Vec<Contexts> = contexts.collect();
                let Some((inner, outer)) = contexts.split_last() else {
                    return true;
                };
                if outer.is_empty() {
                    return true;
                }
                let outside = outer
                    .iter()
                    .fold(Contexts::NONE, |all, one| all.union(*one));
                match steps.last() {
                    Some((Node::Callback(name), _))
                        if out_of_order(case.kernel, outside, *inner) =>
                    {
                        let message = format!(
                            "`{name}` runs inside {}, and its mask is not above theirs",
                            outer_names(steps)
                        );
                        found.push((steps.to_vec(), message, None));
                        return false;
                    }
                    Some((Node::Kfunc(name), Some(index))) => {
                        let kfunc = map.call(*index).and_then(|(call, _)| call.kfunc);
                        let says = kfunc.and_then(|kfunc| {
                            nested_error(case.kernel, kfunc, outside.union(*inner))
                        });
                        if let Some(says) = says {
                            let message = format!(
                                "`{name}` is called from `{}` nested inside {}",
                                inner_name(steps),
                                outer_names(steps)
                            );
                            found.push((steps.to_vec(), message, Some(says)));
                        }
                    }
                    _ => {}
                }
                true
            });
            for (steps, message, says) in found {
                let rule = INFO.name;
                let Some((program, mut diagnostic)) =
                    map.diagnostic(case, rule, &steps, Outcome::Killed, message)
                else {
                    continue;
                };
                let kfunc = steps
                    .last()
                    .and_then(|(_, call)| map.call((*call)?))
                    .and_then(|(call, _)| call.kfunc);
                diagnostic.help = Some(match kfunc {
                    Some(kfunc) => case.where_permitted(kfunc),
                    None => format!(
                        "do not make the kernel call back from {}",
                        outer_names(&steps)
                    ),
                });
                diagnostic
                    .notes
                    .extend(says.map(|says| format!("the kernel says \"{says}\"")));
                out.program(program, diagnostic);
            }
        }
    }
}

fn callbacks(steps: &[Step]) -> Vec<&str> {
    let names = steps.iter().filter_map(|(node, _)| match node {
        Node::Callback(name) => Some(name.as_str()),
        Node::Kfunc(_) => None,
    });
    names.collect()
}

fn outer_names(steps: &[Step]) -> String {
    let names = callbacks(steps);
    let outer = names.split_last().map_or(&[][..], |(_, outer)| outer);
    super::support::evidence::quoted(outer)
}

fn inner_name(steps: &[Step]) -> &str {
    callbacks(steps).last().copied().unwrap_or_default()
}
