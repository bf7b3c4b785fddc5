//! `struct_ops` maps: the variables of `.struct_ops`, `.struct_ops.link` and their optional
//! forms, member by member.

use super::data::{described_sections, described_variables};
use super::elf::{Elf, Place, Section, Symbol, SymbolKind};
use super::error::Cause;
use super::functions::starting_at;
use super::model::{
    Function, FunctionId, MemberValue, Program, ProgramKind, StructOpsMap, StructOpsMember,
};
use super::problems::Problems;
use crate::btf::{Btf, Composite, Type, TypeId};
use std::collections::{BTreeMap, HashMap};

const SECTION: &str = ".struct_ops";
const LINK_SECTION: &str = ".struct_ops.link";

/// Members of all maps together. Real objects have under a hundred for each map; a damaged one
/// can describe thousands of large maps in one place.
const MAX_MEMBERS: usize = 100_000;

/// What every problem here comes to.
const HELP: &str = "define the map as `SEC(\".struct_ops.link\") struct sched_ext_ops ops = {...}` \
                    and compile with `-g`";

/// Read the maps, and tell each program which members name it and whether it is then loaded.
pub(super) fn collect<'d>(
    elf: &Elf<'d>,
    btf: &Btf<'d>,
    functions: &[Function<'d>],
    programs: &mut [Program<'d>],
    problems: &mut Problems,
) -> Result<Vec<StructOpsMap<'d>>, Cause> {
    let symbols = variable_symbols(elf);
    let mut described = described_sections(btf);
    let kinds = programs
        .iter()
        .map(|program| (program.function, program.kind));
    let kinds: HashMap<_, _> = kinds.collect();
    let mut maps = Vec::new();
    let mut members = 0_usize;
    for section in &elf.sections {
        let optional = section.name.starts_with('?');
        let name = section.name.trim_start_matches('?');
        if !section.is_data() || (name != SECTION && name != LINK_SECTION) {
            continue;
        }
        let reader = Reader {
            elf,
            btf,
            functions,
            kinds: &kinds,
            section,
            relocations: relocations(elf, section)?,
        };
        let Some(id) = described.remove(section.name) else {
            problems.push_for(
                section.name,
                Some(section.offset),
                format!("the maps of `{}` are not described by BTF", section.name),
                HELP,
            );
            continue;
        };
        let variables = reader.variables(id, &symbols, problems);
        let mut end = 0;
        for (index, variable) in variables.iter().enumerate() {
            if variable.offset < end {
                reader.problem(problems, variable.name, "overlaps another".to_owned());
                continue;
            }
            end = variable
                .offset
                .saturating_add(btf.size_of(variable.type_id).unwrap_or(0));
            if let Some(map) = reader.map(variable, problems) {
                members = members.saturating_add(map.members.len());
                if members > MAX_MEMBERS {
                    return Err(Cause::malformed(
                        section.offset,
                        format!("struct_ops maps with more than {MAX_MEMBERS} members"),
                    ));
                }
                maps.push(StructOpsMap {
                    link: name == LINK_SECTION,
                    // libbpf (1.7) forgets the `?` after the first map of the section.
                    autocreate: !optional || index > 0,
                    ..map
                });
            }
        }
    }
    attach(&maps, programs);
    Ok(maps)
}

/// Tell each program its members. A program that maps name is loaded if one of them is created,
/// whatever its section says.
fn attach(maps: &[StructOpsMap<'_>], programs: &mut [Program<'_>]) {
    let by_function: HashMap<_, usize> = programs
        .iter()
        .enumerate()
        .map(|(index, program)| (program.function, index))
        .collect();
    for (map_index, map) in maps.iter().enumerate() {
        for (member_index, member) in map.members.iter().enumerate() {
            let MemberValue::Program(function) = member.value else {
                continue;
            };
            let index = by_function.get(&function);
            if let Some(program) = index.and_then(|index| programs.get_mut(*index)) {
                program.autoload = match program.attached.is_empty() {
                    true => map.autocreate,
                    false => program.autoload || map.autocreate,
                };
                program.attached.push((map_index, member_index));
            }
        }
    }
}

/// The offset of each global variable in its section, by section and name.
fn variable_symbols<'d>(elf: &Elf<'d>) -> HashMap<(usize, &'d str), u64> {
    elf.symbols()
        .filter(|(_, symbol)| symbol.kind == SymbolKind::Object)
        .filter_map(|(_, symbol)| match symbol.place {
            Place::Section(section) => Some(((section, symbol.name), symbol.value)),
            _ => None,
        })
        .collect()
}

/// The symbols that the section's pointers are set to, by offset in the section.
fn relocations<'d>(
    elf: &Elf<'d>,
    section: &Section<'d>,
) -> Result<BTreeMap<u64, Symbol<'d>>, Cause> {
    let mut relocations = BTreeMap::new();
    for relocation in elf.relocations(section.index) {
        let symbol = elf.symbol(relocation.symbol).ok_or_else(|| {
            Cause::malformed(
                relocation.at,
                format!("a relocation of `{}` names no symbol", section.name),
            )
        })?;
        if relocation.offset >= section.size {
            return Err(Cause::malformed(
                relocation.at,
                format!("a relocation lies outside of `{}`", section.name),
            ));
        }
        relocations.insert(relocation.offset, symbol);
    }
    Ok(relocations)
}

