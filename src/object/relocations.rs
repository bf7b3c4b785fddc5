//! What instructions refer to: ELF relocations of code sections, by libbpf's rules.
//!
//! libbpf goes by the instruction and the symbol, not by the relocation's type, so that the
//! dialects of relocation types need not be told apart.

use super::data::Data;
use super::elf::{Elf, Place, Relocation, Section, Symbol, SymbolKind};
use super::error::Cause;
use super::externs::Externs;
use super::functions::{INSN, containing, starting_at};
use super::model::{Function, FunctionId, Reference, Target};
use super::problems::Problems;
use std::collections::HashMap;

const CALL: u8 = 0x85;
const LD_IMM64: u8 = 0x18;
const PSEUDO_CALL: u8 = 1;

/// Everything an instruction can refer to.
pub(super) struct Targets<'a, 'd> {
    elf: &'a Elf<'d>,
    functions: &'a [Function<'d>],
    externs: &'a Externs<'d>,
    data: &'a Data<'d>,
    text: Option<usize>,
    /// Index of `.maps` and its maps by offset.
    maps: Option<(usize, HashMap<u64, &'d str>)>,
}

/// A reference and the function it is in.
pub(super) type Located<'d> = (FunctionId, Reference<'d>);

/// Give each function its references, in instruction order.
pub(super) fn assign<'d>(references: Vec<Located<'d>>, functions: &mut [Function<'d>]) {
    for (id, reference) in references {
        if let Some(function) = functions.get_mut(id.0 as usize) {
            function.references.push(reference);
        }
    }
    for function in functions {
        function.references.sort_by_key(|reference| reference.insn);
    }
}

