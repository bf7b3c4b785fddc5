//! Decoding of BPF instructions, through the v4 set and what kernels 6.12 to 7.3 added to it.
//!
//! Encodings are those of `Documentation/bpf/standardization/instruction-set.rst` and
//! `include/uapi/linux/bpf.h` (7.3). An encoding that no kernel accepts decodes to
//! [`Op::Unknown`], which is reported and never skipped.

/// Bytes of one instruction slot.
pub const SLOT: usize = 8;

/// Width of a memory access in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    B1,
    /// Two bytes.
    B2,
    /// Four bytes.
    B4,
    /// Eight bytes.
    B8,
}

impl Width {
    /// The width as a number of bytes.
    pub fn bytes(self) -> u8 {
        match self {
            Self::B1 => 1,
            Self::B2 => 2,
            Self::B4 => 4,
            Self::B8 => 8,
        }
    }
}

/// Arithmetic operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alu {
    /// Addition.
    Add,
    /// Subtraction.
    Sub,
    /// Multiplication.
    Mul,
    /// Unsigned division; by zero gives 0.
    Div,
    /// Signed division.
    SDiv,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Left shift.
    Lsh,
    /// Logical right shift.
    Rsh,
    /// Negation.
    Neg,
    /// Unsigned remainder; by zero leaves the destination.
    Mod,
    /// Signed remainder.
    SMod,
    /// Bitwise exclusive or.
    Xor,
    /// Move.
    Mov,
    /// Move with sign extension from that many bits.
    MovSx(u8),
    /// Arithmetic right shift.
    Arsh,
    /// Byte order conversion or swap of that many bits: the result is not tracked.
    Swap(u8),
    /// `addr_space_cast`: an arena pointer, not tracked.
    AddrSpaceCast,
}

/// Conditions of conditional jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned greater.
    Gt,
    /// Unsigned greater or equal.
    Ge,
    /// Unsigned less.
    Lt,
    /// Unsigned less or equal.
    Le,
    /// Any common bit.
    Set,
    /// Signed greater.
    SGt,
    /// Signed greater or equal.
    SGe,
    /// Signed less.
    SLt,
    /// Signed less or equal.
    SLe,
}

/// A register or an immediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// Register number.
    Reg(u8),
    /// Sign-extended immediate.
    Imm(i32),
}

/// What the 64-bit immediate of an `ld_imm64` stands for (`BPF_PSEUDO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pseudo {
    /// A plain number (or a symbol, when the slot is relocated).
    None,
    /// A map, its value, a BTF id, by descriptor or index: never null.
    Address,
    /// A function in the program: `imm` slots relative to the next instruction.
    Function,
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `dst = dst op src`.
    Alu {
        /// Operation.
        op: Alu,
        /// 64-bit (else 32-bit, zero-extending).
        wide: bool,
        /// Destination register.
        dst: u8,
        /// Second operand.
        src: Operand,
    },
    /// `dst = imm64` (two slots).
    LoadImm64 {
        /// Destination register.
        dst: u8,
        /// What the number is.
        pseudo: Pseudo,
        /// The number.
        imm: u64,
    },
    /// `dst = *(width *)(src + off)`.
    Load {
        /// Destination register.
        dst: u8,
        /// Address register.
        src: u8,
        /// Byte offset.
        off: i16,
        /// Access width.
        width: Width,
        /// Sign-extending.
        signed: bool,
    },
    /// Legacy packet access: sets r0, clobbers r1–r5.
    LoadPacket,
    /// `*(width *)(dst + off) = src`.
    Store {
        /// Address register.
        dst: u8,
        /// Byte offset.
        off: i16,
        /// Access width.
        width: Width,
        /// Stored operand.
        src: Operand,
    },
    /// Atomic read-modify-write at `dst + off`; `fetch` names the register that receives the old value.
    Atomic {
        /// Address register.
        dst: u8,
        /// Byte offset.
        off: i16,
        /// Access width.
        width: Width,
        /// Register overwritten with memory's old value.
        fetch: Option<u8>,
    },
    /// Unconditional jump by `delta` slots from the next instruction.
    Jump {
        /// Signed slots.
        delta: i32,
    },
    /// Conditional jump.
    Branch {
        /// Condition.
        cond: Cond,
        /// 64-bit comparison.
        wide: bool,
        /// Left register.
        dst: u8,
        /// Right operand.
        src: Operand,
        /// Signed slots from the next instruction when taken.
        delta: i32,
    },
    /// `may_goto`: taken or not at the kernel's discretion.
    MayGoto {
        /// Signed slots.
        delta: i32,
    },
    /// Call of a helper by number.
    CallHelper {
        /// `enum bpf_func_id`.
        id: u32,
    },
    /// Call inside the object, `imm` slots from the next instruction unless relocated.
    CallLocal {
        /// Signed slots.
        imm: i32,
    },
    /// Call of a kfunc already bound to a BTF id (objects dumped after linking).
    CallKfunc {
        /// BTF id.
        id: i32,
    },
    /// `callx`: no kernel accepts it.
    CallRegister,
    /// `gotox`: jump through a table.
    JumpRegister,
    /// Return.
    Exit,
    /// Not an instruction that any kernel accepts.
    Unknown {
        /// The opcode byte.
        code: u8,
    },
}