struct Reader<'a, 'd> {
    elf: &'a Elf<'d>,
    btf: &'a Btf<'d>,
    functions: &'a [Function<'d>],
    kinds: &'a HashMap<FunctionId, ProgramKind>,
    section: &'a Section<'d>,
    relocations: BTreeMap<u64, Symbol<'d>>,
}

/// A variable of the section.
struct Variable<'d> {
    name: &'d str,
    type_id: u32,
    offset: u64,
}

impl<'d> Reader<'_, 'd> {
    /// The section's variables, ordered by offset.
    fn variables(
        &self,
        id: TypeId,
        symbols: &HashMap<(usize, &'d str), u64>,
        problems: &mut Problems,
    ) -> Vec<Variable<'d>> {
        let section = self.section;
        let mut variables = Vec::new();
        for (_, name, type_id, stated) in described_variables(self.btf, id) {
            match stated.or_else(|| symbols.get(&(section.index, name)).copied()) {
                Some(offset) => variables.push(Variable {
                    name,
                    type_id,
                    offset,
                }),
                None => self.problem(problems, name, "has no symbol".to_owned()),
            }
        }
        variables.sort_by_key(|variable| variable.offset);
        variables
    }

    fn map(&self, variable: &Variable<'d>, problems: &mut Problems) -> Option<StructOpsMap<'d>> {
        let type_id = self.btf.skip_modifiers(variable.type_id);
        let composite = match self.btf.get(type_id) {
            Type::Struct(composite) if !composite.name.is_empty() => composite,
            _ => {
                self.problem(
                    problems,
                    variable.name,
                    "is not of a named struct".to_owned(),
                );
                return None;
            }
        };
        let end = variable.offset.checked_add(u64::from(composite.size))?;
        let bytes = usize::try_from(variable.offset)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(start, end)| self.section.data.get(start..end));
        let Some(bytes) = bytes else {
            self.problem(problems, variable.name, "ends after its section".to_owned());
            return None;
        };
        Some(StructOpsMap {
            name: variable.name,
            type_name: composite.name,
            type_id,
            link: false,
            autocreate: true,
            members: self.members(variable, composite, bytes, problems),
        })
    }

    fn members(
        &self,
        variable: &Variable<'d>,
        composite: &Composite<'d>,
        bytes: &'d [u8],
        problems: &mut Problems,
    ) -> Vec<StructOpsMember<'d>> {
        let mut resolved = 0_usize;
        let members = composite
            .members
            .iter()
            .map(|member| {
                let offset = u64::from(member.bit_offset / 8);
                let place = variable.offset.saturating_add(offset);
                let value = match self.relocations.get(&place) {
                    Some(symbol) => {
                        resolved = resolved.saturating_add(1);
                        self.program(symbol, member.to).unwrap_or_else(|reason| {
                            self.problem(
                                problems,
                                variable.name,
                                format!("sets `{}` to `{}`, {reason}", member.name, symbol.name),
                            );
                            MemberValue::Unresolved(symbol.name.to_owned())
                        })
                    }
                    None => self.constant(bytes, offset, member.to),
                };
                StructOpsMember {
                    name: member.name,
                    offset,
                    value,
                }
            })
            .collect();
        let end = variable.offset.saturating_add(bytes.len() as u64);
        let within = self.relocations.range(variable.offset..end);
        if within.count() > resolved {
            self.problem(
                problems,
                variable.name,
                "has a pointer that is no member of its own".to_owned(),
            );
        }
        members
    }

    /// The program a member is set to; libbpf's conditions.
    fn program(&self, symbol: &Symbol<'d>, member: u32) -> Result<MemberValue<'d>, &'static str> {
        let Type::Ptr(to) = self.btf.get(self.btf.skip_modifiers(member)) else {
            return Err("but is no function pointer");
        };
        let function_type = self.btf.get(self.btf.skip_modifiers(*to));
        if !matches!(function_type, Type::FuncProto { .. }) {
            return Err("but is no function pointer");
        }
        let Place::Section(section) = symbol.place else {
            return Err("which the object does not define");
        };
        let function = starting_at(self.functions, section, symbol.value)
            .filter(|_| self.elf.section(section).is_some_and(Section::is_code))
            .ok_or("which is no program")?;
        match self.kinds.get(&function) {
            Some(ProgramKind::StructOps) => Ok(MemberValue::Program(function)),
            _ => Err("which is not in a `struct_ops` section"),
        }
    }

    fn constant(&self, bytes: &'d [u8], offset: u64, member: u32) -> MemberValue<'d> {
        let size = self.btf.size_of(member).unwrap_or(0);
        let value = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(size).ok())
            .and_then(|(start, size)| bytes.get(start..start.checked_add(size)?))
            .unwrap_or_default();
        match value.iter().all(|byte| *byte == 0) {
            true => MemberValue::Zero,
            false => MemberValue::Bytes(value),
        }
    }

    fn problem(&self, problems: &mut Problems, map: &str, reason: String) {
        problems.push_for(
            map,
            Some(self.section.offset),
            format!("the `struct_ops` map `{map}` {reason}: libbpf refuses the object"),
            HELP,
        );
    }
}
