//! The nesting graph of one `struct_ops` map on one kernel: which callbacks run inside which kfuncs
//! that which callbacks call.
//!
//! Nodes are callbacks and kfuncs. A callback leads to the kfuncs it reaches synchronously (the
//! object), a kfunc to the callbacks the kernel runs before it returns (the tables), and a callback to
//! callbacks that the kernel itself nests in it (the tables). Deferred calls and calls into another
//! scheduler do not nest and are left out.

use std::collections::HashMap;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::kernel::{Contexts, Kernel, Kfunc, NestingSource};

/// A node: a callback or a kfunc, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A callback the map sets.
    Callback(String),
    /// A kfunc that callbacks call.
    Kfunc(String),
}

/// One callback of the map, with the kfuncs its program reaches outside asynchronous callbacks.
#[derive(Debug, Clone)]
pub struct CallbackCalls {
    /// Member name.
    pub name: String,
    /// Name the nesting facts use for it.
    pub role: String,
    /// Kernel names of the kfuncs, each with the index of one call of it.
    pub kfuncs: Vec<(String, usize)>,
}

/// The graph.
#[derive(Debug, Default)]
pub struct Nesting {
    graph: DiGraph<Node, Option<usize>>,
    by_node: HashMap<Node, NodeIndex>,
}

/// A step on a way through the graph: the node, and for a kfunc the index of the call leading to it.
pub type Step = (Node, Option<usize>);

impl Nesting {
    /// Builds the graph of the callbacks of one map.
    pub fn of(callbacks: &[CallbackCalls], kernel: &Kernel) -> Self {
        let mut nesting = Self::default();
        let by_role: HashMap<&str, &str> = callbacks
            .iter()
            .map(|callback| (callback.role.as_str(), callback.name.as_str()))
            .collect();
        for callback in callbacks {
            let from = nesting.node(Node::Callback(callback.name.clone()));
            for (kfunc, call) in &callback.kfuncs {
                let to = nesting.node(Node::Kfunc(kfunc.clone()));
                nesting.graph.update_edge(from, to, Some(*call));
            }
        }
        for edge in kernel
            .nesting_edges()
            .iter()
            .filter(|edge| !edge.deferred && !edge.child)
        {
            let from = match &edge.from {
                NestingSource::Kfunc(name) => Some(Node::Kfunc(name.to_string())),
                NestingSource::Callback(role) => by_role
                    .get(&**role)
                    .map(|name| Node::Callback((*name).to_owned())),
            };
            let to = by_role
                .get(&*edge.to)
                .map(|name| Node::Callback((*name).to_owned()));
            if let (Some(from), Some(to)) = (from, to)
                && let (Some(from), Some(to)) = (
                    nesting.by_node.get(&from).copied(),
                    nesting.by_node.get(&to).copied(),
                )
            {
                nesting.graph.update_edge(from, to, None);
            }
        }
        nesting
    }

    fn node(&mut self, node: Node) -> NodeIndex {
        *self
            .by_node
            .entry(node.clone())
            .or_insert_with(|| self.graph.add_node(node))
    }

    /// One way around each set of nodes that reach each other, starting and ending at a callback.
    pub fn cycles(&self) -> Vec<Vec<Step>> {
        let mut cycles = Vec::new();
        for component in tarjan_scc(&self.graph) {
            let looping = component.len() > 1
                || component
                    .first()
                    .is_some_and(|node| self.graph.contains_edge(*node, *node));
            let start = component
                .iter()
                .copied()
                .filter(|node| matches!(self.graph.node_weight(*node), Some(Node::Callback(_))))
                .min();
            if let (true, Some(start)) = (looping, start) {
                cycles.push(self.shortest(start, start, &component));
            }
        }
        cycles
    }

