//! Exception callbacks: `__exception_cb(name)` on a program leaves the declaration tag
//! `exception_callback:name`.

use super::model::{Function, FunctionId, Linkage, Program};
use super::problems::Problems;
use crate::btf::{Btf, FuncLinkage, Type};
use std::collections::HashMap;

const PREFIX: &str = "exception_callback:";
const HELP: &str = "name one global function of `.text` in `__exception_cb(...)`";

pub(super) fn assign<'d>(
    btf: &Btf<'d>,
    programs: &[Program<'d>],
    functions: &mut [Function<'d>],
    problems: &mut Problems,
) {
    let tags: Vec<(&str, &str)> = tags(btf, problems);
    if tags.is_empty() {
        return;
    }
    let subprograms: HashMap<&str, (FunctionId, Linkage)> = (0_u32..)
        .map(FunctionId)
        .zip(functions.iter())
        .filter(|(_, function)| function.section == ".text")
        .map(|(id, function)| (function.name, (id, function.linkage)))
        .collect();
    let by_name: HashMap<&str, FunctionId> = programs
        .iter()
        .map(|program| (program.name, program.function))
        .collect();
    for (program, callback) in tags {
        let function = by_name
            .get(program)
            .and_then(|id| functions.get_mut(id.0 as usize));
        let Some(function) = function else {
            continue;
        };
        let found = subprograms.get(callback);
        let reason = match found {
            _ if function.exception_callback.is_some() => Some("has two exception callbacks"),
            None => Some("has an exception callback that does not exist"),
            Some((_, Linkage::Static)) => Some("has an exception callback that is not global"),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            let message = format!("`{program}` {reason} (`{callback}`): it does not load");
            problems.push_for(program, None, message, HELP);
        } else {
            function.exception_callback = found.map(|(id, _)| *id);
        }
    }
}

/// The (program, callback) pairs of the declaration tags.
fn tags<'d>(btf: &Btf<'d>, problems: &mut Problems) -> Vec<(&'d str, &'d str)> {
    let mut tags = Vec::new();
    for (_, a_type) in btf.iter() {
        let Type::DeclTag {
            name,
            target,
            component: None,
        } = a_type
        else {
            continue;
        };
        let Some(callback) = name.strip_prefix(PREFIX) else {
            continue;
        };
        match btf.get(*target) {
            Type::Func {
                name,
                linkage: FuncLinkage::Global,
                ..
            } => tags.push((*name, callback)),
            other => problems.push_for(
                other.name(),
                None,
                format!("the exception callback `{callback}` is not set on a program"),
                HELP,
            ),
        }
    }
    tags
}
