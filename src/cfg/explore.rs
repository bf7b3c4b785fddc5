//! Which instructions of a function can run, given the constants of one kernel.
//!
//! This follows the verifier: it walks from the entry, prunes branches that constants decide, goes
//! into static subprograms with the caller's values and into callbacks with the values the helper
//! hands them, and takes global subprograms for any arguments. Where the verifier would keep every
//! path apart, at most `STATES_PER_JOIN` are kept at a join and the rest are merged, so that the
//! cost stays linear and the answer errs towards "can run".

use std::collections::BTreeMap;
use std::rc::Rc;

use super::function::Shape;
use super::inputs::{InputId, Inputs, Known};
use super::insn::{Alu, Op, Operand, Pseudo, Width, decode};
use super::state::State;
use super::value::{Scalar, Value};
use crate::kernel::{CallbackTaker, CallbackTime, RegionKind};
use crate::object::{ExternId, ExternKind, FunctionId, Linkage, Object, Target};

/// Distinct states kept at one join before they are merged into one.
const STATES_PER_JOIN: usize = 16;

/// Distinct argument sets a static function is followed with before it is taken for any arguments.
const ENTRIES_PER_FUNCTION: usize = 12;

/// Merges at one join before whatever still changes becomes unknown.
const MERGES_BEFORE_WIDENING: u32 = 2;

/// The verifier's limit on nested calls (`MAX_CALL_FRAMES`, include/linux/bpf_verifier.h).
const MAX_CALL_FRAMES: usize = 8;

/// Re-runs of a callback until what it does to its caller's stack is stable.
const CALLBACK_ROUNDS: usize = 3;

/// Steps a function may take per instruction before states are merged at every join.
const STEPS_PER_SLOT: usize = 32;

/// Index of a [`Node`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// A function followed with one set of entry values: what it reaches by itself.
#[derive(Debug)]
pub struct Node {
    /// The function.
    pub function: FunctionId,
    entry: State,
    /// Kernel-dependent constants this result rests on, callees' included.
    rests_on: Vec<(InputId, Known)>,
    /// What is reached, by instruction slot.
    pub events: BTreeMap<u32, Event>,
    /// Calls and callbacks, by instruction slot.
    pub edges: Vec<Edge>,
    exit: Option<State>,
    /// Values over all exits are lost because the function was cut short.
    cut: bool,
}

/// Something reached at an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A kfunc call.
    Kfunc {
        /// The extern called.
        callee: ExternId,
        /// Every way here is inside an RCU read section.
        in_rcu_section: bool,
    },
    /// An instruction whose CO-RE relocation (index in the function) has no target.
    NoTarget(usize),
    /// Something that keeps the analysis from an answer.
    Obstacle(Obstacle),
}

/// What the analysis cannot follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// An opcode no kernel accepts.
    UnknownInstruction(u8),
    /// `callx`.
    RegisterCall,
    /// `gotox`: targets come from a jump table.
    RegisterJump,
    /// Execution or a jump leaves the function.
    LeavesFunction,
    /// A jump into the middle of an instruction.
    MidInstruction,
    /// A call whose target is not the start of a function, or an unknown symbol.
    UnresolvedCall(String),
    /// A kfunc already bound to the BTF of some kernel.
    BoundKfunc(i32),
    /// A function pointer that cannot be told.
    UnknownCallback,
    /// More nested calls than the verifier allows.
    TooDeep,
    /// A function that calls itself.
    Recursion,
}

/// From a function to one that runs because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Instruction slot.
    pub insn: u32,
    /// How the target is run.
    pub how: How,
    /// What is run.
    pub to: EdgeTarget,
}

/// How an edge's target is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// A bpf-to-bpf call.
    Call,
    /// By a helper or kfunc before it returns.
    Callback,
    /// Later, outside the callback that armed it.
    Async(AsyncKind),
}

/// When and how a callback that was handed over runs later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AsyncKind {
    /// By what.
    pub runs: CallbackTime,
    /// Whether it may sleep there.
    pub sleepable: bool,
}

/// The target of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeTarget {
    /// Followed with the caller's values.
    Node(NodeId),
    /// Taken for any arguments: see [`Explorer::any_arguments`].
    AnyArguments(FunctionId),
}

