//! C function declarations as the tables write them, read into a [`Prototype`].
//!
//! Only what decides the shape is understood: tags (`struct`, `union`, `enum`), pointers, arrays,
//! function pointers, and the integer names kernel prototypes use. Modifiers are skipped.

use super::prototype::{Prototype, PrototypeError, Shape};

/// How deep declarators may nest; the recursion below is bounded by it.
const MAX_NESTING: u32 = 8;

/// Words that never change the shape.
const MODIFIERS: &[&str] = &[
    "const", "volatile", "restrict", "extern", "static", "inline", "register", "noinline",
];

/// Words that make an integer together (`unsigned long long`).
const INTEGER_WORDS: &[&str] = &[
    "char", "short", "int", "long", "signed", "unsigned", "_Bool", "__int128",
];

/// Typedefs of integers that appear in kernel prototypes.
const INTEGER_TYPEDEFS: &[&str] = &[
    "bool",
    "u8",
    "u16",
    "u32",
    "u64",
    "s8",
    "s16",
    "s32",
    "s64",
    "__u8",
    "__u16",
    "__u32",
    "__u64",
    "__s8",
    "__s16",
    "__s32",
    "__s64",
    "__be16",
    "__be32",
    "__be64",
    "__le16",
    "__le32",
    "__le64",
    "uint8_t",
    "uint16_t",
    "uint32_t",
    "uint64_t",
    "int8_t",
    "int16_t",
    "int32_t",
    "int64_t",
    "size_t",
    "ssize_t",
    "uintptr_t",
    "intptr_t",
    "ptrdiff_t",
    "gfp_t",
    "pid_t",
    "uid_t",
    "gid_t",
    "dev_t",
    "loff_t",
    "off_t",
    "umode_t",
    "fmode_t",
    "blk_opf_t",
    "sector_t",
];

/// Typedefs of structs that appear in kernel prototypes.
const STRUCT_TYPEDEFS: &[&str] = &[
    "cpumask_t",
    "nodemask_t",
    "spinlock_t",
    "raw_spinlock_t",
    "atomic_t",
    "atomic64_t",
    "kuid_t",
    "kgid_t",
    "bpf_sockptr_t",
];

pub(super) fn parse(text: &str) -> Result<Prototype, PrototypeError> {
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
    };
    let base = parser.base_type()?;
    let declared = parser.declarator(base, MAX_NESTING)?;
    parser.eat(";");
    if parser.peek().is_some() {
        return Err(parser.error("unexpected text after the declaration"));
    }
    match declared {
        Shape::Function(prototype) => Ok(*prototype),
        _ => Err(parser.error("no parameter list")),
    }
}

