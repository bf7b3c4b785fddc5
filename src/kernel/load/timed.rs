//! Entries that change over releases: each is a statement or several of a timeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::{Named, Reader, Renames};
use crate::btf::prototype::Prototype;
use crate::kernel::error::RulesError;
use crate::kernel::facts::{
    CallbackFacts, KfuncFacts, KfuncPrototype, Own, SetFacts, StructOpsFacts,
};
use crate::kernel::format::{self, Text};
use crate::kernel::model::Flag;
use crate::kernel::release::Release;
use crate::kernel::timeline::{Origin, Statement};

impl Reader {
    pub(super) fn set(&mut self, file: usize, entry: format::SetEntry) -> Result<(), RulesError> {
        let name = self.named(file, entry.name.as_ref(), "[[set]]")?;
        let mut until = entry.until.clone();
        let mut statements = Vec::new();
        let last = entry.change.len();
        let changes = std::iter::once(&entry).chain(&entry.change);
        for (index, change) in changes.enumerate() {
            self.no_deeper(index, file, change.name.as_ref(), !change.change.is_empty())?;
            let facts = SetFacts {
                hooks: change
                    .hooks
                    .as_ref()
                    .map(|hooks| self.use_names(Named::Hook, file, hooks)),
                foreign: change.foreign,
                extension: change.extension,
                allow: change
                    .allow
                    .as_ref()
                    .map(|allow| self.use_names(Named::Context, file, allow)),
            };
            let end = if index == last {
                until.take().or(change.until.clone())
            } else {
                None
            };
            statements.push(self.statement(file, &name.1, &change.since, &None, &end, facts)?);
        }
        self.sets.entry(name.0).or_default().extend(statements);
        Ok(())
    }

    pub(super) fn kfunc(
        &mut self,
        file: usize,
        entry: format::KfuncEntry,
    ) -> Result<(), RulesError> {
        let name = self.named(file, entry.name.as_ref(), "[[kfunc]]")?;
        let mut until = entry.until.clone();
        let mut statements = Vec::new();
        let last = entry.change.len();
        for (index, change) in std::iter::once(&entry).chain(&entry.change).enumerate() {
            self.no_deeper(index, file, change.name.as_ref(), !change.change.is_empty())?;
            let facts = self.kfunc_facts(file, change)?;
            let end = if index == last {
                until.take().or(change.until.clone())
            } else {
                None
            };
            statements.push(self.statement(
                file,
                &name.1,
                &change.since,
                &change.maybe_since,
                &end,
                facts,
            )?);
        }
        self.kfuncs.entry(name.0).or_default().extend(statements);
        Ok(())
    }

    fn kfunc_facts(
        &mut self,
        file: usize,
        entry: &format::KfuncEntry,
    ) -> Result<KfuncFacts, RulesError> {
        let contexts = |reader: &mut Reader, names: &Option<Vec<Text>>| {
            names
                .as_ref()
                .map(|names| reader.use_names(Named::Context, file, names))
        };
        Ok(KfuncFacts {
            sets: entry
                .sets
                .as_ref()
                .map(|sets| self.use_names(Named::Set, file, sets)),
            mask: contexts(self, &entry.mask),
            requires: contexts(self, &entry.requires),
            flags: entry
                .flags
                .as_ref()
                .map(|flags| self.flags(file, flags))
                .transpose()?,
            prototype: self.kfunc_prototype(file, entry.prototype.as_ref())?,
            cpu_only: entry.cpu_only,
            own_task: entry.own_task,
            locked_rq: entry.locked_rq,
            damaged: entry.damaged,
            deprecated: entry.deprecated.as_deref().map(Arc::from),
            replaced_by: entry
                .replaced_by
                .as_ref()
                .map(|names| self.use_names(Named::Kfunc, file, names)),
            note: entry.note.as_deref().map(Arc::from),
            own: own(entry.source.as_deref(), entry.status),
        })
    }

    fn flags(&self, file: usize, flags: &[Text]) -> Result<Vec<Flag>, RulesError> {
        let one = |text: &Text| {
            Flag::named(text.get_ref()).ok_or_else(|| {
                let known: Vec<&str> = Flag::NAMED.iter().map(|(name, _)| *name).collect();
                self.wrong(
                    Origin {
                        file,
                        offset: text.span().start,
                    },
                    format!(
                        "`{}` is no kfunc flag; known are {}",
                        text.get_ref(),
                        known.join(", ")
                    ),
                )
            })
        };
        flags.iter().map(one).collect()
    }

    fn prototype(&self, file: usize, text: Option<&Text>) -> Result<Option<Arc<str>>, RulesError> {
        let Some(text) = text else { return Ok(None) };
        let prototype = text.get_ref();
        if !(prototype.ends_with(')') && prototype.contains('(')) {
            return Err(self.wrong(
                Origin {
                    file,
                    offset: text.span().start,
                },
                format!(
                    "`{prototype}` is no prototype; write `void (struct task_struct *p, u64 flags)`"
                ),
            ));
        }
        Ok(Some(Arc::from(prototype.as_str())))
    }

    fn kfunc_prototype(
        &self,
        file: usize,
        text: Option<&Text>,
    ) -> Result<Option<Arc<KfuncPrototype>>, RulesError> {
        let (Some(place), Some(text)) = (text, self.prototype(file, text)?) else {
            return Ok(None);
        };
        let shape = Prototype::parse(&text).map_err(|error| {
            self.wrong(
                Origin {
                    file,
                    offset: place.span().start,
                },
                error.to_string(),
            )
        })?;
        Ok(Some(Arc::new(KfuncPrototype {
            text,
            shape: Arc::new(shape),
        })))
    }

