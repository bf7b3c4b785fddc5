//! Entries that hold for one range or for all time.

use std::sync::Arc;

use toml::Spanned;

use super::{Named, Reader};
use crate::kernel::context::ProgramHooks;
use crate::kernel::error::RulesError;
use crate::kernel::format;
use crate::kernel::model::{
    Area, CallbackTaker, Hazard, NestingEdge, NestingSource, RegionEffect, SourceNote,
};
use crate::kernel::tables::{ContextRow, Era, Field, Hook, Series};
use crate::kernel::timeline::Origin;

impl Reader {
    pub(super) fn release(
        &mut self,
        file: usize,
        entry: format::ReleaseEntry,
    ) -> Result<(), RulesError> {
        let origin = Origin {
            file,
            offset: entry.version.span().start,
        };
        let release = *entry.version.get_ref();
        let newest = *entry.newest.get_ref();
        if release.patch.is_some() {
            return Err(self.wrong(
                origin,
                format!("a release is a series; write `{}`", release.series()),
            ));
        }
        if newest.series() != release {
            return Err(self.wrong(
                Origin {
                    file,
                    offset: entry.newest.span().start,
                },
                format!("`{newest}` is no point release of {release}"),
            ));
        }
        for area in Area::ALL {
            let known = entry
                .evidence
                .iter()
                .any(|evidence| evidence.names.is_empty() && evidence.of.contains(&area));
            if !known {
                return Err(self.wrong(
                    origin,
                    format!(
                        "nothing says how the `{}` of {release} are known; \
                         add a [[release.evidence]] of them, without names",
                        area.name()
                    ),
                ));
            }
        }
        let series = Series {
            release,
            newest,
            notes: entry.notes,
            evidence: entry.evidence,
        };
        match self.series.get(&release) {
            Some((_, layer, _)) if *layer == self.layer => {
                Err(self.wrong(origin, format!("{release} is described twice")))
            }
            _ => {
                self.series.insert(release, (origin, self.layer, series));
                Ok(())
            }
        }
    }

    pub(super) fn era(&mut self, file: usize, entry: format::EraEntry) -> Result<(), RulesError> {
        let range = self.range(file, &entry.since, &entry.until)?;
        let origin = Origin {
            file,
            offset: entry.enforcement.span().start,
        };
        if self
            .eras
            .iter()
            .any(|(_, layer, era)| *layer == self.layer && era.range.overlaps(&range))
        {
            return Err(self.wrong(origin, "two eras overlap".to_owned()));
        }
        let era = Era {
            range,
            enforcement: *entry.enforcement.get_ref(),
            message: entry.message.into(),
            async_contexts: self.use_names(Named::Context, file, &entry.async_contexts),
            async_checked_as_armer: entry.async_checked_as_armer,
            nested_inherits: entry.nested_inherits,
            async_sleeps_with_program: entry.async_sleeps_with_program,
            nested_increases: entry.nested_increases,
        };
        self.eras.push((origin, self.layer, era));
        Ok(())
    }

    pub(super) fn context(
        &mut self,
        file: usize,
        entry: format::ContextEntry,
    ) -> Result<(), RulesError> {
        let range = self.range(file, &entry.since, &entry.until)?;
        let origin = Origin {
            file,
            offset: entry.name.span().start,
        };
        let name = entry.name.get_ref();
        let twice = self.contexts.iter().any(|(_, layer, row)| {
            *layer == self.layer && *row.name == **name && row.range.overlaps(&range)
        });
        if twice {
            return Err(self.wrong(
                origin,
                format!("two ranges of the context `{name}` overlap"),
            ));
        }
        let row = ContextRow {
            name: Arc::from(name.as_str()),
            range,
            symbol: entry.symbol,
            value: entry.value,
            nested_error: entry.nested_error,
        };
        self.contexts.push((origin, self.layer, row));
        Ok(())
    }

