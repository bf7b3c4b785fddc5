//! The kfuncs: existence, program types, demands, and the contexts they ask for.

use std::collections::{BTreeMap, BTreeSet};

use super::{KINDS, Writer, spanned, text, texts};
use crate::btf::prototype::Prototype;
use crate::kernel::format::{
    ContextEntry, File, Form, HookEntry, KfuncEntry, RemovedEntry, SetEntry,
};
use crate::kernel::{Enforcement, Flag, Kernel, Kfunc, ProgramHooks};
use crate::probe::types::{IMPLICIT_SUFFIX, KfuncType};

/// A context that stands for callers no context of the tables describes.
#[derive(Debug, Clone)]
pub(super) struct MadeUp {
    /// Its name.
    pub name: String,
    /// The callbacks that have it, by role.
    pub callers: BTreeSet<String>,
}

/// Who may call a kfunc.
struct Callers {
    /// By role.
    permitted: BTreeSet<String>,
    /// By role; those that were neither permitted nor refused are in neither.
    refused: BTreeSet<String>,
    cpu_only: bool,
}

impl Writer<'_> {
    /// What a kfunc is by the tables, and whether for this very kernel.
    fn known_kfunc(&self, name: &str) -> Option<(&Kernel, &Kfunc, bool)> {
        if let Some(kfunc) = self.base.kfunc(name) {
            return Some((&self.base, kfunc, !self.moved));
        }
        self.others
            .iter()
            .find_map(|kernel| Some((kernel, kernel.kfunc(name)?, false)))
    }

    /// The functions that programs can call, or that the tables say they could.
    fn callable(&self) -> Vec<&KfuncType> {
        let marked = self.answers.kfuncs.iter().any(|kfunc| kfunc.tagged);
        let is_kfunc = |kfunc: &&KfuncType| {
            !kfunc.implicit_twin
                && (kfunc.tagged
                    || self.known_kfunc(&kfunc.name).is_some()
                    || self.answers.permitted_somewhere(&kfunc.name)
                    || (!self.answers.asked() && !marked))
        };
        self.answers.kfuncs.iter().filter(is_kfunc).collect()
    }

    /// Every kfunc of the kernel, and those of the tables that it lacks.
    pub(super) fn kfuncs(&mut self, file: &mut File) {
        let callable: Vec<KfuncType> = self.callable().into_iter().cloned().collect();
        let mut sets: BTreeMap<u16, String> = BTreeMap::new();
        for kfunc in &callable {
            let entry = self.kfunc(kfunc, &mut sets);
            file.kfunc.push(entry);
            if self.damaged(kfunc) {
                self.taken_over.push(kfunc.name.clone());
            }
        }
        self.sets(&sets, file);
        if !self.moved {
            let here: BTreeSet<&str> = callable.iter().map(|kfunc| kfunc.name.as_str()).collect();
            let gone = self
                .base
                .kfuncs()
                .filter(|known| !here.contains(&*known.name));
            file.removed.extend(gone.map(|known| RemovedEntry {
                kfunc: Some(text(&known.name)),
                callback: None,
                field: None,
                since: spanned(self.exact),
            }));
        }
        for (value, made) in (0..).zip(&self.made_up) {
            file.context.push(ContextEntry {
                name: text(&made.name),
                since: self.since(),
                until: None,
                symbol: made.name.clone(),
                value: 1_u64.checked_shl(MADE_UP_FIRST + value).unwrap_or(0),
                nested_error: None,
                source: "made up: callers as the verifier told them apart".to_owned(),
            });
        }
    }

    fn kfunc(&mut self, kfunc: &KfuncType, sets: &mut BTreeMap<u16, String>) -> KfuncEntry {
        let name = kfunc.name.as_str();
        let known = self.known_kfunc(name);
        let here = known.is_some_and(|(_, _, here)| here);
        let hooks = self.hooks(name, known.map(|(_, kfunc, _)| kfunc));
        let same_hooks = known.filter(|(_, known, here)| *here && known.hooks == hooks);
        let group = match same_hooks {
            Some((_, known, _)) => known.group.iter().map(|set| text(set)).collect(),
            None => {
                let next = format!("PROBED_{}", sets.len() + 1).to_lowercase();
                vec![text(sets.entry(hooks.0).or_insert(next))]
            }
        };
        let callers = self.callers(name);
        let (requires, cpu_only) = match self.base.enforcement {
            Enforcement::RunTime => {
                // Nothing a load shows: what the tables have here stays.
                let requires = known.map(|(kernel, kfunc, _)| self.names(kernel, kfunc));
                (requires.filter(|_| !here), None)
            }
            Enforcement::Load => match self.explained(name, &callers) {
                Some(requires) => (
                    Some(requires),
                    Some(known.is_some_and(|(_, k, _)| k.cpu_only)),
                ),
                None => (Some(self.described(&callers)), Some(callers.cpu_only)),
            },
        };
        let unless_here = known.filter(|_| !here).map(|(_, kfunc, _)| kfunc);
        let entry = KfuncEntry {
            name: Some(text(name)),
            since: self.since(),
            sets: Some(group),
            requires: requires.map(|names| names.iter().map(|name| text(name)).collect()),
            flags: Some(texts(
                self.flags(kfunc, known.map(|(_, k, _)| k))
                    .iter()
                    .map(|f| f.name()),
            )),
            cpu_only,
            damaged: self.damaged(kfunc).then_some(true),
            own_task: unless_here.map(|known| known.own_task),
            locked_rq: unless_here.map(|known| known.locked_rq),
            prototype: self.prototype(kfunc).map(|prototype| text(&prototype)),
            ..KfuncEntry::default()
        };
        if entry.prototype.is_none() {
            self.unexpressed
                .push(format!("the prototype `{}`", kfunc.prototype));
        }
        entry
    }

    /// The kinds of program that may call it.
    fn hooks(&self, name: &str, known: Option<&Kfunc>) -> ProgramHooks {
        let known = known.map_or(ProgramHooks::STRUCT_OPS, |known| known.hooks);
        let mut hooks = known;
        for kind in KINDS {
            hooks = match self.answers.program(kind, name) {
                Some(true) => hooks.union(kind),
                Some(false) => hooks.without(kind),
                None => hooks,
            };
        }
        hooks
    }

    fn flags(&self, kfunc: &KfuncType, known: Option<&Kfunc>) -> Vec<Flag> {
        let mut flags = known.map(|known| known.flags.clone()).unwrap_or_default();
        let implicit = self.has_twin(kfunc) || self.answers.damaged(&kfunc.name);
        let mut set = |flag: Flag, value: Option<bool>| match value {
            Some(true) if !flags.contains(&flag) => flags.push(flag),
            Some(false) => flags.retain(|known| *known != flag),
            _ => {}
        };
        set(Flag::Sleepable, self.answers.needs_sleepable(&kfunc.name));
        set(Flag::RcuProtected, self.answers.needs_rcu(&kfunc.name));
        set(Flag::ImplicitArgs, implicit.then_some(true));
        flags
    }

    /// Whether no program that calls it loads, because this build keeps its implicit arguments.
    fn damaged(&self, kfunc: &KfuncType) -> bool {
        let here = self
            .prototype(kfunc)
            .and_then(|text| Prototype::parse(&text).ok());
        let keeps = |here: Prototype| {
            self.known_kfunc(&kfunc.name).is_some_and(|(_, known, _)| {
                known.keeps_implicit_arguments(&here, self.has_twin(kfunc))
            })
        };
        self.answers.damaged(&kfunc.name) || here.is_some_and(keeps)
    }

    /// Whether its true prototype is there under another name.
    fn has_twin(&self, kfunc: &KfuncType) -> bool {
        let twin = |other: &KfuncType| {
            other.implicit_twin && other.name.strip_suffix(IMPLICIT_SUFFIX) == Some(&kfunc.name)
        };
        self.answers.kfuncs.iter().any(twin)
    }

    /// The prototype as the tables write it, if it can be read back.
    fn prototype(&self, kfunc: &KfuncType) -> Option<String> {
        let named = format!("{}(", kfunc.name);
        let text = kfunc.prototype.replacen(&named, "(", 1);
        Prototype::parse(&text).is_ok().then_some(text)
    }

    fn names(&self, kernel: &Kernel, kfunc: &Kfunc) -> Vec<String> {
        let names = kernel.context_names(kfunc.requires).into_iter();
        names
            .filter(|name| self.base.context(name).is_some())
            .map(str::to_owned)
            .collect()
    }

    /// Who may call it, by what the verifier said.
    fn callers(&self, name: &str) -> Callers {
        let mut callers = Callers {
            permitted: BTreeSet::new(),
            refused: BTreeSet::new(),
            cpu_only: false,
        };
        let mut by_form: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
        for found in &self.answers.struct_ops {
            let cid = self
                .model(&found.name)
                .is_some_and(|known| known.form == Form::Cid);
            for callback in &found.callbacks {
                let role = self.role(&found.name, &callback.name);
                match self.answers.cell(&found.name, &callback.name, name) {
                    Some(true) => {
                        by_form.entry(cid).or_default().insert(role.clone());
                        callers.permitted.insert(role);
                    }
                    Some(false) => {
                        callers.refused.insert(role);
                    }
                    None => {}
                }
            }
        }
        let has_cid = self.answers.struct_ops.len() > 1;
        callers.cpu_only = has_cid && by_form.contains_key(&false) && !by_form.contains_key(&true);
        // Refused in one form, permitted in the other: the form is the reason.
        callers
            .refused
            .retain(|role| !callers.permitted.contains(role));
        callers
    }

    /// The contexts of the tables, if they explain every answer.
    fn explained(&self, name: &str, callers: &Callers) -> Option<Vec<String>> {
        let Some((kernel, known, _)) = self.known_kfunc(name) else {
            // Of an unknown one that was not asked about, nothing can be said but that.
            let asked = !callers.permitted.is_empty() || !callers.refused.is_empty();
            return (!asked).then(Vec::new);
        };
        let requires = self.names(kernel, known);
        let right = self.answers.struct_ops.iter().all(|found| {
            let cid = self
                .model(&found.name)
                .is_some_and(|known| known.form == Form::Cid);
            found.callbacks.iter().all(|callback| {
                let contexts = self.role_contexts(&found.name, &callback.name);
                let permitted =
                    requires.is_empty() || contexts.iter().any(|c| requires.contains(c));
                let permitted = permitted && !(known.cpu_only && cid);
                (self.answers.cell(&found.name, &callback.name, name))
                    .is_none_or(|told| told == permitted)
            })
        });
        right.then_some(requires)
    }

    /// Contexts, made up where need be, that say exactly who may call it.
    fn described(&self, callers: &Callers) -> Vec<String> {
        if callers.refused.is_empty() {
            return Vec::new();
        }
        let made = self
            .made_up
            .iter()
            .find(|made| made.callers == callers.permitted);
        made.map(|made| vec![made.name.clone()]).unwrap_or_default()
    }

    /// Makes up a context for each set of callers that the tables do not explain.
    pub(super) fn make_up_contexts(&mut self) {
        if self.base.enforcement != Enforcement::Load {
            return;
        }
        let names: Vec<String> = self
            .callable()
            .into_iter()
            .map(|k| k.name.clone())
            .collect();
        for name in names {
            let callers = self.callers(&name);
            let known = self
                .made_up
                .iter()
                .any(|made| made.callers == callers.permitted);
            if !known && !callers.refused.is_empty() && self.explained(&name, &callers).is_none() {
                let name = format!("PROBED_{}", self.made_up.len() + 1);
                self.made_up.push(MadeUp {
                    name,
                    callers: callers.permitted,
                });
            }
        }
    }

    /// A set for each kind of registration that no set of the tables has.
    fn sets(&self, sets: &BTreeMap<u16, String>, file: &mut File) {
        let source = "made up: programs as the verifier told them apart";
        for (hooks, name) in sets {
            let hooks = ProgramHooks(*hooks);
            let registered = hooks
                .without(ProgramHooks::FOREIGN_STRUCT_OPS)
                .without(ProgramHooks::EXTENSION);
            file.hook.push(HookEntry {
                name: text(name),
                since: self.since(),
                until: None,
                programs: texts(registered.names()),
                contexts: Vec::new(),
                source: source.to_owned(),
            });
            file.set.push(SetEntry {
                name: Some(text(name)),
                since: self.since(),
                hooks: Some(vec![text(name)]),
                foreign: Some(hooks.contains(ProgramHooks::FOREIGN_STRUCT_OPS)),
                extension: Some(hooks.contains(ProgramHooks::EXTENSION)),
                ..SetEntry::default()
            });
        }
    }
}

/// The first bit of contexts that are made up: above all those the kernels have.
const MADE_UP_FIRST: u32 = 32;