/// Follows the functions of one object. Results are kept and reused for every kernel on which the
/// constants they rest on are the same.
#[derive(Debug)]
pub struct Explorer<'o, 'd> {
    object: &'o Object<'d>,
    shapes: Vec<Option<Rc<Shape>>>,
    nodes: Vec<Node>,
    by_function: Vec<Vec<NodeId>>,
    in_progress: Vec<FunctionId>,
    rests_on: Vec<BTreeMap<InputId, Known>>,
}

impl<'o, 'd> Explorer<'o, 'd> {
    /// An explorer with nothing explored.
    pub fn new(object: &'o Object<'d>) -> Self {
        let functions = object.functions.len();
        Self {
            object,
            shapes: vec![None; functions],
            nodes: Vec::new(),
            by_function: vec![Vec::new(); functions],
            in_progress: Vec::new(),
            rests_on: Vec::new(),
        }
    }

    /// The node behind an id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    /// A function as the verifier starts it by itself: an entry program, a global subprogram, an
    /// asynchronous callback.
    pub fn any_arguments(
        &mut self,
        function: FunctionId,
        inputs: &Inputs<'_, '_>,
    ) -> Option<NodeId> {
        self.enter(function, State::for_any_arguments(), inputs)
    }

    /// The kernel-dependent constants that a node and everything followed with its values rest on.
    pub fn rests_on(&self, id: NodeId) -> &[(InputId, Known)] {
        self.node(id).map_or(&[], |node| &node.rests_on)
    }

    fn shape(&mut self, id: FunctionId) -> Option<Rc<Shape>> {
        let function = self.object.functions.get(id.0 as usize)?;
        let cached = self.shapes.get_mut(id.0 as usize)?;
        Some(Rc::clone(
            cached.get_or_insert_with(|| Rc::new(Shape::of(function))),
        ))
    }

    fn enter(
        &mut self,
        function: FunctionId,
        mut entry: State,
        inputs: &Inputs<'_, '_>,
    ) -> Option<NodeId> {
        let shape = self.shape(function)?;
        entry.keep_live(shape.live(0));
        let known = self.by_function.get(function.0 as usize)?;
        let mut entries = 0;
        for id in known {
            let Some(node) = self.node(*id) else { continue };
            if node
                .rests_on
                .iter()
                .all(|(input, was)| inputs.get(*input) == *was)
            {
                if node.entry == entry {
                    let id = *id;
                    self.inherit(id);
                    return Some(id);
                }
                entries += 1;
            }
        }
        let mut generic = State::for_any_arguments();
        generic.rcu = entry.rcu;
        if entries >= ENTRIES_PER_FUNCTION && entry != generic {
            return self.enter(function, generic, inputs);
        }
        self.in_progress.push(function);
        self.rests_on.push(BTreeMap::new());
        let node = Walk::new(self, function, &shape, inputs).run(entry);
        self.in_progress.pop();
        let rests_on = self.rests_on.pop().unwrap_or_default();
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(Node {
            rests_on: rests_on.into_iter().collect(),
            ..node
        });
        if let Some(known) = self.by_function.get_mut(function.0 as usize) {
            known.push(id);
        }
        self.inherit(id);
        Some(id)
    }

    /// A caller's result rests on everything its callee's does.
    fn inherit(&mut self, callee: NodeId) {
        let Some(node) = self.nodes.get(callee.0 as usize) else {
            return;
        };
        if let Some(caller) = self.rests_on.last_mut() {
            caller.extend(node.rests_on.iter().copied());
        }
    }

    fn input(&mut self, id: InputId, inputs: &Inputs<'_, '_>) -> Known {
        let known = inputs.get(id);
        if let Some(caller) = self.rests_on.last_mut() {
            caller.insert(id, known);
        }
        known
    }
}

/// States waiting at, and already seen at, one join.
#[derive(Debug, Default)]
struct Seen {
    states: Vec<State>,
    merges: u32,
}

/// One walk over one function.
struct Walk<'e, 'o, 'd, 'i, 'k> {
    explorer: &'e mut Explorer<'o, 'd>,
    id: FunctionId,
    code: &'d [u8],
    shape: &'e Shape,
    inputs: &'i Inputs<'i, 'k>,
    /// Lowest slot first, so that a forward join sees all its ways in before it is left.
    pending: BTreeMap<u32, Vec<State>>,
    seen: BTreeMap<u32, Seen>,
    events: BTreeMap<u32, Event>,
    edges: Vec<Edge>,
    exit: Option<State>,
    cut: bool,
    steps_left: usize,
}

/// What follows an instruction.
enum Next {
    Slot(u32),
    End,
}

