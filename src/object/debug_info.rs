//! What `.BTF.ext` says of functions and instructions, given to the functions.

use super::elf::Elf;
use super::error::Cause;
use super::functions::{INSN, containing};
use super::model::{CoreRelocation, Function, Line};
use super::problems::Problems;
use crate::btf::core::Kind;
use crate::btf::ext::{Block, Ext, Record};
use crate::btf::{Btf, Type, TypeId};
use std::collections::HashMap;

const HELP: &str = "build the object again with a current clang";

/// A source line is in the upper 22 bits, its column in the lower 10.
const COLUMN_BITS: u32 = 10;

pub(super) fn assign<'d>(
    elf: &Elf<'d>,
    btf: &Btf<'d>,
    functions: &mut [Function<'d>],
    problems: &mut Problems,
) -> Result<(), Cause> {
    let Some(section) = elf.section_named(".BTF.ext") else {
        // Without BTF that has been said already, and without code there is nothing to describe.
        if !btf.is_empty() && !functions.is_empty() {
            problems.push(
                "the object has no `.BTF.ext`: CO-RE relocations and source lines are unknown",
                "compile with `clang -g -target bpf` and do not strip `.BTF.ext`",
            );
        }
        by_name(btf, functions);
        return Ok(());
    };
    let ext = Ext::parse(section.data, btf).map_err(|error| Cause::Btf {
        offset: section.offset.saturating_add(error.offset),
        message: error.message,
    })?;
    let code = elf.code_sections();
    let mut placer = Placer {
        code: code.map(|s| (s.name, (s.index, s.size))).collect(),
        functions,
        problems,
        ext_at: section.offset,
    };
    placer.functions(btf, &ext);
    placer.relocations(btf, &ext);
    placer.lines(btf, &ext);
    for function in placer.functions.iter_mut() {
        function
            .core_relocations
            .sort_by_key(|relocation| relocation.insn);
        function.lines.sort_by_key(|line| line.insn);
    }
    by_name(btf, functions);
    Ok(())
}

/// Functions without func_info get the FUNC of their name.
fn by_name(btf: &Btf<'_>, functions: &mut [Function<'_>]) {
    if functions.iter().all(|function| function.type_id.is_some()) {
        return;
    }
    let described: HashMap<&str, TypeId> = btf
        .iter()
        .filter(|(_, a_type)| matches!(a_type, Type::Func { .. }))
        .map(|(id, a_type)| (a_type.name(), id))
        .collect();
    for function in functions {
        if function.type_id.is_none() {
            function.type_id = described.get(function.name).copied();
        }
    }
}

struct Placer<'a, 'd> {
    /// Code sections by name: index and size.
    code: HashMap<&'d str, (usize, u64)>,
    functions: &'a mut [Function<'d>],
    problems: &'a mut Problems,
    /// Where `.BTF.ext` is in the file.
    ext_at: u64,
}

impl<'d> Placer<'_, 'd> {
    fn functions(&mut self, btf: &Btf<'d>, ext: &Ext<'d>) {
        for (record, function, insn) in self.placed(&ext.functions) {
            let type_id = record.word(1);
            let is_function = matches!(btf.get(type_id), Type::Func { .. });
            match self.functions.get_mut(function) {
                Some(function) if is_function && insn == 0 => function.type_id = Some(type_id),
                _ => self.problem(&record, "func_info that fits no function"),
            }
        }
    }

    fn relocations(&mut self, btf: &Btf<'d>, ext: &Ext<'d>) {
        for (record, function, insn) in self.placed(&ext.relocations) {
            let type_id = record.word(1);
            let known = (type_id as usize) < btf.len();
            let relocation = Kind::from_raw(record.word(3))
                .zip(btf.string(record.word(2)).filter(|_| known))
                .map(|(kind, access)| CoreRelocation {
                    insn,
                    kind,
                    type_id,
                    access,
                });
            match (relocation, self.functions.get_mut(function)) {
                (Some(relocation), Some(function)) => function.core_relocations.push(relocation),
                _ => self.problem(&record, "a CO-RE relocation of an unknown kind or type"),
            }
        }
    }

    fn lines(&mut self, btf: &Btf<'d>, ext: &Ext<'d>) {
        // Neighbouring records mostly name one file, and often one line.
        let mut file = Cached::default();
        let mut text = Cached::default();
        for (record, function, insn) in self.placed(&ext.lines) {
            let position = record.word(3);
            let line = Line {
                insn,
                file: file.get(btf, record.word(1)),
                text: text.get(btf, record.word(2)),
                line: position >> COLUMN_BITS,
                column: position & ((1 << COLUMN_BITS) - 1),
            };
            if let Some(function) = self.functions.get_mut(function) {
                function.lines.push(line);
            }
        }
    }

    /// The records of a table with the index of their function and their instruction in it.
    /// Records of sections without code are none of our business.
    fn placed(&mut self, blocks: &[Block<'d>]) -> Vec<(Record<'d>, usize, u32)> {
        let mut placed = Vec::new();
        for block in blocks {
            let Some((section, size)) = self.code.get(block.section).copied() else {
                continue;
            };
            // Records are mostly in the order of the code: try the last function first.
            let mut last: Option<(usize, u64, u64)> = None;
            for record in block.records() {
                let offset = u64::from(record.insn_offset());
                if offset >= size || !offset.is_multiple_of(INSN) {
                    self.problem(&record, "a record for no instruction");
                    continue;
                }
                let found = match last {
                    Some((_, start, end)) if (start..end).contains(&offset) => last,
                    _ => containing(self.functions, section, offset)
                        .map(|id| id.0 as usize)
                        .and_then(|at| {
                            let function = self.functions.get(at)?;
                            Some((at, function.offset, function.end()))
                        }),
                };
                last = found.or(last);
                // A linker keeps the records of a weak function that another one overrides.
                let Some((at, start, _)) = found else {
                    continue;
                };
                if let Ok(insn) = u32::try_from(offset.saturating_sub(start) / INSN) {
                    placed.push((record, at, insn));
                }
            }
        }
        placed
    }

    fn problem(&mut self, record: &Record<'d>, what: &str) {
        self.problems.push_for(
            ".BTF.ext",
            Some(self.ext_at.saturating_add(record.at)),
            format!("`.BTF.ext` has {what}"),
            HELP,
        );
    }
}

/// The last string looked up.
#[derive(Default)]
struct Cached<'d> {
    last: Option<(u32, &'d str)>,
}

impl<'d> Cached<'d> {
    fn get(&mut self, btf: &Btf<'d>, offset: u32) -> &'d str {
        match self.last {
            Some((at, text)) if at == offset => text,
            _ => {
                let text = btf.string(offset).unwrap_or_default();
                self.last = Some((offset, text));
                text
            }
        }
    }
}
