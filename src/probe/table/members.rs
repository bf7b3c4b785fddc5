//! The struct_ops types: callbacks and data members.

use std::collections::{BTreeMap, BTreeSet};

use super::{Writer, spanned, text, texts};
use crate::kernel::format::{CallbackEntry, FieldEntry, File, Form, RemovedEntry, StructOpsEntry};
use crate::kernel::{Callback, CidOnly, StructOpsType};
use crate::probe::types::{CallbackType, StructOps};

/// A member that is a program, by the name it has in the type the others are derived from.
struct Role<'a> {
    found: Vec<(&'a StructOps, &'a CallbackType)>,
    /// Whether the tables have it for this very kernel.
    here: bool,
    /// What the tables know of it, for this kernel or the nearest other.
    known: Option<Callback>,
}

impl Writer<'_> {
    /// The type that others are derived from: the first.
    fn root(&self) -> Option<&StructOps> {
        self.answers.struct_ops.first()
    }

    /// What a member of a type is called in the root type.
    pub(super) fn role(&self, struct_ops: &str, member: &str) -> String {
        self.known(struct_ops, member).map_or_else(
            || member.to_owned(),
            |(callback, _)| callback.role.to_string(),
        )
    }

    /// What the tables know of a member, and whether for this very kernel.
    fn known(&self, struct_ops: &str, member: &str) -> Option<(&Callback, bool)> {
        if let Some(callback) = self
            .base
            .struct_ops(struct_ops)
            .and_then(|t| t.callback(member))
        {
            return Some((callback, !self.moved));
        }
        let elsewhere = |kernel: &'_ &crate::kernel::Kernel| {
            kernel
                .struct_ops(struct_ops)?
                .callback(member)
                .is_some()
                .then_some(())
        };
        let kernel = self
            .others
            .iter()
            .find(|kernel| elsewhere(kernel).is_some())?;
        Some((kernel.struct_ops(struct_ops)?.callback(member)?, false))
    }

    /// What a callback runs as by the tables, by name.
    pub(super) fn role_contexts(&self, struct_ops: &str, member: &str) -> Vec<String> {
        let Some((callback, _)) = self.known(struct_ops, member) else {
            return Vec::new();
        };
        // Names, not bits: the callback may be another release's.
        let kernels = std::iter::once(&self.base).chain(&self.others);
        let owner = kernels.into_iter().find(|kernel| {
            kernel
                .struct_ops(struct_ops)
                .is_some_and(|t| t.callback(member).is_some())
        });
        let names = owner
            .map(|owner| owner.context_names(callback.contexts))
            .unwrap_or_default();
        let names = names
            .into_iter()
            .filter(|name| self.base.context(name).is_some());
        names.map(str::to_owned).collect()
    }

    fn roles(&self) -> BTreeMap<String, Role<'_>> {
        let mut roles: BTreeMap<String, Role<'_>> = BTreeMap::new();
        for struct_ops in &self.answers.struct_ops {
            for callback in &struct_ops.callbacks {
                let known = self.known(&struct_ops.name, &callback.name);
                let role = roles
                    .entry(self.role(&struct_ops.name, &callback.name))
                    .or_insert_with(|| Role {
                        found: Vec::new(),
                        here: false,
                        known: None,
                    });
                role.found.push((struct_ops, callback));
                if let Some((known, here)) = known {
                    role.here |= here;
                    role.known.get_or_insert_with(|| known.clone());
                }
            }
        }
        roles
    }

    /// Every callback of the kernel, and those of the tables that it lacks.
    pub(super) fn callbacks(&mut self, file: &mut File) {
        self.make_up_contexts();
        let roles = self.roles();
        let mut notes = Vec::new();
        for (name, role) in &roles {
            file.callback.push(self.callback(name, role, &mut notes));
        }
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        for known in self.base.struct_ops_types() {
            let roles_here = known.callbacks.iter().map(|callback| &*callback.role);
            gone.extend(roles_here.filter(|role| !roles.contains_key(*role)));
        }
        if !self.moved {
            file.removed
                .extend(gone.into_iter().map(|name| RemovedEntry {
                    kfunc: None,
                    callback: Some(text(name)),
                    field: None,
                    since: spanned(self.exact),
                }));
        }
        self.fields(file);
        self.derived(&roles, file);
        drop(roles);
        self.unexpressed.extend(notes);
    }

    fn callback(&self, name: &str, role: &Role<'_>, notes: &mut Vec<String>) -> CallbackEntry {
        let root = self.root().map(|root| root.name.as_str());
        let in_root = role
            .found
            .iter()
            .find(|(found, _)| Some(found.name.as_str()) == root);
        let first = in_root.or(role.found.first());
        let sleepable: BTreeSet<bool> = role
            .found
            .iter()
            .filter_map(|(found, callback)| self.answers.may_sleep(&found.name, &callback.name))
            .collect();
        if sleepable.len() > 1 {
            notes.push(format!(
                "`{name}` may sleep in one of the struct_ops types only"
            ));
        }
        let known = role.known.as_ref();
        let mut contexts = first
            .map(|(found, callback)| self.role_contexts(&found.name, &callback.name))
            .unwrap_or_default();
        let made_up = self
            .made_up
            .iter()
            .filter(|made| made.callers.contains(name));
        contexts.extend(made_up.map(|made| made.name.clone()));
        let unless_here = !role.here;
        CallbackEntry {
            name: Some(text(name)),
            types: match in_root {
                Some(_) => None,
                None => Some(texts(
                    role.found.iter().map(|(found, _)| found.name.as_str()),
                )),
            },
            since: self.since(),
            contexts: Some(contexts.iter().map(|name| text(name)).collect()),
            sleepable: Some(match sleepable.last() {
                Some(measured) => *measured,
                None => known.is_some_and(|known| known.sleepable),
            }),
            prototype: first.map(|(_, callback)| text(&anonymous(callback))),
            // The rest cannot be seen: what the tables have here stays, what they have elsewhere
            // is taken over.
            records_task: known
                .filter(|_| unless_here)
                .map(|known| known.records_task),
            ends_anyway: known.filter(|_| unless_here).map(|known| known.ends_anyway),
            locked_rq: known.filter(|_| unless_here).map(|known| known.locked_rq),
            cid_only: known.filter(|_| unless_here).and_then(cid_only),
            ..CallbackEntry::default()
        }
    }

    fn fields(&self, file: &mut File) {
        let mut types: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for found in &self.answers.struct_ops {
            for field in &found.fields {
                types.entry(field).or_default().insert(&found.name);
            }
        }
        let mut expected: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for known in self.base.struct_ops_types() {
            for field in &known.fields {
                expected.entry(field).or_default().insert(&known.name);
            }
        }
        let here = |name: &str| {
            self.answers
                .struct_ops
                .iter()
                .any(|found| found.name == name)
        };
        let differs = |field: &str, found: &BTreeSet<&str>| match expected.get(field) {
            Some(expected) => expected.iter().filter(|name| here(name)).ne(found.iter()),
            None => true,
        };
        let mut by_types: BTreeMap<&BTreeSet<&str>, Vec<&str>> = BTreeMap::new();
        for (field, found) in types.iter().filter(|(field, found)| differs(field, found)) {
            by_types.entry(found).or_default().push(field);
        }
        for (found, fields) in by_types {
            file.field.push(FieldEntry {
                bytes: None,
                names: texts(fields),
                types: Some(texts(found.iter().copied())),
                since: self.since(),
                until: None,
                note: None,
            });
        }
        if !self.moved {
            for field in expected.keys().filter(|field| !types.contains_key(*field)) {
                file.removed.push(RemovedEntry {
                    kfunc: None,
                    callback: None,
                    field: Some(text(field)),
                    since: spanned(self.exact),
                });
            }
        }
    }

    /// The types that are described by how they differ from the root.
    fn derived(&self, roles: &BTreeMap<String, Role<'_>>, file: &mut File) {
        let Some(root) = self.root() else { return };
        for found in self.answers.struct_ops.iter().skip(1) {
            let form = self
                .model(&found.name)
                .map_or(Form::Cid, |known| known.form);
            let mut entry = StructOpsEntry {
                type_name: Some(text(&found.name)),
                since: self.since(),
                form: Some(form),
                like: Some(text(&root.name)),
                ..StructOpsEntry::default()
            };
            let mut without: Vec<String> = Vec::new();
            let mut rename = BTreeMap::new();
            let mut prototype = BTreeMap::new();
            for (name, role) in roles {
                let of = |name: &str| role.found.iter().find(|(found, _)| found.name == name);
                let (in_root, here) = (of(&root.name), of(&found.name));
                match (in_root, here) {
                    (Some(_), None) => without.push(name.clone()),
                    (Some((_, theirs)), Some((_, ours))) => {
                        if ours.name != *name {
                            rename.insert(name.clone(), text(&ours.name));
                        }
                        if anonymous(ours) != anonymous(theirs) {
                            prototype.insert(name.clone(), text(&anonymous(ours)));
                        }
                    }
                    (None, _) => {}
                }
            }
            without.extend(
                root.fields
                    .iter()
                    .filter(|field| !found.fields.contains(field))
                    .cloned(),
            );
            entry.without = Some(without.iter().map(|name| text(name)).collect());
            entry.rename = Some(rename);
            entry.prototype = Some(prototype);
            file.struct_ops.push(entry);
        }
    }

    /// What the tables know of a struct_ops type, for this kernel or another.
    pub(super) fn model(&self, struct_ops: &str) -> Option<&StructOpsType> {
        let elsewhere = || {
            self.others
                .iter()
                .find_map(|kernel| kernel.struct_ops(struct_ops))
        };
        self.base.struct_ops(struct_ops).or_else(elsewhere)
    }
}

/// What the tables would have to say for a callback to be as it is.
fn cid_only(known: &Callback) -> Option<CidOnly> {
    match (known.program_refused, known.attach_refused) {
        (true, _) => Some(CidOnly::Load),
        (false, true) => Some(CidOnly::Registration),
        (false, false) => None,
    }
}

/// `s32 (*init)(void)` without the name: `s32 (void)`.
fn anonymous(callback: &CallbackType) -> String {
    callback
        .prototype
        .replacen(&format!("(*{})", callback.name), "", 1)
}