impl<'e, 'o, 'd, 'i, 'k> Walk<'e, 'o, 'd, 'i, 'k> {
    fn new(
        explorer: &'e mut Explorer<'o, 'd>,
        id: FunctionId,
        shape: &'e Shape,
        inputs: &'i Inputs<'i, 'k>,
    ) -> Self {
        let code = explorer
            .object
            .functions
            .get(id.0 as usize)
            .map_or(&[][..], |f| f.code);
        let steps_left = shape.slots().saturating_mul(STEPS_PER_SLOT);
        Self {
            explorer,
            id,
            code,
            shape,
            inputs,
            pending: BTreeMap::new(),
            seen: BTreeMap::new(),
            events: BTreeMap::new(),
            edges: Vec::new(),
            exit: None,
            cut: false,
            steps_left,
        }
    }

    fn run(mut self, entry: State) -> Node {
        let start = entry.clone();
        self.pending.insert(0, vec![entry]);
        while let Some((at, states)) = self.pending.pop_first() {
            for state in self.admit(at, states) {
                self.walk_block(at, state);
            }
        }
        self.edges.sort_by_key(|edge| edge.insn);
        Node {
            function: self.id,
            entry: start,
            rests_on: Vec::new(),
            events: self.events,
            edges: self.edges,
            exit: self.exit,
            cut: self.cut,
        }
    }

    fn states_per_join(&self) -> usize {
        if self.steps_left > 0 {
            STATES_PER_JOIN
        } else {
            1
        }
    }

    /// Drops states that others cover and merges when there are too many.
    fn admit(&mut self, at: u32, states: Vec<State>) -> Vec<State> {
        let limit = self.states_per_join();
        if !self.shape.loops(at) {
            let mut kept: Vec<State> = Vec::new();
            for state in states {
                if kept.iter().any(|other| state.within(other)) {
                    continue;
                }
                match kept.first_mut() {
                    Some(first) if kept_is_full(limit, first, &state) => {
                        first.join(&state, false);
                    }
                    _ => kept.push(state),
                }
                if kept.len() > limit {
                    merge_all(&mut kept);
                }
            }
            return kept;
        }
        let seen = self.seen.entry(at).or_default();
        let mut fresh = Vec::new();
        for state in states {
            if seen.states.iter().any(|other| state.within(other)) {
                continue;
            }
            if seen.states.len() < limit && seen.merges == 0 {
                seen.states.push(state.clone());
                fresh.push(state);
                continue;
            }
            seen.merges += 1;
            merge_all(&mut seen.states);
            let widen = seen.merges > MERGES_BEFORE_WIDENING;
            match seen.states.first_mut() {
                Some(merged) => {
                    merged.join(&state, widen);
                    fresh.clear();
                    fresh.push(merged.clone());
                }
                None => {
                    seen.states.push(state.clone());
                    fresh.push(state);
                }
            }
        }
        fresh
    }

    fn walk_block(&mut self, start: u32, mut state: State) {
        let mut at = start;
        loop {
            if at != start && self.shape.joins(at) {
                self.arrive(at, state);
                return;
            }
            self.steps_left = self.steps_left.saturating_sub(1);
            let Some(insn) = decode(self.code, at) else {
                return self.obstacle(at.saturating_sub(1), Obstacle::LeavesFunction);
            };
            match self.step(at, at + insn.slots, insn.op, &mut state) {
                Next::Slot(next) => at = next,
                Next::End => return,
            }
        }
    }

    fn arrive(&mut self, at: u32, mut state: State) {
        state.keep_live(self.shape.live(at));
        self.pending.entry(at).or_default().push(state);
    }

    fn jump(&mut self, from: u32, next: u32, delta: i32, state: State) {
        match u32::try_from(i64::from(next) + i64::from(delta)) {
            Ok(target) if self.shape.starts(target) => self.arrive(target, state),
            Ok(target) if (target as usize) < self.shape.slots() => {
                self.obstacle(from, Obstacle::MidInstruction);
            }
            _ => self.obstacle(from, Obstacle::LeavesFunction),
        }
    }

    fn obstacle(&mut self, at: u32, obstacle: Obstacle) {
        self.cut = true;
        self.events.entry(at).or_insert(Event::Obstacle(obstacle));
    }

