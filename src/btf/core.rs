//! CO-RE: what a relocated instruction holds once libbpf has compared the object's types with a
//! kernel's.
//!
//! A kernel answers through [`TargetTypes`]. One whose full BTF is at hand gets libbpf's own
//! algorithm ([`super::resolve`]); one known through tables answers what it knows, and what it
//! does not know stays [`CoreValue::Unknown`].

use super::types::{Type, TypeId, TypeKind};
use super::{Btf, essential_name, relocate};
use crate::kernel::Presence;

/// `enum bpf_core_relo_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Byte offset of a field.
    FieldByteOffset,
    /// Size of a field in bytes.
    FieldByteSize,
    /// 1 if the field exists.
    FieldExists,
    /// 1 if the field is signed.
    FieldSigned,
    /// Left shift that drops the bits above a bitfield.
    FieldLshift,
    /// Right shift that drops the bits below a bitfield.
    FieldRshift,
    /// Id of a type in the object's BTF.
    TypeIdLocal,
    /// Id of a type in the kernel's BTF.
    TypeIdTarget,
    /// 1 if the type exists.
    TypeExists,
    /// Size of a type.
    TypeSize,
    /// 1 if the enumerator exists.
    EnumvalExists,
    /// Value of an enumerator.
    EnumvalValue,
    /// 1 if a type exists and has everything the local one has.
    TypeMatches,
}

impl Kind {
    /// The kind with this number in `.BTF.ext`.
    pub fn from_raw(raw: u32) -> Option<Kind> {
        Some(match raw {
            0 => Kind::FieldByteOffset,
            1 => Kind::FieldByteSize,
            2 => Kind::FieldExists,
            3 => Kind::FieldSigned,
            4 => Kind::FieldLshift,
            5 => Kind::FieldRshift,
            6 => Kind::TypeIdLocal,
            7 => Kind::TypeIdTarget,
            8 => Kind::TypeExists,
            9 => Kind::TypeSize,
            10 => Kind::EnumvalExists,
            11 => Kind::EnumvalValue,
            12 => Kind::TypeMatches,
            _ => return None,
        })
    }

    /// Whether it asks about a field.
    pub fn is_field(self) -> bool {
        matches!(
            self,
            Kind::FieldByteOffset
                | Kind::FieldByteSize
                | Kind::FieldExists
                | Kind::FieldSigned
                | Kind::FieldLshift
                | Kind::FieldRshift
        )
    }

    /// Whether it asks about an enumerator.
    pub fn is_enum_value(self) -> bool {
        matches!(self, Kind::EnumvalExists | Kind::EnumvalValue)
    }

    /// Whether the answer is yes or no.
    pub fn is_question(self) -> bool {
        matches!(
            self,
            Kind::FieldExists
                | Kind::TypeExists
                | Kind::TypeMatches
                | Kind::EnumvalExists
                | Kind::FieldSigned
        )
    }

    /// Whether the answer is where a field lies, which differs from build to build.
    pub fn is_layout(self) -> bool {
        self.is_field() && !self.is_question()
    }

    /// The macro that asks first (libbpf's `bpf_core_read.h`).
    pub fn guard(self) -> &'static str {
        if self.is_field() {
            "bpf_core_field_exists()"
        } else if self.is_enum_value() {
            "bpf_core_enum_value_exists()"
        } else {
            "bpf_core_type_exists()"
        }
    }

    /// Whether it asks about a type as a whole.
    pub fn is_type(self) -> bool {
        !self.is_field() && !self.is_enum_value()
    }
}

/// A CO-RE relocation of one instruction.
#[derive(Debug, Clone)]
pub struct CoreRelocation<'d> {
    /// Instruction slot in the function.
    pub insn: u32,
    /// Kind (`enum bpf_core_relo_kind`).
    pub kind: Kind,
    /// Root type in the object's BTF.
    pub type_id: TypeId,
    /// Access string (`0:1:2`).
    pub access: &'d str,
}

