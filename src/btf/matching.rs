//! `bpf_core_type_matches`: whether a kernel's type has everything a local one has.

use super::Btf;
use super::relocate::TOO_DEEP;
use super::types::{Composite, Enum, Type, TypeId, essential_name};

/// How deep structs, and function parameters, may nest.
const MAX_LEVEL: u32 = 32;

/// How long a chain of pointers and arrays may be.
const MAX_DEPTH: u32 = 32;

/// Whether the kernel's type `target_id` matches the local `local_id`; the caller has compared
/// the names of the two roots. `work` bounds the members looked at.
pub(super) fn matches(
    local: &Btf<'_>,
    local_id: TypeId,
    target: &Btf<'_>,
    target_id: TypeId,
    work: &mut u32,
) -> Result<bool, &'static str> {
    let mut matcher = Matcher {
        local,
        target,
        work,
    };
    matcher.types(local_id, target_id, false, MAX_LEVEL)
}

struct Matcher<'a, 'l, 't> {
    local: &'a Btf<'l>,
    target: &'a Btf<'t>,
    work: &'a mut u32,
}

impl<'l, 't> Matcher<'_, 'l, 't> {
    fn types(
        &mut self,
        local_id: TypeId,
        target_id: TypeId,
        behind_ptr: bool,
        level: u32,
    ) -> Result<bool, &'static str> {
        let inner = level.checked_sub(1).ok_or(TOO_DEEP)?;
        let (mut local_id, mut target_id) = (local_id, target_id);
        let mut behind_ptr = behind_ptr;
        for _ in 0..MAX_DEPTH {
            self.spend()?;
            let (local_btf, target_btf) = (self.local, self.target);
            let local = local_btf.get(local_btf.skip_modifiers(local_id));
            let target = target_btf.get(target_btf.skip_modifiers(target_id));
            if !names_match(local.name(), target.name()) {
                return Ok(false);
            }
            match (local, target) {
                (Type::Void, Type::Void) => return Ok(true),
                (Type::Fwd { union, .. }, Type::Fwd { union: other, .. }) => {
                    return Ok(union == other);
                }
                (Type::Fwd { union, .. }, Type::Struct(_)) => return Ok(behind_ptr && !union),
                (Type::Fwd { union, .. }, Type::Union(_)) => return Ok(behind_ptr && *union),
                (Type::Struct(_), Type::Fwd { union, .. }) => return Ok(behind_ptr && !union),
                (Type::Union(_), Type::Fwd { union, .. }) => return Ok(behind_ptr && *union),
                (Type::Enum(local), Type::Enum(target)) => return self.enums(local, target),
                (Type::Struct(local), Type::Struct(target))
                | (Type::Union(local), Type::Union(target)) => {
                    // Behind a pointer the name is enough.
                    return match behind_ptr {
                        true => Ok(true),
                        false => self.composites(local, target, inner),
                    };
                }
                (Type::Int(local), Type::Int(target)) => {
                    return Ok(local.size == target.size && local.signed == target.signed);
                }
                (Type::Ptr(local), Type::Ptr(target)) => {
                    behind_ptr = true;
                    (local_id, target_id) = (*local, *target);
                }
                (
                    Type::Array { element, length },
                    Type::Array {
                        element: target_element,
                        length: target_length,
                    },
                ) => {
                    if length != target_length {
                        return Ok(false);
                    }
                    (local_id, target_id) = (*element, *target_element);
                }
                (
                    Type::FuncProto { ret, params },
                    Type::FuncProto {
                        ret: target_ret,
                        params: target_params,
                    },
                ) => {
                    if params.len() != target_params.len() {
                        return Ok(false);
                    }
                    for (local, target) in params.iter().zip(target_params) {
                        if !self.types(local.to, target.to, behind_ptr, inner)? {
                            return Ok(false);
                        }
                    }
                    (local_id, target_id) = (*ret, *target_ret);
                }
                _ => return Ok(false),
            }
        }
        Err(TOO_DEEP)
    }

    /// Every local enumerator has one of its name; values do not matter.
    fn enums(&mut self, local: &Enum<'l>, target: &Enum<'t>) -> Result<bool, &'static str> {
        if local.size != target.size || local.values.len() > target.values.len() {
            return Ok(false);
        }
        for value in &local.values {
            let mut found = false;
            for other in &target.values {
                self.spend()?;
                if names_match(value.name, other.name) {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every local member has one of its name whose type matches.
    fn composites(
        &mut self,
        local: &Composite<'l>,
        target: &Composite<'t>,
        level: u32,
    ) -> Result<bool, &'static str> {
        if local.members.len() > target.members.len() {
            return Ok(false);
        }
        for member in &local.members {
            let mut found = false;
            for other in &target.members {
                self.spend()?;
                if names_match(member.name, other.name)
                    && self.types(member.to, other.to, false, level)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn spend(&mut self) -> Result<(), &'static str> {
        *self.work = self.work.checked_sub(1).ok_or(TOO_DEEP)?;
        Ok(())
    }
}

fn names_match(local: &str, target: &str) -> bool {
    essential_name(local) == essential_name(target)
}
