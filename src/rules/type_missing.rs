//! A reached instruction depends on a type, field or enumerator that the kernel does not have.
//!
//! ## What it finds
//!
//! CO-RE relocations without a target in the kernel, in instructions that can run there.
//!
//! ## Why
//!
//! libbpf turns such an instruction into an invalid call, which the verifier refuses when it can be
//! reached. Without `--kernel`, such kernels are the object's limits and no errors, as long as one
//! remains.
//!
//! ## What to do
//!
//! Guard the access with `bpf_core_field_exists()`, `bpf_core_type_exists()` or
//! `bpf_core_enum_value_exists()`.

use super::support::{Case, Findings};
use super::{Lifecycle, Rule, RuleInfo};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct TypeMissing;

static INFO: RuleInfo = RuleInfo {
    name: "type-missing",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("type_missing.rs"),
};

impl Rule for TypeMissing {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let Some(reach) = &program.reach else {
                continue;
            };
            for (site, index) in &reach.no_target {
                let relocation = reach
                    .role(*site)
                    .and_then(|role| case.object.functions.get(role.function.0 as usize))
                    .and_then(|function| function.core_relocations.get(*index));
                let Some(relocation) = relocation else {
                    continue;
                };
                let what = crate::btf::core::describe(&case.object.btf, relocation);
                let message =
                    format!("`{what}` does not exist in this kernel and the access is not guarded");
                let mut diagnostic =
                    case.diagnostic(INFO.name, program, Outcome::Unsupported, message);
                case.place(&mut diagnostic, program, *site);
                diagnostic.help = Some(format!("guard it with `{}`", relocation.kind.guard()));
                out.program(program, diagnostic);
            }
        }
    }
}
