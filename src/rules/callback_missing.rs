//! A `struct_ops` member is set that the kernel does not have.
//!
//! ## What it finds
//!
//! Members that are set in a map a loader creates and that the kernel's struct lacks, and maps of a
//! type the kernel lacks.
//!
//! ## Why
//!
//! libbpf refuses the object ("Cannot find member … in kernel BTF"). A member that is zero is dropped.
//! Without `--kernel`, such kernels are the object's limits and no errors, as long as one remains.
//!
//! ## What to do
//!
//! Null the member before loading where the kernel lacks it (`--null MAP.MEMBER` tells the linter), or
//! set it in a second map whose section starts with `?`.

use super::support::{Case, Findings, Host};
use super::{Lifecycle, Rule, RuleInfo};
use crate::kernel::Presence;
use crate::object::MemberValue;
use crate::report::{Diagnostic, Level, Outcome};

/// See the module's documentation.
pub struct CallbackMissing;

static INFO: RuleInfo = RuleInfo {
    name: "callback-missing",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("callback_missing.rs"),
};

impl Rule for CallbackMissing {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for (index, map) in case.object.struct_ops.iter().enumerate() {
            let absent =
                case.kernel.struct_ops_presence(map.essential_type_name()) == Presence::Absent;
            if absent && case.created.get(index) == Some(&true) {
                let message = format!(
                    "`struct {}` does not exist in this kernel",
                    map.essential_type_name()
                );
                let mut diagnostic =
                    case.object_diagnostic(INFO.name, Outcome::Unsupported, message);
                diagnostic.struct_ops = Some(map.essential_type_name().to_owned());
                diagnostic.help = Some(format!(
                    "create `{}` only where the type exists: put it in a section that starts with `?`",
                    map.name
                ));
                out.object(diagnostic);
            }
        }
        for (map, member) in case.set_members() {
            let type_name = map.essential_type_name();
            let Some(ops) = case.kernel.struct_ops(type_name) else {
                continue;
            };
            if member.value == MemberValue::Zero || ops.has_member(member.name) {
                continue;
            }
            let message = format!(
                "`struct {type_name}` has no member `{}` in this kernel",
                member.name
            );
            let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Unsupported, message);
            diagnostic.struct_ops = Some(type_name.to_owned());
            diagnostic.callback = Some(member.name.to_owned());
            self.advise(case, map.name, member.name, type_name, &mut diagnostic);
            if let MemberValue::Program(function) = member.value {
                diagnostic.program = case
                    .object
                    .functions
                    .get(function.0 as usize)
                    .map(|function| function.name.to_owned());
                diagnostic.location = super::support::evidence::line(case.object, function, 0);
            }
            out.object(diagnostic);
        }
        // The program alone has nothing to attach to either.
        for program in &case.programs {
            let missing = match program.host {
                Host::Callback {
                    callback: None,
                    member,
                    ..
                }
                | Host::MissingType { member, .. } => member,
                _ => continue,
            };
            let message = format!(
                "`{}` implements `{missing}`, which this kernel does not have",
                program.program.name
            );
            out.implied_program(
                program,
                case.diagnostic(INFO.name, program, Outcome::Unsupported, message),
            );
        }
    }
}

impl CallbackMissing {
    fn advise(
        &self,
        case: &Case<'_>,
        map: &str,
        member: &str,
        type_name: &str,
        diagnostic: &mut Diagnostic,
    ) {
        let have = case.tables.member_history(type_name, member);
        diagnostic.help = Some(match (have.first(), have.last()) {
            (Some(first), Some(last)) if case.tables.releases().last() != Some(last) => {
                format!(
                    "kernels {first} to {last} have it; null `{map}.{member}` elsewhere before loading"
                )
            }
            (Some(first), _) => {
                format!(
                    "it exists since {first}; null `{map}.{member}` on older kernels before loading"
                )
            }
            _ => format!("no kernel has it; remove `{member}` from `{map}`"),
        });
    }
}
