//! Types by essential name. Holds hashes instead of names so that [`super::Btf`] stays covariant
//! in the lifetime of its bytes.

use super::types::{Type, TypeId, essential_name};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Debug)]
pub(super) struct Index {
    /// First type of each hash.
    first: HashMap<u64, TypeId>,
    /// The next type of the same hash, 0 for none.
    next: Vec<TypeId>,
}

impl Index {
    pub(super) fn build(types: &[Type<'_>]) -> Index {
        let mut index = Index {
            first: HashMap::with_capacity(types.len()),
            next: vec![0; types.len()],
        };
        // Backwards, so that each chain comes out in ascending order.
        for (id, a_type) in (0..)
            .zip(types)
            .collect::<Vec<(TypeId, _)>>()
            .into_iter()
            .rev()
        {
            let name = a_type.name();
            if name.is_empty() || a_type.kind().is_none() {
                continue;
            }
            let previous = index.first.insert(hash(essential_name(name)), id);
            if let (Some(previous), Some(next)) = (previous, index.next.get_mut(id as usize)) {
                *next = previous;
            }
        }
        index
    }

    /// The types whose essential name hashes like this one.
    pub(super) fn with_name(&self, essential: &str) -> impl Iterator<Item = TypeId> {
        let first = self.first.get(&hash(essential)).copied();
        std::iter::successors(first, |id| {
            self.next
                .get(*id as usize)
                .copied()
                .filter(|next| *next != 0)
        })
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
