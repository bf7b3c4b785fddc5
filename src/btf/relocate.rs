//! libbpf's CO-RE algorithm over two complete sets of types.

use super::core::{
    ANONYMOUS, Accessor, CoreRelocation, CoreValue, Field, Kind, LocalSpec, MAX_SPEC, is_flexible,
};
use super::prototype::{Shape, shapes_compatible};
use super::types::{Int, Member, Type, TypeId, essential_name};
use super::{Btf, matching};

/// How many members one relocation may look at. The largest kernel structs have a few hundred; a
/// hostile BTF can nest anonymous structs so that their number is exponential in its size.
pub(super) const MAX_WORK: u32 = 1_000_000;

/// Why a relocation that takes too much work is given up.
pub(super) const TOO_DEEP: &str = "a CO-RE relocation over types nested too deeply";

/// A relocation's outcome on a kernel whose types are known in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// What the instruction holds.
    pub value: CoreValue,
    /// For field offsets: how wide a load or store at that offset is. libbpf adapts the
    /// instruction to it.
    pub access: Option<AccessSize>,
}

/// Width of a load or store of a relocated field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessSize {
    /// Bytes in the object's types.
    pub local: u64,
    /// Bytes in the kernel's.
    pub target: u64,
    /// Whether a load or store may be adapted where the two differ (pointers and unsigned
    /// integers). If not, libbpf poisons a load or store, and only those.
    pub adaptable: bool,
}

impl Resolution {
    fn of(value: CoreValue) -> Resolution {
        Resolution {
            value,
            access: None,
        }
    }
}

/// Resolve one relocation of the object's types `local` against the kernel's types `target`.
pub fn resolve(local: &Btf<'_>, relocation: &CoreRelocation<'_>, target: &Btf<'_>) -> Resolution {
    Resolver {
        local,
        target,
        work: MAX_WORK,
    }
    .resolve(relocation)
    .unwrap_or_else(|reason| Resolution::of(CoreValue::Refused(reason)))
}

struct Resolver<'a, 'l, 't> {
    local: &'a Btf<'l>,
    target: &'a Btf<'t>,
    work: u32,
}

/// A candidate's counterpart of the local access.
struct Match<'t> {
    root: TypeId,
    /// The member or element each step ends at.
    last: Option<Accessor<'t>>,
    bit_offset: u64,
    enumerator: Option<u64>,
}

type Refusable<T> = Result<T, &'static str>;

impl<'t> Resolver<'_, '_, 't> {
    fn resolve(&mut self, relocation: &CoreRelocation<'_>) -> Refusable<Resolution> {
        let spec = LocalSpec::parse(self.local, relocation)?;
        if relocation.kind == Kind::TypeIdLocal {
            return Ok(Resolution::of(CoreValue::Known(u64::from(
                relocation.type_id,
            ))));
        }
        let root = self.local.get(relocation.type_id);
        let kind = root.kind().filter(|_| !root.name().is_empty());
        let kind = kind.ok_or(ANONYMOUS)?;
        check_local(self.local, relocation, &spec)?;

        let target = self.target;
        let mut found: Option<(Resolution, u64)> = None;
        for candidate in target.candidates(kind, essential_name(root.name())) {
            let Some(matched) = self.matched(relocation, &spec, candidate)? else {
                continue;
            };
            let resolution = self.result(relocation, &spec, &matched)?;
            match &found {
                None => found = Some((resolution, matched.bit_offset)),
                // All candidates must agree.
                Some((_, bit_offset)) if *bit_offset != matched.bit_offset => {
                    return Err("a CO-RE field that the kernel has at different offsets");
                }
                Some((first, _)) if first.value != resolution.value => {
                    return Err("a CO-RE relocation that the kernel's types answer differently");
                }
                Some(_) => {}
            }
        }
        Ok(found.map_or_else(
            || Resolution::of(absent(relocation.kind)),
            |(resolution, _)| resolution,
        ))
    }

