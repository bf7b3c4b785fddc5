//! The types this build of the kernel publishes keep a well-written object from loading.
//!
//! ## What it finds
//!
//! With `--btf`, `--kernel host` or a table made by `scx-lint probe`: kfuncs the object needs that the
//! kernel's BTF still lists with the arguments the kernel passes implicitly, and `struct_ops` members
//! whose kind or size is another than the object's. On bundled kernels, data members whose size is another.
//!
//! ## Why
//!
//! libbpf compares prototypes and struct layouts with the kernel's BTF before it loads anything. Since
//! 7.1 kfuncs have implicit arguments that BTF must hide, and the true prototype must be there under a
//! second name. A BTF generator (pahole, resolve_btfids) that does not know this leaves the argument in
//! place: libbpf then refuses the extern ("func_proto ... incompatible with vmlinux"), and a program
//! that is declared as that BTF has it is refused by the verifier, which does not find the true
//! prototype. That is a property of the build and says nothing of the release: other builds of the same
//! release load the object.
//!
//! ## What to do
//!
//! Use a build of the kernel whose BTF was made by a newer generator, or have the distribution rebuild
//! it. Where neither is possible, declare the kfuncs `__weak` and guard the calls with
//! `bpf_ksym_exists()`. For a struct, declare the member as the kernel does.

use std::collections::BTreeSet;

use super::support::{Case, Findings, ProgramCase};
use super::{Lifecycle, Rule, RuleInfo};
use crate::btf::{Btf, Member, Type, TypeId, TypeKind};
use crate::cfg::Site;
use crate::kernel::SymbolMatch;
use crate::object::{ExternId, ExternKind, MemberValue, StructOpsMap, StructOpsMember};
use crate::report::{Level, Outcome};

/// See the module's documentation.
pub struct KernelBtfIncompatible;

static INFO: RuleInfo = RuleInfo {
    name: "kernel-btf-incompatible",
    level: Level::Error,
    lifecycle: Lifecycle::Stable { since: "0.1.0" },
    source: include_str!("kernel_btf_incompatible.rs"),
};

/// How many names a message spells out; the rest is in a note.
const NAMED: usize = 3;

impl Rule for KernelBtfIncompatible {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&self, case: &Case<'_>, out: &mut Findings) {
        self.kfuncs(case, out);
        for (map, member) in case.set_members() {
            self.layout(case, map, member, out);
        }
    }
}

impl KernelBtfIncompatible {
    /// One finding for all kfuncs: they have one cause.
    fn kfuncs(&self, case: &Case<'_>, out: &mut Findings) {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut refused_by_libbpf = false;
        // A strong extern fails the object even where no program reaches it.
        for (index, symbol) in (0..).zip(&case.object.externs) {
            if symbol.weak || symbol.kind != ExternKind::Kfunc || !case.kept_arguments(symbol) {
                continue;
            }
            let resolves = crate::cfg::kfunc_match(case.object, case.kernel, ExternId(index));
            if resolves == SymbolMatch::PrototypeMismatch {
                names.insert(symbol.essential_name);
                refused_by_libbpf = true;
            }
        }
        let mut callers: Vec<(&ProgramCase<'_>, Site)> = Vec::new();
        let mut loaded = refused_by_libbpf;
        for program in &case.programs {
            let calls = case.calls(program);
            let calls: Vec<_> = calls
                .iter()
                .filter(|call| case.kept_arguments(call.symbol))
                .collect();
            let Some(call) = calls.first() else { continue };
            names.extend(calls.iter().map(|call| call.symbol.essential_name));
            callers.push((program, call.call.site));
            loaded |= program.loaded;
        }
        let Some(kfunc) = names.first() else { return };
        let message = format!(
            "this build of the kernel keeps the implicit arguments of {}",
            shown(&names)
        );
        for (program, _) in &callers {
            let implied =
                case.diagnostic(INFO.name, program, Outcome::Unsupported, message.clone());
            out.implied_program(program, implied);
        }
        let first = callers.first().copied();
        let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Unsupported, message);
        diagnostic.kfunc = Some((*kfunc).to_owned());
        if let Some((program, site)) = first {
            case.place(&mut diagnostic, program, site);
        }
        if names.len() > NAMED {
            let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            diagnostic
                .notes
                .push(format!("all of them: {}", all.join(", ")));
        }
        diagnostic.notes.push(match refused_by_libbpf {
            true => "libbpf refuses the whole object: its prototypes do not fit this kernel's BTF"
                .into(),
            false => {
                "the verifier refuses the calls: this kernel's BTF lacks the true prototypes".into()
            }
        });
        diagnostic.notes.push(
            "the likely cause is a BTF generator (pahole) that does not know implicit arguments; the \
             release itself is not at fault"
                .into(),
        );
        diagnostic.help =
            Some("use a build of this kernel whose BTF was made by a newer pahole".into());
        match (loaded, first) {
            (false, Some((program, _))) => out.program(program, diagnostic),
            _ => out.object(diagnostic),
        }
    }

