//! Externs: undefined symbols that BTF describes in `.ksyms` or `.kconfig`.

use super::elf::{Elf, Place, Symbol, SymbolKind};
use super::model::{Extern, ExternId, ExternKind};
use super::problems::Problems;
use crate::btf::{Btf, FuncLinkage, Type, TypeId, VarLinkage, essential_name};
use std::collections::{HashMap, HashSet};

const KSYMS: &str = ".ksyms";
const KCONFIG: &str = ".kconfig";

/// The externs of an object.
pub(super) struct Externs<'d> {
    pub(super) list: Vec<Extern<'d>>,
    /// By symbol index.
    pub(super) by_symbol: HashMap<u32, ExternId>,
}

pub(super) fn collect<'d>(elf: &Elf<'d>, btf: &Btf<'d>, problems: &mut Problems) -> Externs<'d> {
    let mut externs = Externs {
        list: Vec::new(),
        by_symbol: HashMap::new(),
    };
    let described = Described::new(btf);
    let mut seen = HashSet::new();
    for (index, symbol) in elf.symbols() {
        if !is_extern(&symbol) {
            continue;
        }
        match described.extern_of(btf, &symbol) {
            Ok(found) => {
                seen.insert(symbol.name);
                if let Ok(id) = u32::try_from(externs.list.len()) {
                    externs.by_symbol.insert(index, ExternId(id));
                    externs.list.push(found);
                }
            }
            // Without any BTF that is said once, for the object.
            Err(_) if btf.is_empty() => {}
            Err(reason) => problems.push_for(
                symbol.name,
                Some(symbol.at),
                format!(
                    "extern `{}` {reason}: libbpf refuses the object",
                    symbol.name
                ),
                "declare it with `__ksym` or `__kconfig` and compile with `-g`",
            ),
        }
    }
    for name in described.names.keys() {
        if !seen.contains(name) {
            problems.push_for(
                name,
                None,
                format!(
                    "extern `{name}` is described but has no symbol: libbpf refuses the object"
                ),
                "remove the declaration, or do not strip the symbol table",
            );
        }
    }
    externs
}

/// libbpf's test: undefined, not local, without a type.
fn is_extern(symbol: &Symbol<'_>) -> bool {
    symbol.place == Place::Undefined
        && symbol.global
        && symbol.kind == SymbolKind::None
        && !symbol.name.is_empty()
}

/// What BTF says of externs, by name.
struct Described<'d> {
    names: HashMap<&'d str, (TypeId, &'d str)>,
}

impl<'d> Described<'d> {
    fn new(btf: &Btf<'d>) -> Described<'d> {
        let mut names = HashMap::new();
        for (_, a_type) in btf.iter() {
            let Type::DataSec {
                name, variables, ..
            } = a_type
            else {
                continue;
            };
            if *name != KSYMS && *name != KCONFIG {
                continue;
            }
            for variable in variables {
                names
                    .entry(btf.get(variable.to).name())
                    .or_insert((variable.to, *name));
            }
        }
        Described { names }
    }

    fn extern_of(&self, btf: &Btf<'d>, symbol: &Symbol<'d>) -> Result<Extern<'d>, &'static str> {
        let (id, section) = self
            .names
            .get(symbol.name)
            .ok_or("is in neither `.ksyms` nor `.kconfig` of the BTF")?;
        let (kind, type_id) = match (btf.get(*id), *section) {
            (
                Type::Func {
                    linkage: FuncLinkage::Extern,
                    ..
                },
                KSYMS,
            ) => (ExternKind::Kfunc, *id),
            (
                Type::Var {
                    to,
                    linkage: VarLinkage::Extern,
                    ..
                },
                KSYMS,
            ) => match btf.skip_modifiers(*to) {
                0 => (ExternKind::Typeless, 0),
                to => (ExternKind::TypedVariable, to),
            },
            (
                Type::Var {
                    to,
                    linkage: VarLinkage::Extern,
                    ..
                },
                KCONFIG,
            ) => {
                let size = btf.size_of(*to).and_then(|size| u32::try_from(size).ok());
                let size = size.filter(|size| *size > 0 && is_kconfig_type(btf, *to));
                let size = size.ok_or("has a type that no Kconfig value has")?;
                (ExternKind::Kconfig { size }, *to)
            }
            (Type::Func { .. }, KCONFIG) => return Err("is a function in `.kconfig`"),
            _ => return Err("is also defined in the object"),
        };
        Ok(Extern {
            name: symbol.name,
            essential_name: essential_name(symbol.name),
            kind,
            weak: symbol.weak,
            type_id,
        })
    }
}

/// Integers, `bool`, `enum libbpf_tristate` and strings of `char`.
fn is_kconfig_type(btf: &Btf<'_>, id: TypeId) -> bool {
    match btf.get(btf.skip_modifiers(id)) {
        Type::Int(int) if int.boolean => int.size == 1,
        Type::Int(int) => matches!(int.size, 1 | 2 | 4 | 8),
        Type::Enum(an_enum) => {
            an_enum.name == "libbpf_tristate" && (an_enum.wide || an_enum.size == 4)
        }
        Type::Array { element, length } => {
            *length > 0
                && matches!(btf.get(btf.skip_modifiers(*element)),
                    Type::Int(int) if int.size == 1 && !int.boolean)
        }
        _ => false,
    }
}
