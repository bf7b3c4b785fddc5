//! What the probe takes from a kernel's BTF: callbacks, kfuncs, prototypes, enums.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::btf::{Btf, BtfError, Type, TypeId, TypeKind};

/// How a chain of pointers, typedefs and the like may be at most; C code has a handful.
const DEPTH: u32 = 32;

/// What the declaration tag of a kfunc is called.
const KFUNC_TAG: &str = "bpf_kfunc";

/// The name under which a kfunc with implicit arguments has its true prototype.
pub(super) const IMPLICIT_SUFFIX: &str = "_impl";

/// How the structs of open-coded iterators are called.
const ITERATOR_PREFIX: &str = "bpf_iter_";

/// The struct the kernel wraps a struct_ops type in, followed by the type's name.
pub(super) const STRUCT_OPS_PREFIX: &str = "bpf_struct_ops_";

/// A function-pointer member of a struct_ops type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackType {
    /// Its name.
    pub name: String,
    /// Its position among the members, which is what loading a program for it names.
    pub index: u32,
    /// Its place in the struct, in bytes.
    pub offset: u32,
    /// As C writes it.
    pub prototype: String,
}

/// A struct_ops type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StructOps {
    /// Its name.
    pub name: String,
    /// Its BTF id.
    pub id: u32,
    /// The callbacks, in order.
    pub callbacks: Vec<CallbackType>,
    /// The other members, in order.
    pub fields: Vec<String>,
}

/// A function that is a kfunc or may be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KfuncType {
    /// Its name.
    pub name: String,
    /// Its BTF id.
    pub id: u32,
    /// Whether the kernel's BTF marks it as one.
    pub tagged: bool,
    /// As C writes it.
    pub prototype: String,
    /// Only holds the true prototype of another kfunc, the one without the suffix.
    pub implicit_twin: bool,
    /// The size of the iterator that the first argument points to, if that is what it does.
    pub iterator: Option<usize>,
}

/// An enum with its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumType {
    /// Its name; empty for an anonymous one.
    pub name: String,
    /// The values, in order.
    #[serde(deserialize_with = "numbers")]
    pub values: Vec<(String, i128)>,
}

/// Serde takes no `i128` from a tagged record.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, i128)>, D::Error> {
    let values = Vec::<(String, serde_json::Number)>::deserialize(deserializer)?;
    let number = |(name, value): (String, serde_json::Number)| match value.as_i128() {
        Some(value) => Ok((name, value)),
        None => Err(serde::de::Error::custom(format!(
            "{name}: {value} is no whole number"
        ))),
    };
    values.into_iter().map(number).collect()
}

/// A kernel's types, as far as the probe asks.
pub struct KernelTypes {
    btf: &'static Btf<'static>,
    tagged: BTreeSet<TypeId>,
    functions: BTreeMap<&'static str, TypeId>,
    structs: BTreeMap<&'static str, TypeId>,
    enums: Vec<EnumType>,
}

impl KernelTypes {
    /// From the bytes of `/sys/kernel/btf/vmlinux` or a copy of it, which stay in memory for as
    /// long as the process lives: it reads one kernel and asks it until its end.
    pub fn parse(bytes: &[u8]) -> Result<KernelTypes, BtfError> {
        let bytes: &'static [u8] = Vec::leak(bytes.to_vec());
        Ok(KernelTypes::of(Box::leak(Box::new(Btf::parse(bytes)?))))
    }

    /// From BTF that is already read.
    pub fn of(btf: &'static Btf<'static>) -> KernelTypes {
        let mut this = KernelTypes {
            btf,
            tagged: BTreeSet::new(),
            functions: BTreeMap::new(),
            structs: BTreeMap::new(),
            enums: Vec::new(),
        };
        for (id, entry) in btf.iter() {
            match entry {
                Type::DeclTag {
                    name: KFUNC_TAG,
                    target,
                    component: None,
                } => {
                    this.tagged.insert(*target);
                }
                Type::Func { name, .. } => {
                    this.functions.entry(name).or_insert(id);
                }
                Type::Struct(composite) => {
                    this.structs.entry(composite.name).or_insert(id);
                }
                Type::Enum(an_enum) => {
                    let value = |bits: u64| match an_enum.signed {
                        true => i128::from(bits.cast_signed()),
                        false => i128::from(bits),
                    };
                    let values = an_enum.values.iter();
                    this.enums.push(EnumType {
                        name: an_enum.name.to_owned(),
                        values: values
                            .map(|v| (v.name.to_owned(), value(v.value)))
                            .collect(),
                    });
                }
                _ => {}
            }
        }
        this
    }

    /// All types.
    pub fn btf(&self) -> &'static Btf<'static> {
        self.btf
    }

    /// The id of a function.
    pub fn function(&self, name: &str) -> Option<TypeId> {
        self.functions.get(name).copied()
    }