/// An instruction and how many slots it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// What it does.
    pub op: Op,
    /// 1, or 2 for `ld_imm64`.
    pub slots: u32,
}

/// Decodes the instruction at slot `at`; `None` past the end of `code`.
pub fn decode(code: &[u8], at: u32) -> Option<Insn> {
    let raw = slot(code, at)?;
    let (dst, src) = (raw.dst, raw.src);
    let operand = if raw.code & 0x08 != 0 {
        Operand::Reg(src)
    } else {
        Operand::Imm(raw.imm)
    };
    let mut slots = 1;
    let op = if dst > 10 || src > 10 {
        Op::Unknown { code: raw.code }
    } else {
        match raw.code & 0x07 {
            0x00 if raw.code == 0x18 => match slot(code, at + 1) {
                Some(high) => {
                    slots = 2;
                    let imm = u64::from(raw.imm as u32) | (u64::from(high.imm as u32) << 32);
                    match pseudo(src) {
                        Some(pseudo) => Op::LoadImm64 { dst, pseudo, imm },
                        None => Op::Unknown { code: raw.code },
                    }
                }
                None => Op::Unknown { code: raw.code },
            },
            0x00 if matches!(raw.code, 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50) => Op::LoadPacket,
            0x01 => match (raw.code & 0xe0, width(raw.code)) {
                (0x60, width) => Op::Load {
                    dst,
                    src,
                    off: raw.off,
                    width,
                    signed: false,
                },
                (0x80, width) if width != Width::B8 => Op::Load {
                    dst,
                    src,
                    off: raw.off,
                    width,
                    signed: true,
                },
                _ => Op::Unknown { code: raw.code },
            },
            0x02 if raw.code & 0xe0 == 0x60 => Op::Store {
                dst,
                off: raw.off,
                width: width(raw.code),
                src: Operand::Imm(raw.imm),
            },
            0x03 => match raw.code & 0xe0 {
                0x60 => Op::Store {
                    dst,
                    off: raw.off,
                    width: width(raw.code),
                    src: Operand::Reg(src),
                },
                0xc0 => atomic(&raw),
                _ => Op::Unknown { code: raw.code },
            },
            0x04 | 0x07 => alu(&raw, operand),
            0x05 | 0x06 => jump(&raw, operand),
            _ => Op::Unknown { code: raw.code },
        }
    };
    Some(Insn { op, slots })
}

struct Raw {
    code: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
}

