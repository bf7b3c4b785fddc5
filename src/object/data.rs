//! Data sections: what becomes a map that programs read and write, and its variables.

use super::elf::{Elf, Place, Section, SymbolKind};
use super::model::{DataId, DataSection, Variable};
use crate::btf::{Btf, SectionVariable, Type, TypeId, VarLinkage};
use object::elf::SHT_NOBITS;
use std::collections::HashMap;

/// Where arena variables live. Not a map of its own for libbpf, but addressed like one.
const ARENA: &str = ".addr_space.1";

/// Where the compiler puts the tables of indirect jumps: byte offsets in the code section, 8
/// bytes each.
const JUMP_TABLES: &str = ".jumptables";

/// The data sections of an object.
pub(super) struct Data<'d> {
    pub(super) sections: Vec<DataSection<'d>>,
    /// By section index.
    pub(super) by_section: HashMap<usize, DataId>,
}

pub(super) fn collect<'d>(elf: &Elf<'d>, btf: &Btf<'d>) -> Data<'d> {
    let mut data = Data {
        sections: Vec::new(),
        by_section: HashMap::new(),
    };
    for section in &elf.sections {
        let (Some(read_only), Ok(id)) = (read_only(section), u32::try_from(data.sections.len()))
        else {
            continue;
        };
        data.by_section.insert(section.index, DataId(id));
        data.sections.push(DataSection {
            name: section.name,
            read_only,
            bytes: section.data,
            variables: Vec::new(),
        });
    }
    let mut described = described_sections(btf);
    let mut variables = symbols(elf, &data);
    for (section, variables) in data.sections.iter_mut().zip(&mut variables) {
        // Removed, so that many sections of one name do not multiply its variables.
        if let Some(id) = described.remove(section.name) {
            describe(btf, id, variables);
        }
        variables.sort_by_key(|variable| variable.offset);
        section.variables = std::mem::take(variables);
    }
    data
}

/// Whether a section is a data section (`Some`), and then whether programs cannot change it.
fn read_only(section: &Section<'_>) -> Option<bool> {
    let named = |base: &str| {
        section
            .name
            .strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if section.kind == SHT_NOBITS {
        let zeroed = named(".bss") || section.name == ARENA;
        return (zeroed && section.size > 0).then_some(false);
    }
    if !section.is_data() {
        return None;
    }
    if named(".rodata") || section.name == JUMP_TABLES {
        Some(true)
    } else if named(".data") || section.name == ARENA {
        Some(false)
    } else {
        None
    }
}

/// The variables that have a symbol, by data section.
fn symbols<'d>(elf: &Elf<'d>, data: &Data<'d>) -> Vec<Vec<Variable<'d>>> {
    let mut variables: Vec<Vec<Variable<'d>>> = data.sections.iter().map(|_| Vec::new()).collect();
    for (_, symbol) in elf.symbols() {
        let Place::Section(section) = symbol.place else {
            continue;
        };
        let Some(id) = data.by_section.get(&section) else {
            continue;
        };
        if symbol.name.is_empty() || !matches!(symbol.kind, SymbolKind::Object | SymbolKind::None) {
            continue;
        }
        if let Some(variables) = variables.get_mut(id.0 as usize) {
            variables.push(Variable {
                name: symbol.name,
                offset: symbol.value,
                size: symbol.size,
                type_id: None,
            });
        }
    }
    variables
}

/// The DATASECs by name.
pub(super) fn described_sections<'d>(btf: &Btf<'d>) -> HashMap<&'d str, TypeId> {
    btf.iter()
        .filter_map(|(id, a_type)| match a_type {
            Type::DataSec { name, .. } => Some((*name, id)),
            _ => None,
        })
        .collect()
}

/// Add what the section's DATASEC says: types, and variables without a symbol.
fn describe<'d>(btf: &Btf<'d>, section: TypeId, variables: &mut Vec<Variable<'d>>) {
    let mut by_name = HashMap::new();
    let mut by_place = HashMap::new();
    for (index, variable) in variables.iter().enumerate() {
        by_name.insert(variable.name, index);
        by_place.insert((variable.name, variable.offset), index);
    }
    for (record, name, type_id, offset) in described_variables(btf, section) {
        // Several static variables may share a name; their offsets tell them apart.
        let known = match offset {
            Some(offset) => by_place.get(&(name, offset)),
            None => by_name.get(name),
        };
        match (known.and_then(|index| variables.get_mut(*index)), offset) {
            (Some(variable), _) => variable.type_id = Some(type_id),
            (None, Some(offset)) => variables.push(Variable {
                name,
                offset,
                size: u64::from(record.size),
                type_id: Some(type_id),
            }),
            (None, None) => {}
        }
    }
}

/// The variables of a DATASEC: record, name, type, and offset where BTF has one. Clang leaves the
/// offsets of global variables to the symbol table and the section's size 0; a linked object has
/// all of them.
pub(super) fn described_variables<'a, 'd>(
    btf: &'a Btf<'d>,
    section: u32,
) -> impl Iterator<Item = (&'a SectionVariable, &'d str, u32, Option<u64>)> {
    let (linked, variables) = match btf.get(section) {
        Type::DataSec {
            size, variables, ..
        } => (*size != 0, &variables[..]),
        _ => (false, &[][..]),
    };
    variables.iter().filter_map(move |record| {
        let Type::Var { name, to, linkage } = btf.get(record.to) else {
            return None;
        };
        let stated = linked || *linkage == VarLinkage::Static;
        let offset = stated.then_some(u64::from(record.offset));
        Some((record, *name, *to, offset))
    })
}
