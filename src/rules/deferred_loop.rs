//! A callback asks the kernel to run it again, each time it runs.
//!
//! ## What it finds
//!
//! Callbacks that call a kfunc after which the kernel, later and outside every callback, calls the
//! same callback again.
//!
//! ## Why
//!
//! Deferred calls cannot nest, so no kernel refuses them and `nesting-cycle` does not count them. But a
//! callback that asks for the same work each time it runs, without a condition, keeps a CPU busy
//! re-enqueueing the same tasks.
//!
//! ## What to do
//!
//! Ask only when something has changed, or from another callback; nothing needs to be done if the call
//! is behind a condition that becomes false.

use super::support::nest;
use super::support::{Case, Findings};
use super::{Lifecycle, Rule, RuleInfo};
use crate::cfg::nesting::Node;
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct DeferredLoop;

static INFO: RuleInfo = RuleInfo {
    name: "deferred-loop",
    level: Level::Note,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("deferred_loop.rs"),
};

impl Rule for DeferredLoop {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for map in nest::maps(case) {
            for steps in map.graph.deferred_loops(case.kernel, |name| {
                map.callback(name).map(|(c, _)| &*c.role)
            }) {
                let [(Node::Callback(callback), _), .., (Node::Kfunc(kfunc), _)] = &steps[..]
                else {
                    continue;
                };
                let message = format!("`{callback}` asks through `{kfunc}` to be called again");
                let Some((program, mut diagnostic)) =
                    map.diagnostic(case, INFO.name, &steps, Outcome::Ok, message)
                else {
                    continue;
                };
                diagnostic.level = Level::Note;
                diagnostic.help =
                    Some("ask only when something has changed since the last time".into());
                out.program(program, diagnostic);
            }
        }
    }
}