    pub(super) fn hook(&mut self, file: usize, entry: format::HookEntry) -> Result<(), RulesError> {
        let range = self.range(file, &entry.since, &entry.until)?;
        let origin = Origin {
            file,
            offset: entry.name.span().start,
        };
        let name = entry.name.get_ref();
        let twice = self.hooks.iter().any(|(_, layer, hook)| {
            *layer == self.layer && *hook.name == **name && hook.range.overlaps(&range)
        });
        if twice {
            return Err(self.wrong(origin, format!("two ranges of the hook `{name}` overlap")));
        }
        let mut programs = ProgramHooks::default();
        for program in &entry.programs {
            let Some(one) = ProgramHooks::named(program.get_ref()) else {
                let known: Vec<&str> = ProgramHooks::NAMED.iter().map(|(name, _)| *name).collect();
                return Err(self.wrong(
                    Origin {
                        file,
                        offset: program.span().start,
                    },
                    format!(
                        "`{}` is no kind of program; known are {}",
                        program.get_ref(),
                        known.join(", ")
                    ),
                ));
            };
            programs = programs.union(one);
        }
        let hook = Hook {
            name: Arc::from(name.as_str()),
            range,
            programs,
            contexts: self.use_names(Named::Context, file, &entry.contexts),
        };
        self.hooks.push((origin, self.layer, hook));
        Ok(())
    }

    pub(super) fn field(
        &mut self,
        file: usize,
        entry: format::FieldEntry,
    ) -> Result<(), RulesError> {
        let range = self.range(file, &entry.since, &entry.until)?;
        let types = entry
            .types
            .as_ref()
            .map(|types| self.use_names(Named::StructOps, file, types));
        for name in &entry.names {
            let origin = Origin {
                file,
                offset: name.span().start,
            };
            let twice = self.fields.iter().any(|(_, layer, field)| {
                *layer == self.layer
                    && *field.name == **name.get_ref()
                    && field.range.overlaps(&range)
                    && field.types == types
            });
            if twice {
                return Err(self.wrong(
                    origin,
                    format!("two ranges of the field `{}` overlap", name.get_ref()),
                ));
            }
            let name = Arc::from(name.get_ref().as_str());
            self.fields.push((
                origin,
                self.layer,
                Field {
                    name,
                    types: types.clone(),
                    bytes: entry.bytes,
                    range,
                },
            ));
        }
        Ok(())
    }

    pub(super) fn nesting(
        &mut self,
        file: usize,
        entry: format::NestingEntry,
    ) -> Result<(), RulesError> {
        let range = self.range(file, &entry.since, &entry.until)?;
        let origin = Origin {
            file,
            offset: entry.calls.first().map_or(0, |calls| calls.span().start),
        };
        if entry.kfuncs.is_empty() && entry.callbacks.is_empty() {
            return Err(self.wrong(origin, "a nesting needs `kfuncs` or `callbacks`".to_owned()));
        }
        let kfuncs = self.use_names(Named::Kfunc, file, &entry.kfuncs);
        let callbacks = self.use_names(Named::Callback, file, &entry.callbacks);
        let calls = self.use_names(Named::Callback, file, &entry.calls);
        let from = kfuncs
            .into_iter()
            .map(NestingSource::Kfunc)
            .chain(callbacks.into_iter().map(NestingSource::Callback));
        let chain: Arc<str> = entry.chain.into();
        for from in from {
            for to in &calls {
                let edge = NestingEdge {
                    from: from.clone(),
                    to: to.clone(),
                    deferred: entry.deferred,
                    repeats: entry.repeats,
                    child: entry.child,
                    chain: chain.clone(),
                    source: SourceNote {
                        text: entry.source.clone(),
                        status: entry.status,
                    },
                };
                self.nesting.push((origin, range, edge));
            }
        }
        Ok(())
    }

