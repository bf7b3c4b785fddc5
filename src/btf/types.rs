//! Our view of a BTF type: names borrowed from the file, references by id.

/// Index of a type in its BTF; 0 is `void`.
pub type TypeId = u32;

/// One BTF type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type<'d> {
    /// Type 0, and whatever is not described.
    Void,
    /// An integer, `bool` and `char` included.
    Int(Int<'d>),
    /// A pointer to a type.
    Ptr(TypeId),
    /// An array.
    Array {
        /// Type of one element.
        element: TypeId,
        /// Number of elements; 0 for a flexible array.
        length: u32,
    },
    /// A struct with its members.
    Struct(Composite<'d>),
    /// A union with its members.
    Union(Composite<'d>),
    /// An enum of either width.
    Enum(Enum<'d>),
    /// A forward declaration of a struct or union.
    Fwd {
        /// Tag.
        name: &'d str,
        /// Whether it declares a union.
        union: bool,
    },
    /// A typedef.
    Typedef {
        /// Name.
        name: &'d str,
        /// What it names.
        to: TypeId,
    },
    /// `const`.
    Const(TypeId),
    /// `volatile`.
    Volatile(TypeId),
    /// `restrict`.
    Restrict(TypeId),
    /// `__attribute__((btf_type_tag(name)))`.
    TypeTag {
        /// The tag.
        name: &'d str,
        /// The tagged type.
        to: TypeId,
    },
    /// A function.
    Func {
        /// Name.
        name: &'d str,
        /// Its FUNC_PROTO.
        proto: TypeId,
        /// Linkage.
        linkage: FuncLinkage,
    },
    /// A function prototype.
    FuncProto {
        /// Return type.
        ret: TypeId,
        /// Parameters in order; a last one of type 0 means `...`.
        params: Box<[Param<'d>]>,
    },
    /// A variable.
    Var {
        /// Name.
        name: &'d str,
        /// Its type.
        to: TypeId,
        /// Linkage.
        linkage: VarLinkage,
    },
    /// A section of variables.
    DataSec {
        /// Section name.
        name: &'d str,
        /// Size, 0 as clang emits it.
        size: u32,
        /// Its variables, in file order.
        variables: Box<[SectionVariable]>,
    },
    /// A floating-point number.
    Float {
        /// Name.
        name: &'d str,
        /// Size in bytes.
        size: u32,
    },
    /// `__attribute__((btf_decl_tag(name)))`.
    DeclTag {
        /// The tag.
        name: &'d str,
        /// The tagged declaration.
        target: TypeId,
        /// Member or parameter index; none for the declaration itself.
        component: Option<u32>,
    },
}

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int<'d> {
    /// Name.
    pub name: &'d str,
    /// Storage size in bytes.
    pub size: u32,
    /// Width in bits, below `size * 8` only for the deprecated bitfield form.
    pub bits: u8,
    /// Bit offset, not 0 only for the deprecated bitfield form.
    pub bit_offset: u8,
    /// Signed.
    pub signed: bool,
    /// `bool`.
    pub boolean: bool,
}

/// A struct or union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite<'d> {
    /// Tag; empty when anonymous.
    pub name: &'d str,
    /// Size in bytes.
    pub size: u32,
    /// Members in order.
    pub members: Box<[Member<'d>]>,
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'d> {
    /// Name; empty for an anonymous struct or union.
    pub name: &'d str,
    /// Its type.
    pub to: TypeId,
    /// Offset from the start of the composite, in bits.
    pub bit_offset: u32,
    /// Width of a bitfield; 0 when it is none.
    pub bitfield_bits: u8,
}

/// An enum of 32 or 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enum<'d> {
    /// Tag; empty when anonymous.
    pub name: &'d str,
    /// Size in bytes.
    pub size: u32,
    /// Whether values are signed.
    pub signed: bool,
    /// Whether it is an ENUM64 record.
    pub wide: bool,
    /// Enumerators in order.
    pub values: Box<[EnumValue<'d>]>,
}

/// An enumerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumValue<'d> {
    /// Name.
    pub name: &'d str,
    /// Value, sign-extended when the enum is signed and zero-extended when not.
    pub value: u64,
}

/// A function parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'d> {
    /// Name; may be empty.
    pub name: &'d str,
    /// Its type.
    pub to: TypeId,
}

/// A variable's place in a DATASEC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionVariable {
    /// The VAR (or, in `.ksyms`, FUNC).
    pub to: TypeId,
    /// Byte offset in the section; 0 as clang emits it for variables with a symbol.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
}