#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    text: &'t str,
    at: usize,
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, PrototypeError> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c.is_whitespace() {
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut end = at.saturating_add(c.len_utf8());
        if is_word(c) {
            while let Some((at, c)) = rest.next_if(|(_, c)| is_word(*c)) {
                end = at.saturating_add(c.len_utf8());
            }
        } else if c == '.' {
            while let Some((at, c)) = rest.next_if(|(_, c)| *c == '.') {
                end = at.saturating_add(c.len_utf8());
            }
        } else if !"()[]*,;".contains(c) {
            return Err(PrototypeError {
                message: format!("unexpected `{c}`"),
                column: text
                    .get(..at)
                    .map_or(0, |s| s.chars().count())
                    .saturating_add(1),
                text: text.to_owned(),
            });
        }
        tokens.push(Token {
            text: text.get(at..end).unwrap_or_default(),
            at,
        });
    }
    Ok(tokens)
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    next: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.tokens.get(self.next).map(|token| token.text)
    }

    fn peek_word(&self) -> Option<&'t str> {
        self.peek()
            .filter(|t| t.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
    }

    fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, expected: &str) -> Result<(), PrototypeError> {
        if self.eat(expected) {
            Ok(())
        } else {
            Err(self.error(&format!("`{expected}` expected")))
        }
    }

    fn error(&self, message: &str) -> PrototypeError {
        let at = self.tokens.get(self.next).map_or(self.text.len(), |t| t.at);
        PrototypeError {
            message: message.to_owned(),
            column: self
                .text
                .get(..at)
                .map_or(0, |s| s.chars().count())
                .saturating_add(1),
            text: self.text.to_owned(),
        }
    }

    /// Whether a word is an annotation (`__rcu`, `__weak`, `__bpf_kfunc`) rather than a type.
    fn is_annotation(word: &str) -> bool {
        word.starts_with("__")
            && !INTEGER_TYPEDEFS.contains(&word)
            && !INTEGER_WORDS.contains(&word)
    }

    fn skip_modifiers(&mut self) {
        while let Some(word) = self.peek_word() {
            if !MODIFIERS.contains(&word) && !Self::is_annotation(word) {
                break;
            }
            self.advance();
        }
    }

    fn base_type(&mut self) -> Result<Shape, PrototypeError> {
        self.skip_modifiers();
        let Some(word) = self.peek_word() else {
            return Err(self.error("a type expected"));
        };
        let tag = match word {
            "struct" => Some(Shape::Struct),
            "union" => Some(Shape::Union),
            "enum" => Some(Shape::Enum),
            _ => None,
        };
        let shape = if let Some(shape) = tag {
            self.advance();
            if self.peek_word().is_none() {
                return Err(self.error("a tag expected"));
            }
            self.advance();
            shape
        } else if INTEGER_WORDS.contains(&word) {
            while self
                .peek_word()
                .is_some_and(|w| INTEGER_WORDS.contains(&w) || MODIFIERS.contains(&w))
            {
                self.advance();
            }
            Shape::Int
        } else {
            let shape = match word {
                "void" => Shape::Void,
                "float" | "double" => Shape::Float,
                // A pointer to va_list's struct on some machines, an array of one on others;
                // no kfunc takes it, and it fits nothing.
                "va_list" => Shape::Unsupported,
                _ if INTEGER_TYPEDEFS.contains(&word) => Shape::Int,
                _ if STRUCT_TYPEDEFS.contains(&word) => Shape::Struct,
                _ => return Err(self.error(&format!("unknown type `{word}`"))),
            };
            self.advance();
            shape
        };
        self.skip_modifiers();
        Ok(shape)
    }

    /// The part of a declaration after its base type: pointers, an optional name, and what
    /// follows the name.
    fn declarator(&mut self, base: Shape, nesting: u32) -> Result<Shape, PrototypeError> {
        let Some(nesting) = nesting.checked_sub(1) else {
            return Err(self.error("a declaration nested too deeply"));
        };
        let mut base = base;
        while self.eat("*") {
            base = Shape::Ptr(Box::new(base));
            self.skip_modifiers();
        }
        // `(*name)(...)`: the suffix applies first, the inner declarator to its result.
        let inner = if self.peek() == Some("(") && self.is_inner_declarator() {
            let start = self.next;
            self.skip_parentheses()?;
            Some(start)
        } else {
            if self.peek_word().is_some() {
                self.advance();
            }
            None
        };
        let shape = self.suffix(base, nesting)?;
        let Some(start) = inner else {
            return Ok(shape);
        };
        let after = std::mem::replace(&mut self.next, start);
        self.expect("(")?;
        let shape = self.declarator(shape, nesting)?;
        self.expect(")")?;
        self.next = after;
        Ok(shape)
    }

    /// Whether the parenthesis here groups a declarator, as in `(*name)(...)` and `(name)(...)`,
    /// rather than opening a parameter list.
    fn is_inner_declarator(&self) -> bool {
        let ahead = |n: usize| {
            self.tokens
                .get(self.next.saturating_add(n))
                .map_or("", |token| token.text)
        };
        ahead(1) == "*" || (ahead(2) == ")" && ahead(3) == "(")
    }

    fn skip_parentheses(&mut self) -> Result<(), PrototypeError> {
        let mut open = 0_u32;
        loop {
            match self.peek() {
                Some("(") => open = open.saturating_add(1),
                Some(")") => open = open.saturating_sub(1),
                None => return Err(self.error("`)` expected")),
                _ => {}
            }
            self.advance();
            if open == 0 {
                return Ok(());
            }
        }
    }

    fn suffix(&mut self, base: Shape, nesting: u32) -> Result<Shape, PrototypeError> {
        self.skip_modifiers();
        if self.eat("(") {
            let params = self.parameters(nesting)?;
            self.skip_modifiers();
            return Ok(Shape::Function(Box::new(Prototype { ret: base, params })));
        }
        let mut dimensions = 0_u32;
        while self.eat("[") {
            while self.peek().is_some_and(|token| token != "]") {
                self.advance();
            }
            self.expect("]")?;
            dimensions = dimensions.saturating_add(1);
            if dimensions > MAX_NESTING {
                return Err(self.error("too many dimensions"));
            }
        }
        let array = (0..dimensions).fold(base, |element, _| Shape::Array(Box::new(element)));
        Ok(array)
    }

    fn parameters(&mut self, nesting: u32) -> Result<Vec<Shape>, PrototypeError> {
        let mut params = Vec::new();
        if self.eat(")") {
            return Ok(params);
        }
        loop {
            if self.eat("...") {
                params.push(Shape::Void);
            } else {
                let base = self.base_type()?;
                let shape = self.declarator(base, nesting)?;
                params.push(decayed(shape));
            }
            if self.eat(")") {
                break;
            }
            self.expect(",")?;
        }
        // `(void)` is no parameter.
        if params.len() == 1 && params.first() == Some(&Shape::Void) && !self.text.contains("...") {
            params.clear();
        }
        Ok(params)
    }
}

