//! Questions that several parts of the analysis ask of an object.

use super::{Extern, ExternKind, FunctionId, Object, StructOpsMap, Target};
use crate::btf::prototype::Prototype;
use crate::btf::{Type, TypeKind, essential_name};

impl Object<'_> {
    /// The prototype a kfunc extern is declared with; none when the object has no types.
    pub fn kfunc_prototype(&self, symbol: &Extern<'_>) -> Option<Prototype> {
        match symbol.kind {
            ExternKind::Kfunc => Prototype::from_btf(&self.btf, symbol.type_id),
            _ => None,
        }
    }
}

/// `BPF_MAP_TYPE_ARENA` (include/uapi/linux/bpf.h, 6.9).
const MAP_TYPE_ARENA: u32 = 33;

/// The section of variables that clang places in the arena; libbpf puts them into the arena map.
const ARENA_SECTION: &str = ".addr_space.1";

impl<'d> Object<'d> {
    /// The arena maps a function refers to by itself, its variables' map included.
    pub fn arenas_of(&self, function: FunctionId) -> Vec<&'d str> {
        let references = self
            .functions
            .get(function.0 as usize)
            .map_or(&[][..], |f| &f.references);
        let maps = references
            .iter()
            .filter_map(|reference| match reference.target {
                Target::Map(name) if self.map_type(name) == Some(MAP_TYPE_ARENA) => Some(name),
                Target::Data(section, _) => {
                    let arena = self
                        .data
                        .get(section.0 as usize)
                        .is_some_and(|data| data.name == ARENA_SECTION);
                    // libbpf allows one arena map beside arena variables.
                    arena.then(|| self.arena_maps().next()).flatten()
                }
                _ => None,
            });
        maps.collect()
    }

    fn arena_maps(&self) -> impl Iterator<Item = &'d str> {
        let variables = self
            .btf
            .find(TypeKind::DataSec, ".maps")
            .map(|id| self.btf.get(id));
        let records = match variables {
            Some(Type::DataSec { variables, .. }) => &variables[..],
            _ => &[],
        };
        records
            .iter()
            .map(|record| self.btf.get(record.to).name())
            .filter(|name| self.map_type(name) == Some(MAP_TYPE_ARENA))
    }

    /// The type of a map of `.maps`: `__uint(type, N)` declares a pointer to an array of N.
    fn map_type(&self, name: &str) -> Option<u32> {
        let Type::Var { to, .. } = self.btf.get(self.btf.find(TypeKind::Var, name)?) else {
            return None;
        };
        let members = self.btf.get(self.btf.skip_modifiers(*to)).members()?;
        let member = members.iter().find(|member| member.name == "type")?;
        let Type::Ptr(array) = self.btf.get(self.btf.skip_modifiers(member.to)) else {
            return None;
        };
        match self.btf.get(self.btf.skip_modifiers(*array)) {
            Type::Array { length, .. } => Some(*length),
            _ => None,
        }
    }
}

impl<'d> StructOpsMap<'d> {
    /// The type's name as libbpf looks it up in the kernel: without its flavour suffix.
    pub fn essential_type_name(&self) -> &'d str {
        essential_name(self.type_name)
    }
}