    /// What libbpf compares before it copies a member into the kernel's struct.
    fn layout(
        &self,
        case: &Case<'_>,
        map: &StructOpsMap<'_>,
        set: &StructOpsMember<'_>,
        out: &mut Findings,
    ) {
        let type_name = map.essential_type_name();
        let Some(object) = member(&case.object.btf, map.type_id, set.name) else {
            return;
        };
        let problem = match case.kernel.btf() {
            Some(btf) => btf
                .find(TypeKind::Struct, type_name)
                .and_then(|id| member(btf, id, set.name))
                .and_then(|kernel| differs((&case.object.btf, object), (btf, kernel), &set.value)),
            None => resized(case, type_name, object),
        };
        let Some(problem) = problem else { return };
        let message = format!("`{}` of `struct {type_name}` {problem}", set.name);
        let mut diagnostic = case.object_diagnostic(INFO.name, Outcome::Unsupported, message);
        diagnostic.struct_ops = Some(type_name.to_owned());
        diagnostic.callback = Some(set.name.to_owned());
        diagnostic
            .notes
            .push("libbpf refuses the whole object".into());
        diagnostic.help = Some(format!("declare `{}` as the kernel does", set.name));
        out.object(diagnostic);
    }
}

/// The first names, and how many more there are.
fn shown(names: &BTreeSet<&str>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let first: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn member<'b, 'd>(btf: &'b Btf<'d>, composite: TypeId, name: &str) -> Option<&'b Member<'d>> {
    btf.get(composite)
        .members()?
        .iter()
        .find(|member| member.name == name)
}

/// The same as far as the tables know a kernel: sizes of data members.
fn resized(case: &Case<'_>, type_name: &str, object: &Member<'_>) -> Option<String> {
    let ops = case.kernel.struct_ops(type_name)?;
    let (_, theirs) = ops
        .field_bytes
        .iter()
        .find(|(name, _)| **name == *object.name)?;
    let ours = case.object.btf.size_of(object.to)?;
    (ours != *theirs).then(|| format!("has {ours} bytes in the object and {theirs} in this kernel"))
}

/// Why libbpf does not copy a member, if it does not (`bpf_map__init_kern_struct_ops()`).
fn differs(
    (object_btf, object): (&Btf<'_>, &Member<'_>),
    (kernel_btf, kernel): (&Btf<'_>, &Member<'_>),
    value: &MemberValue<'_>,
) -> Option<String> {
    if object.bitfield_bits > 0 || kernel.bitfield_bits > 0 {
        return Some("is a bitfield, which libbpf cannot set".to_owned());
    }
    let here = object_btf.get(object_btf.skip_modifiers(object.to));
    let there = kernel_btf.get(kernel_btf.skip_modifiers(kernel.to));
    if std::mem::discriminant(here) != std::mem::discriminant(there) {
        return Some(format!(
            "is `{}` in the object and `{}` in this kernel",
            object_btf.describe(object.to),
            kernel_btf.describe(kernel.to)
        ));
    }
    if let Type::Ptr(to) = there {
        let callback = matches!(
            kernel_btf.get(kernel_btf.skip_modifiers(*to)),
            Type::FuncProto { .. }
        );
        let program = matches!(value, MemberValue::Program(_));
        return (program && !callback).then(|| "is no callback in this kernel".to_owned());
    }
    let sizes = (object_btf.size_of(object.to), kernel_btf.size_of(kernel.to));
    match sizes {
        (Some(ours), Some(theirs)) if ours != theirs => Some(format!(
            "has {ours} bytes in the object and {theirs} in this kernel"
        )),
        _ => None,
    }
}
