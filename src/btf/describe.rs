//! Types as C writes them.

use super::Btf;
use super::types::{Type, TypeId};

/// How deep a description follows; what is deeper reads `...`.
const MAX_DEPTH: u32 = 12;

/// How many parameters of a function pointer are spelled out.
const MAX_PARAMS: usize = 8;

pub(super) fn describe(btf: &Btf<'_>, id: TypeId) -> String {
    declare(btf, id, String::new(), MAX_DEPTH)
}

/// The declaration of `declarator` (possibly empty) with the type `id`, built inside out as C
/// wants it.
fn declare(btf: &Btf<'_>, id: TypeId, declarator: String, depth: u32) -> String {
    let Some(depth) = depth.checked_sub(1) else {
        return join("...", &declarator);
    };
    let tagged = |keyword: &str, name: &str| match name {
        "" => format!("{keyword} (anonymous)"),
        name => format!("{keyword} {name}"),
    };
    let base = match btf.get(id) {
        Type::Void => "void".to_owned(),
        Type::Int(int) => int.name.to_owned(),
        Type::Struct(composite) => tagged("struct", composite.name),
        Type::Union(composite) => tagged("union", composite.name),
        Type::Enum(an_enum) => tagged("enum", an_enum.name),
        Type::Fwd { name, union: false } => tagged("struct", name),
        Type::Fwd { name, union: true } => tagged("union", name),
        Type::Typedef { name, .. } | Type::Float { name, .. } | Type::DataSec { name, .. } => {
            (*name).to_owned()
        }
        Type::Ptr(to) => return declare(btf, *to, pointer(btf, *to, &declarator), depth),
        Type::Array { element, length } => {
            return declare(btf, *element, format!("{declarator}[{length}]"), depth);
        }
        Type::FuncProto { ret, params } => {
            let mut list: Vec<String> = params
                .iter()
                .take(MAX_PARAMS)
                .map(|param| match (param.to, param.name) {
                    (0, "") => "...".to_owned(),
                    _ => declare(btf, param.to, param.name.to_owned(), depth.min(4)),
                })
                .collect();
            if params.len() > MAX_PARAMS {
                list.push("...".to_owned());
            }
            if list.is_empty() {
                list.push("void".to_owned());
            }
            return declare(
                btf,
                *ret,
                format!("{declarator}({})", list.join(", ")),
                depth,
            );
        }
        Type::Func { name, proto, .. } => return declare(btf, *proto, (*name).to_owned(), depth),
        Type::Var { name, to, .. } => return declare(btf, *to, (*name).to_owned(), depth),
        Type::Const(to) => return qualified(btf, "const", *to, declarator, depth),
        Type::Volatile(to) => return qualified(btf, "volatile", *to, declarator, depth),
        Type::Restrict(to) => return qualified(btf, "restrict", *to, declarator, depth),
        Type::TypeTag { to, .. } => return declare(btf, *to, declarator, depth),
        Type::DeclTag { name, .. } => format!("tag {name}"),
    };
    join(&base, &declarator)
}

/// `*declarator`, in parentheses where it points to an array or a function.
fn pointer(btf: &Btf<'_>, to: TypeId, declarator: &str) -> String {
    match btf.get(to) {
        Type::Array { .. } | Type::FuncProto { .. } => format!("(*{declarator})"),
        _ => format!("*{declarator}"),
    }
}

/// A qualifier stands before the base type, but after the `*` of a pointer.
fn qualified(btf: &Btf<'_>, word: &str, to: TypeId, declarator: String, depth: u32) -> String {
    match btf.get(to) {
        Type::Ptr(_) => declare(btf, to, join(word, &declarator), depth),
        _ => format!("{word} {}", declare(btf, to, declarator, depth)),
    }
}

fn join(base: &str, declarator: &str) -> String {
    match declarator {
        "" => base.to_owned(),
        _ if declarator.starts_with('[') => format!("{base}{declarator}"),
        _ => format!("{base} {declarator}"),
    }
}