/// Linkage of a FUNC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuncLinkage {
    /// `static`.
    Static,
    /// Defined here.
    Global,
    /// Declared here, defined elsewhere.
    Extern,
}

/// Linkage of a VAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarLinkage {
    /// `static`.
    Static,
    /// Defined here.
    Global,
    /// Declared here, defined elsewhere.
    Extern,
}

/// The kinds that carry a name to look up. CO-RE holds both widths of enum for one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TypeKind {
    /// Integer.
    Int,
    /// Struct.
    Struct,
    /// Union.
    Union,
    /// Enum or enum64.
    Enum,
    /// Forward declaration.
    Fwd,
    /// Typedef.
    Typedef,
    /// Floating-point number.
    Float,
    /// Function.
    Func,
    /// Variable.
    Var,
    /// Section.
    DataSec,
}

impl<'d> Type<'d> {
    /// The name it carries; empty for kinds without one and for anonymous types.
    pub fn name(&self) -> &'d str {
        match self {
            Type::Int(int) => int.name,
            Type::Struct(composite) | Type::Union(composite) => composite.name,
            Type::Enum(an_enum) => an_enum.name,
            Type::Fwd { name, .. }
            | Type::Typedef { name, .. }
            | Type::TypeTag { name, .. }
            | Type::Func { name, .. }
            | Type::Var { name, .. }
            | Type::DataSec { name, .. }
            | Type::Float { name, .. }
            | Type::DeclTag { name, .. } => name,
            _ => "",
        }
    }

    /// Its kind, if it is one that is looked up by name.
    pub fn kind(&self) -> Option<TypeKind> {
        Some(match self {
            Type::Int(_) => TypeKind::Int,
            Type::Struct(_) => TypeKind::Struct,
            Type::Union(_) => TypeKind::Union,
            Type::Enum(_) => TypeKind::Enum,
            Type::Fwd { .. } => TypeKind::Fwd,
            Type::Typedef { .. } => TypeKind::Typedef,
            Type::Float { .. } => TypeKind::Float,
            Type::Func { .. } => TypeKind::Func,
            Type::Var { .. } => TypeKind::Var,
            Type::DataSec { .. } => TypeKind::DataSec,
            _ => return None,
        })
    }

    /// The members of a struct or union.
    pub fn members(&self) -> Option<&[Member<'d>]> {
        match self {
            Type::Struct(composite) | Type::Union(composite) => Some(&composite.members),
            _ => None,
        }
    }

    /// What a modifier or typedef stands for.
    pub fn aliased(&self) -> Option<TypeId> {
        match self {
            Type::Typedef { to, .. } | Type::TypeTag { to, .. } => Some(*to),
            Type::Const(to) | Type::Volatile(to) | Type::Restrict(to) => Some(*to),
            _ => None,
        }
    }
}

/// The part of a name that libbpf looks up: without the flavour suffix, which starts at the last
/// `___` that has something other than an underscore on both sides.
///
/// ```
/// use scx_lint::btf::essential_name;
/// assert_eq!(essential_name("scx_bpf_dsq_insert___v2___compat"), "scx_bpf_dsq_insert___v2");
/// assert_eq!(essential_name("___x"), "___x");
/// ```
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    let cut = bytes
        .windows(5)
        .rposition(|window| matches!(window, [x, b'_', b'_', b'_', y] if *x != b'_' && *y != b'_'))
        .map(|at| at.saturating_add(1));
    cut.and_then(|end| name.get(..end)).unwrap_or(name)
}
