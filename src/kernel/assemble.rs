//! One kernel out of all releases: every timeline read at one point.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::{ContextInfo, Contexts, ProgramHooks};
use super::error::RulesError;
use super::facts::{CallbackFacts, KfuncFacts};
use super::format::{CidOnly, EnforcementEntry, Form};
use super::model::{Callback, Deprecation, Enforcement, Flag, Kfunc, LockedRq, StructOpsType};
use super::release::{Point, Release};
use super::tables::{Data, Era};
use super::timeline::Timeline;
use super::{Facts, Kernel};

/// The kernel of a release.
pub(crate) fn kernel(data: &Arc<Data>, release: Release) -> Result<Kernel, RulesError> {
    let series = data
        .series(release)
        .ok_or_else(|| RulesError::UnknownRelease {
            asked: release.to_string(),
            known: list(&data.releases),
        })?;
    let exact = Release {
        patch: release.patch.or(series.newest.patch),
        ..release
    };
    let point = exact.first();
    let era = data.era(point).ok_or_else(|| RulesError::Incomplete {
        table: data.title.clone(),
        message: format!("no [[era]] says when {release} checks contexts"),
    })?;
    let at = At { data, point, era };
    let kfuncs = at.kfuncs()?;
    let mut struct_ops = Vec::new();
    for name in data.struct_ops.keys() {
        struct_ops.extend(struct_ops_type(data, name, point)?);
    }
    let here = |range: &super::release::Range| range.holds(point) == Some(true);
    let facts = Facts {
        point,
        exact,
        data: data.clone(),
        contexts: at.contexts(),
        async_contexts: at.set_of(&era.async_contexts)?,
        async_checked_as_armer: era.async_checked_as_armer,
        nested_inherits: era.nested_inherits,
        async_sleeps_with_program: era.async_sleeps_with_program,
        nested_increases: era.nested_increases,
        refusal: era.message.clone(),
        hook_contexts: at.hook_contexts()?,
        kfuncs,
        uncertain_kfuncs: at.uncertain_kfuncs(),
        struct_ops,
        nesting: data
            .nesting
            .iter()
            .filter(|(range, _)| here(range))
            .map(|(_, edge)| edge.clone())
            .collect(),
        hazards: data
            .hazards
            .iter()
            .filter(|(range, _)| range.holds(point) != Some(false))
            .map(|(_, hazard)| hazard.clone())
            .collect(),
        notes: notes(data, release, exact, series),
        btf: None,
        release_known: true,
    };
    Ok(Kernel {
        release,
        label: release.to_string(),
        enforcement: match era.enforcement {
            EnforcementEntry::RunTime => Enforcement::RunTime,
            EnforcementEntry::Load => Enforcement::Load,
        },
        facts: Arc::new(facts),
    })
}

/// The releases of a list, for a message.
fn list(releases: &[Release]) -> String {
    match (releases.first(), releases.last()) {
        (Some(first), Some(last)) if first != last => {
            let all: Vec<String> = releases.iter().map(Release::to_string).collect();
            all.join(", ")
        }
        (Some(only), _) => only.to_string(),
        _ => "none".to_owned(),
    }
}

/// What to know about this kernel before believing the rest.
fn notes(
    data: &Data,
    release: Release,
    exact: Release,
    series: &super::tables::Series,
) -> Vec<String> {
    let mut notes = Vec::new();
    if release.patch.is_none() {
        let changes = inside_series(data, series.release);
        if !changes.is_empty() {
            notes.push(format!(
                "{release} is taken to be {exact}; changed inside the series: {}",
                changes.join("; ")
            ));
        }
    } else if exact > series.newest {
        notes.push(format!(
            "{exact} is newer than {}, the newest {} that was looked at; its facts are assumed",
            series.newest, series.release
        ));
    }
    notes.extend(uncertain(data, exact.first()));
    notes
}