    /// The counterpart of the local access in one candidate type, if it has one.
    fn matched(
        &mut self,
        relocation: &CoreRelocation<'_>,
        spec: &LocalSpec<'_>,
        candidate: TypeId,
    ) -> Refusable<Option<Match<'t>>> {
        let plain = Match {
            root: candidate,
            last: None,
            bit_offset: 0,
            enumerator: None,
        };
        if relocation.kind == Kind::TypeMatches {
            let matches = matching::matches(
                self.local,
                relocation.type_id,
                self.target,
                candidate,
                &mut self.work,
            )?;
            return Ok(matches.then_some(plain));
        }
        if relocation.kind.is_type() {
            let local = Shape::from_btf(self.local, relocation.type_id);
            let target = Shape::from_btf(self.target, candidate);
            return Ok(shapes_compatible(&local, &target).then_some(plain));
        }
        if relocation.kind.is_enum_value() {
            let local = essential_name(spec.enumerator.unwrap_or(""));
            let Type::Enum(an_enum) = self.target.get(self.target.skip_modifiers(candidate)) else {
                return Ok(None);
            };
            let value = an_enum
                .values
                .iter()
                .find(|value| essential_name(value.name) == local);
            return Ok(value.map(|value| Match {
                enumerator: Some(match an_enum.wide {
                    true => value.value,
                    // libbpf reads 32-bit enumerators as signed, whatever the enum says.
                    false => sign_extended(value.value),
                }),
                ..plain
            }));
        }
        self.matched_field(spec, candidate)
    }

    fn matched_field(
        &mut self,
        spec: &LocalSpec<'_>,
        candidate: TypeId,
    ) -> Refusable<Option<Match<'t>>> {
        let mut matched = Match {
            root: candidate,
            last: None,
            bit_offset: 0,
            enumerator: None,
        };
        let mut id = candidate;
        let mut depth = 0;
        for (step, local) in spec.accessors.iter().enumerate() {
            id = self.target.skip_modifiers(id);
            if let Some(name) = local.name {
                let local_member = member(self.local, local).ok_or(MALFORMED)?;
                let Some(found) = self.find_member(id, name, &mut depth)? else {
                    return Ok(None);
                };
                if !self.fields_compatible(local_member.to, found.member.to) {
                    return Ok(None);
                }
                matched.bit_offset = matched.bit_offset.wrapping_add(found.bit_offset);
                matched.last = Some(found.accessor);
                id = found.member.to;
                continue;
            }
            // The first step is into an array of the root type itself.
            if step > 0 {
                let Type::Array { element, length } = self.target.get(id) else {
                    return Ok(None);
                };
                let flexible = matched
                    .last
                    .as_ref()
                    .is_some_and(|last| is_flexible(self.target, last, *length));
                if !flexible && local.index >= *length {
                    return Ok(None);
                }
                id = self.target.skip_modifiers(*element);
            }
            if depth == MAX_SPEC {
                return Err(TOO_DEEP);
            }
            depth = depth.saturating_add(1);
            let size = self
                .target
                .size_of(id)
                .ok_or("a CO-RE target without a size")?;
            matched.bit_offset = u64::from(local.index)
                .wrapping_mul(size)
                .wrapping_mul(8)
                .wrapping_add(matched.bit_offset);
            matched.last = Some(Accessor {
                type_id: id,
                index: local.index,
                name: None,
            });
        }
        Ok(Some(matched))
    }

    /// A member by name, through anonymous structs and unions, in the order they are declared.
    fn find_member(
        &mut self,
        id: TypeId,
        name: &str,
        depth: &mut usize,
    ) -> Refusable<Option<FoundMember<'t>>> {
        // Depth first with an explicit stack of (composite, next member, offset so far).
        let mut stack = vec![(id, 0_usize, 0_u64)];
        while let Some((composite, next, base)) = stack.last_mut() {
            let (id, base) = (*composite, *base);
            let target = self.target;
            let members = target.get(id).members().unwrap_or_default();
            let Some(member) = members.get(*next) else {
                stack.pop();
                continue;
            };
            let index = *next;
            *next = next.saturating_add(1);
            self.work = self.work.checked_sub(1).ok_or(TOO_DEEP)?;
            if depth.saturating_add(stack.len()) > MAX_SPEC {
                return Err(TOO_DEEP);
            }
            let bit_offset = base.wrapping_add(u64::from(member.bit_offset));
            if member.name.is_empty() {
                stack.push((target.skip_modifiers(member.to), 0, bit_offset));
            } else if member.name == name {
                *depth = depth.saturating_add(stack.len());
                return Ok(Some(FoundMember {
                    member: *member,
                    bit_offset,
                    accessor: Accessor {
                        type_id: id,
                        index: u32::try_from(index).map_err(|_| TOO_DEEP)?,
                        name: Some(member.name),
                    },
                }));
            }
        }
        Ok(None)
    }

    /// Whether a field of one type may be read as a field of the other: composites mix freely,
    /// pointers and integers too, enums and forward declarations only under one name.
    fn fields_compatible(&self, local: TypeId, target: TypeId) -> bool {
        let (mut local, mut target) = (local, target);
        loop {
            let local_type = self.local.get(self.local.skip_modifiers(local));
            let target_type = self.target.get(self.target.skip_modifiers(target));
            return match (local_type, target_type) {
                (Type::Struct(_) | Type::Union(_), Type::Struct(_) | Type::Union(_))
                | (Type::Ptr(_), Type::Ptr(_))
                | (Type::Float { .. }, Type::Float { .. }) => true,
                (Type::Fwd { .. }, Type::Fwd { .. }) | (Type::Enum(_), Type::Enum(_)) => {
                    let local = essential_name(local_type.name());
                    let target = essential_name(target_type.name());
                    local.is_empty() || target.is_empty() || local == target
                }
                (Type::Int(local), Type::Int(target)) => {
                    local.bit_offset == 0 && target.bit_offset == 0
                }
                (
                    Type::Array { element, .. },
                    Type::Array {
                        element: target_element,
                        ..
                    },
                ) => {
                    (local, target) = (*element, *target_element);
                    continue;
                }
                _ => false,
            };
        }
    }

    /// The relocation's value for one matching candidate.
    fn result(
        &self,
        relocation: &CoreRelocation<'_>,
        spec: &LocalSpec<'_>,
        matched: &Match<'t>,
    ) -> Refusable<Resolution> {
        let known = |value| Ok(Resolution::of(CoreValue::Known(value)));
        match relocation.kind {
            Kind::TypeIdLocal => known(u64::from(relocation.type_id)),
            Kind::TypeIdTarget => known(u64::from(matched.root)),
            Kind::TypeExists | Kind::TypeMatches | Kind::FieldExists | Kind::EnumvalExists => {
                known(1)
            }
            Kind::TypeSize => known(
                self.target
                    .size_of(matched.root)
                    .ok_or("a CO-RE size of a type without one")?,
            ),
            Kind::EnumvalValue => match matched.enumerator {
                Some(value) => known(value),
                None => Err(MALFORMED),
            },
            kind => {
                let local_last = spec.accessors.last().ok_or(MALFORMED)?;
                let local = FieldView::new(self.local, local_last, spec.bit_offset)?;
                let target_last = matched.last.as_ref().ok_or(MALFORMED)?;
                let target = FieldView::new(self.target, target_last, matched.bit_offset)?;
                let value = target.value(kind)?;
                let access = match kind {
                    Kind::FieldByteOffset => access_size(&local, &target),
                    _ => None,
                };
                Ok(Resolution {
                    value: CoreValue::Known(value),
                    access,
                })
            }
        }
    }
}