/// What the relocated instruction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreValue {
    /// This constant (as the 64-bit value libbpf computes, enumerators sign-extended).
    Known(u64),
    /// The kernel has no such thing: libbpf replaces the instruction by a call no verifier
    /// accepts, harmless only where it is not reached.
    Poisoned,
    /// The target does not say.
    Unknown,
    /// libbpf refuses the whole object, reached or not: the relocation is malformed or ambiguous.
    Refused(&'static str),
}

/// One step from a root type to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldStep<'a> {
    /// A named member, looked for through anonymous structs and unions too.
    Member(&'a str),
    /// An array element; as the first step, an element of an array of the root type.
    Index(u64),
}

/// What a target knows of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldAnswer {
    /// The type is known and has no such field, or there is no such type.
    Absent,
    /// The target does not say.
    Unknown,
    /// It has the field.
    Present(Field),
}

/// A field of a target type; what is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Field {
    /// Offset from the root, in bits.
    pub bit_offset: Option<u64>,
    /// Size in bytes of the type it is declared with.
    pub size: Option<u64>,
    /// Signed integer or enum.
    pub signed: Option<bool>,
    /// Width of a bitfield; 0 when it is none.
    pub bitfield_bits: Option<u32>,
}

/// What a target knows of an enumerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnumAnswer {
    /// The enum is known and has no such enumerator, or there is no such enum.
    Absent,
    /// The target does not say.
    Unknown,
    /// It has the enumerator; its value if known.
    Present(Option<u64>),
}

/// What a kernel knows of its types. Names come without flavour suffix.
pub trait TargetTypes {
    /// Whether there is a type of this kind and name.
    fn type_presence(&self, kind: TypeKind, name: &str) -> Presence;

    /// Size of a type in bytes.
    fn type_size(&self, kind: TypeKind, name: &str) -> Option<u64>;

