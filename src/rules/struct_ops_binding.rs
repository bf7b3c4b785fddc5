//! A `struct_ops` program is named by no member, or by two.
//!
//! ## What it finds
//!
//! `SEC("struct_ops/…")` programs that no member of any map names, and programs that two different
//! members name.
//!
//! ## Why
//!
//! libbpf refuses the whole object on every kernel: the kernel verifies a program for one member, so a
//! program without one cannot be loaded, and one with two would have to be verified twice ("invalid reuse
//! of prog").
//!
//! ## What to do
//!
//! Set a member to it, start its section with `?` if it is optional, or write one program for each
//! member around a shared static function.

use super::support::{Case, Findings, Host};
use super::{Lifecycle, Rule, RuleInfo};
use crate::object::ProgramKind;
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct StructOpsBinding;

static INFO: RuleInfo = RuleInfo {
    name: "struct-ops-binding",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("struct_ops_binding.rs"),
};

impl Rule for StructOpsBinding {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let name = program.program.name;
            let (message, help) = if matches!(program.host, Host::Other(ProgramKind::StructOps)) {
                (
                    format!("no `struct_ops` map names `{name}`"),
                    format!(
                        "set a member to `{name}`, or start its section with `?` if it is optional"
                    ),
                )
            } else if let Some((first, second)) = self.two_members(case, program.index) {
                (
                    format!("`{name}` is set for both `{first}` and `{second}`"),
                    "write a program for each member and share a static function between them"
                        .to_owned(),
                )
            } else {
                continue;
            };
            let mut diagnostic = case.diagnostic(INFO.name, program, Outcome::Refused, message);
            diagnostic.location =
                super::support::evidence::line(case.object, program.program.function, 0);
            diagnostic.help = Some(help);
            if !program.loaded {
                // Nobody asked for it; alone it would not load.
                out.implied_program(program, diagnostic);
                continue;
            }
            diagnostic
                .notes
                .push("libbpf refuses the whole object".into());
            out.implied(diagnostic.clone());
            out.program(program, diagnostic);
        }
    }
}

impl StructOpsBinding {
    fn two_members<'a>(&self, case: &Case<'a>, program: usize) -> Option<(&'a str, &'a str)> {
        let attached = &case.object.programs.get(program)?.attached;
        let name = |(map, member): &(usize, usize)| {
            let map = case.object.struct_ops.get(*map)?;
            Some((map.essential_type_name(), map.members.get(*member)?.name))
        };
        let first = name(attached.first()?)?;
        let second = attached
            .iter()
            .filter_map(name)
            .find(|other| *other != first)?;
        Some((first.1, second.1))
    }
}
