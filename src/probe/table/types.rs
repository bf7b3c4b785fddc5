//! Enums, structs, other kfuncs and variables, in the line formats.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Writer, text};
use crate::btf::{Btf, Member, Type, TypeKind};
use crate::kernel::Presence;
use crate::kernel::format::{EnumEntry, File, OtherEntry, StructEntry};
use crate::probe::KFUNC_PREFIXES;
use crate::probe::types::{KernelTypes, STRUCT_OPS_PREFIX};

/// How deep anonymous structs may nest; C code has a handful.
const DEPTH: u32 = 16;

impl Writer<'_> {
    /// Enums with sched_ext's values, and those of the tables that the kernel lacks.
    pub(super) fn enums(&self, file: &mut File) {
        let mut found: BTreeMap<&str, BTreeMap<&str, i128>> = BTreeMap::new();
        for an_enum in &self.answers.enums {
            let values = found.entry(&an_enum.name).or_default();
            values.extend(
                an_enum
                    .values
                    .iter()
                    .map(|(name, value)| (name.as_str(), *value)),
            );
        }
        let known = self.base.type_data().map(|types| &types.enums);
        let before = self.before();
        // What other releases have is listed as gone, so that asking for it by name finds that.
        let gone = |name: &str, lines: &mut String| {
            let known = known.and_then(|known| known.get(name));
            for value in known.into_iter().flat_map(|known| known.values.keys()) {
                if found
                    .get(name)
                    .is_none_or(|found| !found.contains_key(value.as_str()))
                {
                    let _ = writeln!(lines, "{value} ? {before}");
                }
            }
        };
        for (name, values) in &found {
            let mut lines = String::new();
            for (value, number) in values {
                let _ = writeln!(lines, "{value} {number}");
            }
            gone(name, &mut lines);
            file.enums.push(EnumEntry {
                name: text(name),
                range: None,
                complete: !name.is_empty(),
                values: text(&lines),
            });
        }
        let missing = known.into_iter().flat_map(|known| known.keys());
        for name in missing.filter(|name| !found.contains_key(name.as_str())) {
            if self.base.enum_exists(name) != Presence::Absent {
                let mut lines = String::new();
                gone(name, &mut lines);
                file.enums.push(EnumEntry {
                    name: text(name),
                    range: Some(text(&before)),
                    complete: true,
                    values: text(&lines),
                });
            }
        }
    }

    /// The structs and unions that the tables describe, and all of sched_ext.
    pub(super) fn structs(&self, types: &KernelTypes, file: &mut File) {
        let btf = types.btf();
        let Some(known) = self.base.type_data() else {
            return;
        };
        let prefixes = &self.tables.data.complete_type_prefixes;
        let described = |name: &str| self.tables.data.struct_ops.contains_key(name);
        let mut names: BTreeSet<(bool, &str)> = BTreeSet::new();
        names.extend(known.structs.keys().map(|name| (false, name.as_str())));
        names.extend(known.unions.keys().map(|name| (true, name.as_str())));
        for (_, found) in btf.iter() {
            let union = matches!(found, Type::Union(_));
            let (Type::Struct(composite) | Type::Union(composite)) = found else {
                continue;
            };
            let ours = prefixes
                .iter()
                .any(|prefix| composite.name.starts_with(prefix.as_str()));
            if ours && !described(composite.name) && !composite.name.starts_with(STRUCT_OPS_PREFIX)
            {
                names.insert((union, composite.name));
            }
        }
        for (union, name) in names {
            let kind = if union {
                TypeKind::Union
            } else {
                TypeKind::Struct
            };
            match btf.find(kind, name).and_then(|id| btf.get(id).members()) {
                Some(members) => {
                    let mut lines = BTreeMap::new();
                    flatten(btf, members, DEPTH, &mut lines);
                    let lines: Vec<String> = lines
                        .into_iter()
                        .map(|(name, of)| format!("{name}{of}\n"))
                        .collect();
                    file.structs.push(StructEntry {
                        name: text(name),
                        union,
                        range: None,
                        complete: true,
                        members: text(&lines.concat()),
                    });
                }
                None => file.structs.push(StructEntry {
                    name: text(name),
                    union,
                    range: Some(text(&self.before())),
                    complete: true,
                    members: text(""),
                }),
            }
        }
    }

    /// Kfuncs of other subsystems and variables.
    pub(super) fn others(&self, types: &KernelTypes, file: &mut File) {
        let btf = types.btf();
        let Some(known) = self.base.type_data() else {
            return;
        };
        let ours = |name: &&str| KFUNC_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let mut names: BTreeSet<&str> = types
            .tagged_functions()
            .filter(|name| !ours(name))
            .collect();
        names.extend(
            known
                .other_kfuncs
                .keys()
                .map(String::as_str)
                .filter(|name| types.function(name).is_some()),
        );
        // What a configuration may leave out may also be in a module, which was not looked at.
        let missing = |name: &&String| {
            !names.contains(name.as_str()) && self.base.kfunc_exists(name) == Presence::Present
        };
        let before = self.before();
        let gone = known
            .other_kfuncs
            .keys()
            .filter(missing)
            .map(|name| format!("{name} {before}\n"));
        let lines: Vec<String> = names
            .iter()
            .map(|name| format!("{name}\n"))
            .chain(gone)
            .collect();
        file.other_kfuncs.push(OtherEntry {
            config: false,
            names: text(&lines.concat()),
        });

        let mut variables: BTreeMap<&str, bool> = BTreeMap::new();
        variables.extend(known.variables.keys().map(|name| (name.as_str(), false)));
        variables.extend(btf.iter().filter_map(|(_, found)| match found {
            Type::Var { name, .. } => Some((*name, true)),
            _ => None,
        }));
        let line = |(name, there): (&&str, &bool)| match there {
            true => format!("{name}\n"),
            false => format!("{name} {before}\n"),
        };
        let lines: Vec<String> = variables.iter().map(line).collect();
        file.variables.push(OtherEntry {
            config: false,
            names: text(&lines.concat()),
        });
    }
}

/// The members of a struct, those of anonymous ones inside it as its own.
fn flatten<'b>(
    btf: &'b Btf<'_>,
    members: &'b [Member<'_>],
    depth: u32,
    lines: &mut BTreeMap<&'b str, String>,
) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    for member in members {
        let mut inside = btf.skip_modifiers(member.to);
        if member.name.is_empty() {
            flatten(
                btf,
                btf.get(inside).members().unwrap_or_default(),
                depth,
                lines,
            );
            continue;
        }
        for _ in 0..DEPTH {
            let Type::Array { element, .. } = btf.get(inside) else {
                break;
            };
            inside = btf.skip_modifiers(*element);
        }
        let of = match btf.get(inside) {
            Type::Struct(composite) if !composite.name.is_empty() => {
                format!(" struct {}", composite.name)
            }
            Type::Union(composite) if !composite.name.is_empty() => {
                format!(" union {}", composite.name)
            }
            _ => String::new(),
        };
        lines.insert(member.name, of);
    }
}
