//! From checked bytes through `btf-rs` to our own [`Type`].

use super::BtfError;
use super::check::{Checked, u32_at};
use super::types::{
    Composite, Enum, EnumValue, FuncLinkage, Int, Member, Param, SectionVariable, Type, TypeId,
    VarLinkage,
};
use btf_rs::BtfType;

/// Decode every type; type 0 is `void`.
pub(super) fn decode<'d>(checked: &Checked<'d>) -> Result<Vec<Type<'d>>, BtfError> {
    let copy = nameless(checked);
    let unreadable = |error: btf_rs::Error| BtfError::new(checked.records_at, error.to_string());
    let decoded = btf_rs::Btf::from_bytes(&copy).map_err(unreadable)?;
    drop(copy);

    let mut types = Vec::with_capacity(checked.starts.len().saturating_add(1));
    types.push(Type::Void);
    for (id, start) in (1_u32..).zip(&checked.starts) {
        let raw = decoded.resolve_type_by_id(id).map_err(unreadable)?;
        let record = Record {
            checked,
            id,
            at: *start as usize,
        };
        types.push(record.convert(&raw)?);
    }
    Ok(types)
}

/// The type section as a BTF of its own, with an empty string section and the names of the types
/// zeroed. Members keep their name offsets, which `btf-rs` hands out unresolved.
fn nameless(checked: &Checked<'_>) -> Vec<u8> {
    // The type section comes from a header with 32-bit fields.
    let len = u32::try_from(checked.records.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(checked.records.len().saturating_add(25));
    bytes.extend_from_slice(&[0x9f, 0xeb, 1, 0]);
    for field in [24, 0, len, len, 1] {
        bytes.extend_from_slice(&u32::to_le_bytes(field));
    }
    let start_of_records = bytes.len();
    bytes.extend_from_slice(checked.records);
    bytes.push(0);
    for start in &checked.starts {
        let at = start_of_records.saturating_add(*start as usize);
        if let Some(name) = bytes.get_mut(at..at.saturating_add(4)) {
            name.fill(0);
        }
    }
    bytes
}

struct Record<'a, 'd> {
    checked: &'a Checked<'d>,
    id: TypeId,
    at: usize,
}

impl<'d> Record<'_, 'd> {
    fn string(&self, offset: u32) -> Result<&'d str, BtfError> {
        if offset == 0 {
            return Ok("");
        }
        self.checked.strings.get(offset).ok_or_else(|| {
            BtfError::new(
                self.checked.offset_of(self.id),
                format!("BTF type {} has a name that is not UTF-8", self.id),
            )
        })
    }

    fn word(&self, at: usize) -> u32 {
        u32_at(self.checked.records, self.at.saturating_add(at)).unwrap_or(0)
    }

    fn name(&self) -> Result<&'d str, BtfError> {
        self.string(self.word(0))
    }

    fn name_of(&self, part: &impl BtfType) -> Result<&'d str, BtfError> {
        self.string(part.get_name_offset().unwrap_or(0))
    }

    fn convert(&self, raw: &btf_rs::Type) -> Result<Type<'d>, BtfError> {
        use btf_rs::Type as Raw;
        Ok(match raw {
            Raw::Void => Type::Void,
            Raw::Int(int) => {
                // `btf-rs` keeps width and bit offset to itself.
                let encoding = self.word(12);
                Type::Int(Int {
                    name: self.name()?,
                    size: size(int.size()),
                    bits: encoding.to_le_bytes()[0],
                    bit_offset: encoding.to_le_bytes()[2],
                    signed: int.is_signed(),
                    boolean: int.is_bool(),
                })
            }
            Raw::Ptr(ptr) => Type::Ptr(target(ptr)),
            Raw::Array(array) => Type::Array {
                element: target(array),
                length: size(array.len()),
            },
            Raw::Struct(composite) => Type::Struct(self.composite(composite)?),
            Raw::Union(composite) => Type::Union(self.composite(composite)?),
            Raw::Enum(an_enum) => Type::Enum(Enum {
                name: self.name()?,
                size: size(an_enum.size()),
                signed: an_enum.is_signed(),
                wide: false,
                values: self.values(&an_enum.members, |member| {
                    let value = member.val();
                    match an_enum.is_signed() {
                        true => i64::from(value.cast_signed()).cast_unsigned(),
                        false => u64::from(value),
                    }
                })?,
            }),
            Raw::Enum64(an_enum) => Type::Enum(Enum {
                name: self.name()?,
                size: size(an_enum.size()),
                signed: an_enum.is_signed(),
                wide: true,
                values: self.values(&an_enum.members, btf_rs::Enum64Member::val)?,
            }),
            Raw::Fwd(fwd) => Type::Fwd {
                name: self.name()?,
                union: fwd.is_union(),
            },
            Raw::Typedef(typedef) => Type::Typedef {
                name: self.name()?,
                to: target(typedef),
            },
            Raw::Volatile(modifier) => Type::Volatile(target(modifier)),
            Raw::Const(modifier) => Type::Const(target(modifier)),
            Raw::Restrict(modifier) => Type::Restrict(target(modifier)),
            Raw::TypeTag(tag) => Type::TypeTag {
                name: self.name()?,
                to: target(tag),
            },
            Raw::Func(func) => Type::Func {
                name: self.name()?,
                proto: target(func),
                linkage: if func.is_static() {
                    FuncLinkage::Static
                } else if func.is_extern() {
                    FuncLinkage::Extern
                } else {
                    FuncLinkage::Global
                },
            },
            Raw::FuncProto(proto) => Type::FuncProto {
                ret: proto.return_type_id(),
                params: proto
                    .parameters
                    .iter()
                    .map(|param| {
                        Ok(Param {
                            name: self.name_of(param)?,
                            to: target(param),
                        })
                    })
                    .collect::<Result<_, BtfError>>()?,
            },
            Raw::Var(var) => Type::Var {
                name: self.name()?,
                to: target(var),
                linkage: if var.is_static() {
                    VarLinkage::Static
                } else if var.is_extern() {
                    VarLinkage::Extern
                } else {
                    VarLinkage::Global
                },
            },
            Raw::Datasec(section) => Type::DataSec {
                name: self.name()?,
                size: size(section.size()),
                variables: section
                    .variables
                    .iter()
                    .map(|variable| SectionVariable {
                        to: target(variable),
                        offset: variable.offset(),
                        size: size(variable.size()),
                    })
                    .collect(),
            },
            Raw::Float(float) => Type::Float {
                name: self.name()?,
                size: size(float.size()),
            },
            Raw::DeclTag(tag) => Type::DeclTag {
                name: self.name()?,
                target: target(tag),
                component: tag.component_index(),
            },
            _ => {
                return Err(BtfError::new(
                    self.checked.offset_of(self.id),
                    format!("BTF type {} is of an unknown kind", self.id),
                ));
            }
        })
    }

    fn composite(&self, composite: &btf_rs::Struct) -> Result<Composite<'d>, BtfError> {
        let members = composite.members.iter().map(|member| {
            Ok(Member {
                name: self.name_of(member)?,
                to: target(member),
                bit_offset: member.bit_offset(),
                bitfield_bits: member
                    .bitfield_size()
                    .and_then(|bits| u8::try_from(bits).ok())
                    .unwrap_or(0),
            })
        });
        Ok(Composite {
            name: self.name()?,
            size: size(composite.size()),
            members: members.collect::<Result<_, BtfError>>()?,
        })
    }

    fn values<M: BtfType>(
        &self,
        members: &[M],
        value: impl Fn(&M) -> u64,
    ) -> Result<Box<[EnumValue<'d>]>, BtfError> {
        members
            .iter()
            .map(|member| {
                Ok(EnumValue {
                    name: self.name_of(member)?,
                    value: value(member),
                })
            })
            .collect()
    }
}

fn target(part: &impl BtfType) -> TypeId {
    part.get_type_id().unwrap_or(0)
}

/// `btf-rs` widens the format's 32-bit sizes.
fn size(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