    /// The functions marked as kfuncs, whosever they are.
    pub fn tagged_functions(&self) -> impl Iterator<Item = &'static str> {
        self.functions
            .iter()
            .filter(|(_, id)| self.tagged.contains(id))
            .map(|(name, _)| *name)
    }

    /// The id of a typedef.
    pub fn typedef(&self, name: &str) -> Option<TypeId> {
        self.btf.find(TypeKind::Typedef, name)
    }

    /// The names of all struct_ops types this kernel has.
    pub fn struct_ops_names(&self) -> Vec<&str> {
        self.structs
            .keys()
            .filter_map(|name| name.strip_prefix(STRUCT_OPS_PREFIX))
            .filter(|name| self.structs.contains_key(*name))
            .collect()
    }

    /// A struct_ops type by name.
    pub fn struct_ops(&self, name: &str) -> Option<StructOps> {
        let id = *self.structs.get(name)?;
        let mut this = StructOps {
            name: name.to_owned(),
            id,
            callbacks: Vec::new(),
            fields: Vec::new(),
        };
        for (index, member) in (0..).zip(self.btf.get(id).members()?) {
            if self.is_function_pointer(member.to) {
                this.callbacks.push(CallbackType {
                    prototype: self.declare(member.to, member.name, DEPTH),
                    name: member.name.to_owned(),
                    index,
                    offset: member.bit_offset / 8,
                });
            } else {
                this.fields.push(member.name.to_owned());
            }
        }
        Some(this)
    }

    /// The functions whose names begin in one of these ways, kfuncs or not: some builds mark no
    /// kfuncs or forget some.
    pub fn kfuncs(&self, prefixes: &[&str]) -> Vec<KfuncType> {
        self.functions
            .iter()
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .map(|(name, id)| KfuncType {
                name: (*name).to_owned(),
                id: *id,
                tagged: self.tagged.contains(id),
                prototype: self.prototype(*id, name),
                implicit_twin: name
                    .strip_suffix(IMPLICIT_SUFFIX)
                    .is_some_and(|base| self.functions.contains_key(base)),
                iterator: self.iterator(*id),
            })
            .collect()
    }

    /// The enums with a value whose name begins so.
    pub fn enums(&self, prefix: &str) -> Vec<&EnumType> {
        self.enums
            .iter()
            .filter(|e| e.values.iter().any(|(name, _)| name.starts_with(prefix)))
            .collect()
    }

    fn is_function_pointer(&self, id: TypeId) -> bool {
        match self.btf.get(self.btf.skip_modifiers(id)) {
            Type::Ptr(to) => matches!(self.btf.get(*to), Type::FuncProto { .. }),
            _ => false,
        }
    }

    fn iterator(&self, function: TypeId) -> Option<usize> {
        let Type::Func { proto, .. } = self.btf.get(function) else {
            return None;
        };
        let Type::FuncProto { params, .. } = self.btf.get(*proto) else {
            return None;
        };
        let Type::Ptr(to) = self.btf.get(params.first()?.to) else {
            return None;
        };
        let Type::Struct(composite) = self.btf.get(*to) else {
            return None;
        };
        let size = usize::try_from(composite.size).ok()?;
        composite.name.starts_with(ITERATOR_PREFIX).then_some(size)
    }

    fn prototype(&self, function: TypeId, name: &str) -> String {
        match self.btf.get(function) {
            Type::Func { proto, .. } => self.declare(*proto, name, DEPTH),
            _ => name.to_owned(),
        }
    }

    /// The declaration of `inner` (a name, possibly already with stars) as the type `id`.
    fn declare(&self, id: TypeId, inner: &str, depth: u32) -> String {
        let Some(depth) = depth.checked_sub(1) else {
            return format!("... {inner}");
        };
        let join = |text: &str| match inner.is_empty() {
            true => text.to_owned(),
            false => format!("{text} {inner}"),
        };
        match self.btf.get(id) {
            Type::Void => join("void"),
            Type::Struct(composite) => join(&format!("struct {}", composite.name)),
            Type::Union(composite) => join(&format!("union {}", composite.name)),
            Type::Enum(an_enum) => join(&format!("enum {}", an_enum.name)),
            Type::Fwd { name, union: true } => join(&format!("union {name}")),
            Type::Fwd { name, union: false } => join(&format!("struct {name}")),
            Type::Ptr(to) => match self.btf.get(*to) {
                Type::FuncProto { .. } | Type::Array { .. } => {
                    self.declare(*to, &format!("(*{inner})"), depth)
                }
                _ => self.declare(*to, &format!("*{inner}"), depth),
            },
            Type::Const(to) => self.qualified("const", *to, inner, depth),
            Type::Volatile(to) => self.qualified("volatile", *to, inner, depth),
            Type::Restrict(to) => self.qualified("restrict", *to, inner, depth),
            Type::TypeTag { to, .. } => self.declare(*to, inner, depth),
            Type::Array { element, length } => {
                self.declare(*element, &format!("{inner}[{length}]"), depth)
            }
            Type::FuncProto { ret, params } => {
                let last = params.len().saturating_sub(1);
                let mut parameters: Vec<String> = params
                    .iter()
                    .enumerate()
                    .map(|(index, parameter)| match parameter.to {
                        0 if index == last => "...".to_owned(),
                        to => self.declare(to, parameter.name, depth),
                    })
                    .collect();
                if parameters.is_empty() {
                    parameters.push("void".to_owned());
                }
                self.declare(*ret, &format!("{inner}({})", parameters.join(", ")), depth)
            }
            named => join(named.name()),
        }
    }

    /// A qualifier stands before what it qualifies, but behind the star of a pointer.
    fn qualified(&self, word: &str, to: TypeId, inner: &str, depth: u32) -> String {
        match self.btf.get(to) {
            Type::Ptr(_) if inner.is_empty() => self.declare(to, word, depth),
            Type::Ptr(_) => self.declare(to, &format!("{word} {inner}"), depth),
            _ => format!("{word} {}", self.declare(to, inner, depth)),
        }
    }
}
