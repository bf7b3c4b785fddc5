//! What the two nesting rules share: the nesting graph of each `struct_ops` map of a case, and call
//! chains through it.

use super::case::{Call, Case, Host, ProgramCase};
use crate::cfg::nesting::{CallbackCalls, Nesting, Node, Step};
use crate::kernel::Callback;
use crate::object::StructOpsMap;
use crate::report::{ChainKind, ChainLink, Diagnostic, Outcome};

/// The nesting graph of one map with what its nodes stand for.
pub struct MapNesting<'a> {
    /// The graph.
    pub graph: Nesting,
    callbacks: Vec<(&'a Callback, &'a ProgramCase<'a>)>,
    calls: Vec<(Call<'a>, &'a ProgramCase<'a>)>,
}

/// The nesting graphs of the maps a loader creates.
pub fn maps<'a>(case: &'a Case<'a>) -> Vec<MapNesting<'a>> {
    let created = case
        .object
        .struct_ops
        .iter()
        .enumerate()
        .filter(|(index, _)| case.created.get(*index) == Some(&true));
    created.map(|(_, map)| MapNesting::of(case, map)).collect()
}

impl<'a> MapNesting<'a> {
    fn of(case: &'a Case<'a>, map: &'a StructOpsMap<'a>) -> Self {
        let mut callbacks = Vec::new();
        let mut calls = Vec::new();
        let mut nodes = Vec::new();
        for program in case.programs.iter().filter(|program| program.loaded) {
            let Host::Callback {
                map: of,
                callback: Some(callback),
                ..
            } = program.host
            else {
                continue;
            };
            if !std::ptr::eq(of, map) {
                continue;
            }
            let mut kfuncs: Vec<(String, usize)> = Vec::new();
            for call in case.calls(program) {
                let role = program
                    .reach
                    .as_ref()
                    .and_then(|reach| reach.role(call.call.site));
                let synchronous = role.is_some_and(|role| role.asynchronous.is_none());
                let Some(kfunc) = call.kfunc.filter(|_| synchronous) else {
                    continue;
                };
                if !kfuncs.iter().any(|(name, _)| **name == *kfunc.name) {
                    kfuncs.push((kfunc.name.to_string(), calls.len()));
                    calls.push((call, program));
                }
            }
            nodes.push(CallbackCalls {
                name: callback.name.to_string(),
                role: callback.role.to_string(),
                kfuncs,
            });
            callbacks.push((callback, program));
        }
        Self {
            graph: Nesting::of(&nodes, case.kernel),
            callbacks,
            calls,
        }
    }

    /// The callback of that name and the program that implements it.
    pub fn callback(&self, name: &str) -> Option<(&'a Callback, &'a ProgramCase<'a>)> {
        self.callbacks
            .iter()
            .copied()
            .find(|(callback, _)| *callback.name == *name)
    }

    /// The call an edge of the graph stands for.
    pub fn call(&self, index: usize) -> Option<&(Call<'a>, &'a ProgramCase<'a>)> {
        self.calls.get(index)
    }

    /// A finding at the last call on a way through the graph, with the chain along the whole way.
    pub fn diagnostic(
        &self,
        case: &Case<'_>,
        rule: &str,
        steps: &[Step],
        outcome: Outcome,
        message: String,
    ) -> Option<(&'a ProgramCase<'a>, Diagnostic)> {
        let last = steps.iter().rev().find_map(|(_, call)| *call)?;
        let (call, program) = self.call(last)?;
        let mut diagnostic = case.at_call(rule, program, call, outcome, message);
        diagnostic.chain = self.chain(case, rule, steps);
        // The way starts in the outermost callback, which need not be the one that makes the call.
        if let Some((Node::Callback(name), _)) = steps.first()
            && let Some((_, outermost)) = self.callback(name)
        {
            diagnostic.callback = Some(name.clone());
            diagnostic.program = Some(outermost.program.name.to_owned());
        }
        Some((program, diagnostic))
    }

    fn chain(&self, case: &Case<'_>, rule: &str, steps: &[Step]) -> Vec<ChainLink> {
        let mut chain: Vec<ChainLink> = Vec::new();
        for (position, (node, index)) in steps.iter().enumerate() {
            match (node, index.and_then(|index| self.call(index))) {
                // A kfunc call brings the whole way from its callback's entry to it.
                (Node::Kfunc(_), Some((call, program))) => {
                    let links = case.at_call(rule, program, call, Outcome::Ok, "").chain;
                    chain.extend(
                        links
                            .into_iter()
                            .skip(usize::from(position > 1 || !chain.is_empty())),
                    );
                }
                (Node::Callback(name), _) if position > 0 => {
                    let location = chain.last().and_then(|link| link.location.clone());
                    chain.push(ChainLink {
                        kind: ChainKind::Nested,
                        name: name.clone(),
                        location,
                    });
                }
                _ => {}
            }
        }
        chain
    }
}