const MALFORMED: &str = "a malformed CO-RE relocation";

/// libbpf computes the value in the object's own types first, whether the kernel has a counterpart
/// or not, and fails where that fails.
pub(super) fn check_local(
    local: &Btf<'_>,
    relocation: &CoreRelocation<'_>,
    spec: &LocalSpec<'_>,
) -> Refusable<()> {
    match relocation.kind {
        Kind::FieldExists => {}
        Kind::TypeSize => {
            local
                .size_of(relocation.type_id)
                .ok_or("a CO-RE size of a type without one")?;
        }
        kind if kind.is_field() => {
            let last = spec.accessors.last().ok_or(MALFORMED)?;
            FieldView::new(local, last, spec.bit_offset)?.value(kind)?;
        }
        _ => {}
    }
    Ok(())
}

/// The value where no candidate matches.
fn absent(kind: Kind) -> CoreValue {
    match kind {
        Kind::EnumvalValue => CoreValue::Poisoned,
        Kind::FieldExists | Kind::EnumvalExists => CoreValue::Known(0),
        kind if kind.is_type() => CoreValue::Known(0),
        _ => CoreValue::Poisoned,
    }
}

/// The low 32 bits, sign-extended.
fn sign_extended(value: u64) -> u64 {
    i64::from(value as u32 as i32).cast_unsigned()
}