fn slot(code: &[u8], at: u32) -> Option<Raw> {
    let start = (at as usize).checked_mul(SLOT)?;
    let bytes: &[u8; SLOT] = code.get(start..start.checked_add(SLOT)?)?.try_into().ok()?;
    let [op, regs, o0, o1, i0, i1, i2, i3] = *bytes;
    Some(Raw {
        code: op,
        dst: regs & 0x0f,
        src: regs >> 4,
        off: i16::from_le_bytes([o0, o1]),
        imm: i32::from_le_bytes([i0, i1, i2, i3]),
    })
}

fn pseudo(src: u8) -> Option<Pseudo> {
    match src {
        0 => Some(Pseudo::None),
        1..=3 | 5 | 6 => Some(Pseudo::Address),
        4 => Some(Pseudo::Function),
        _ => None,
    }
}

fn width(code: u8) -> Width {
    match code & 0x18 {
        0x00 => Width::B4,
        0x08 => Width::B2,
        0x10 => Width::B1,
        _ => Width::B8,
    }
}

fn atomic(raw: &Raw) -> Op {
    let (dst, off, width) = (raw.dst, raw.off, width(raw.code));
    let narrow = matches!(width, Width::B1 | Width::B2);
    match raw.imm {
        0x00 | 0x40 | 0x50 | 0xa0 if !narrow => Op::Atomic {
            dst,
            off,
            width,
            fetch: None,
        },
        0x01 | 0x41 | 0x51 | 0xa1 | 0xe1 if !narrow => Op::Atomic {
            dst,
            off,
            width,
            fetch: Some(raw.src),
        },
        0xf1 if !narrow => Op::Atomic {
            dst,
            off,
            width,
            fetch: Some(0),
        },
        // load-acquire reads through src, store-release writes through dst (6.15).
        0x100 => Op::Load {
            dst,
            src: raw.src,
            off,
            width,
            signed: false,
        },
        0x110 => Op::Store {
            dst,
            off,
            width,
            src: Operand::Reg(raw.src),
        },
        _ => Op::Unknown { code: raw.code },
    }
}

fn alu(raw: &Raw, operand: Operand) -> Op {
    let wide = raw.code & 0x07 == 0x07;
    let by_register = raw.code & 0x08 != 0;
    let op = match (raw.code >> 4, raw.off) {
        (0x0, 0) => Alu::Add,
        (0x1, 0) => Alu::Sub,
        (0x2, 0) => Alu::Mul,
        (0x3, 0) => Alu::Div,
        (0x3, 1) => Alu::SDiv,
        (0x4, 0) => Alu::Or,
        (0x5, 0) => Alu::And,
        (0x6, 0) => Alu::Lsh,
        (0x7, 0) => Alu::Rsh,
        (0x8, 0) if !by_register => Alu::Neg,
        (0x9, 0) => Alu::Mod,
        (0x9, 1) => Alu::SMod,
        (0xa, 0) => Alu::Xor,
        (0xb, 0) => Alu::Mov,
        (0xb, 8) if by_register => Alu::MovSx(8),
        (0xb, 16) if by_register => Alu::MovSx(16),
        (0xb, 32) if by_register && wide => Alu::MovSx(32),
        (0xb, 1) if by_register && wide => Alu::AddrSpaceCast,
        (0xc, 0) => Alu::Arsh,
        // ALU64 has the unconditional swap only (source bit clear).
        (0xd, 0) if matches!(raw.imm, 16 | 32 | 64) && !(wide && by_register) => {
            Alu::Swap(raw.imm as u8)
        }
        _ => return Op::Unknown { code: raw.code },
    };
    Op::Alu {
        op,
        wide,
        dst: raw.dst,
        src: operand,
    }
}

