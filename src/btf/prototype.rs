//! The shape of a function as libbpf compares it: kinds and arity, neither names nor integer
//! widths. Built from C text (the tables) or from a FUNC_PROTO (an object or a kernel).

use super::Btf;
use super::types::{Type, TypeId};

/// How deep libbpf follows a chain of pointers or arrays before it gives up.
const MAX_DEPTH: u32 = 32;

/// How many nodes one prototype may have. Real ones have fewer than thirty; a hostile one can
/// nest function pointers so that its tree is exponential in the size of the file.
const MAX_NODES: u32 = 512;

/// The shape of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    /// Return value.
    pub ret: Shape,
    /// Parameters in order; `...` is a last [`Shape::Void`].
    pub params: Vec<Shape>,
}

/// What libbpf sees of a type when it compares prototypes: the kind under all modifiers and
/// typedefs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// `void`.
    Void,
    /// Any integer, `bool` and `char` included.
    Int,
    /// A floating-point number: compatible with nothing.
    Float,
    /// Any struct.
    Struct,
    /// Any union.
    Union,
    /// Any enum.
    Enum,
    /// A forward declaration. libbpf holds it for a kind of its own: a prototype that only
    /// forward-declares a struct does not fit a kernel that defines it.
    Fwd,
    /// A pointer.
    Ptr(Box<Shape>),
    /// An array.
    Array(Box<Shape>),
    /// A function.
    Function(Box<Prototype>),
    /// Nested too deeply, or no type at all: compatible with nothing.
    Unsupported,
}

/// Why C text is no prototype.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at column {column} of prototype `{text}`")]
pub struct PrototypeError {
    /// What is wrong.
    pub message: String,
    /// 1-based column in `text`.
    pub column: usize,
    /// The text.
    pub text: String,
}

/// Whether libbpf lets an extern of shape `local` bind to the kernel's function of shape
/// `kernel`: kinds must agree at every level, the number of parameters must be equal, and all
/// integers fit each other.
pub fn compatible(local: &Prototype, kernel: &Prototype) -> bool {
    local.params.len() == kernel.params.len()
        && local
            .params
            .iter()
            .zip(&kernel.params)
            .all(|(local, kernel)| shapes_compatible(local, kernel))
        && shapes_compatible(&local.ret, &kernel.ret)
}

/// [`compatible`] for one type.
pub fn shapes_compatible(local: &Shape, kernel: &Shape) -> bool {
    match (local, kernel) {
        (Shape::Void, Shape::Void)
        | (Shape::Int, Shape::Int)
        | (Shape::Struct, Shape::Struct)
        | (Shape::Union, Shape::Union)
        | (Shape::Enum, Shape::Enum)
        | (Shape::Fwd, Shape::Fwd) => true,
        (Shape::Ptr(local), Shape::Ptr(kernel)) | (Shape::Array(local), Shape::Array(kernel)) => {
            shapes_compatible(local, kernel)
        }
        (Shape::Function(local), Shape::Function(kernel)) => compatible(local, kernel),
        _ => false,
    }
}

impl Prototype {
    /// The shape of a FUNC, of a FUNC_PROTO, or of whatever modifiers and typedefs of one lead
    /// to; `None` when `id` is something else.
    pub fn from_btf(btf: &Btf, id: TypeId) -> Option<Prototype> {
        let id = match btf.get(id) {
            Type::Func { proto, .. } => *proto,
            _ => id,
        };
        match (Builder { btf, nodes: 0 }).shape(id, MAX_DEPTH) {
            Shape::Function(prototype) => Some(*prototype),
            _ => None,
        }
    }

    /// The shape of a C declaration such as `void scx_bpf_kick_cpu(s32 cpu, u64 flags)`. The
    /// function's name is not part of the shape; parameter names may be missing.
    pub fn parse(text: &str) -> Result<Prototype, PrototypeError> {
        super::declaration::parse(text)
    }
}

impl Shape {
    /// The shape of any type.
    pub fn from_btf(btf: &Btf, id: TypeId) -> Shape {
        Builder { btf, nodes: 0 }.shape(id, MAX_DEPTH)
    }
}

struct Builder<'a, 'd> {
    btf: &'a Btf<'d>,
    nodes: u32,
}

impl Builder<'_, '_> {
    fn shape(&mut self, id: TypeId, depth: u32) -> Shape {
        self.nodes = self.nodes.saturating_add(1);
        let Some(depth) = depth.checked_sub(1) else {
            return Shape::Unsupported;
        };
        if self.nodes > MAX_NODES {
            return Shape::Unsupported;
        }
        let btf = self.btf;
        match btf.get(btf.skip_modifiers(id)) {
            Type::Void => Shape::Void,
            // The deprecated bitfield-like integers fit nothing.
            Type::Int(int) if int.bit_offset == 0 => Shape::Int,
            Type::Float { .. } => Shape::Float,
            Type::Struct(_) => Shape::Struct,
            Type::Union(_) => Shape::Union,
            Type::Enum(_) => Shape::Enum,
            Type::Fwd { .. } => Shape::Fwd,
            Type::Ptr(to) => Shape::Ptr(Box::new(self.shape(*to, depth))),
            Type::Array { element, .. } => Shape::Array(Box::new(self.shape(*element, depth))),
            Type::FuncProto { ret, params } => Shape::Function(Box::new(Prototype {
                ret: self.shape(*ret, depth),
                params: params.iter().map(|p| self.shape(p.to, depth)).collect(),
            })),
            _ => Shape::Unsupported,
        }
    }
}