    fn prototypes(
        &self,
        file: usize,
        texts: Option<&BTreeMap<String, Text>>,
    ) -> Result<Option<Renames>, RulesError> {
        let Some(texts) = texts else { return Ok(None) };
        let mut prototypes = BTreeMap::new();
        for (name, text) in texts {
            if let Some(prototype) = self.prototype(file, Some(text))? {
                prototypes.insert(Arc::from(name.as_str()), prototype);
            }
        }
        Ok(Some(prototypes))
    }

    pub(super) fn struct_ops_entry(
        &mut self,
        file: usize,
        entry: format::StructOpsEntry,
    ) -> Result<(), RulesError> {
        let name = self.named(file, entry.type_name.as_ref(), "[[struct_ops]]")?;
        let mut until = entry.until.clone();
        let mut statements = Vec::new();
        let last = entry.change.len();
        for (index, change) in std::iter::once(&entry).chain(&entry.change).enumerate() {
            self.no_deeper(
                index,
                file,
                change.type_name.as_ref(),
                !change.change.is_empty(),
            )?;
            let facts = StructOpsFacts {
                form: change.form,
                like: change
                    .like
                    .as_ref()
                    .map(|like| self.use_name(Named::StructOps, file, like)),
                without: change.without.as_ref().map(|names| {
                    names
                        .iter()
                        .map(|name| Arc::from(name.get_ref().as_str()))
                        .collect()
                }),
                rename: change.rename.as_ref().map(|rename| {
                    rename
                        .iter()
                        .map(|(from, to)| {
                            (Arc::from(from.as_str()), Arc::from(to.get_ref().as_str()))
                        })
                        .collect()
                }),
                prototype: self.prototypes(file, change.prototype.as_ref())?,
            };
            let end = if index == last {
                until.take().or(change.until.clone())
            } else {
                None
            };
            statements.push(self.statement(file, &name.1, &change.since, &None, &end, facts)?);
        }
        self.struct_ops
            .entry(name.0)
            .or_default()
            .extend(statements);
        Ok(())
    }

    pub(super) fn callback(
        &mut self,
        file: usize,
        entry: format::CallbackEntry,
    ) -> Result<(), RulesError> {
        let name = self.named(file, entry.name.as_ref(), "[[callback]]")?;
        let mut until = entry.until.clone();
        let mut statements = Vec::new();
        let last = entry.change.len();
        for (index, change) in std::iter::once(&entry).chain(&entry.change).enumerate() {
            self.no_deeper(index, file, change.name.as_ref(), !change.change.is_empty())?;
            let facts = CallbackFacts {
                types: change
                    .types
                    .as_ref()
                    .map(|types| self.use_names(Named::StructOps, file, types)),
                contexts: change
                    .contexts
                    .as_ref()
                    .map(|contexts| self.use_names(Named::Context, file, contexts)),
                sleepable: change.sleepable,
                records_task: change.records_task,
                ends_anyway: change.ends_anyway,
                locked_rq: change.locked_rq,
                cid_only: change.cid_only,
                deprecated: change.deprecated.as_deref().map(Arc::from),
                prototype: self.prototype(file, change.prototype.as_ref())?,
                called_from: change
                    .called_from
                    .as_ref()
                    .map(|names| names.iter().map(|name| Arc::from(name.as_str())).collect()),
                note: change.note.as_deref().map(Arc::from),
                own: own(change.source.as_deref(), change.status),
            };
            let end = if index == last {
                until.take().or(change.until.clone())
            } else {
                None
            };
            statements.push(self.statement(
                file,
                &name.1,
                &change.since,
                &change.maybe_since,
                &end,
                facts,
            )?);
        }
        self.callbacks.entry(name.0).or_default().extend(statements);
        Ok(())
    }

    /// The name of an entry, which has to have one.
    fn named(
        &self,
        file: usize,
        name: Option<&Text>,
        what: &str,
    ) -> Result<(Arc<str>, Origin), RulesError> {
        match name {
            Some(name) => Ok((
                Arc::from(name.get_ref().as_str()),
                Origin {
                    file,
                    offset: name.span().start,
                },
            )),
            None => Err(self.wrong(Origin { file, offset: 0 }, format!("a {what} has no name"))),
        }
    }

    /// A change within an entry has neither a name nor changes of its own.
    fn no_deeper(
        &self,
        index: usize,
        file: usize,
        name: Option<&Text>,
        nested: bool,
    ) -> Result<(), RulesError> {
        if index == 0 || (name.is_none() && !nested) {
            return Ok(());
        }
        let offset = name.map_or(0, |name| name.span().start);
        Err(self.wrong(
            Origin { file, offset },
            "a change has neither a name nor changes of its own; they are its entry's".to_owned(),
        ))
    }

    fn statement<T>(
        &self,
        file: usize,
        name: &Origin,
        since: &Option<Spanned<Release>>,
        maybe_since: &Option<Spanned<Release>>,
        until: &Option<Spanned<Release>>,
        facts: T,
    ) -> Result<Statement<T>, RulesError> {
        let range = self.range(file, since, until)?;
        let maybe = maybe_since
            .as_ref()
            .map_or(range.since, |maybe| maybe.get_ref().first());
        let offset = since
            .as_ref()
            .map_or(name.offset, |since| since.span().start);
        if maybe > range.since {
            return Err(self.wrong(
                Origin { file, offset },
                "`maybe_since` is after `since`; it is the first release that may have it"
                    .to_owned(),
            ));
        }
        Ok(Statement {
            layer: self.layer,
            origin: Origin { file, offset },
            since: range.since,
            maybe_since: maybe,
            until: until.as_ref().map(|_| range.until),
            facts: Some(facts),
        })
    }
}

fn own(source: Option<&str>, status: Option<format::Status>) -> Option<Own> {
    Some(Own {
        source: Arc::from(source?),
        status: status?,
    })
}