fn jump(raw: &Raw, operand: Operand) -> Op {
    let wide = raw.code & 0x07 == 0x05;
    let by_register = raw.code & 0x08 != 0;
    let delta = i32::from(raw.off);
    let cond = match (raw.code >> 4, wide) {
        (0x0, true) if by_register => return Op::JumpRegister,
        (0x0, true) => return Op::Jump { delta },
        (0x0, false) if !by_register => return Op::Jump { delta: raw.imm },
        (0x1, _) => Cond::Eq,
        (0x2, _) => Cond::Gt,
        (0x3, _) => Cond::Ge,
        (0x4, _) => Cond::Set,
        (0x5, _) => Cond::Ne,
        (0x6, _) => Cond::SGt,
        (0x7, _) => Cond::SGe,
        (0x8, true) if by_register => return Op::CallRegister,
        (0x8, true) => {
            return match raw.src {
                0 => Op::CallHelper { id: raw.imm as u32 },
                1 => Op::CallLocal { imm: raw.imm },
                2 => Op::CallKfunc { id: raw.imm },
                _ => Op::Unknown { code: raw.code },
            };
        }
        (0x9, true) if !by_register => return Op::Exit,
        (0xa, _) => Cond::Lt,
        (0xb, _) => Cond::Le,
        (0xc, _) => Cond::SLt,
        (0xd, _) => Cond::SLe,
        (0xe, true) if !by_register && raw.src == 0 => return Op::MayGoto { delta },
        _ => return Op::Unknown { code: raw.code },
    };
    Op::Branch {
        cond,
        wide,
        dst: raw.dst,
        src: operand,
        delta,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: [u8; 8]) -> Op {
        decode(&bytes, 0).map_or(Op::Unknown { code: 0 }, |insn| insn.op)
    }

    #[test]
    fn v4_forms() {
        assert_eq!(
            one([0x06, 0, 0, 0, 0x10, 0, 1, 0]),
            Op::Jump { delta: 0x1_0010 }
        );
        assert_eq!(one([0xe5, 0, 3, 0, 0, 0, 0, 0]), Op::MayGoto { delta: 3 });
        assert_eq!(
            one([0x91, 0x21, 4, 0, 0, 0, 0, 0]),
            Op::Load {
                dst: 1,
                src: 2,
                off: 4,
                width: Width::B1,
                signed: true
            }
        );
        assert_eq!(
            one([0xbf, 0x21, 8, 0, 0, 0, 0, 0]),
            Op::Alu {
                op: Alu::MovSx(8),
                wide: true,
                dst: 1,
                src: Operand::Reg(2)
            }
        );
        assert_eq!(one([0x8d, 0, 0, 0, 0, 0, 0, 0]), Op::CallRegister);
        assert_eq!(one([0x0d, 0x01, 0, 0, 0, 0, 0, 0]), Op::JumpRegister);
        assert_eq!(
            one([0xdb, 0x21, 0, 0, 0x00, 1, 0, 0]),
            Op::Load {
                dst: 1,
                src: 2,
                off: 0,
                width: Width::B8,
                signed: false
            }
        );
        assert_eq!(
            one([0xd7, 0x01, 0, 0, 64, 0, 0, 0]),
            Op::Alu {
                op: Alu::Swap(64),
                wide: true,
                dst: 1,
                src: Operand::Imm(64)
            }
        );
    }

    #[test]
    fn what_no_kernel_accepts_is_unknown() {
        for bytes in [
            [0x00, 0, 0, 0, 0, 0, 0, 0],
            [0xff, 0, 0, 0, 0, 0, 0, 0],
            [0x8e, 0, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x0b, 0, 0, 0, 0, 0, 0],
            [0x99, 0x21, 0, 0, 0, 0, 0, 0],
            [0x18, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(matches!(one(bytes), Op::Unknown { .. }), "{bytes:x?}");
        }
    }

    #[test]
    fn past_the_end_is_none() {
        assert_eq!(decode(&[0x95, 0, 0, 0, 0, 0, 0], 0), None);
        assert_eq!(decode(&[0x95, 0, 0, 0, 0, 0, 0, 0], u32::MAX), None);
    }
}