    fn step(&mut self, at: u32, next: u32, op: Op, state: &mut State) -> Next {
        let patch = if self.shape.core(at) {
            self.core(at)
        } else {
            None
        };
        match op {
            Op::Alu { op, wide, dst, src } => {
                let result = self.alu(at, op, wide, dst, src, patch, state);
                set(state, dst, result);
            }
            Op::LoadImm64 { dst, pseudo, imm } => {
                let value = match patch {
                    Some(known) => Value::Scalar(known.scalar()),
                    None => self.load_imm64(at, next, pseudo, imm),
                };
                set(state, dst, value);
            }
            Op::Load {
                dst,
                src,
                off,
                width,
                signed,
            } => {
                let value = self.load(get(state, src), off, width, signed, state);
                set(state, dst, value);
            }
            Op::LoadPacket => state.after_call(Value::UNKNOWN),
            Op::Store {
                dst,
                off,
                width,
                src,
            } => self.store(at, dst, off, width, src, state),
            Op::Atomic {
                dst,
                off,
                width,
                fetch,
            } => {
                match get(state, dst) {
                    Value::Stack { up, off: base } => {
                        let unknown = Value::Scalar(Scalar::of_bytes(width.bytes()));
                        state.store_stack(
                            up,
                            base.saturating_add(i32::from(off)),
                            width.bytes(),
                            unknown,
                        );
                    }
                    pointer => state.clobber_through(pointer),
                }
                if let Some(reg) = fetch {
                    set(state, reg, Value::Scalar(Scalar::of_bytes(width.bytes())));
                }
            }
            Op::Jump { delta } => {
                self.jump(at, next, delta, state.clone());
                return Next::End;
            }
            Op::MayGoto { delta } => self.jump(at, next, delta, state.clone()),
            Op::Branch {
                cond,
                wide,
                dst,
                src,
                delta,
            } => {
                let left = get(state, dst).scalar();
                let right = match src {
                    Operand::Imm(imm) => Scalar::constant(imm as i64 as u64),
                    Operand::Reg(reg) => get(state, reg).scalar(),
                };
                let same_pointer = match src {
                    Operand::Reg(reg) => wide && pointers_equal(get(state, dst), get(state, reg)),
                    Operand::Imm(_) => false,
                };
                let decided = if same_pointer {
                    None
                } else {
                    left.compare(cond, right, wide)
                };
                if decided != Some(false) {
                    let mut taken = state.clone();
                    if decided.is_none() {
                        refine(&mut taken, dst, src, cond, wide, true);
                    }
                    self.jump(at, next, delta, taken);
                }
                if decided == Some(true) {
                    return Next::End;
                }
                if decided.is_none() {
                    refine(state, dst, src, cond, wide, false);
                }
            }
            Op::CallHelper { id } => {
                let taker = self.inputs.kernel().helper_taker(id).cloned();
                return self.call_out(at, next, taker.as_ref(), state);
            }
            Op::CallLocal { imm } => return self.call(at, next, imm, state),
            Op::CallKfunc { id } => {
                self.obstacle(at, Obstacle::BoundKfunc(id));
                state.after_call(Value::UNKNOWN);
            }
            Op::CallRegister => {
                self.obstacle(at, Obstacle::RegisterCall);
                state.clobber_frames();
                state.after_call(Value::UNKNOWN);
            }
            Op::JumpRegister => {
                self.obstacle(at, Obstacle::RegisterJump);
                return Next::End;
            }
            Op::Exit => {
                match &mut self.exit {
                    Some(exit) => {
                        exit.join(state, false);
                    }
                    None => self.exit = Some(state.clone()),
                }
                return Next::End;
            }
            Op::Unknown { code } => {
                self.obstacle(at, Obstacle::UnknownInstruction(code));
                return Next::End;
            }
        }
        Next::Slot(next)
    }

    /// The constant a CO-RE relocation leaves in the instruction, if it has one here.
    fn core(&mut self, at: u32) -> Option<Known> {
        let index = self
            .object_function()?
            .core_relocations
            .iter()
            .position(|r| r.insn == at)?;
        let input = self.inputs.table().core(self.id, index)?;
        let known = self.explorer.input(input, self.inputs);
        if known == Known::Poisoned {
            self.events.insert(at, Event::NoTarget(index));
        }
        Some(known)
    }

    fn object_function(&self) -> Option<&'o crate::object::Function<'d>> {
        self.explorer.object.functions.get(self.id.0 as usize)
    }

