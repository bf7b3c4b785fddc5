//! BTF: the types of an object or of a kernel, and what the loader does with them.
//!
//! [`Btf`] is our own view over what `btf-rs` decodes, with names borrowed from the file.
//! [`ext`] reads `.BTF.ext`, [`prototype`] compares functions, and [`core`] evaluates CO-RE
//! relocations. Knows nothing of rules.

mod check;
pub mod core;
mod cycles;
mod declaration;
mod decode;
mod describe;
pub mod ext;
mod index;
mod matching;
pub mod prototype;
mod relocate;
mod strings;
mod target;
mod types;

pub use relocate::{AccessSize, Resolution, resolve};
pub use types::{
    Composite, Enum, EnumValue, FuncLinkage, Int, Member, Param, SectionVariable, Type, TypeId,
    TypeKind, VarLinkage, essential_name,
};

use index::Index;
use std::sync::OnceLock;
pub(crate) use strings::Strings;

/// How many modifiers and typedefs may follow each other; C code has a handful. [`Btf::parse`]
/// refuses cycles, so this only bounds chains.
const MAX_CHAIN: u32 = 1024;

/// Why bytes are not BTF that a loader would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (byte {offset:#x} of the BTF)")]
pub struct BtfError {
    /// What is wrong.
    pub message: String,
    /// Where, from the start of the BTF.
    pub offset: u64,
}

impl BtfError {
    fn new(offset: usize, message: impl Into<String>) -> BtfError {
        BtfError {
            message: message.into(),
            offset: offset as u64,
        }
    }
}

/// The types of one object or kernel.
#[derive(Debug)]
pub struct Btf<'d> {
    /// By id; the first is `void`.
    types: Vec<Type<'d>>,
    /// The string section, which `.BTF.ext` refers to as well.
    strings: Strings<'d>,
    /// By name, built when a name is first asked for.
    index: OnceLock<Index>,
}

impl Default for Btf<'_> {
    fn default() -> Self {
        Btf {
            types: vec![Type::Void],
            strings: Strings::default(),
            index: OnceLock::new(),
        }
    }
}

impl<'d> Btf<'d> {
    /// Parse the content of a `.BTF` section or of `/sys/kernel/btf/vmlinux`.
    ///
    /// Every reference to a type and every name is checked here, and cycles that no C type can
    /// have are refused, so that the rest of the program may follow references freely.
    pub fn parse(bytes: &'d [u8]) -> Result<Btf<'d>, BtfError> {
        let checked = check::check(bytes)?;
        let types = decode::decode(&checked)?;
        cycles::refuse(&types, &checked)?;
        Ok(Btf {
            types,
            strings: checked.strings,
            index: OnceLock::new(),
        })
    }

    /// Number of types, `void` included: ids are below it.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no type but `void`, as in an object built without `-g`.
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// The type with this id. Ids found in this BTF always have one; any other id reads as
    /// `void`.
    pub fn get(&self, id: TypeId) -> &Type<'d> {
        self.types.get(id as usize).unwrap_or(&Type::Void)
    }

    /// All types with their ids, `void` first.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type<'d>)> {
        (0..).zip(&self.types)
    }

    /// The string at an offset of the string section, for `.BTF.ext`.
    pub fn string(&self, offset: u32) -> Option<&'d str> {
        self.strings.get(offset)
    }

    /// The first type of this kind and exact name.
    pub fn find(&self, kind: TypeKind, name: &str) -> Option<TypeId> {
        self.candidates(kind, essential_name(name))
            .find(|id| self.get(*id).name() == name)
    }

    /// The types of this kind whose name is `essential` up to a flavour suffix, by ascending id.
    pub fn candidates(&self, kind: TypeKind, essential: &str) -> impl Iterator<Item = TypeId> {
        self.index
            .get_or_init(|| Index::build(&self.types))
            .with_name(essential)
            .filter(move |id| {
                let found = self.get(*id);
                found.kind() == Some(kind) && essential_name(found.name()) == essential
            })
    }

    /// What is under all modifiers, type tags and typedefs of `id`.
    pub fn skip_modifiers(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            match self.get(id).aliased() {
                Some(to) => id = to,
                None => break,
            }
        }
        id
    }

    /// Size in bytes of a value of this type on a 64-bit machine; `None` for what has none
    /// (`void`, functions) or does not fit.
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let mut id = id;
        let mut count = 1_u64;
        for _ in 0..MAX_CHAIN {
            let size = match self.get(id) {
                Type::Int(int) => u64::from(int.size),
                Type::Struct(composite) | Type::Union(composite) => u64::from(composite.size),
                Type::Enum(an_enum) => u64::from(an_enum.size),
                Type::DataSec { size, .. } | Type::Float { size, .. } => u64::from(*size),
                Type::Ptr(_) => 8,
                Type::Array { element, length } => {
                    count = count.checked_mul(u64::from(*length))?;
                    id = *element;
                    continue;
                }
                Type::Var { to, .. } => {
                    id = *to;
                    continue;
                }
                other => {
                    id = other.aliased()?;
                    continue;
                }
            };
            // libbpf holds sizes in 32 bits.
            return count
                .checked_mul(size)
                .filter(|size| *size <= u64::from(u32::MAX));
        }
        None
    }

    /// The type as C writes it, for messages.
    pub fn describe(&self, id: TypeId) -> String {
        describe::describe(self, id)
    }
}
