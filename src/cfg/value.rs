//! What is known of a register or a stack slot: a set of numbers, or a pointer whose target
//! matters to folding. Sound in the verifier's sense: the set always contains the real value.

use super::insn::{Alu, Cond};
use crate::object::{DataId, ExternId, FunctionId};

/// A set of 64-bit numbers: known bits and an unsigned range, as the verifier keeps them
/// (`struct tnum` and `umin_value`/`umax_value` of `struct bpf_reg_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar {
    /// Bits known to be one (zero wherever `mask` is one).
    pub value: u64,
    /// Bits that are not known.
    pub mask: u64,
    /// Smallest possible value.
    pub min: u64,
    /// Largest possible value.
    pub max: u64,
    /// Registers and slots with the same non-zero link hold the same number.
    pub link: u32,
}

impl Scalar {
    /// Any number.
    pub const UNKNOWN: Self = Self {
        value: 0,
        mask: u64::MAX,
        min: 0,
        max: u64::MAX,
        link: 0,
    };
    /// Any number but zero: what is known of a valid pointer.
    pub const NON_ZERO: Self = Self {
        value: 0,
        mask: u64::MAX,
        min: 1,
        max: u64::MAX,
        link: 0,
    };

    /// Exactly `n`.
    pub const fn constant(n: u64) -> Self {
        Self {
            value: n,
            mask: 0,
            min: n,
            max: n,
            link: 0,
        }
    }

    /// A number of which only the bits outside `mask` are known.
    pub const fn bits(value: u64, mask: u64) -> Self {
        let value = value & !mask;
        Self {
            value,
            mask,
            min: value,
            max: value | mask,
            link: 0,
        }
    }

    /// Any number of `bytes` bytes, zero-extended.
    pub fn of_bytes(bytes: u8) -> Self {
        if bytes >= 8 {
            Self::UNKNOWN
        } else {
            Self::bits(0, low_bits(u32::from(bytes) * 8))
        }
    }

    /// The number, if there is only one.
    pub fn as_constant(self) -> Option<u64> {
        (self.min == self.max).then_some(self.min)
    }

    /// The same set without the link to other registers.
    pub fn unlinked(self) -> Self {
        Self { link: 0, ..self }
    }

    /// Makes bits and range agree; a contradiction (dead code the verifier would also prune)
    /// is left as the wider of the two, which is safe.
    fn settle(mut self) -> Self {
        let (low, high) = (self.value, self.value | self.mask);
        let (min, max) = (self.min.max(low), self.max.min(high));
        if min <= max {
            (self.min, self.max) = (min, max);
        } else {
            (self.min, self.max) = (low, high);
        }
        if self.min == self.max {
            (self.value, self.mask) = (self.min, 0);
        } else {
            // All bits above the highest one in which min and max differ are known.
            let unknown = low_bits(64 - (self.min ^ self.max).leading_zeros());
            let known = !unknown & self.mask;
            self.value |= self.min & known;
            self.mask &= !known;
        }
        self
    }

    /// The low 32 bits, zero-extended.
    pub fn low32(self) -> Self {
        let narrowed = Self::bits(self.value & 0xffff_ffff, self.mask & 0xffff_ffff);
        if self.max <= 0xffff_ffff {
            Self {
                min: self.min,
                max: self.max,
                ..narrowed
            }
            .settle()
        } else {
            narrowed
        }
    }

    /// The smallest set that holds both.
    pub fn join(self, other: Self) -> Self {
        let mask = self.mask | other.mask | (self.value ^ other.value);
        Self {
            value: self.value & !mask,
            mask,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            link: if self.link == other.link {
                self.link
            } else {
                0
            },
        }
    }

    /// Whether every number of `self` is in `other`.
    pub fn within(self, other: Self) -> bool {
        self.min >= other.min
            && self.max <= other.max
            && self.mask & !other.mask == 0
            && (self.value ^ other.value) & !other.mask == 0
            && (other.link == 0 || other.link == self.link)
    }

