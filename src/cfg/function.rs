//! What is the same for a function on every kernel: where its blocks join, which instructions are
//! relocated, which registers matter where. Computed once, in time linear in its instructions.

use super::insn::{Op, Operand, decode};
use crate::object::Function;

/// Per-instruction marks, as bits.
const STARTS: u8 = 1;
const JOINS: u8 = 2;
const LOOPS: u8 = 4;
const REFERS: u8 = 8;
const CORE: u8 = 16;

/// How often the liveness sweep is repeated before every register counts as live. Each sweep
/// carries facts through all forward jumps at once, so only nested loops need more than two.
const LIVENESS_SWEEPS: usize = 8;

/// Static facts about a function.
#[derive(Debug)]
pub struct Shape {
    marks: Vec<u8>,
    live: Vec<u16>,
}

impl Shape {
    /// Reads a function once.
    pub fn of(function: &Function<'_>) -> Self {
        let slots = function.code.len() / super::insn::SLOT;
        let mut marks = vec![0u8; slots];
        let mut loop_edges = vec![0i32; slots + 1];
        let mut at = 0u32;
        while let Some(insn) = decode(function.code, at) {
            mark(&mut marks, i64::from(at), STARTS);
            if let Some(delta) = jump_delta(insn.op) {
                let target = i64::from(at) + i64::from(insn.slots) + i64::from(delta);
                mark(&mut marks, target, JOINS);
                if (0..=i64::from(at)).contains(&target) {
                    loop_edges[target as usize] += 1;
                    loop_edges[at as usize + 1] -= 1;
                }
            }
            at += insn.slots;
        }
        let mut depth = 0;
        for (mark, change) in marks.iter_mut().zip(&loop_edges) {
            depth += change;
            if depth > 0 {
                *mark |= LOOPS;
            }
        }
        for reference in &function.references {
            mark(&mut marks, i64::from(reference.insn), REFERS);
        }
        for relocation in &function.core_relocations {
            mark(&mut marks, i64::from(relocation.insn), CORE);
        }
        let live = liveness(function.code, &marks);
        Self { marks, live }
    }

    fn has(&self, at: u32, bit: u8) -> bool {
        self.marks
            .get(at as usize)
            .is_some_and(|mark| mark & bit != 0)
    }

    /// Whether an instruction begins at this slot.
    pub fn starts(&self, at: u32) -> bool {
        self.has(at, STARTS)
    }

    /// Whether some jump leads here.
    pub fn joins(&self, at: u32) -> bool {
        self.has(at, JOINS)
    }

    /// Whether a backward jump spans this slot, so that it can be reached again.
    pub fn loops(&self, at: u32) -> bool {
        self.has(at, LOOPS)
    }

    /// Whether an ELF relocation applies here.
    pub fn refers(&self, at: u32) -> bool {
        self.has(at, REFERS)
    }

    /// Whether a CO-RE relocation applies here.
    pub fn core(&self, at: u32) -> bool {
        self.has(at, CORE)
    }

    /// Registers r0–r9 that may be read from here on before they are written, as bits.
    pub fn live(&self, at: u32) -> u16 {
        self.live.get(at as usize).copied().unwrap_or(u16::MAX)
    }

    /// Number of instruction slots.
    pub fn slots(&self) -> usize {
        self.marks.len()
    }
}

fn mark(marks: &mut [u8], at: i64, bit: u8) {
    if let Some(mark) = usize::try_from(at).ok().and_then(|at| marks.get_mut(at)) {
        *mark |= bit;
    }
}

/// The jump distance of an instruction that may jump within its function.
fn jump_delta(op: Op) -> Option<i32> {
    match op {
        Op::Jump { delta } | Op::MayGoto { delta } | Op::Branch { delta, .. } => Some(delta),
        _ => None,
    }
}

fn bit(reg: u8) -> u16 {
    1 << reg
}

fn operand_bit(operand: Operand) -> u16 {
    match operand {
        Operand::Reg(reg) => bit(reg),
        Operand::Imm(_) => 0,
    }
}

/// Registers an instruction reads and the ones it overwrites.
fn uses(op: Op) -> (u16, u16) {
    const ARGUMENTS: u16 = 0b11_1110;
    const CALL_WRITES: u16 = 0b11_1111;
    match op {
        Op::Alu {
            op: super::insn::Alu::Mov | super::insn::Alu::MovSx(_),
            dst,
            src,
            ..
        } => (operand_bit(src), bit(dst)),
        Op::Alu { dst, src, .. } => (bit(dst) | operand_bit(src), 0),
        Op::LoadImm64 { dst, .. } => (0, bit(dst)),
        Op::Load { dst, src, .. } => (bit(src), bit(dst)),
        Op::LoadPacket => (u16::MAX, 0),
        Op::Store { dst, src, .. } => (bit(dst) | operand_bit(src), 0),
        Op::Atomic { .. } => (u16::MAX, 0),
        Op::Branch { dst, src, .. } => (bit(dst) | operand_bit(src), 0),
        Op::CallHelper { .. } | Op::CallLocal { .. } | Op::CallKfunc { .. } => {
            (ARGUMENTS, CALL_WRITES)
        }
        Op::Exit => (bit(0), !0),
        Op::Jump { .. } | Op::MayGoto { .. } => (0, 0),
        Op::CallRegister | Op::JumpRegister | Op::Unknown { .. } => (u16::MAX, 0),
    }
}

fn liveness(code: &[u8], marks: &[u8]) -> Vec<u16> {
    let mut live = vec![0u16; marks.len()];
    for _ in 0..LIVENESS_SWEEPS {
        let mut changed = false;
        for at in (0..marks.len()).rev() {
            if marks[at] & STARTS == 0 {
                continue;
            }
            let Some(insn) = u32::try_from(at).ok().and_then(|at| decode(code, at)) else {
                continue;
            };
            let next = at + insn.slots as usize;
            let mut out = match insn.op {
                Op::Jump { .. } | Op::Exit => 0,
                _ => live.get(next).copied().unwrap_or(0),
            };
            if let Some(delta) = jump_delta(insn.op) {
                let target = usize::try_from(next as i64 + i64::from(delta)).ok();
                out |= target
                    .and_then(|target| live.get(target))
                    .copied()
                    .unwrap_or(0);
            }
            let (reads, writes) = uses(insn.op);
            let now = (out & !writes) | reads;
            if now != live[at] {
                live[at] = now;
                changed = true;
            }
        }
        if !changed {
            return live;
        }
    }
    vec![u16::MAX; marks.len()]
}