    /// A field of the type `root`, found by `path`.
    fn field(&self, kind: TypeKind, root: &str, path: &[FieldStep<'_>]) -> FieldAnswer;

    /// An enumerator.
    fn enum_value(&self, enum_name: &str, variant: &str) -> EnumAnswer;

    /// Id of a type in the kernel's BTF.
    fn type_id(&self, _kind: TypeKind, _name: &str) -> Option<TypeId> {
        None
    }

    /// Whether the kernel's type of that name has everything that the object's type `id` has
    /// (`bpf_core_type_matches`). A target that knows a type only in part cannot tell.
    fn type_matches(&self, local: &Btf<'_>, id: TypeId) -> Presence {
        let local_type = local.get(id);
        match local_type.kind() {
            Some(kind) => match self.type_presence(kind, essential_name(local_type.name())) {
                Presence::Absent => Presence::Absent,
                _ => Presence::Unknown,
            },
            None => Presence::Unknown,
        }
    }

    /// All its types, if it has them: then libbpf's own algorithm runs over them and the other
    /// methods are not asked.
    fn types(&self) -> Option<&Btf<'_>> {
        None
    }
}

/// What the instruction of `relocation` holds on a kernel with the types `target`.
pub fn evaluate(
    local: &Btf<'_>,
    relocation: &CoreRelocation<'_>,
    target: &dyn TargetTypes,
) -> CoreValue {
    if let Some(types) = target.types() {
        return relocate::resolve(local, relocation, types).value;
    }
    let spec = match LocalSpec::parse(local, relocation) {
        Ok(spec) => spec,
        Err(reason) => return CoreValue::Refused(reason),
    };
    if relocation.kind == Kind::TypeIdLocal {
        return CoreValue::Known(u64::from(relocation.type_id));
    }
    let root = local.get(relocation.type_id);
    let (Some(kind), name) = (root.kind(), essential_name(root.name())) else {
        return CoreValue::Refused(ANONYMOUS);
    };
    if name.is_empty() {
        return CoreValue::Refused(ANONYMOUS);
    }
    if let Err(reason) = relocate::check_local(local, relocation, &spec) {
        return CoreValue::Refused(reason);
    }
    match relocation.kind {
        Kind::TypeIdLocal | Kind::TypeExists | Kind::TypeIdTarget | Kind::TypeSize => {
            type_value(relocation.kind, kind, name, target)
        }
        Kind::TypeMatches => match target.type_matches(local, relocation.type_id) {
            Presence::Present => CoreValue::Known(1),
            Presence::Absent => CoreValue::Known(0),
            Presence::Unknown => CoreValue::Unknown,
        },
        Kind::EnumvalExists | Kind::EnumvalValue => {
            let variant = spec.enumerator.map_or("", essential_name);
            enum_value(relocation.kind, target.enum_value(name, variant))
        }
        _ => field_value(relocation.kind, target.field(kind, name, &spec.steps)),
    }
}

/// What a relocation asks for, as C: `struct task_struct.scx.slice`, `enum scx_enq_flags: SCX_ENQ_HEAD`.
pub fn describe(local: &Btf<'_>, relocation: &CoreRelocation<'_>) -> String {
    let root = local.describe(relocation.type_id);
    let Ok(spec) = LocalSpec::parse(local, relocation) else {
        return root;
    };
    if let Some(enumerator) = spec.enumerator {
        return format!("{root}: {enumerator}");
    }
    let mut text = root;
    for (position, step) in spec.steps.iter().enumerate() {
        match step {
            FieldStep::Member(name) => {
                text.push('.');
                text.push_str(name);
            }
            // The first index says which element of an array of the root: usually the only one.
            FieldStep::Index(0) if position == 0 => {}
            FieldStep::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Why libbpf refuses a relocation whose root has no name.
pub(super) const ANONYMOUS: &str = "a CO-RE relocation of an anonymous type";

fn type_value(kind: Kind, of: TypeKind, name: &str, target: &dyn TargetTypes) -> CoreValue {
    let known = match target.type_presence(of, name) {
        Presence::Unknown => None,
        // Type relocations read 0 when there is no such type.
        Presence::Absent => Some(0),
        Presence::Present => match kind {
            Kind::TypeSize => target.type_size(of, name),
            Kind::TypeIdTarget => target.type_id(of, name).map(u64::from),
            _ => Some(1),
        },
    };
    known.map_or(CoreValue::Unknown, CoreValue::Known)
}

fn enum_value(kind: Kind, answer: EnumAnswer) -> CoreValue {
    match (kind, answer) {
        (_, EnumAnswer::Unknown) => CoreValue::Unknown,
        (Kind::EnumvalExists, EnumAnswer::Absent) => CoreValue::Known(0),
        (Kind::EnumvalExists, EnumAnswer::Present(_)) => CoreValue::Known(1),
        (_, EnumAnswer::Absent) => CoreValue::Poisoned,
        (_, EnumAnswer::Present(value)) => value.map_or(CoreValue::Unknown, CoreValue::Known),
    }
}

fn field_value(kind: Kind, answer: FieldAnswer) -> CoreValue {
    match (kind, answer) {
        (_, FieldAnswer::Unknown) => CoreValue::Unknown,
        (Kind::FieldExists, FieldAnswer::Absent) => CoreValue::Known(0),
        (Kind::FieldExists, FieldAnswer::Present(_)) => CoreValue::Known(1),
        (_, FieldAnswer::Absent) => CoreValue::Poisoned,
        (_, FieldAnswer::Present(field)) => field.value(kind),
    }
}

impl Field {
    /// The value of a field relocation of this field, as far as it is known.
    pub fn value(&self, kind: Kind) -> CoreValue {
        let plain = self.bitfield_bits == Some(0);
        let value = match kind {
            Kind::FieldExists => Some(1),
            Kind::FieldSigned => self.signed.map(u64::from),
            Kind::FieldByteOffset if plain => self.bit_offset.map(|bits| bits / 8),
            Kind::FieldByteSize if plain => self.size,
            Kind::FieldRshift => self.width().map(shift),
            _ => match self.window() {
                None => None,
                Some(Err(refused)) => return refused,
                Some(Ok(window)) => match kind {
                    Kind::FieldByteOffset => Some(window.byte_offset),
                    Kind::FieldByteSize => Some(window.byte_size),
                    Kind::FieldLshift => Some(window.left_shift()),
                    _ => None,
                },
            },
        };
        value.map_or(CoreValue::Unknown, CoreValue::Known)
    }

    /// Its width in bits.
    fn width(&self) -> Option<u64> {
        match self.bitfield_bits? {
            0 => self.size.map(|size| size.wrapping_mul(8)),
            bits => Some(u64::from(bits)),
        }
    }

    /// The bytes a program loads to read it.
    fn window(&self) -> Option<Result<LoadWindow, CoreValue>> {
        Some(LoadWindow::new(
            self.bit_offset?,
            self.size?,
            u64::from(self.bitfield_bits?),
        ))
    }
}

/// The aligned bytes a program loads to read a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoadWindow {
    pub(super) byte_offset: u64,
    pub(super) byte_size: u64,
    bit_offset: u64,
    bits: u64,
}

impl LoadWindow {
    /// A bitfield is read through the smallest aligned integer that holds all of it, which must
    /// not be wider than 8 bytes; anything else through its own bytes.
    pub(super) fn new(bit_offset: u64, size: u64, bitfield_bits: u64) -> Result<Self, CoreValue> {
        if bitfield_bits == 0 {
            return Ok(LoadWindow {
                byte_offset: bit_offset / 8,
                byte_size: size,
                bit_offset,
                bits: size.wrapping_mul(8),
            });
        }
        let unreadable = CoreValue::Refused("a bitfield that no 64-bit load can read");
        let mut byte_size = size;
        while byte_size != 0 {
            let byte_offset = bit_offset / 8 / byte_size * byte_size;
            let end = bit_offset.saturating_add(bitfield_bits);
            if end.saturating_sub(byte_offset.saturating_mul(8)) <= byte_size.saturating_mul(8) {
                return Ok(LoadWindow {
                    byte_offset,
                    byte_size,
                    bit_offset,
                    bits: bitfield_bits,
                });
            }
            if byte_size >= 8 {
                break;
            }
            byte_size = byte_size.saturating_mul(2);
        }
        Err(unreadable)
    }

    /// The shift that puts the field's top bit at bit 63, on a little-endian machine.
    pub(super) fn left_shift(&self) -> u64 {
        let top = self.bit_offset.wrapping_add(self.bits);
        shift(top.wrapping_sub(self.byte_offset.wrapping_mul(8)))
    }
}

/// `64 - bits` in libbpf's 32-bit arithmetic, which matters only for fields wider than any load.
fn shift(bits: u64) -> u64 {
    u64::from(64_u32.wrapping_sub(bits as u32))
}

/// A relocation as the object states it: its access string resolved in the object's own types.
#[derive(Debug)]
pub(super) struct LocalSpec<'d> {
    /// The named members and array elements passed, with the types they were found in.
    pub(super) accessors: Vec<Accessor<'d>>,
    /// The same without types.
    pub(super) steps: Vec<FieldStep<'d>>,
    /// The enumerator, for enumerator relocations.
    pub(super) enumerator: Option<&'d str>,
    /// Offset of the field in the object's own types.
    pub(super) bit_offset: u64,
}

/// One turning point of an access.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accessor<'d> {
    /// The composite the member is in, or the type of the element.
    pub(super) type_id: TypeId,
    /// Member or element index.
    pub(super) index: u32,
    /// Member name; `None` for an element.
    pub(super) name: Option<&'d str>,
}

/// libbpf's `BPF_CORE_SPEC_MAX_LEN`.
pub(super) const MAX_SPEC: usize = 64;

impl<'d> LocalSpec<'d> {
    pub(super) fn parse(
        btf: &Btf<'d>,
        relocation: &CoreRelocation<'_>,
    ) -> Result<LocalSpec<'d>, &'static str> {
        let mut spec = LocalSpec {
            accessors: Vec::new(),
            steps: Vec::new(),
            enumerator: None,
            bit_offset: 0,
        };
        if relocation.kind.is_type() {
            return match relocation.access {
                "0" => Ok(spec),
                _ => Err("a type relocation with an access string other than `0`"),
            };
        }
        let indices = parse_access(relocation.access)?;
        let mut indices = indices.into_iter();
        let first = indices.next().ok_or(MALFORMED)?;
        let mut id = btf.skip_modifiers(relocation.type_id);

        if relocation.kind.is_enum_value() {
            let Type::Enum(an_enum) = btf.get(id) else {
                return Err("an enumerator relocation of something that is no enum");
            };
            let value = an_enum.values.get(first as usize);
            spec.enumerator = match (value, indices.next()) {
                (Some(value), None) => Some(value.name),
                _ => return Err("an enumerator relocation without that enumerator"),
            };
            return Ok(spec);
        }

        spec.enter_element(btf, id, first)?;
        for index in indices {
            id = btf.skip_modifiers(id);
            id = match btf.get(id) {
                Type::Struct(composite) | Type::Union(composite) => {
                    let member = composite
                        .members
                        .get(index as usize)
                        .ok_or("a CO-RE access to a member that does not exist")?;
                    spec.bit_offset = spec.bit_offset.wrapping_add(u64::from(member.bit_offset));
                    if !member.name.is_empty() {
                        spec.steps.push(FieldStep::Member(member.name));
                        spec.accessors.push(Accessor {
                            type_id: id,
                            index,
                            name: Some(member.name),
                        });
                    }
                    member.to
                }
                Type::Array { element, length } => {
                    let flexible = spec
                        .accessors
                        .last()
                        .is_some_and(|last| is_flexible(btf, last, *length));
                    if !flexible && index >= *length {
                        return Err("a CO-RE access past the end of an array");
                    }
                    let element = btf.skip_modifiers(*element);
                    spec.enter_element(btf, element, index)?;
                    element
                }
                _ => return Err("a CO-RE access into something that is no struct or array"),
            };
        }
        Ok(spec)
    }