    fn target(&self, at: u32) -> Option<&'o Target<'d>> {
        if !self.shape.refers(at) {
            return None;
        }
        let references = &self.object_function()?.references;
        let index = references
            .binary_search_by_key(&at, |reference| reference.insn)
            .ok()?;
        references.get(index).map(|reference| &reference.target)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an instruction's fields, not state"
    )]
    fn alu(
        &mut self,
        at: u32,
        op: Alu,
        wide: bool,
        dst: u8,
        src: Operand,
        patch: Option<Known>,
        state: &mut State,
    ) -> Value {
        let left = get(state, dst);
        let right = match (src, patch) {
            (Operand::Imm(_), Some(known)) => Value::Scalar(known.immediate()),
            (Operand::Imm(imm), None) => Value::constant(imm as i64 as u64),
            (Operand::Reg(reg), _) if op == Alu::Mov && wide => return state.link(reg, at + 1),
            (Operand::Reg(reg), _) => get(state, reg),
        };
        match (left, right) {
            (Value::Stack { up, off }, Value::Scalar(by)) if wide && op == Alu::Add => {
                shifted(off, by, 1).map_or(Value::Anything, |off| Value::Stack { up, off })
            }
            (Value::Stack { up, off }, Value::Scalar(by)) if wide && op == Alu::Sub => {
                shifted(off, by, -1).map_or(Value::Anything, |off| Value::Stack { up, off })
            }
            (Value::Scalar(by), Value::Stack { up, off }) if wide && op == Alu::Add => {
                shifted(off, by, 1).map_or(Value::Anything, |off| Value::Stack { up, off })
            }
            (Value::Data { section, off }, Value::Scalar(by)) if wide && op == Alu::Add => {
                match by.as_constant() {
                    Some(by) => Value::Data {
                        section,
                        off: off.wrapping_add(by as i64),
                    },
                    None => Value::Scalar(Scalar::NON_ZERO),
                }
            }
            _ if wide && op != Alu::Mov && (left.may_be_stack() || right.may_be_stack()) => {
                Value::Anything
            }
            _ => Value::Scalar(left.scalar().alu(op, right.scalar(), wide)),
        }
    }

    fn load_imm64(&mut self, at: u32, next: u32, pseudo: Pseudo, imm: u64) -> Value {
        let address = Value::Scalar(Scalar::NON_ZERO);
        match self.target(at) {
            Some(Target::Function(id)) => Value::Function(*id),
            Some(Target::Data(section, off)) => Value::Data {
                section: *section,
                off: *off as i64,
            },
            Some(Target::Map(_)) => address,
            Some(Target::Unresolved(_)) => Value::UNKNOWN,
            Some(Target::Extern(id)) => {
                let id = *id;
                match self.explorer.object.externs.get(id.0 as usize) {
                    Some(symbol) if matches!(symbol.kind, ExternKind::Kconfig { .. }) => {
                        Value::Kconfig(id)
                    }
                    // A strong extern that is missing fails the object; if this runs, it is there.
                    Some(symbol) if !symbol.weak => address,
                    _ => match self.explorer.input(InputId::from_extern(id), self.inputs) {
                        Known::Present => address,
                        Known::Absent => Value::constant(0),
                        _ => Value::UNKNOWN,
                    },
                }
            }
            None => match pseudo {
                Pseudo::None => Value::constant(imm),
                Pseudo::Address => address,
                Pseudo::Function => self
                    .local_function(next.saturating_sub(1), imm as u32 as i32)
                    .map_or(Value::UNKNOWN, Value::Function),
            },
        }
    }

    fn load(
        &mut self,
        pointer: Value,
        off: i16,
        width: Width,
        signed: bool,
        state: &State,
    ) -> Value {
        let bytes = width.bytes();
        let loaded = match pointer {
            Value::Stack { up, off: base } => {
                state.load_stack(up, base.saturating_add(i32::from(off)), bytes)
            }
            Value::Data { section, off: base } => {
                let at = base
                    .checked_add(i64::from(off))
                    .and_then(|at| u64::try_from(at).ok());
                let scalar = at.and_then(|at| self.read_only(section, at, bytes));
                Value::Scalar(scalar.unwrap_or(Scalar::of_bytes(bytes)))
            }
            Value::Kconfig(id) if off == 0 => {
                let scalar = self
                    .explorer
                    .input(InputId::from_extern(id), self.inputs)
                    .scalar();
                Value::Scalar(truncated(scalar, bytes))
            }
            Value::Anything => Value::Anything,
            _ => Value::Scalar(Scalar::of_bytes(bytes)),
        };
        match loaded {
            Value::Anything if bytes < 8 => Value::Scalar(Scalar::of_bytes(bytes)),
            Value::Scalar(scalar) if signed => Value::Scalar(scalar.sign_extend(bytes * 8)),
            other => other,
        }
    }

    /// A constant from a frozen section: the verifier reads the map when it sees such a load.
    fn read_only(&mut self, section: crate::object::DataId, at: u64, bytes: u8) -> Option<Scalar> {
        let data = self.explorer.object.data.get(section.0 as usize)?;
        if !data.read_only {
            return None;
        }
        if let Some((input, offset)) = self.inputs.table().variable(section, at) {
            match self.explorer.input(input, self.inputs) {
                // The loader leaves the variable as the object has it.
                Known::Present => {}
                known => return Some(truncated(shifted_right(known.scalar(), offset), bytes)),
            }
        }
        let start = usize::try_from(at).ok()?;
        let raw = data
            .bytes
            .get(start..start.checked_add(usize::from(bytes))?)?;
        let mut number = [0u8; 8];
        number
            .iter_mut()
            .zip(raw)
            .for_each(|(to, from)| *to = *from);
        Some(Scalar::constant(u64::from_le_bytes(number)))
    }

    fn store(&mut self, at: u32, dst: u8, off: i16, width: Width, src: Operand, state: &mut State) {
        let value = match src {
            Operand::Imm(imm) => Value::constant(imm as i64 as u64),
            Operand::Reg(reg) if width == Width::B8 => state.link(reg, at + 1),
            Operand::Reg(reg) => get(state, reg),
        };
        match get(state, dst) {
            Value::Stack { up, off: base } => {
                let value = match (width, value) {
                    (Width::B8, value) => value,
                    (_, value) => Value::Scalar(truncated(value.scalar(), width.bytes())),
                };
                state.store_stack(
                    up,
                    base.saturating_add(i32::from(off)),
                    width.bytes(),
                    value,
                );
            }
            Value::Anything => state.clobber_frames(),
            _ => {}
        }
    }

    fn local_function(&self, at: u32, imm: i32) -> Option<FunctionId> {
        let function = self.object_function()?;
        let slot = i64::from(at) + 1 + i64::from(imm);
        let offset = i64::try_from(function.offset)
            .ok()?
            .checked_add(slot.checked_mul(8)?)?;
        self.explorer
            .object
            .function_at(function.section_index, u64::try_from(offset).ok()?)
    }

    fn call(&mut self, at: u32, next: u32, imm: i32, state: &mut State) -> Next {
        let callee = match self.target(at) {
            Some(Target::Function(id)) => *id,
            Some(Target::Extern(id)) => return self.call_kfunc(at, next, *id, state),
            Some(Target::Unresolved(name)) => {
                return self.call_lost(at, next, format!("`{name}`"), state);
            }
            Some(_) => return self.call_lost(at, next, "a data symbol".into(), state),
            None => match self.local_function(at, imm) {
                Some(id) => id,
                None => {
                    return self.call_lost(
                        at,
                        next,
                        format!("something {imm:+} instructions away"),
                        state,
                    );
                }
            },
        };
        let linkage = self
            .explorer
            .object
            .functions
            .get(callee.0 as usize)
            .map(|f| f.linkage);
        if linkage == Some(Linkage::Global) {
            self.edge(at, How::Call, EdgeTarget::AnyArguments(callee));
            for pointer in arguments(state) {
                state.clobber_through(pointer);
            }
            state.after_call(Value::UNKNOWN);
            return Next::Slot(next);
        }
        let args = arguments(state);
        let passed_frames = args.iter().any(|arg| arg.may_be_stack());
        let Some(node) = self.descend(at, callee, state.enter(args), How::Call) else {
            state.clobber_frames();
            state.after_call(Value::UNKNOWN);
            return Next::Slot(next);
        };
        let Some(node) = self.explorer.nodes.get(node.0 as usize) else {
            return Next::End;
        };
        let generic =
            node.entry != state_at_entry(state, args, self.explorer.shapes.get(callee.0 as usize));
        match &node.exit {
            Some(exit) => {
                if generic {
                    if passed_frames {
                        state.clobber_frames();
                    }
                    state.rcu = exit.rcu;
                    state.after_call(exit_value(exit));
                } else {
                    state.leave(exit, passed_frames);
                }
            }
            // Never returns, or was cut short by something that is reported.
            None if node.cut => {
                state.clobber_frames();
                state.after_call(Value::UNKNOWN);
            }
            None => return Next::End,
        }
        Next::Slot(next)
    }

    fn call_lost(&mut self, at: u32, next: u32, name: String, state: &mut State) -> Next {
        self.obstacle(at, Obstacle::UnresolvedCall(name));
        state.clobber_frames();
        state.after_call(Value::UNKNOWN);
        Next::Slot(next)
    }

    /// Follows a function with given values, unless the verifier would refuse the nesting.
    fn descend(&mut self, at: u32, callee: FunctionId, entry: State, how: How) -> Option<NodeId> {
        if self.explorer.in_progress.contains(&callee) {
            self.obstacle(at, Obstacle::Recursion);
            return None;
        }
        if self.explorer.in_progress.len() >= MAX_CALL_FRAMES {
            self.obstacle(at, Obstacle::TooDeep);
            return None;
        }
        let node = self.explorer.enter(callee, entry, self.inputs)?;
        self.edge(at, how, EdgeTarget::Node(node));
        Some(node)
    }

    fn edge(&mut self, insn: u32, how: How, to: EdgeTarget) {
        let edge = Edge { insn, how, to };
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }

    fn call_kfunc(&mut self, at: u32, next: u32, id: ExternId, state: &mut State) -> Next {
        let Some(symbol) = self.explorer.object.externs.get(id.0 as usize) else {
            return Next::End;
        };
        let inside = state.rcu > 0;
        match self.events.get_mut(&at) {
            Some(Event::Kfunc { in_rcu_section, .. }) => *in_rcu_section &= inside,
            _ => {
                self.events.insert(
                    at,
                    Event::Kfunc {
                        callee: id,
                        in_rcu_section: inside,
                    },
                );
            }
        }
        let kernel = self.inputs.kernel();
        let region = kernel.region_effect(symbol.essential_name);
        let taker = kernel.kfunc_taker(symbol.essential_name).cloned();
        let next = self.call_out(at, next, taker.as_ref(), state);
        if let Some(effect) = region.filter(|effect| effect.kind == RegionKind::Rcu) {
            state.rcu = if effect.enters {
                state.rcu.saturating_add(1)
            } else {
                state.rcu.saturating_sub(1)
            };
        }
        next
    }

    /// A helper or kfunc: what it may write is forgotten, callbacks it takes are followed.
    fn call_out(
        &mut self,
        at: u32,
        next: u32,
        taker: Option<&CallbackTaker>,
        state: &mut State,
    ) -> Next {
        let args = arguments(state);
        for (position, value) in args.iter().enumerate() {
            let takes = taker.is_some_and(|taker| usize::from(taker.function) == position + 1);
            match value {
                Value::Function(id) if !takes => {
                    // Not a callback position the tables know: assume it is run at once.
                    self.edge(at, How::Callback, EdgeTarget::AnyArguments(*id));
                }
                _ => {}
            }
        }
        match taker {
            None => args
                .iter()
                .for_each(|pointer| state.clobber_through(*pointer)),
            Some(taker) => self.call_back(at, taker, args, state),
        }
        state.after_call(Value::UNKNOWN);
        Next::Slot(next)
    }

    fn call_back(&mut self, at: u32, taker: &CallbackTaker, args: [Value; 5], state: &mut State) {
        // Positions count from 1, like the registers.
        let arg = |position: u8| {
            usize::from(position)
                .checked_sub(1)
                .and_then(|at| args.get(at))
                .copied()
                .unwrap_or(Value::UNKNOWN)
        };
        let handed: Vec<u8> = taker.passes.iter().map(|(from, _)| *from).collect();
        for position in (1..=5u8).filter(|position| !handed.contains(position)) {
            state.clobber_through(arg(position));
        }
        let function = match arg(taker.function) {
            Value::Function(function) => function,
            value if value.scalar().as_constant() == Some(0) => return,
            _ => return self.obstacle(at, Obstacle::UnknownCallback),
        };
        if !taker.is_sync() {
            let kind = AsyncKind {
                runs: taker.runs,
                sleepable: taker.sleepable,
            };
            return self.edge(at, How::Async(kind), EdgeTarget::AnyArguments(function));
        }
        // The verifier does not look into a loop that is known not to run.
        if taker
            .count
            .is_some_and(|count| arg(count).scalar().as_constant() == Some(0))
        {
            return;
        }
        let mut callee_args = [Value::UNKNOWN; 5];
        for (from, to) in &taker.passes {
            if let Some(slot) = usize::from(*to)
                .checked_sub(1)
                .and_then(|to| callee_args.get_mut(to))
            {
                *slot = arg(*from);
            }
        }
        for _ in 0..CALLBACK_ROUNDS {
            let Some(node) = self.descend(at, function, state.enter(callee_args), How::Callback)
            else {
                break;
            };
            let Some(node) = self.explorer.nodes.get(node.0 as usize) else {
                break;
            };
            let Some(exit) = &node.exit else { break };
            let mut after = state.clone();
            after.leave(exit, callee_args.iter().any(|arg| arg.may_be_stack()));
            after.regs = state.regs;
            if !state.join(&after, false) {
                return;
            }
        }
        if callee_args.iter().any(|arg| arg.may_be_stack()) {
            state.clobber_frames();
            self.descend(at, function, state.enter(callee_args), How::Callback);
        }
    }
}