    /// The shortest way from `from` to `to` inside `within`, both ends included.
    fn shortest(&self, from: NodeIndex, to: NodeIndex, within: &[NodeIndex]) -> Vec<Step> {
        let mut came: HashMap<NodeIndex, (NodeIndex, Option<usize>)> = HashMap::new();
        let mut queue = std::collections::VecDeque::from([from]);
        'search: while let Some(node) = queue.pop_front() {
            let mut edges: Vec<_> = self.graph.edges(node).collect();
            edges.sort_by_key(|edge| edge.target());
            for edge in edges {
                let next = edge.target();
                if within.contains(&next) && !came.contains_key(&next) {
                    came.insert(next, (node, *edge.weight()));
                    if next == to {
                        break 'search;
                    }
                    queue.push_back(next);
                }
            }
        }
        let mut steps = Vec::new();
        let mut at = to;
        while let Some((before, call)) = came.get(&at).copied() {
            steps.extend(self.graph.node_weight(at).map(|node| (node.clone(), call)));
            at = before;
            if at == from {
                break;
            }
        }
        steps.extend(
            self.graph
                .node_weight(from)
                .map(|node| (node.clone(), None)),
        );
        steps.reverse();
        steps
    }

    /// Callbacks that call a kfunc after which the kernel calls them again, deferred and every time.
    pub fn deferred_loops<'r>(
        &self,
        kernel: &Kernel,
        role: impl Fn(&str) -> Option<&'r str>,
    ) -> Vec<Vec<Step>> {
        let edges = self.graph.edge_indices().filter_map(|edge| {
            let (from, to) = self.graph.edge_endpoints(edge)?;
            let (from, to) = (self.graph.node_weight(from)?, self.graph.node_weight(to)?);
            let (Node::Callback(callback), Node::Kfunc(kfunc)) = (from, to) else {
                return None;
            };
            let again = kernel.nesting_edges().iter().any(|known| {
                known.repeats
                    && !known.child
                    && matches!(&known.from, NestingSource::Kfunc(name) if **name == **kfunc)
                    && role(callback) == Some(&*known.to)
            });
            again.then(|| {
                vec![
                    (from.clone(), None),
                    (to.clone(), *self.graph.edge_weight(edge).unwrap_or(&None)),
                ]
            })
        });
        edges.collect()
    }

    /// Every way from a callback through kfuncs into other callbacks and on, without going round:
    /// `visit` is given the steps so far and says whether to go on from there.
    pub fn walk(&self, visit: &mut dyn FnMut(&[Step]) -> bool) {
        for start in self.graph.node_indices() {
            if let Some(node @ Node::Callback(_)) = self.graph.node_weight(start) {
                let mut steps = vec![(node.clone(), None)];
                let mut on_way = vec![start];
                // Callbacks and the few kfuncs that nest bound this: kfuncs that lead nowhere end a way.
                let mut budget = WALK_BUDGET;
                self.walk_from(start, &mut on_way, &mut steps, visit, &mut budget);
            }
        }
    }

    fn walk_from(
        &self,
        at: NodeIndex,
        on_way: &mut Vec<NodeIndex>,
        steps: &mut Vec<Step>,
        visit: &mut dyn FnMut(&[Step]) -> bool,
        budget: &mut usize,
    ) {
        if *budget == 0 || !visit(steps) {
            return;
        }
        *budget -= 1;
        let mut edges: Vec<_> = self.graph.edges(at).collect();
        edges.sort_by_key(|edge| edge.target());
        for edge in edges {
            let next = edge.target();
            let Some(node) = self.graph.node_weight(next) else {
                continue;
            };
            if on_way.contains(&next) && matches!(node, Node::Callback(_)) {
                continue;
            }
            on_way.push(next);
            steps.push((node.clone(), *edge.weight()));
            self.walk_from(next, on_way, steps, visit, budget);
            steps.pop();
            on_way.pop();
        }
    }
}

/// Bits above the highest one set, as the kernel's `higher_bits()` (include/linux/sched/ext.h, 6.12).
fn higher_bits(mask: u64) -> u64 {
    match u64::BITS - mask.leading_zeros() {
        64 => 0,
        bits => !((1u64 << bits) - 1),
    }
}

/// Whether a callback may not run inside others: its mask, or a higher one, is set already
/// (`scx_kf_allow()`). A callback without a mask leaves things as they are.
pub fn out_of_order(kernel: &Kernel, outer: Contexts, inner: Contexts) -> bool {
    let (outer, inner) = (kernel.context_value(outer), kernel.context_value(inner));
    inner != 0 && (inner | higher_bits(inner)) & outer != 0
}

/// Whether a kfunc may not be called from an operation nested as `on_way` tells (the contexts of all
/// callbacks on the way), and what the kernel says: kfuncs of the outer operations refuse to run inside
/// a nested one (`scx_kf_allowed()`), even where the masks that nesting accumulates would permit it.
pub fn nested_error(kernel: &Kernel, kfunc: &Kfunc, on_way: Contexts) -> Option<String> {
    let asks = kernel.context_value(kfunc.requires);
    let set = kernel.context_value(on_way);
    let check = kernel.nested_checks().find(|check| {
        check.value != 0 && asks & higher_bits(check.value) == 0 && asks & check.value != 0
    })?;
    if set & higher_bits(check.value) == 0 {
        return None;
    }
    // The mask is looked at first.
    if asks & set == 0 {
        Some(kernel.refusal(kfunc, on_way))
    } else {
        check.nested_error.clone()
    }
}

/// Steps taken from one callback; the real tables need a few dozen.
const WALK_BUDGET: usize = 4096;
