//! The abstract machine at one point of a function: registers, its own stack and, when a pointer
//! into it was passed, the callers' stacks.

use std::rc::Rc;

use super::value::{Scalar, Value};

/// Registers r0–r10.
pub const REGISTERS: usize = 11;

/// Known contents of one stack frame. What no slot covers is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// Disjoint slots ordered by offset.
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    off: i32,
    bytes: u8,
    value: Value,
}

impl Slot {
    fn end(&self) -> i32 {
        self.off + i32::from(self.bytes)
    }
}

/// The verifier's stack limit (`MAX_BPF_STACK`): slots outside it are not tracked.
const STACK_BYTES: i32 = 512;

impl Stack {
    fn store(&mut self, off: i32, bytes: u8, value: Value) {
        self.forget(off, i32::from(bytes));
        if (-STACK_BYTES..0).contains(&off) {
            let at = self.slots.partition_point(|slot| slot.off < off);
            self.slots.insert(at, Slot { off, bytes, value });
        }
    }

    fn forget(&mut self, off: i32, bytes: i32) {
        let end = off.saturating_add(bytes);
        self.slots
            .retain(|slot| slot.end() <= off || slot.off >= end);
    }

    fn load(&self, off: i32, bytes: u8) -> Value {
        if let Some(slot) = self
            .slots
            .iter()
            .find(|slot| slot.off == off && slot.bytes == bytes)
        {
            return slot.value;
        }
        let mut number = 0u64;
        for byte in 0..bytes {
            let Some(known) = self.byte(off + i32::from(byte)) else {
                return self.unknown(bytes);
            };
            number |= u64::from(known) << (8 * byte);
        }
        Value::constant(number)
    }

    /// A spilled pointer may be anything; narrower loads are numbers.
    fn unknown(&self, bytes: u8) -> Value {
        if bytes == 8 {
            Value::Anything
        } else {
            Value::Scalar(Scalar::of_bytes(bytes))
        }
    }

    fn byte(&self, at: i32) -> Option<u8> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.off <= at && at < slot.end())?;
        let Value::Scalar(scalar) = slot.value else {
            return None;
        };
        let shift = u32::try_from(at - slot.off).ok()? * 8;
        (scalar.mask >> shift & 0xff == 0).then_some((scalar.value >> shift & 0xff) as u8)
    }

    /// Keeps only what both know; returns whether anything was lost.
    fn join(&mut self, other: &Self, widen: bool) -> bool {
        let before = self.slots.clone();
        self.slots.retain_mut(|slot| {
            let Some(theirs) = other
                .slots
                .iter()
                .find(|s| s.off == slot.off && s.bytes == slot.bytes)
            else {
                return false;
            };
            slot.value = join_value(slot.value, theirs.value, widen);
            true
        });
        self.slots != before
    }

    fn within(&self, other: &Self) -> bool {
        other.slots.iter().all(|theirs| {
            self.slots
                .iter()
                .find(|slot| slot.off == theirs.off && slot.bytes == theirs.bytes)
                .is_some_and(|slot| slot.value.within(theirs.value))
        })
    }

    fn map(&self, f: impl Fn(Value) -> Value) -> Self {
        Self {
            slots: self
                .slots
                .iter()
                .map(|slot| Slot {
                    value: f(slot.value),
                    ..*slot
                })
                .collect(),
        }
    }
}

fn join_value(a: Value, b: Value, widen: bool) -> Value {
    let joined = a.join(b);
    match joined {
        Value::Scalar(_) if widen && joined != a => Value::UNKNOWN,
        _ => joined,
    }
}

/// The machine at one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// r0–r10; r10 is `Stack { up: 0, off: 0 }`.
    pub regs: [Value; REGISTERS],
    /// Own frame first, then the callers' as far as they can be reached through pointers.
    frames: Vec<Rc<Stack>>,
    /// How many RCU read sections are open.
    pub rcu: u8,
}

impl State {
    /// The state in which the verifier starts a function for any arguments.
    pub fn for_any_arguments() -> Self {
        let mut regs = [Value::UNKNOWN; REGISTERS];
        regs[10] = Value::Stack { up: 0, off: 0 };
        Self {
            regs,
            frames: vec![Rc::default()],
            rcu: 0,
        }
    }

    /// Reads `bytes` at a stack pointer.
    pub fn load_stack(&self, up: u8, off: i32, bytes: u8) -> Value {
        match self.frames.get(usize::from(up)) {
            Some(frame) => frame.load(off, bytes),
            None => Value::Anything,
        }
    }

    /// Writes to a stack slot.
    pub fn store_stack(&mut self, up: u8, off: i32, bytes: u8, value: Value) {
        if let Some(frame) = self.frames.get_mut(usize::from(up)) {
            Rc::make_mut(frame).store(off, bytes, value);
        }
    }

    /// What a write of unknown size through `pointer` may change is forgotten: helpers and kfuncs
    /// write from the pointer they were given upwards.
    pub fn clobber_through(&mut self, pointer: Value) {
        match pointer {
            Value::Stack { up, off } => {
                if let Some(frame) = self.frames.get_mut(usize::from(up)) {
                    Rc::make_mut(frame).forget(off, STACK_BYTES);
                }
            }
            Value::Anything => self.clobber_frames(),
            _ => {}
        }
    }

    /// Forgets every slot of every frame.
    pub fn clobber_frames(&mut self) {
        for frame in &mut self.frames {
            *frame = Rc::default();
        }
    }

