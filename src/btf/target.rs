//! A kernel's own BTF as the target of CO-RE relocations.

use super::Btf;
use super::core::{EnumAnswer, Field, FieldAnswer, FieldStep, TargetTypes};
use super::types::{Type, TypeId, TypeKind};
use crate::kernel::Presence;

/// How many members a search through anonymous members may look at.
const MAX_WORK: u32 = 100_000;

/// Complete types: [`TargetTypes::types`] makes [`super::core::evaluate`] run libbpf's algorithm.
/// The other answers are for whoever asks by name, without a local type to compare with.
impl TargetTypes for Btf<'_> {
    fn type_presence(&self, kind: TypeKind, name: &str) -> Presence {
        match self.candidates(kind, name).next() {
            Some(_) => Presence::Present,
            None => Presence::Absent,
        }
    }

    fn type_size(&self, kind: TypeKind, name: &str) -> Option<u64> {
        self.candidates(kind, name).find_map(|id| self.size_of(id))
    }

    fn field(&self, kind: TypeKind, root: &str, path: &[FieldStep<'_>]) -> FieldAnswer {
        self.candidates(kind, root)
            .find_map(|id| field(self, id, path))
            .map_or(FieldAnswer::Absent, FieldAnswer::Present)
    }

    fn enum_value(&self, enum_name: &str, variant: &str) -> EnumAnswer {
        let values = self
            .candidates(TypeKind::Enum, enum_name)
            .filter_map(|id| match self.get(id) {
                Type::Enum(an_enum) => Some(an_enum),
                _ => None,
            })
            .flat_map(|an_enum| &an_enum.values);
        values
            .into_iter()
            .find(|value| value.name == variant)
            .map_or(EnumAnswer::Absent, |value| {
                EnumAnswer::Present(Some(value.value))
            })
    }

    fn type_id(&self, kind: TypeKind, name: &str) -> Option<TypeId> {
        self.candidates(kind, name).next()
    }

    fn types(&self) -> Option<&Btf<'_>> {
        Some(self)
    }
}

fn field(btf: &Btf<'_>, root: TypeId, path: &[FieldStep<'_>]) -> Option<Field> {
    let mut id = root;
    let mut bit_offset = 0_u64;
    let mut bitfield_bits = 0;
    for (step, path) in path.iter().enumerate() {
        id = btf.skip_modifiers(id);
        match path {
            FieldStep::Member(name) => {
                let (to, offset, bits) = member(btf, id, name)?;
                bit_offset = bit_offset.wrapping_add(offset);
                bitfield_bits = bits;
                id = to;
            }
            FieldStep::Index(index) => {
                if step > 0 {
                    let Type::Array { element, length } = btf.get(id) else {
                        return None;
                    };
                    if *length > 0 && *index >= u64::from(*length) {
                        return None;
                    }
                    id = *element;
                }
                let stride = btf.size_of(id)?.wrapping_mul(8);
                bit_offset = bit_offset.wrapping_add(index.wrapping_mul(stride));
                bitfield_bits = 0;
            }
        }
    }
    Some(Field {
        bit_offset: Some(bit_offset),
        size: btf.size_of(id),
        signed: Some(match btf.get(btf.skip_modifiers(id)) {
            Type::Int(int) => int.signed,
            Type::Enum(an_enum) => an_enum.signed,
            _ => false,
        }),
        bitfield_bits: Some(bitfield_bits),
    })
}

/// A member's type, bit offset and bitfield width, through anonymous members.
fn member(btf: &Btf<'_>, composite: TypeId, name: &str) -> Option<(TypeId, u64, u32)> {
    let mut work = 0;
    let mut stack = vec![(composite, 0_u64)];
    while let Some((id, base)) = stack.pop() {
        for member in btf
            .get(btf.skip_modifiers(id))
            .members()
            .unwrap_or_default()
        {
            work += 1;
            if work > MAX_WORK {
                return None;
            }
            let offset = base.wrapping_add(u64::from(member.bit_offset));
            if member.name == name {
                return Some((member.to, offset, u32::from(member.bitfield_bits)));
            }
            if member.name.is_empty() {
                stack.push((member.to, offset));
            }
        }
    }
    None
}
