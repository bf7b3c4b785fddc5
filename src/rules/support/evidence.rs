//! Source lines and call chains for findings.

use super::case::{Host, ProgramCase};
use crate::cfg::{AsyncKind, Reach, RoleKind, Site};
use crate::kernel::CallbackTime;
use crate::object::{FunctionId, Object};
use crate::report::{ChainKind, ChainLink, Location};

/// The source line of an instruction.
pub fn location(object: &Object<'_>, reach: &Reach, site: Site) -> Option<Location> {
    line(object, reach.role(site)?.function, site.insn)
}

/// The source line of slot `insn` of a function: the last line record at or before it.
pub fn line(object: &Object<'_>, function: FunctionId, insn: u32) -> Option<Location> {
    let lines = &object.functions.get(function.0 as usize)?.lines;
    let index = lines
        .partition_point(|line| line.insn <= insn)
        .checked_sub(1)?;
    let line = lines.get(index)?;
    Some(Location {
        file: line.file.to_owned(),
        line: line.line,
        column: line.column,
        text: line.text.to_owned(),
    })
}

/// The way from a program's entry to a site: the entry first, then every function entered, each
/// with the place in the one before it from which it is entered.
pub fn chain(
    object: &Object<'_>,
    program: &ProgramCase<'_>,
    reach: &Reach,
    site: Site,
) -> Vec<ChainLink> {
    let hops = reach.chain(site);
    let links = hops.iter().filter_map(|(role, from)| {
        let role = reach.graph.node_weight(*role)?;
        let function = object.functions.get(role.function.0 as usize)?;
        let (kind, name) = match (role.kind.clone(), program.host) {
            (
                RoleKind::Entry,
                Host::Callback { member, .. }
                | Host::MissingType { member, .. }
                | Host::ForeignStructOps { member, .. },
            ) => (ChainKind::Callback, member),
            (RoleKind::Entry, Host::Other(_)) => (ChainKind::Program, function.name),
            (RoleKind::Subprogram | RoleKind::Callback, _) => {
                (ChainKind::Subprogram, function.name)
            }
            (RoleKind::Async, _) => (ChainKind::Async, function.name),
        };
        let location = match from {
            Some(from) => location(object, reach, *from),
            None => line(object, role.function, 0),
        };
        Some(ChainLink {
            kind,
            name: name.to_owned(),
            location,
        })
    });
    links.collect()
}

/// What an asynchronous callback is, in words.
pub fn async_name(kind: AsyncKind) -> &'static str {
    match kind.runs {
        CallbackTime::Timer => "a timer callback",
        CallbackTime::Workqueue => "a workqueue callback",
        CallbackTime::TaskWork => "a task-work callback",
        CallbackTime::Sync => "a callback",
    }
}

/// Names in backticks, joined as in a sentence.
pub fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    match names.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The part of a section name that says the program type: `tp_btf` of `?tp_btf/sched_switch`.
pub fn section_kind(section: &str) -> &str {
    let section = section.trim_start_matches('?');
    section.split_once('/').map_or(section, |(kind, _)| kind)
}
