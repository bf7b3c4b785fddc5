//! The kernel does not have a kfunc that the object needs.
//!
//! ## What it finds
//!
//! Strong kfunc externs the kernel lacks, called or not; weak ones it lacks that a call reaches; and
//! externs declared with another prototype than the kernel's. A name no kernel has is reported with
//! what it is called today, or with the nearest real name.
//!
//! ## Why
//!
//! libbpf refuses the whole object for a strong extern. A weak one reads as null, and the verifier
//! refuses a call of it that is not behind a test that is false there. A prototype that does not fit
//! counts as absent for a weak extern and refuses the object for a strong one. Without `--kernel`, such
//! kernels are the object's limits and no errors, as long as one remains.
//!
//! ## What to do
//!
//! Declare the extern `__weak` and guard the call with `bpf_ksym_exists()`, with the older name in the
//! other branch.

use std::collections::BTreeSet;

use super::support::{Case, Findings};
use super::{Lifecycle, Rule, RuleInfo};
use crate::kernel::SymbolMatch;
use crate::object::{Extern, ExternKind};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct KfuncMissing;

static INFO: RuleInfo = RuleInfo {
    name: "kfunc-missing",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("kfunc_missing.rs"),
};

impl Rule for KfuncMissing {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        let mut strong: BTreeSet<&str> = BTreeSet::new();
        for program in &case.programs {
            for call in case.calls(program) {
                if case.kept_arguments(call.symbol) {
                    // kernel-btf-incompatible speaks of it.
                    continue;
                }
                let Some(mut message) = missing(call.symbol, call.resolves) else {
                    continue;
                };
                let place = program
                    .reach
                    .as_ref()
                    .and_then(|reach| reach.role(call.call.site));
                if call.symbol.weak && place.is_some() {
                    message.push_str(" and the call is not guarded");
                }
                let mut diagnostic =
                    case.at_call(INFO.name, program, &call, Outcome::Unsupported, message);
                self.explain(case, call.symbol, call.resolves, &mut diagnostic);
                if !call.symbol.weak {
                    strong.insert(call.symbol.name);
                }
                out.program(program, diagnostic);
            }
        }
        // A strong extern fails the object even where no program reaches it.
        for (index, symbol) in case.object.externs.iter().enumerate() {
            if symbol.weak || symbol.kind != ExternKind::Kfunc || case.kept_arguments(symbol) {
                continue;
            }
            let id = crate::object::ExternId(index as u32);
            let resolves = crate::cfg::kfunc_match(case.object, case.kernel, id);
            let Some(message) = missing(symbol, resolves) else {
                continue;
            };
            let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Unsupported, message);
            diagnostic.kfunc = Some(symbol.essential_name.to_owned());
            self.explain(case, symbol, resolves, &mut diagnostic);
            // libbpf resolves every extern before it loads anything: no program loads, alone or not.
            for program in &case.programs {
                out.implied_program(program, diagnostic.clone());
            }
            if strong.contains(symbol.name) {
                // Already shown where it is called; the object's outcome still has to follow.
                out.implied(diagnostic);
            } else {
                out.object(diagnostic);
            }
        }
    }
}

fn missing(symbol: &Extern<'_>, resolves: SymbolMatch) -> Option<String> {
    let name = symbol.essential_name;
    match resolves {
        SymbolMatch::Absent => Some(format!("`{name}` does not exist in this kernel")),
        SymbolMatch::PrototypeMismatch => Some(format!(
            "`{name}` is declared with another prototype than the kernel's"
        )),
        SymbolMatch::Present | SymbolMatch::Unknown => None,
    }
}

impl KfuncMissing {
    fn explain(
        &self,
        case: &Case<'_>,
        symbol: &Extern<'_>,
        resolves: SymbolMatch,
        diagnostic: &mut crate::report::Diagnostic,
    ) {
        if !symbol.weak {
            diagnostic
                .notes
                .push("libbpf refuses the whole object because the extern is not `__weak`".into());
        }
        if resolves == SymbolMatch::PrototypeMismatch {
            if let Some(text) = case
                .kernel
                .kfunc(symbol.essential_name)
                .and_then(|k| k.prototype_text.clone())
            {
                diagnostic.notes.push(format!("the kernel has `{text}`"));
            }
            diagnostic.help = Some(
                "declare it as the kernel does, or under a flavour (`___name`) per prototype"
                    .into(),
            );
            return;
        }
        let (help, notes) = case.advice_on_missing(symbol.essential_name);
        diagnostic.help = help;
        diagnostic.notes.extend(notes);
    }
}