    fn enter_element(&mut self, btf: &Btf<'d>, id: TypeId, index: u32) -> Result<(), &'static str> {
        let size = btf
            .size_of(id)
            .ok_or("a CO-RE access to a type without a size")?;
        self.bit_offset = u64::from(index)
            .wrapping_mul(size)
            .wrapping_mul(8)
            .wrapping_add(self.bit_offset);
        self.steps.push(FieldStep::Index(u64::from(index)));
        self.accessors.push(Accessor {
            type_id: id,
            index,
            name: None,
        });
        Ok(())
    }
}

const MALFORMED: &str = "a malformed CO-RE access string";

fn parse_access(access: &str) -> Result<Vec<u32>, &'static str> {
    let indices: Vec<u32> = access
        .split(':')
        .take(MAX_SPEC.saturating_add(1))
        .map(|part| {
            part.parse::<i32>()
                .ok()
                .and_then(|index| u32::try_from(index).ok())
        })
        .collect::<Option<_>>()
        .ok_or(MALFORMED)?;
    if indices.len() > MAX_SPEC {
        return Err("a CO-RE access string that is too long");
    }
    Ok(indices)
}

/// Whether an array reached by `last` is a flexible one: without a length and the last member.
pub(super) fn is_flexible(btf: &Btf<'_>, last: &Accessor<'_>, length: u32) -> bool {
    if last.name.is_none() || length > 0 {
        return false;
    }
    let members = btf.get(last.type_id).members().unwrap_or_default();
    (last.index as usize).checked_add(1) == Some(members.len())
}
