//! Functions: every STT_FUNC symbol of every code section.

use super::elf::{Elf, Place, SymbolKind};
use super::error::Cause;
use super::model::{Function, FunctionId, Linkage, Object};
use super::problems::Problems;

/// Bytes of an instruction.
pub(super) const INSN: u64 = 8;

/// All functions, ordered by section and offset.
pub(super) fn collect<'d>(
    elf: &Elf<'d>,
    problems: &mut Problems,
) -> Result<Vec<Function<'d>>, Cause> {
    let mut functions = Vec::new();
    for (_, symbol) in elf.symbols() {
        let Place::Section(index) = symbol.place else {
            continue;
        };
        if symbol.kind != SymbolKind::Function {
            continue;
        }
        let malformed =
            |what: &str| Cause::malformed(symbol.at, format!("function `{}` {what}", symbol.name));
        let section = elf
            .section(index)
            .filter(|section| section.is_code())
            .ok_or_else(|| malformed("is in a section without instructions"))?;
        let whole = |bytes: u64| bytes.is_multiple_of(INSN);
        if symbol.size == 0 || !whole(symbol.size) || !whole(symbol.value) {
            return Err(malformed("is not a whole number of instructions"));
        }
        let code = usize::try_from(symbol.value)
            .ok()
            .zip(usize::try_from(symbol.size).ok())
            .and_then(|(start, size)| section.data.get(start..start.checked_add(size)?))
            .ok_or_else(|| malformed("does not fit in its section"))?;
        functions.push(Function {
            name: symbol.name,
            section: section.name,
            section_index: index,
            offset: symbol.value,
            code,
            linkage: match symbol.global && !symbol.hidden {
                true => Linkage::Global,
                false => Linkage::Static,
            },
            type_id: None,
            references: Vec::new(),
            core_relocations: Vec::new(),
            lines: Vec::new(),
            exception_callback: None,
        });
    }
    functions.sort_by_key(|function| (function.section_index, function.offset));
    refuse_overlap(&mut functions, elf, problems)?;
    Ok(functions)
}

/// Two names of one function are one function; functions that overlap otherwise are damage, and
/// would make the work more than linear in the file.
fn refuse_overlap<'d>(
    functions: &mut Vec<Function<'d>>,
    elf: &Elf<'d>,
    problems: &mut Problems,
) -> Result<(), Cause> {
    let mut error = None;
    functions.dedup_by(|next, kept| {
        if kept.section_index != next.section_index || kept.end() <= next.offset {
            return false;
        }
        if kept.offset == next.offset && kept.code.len() == next.code.len() {
            problems.push_for(
                next.name,
                None,
                format!("functions `{}` and `{}` are one", kept.name, next.name),
                "give each function a body of its own instead of an alias",
            );
            return true;
        }
        let start = elf
            .section(next.section_index)
            .map_or(0, |section| section.offset);
        error.get_or_insert_with(|| {
            Cause::malformed(
                start.saturating_add(next.offset),
                format!("functions `{}` and `{}` overlap", kept.name, next.name),
            )
        });
        false
    });
    error.map_or(Ok(()), Err)
}

impl Function<'_> {
    /// Byte offset in the section just after its last instruction.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.code.len() as u64)
    }
}

/// The function that contains a byte of a section.
pub(super) fn containing(
    functions: &[Function<'_>],
    section_index: usize,
    offset: u64,
) -> Option<FunctionId> {
    let after =
        functions.partition_point(|f| (f.section_index, f.offset) <= (section_index, offset));
    let index = after.checked_sub(1)?;
    let function = functions.get(index)?;
    let inside = function.section_index == section_index && offset < function.end();
    inside.then_some(FunctionId(u32::try_from(index).ok()?))
}

/// The function that starts at a byte of a section.
pub(super) fn starting_at(
    functions: &[Function<'_>],
    section_index: usize,
    offset: u64,
) -> Option<FunctionId> {
    let id = containing(functions, section_index, offset)?;
    let function = functions.get(id.0 as usize)?;
    (function.offset == offset).then_some(id)
}

impl<'d> Object<'d> {
    /// The function that starts exactly at `offset` in a section, for calls within a section,
    /// which have no relocation.
    pub fn function_at(&self, section_index: usize, offset: u64) -> Option<FunctionId> {
        starting_at(&self.functions, section_index, offset)
    }

    /// A function by id; ids of this object always have one.
    pub fn function(&self, id: FunctionId) -> Option<&Function<'d>> {
        self.functions.get(id.0 as usize)
    }
}