/// What changed between point releases of a series.
pub(crate) fn inside_series(data: &Data, series: Release) -> Vec<String> {
    let (first, last) = (series.first(), series.last());
    let mut changes = Vec::new();
    let mut add = |what: String, since: Point, maybe: Point| {
        if since <= first || since > last {
            return;
        }
        let since = show(since);
        changes.push(match maybe < since.1 {
            true => format!(
                "{what} since {} (or an earlier one from {})",
                since.0,
                show(maybe).0
            ),
            false => format!("{what} since {}", since.0),
        });
    };
    for (name, timeline) in &data.callbacks {
        for period in &timeline.periods {
            add(format!("`{name}`"), period.since, period.maybe_since);
        }
    }
    for (name, timeline) in &data.kfuncs {
        for period in &timeline.periods {
            add(format!("`{name}`"), period.since, period.maybe_since);
        }
    }
    changes
}

fn show(point: Point) -> (Release, Point) {
    let release = Release {
        major: point.major,
        minor: point.minor,
        patch: Some(point.patch),
    };
    (release, point)
}

/// What may already have changed by this point release, but is not known to have.
fn uncertain(data: &Data, point: Point) -> Vec<String> {
    let mut notes = Vec::new();
    let mut add = |name: &str, since: Point| {
        notes.push(format!(
            "`{name}` changed somewhere up to {}; what held before is assumed here",
            show(since).0
        ));
    };
    for (name, timeline) in &data.callbacks {
        if let Some(period) = timeline.possibly(point) {
            add(name, period.since);
        }
    }
    for (name, timeline) in &data.kfuncs {
        if let Some(period) = timeline.possibly(point) {
            add(name, period.since);
        }
    }
    notes
}

/// A struct_ops type at a point; `None` when no kernel has it there.
pub(crate) fn struct_ops_type(
    data: &Data,
    name: &str,
    point: Point,
) -> Result<Option<StructOpsType>, RulesError> {
    let Some(facts) = data
        .struct_ops
        .get(name)
        .and_then(|timeline| timeline.at(point))
    else {
        return Ok(None);
    };
    let era = data.era(point).ok_or_else(|| RulesError::Incomplete {
        table: data.title.clone(),
        message: format!("no [[era]] says when the kernel with `{name}` checks contexts"),
    })?;
    let at = At { data, point, era };
    let type_name: Arc<str> = Arc::from(name);
    let form = facts.form.unwrap_or(Form::Cpu);
    // A derived type has the members of its base, some missing and some under another name, and
    // those that name it.
    let base = facts.like.as_deref().unwrap_or(name);
    let member = |types: &Option<Vec<Arc<str>>>, role: &str| -> Option<Arc<str>> {
        let derived = facts.like.is_some();
        let listed = match types {
            Some(types) => types.iter().any(|listed| **listed == *name),
            None => !derived,
        };
        let inherited = derived
            && match types {
                Some(types) => types.iter().any(|listed| **listed == *base),
                None => true,
            }
            && !facts
                .without
                .iter()
                .flatten()
                .any(|without| **without == *role);
        if !listed && !inherited {
            return None;
        }
        let renamed = facts
            .rename
            .as_ref()
            .and_then(|rename| rename.get(role))
            .cloned();
        Some(renamed.unwrap_or_else(|| Arc::from(role)))
    };
    let mut callbacks = Vec::new();
    for (role, timeline) in &data.callbacks {
        let Some(callback) = timeline.at(point) else {
            continue;
        };
        let Some(member) = member(&callback.types, role) else {
            continue;
        };
        let own = facts
            .prototype
            .as_ref()
            .and_then(|prototype| prototype.get(role));
        let facts = callback;
        callbacks.push(Callback {
            name: member,
            role: role.clone(),
            struct_ops: type_name.clone(),
            form,
            contexts: at.set_of(facts.contexts.as_deref().unwrap_or(&[]))?,
            sleepable: facts.sleepable.unwrap_or(false),
            records_task: facts.records_task.unwrap_or(false),
            ends_anyway: facts.ends_anyway.unwrap_or(false),
            locked_rq: facts.locked_rq.unwrap_or(LockedRq::Depends),
            attach_refused: facts.cid_only.is_some() && form == Form::Cpu,
            program_refused: facts.cid_only == Some(CidOnly::Load) && form == Form::Cpu,
            deprecated: in_force(
                deprecation(timeline, |facts: &CallbackFacts| facts.deprecated.clone()),
                point,
            ),
            prototype_text: own.or(facts.prototype.as_ref()).cloned(),
            called_from: facts.called_from.clone().unwrap_or_default(),
            note: facts.note.clone(),
        });
    }
    callbacks.sort_by(|a, b| a.name.cmp(&b.name));
    let here = || {
        data.fields
            .iter()
            .filter(|field| field.range.holds(point) == Some(true))
    };
    let mut fields: Vec<Arc<str>> = here()
        .filter_map(|field| member(&field.types, &field.name))
        .collect();
    fields.sort();
    let field_bytes = here()
        .filter_map(|field| Some((member(&field.types, &field.name)?, field.bytes?)))
        .collect();
    Ok(Some(StructOpsType {
        name: type_name,
        form,
        callbacks,
        fields,
        field_bytes,
    }))
}

