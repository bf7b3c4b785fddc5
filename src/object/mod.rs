//! The BPF object as data: programs, subprograms, `struct_ops` maps, externs, relocations and
//! read-only data, with libbpf's rules for each. Knows nothing of kernels or rules.
//!
//! Everything borrows from the bytes of the file (`'d`), so that a 20 MB arena section costs nothing.
//!
//! A file that is no BPF object, or a damaged one, is an [`ObjectError`]. What a loader would
//! refuse, or what keeps part of an otherwise readable object from being understood, is a
//! [`Problem`].

mod data;
mod debug_info;
mod elf;
mod error;
mod exceptions;
mod externs;
mod functions;
mod model;
mod problems;
mod programs;
mod query;
mod relocations;
mod sections;
mod struct_ops;

pub use error::{Cause, ObjectError};
pub use model::*;

use crate::btf::Btf;
use elf::Elf;
use problems::Problems;

/// Parse a compiled BPF object. `path` is what messages call it.
pub fn parse<'d>(path: &str, bytes: &'d [u8]) -> Result<Object<'d>, ObjectError> {
    read(path, bytes).map_err(|cause| cause.of(path))
}

fn read<'d>(path: &str, bytes: &'d [u8]) -> Result<Object<'d>, Cause> {
    let elf = Elf::parse(bytes)?;
    let mut problems = Problems::default();

    let btf = read_btf(&elf, &mut problems)?;
    let mut functions = functions::collect(&elf, &mut problems)?;
    let mut programs = programs::collect(&elf, &functions, &mut problems);
    let externs = externs::collect(&elf, &btf, &mut problems);
    let data = data::collect(&elf, &btf);
    let targets = relocations::Targets::new(&elf, &functions, &externs, &data);
    let references = targets.collect(&mut problems)?;
    let struct_ops = struct_ops::collect(&elf, &btf, &functions, &mut programs, &mut problems)?;
    relocations::assign(references, &mut functions);
    debug_info::assign(&elf, &btf, &mut functions, &mut problems)?;
    exceptions::assign(&btf, &programs, &mut functions, &mut problems);
    // A scheduler may consist of its name: the kernel has a default for every callback.
    if programs.is_empty() && struct_ops.is_empty() {
        problems.push(
            "the object has no program",
            "give an object with functions in `SEC(\"...\")` sections",
        );
    }

    Ok(Object {
        path: path.to_owned(),
        functions,
        programs,
        struct_ops,
        externs: externs.list,
        data: data.sections,
        btf,
        problems: problems.into_list(),
    })
}

/// The object's types; an object without them is read as far as possible.
fn read_btf<'d>(elf: &Elf<'d>, problems: &mut Problems) -> Result<Btf<'d>, Cause> {
    let Some(section) = elf.section_named(".BTF") else {
        problems.push(
            "the object has no BTF: types of callbacks, kfuncs and maps are unknown",
            "compile with `clang -g -target bpf` and do not strip `.BTF`",
        );
        return Ok(Btf::default());
    };
    Btf::parse(section.data).map_err(|error| Cause::Btf {
        offset: section.offset.saturating_add(error.offset),
        message: error.message,
    })
}