    fn signed_range(self) -> (i64, i64) {
        let (low, high) = (self.min as i64, self.max as i64);
        if low <= high {
            (low, high)
        } else {
            (i64::MIN, i64::MAX)
        }
    }

    fn signed_range32(self) -> (i64, i64) {
        let (low, high) = (self.min as u32 as i32, self.max as u32 as i32);
        if low <= high && self.max <= 0xffff_ffff {
            (i64::from(low), i64::from(high))
        } else {
            (i64::from(i32::MIN), i64::from(i32::MAX))
        }
    }

    /// Sign-extends from the low `bits` bits.
    pub fn sign_extend(self, bits: u8) -> Self {
        let shift = 64 - u32::from(bits.clamp(1, 64));
        match self.as_constant() {
            Some(n) => Self::constant((((n << shift) as i64) >> shift) as u64),
            // A range that does not reach the sign bit keeps its value.
            None if self.max < 1u64 << (bits.clamp(1, 64) - 1) => self.unlinked(),
            None => Self::UNKNOWN,
        }
    }

    /// `self op other`, both already narrowed to 32 bits unless `wide`.
    pub fn alu(self, op: Alu, other: Self, wide: bool) -> Self {
        let (a, b) = if wide {
            (self, other)
        } else {
            (self.low32(), other.low32())
        };
        let exact = match (a.as_constant(), b.as_constant()) {
            (Some(x), Some(y)) => fold(op, x, y, wide),
            _ => None,
        };
        let result = match exact {
            Some(n) => Self::constant(n),
            None => a.alu_sets(op, b, wide),
        };
        let result = if wide { result } else { result.low32() };
        result.unlinked()
    }

    fn alu_sets(self, op: Alu, other: Self, wide: bool) -> Self {
        // Shift counts are taken modulo the width.
        let count_mask = if wide { 63 } else { 31 };
        match op {
            Alu::Mov => other,
            Alu::MovSx(bits) => other.sign_extend(bits),
            Alu::And => Self {
                min: 0,
                max: self.max.min(other.max),
                ..Self::bits(
                    self.value & other.value,
                    (self.value | self.mask)
                        & (other.value | other.mask)
                        & !(self.value & other.value),
                )
            }
            .settle(),
            Alu::Or => {
                let ones = self.value | other.value;
                Self::bits(ones, (self.mask | other.mask) & !ones)
            }
            Alu::Xor => Self::bits(self.value ^ other.value, self.mask | other.mask),
            Alu::Add => self.add(other),
            Alu::Sub if self.min >= other.max => Self {
                min: self.min - other.max,
                max: self.max - other.min,
                ..Self::UNKNOWN
            }
            .settle(),
            Alu::Lsh => match other.as_constant() {
                Some(by) => Self::bits(
                    self.value << (by & count_mask),
                    self.mask << (by & count_mask),
                ),
                None => Self::UNKNOWN,
            },
            Alu::Rsh => match other.as_constant() {
                Some(by) => Self {
                    min: self.min >> (by & count_mask),
                    max: self.max >> (by & count_mask),
                    ..Self::bits(
                        self.value >> (by & count_mask),
                        self.mask >> (by & count_mask),
                    )
                }
                .settle(),
                _ => Self {
                    min: 0,
                    max: self.max,
                    ..Self::UNKNOWN
                }
                .settle(),
            },
            Alu::Div if other.min > 0 => Self {
                min: self.min / other.max.max(1),
                max: self.max / other.min,
                ..Self::UNKNOWN
            }
            .settle(),
            Alu::Mod if other.min > 0 => Self {
                min: 0,
                max: self.max.min(other.max - 1),
                ..Self::UNKNOWN
            }
            .settle(),
            _ => Self::UNKNOWN,
        }
    }

    fn add(self, other: Self) -> Self {
        match (
            self.min.checked_add(other.min),
            self.max.checked_add(other.max),
        ) {
            (Some(min), Some(max)) => Self {
                min,
                max,
                ..Self::UNKNOWN
            }
            .settle(),
            _ => Self::UNKNOWN,
        }
    }