    pub(super) fn hazard(
        &mut self,
        file: usize,
        entry: format::HazardEntry,
    ) -> Result<(), RulesError> {
        let mut range = self.range(file, &entry.since, &entry.until)?;
        let origin = Origin {
            file,
            offset: entry.name.span().start,
        };
        if let Some(maybe) = &entry.maybe_since {
            range.maybe_since = maybe.get_ref().first();
        }
        if let Some(maybe) = &entry.maybe_until {
            range.maybe_until = maybe.get_ref().last();
        }
        if range.maybe_since > range.since || range.maybe_until < range.until {
            return Err(self.wrong(
                origin,
                "`maybe_since` is at or before `since`, `maybe_until` at or after `until`"
                    .to_owned(),
            ));
        }
        if entry.callbacks.is_empty() == entry.place.is_none() {
            return Err(self.wrong(
                origin,
                "a hazard needs either `callbacks` or `where`".to_owned(),
            ));
        }
        let twice = self.hazards.iter().any(|(_, layer, other, hazard)| {
            *layer == self.layer && *hazard.name == **entry.name.get_ref() && other.overlaps(&range)
        });
        if twice {
            return Err(self.wrong(
                origin,
                format!(
                    "two ranges of the hazard `{}` overlap",
                    entry.name.get_ref()
                ),
            ));
        }
        let hazard = Hazard {
            name: Arc::from(entry.name.get_ref().as_str()),
            outcome: entry.outcome,
            text: entry.text.into(),
            message: entry.message.map(Arc::from),
            source: SourceNote {
                text: entry.source,
                status: entry.status,
            },
            kfuncs: self.use_names(Named::Kfunc, file, &entry.kfuncs),
            callbacks: self.use_names(Named::Callback, file, &entry.callbacks),
            place: entry.place.map(Spanned::into_inner),
        };
        self.hazards.push((origin, self.layer, range, hazard));
        Ok(())
    }

    pub(super) fn region(&mut self, entry: format::RegionEntry) {
        for (names, enters) in [(&entry.enter, true), (&entry.leave, false)] {
            for name in names {
                let name = Arc::from(name.get_ref().as_str());
                self.regions.insert(
                    name,
                    RegionEffect {
                        kind: entry.kind,
                        enters,
                    },
                );
            }
        }
    }

    pub(super) fn helpers(
        &mut self,
        file: usize,
        entry: &format::HelpersEntry,
    ) -> Result<(), RulesError> {
        let origin = Origin {
            file,
            offset: entry.ids.span().start,
        };
        for line in entry
            .ids
            .get_ref()
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            let mut words = line.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u32>().ok());
            let (Some(number), Some(name), None) = (number, words.next(), words.next()) else {
                return Err(self.wrong(
                    origin,
                    format!("`{}` in `ids` is not `number name`", line.trim()),
                ));
            };
            self.helpers.push((number, Arc::from(name)));
        }
        self.helpers.sort();
        if let Some(twice) = self.helpers.windows(2).find(|pair| match pair {
            [one, other] => one.0 == other.0,
            _ => false,
        }) {
            let number = twice.first().map_or(0, |one| one.0);
            return Err(self.wrong(origin, format!("helper {number} has two names")));
        }
        Ok(())
    }

    pub(super) fn takers(&mut self) -> Result<(), RulesError> {
        for (file, entry) in std::mem::take(&mut self.pending_takers) {
            let argument = |origin: usize, number: u8| {
                if (1..=5).contains(&number) {
                    return Ok(number);
                }
                Err(self.wrong(
                    Origin {
                        file,
                        offset: origin,
                    },
                    format!("{number} is no argument; they are counted from 1 to 5"),
                ))
            };
            let function = argument(entry.function.span().start, *entry.function.get_ref())?;
            let mut passes = Vec::new();
            for pass in &entry.passes {
                let [from, to] = *pass.get_ref();
                passes.push((
                    argument(pass.span().start, from)?,
                    argument(pass.span().start, to)?,
                ));
            }
            let count = match &entry.count {
                Some(count) => Some(argument(count.span().start, *count.get_ref())?),
                None => None,
            };
            let (helper, name) = match (&entry.helper, &entry.kfunc) {
                (Some(helper), None) => {
                    let known = self
                        .helpers
                        .iter()
                        .find(|(_, name)| **name == **helper.get_ref());
                    let Some((number, name)) = known else {
                        return Err(self.wrong(
                            Origin {
                                file,
                                offset: helper.span().start,
                            },
                            format!("`{}` is no helper in [helpers]", helper.get_ref()),
                        ));
                    };
                    (Some(*number), name.clone())
                }
                (None, Some(kfunc)) => (None, Arc::from(kfunc.get_ref().as_str())),
                _ => {
                    return Err(self.wrong(
                        Origin {
                            file,
                            offset: entry.function.span().start,
                        },
                        "a taker is either a `helper` or a `kfunc`".to_owned(),
                    ));
                }
            };
            self.takers.push(CallbackTaker {
                helper,
                name,
                function,
                runs: entry.runs,
                sleepable: entry.sleepable,
                passes,
                count,
            });
        }
        Ok(())
    }
}