fn kept_is_full(limit: usize, first: &State, state: &State) -> bool {
    limit == 1 && first != state
}

fn merge_all(states: &mut Vec<State>) {
    let mut rest = states.drain(..);
    let Some(mut merged) = rest.next() else {
        return;
    };
    for state in rest.by_ref() {
        merged.join(&state, false);
    }
    drop(rest);
    states.push(merged);
}

fn state_at_entry(state: &State, args: [Value; 5], shape: Option<&Option<Rc<Shape>>>) -> State {
    let mut entry = state.enter(args);
    if let Some(Some(shape)) = shape {
        entry.keep_live(shape.live(0));
    }
    entry
}

/// A result that no longer refers to the callee's frames.
fn exit_value(exit: &State) -> Value {
    let value = get(exit, 0).unlinked();
    if value.may_be_stack() {
        Value::Anything
    } else {
        value
    }
}

fn get(state: &State, reg: u8) -> Value {
    state
        .regs
        .get(usize::from(reg))
        .copied()
        .unwrap_or(Value::UNKNOWN)
}

fn set(state: &mut State, reg: u8, value: Value) {
    if let Some(slot) = state.regs.get_mut(usize::from(reg)) {
        *slot = value;
    }
}

fn arguments(state: &State) -> [Value; 5] {
    [1, 2, 3, 4, 5].map(|reg| get(state, reg))
}