/// The notice that is in force last in a timeline, and since when.
pub(crate) fn deprecation<T>(
    timeline: &Timeline<T>,
    message: impl Fn(&T) -> Option<Arc<str>>,
) -> Option<Deprecation> {
    let mut found: Option<Deprecation> = None;
    for period in &timeline.periods {
        let Some(facts) = period.facts.as_ref() else {
            continue;
        };
        match message(facts).filter(|message| !message.is_empty()) {
            Some(message) => {
                if found.as_ref().is_none_or(|found| found.message != message) {
                    let since = Release {
                        major: period.since.major,
                        minor: period.since.minor,
                        patch: Some(period.since.patch).filter(|patch| *patch > 0),
                    };
                    found = Some(Deprecation { message, since });
                }
            }
            None => found = None,
        }
    }
    found
}

fn in_force(deprecation: Option<Deprecation>, point: Point) -> Option<Deprecation> {
    deprecation.filter(|deprecation| deprecation.since.first() <= point)
}

/// All timelines at one point.
struct At<'d> {
    data: &'d Data,
    point: Point,
    era: &'d Era,
}

impl At<'_> {
    fn contexts(&self) -> Vec<ContextInfo> {
        let mut contexts: Vec<ContextInfo> = self
            .data
            .contexts
            .iter()
            .filter(|row| row.range.holds(self.point) == Some(true))
            .filter_map(|row| {
                Some(ContextInfo {
                    context: self.bit(&row.name)?,
                    name: row.name.to_string(),
                    symbol: row.symbol.clone(),
                    value: row.value,
                    nested_error: row.nested_error.clone(),
                })
            })
            .collect();
        contexts.sort_by_key(|context| context.value);
        contexts
    }

    fn bit(&self, name: &str) -> Option<Contexts> {
        let index = self
            .data
            .context_names
            .iter()
            .position(|known| **known == *name)?;
        Some(Contexts(1 << u32::try_from(index).ok()?))
    }

    /// The set of some names, each of which has to exist at this point.
    fn set_of(&self, names: &[Arc<str>]) -> Result<Contexts, RulesError> {
        let mut set = Contexts::NONE;
        for name in names {
            let exists = self
                .data
                .contexts
                .iter()
                .any(|row| row.name == *name && row.range.holds(self.point) == Some(true));
            let (true, Some(bit)) = (exists, self.bit(name)) else {
                return Err(self.incomplete(format!("there is no context `{name}`")));
            };
            set = set.union(bit);
        }
        Ok(set)
    }

    fn incomplete(&self, message: String) -> RulesError {
        RulesError::Incomplete {
            table: self.data.title.clone(),
            message: format!("{}: {message}", show(self.point).0),
        }
    }

    fn hook(&self, name: &str) -> Option<&super::tables::Hook> {
        self.data
            .hooks
            .iter()
            .find(|hook| *hook.name == *name && hook.range.holds(self.point) == Some(true))
    }

    fn hook_contexts(&self) -> Result<Vec<(ProgramHooks, Contexts)>, RulesError> {
        self.data
            .hooks
            .iter()
            .filter(|hook| hook.range.holds(self.point) == Some(true))
            .map(|hook| Ok((hook.programs, self.set_of(&hook.contexts)?)))
            .collect()
    }

    fn kfuncs(&self) -> Result<BTreeMap<Arc<str>, Kfunc>, RulesError> {
        let mut kfuncs = BTreeMap::new();
        for (name, timeline) in &self.data.kfuncs {
            if let Some(facts) = timeline.at(self.point) {
                kfuncs.insert(name.clone(), self.kfunc(name, timeline, facts)?);
            }
        }
        Ok(kfuncs)
    }

    fn uncertain_kfuncs(&self) -> Vec<Arc<str>> {
        let uncertain = |timeline: &Timeline<KfuncFacts>| {
            timeline
                .possibly(self.point)
                .is_some_and(|period| period.facts.is_some() != timeline.at(self.point).is_some())
        };
        self.data
            .kfuncs
            .iter()
            .filter(|(_, timeline)| uncertain(timeline))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn kfunc(
        &self,
        name: &Arc<str>,
        timeline: &Timeline<KfuncFacts>,
        facts: &KfuncFacts,
    ) -> Result<Kfunc, RulesError> {
        let sets = facts.sets.clone().unwrap_or_default();
        if sets.is_empty() {
            return Err(self.incomplete(format!("the kfunc `{name}` is in no set")));
        }
        let mut hooks = ProgramHooks::default();
        let mut allowed = Contexts::NONE;
        let mut anywhere = false;
        for set in &sets {
            let Some(facts) = self.data.sets.get(set).and_then(|set| set.at(self.point)) else {
                return Err(self.incomplete(format!(
                    "`{name}` is in the set `{set}`, which is not there"
                )));
            };
            for hook in facts.hooks.iter().flatten() {
                let Some(hook) = self.hook(hook) else {
                    return Err(self.incomplete(format!(
                        "the set `{set}` names the hook `{hook}`, which is not there"
                    )));
                };
                hooks = hooks.union(hook.programs);
            }
            if facts.foreign.unwrap_or(false) {
                hooks = hooks.union(ProgramHooks::FOREIGN_STRUCT_OPS);
            }
            if facts.extension.unwrap_or(false) {
                hooks = hooks.union(ProgramHooks::EXTENSION);
            }
            let allow = self.set_of(facts.allow.as_deref().unwrap_or(&[]))?;
            anywhere |= allow.is_empty();
            allowed = allowed.union(allow);
        }
        let requires = match (&facts.requires, self.era.enforcement) {
            (Some(requires), _) => self.set_of(requires)?,
            (None, EnforcementEntry::RunTime) => {
                self.set_of(facts.mask.as_deref().unwrap_or(&[]))?
            }
            (None, EnforcementEntry::Load) if anywhere => Contexts::NONE,
            (None, EnforcementEntry::Load) => allowed,
        };
        let flags = facts.flags.clone().unwrap_or_default();
        Ok(Kfunc {
            name: name.clone(),
            requires,
            sleepable: flags.contains(&Flag::Sleepable),
            rcu_protected: flags.contains(&Flag::RcuProtected),
            rcu_iterator: flags.contains(&Flag::RcuIterator),
            flags,
            hooks,
            cpu_only: facts.cpu_only.unwrap_or(false),
            own_task: facts.own_task.unwrap_or(false),
            locked_rq: facts.locked_rq.unwrap_or(false),
            damaged: facts.damaged.unwrap_or(false),
            prototype_text: facts
                .prototype
                .as_ref()
                .map(|prototype| prototype.text.clone()),
            prototype: facts
                .prototype
                .as_ref()
                .map(|prototype| prototype.shape.clone()),
            deprecated: in_force(
                deprecation(timeline, |facts| facts.deprecated.clone()),
                self.point,
            ),
            replaced_by: facts.replaced_by.clone().unwrap_or_default(),
            group: sets,
            note: facts.note.clone(),
        })
    }
}
