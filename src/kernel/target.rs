//! A kernel known through tables as the target of CO-RE relocations: it answers what the tables
//! say, and that it does not know where they say nothing.

use super::Kernel;
use super::model::Presence;
use super::types::{self, MemberType, StructData};
use crate::btf::Btf;
use crate::btf::core::{EnumAnswer, Field, FieldAnswer, FieldStep, TargetTypes};
use crate::btf::{TypeId, TypeKind};

impl TargetTypes for Kernel {
    fn type_presence(&self, kind: TypeKind, name: &str) -> Presence {
        match kind {
            TypeKind::Struct | TypeKind::Union => {
                let union = kind == TypeKind::Union;
                if !union {
                    match self.struct_ops_presence(name) {
                        Presence::Unknown => {}
                        known => return known,
                    }
                }
                match self.composite(union, name) {
                    Some(found) => types::presence(&found.range, self.facts.point),
                    None => self.unlisted(name),
                }
            }
            TypeKind::Enum => match self.type_data().and_then(|types| types.enums.get(name)) {
                Some(found) => types::presence(&found.range, self.facts.point),
                None => self.unlisted(name),
            },
            _ => Presence::Unknown,
        }
    }

    fn type_size(&self, kind: TypeKind, name: &str) -> Option<u64> {
        self.btf()?.type_size(kind, name)
    }

    fn field(&self, kind: TypeKind, root: &str, path: &[FieldStep<'_>]) -> FieldAnswer {
        let (name, rest) = match path {
            // The first step of a path from a pointer is the element of the array it points to.
            [FieldStep::Index(_), rest @ ..] => match rest {
                [FieldStep::Member(name), rest @ ..] => (*name, rest),
                _ => return self.answer(self.type_presence(kind, root)),
            },
            [FieldStep::Member(name), rest @ ..] => (*name, rest),
            [] => return self.answer(self.type_presence(kind, root)),
        };
        let union = match kind {
            TypeKind::Struct => false,
            TypeKind::Union => true,
            _ => return FieldAnswer::Unknown,
        };
        if !union && let Some(answer) = self.struct_ops_field(root, name, rest) {
            return answer;
        }
        match self.composite(union, root) {
            Some(found) => self.member(found, name, rest),
            None => FieldAnswer::Unknown,
        }
    }

    fn enum_value(&self, enum_name: &str, variant: &str) -> EnumAnswer {
        match self.enum_variant(enum_name, variant) {
            (Presence::Absent, _) => EnumAnswer::Absent,
            (Presence::Unknown, _) => EnumAnswer::Unknown,
            (Presence::Present, value) => EnumAnswer::Present(value),
        }
    }

    fn type_id(&self, kind: TypeKind, name: &str) -> Option<TypeId> {
        self.btf()?.type_id(kind, name)
    }

    fn types(&self) -> Option<&Btf<'_>> {
        self.btf()
    }
}

impl Kernel {
    /// A type the tables do not list: not there if they list every one whose name begins so.
    fn unlisted(&self, name: &str) -> Presence {
        let prefixes = &self.facts.data.complete_type_prefixes;
        if prefixes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
        {
            Presence::Absent
        } else {
            Presence::Unknown
        }
    }

    fn composite(&self, union: bool, name: &str) -> Option<&StructData> {
        let types = self.type_data()?;
        let composites = if union { &types.unions } else { &types.structs };
        composites.get(name)
    }

    /// A member of a type that [`super::StructOpsType`] describes.
    fn struct_ops_field(
        &self,
        root: &str,
        name: &str,
        rest: &[FieldStep<'_>],
    ) -> Option<FieldAnswer> {
        match self.struct_ops_presence(root) {
            Presence::Unknown => None,
            Presence::Absent => Some(FieldAnswer::Absent),
            Presence::Present => {
                let member = self.struct_ops(root)?.has_member(name);
                Some(match (member, rest) {
                    (false, _) => FieldAnswer::Absent,
                    (true, []) => self.answer(Presence::Present),
                    (true, _) => FieldAnswer::Unknown,
                })
            }
        }
    }

    fn member(&self, of: &StructData, name: &str, rest: &[FieldStep<'_>]) -> FieldAnswer {
        match types::presence(&of.range, self.facts.point) {
            Presence::Absent => return FieldAnswer::Absent,
            Presence::Unknown => return FieldAnswer::Unknown,
            Presence::Present => {}
        }
        let Some(history) = of.members.get(name) else {
            return match of.complete {
                true => FieldAnswer::Absent,
                false => FieldAnswer::Unknown,
            };
        };
        let (presence, member) = types::at(history, self.facts.point);
        // Elements of arrays are of the type the table names for the member.
        let rest: Vec<FieldStep<'_>> = rest
            .iter()
            .filter(|step| matches!(step, FieldStep::Member(_)))
            .copied()
            .collect();
        match (presence, rest.is_empty(), member) {
            (Presence::Present, false, Some(MemberType::Struct(inner))) => {
                self.field(TypeKind::Struct, inner, &rest)
            }
            (Presence::Present, false, Some(MemberType::Union(inner))) => {
                self.field(TypeKind::Union, inner, &rest)
            }
            (Presence::Present, false, _) => FieldAnswer::Unknown,
            (presence, ..) => self.answer(presence),
        }
    }

    fn answer(&self, presence: Presence) -> FieldAnswer {
        match presence {
            Presence::Present => FieldAnswer::Present(Field::default()),
            Presence::Absent => FieldAnswer::Absent,
            Presence::Unknown => FieldAnswer::Unknown,
        }
    }
}