fn shifted(off: i32, by: Scalar, sign: i64) -> Option<i32> {
    let by = by.as_constant()? as i64;
    i32::try_from(i64::from(off).checked_add(by.checked_mul(sign)?)?).ok()
}

fn truncated(scalar: Scalar, bytes: u8) -> Scalar {
    if bytes >= 8 {
        return scalar;
    }
    let mask = Scalar::constant((1u64 << (u32::from(bytes) * 8)) - 1);
    scalar.alu(Alu::And, mask, true)
}

fn shifted_right(scalar: Scalar, bytes: u64) -> Scalar {
    match u32::try_from(bytes) {
        Ok(0) => scalar,
        Ok(bytes) if bytes < 8 => {
            scalar.alu(Alu::Rsh, Scalar::constant(u64::from(bytes) * 8), true)
        }
        _ => Scalar::UNKNOWN,
    }
}

/// Two pointers into the same object: equal or not depends on offsets that are not compared here.
fn pointers_equal(a: Value, b: Value) -> bool {
    !matches!(a, Value::Scalar(_)) && !matches!(b, Value::Scalar(_))
}

fn refine(
    state: &mut State,
    dst: u8,
    src: Operand,
    cond: super::insn::Cond,
    wide: bool,
    holds: bool,
) {
    let right = match src {
        Operand::Imm(imm) => Some(imm as i64 as u64),
        Operand::Reg(reg) => get(state, reg).scalar().as_constant(),
    };
    if let (Value::Scalar(scalar), Some(n)) = (get(state, dst), right) {
        state.learn(dst, scalar.refine(cond, n, wide, holds));
    }
    // `const == reg` teaches as much about the right side.
    if let (Operand::Reg(reg), super::insn::Cond::Eq | super::insn::Cond::Ne) = (src, cond)
        && let (Some(n), Value::Scalar(scalar)) =
            (get(state, dst).scalar().as_constant(), get(state, reg))
    {
        state.learn(reg, scalar.refine(cond, n, wide, holds));
    }
}