    /// Whether `self cond other` always holds (`Some(true)`), never holds, or may do either.
    pub fn compare(self, cond: Cond, other: Self, wide: bool) -> Option<bool> {
        let (a, b) = if wide {
            (self, other)
        } else {
            (self.low32(), other.low32())
        };
        let signed = if wide {
            (a.signed_range(), b.signed_range())
        } else {
            (a.signed_range32(), b.signed_range32())
        };
        let order = |greater: bool, less_or_equal: bool| match (greater, less_or_equal) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let ((a_low, a_high), (b_low, b_high)) = signed;
        match cond {
            Cond::Eq => equality(a, b),
            Cond::Ne => equality(a, b).map(|equal| !equal),
            Cond::Gt => order(a.min > b.max, a.max <= b.min),
            Cond::Ge => order(a.min >= b.max, a.max < b.min),
            Cond::Lt => order(a.max < b.min, a.min >= b.max),
            Cond::Le => order(a.max <= b.min, a.min > b.max),
            Cond::SGt => order(a_low > b_high, a_high <= b_low),
            Cond::SGe => order(a_low >= b_high, a_high < b_low),
            Cond::SLt => order(a_high < b_low, a_low >= b_high),
            Cond::SLe => order(a_high <= b_low, a_low > b_high),
            Cond::Set => order(
                a.value & b.value != 0,
                (a.value | a.mask) & (b.value | b.mask) == 0,
            ),
        }
    }

    /// What remains of `self` once `self cond n` is known to be `holds`.
    pub fn refine(self, cond: Cond, n: u64, wide: bool, holds: bool) -> Self {
        if !wide {
            return self.refine32(cond, n & 0xffff_ffff, holds);
        }
        let (mut min, mut max) = (self.min, self.max);
        match (cond, holds) {
            (Cond::Eq, true) | (Cond::Ne, false) => {
                return Self {
                    link: self.link,
                    ..Self::constant(n)
                };
            }
            (Cond::Ne, true) | (Cond::Eq, false) => {
                if min == n {
                    min = min.saturating_add(1);
                }
                if max == n {
                    max = max.saturating_sub(1);
                }
            }
            (Cond::Gt, true) | (Cond::Le, false) => min = min.max(n.saturating_add(1)),
            (Cond::Ge, true) | (Cond::Lt, false) => min = min.max(n),
            (Cond::Lt, true) | (Cond::Ge, false) => max = max.min(n.saturating_sub(1)),
            (Cond::Le, true) | (Cond::Gt, false) => max = max.min(n),
            (Cond::Set, false) => {
                return Self {
                    mask: self.mask & !n,
                    ..self
                }
                .settle();
            }
            // Signed bounds on a set that is known to be non-negative are unsigned bounds.
            (Cond::SGt, true) | (Cond::SLe, false) if (n as i64) >= 0 && (max as i64) >= 0 => {
                min = min.max(n.saturating_add(1));
            }
            (Cond::SGe, true) | (Cond::SLt, false) if (n as i64) >= 0 && (max as i64) >= 0 => {
                min = min.max(n)
            }
            (Cond::SLt, true) | (Cond::SGe, false) if (n as i64) > 0 && (max as i64) >= 0 => {
                max = max.min(n.saturating_sub(1));
            }
            (Cond::SLe, true) | (Cond::SGt, false) if (n as i64) >= 0 && (max as i64) >= 0 => {
                max = max.min(n)
            }
            _ => return self,
        }
        if min <= max {
            Self { min, max, ..self }.settle()
        } else {
            self
        }
    }

    fn refine32(self, cond: Cond, n: u64, holds: bool) -> Self {
        if self.max <= 0xffff_ffff && !matches!(cond, Cond::SGt | Cond::SGe | Cond::SLt | Cond::SLe)
        {
            return self.refine(cond, n, true, holds);
        }
        match (cond, holds) {
            (Cond::Eq, true) | (Cond::Ne, false) => {
                let high = !0xffff_ffffu64;
                Self {
                    value: (self.value & high) | n,
                    mask: self.mask & high,
                    ..self
                }
                .settle()
            }
            (Cond::Set, false) => Self {
                mask: self.mask & !n,
                ..self
            }
            .settle(),
            _ => self,
        }
    }
}

