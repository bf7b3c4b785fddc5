//! What one program reaches on one kernel: its call graph, and the kfunc calls in it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::explore::{AsyncKind, EdgeTarget, Event, Explorer, How, NodeId, Obstacle};
use super::inputs::{InputId, Inputs, Known};
use crate::object::{ExternId, FunctionId, Object};

/// A function of the program, in the role in which it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The function.
    pub function: FunctionId,
    /// How it is entered.
    pub kind: RoleKind,
    /// The asynchronous callback it runs in, if any; the callback itself included.
    pub asynchronous: Option<AsyncKind>,
}

/// How a function is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleKind {
    /// The program's entry.
    Entry,
    /// Called.
    Subprogram,
    /// Handed to a helper or kfunc that runs it before returning.
    Callback,
    /// Handed to a helper or kfunc that arranges for it to run later.
    Async,
}

/// A place in the call graph: a function in a role, and an instruction of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// The function in its role.
    pub role: NodeIndex,
    /// Instruction slot.
    pub insn: u32,
}

/// A reached kfunc call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KfuncCall {
    /// Where.
    pub site: Site,
    /// Which extern.
    pub callee: ExternId,
    /// Always inside an RCU read section.
    pub in_rcu_section: bool,
}

/// What a program reaches.
#[derive(Debug)]
pub struct Reach {
    /// Functions in their roles; edges carry the instruction slot of the call.
    pub graph: DiGraph<Role, u32>,
    /// The entry.
    pub entry: NodeIndex,
    /// Kfunc calls, nearest to the entry first; inside a function as they stand.
    pub calls: Vec<KfuncCall>,
    /// Instructions whose CO-RE relocation (index in the function) has no target.
    pub no_target: Vec<(Site, usize)>,
    /// The constants all this rests on.
    pub rests_on: BTreeMap<InputId, Known>,
    /// What could not be followed.
    pub obstacles: Vec<(Site, Obstacle)>,
}

impl Reach {
    /// Collects what `function` reaches when loaded as a program.
    pub fn of(
        object: &Object<'_>,
        explorer: &mut Explorer<'_, '_>,
        function: FunctionId,
        inputs: &Inputs<'_, '_>,
    ) -> Option<Self> {
        let root = explorer.any_arguments(function, inputs)?;
        let mut graph = DiGraph::new();
        let entry = graph.add_node(Role {
            function,
            kind: RoleKind::Entry,
            asynchronous: None,
        });
        let mut reach = Self {
            graph,
            entry,
            calls: Vec::new(),
            no_target: Vec::new(),
            rests_on: BTreeMap::new(),
            obstacles: Vec::new(),
        };
        let mut known = HashMap::from([((root, None), entry)]);
        let mut queue = VecDeque::from([(root, entry)]);
        let exception = object
            .functions
            .get(function.0 as usize)
            .and_then(|f| f.exception_callback);
        if let Some(node) = exception.and_then(|callback| explorer.any_arguments(callback, inputs))
        {
            reach.enter(
                explorer,
                (node, entry, 0),
                &How::Callback,
                &mut known,
                &mut queue,
            );
        }
        while let Some((node, role)) = queue.pop_front() {
            reach.collect(explorer, node, role);
            let edges = explorer
                .node(node)
                .map(|node| node.edges.clone())
                .unwrap_or_default();
            for edge in edges {
                let target = match edge.to {
                    EdgeTarget::Node(node) => Some(node),
                    EdgeTarget::AnyArguments(function) => explorer.any_arguments(function, inputs),
                };
                if let Some(target) = target {
                    reach.enter(
                        explorer,
                        (target, role, edge.insn),
                        &edge.how,
                        &mut known,
                        &mut queue,
                    );
                }
            }
        }
        reach.find_recursion();
        Some(reach)
    }