struct FoundMember<'t> {
    member: Member<'t>,
    bit_offset: u64,
    accessor: Accessor<'t>,
}

fn member<'d>(btf: &Btf<'d>, accessor: &Accessor<'_>) -> Option<Member<'d>> {
    let members = btf.get(accessor.type_id).members()?;
    members.get(accessor.index as usize).copied()
}

/// The field at the end of an access, on one side.
struct FieldView<'a, 'd> {
    btf: &'a Btf<'d>,
    /// The field's type; for an element, the element's.
    type_id: TypeId,
    /// Whether it is an array element.
    element: bool,
    bit_offset: u64,
    bitfield_bits: u32,
}

impl<'a, 'd> FieldView<'a, 'd> {
    fn new(btf: &'a Btf<'d>, last: &Accessor<'_>, bit_offset: u64) -> Refusable<Self> {
        let (type_id, bitfield_bits) = match last.name {
            None => (last.type_id, 0),
            Some(_) => {
                let member = member(btf, last).ok_or(MALFORMED)?;
                (member.to, u32::from(member.bitfield_bits))
            }
        };
        Ok(FieldView {
            btf,
            type_id: btf.skip_modifiers(type_id),
            element: last.name.is_none(),
            bit_offset,
            bitfield_bits,
        })
    }

    fn value(&self, kind: Kind) -> Refusable<u64> {
        if self.element && !matches!(kind, Kind::FieldByteOffset | Kind::FieldByteSize) {
            return Err("a CO-RE relocation that does not apply to an array element");
        }
        let signed = match self.btf.get(self.type_id) {
            Type::Enum(an_enum) => an_enum.signed,
            Type::Int(int) => int.signed,
            _ => false,
        };
        let field = Field {
            bit_offset: Some(self.bit_offset),
            size: self.btf.size_of(self.type_id),
            signed: Some(signed),
            bitfield_bits: Some(self.bitfield_bits),
        };
        // Sizes are looked up for every kind, so that a field without one fails for every kind.
        if field.size.is_none() {
            return Err("a CO-RE field without a size");
        }
        match field.value(kind) {
            CoreValue::Known(value) => Ok(value),
            CoreValue::Refused(reason) => Err(reason),
            CoreValue::Poisoned | CoreValue::Unknown => Err(MALFORMED),
        }
    }

    /// The size of one element of the field, where a load or store has one.
    fn load_size(&self) -> Option<u64> {
        if self.bitfield_bits != 0 {
            return None;
        }
        let mut id = self.type_id;
        while let Type::Array { element, .. } = self.btf.get(id) {
            id = self.btf.skip_modifiers(*element);
        }
        self.btf.size_of(id)
    }
}

fn access_size(local: &FieldView<'_, '_>, target: &FieldView<'_, '_>) -> Option<AccessSize> {
    // A bitfield has no load size of its own: libbpf then holds it for 0.
    let (local_size, target_size) = (local.load_size(), target.load_size());
    if local_size.is_none() && target_size.is_none() {
        return None;
    }
    let plain = |int: &Int<'_>| !int.signed;
    let both = local_size.is_some() && target_size.is_some();
    let adaptable = match (local.btf.get(local.type_id), target.btf.get(target.type_id)) {
        _ if !both => false,
        (Type::Ptr(_), Type::Ptr(_)) => true,
        (Type::Int(local), Type::Int(target)) => plain(local) && plain(target),
        _ => false,
    };
    Some(AccessSize {
        local: local_size.unwrap_or(0),
        target: target_size.unwrap_or(0),
        adaptable,
    })
}