fn equality(a: Scalar, b: Scalar) -> Option<bool> {
    match (a.as_constant(), b.as_constant()) {
        (Some(x), Some(y)) => Some(x == y),
        _ if a.link != 0 && a.link == b.link => Some(true),
        _ if a.min > b.max || b.min > a.max => Some(false),
        _ if (a.value ^ b.value) & !(a.mask | b.mask) != 0 => Some(false),
        _ => None,
    }
}

fn low_bits(count: u32) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1u64 << count) - 1
    }
}

/// Arithmetic on constants, with BPF's rules for division by zero and shift counts.
fn fold(op: Alu, x: u64, y: u64, wide: bool) -> Option<u64> {
    let width: u32 = if wide { 64 } else { 32 };
    let by = (y as u32) & (width - 1);
    let (signed_x, signed_y) = if wide {
        (x as i64, y as i64)
    } else {
        (i64::from(x as i32), i64::from(y as i32))
    };
    Some(match op {
        Alu::Add => x.wrapping_add(y),
        Alu::Sub => x.wrapping_sub(y),
        Alu::Mul => x.wrapping_mul(y),
        Alu::Div => x.checked_div(y).unwrap_or(0),
        Alu::Mod => x.checked_rem(y).unwrap_or(x),
        Alu::SDiv if signed_y == 0 => 0,
        Alu::SDiv => signed_x.wrapping_div(signed_y) as u64,
        Alu::SMod if signed_y == 0 => x,
        Alu::SMod => signed_x.wrapping_rem(signed_y) as u64,
        Alu::Or => x | y,
        Alu::And => x & y,
        Alu::Xor => x ^ y,
        Alu::Lsh => x.wrapping_shl(by),
        Alu::Rsh => x.wrapping_shr(by),
        Alu::Arsh => signed_x.wrapping_shr(by) as u64,
        Alu::Neg => x.wrapping_neg(),
        Alu::Mov => y,
        Alu::MovSx(bits) => Scalar::constant(y).sign_extend(bits).min,
        Alu::Swap(_) | Alu::AddrSpaceCast => return None,
    })
}

/// What a register or slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number, or a pointer of which nothing more is known.
    Scalar(Scalar),
    /// A pointer into the stack of the frame that many calls up (0 is the function's own).
    Stack {
        /// Calls up.
        up: u8,
        /// Offset from that frame's r10.
        off: i32,
    },
    /// Anything, a pointer into some stack frame included: a write through it may hit any slot.
    Anything,
    /// A pointer into a data section.
    Data {
        /// The section.
        section: DataId,
        /// Byte offset.
        off: i64,
    },
    /// A pointer to the value of a Kconfig extern.
    Kconfig(ExternId),
    /// The address of a function of the object.
    Function(FunctionId),
}

impl Value {
    /// Nothing known.
    pub const UNKNOWN: Self = Self::Scalar(Scalar::UNKNOWN);

    /// Exactly `n`.
    pub const fn constant(n: u64) -> Self {
        Self::Scalar(Scalar::constant(n))
    }

    /// As a set of numbers; pointers of every kind are not zero.
    pub fn scalar(self) -> Scalar {
        match self {
            Self::Scalar(scalar) => scalar,
            Self::Anything => Scalar::UNKNOWN,
            _ => Scalar::NON_ZERO,
        }
    }

    /// Whether it may point into a stack frame.
    pub fn may_be_stack(self) -> bool {
        matches!(self, Self::Stack { .. } | Self::Anything)
    }

