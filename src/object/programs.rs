//! Programs: the functions of code sections other than `.text`.

use super::elf::{Elf, Place, SymbolKind};
use super::model::{Function, FunctionId, Program};
use super::problems::Problems;
use super::sections;
use std::collections::HashSet;

/// libbpf makes a program of every function outside `.text`, and refuses the object when one of
/// them is `static`.
pub(super) fn collect<'d>(
    elf: &Elf<'d>,
    functions: &[Function<'d>],
    problems: &mut Problems,
) -> Vec<Program<'d>> {
    let local = local_functions(elf);
    let mut programs = Vec::new();
    for (id, function) in (0_u32..).map(FunctionId).zip(functions) {
        let Some(section) = elf.section(function.section_index) else {
            continue;
        };
        if section.is_text() {
            continue;
        }
        if local.contains(&(function.section_index, function.offset)) {
            problems.push_for(
                function.name,
                Some(section.offset.saturating_add(function.offset)),
                format!(
                    "`{}` is static in the program section `{}`, which libbpf does not support",
                    function.name, function.section
                ),
                "remove `static` to make it a program, or `SEC(...)` to make it a subprogram",
            );
            continue;
        }
        let meaning = sections::meaning(function.section);
        programs.push(Program {
            function: id,
            name: function.name,
            section: function.section,
            kind: meaning.kind,
            sleepable: meaning.sleepable,
            autoload: meaning.autoload,
            attached: Vec::new(),
        });
    }
    programs
}

/// Where the functions with local binding start. Linkage does not tell: a hidden global function
/// is static to the verifier, and a program all the same.
fn local_functions(elf: &Elf<'_>) -> HashSet<(usize, u64)> {
    elf.symbols()
        .filter(|(_, symbol)| symbol.kind == SymbolKind::Function && !symbol.global)
        .filter_map(|(_, symbol)| match symbol.place {
            Place::Section(section) => Some((section, symbol.value)),
            _ => None,
        })
        .collect()
}