    /// After a call: r0 is `result`, r1–r5 are gone.
    pub fn after_call(&mut self, result: Value) {
        self.regs[0] = result;
        for reg in &mut self.regs[1..=5] {
            *reg = Value::UNKNOWN;
        }
    }

    /// The state in which a callee starts when given `args`; the frames come along only if a
    /// pointer into them does.
    pub fn enter(&self, args: [Value; 5]) -> Self {
        let mut callee = Self::for_any_arguments();
        callee.rcu = self.rcu;
        let down = |value: Value| match value.unlinked() {
            Value::Stack { up, off } => Value::Stack {
                up: up.saturating_add(1),
                off,
            },
            other => other,
        };
        for (reg, arg) in callee.regs[1..=5].iter_mut().zip(args) {
            *reg = down(arg);
        }
        if args.iter().any(|arg| arg.may_be_stack()) {
            callee
                .frames
                .extend(self.frames.iter().map(|frame| Rc::new(frame.map(down))));
        }
        callee
    }

    /// Takes over what a callee that ended in `exit` left behind: its result and the frames it
    /// could reach.
    pub fn leave(&mut self, exit: &Self, passed_frames: bool) {
        let up = |value: Value| match value.unlinked() {
            Value::Stack { up: 0, .. } => Value::Anything,
            Value::Stack { up, off } => Value::Stack { up: up - 1, off },
            other => other,
        };
        if passed_frames {
            for (mine, theirs) in self.frames.iter_mut().zip(exit.frames.iter().skip(1)) {
                *mine = Rc::new(theirs.map(up));
            }
        }
        self.rcu = exit.rcu;
        self.after_call(up(exit.regs[0]));
    }

    /// Replaces every copy of a linked number by what a comparison taught about it.
    pub fn learn(&mut self, reg: u8, scalar: Scalar) {
        let at = usize::from(reg);
        let link = match self.regs.get(at) {
            Some(Value::Scalar(old)) => old.link,
            _ => return,
        };
        if let Some(slot) = self.regs.get_mut(at) {
            *slot = Value::Scalar(scalar);
        }
        if link == 0 {
            return;
        }
        let relink = |value: &mut Value| {
            if let Value::Scalar(old) = value
                && old.link == link
            {
                *value = Value::Scalar(Scalar { link, ..scalar });
            }
        };
        self.regs.iter_mut().for_each(relink);
        if let Some(frame) = self.frames.first_mut()
            && frame
                .slots
                .iter()
                .any(|slot| matches!(slot.value, Value::Scalar(s) if s.link == link))
        {
            Rc::make_mut(frame)
                .slots
                .iter_mut()
                .for_each(|slot| relink(&mut slot.value));
        }
    }

    /// Gives the number in `reg` the link `link`, after taking it from whoever still carries it
    /// from an earlier pass over the same instruction.
    pub fn link(&mut self, reg: u8, link: u32) -> Value {
        let unlink = |value: &mut Value| {
            if let Value::Scalar(old) = value
                && old.link == link
            {
                old.link = 0;
            }
        };
        let at = usize::from(reg);
        match self.regs.get(at) {
            Some(Value::Scalar(scalar)) if scalar.link == 0 && scalar.as_constant().is_none() => {
                let linked = Value::Scalar(Scalar { link, ..*scalar });
                self.regs.iter_mut().for_each(unlink);
                if let Some(frame) = self.frames.first_mut()
                    && frame
                        .slots
                        .iter()
                        .any(|slot| matches!(slot.value, Value::Scalar(s) if s.link == link))
                {
                    Rc::make_mut(frame)
                        .slots
                        .iter_mut()
                        .for_each(|slot| unlink(&mut slot.value));
                }
                if let Some(slot) = self.regs.get_mut(at) {
                    *slot = linked;
                }
                linked
            }
            Some(value) => *value,
            None => Value::UNKNOWN,
        }
    }

    /// Widens `self` to cover `other`; returns whether it had to change. With `widen`, whatever
    /// changes becomes unknown at once, which bounds how often it can.
    pub fn join(&mut self, other: &Self, widen: bool) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            let joined = join_value(*mine, theirs, widen);
            changed |= joined != *mine;
            *mine = joined;
        }
        if self.frames.len() > other.frames.len() {
            self.frames.truncate(other.frames.len());
            changed = true;
        }
        for (mine, theirs) in self.frames.iter_mut().zip(&other.frames) {
            if !Rc::ptr_eq(mine, theirs) && **mine != **theirs {
                changed |= Rc::make_mut(mine).join(theirs, widen);
            }
        }
        // Fewer open RCU sections is the stricter assumption.
        if other.rcu < self.rcu {
            self.rcu = other.rcu;
            changed = true;
        }
        changed
    }

    /// Whether `other` covers everything this state can do.
    pub fn within(&self, other: &Self) -> bool {
        self.rcu >= other.rcu
            && self
                .regs
                .iter()
                .zip(other.regs)
                .all(|(mine, theirs)| mine.within(theirs))
            && self.frames.len() >= other.frames.len()
            && self
                .frames
                .iter()
                .zip(&other.frames)
                .all(|(mine, theirs)| Rc::ptr_eq(mine, theirs) || mine.within(theirs))
    }

    /// Forgets registers that no instruction reads before writing them (bit set in `live` keeps).
    pub fn keep_live(&mut self, live: u16) {
        for (number, reg) in self.regs.iter_mut().enumerate().take(10) {
            if live & (1 << number) == 0 {
                *reg = Value::UNKNOWN;
            }
        }
    }
}