    /// The smallest value that covers both.
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Scalar(a), Self::Scalar(b)) => Self::Scalar(a.join(b)),
            _ if self.may_be_stack() || other.may_be_stack() => Self::Anything,
            _ => Self::Scalar(self.scalar().join(other.scalar()).unlinked()),
        }
    }

    /// Whether `other` covers everything `self` may be.
    pub fn within(self, other: Self) -> bool {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a.within(b),
            (_, Self::Anything) => true,
            (_, Self::Scalar(b)) if !self.may_be_stack() => Scalar::NON_ZERO.within(b),
            _ => self == other,
        }
    }

    /// The value without links to other registers.
    pub fn unlinked(self) -> Self {
        match self {
            Self::Scalar(scalar) => Self::Scalar(scalar.unlinked()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        match *seed % 4 {
            0 => *seed >> 32,
            1 => (*seed >> 40) % 70,
            2 => u64::MAX - (*seed >> 56),
            _ => *seed,
        }
    }

    fn contains(set: Scalar, n: u64) -> bool {
        (set.min..=set.max).contains(&n) && (n ^ set.value) & !set.mask == 0
    }

    /// Every operation on sets contains the operation on their members, and every decided
    /// comparison is right for all of them.
    #[test]
    fn sets_contain_what_their_members_give() {
        let ops = [
            Alu::Add,
            Alu::Sub,
            Alu::Mul,
            Alu::Div,
            Alu::SDiv,
            Alu::Or,
            Alu::And,
            Alu::Lsh,
            Alu::Rsh,
            Alu::Neg,
            Alu::Mod,
            Alu::SMod,
            Alu::Xor,
            Alu::Mov,
            Alu::MovSx(8),
            Alu::MovSx(16),
            Alu::Arsh,
        ];
        let conds = [
            Cond::Eq,
            Cond::Ne,
            Cond::Gt,
            Cond::Ge,
            Cond::Lt,
            Cond::Le,
            Cond::Set,
            Cond::SGt,
            Cond::SGe,
            Cond::SLt,
            Cond::SLe,
        ];
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..20_000 {
            let (x1, x2, y1, y2) = (
                sample(&mut seed),
                sample(&mut seed),
                sample(&mut seed),
                sample(&mut seed),
            );
            let a = Scalar::constant(x1).join(Scalar::constant(x2));
            let b = Scalar::constant(y1).join(Scalar::constant(y2));
            assert!(contains(a, x1) && contains(a, x2));
            for wide in [true, false] {
                let narrow = |n: u64| if wide { n } else { n & 0xffff_ffff };
                for op in ops {
                    let result = a.alu(op, b, wide);
                    for (x, y) in [(x1, y1), (x1, y2), (x2, y1), (x2, y2)] {
                        if let Some(n) = fold(op, narrow(x), narrow(y), wide) {
                            assert!(
                                contains(result, narrow(n)),
                                "{op:?} {x:#x} {y:#x} wide={wide} {result:x?}"
                            );
                        }
                    }
                }
                for cond in conds {
                    let decided = a.compare(cond, b, wide);
                    for (x, y) in [(x1, y1), (x1, y2), (x2, y1), (x2, y2)] {
                        let truth = Scalar::constant(x).compare(cond, Scalar::constant(y), wide);
                        assert!(truth.is_some());
                        assert!(
                            decided.is_none() || decided == truth,
                            "{cond:?} {x:#x} {y:#x} wide={wide}"
                        );
                        let refined = a.refine(cond, y, wide, truth == Some(true));
                        assert!(
                            contains(refined, x),
                            "refine {cond:?} {x:#x} {y:#x} wide={wide} {refined:x?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn kernel_version_with_unknown_patch_level() {
        let version = Scalar::bits((6 << 16) | (12 << 8), 0xff);
        assert_eq!(
            version.compare(Cond::Ge, Scalar::constant((6 << 16) | (12 << 8)), true),
            Some(true)
        );
        assert_eq!(
            version.compare(Cond::Ge, Scalar::constant((6 << 16) | (13 << 8)), true),
            Some(false)
        );
        assert_eq!(
            version.compare(Cond::Ge, Scalar::constant((6 << 16) | (12 << 8) | 5), true),
            None
        );
    }
}
