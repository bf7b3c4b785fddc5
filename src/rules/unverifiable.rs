//! Something keeps the analysis from an answer.
//!
//! ## What it finds
//!
//! Missing BTF or function and line information, calls and function pointers whose target cannot be
//! told, instructions no kernel accepts, members whose program cannot be found, recursion, calls nested
//! deeper than the verifier allows, kfuncs that no table knows.
//!
//! ## Why
//!
//! The gate fails closed: what cannot be followed is an error, never a pass. Most of these a kernel
//! refuses as well.
//!
//! ## What to do
//!
//! Compile with `-g` for `-target bpf` and keep `.BTF.ext`; the help line of each finding says more.

use super::support::{Case, Findings};
use super::{Lifecycle, Rule, RuleInfo};
use crate::cfg::{Obstacle, kfunc_match};
use crate::kernel::SymbolMatch;
use crate::object::{ExternId, ExternKind, MemberValue, ProgramKind};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct Unverifiable;

static INFO: RuleInfo = RuleInfo {
    name: "unverifiable",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("unverifiable.rs"),
};

impl Rule for Unverifiable {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        for problem in &case.object.problems {
            let mut diagnostic =
                case.object_diagnostic(INFO.name, Outcome::Unknown, problem.message.clone());
            diagnostic.program = problem.subject.clone().filter(|name| {
                case.object
                    .programs
                    .iter()
                    .any(|program| program.name == name)
            });
            diagnostic.help = Some(problem.help.clone());
            if let Some(offset) = problem.offset {
                diagnostic
                    .notes
                    .push(format!("at byte {offset:#x} of the file"));
            }
            // What is wrong with the object as a whole leaves no program's verdict standing.
            for program in &case.programs {
                if diagnostic
                    .program
                    .as_deref()
                    .is_none_or(|name| name == program.program.name)
                {
                    out.implied_program(program, diagnostic.clone());
                }
            }
            out.object(diagnostic);
        }
        self.members(case, out);
        self.obstacles(case, out);
        self.unknown_kfuncs(case, out);
    }
}

impl Unverifiable {
    fn members(&self, case: &Case<'_>, out: &mut Findings) {
        for (map, member) in case.set_members() {
            if let MemberValue::Unresolved(symbol) = &member.value {
                let message = format!(
                    "`{}.{}` is set to `{symbol}`, which is not a program of this object",
                    map.name, member.name
                );
                let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Unknown, message);
                diagnostic.struct_ops = Some(map.essential_type_name().to_owned());
                diagnostic.callback = Some(member.name.to_owned());
                diagnostic.help =
                    Some("set it to a function in a `SEC(\"struct_ops/…\")` section".into());
                out.object(diagnostic);
            }
        }
        for program in &case.programs {
            if program.program.kind == ProgramKind::Unknown && program.loaded {
                let message = format!(
                    "section `{}` names no program type",
                    program.program.section
                );
                let mut diagnostic = case.diagnostic(INFO.name, program, Outcome::Unknown, message);
                diagnostic.location =
                    super::support::evidence::line(case.object, program.program.function, 0);
                diagnostic.help = Some("use a section name that libbpf knows".into());
                out.program(program, diagnostic);
            }
        }
    }

    fn obstacles(&self, case: &Case<'_>, out: &mut Findings) {
        for program in &case.programs {
            let Some(reach) = &program.reach else {
                let message = format!(
                    "`{}` has no code that can be followed",
                    program.program.name
                );
                out.program(
                    program,
                    case.diagnostic(INFO.name, program, Outcome::Unknown, message),
                );
                continue;
            };
            for (site, obstacle) in &reach.obstacles {
                let (message, help) = describe(obstacle);
                let mut diagnostic = case.diagnostic(INFO.name, program, Outcome::Unknown, message);
                case.place(&mut diagnostic, program, *site);
                diagnostic.help = Some(help.to_owned());
                diagnostic
                    .notes
                    .push(format!("instruction {} of its function", site.insn));
                out.program(program, diagnostic);
            }
        }
    }

    /// A kfunc that no bundled kernel is known to have or lack: nothing can be said about the load.
    fn unknown_kfuncs(&self, case: &Case<'_>, out: &mut Findings) {
        for (index, symbol) in case.object.externs.iter().enumerate() {
            let strong_kfunc = symbol.kind == ExternKind::Kfunc && !symbol.weak;
            if !strong_kfunc
                || case.tables.knows_kfunc(symbol.essential_name)
                || kfunc_match(case.object, case.kernel, ExternId(index as u32))
                    != SymbolMatch::Unknown
            {
                continue;
            }
            let message = format!(
                "`{}` is not a kfunc of any kernel the tables describe",
                symbol.essential_name
            );
            let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Unknown, message);
            diagnostic.kfunc = Some(symbol.essential_name.to_owned());
            diagnostic.help = Some(
                "check the name; for a kfunc of a module or a patched kernel give that kernel's BTF with `--btf`, \
                 or declare it `__weak` and guard the call"
                    .into(),
            );
            out.object(diagnostic);
        }
    }
}

fn describe(obstacle: &Obstacle) -> (String, &'static str) {
    const COMPILER: &str = "compile the function from C for `-target bpf`; kernels refuse this too";
    match obstacle {
        Obstacle::UnknownInstruction(code) => (
            format!("unknown instruction with opcode `{code:#04x}`"),
            "update the compiler or scx-lint",
        ),
        Obstacle::RegisterCall => (
            "a call through a function pointer (`callx`)".into(),
            "call the function by name; no kernel accepts indirect calls",
        ),
        Obstacle::RegisterJump => (
            "a jump through a table (`gotox`)".into(),
            "compile with `-fno-jump-tables`: its targets cannot be told from the object",
        ),
        Obstacle::LeavesFunction => ("execution leaves the function".into(), COMPILER),
        Obstacle::MidInstruction => ("a jump into the middle of an instruction".into(), COMPILER),
        Obstacle::UnresolvedCall(name) => (
            format!("a call of {name}, whose target cannot be found"),
            "declare the kfunc `__ksym`, or define the function in this object",
        ),
        Obstacle::BoundKfunc(id) => (
            format!("a kfunc call already bound to BTF id {id}"),
            "check the object as the compiler wrote it, before it is linked to a kernel",
        ),
        Obstacle::UnknownCallback => (
            "a callback whose function cannot be told".into(),
            "hand the function over by name where it is used",
        ),
        Obstacle::TooDeep => (
            "calls nest deeper than the 8 frames the verifier allows".into(),
            "inline some of the functions on the way; kernels refuse this too",
        ),
        Obstacle::Recursion => (
            "a function calls itself, directly or through others".into(),
            "use a bounded loop; kernels refuse recursion",
        ),
    }
}
