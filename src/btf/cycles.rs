//! Refuses types that contain or alias themselves. No C type does, and everything that follows
//! references relies on it.

use super::BtfError;
use super::check::Checked;
use super::types::{Type, TypeId};

/// What one walk follows. A struct may point to itself, so by-value containment and pointing are
/// two walks; both follow aliases and arrays.
#[derive(Clone, Copy)]
enum Walk {
    Containment,
    Pointing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

pub(super) fn refuse(types: &[Type<'_>], checked: &Checked<'_>) -> Result<(), BtfError> {
    for walk in [Walk::Containment, Walk::Pointing] {
        if let Some(id) = find(types, walk) {
            return Err(BtfError::new(
                checked.offset_of(id),
                format!("BTF type {id} contains or refers to itself; rebuild the file"),
            ));
        }
    }
    Ok(())
}

/// A type on a cycle of `walk`, if there is one. Depth-first with an explicit stack of (type,
/// edges already followed): linear in types and members.
fn find(types: &[Type<'_>], walk: Walk) -> Option<TypeId> {
    let mut marks = vec![Mark::New; types.len()];
    let mut stack: Vec<(TypeId, usize)> = Vec::new();
    for root in 0..types.len() {
        if marks.get(root) != Some(&Mark::New) {
            continue;
        }
        let Ok(root) = TypeId::try_from(root) else {
            continue;
        };
        set(&mut marks, root, Mark::Open);
        stack.push((root, 0));
        while let Some((id, followed)) = stack.last_mut() {
            let id = *id;
            let Some(to) = types
                .get(id as usize)
                .and_then(|t| edge(t, walk, *followed))
            else {
                set(&mut marks, id, Mark::Done);
                stack.pop();
                continue;
            };
            *followed = followed.saturating_add(1);
            match marks.get(to as usize) {
                Some(Mark::Open) => return Some(to),
                Some(Mark::New) => {
                    set(&mut marks, to, Mark::Open);
                    stack.push((to, 0));
                }
                _ => {}
            }
        }
    }
    None
}

fn set(marks: &mut [Mark], id: TypeId, mark: Mark) {
    if let Some(slot) = marks.get_mut(id as usize) {
        *slot = mark;
    }
}

/// The `n`th type that `a_type` leads to on this walk.
fn edge(a_type: &Type<'_>, walk: Walk, n: usize) -> Option<TypeId> {
    let only = |to: TypeId| (n == 0).then_some(to);
    match (a_type, walk) {
        (Type::Array { element, .. }, _) => only(*element),
        (Type::Var { to, .. }, _) => only(*to),
        (Type::Struct(composite) | Type::Union(composite), Walk::Containment) => {
            composite.members.get(n).map(|member| member.to)
        }
        (Type::Ptr(to), Walk::Pointing) => only(*to),
        (Type::FuncProto { ret, params }, Walk::Pointing) => match n.checked_sub(1) {
            None => Some(*ret),
            Some(n) => params.get(n).map(|param| param.to),
        },
        (Type::Func { proto, .. }, Walk::Pointing) => only(*proto),
        _ => a_type.aliased().and_then(only),
    }
}