impl<'a, 'd> Targets<'a, 'd> {
    pub(super) fn new(
        elf: &'a Elf<'d>,
        functions: &'a [Function<'d>],
        externs: &'a Externs<'d>,
        data: &'a Data<'d>,
    ) -> Targets<'a, 'd> {
        let text = elf.code_sections().find(|section| section.is_text());
        let maps = elf.section_named(".maps").map(|section| {
            let maps = elf.symbols().filter(|(_, symbol)| {
                symbol.kind == SymbolKind::Object && symbol.place == Place::Section(section.index)
            });
            let by_offset = maps.map(|(_, symbol)| (symbol.value, symbol.name));
            (section.index, by_offset.collect())
        });
        Targets {
            elf,
            functions,
            externs,
            data,
            text: text.map(|section| section.index),
            maps,
        }
    }

    pub(super) fn collect(&self, problems: &mut Problems) -> Result<Vec<Located<'d>>, Cause> {
        let mut references = Vec::new();
        for section in self.elf.code_sections() {
            for relocation in self.elf.relocations(section.index) {
                if let Some(reference) = self.reference(section, relocation, problems)? {
                    references.push(reference);
                }
            }
        }
        Ok(references)
    }

    fn reference(
        &self,
        section: &Section<'d>,
        relocation: Relocation,
        problems: &mut Problems,
    ) -> Result<Option<Located<'d>>, Cause> {
        let malformed = |what: &str| {
            Cause::malformed(
                relocation.at,
                format!("a relocation of `{}` {what}", section.name),
            )
        };
        if !relocation.offset.is_multiple_of(INSN) || relocation.offset >= section.size {
            return Err(malformed("is of no instruction"));
        }
        let symbol = self
            .elf
            .symbol(relocation.symbol)
            .ok_or_else(|| malformed("names a symbol that does not exist"))?;
        // Code without a function is what the linker left of an overridden weak function.
        let Some(id) = containing(self.functions, section.index, relocation.offset) else {
            return Ok(None);
        };
        let Some(function) = self.functions.get(id.0 as usize) else {
            return Ok(None);
        };
        let at = relocation.offset.saturating_sub(function.offset);
        let insn = usize::try_from(at)
            .ok()
            .and_then(|at| Insn::read(function.code, at))
            .ok_or_else(|| malformed("is of no instruction"))?;
        let target = self
            .target(relocation.symbol, &symbol, &insn)
            .unwrap_or_else(|reason| {
                problems.push_for(
                    function.name,
                    Some(section.offset.saturating_add(relocation.offset)),
                    format!(
                        "`{}` refers to `{}`, {reason}: libbpf refuses the object",
                        function.name, symbol.name
                    ),
                    "rebuild with a current clang, and link objects with `bpftool gen object`",
                );
                Target::Unresolved(symbol.name.to_owned())
            });
        let insn = u32::try_from(at / INSN).map_err(|_| malformed("is of no instruction"))?;
        Ok(Some((id, Reference { insn, target })))
    }

    fn target(
        &self,
        index: u32,
        symbol: &Symbol<'d>,
        insn: &Insn,
    ) -> Result<Target<'d>, &'static str> {
        if insn.code != CALL && insn.code != LD_IMM64 {
            return Err("from an instruction that cannot refer to a symbol");
        }
        if symbol.place == Place::Undefined && symbol.global && symbol.kind == SymbolKind::None {
            let id = self.externs.by_symbol.get(&index);
            let id = id.ok_or("an extern that BTF does not describe")?;
            return Ok(Target::Extern(*id));
        }
        let Place::Section(section) = symbol.place else {
            return Err("which the object does not define");
        };
        if insn.code == CALL {
            return self.callee(section, symbol, insn);
        }
        // The addend is in the instruction: 0 for a symbol of its own, the offset in the section
        // for what is `static`.
        let offset = i128::from(symbol.value).saturating_add(i128::from(insn.imm));
        let offset = u64::try_from(offset).map_err(|_| "before the start of its section")?;
        if Some(section) == self.text {
            let is_subprogram = match symbol.kind {
                SymbolKind::Section => true,
                SymbolKind::Function => symbol.global,
                _ => false,
            };
            return is_subprogram
                .then(|| starting_at(self.functions, section, offset))
                .flatten()
                .map(Target::Function)
                .ok_or("which is not the start of a function");
        }
        if let Some(id) = self.data.by_section.get(&section) {
            return Ok(Target::Data(*id, offset));
        }
        if let Some((maps, by_offset)) = &self.maps
            && *maps == section
        {
            // libbpf ignores an addend here.
            let name = by_offset.get(&symbol.value);
            return name
                .map(|name| Target::Map(name))
                .ok_or("which is not the start of a map");
        }
        match self.elf.section(section) {
            Some(section) if section.is_code() => {
                Err("a program, whose address only `struct_ops` maps can take")
            }
            _ => Err("in a section that becomes no map"),
        }
    }

    /// The callee: the symbol's function, or `imm + 1` instructions into it, where the symbol is
    /// the section's and the function `static`.
    fn callee(
        &self,
        section: usize,
        symbol: &Symbol<'d>,
        insn: &Insn,
    ) -> Result<Target<'d>, &'static str> {
        if insn.source != PSEUDO_CALL {
            return Err("called like a helper");
        }
        if Some(section) != self.text {
            return Err("a function outside `.text`");
        }
        let skipped = i128::from(insn.imm).saturating_add(1).saturating_mul(8);
        let offset = i128::from(symbol.value).saturating_add(skipped);
        u64::try_from(offset)
            .ok()
            .and_then(|offset| starting_at(self.functions, section, offset))
            .map(Target::Function)
            .ok_or("which is not the start of a function")
    }
}

/// What of an instruction decides the target of its relocation.
struct Insn {
    code: u8,
    source: u8,
    imm: i32,
}

impl Insn {
    fn read(code: &[u8], at: usize) -> Option<Insn> {
        match code.get(at..)?.first_chunk::<8>()? {
            [code, registers, _, _, imm @ ..] => Some(Insn {
                code: *code,
                source: registers >> 4,
                imm: i32::from_le_bytes(*imm),
            }),
        }
    }
}