/// Arrays and functions become pointers when they are parameters.
fn decayed(shape: Shape) -> Shape {
    match shape {
        Shape::Array(element) => Shape::Ptr(element),
        Shape::Function(_) => Shape::Ptr(Box::new(shape)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::btf::prototype::compatible;

    fn shape(text: &str) -> Prototype {
        parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn names_widths_and_modifiers_do_not_matter() {
        let table = shape(
            "bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p, u64 dsq_id, u64 enq_flags)",
        );
        let local = shape(
            "extern _Bool x(struct a *, const struct b *, unsigned long long, int) __ksym __weak;",
        );
        assert!(compatible(&local, &table));
        assert_eq!(table.params.len(), 4);
    }

    #[test]
    fn arity_kind_and_pointer_depth_matter() {
        let table = shape("void f(struct task_struct *p, u64 flags)");
        for other in [
            "void f(struct task_struct *p)",
            "int f(struct task_struct *p, u64 flags)",
            "void f(struct task_struct p, u64 flags)",
            "void f(struct task_struct **p, u64 flags)",
            "void f(union task_struct *p, u64 flags)",
            "void f(void *p, u64 flags)",
            "void f(struct task_struct *p, enum e flags)",
        ] {
            assert!(!compatible(&shape(other), &table), "{other}");
        }
    }

    #[test]
    fn void_list_varargs_arrays_and_function_pointers() {
        assert!(shape("u32 f(void)").params.is_empty());
        assert_eq!(shape("void f(char *fmt, ...)").params.len(), 2);
        assert_eq!(
            shape("void f(unsigned long long data[])").params,
            shape("void f(u64 *data)").params
        );
        let callback = shape("int f(int (*cb)(void *map, int *key), bool (less)(int))");
        let Some(Shape::Ptr(function)) = callback.params.first() else {
            panic!("{callback:?}");
        };
        assert!(matches!(**function, Shape::Function(_)));
        assert_eq!(
            shape("const struct cpumask *f(s32 node)").ret,
            Shape::Ptr(Box::new(Shape::Struct))
        );
    }

    #[test]
    fn what_is_no_prototype_is_named_with_its_column() {
        for (text, column) in [
            ("", 1),
            ("void", 5),
            ("void f", 7),
            ("void f(", 8),
            ("void f(frob_t x)", 8),
            ("void f(int) x", 13),
            ("void f(struct *p)", 15),
            ("void f(int @)", 12),
            ("void (*(*(*(*(*(*(*(*(*(*f)", 1),
        ] {
            let error = parse(text).unwrap_err();
            if column != 1 {
                assert_eq!(error.column, column, "{text}: {error}");
            }
        }
    }
}
