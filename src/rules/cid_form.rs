//! A cid-form scheduler calls a kfunc reserved to cpu-form ones.
//!
//! ## What it finds
//!
//! Calls of kfuncs that speak in CPU numbers or cpumasks from programs of `struct sched_ext_ops_cid`,
//! schedulers of that type whose programs do not use exactly one arena map, and schedulers of the other
//! type that set a callback meant for this one.
//!
//! ## Why
//!
//! From Linux 7.2 a scheduler may be written against topological CPU ids. The verifier's filter
//! refuses the cpu-form kfuncs in its programs. The reverse is permitted. Registering a cid-form
//! scheduler fails without an arena map (`cid-form scheduler must use a BPF arena map`) and with two, as
//! does registering a cpu-form one with callbacks of sub-schedulers (`sub_attach/sub_detach requires
//! cid-form struct_ops`).
//!
//! ## What to do
//!
//! Use the kfunc that takes or returns cids, or write the scheduler as `struct sched_ext_ops`.

use super::support::{Case, Findings, Host};
use super::{Lifecycle, Rule, RuleInfo};
use std::collections::BTreeSet;

use crate::kernel::{Form, Permission};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct CidForm;

static INFO: RuleInfo = RuleInfo {
    name: "cid-form",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("cid_form.rs"),
};

impl Rule for CidForm {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let Host::Callback {
                callback: Some(callback),
                map,
                ..
            } = program.host
            else {
                continue;
            };
            for call in case.calls(program) {
                let Some(kfunc) = call.kfunc else { continue };
                if case.kernel.permission(callback, kfunc) != Permission::CpuOnly {
                    continue;
                }
                let message = format!(
                    "`{}` is for cpu-form schedulers and `{}` is cid-form",
                    kfunc.name,
                    map.essential_type_name()
                );
                let mut diagnostic =
                    case.at_call(INFO.name, program, &call, Outcome::Refused, message);
                diagnostic.help = Some(match &kfunc.replaced_by[..] {
                    [] => "use the kfuncs that take or return cids, or `sched_ext_ops`".to_owned(),
                    names => format!("use {}", super::support::evidence::quoted(names)),
                });
                out.program(program, diagnostic);
            }
        }
        self.callbacks(case, out);
        self.arenas(case, out);
    }
}

impl CidForm {
    /// Some callbacks are for cid-form schedulers and still members of the cpu form's struct.
    fn callbacks(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let Host::Callback {
                callback: Some(callback),
                map,
                ..
            } = program.host
            else {
                continue;
            };
            if !callback.attach_refused {
                continue;
            }
            let message = format!(
                "`{}` is for cid-form schedulers and `{}` is cpu-form",
                callback.name,
                map.essential_type_name()
            );
            let mut diagnostic = case.diagnostic(INFO.name, program, Outcome::Refused, message);
            diagnostic.help = Some(format!(
                "null `{}.{}`, or write the scheduler in the cid form",
                map.name, callback.name
            ));
            if callback.program_refused {
                out.program(program, diagnostic);
                continue;
            }
            if case
                .set_members()
                .all(|(set, member)| !std::ptr::eq(set, map) || member.name != &*callback.name)
            {
                continue;
            }
            diagnostic.program = None;
            diagnostic
                .notes
                .push("its programs load, and registering the scheduler fails".to_owned());
            out.object(diagnostic);
        }
    }

    /// The kernel registers a cid-form scheduler only if its programs use one arena map.
    fn arenas(&self, case: &Case<'_>, out: &mut Findings) {
        for (index, map) in case.object.struct_ops.iter().enumerate() {
            let type_name = map.essential_type_name();
            let cid_form = case
                .kernel
                .struct_ops(type_name)
                .is_some_and(|ops| ops.form == Form::Cid);
            if !cid_form || case.created.get(index) != Some(&true) {
                continue;
            }
            let attached = case.programs.iter().filter(|program| {
                matches!(program.host, Host::Callback { map: of, .. } if std::ptr::eq(of, map))
            });
            let functions = attached
                .filter_map(|program| program.reach.as_ref())
                .flat_map(|reach| reach.graph.node_weights().map(|role| role.function));
            let arenas: BTreeSet<&str> = functions
                .flat_map(|function| case.object.arenas_of(function))
                .collect();
            let (message, help) = match arenas.len() {
                1 => continue,
                0 => (
                    format!(
                        "no program of `{}` uses an arena map, and `{type_name}` needs one",
                        map.name
                    ),
                    "declare a map of type `BPF_MAP_TYPE_ARENA` and use it in a callback",
                ),
                _ => (
                    format!(
                        "the programs of `{}` use {} arena maps, and `{type_name}` allows one",
                        map.name,
                        arenas.len()
                    ),
                    "keep one arena map for all callbacks",
                ),
            };
            let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Refused, message);
            diagnostic.struct_ops = Some(type_name.to_owned());
            diagnostic.help = Some(help.to_owned());
            diagnostic
                .notes
                .push("its programs load, and registering the scheduler fails".to_owned());
            out.object(diagnostic);
        }
    }
}