    fn enter(
        &mut self,
        explorer: &Explorer<'_, '_>,
        (node, from, insn): (NodeId, NodeIndex, u32),
        how: &How,
        known: &mut HashMap<(NodeId, Option<AsyncKind>), NodeIndex>,
        queue: &mut VecDeque<(NodeId, NodeIndex)>,
    ) {
        let Some(function) = explorer.node(node).map(|node| node.function) else {
            return;
        };
        let (kind, asynchronous) = match how {
            How::Call => (RoleKind::Subprogram, self.asynchronous(from)),
            How::Callback => (RoleKind::Callback, self.asynchronous(from)),
            How::Async(kind) => (RoleKind::Async, Some(*kind)),
        };
        let role = match known.get(&(node, asynchronous)) {
            Some(role) => *role,
            None => {
                let role = self.graph.add_node(Role {
                    function,
                    kind,
                    asynchronous,
                });
                known.insert((node, asynchronous), role);
                queue.push_back((node, role));
                role
            }
        };
        self.graph.add_edge(from, role, insn);
    }

    fn asynchronous(&self, role: NodeIndex) -> Option<AsyncKind> {
        self.graph
            .node_weight(role)
            .and_then(|role| role.asynchronous)
    }

    fn collect(&mut self, explorer: &Explorer<'_, '_>, node: NodeId, role: NodeIndex) {
        self.rests_on
            .extend(explorer.rests_on(node).iter().copied());
        let Some(node) = explorer.node(node) else {
            return;
        };
        for (insn, event) in &node.events {
            let site = Site { role, insn: *insn };
            match event {
                Event::Kfunc {
                    callee,
                    in_rcu_section,
                } => {
                    self.calls.push(KfuncCall {
                        site,
                        callee: *callee,
                        in_rcu_section: *in_rcu_section,
                    });
                }
                Event::NoTarget(index) => self.no_target.push((site, *index)),
                Event::Obstacle(obstacle) => self.obstacles.push((site, obstacle.clone())),
            }
        }
    }

    /// Global subprograms are followed one by one, so that a cycle through them shows only here.
    /// Arming an asynchronous callback from itself is how timers repeat, and is no recursion.
    fn find_recursion(&mut self) {
        for cycle in tarjan_scc(&self.graph) {
            for edge in cycle
                .iter()
                .flat_map(|role| self.graph.edges_directed(*role, Direction::Outgoing))
            {
                let synchronous = self
                    .graph
                    .node_weight(edge.target())
                    .is_some_and(|to| to.kind != RoleKind::Async);
                let inside = cycle.contains(&edge.target())
                    && (cycle.len() > 1 || edge.source() == edge.target());
                if inside && synchronous {
                    let site = Site {
                        role: edge.source(),
                        insn: *edge.weight(),
                    };
                    self.obstacles.push((site, Obstacle::Recursion));
                    return;
                }
            }
        }
    }

    /// The function a site lies in.
    pub fn role(&self, site: Site) -> Option<&Role> {
        self.graph.node_weight(site.role)
    }

    /// The shortest way from the entry to a site: each function with the slot in its caller from
    /// which it was entered (none for the entry).
    pub fn chain(&self, site: Site) -> Vec<(NodeIndex, Option<Site>)> {
        // Breadth-first from the entry; graphs are small and chains are only asked for findings.
        let mut came_from: HashMap<NodeIndex, Site> = HashMap::new();
        let mut queue = VecDeque::from([self.entry]);
        while let Some(role) = queue.pop_front() {
            if role == site.role {
                break;
            }
            let mut edges: Vec<_> = self
                .graph
                .edges_directed(role, Direction::Outgoing)
                .collect();
            edges.sort_by_key(|edge| (*edge.weight(), edge.target()));
            for edge in edges {
                if edge.target() != self.entry && !came_from.contains_key(&edge.target()) {
                    came_from.insert(
                        edge.target(),
                        Site {
                            role,
                            insn: *edge.weight(),
                        },
                    );
                    queue.push_back(edge.target());
                }
            }
        }
        let mut chain = Vec::new();
        let mut at = site.role;
        while let Some(from) = came_from.get(&at) {
            chain.push((at, Some(*from)));
            at = from.role;
        }
        chain.push((at, None));
        chain.reverse();
        chain
    }
}
