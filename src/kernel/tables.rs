//! All releases together: what was loaded from `rules/`, and the questions that concern more than
//! one kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::Kernel;
use super::error::RulesError;
use super::facts::{CallbackFacts, KfuncFacts, SetFacts, StructOpsFacts};
use super::format::{
    Area, EnforcementEntry, EnumEntry, EvidenceEntry, HistoryEntry, KconfigEntry, OtherEntry,
    StructEntry,
};
use super::model::{CallbackTaker, Hazard, NestingEdge, RegionEffect, SourceNote, Status};
use super::release::{Point, Range, Release};
use super::timeline::Timeline;
use super::types::TypeData;

/// Tables of kernel facts, checked when they were loaded. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tables {
    pub(crate) data: Arc<Data>,
}

/// One series as the tables know it.
#[derive(Debug)]
pub(crate) struct Series {
    pub release: Release,
    pub newest: Release,
    pub notes: Vec<String>,
    pub evidence: Vec<EvidenceEntry>,
}

#[derive(Debug)]
pub(crate) struct Era {
    pub range: Range,
    pub enforcement: EnforcementEntry,
    pub message: Arc<str>,
    pub async_contexts: Vec<Arc<str>>,
    pub async_checked_as_armer: bool,
    pub nested_inherits: bool,
    pub async_sleeps_with_program: bool,
    pub nested_increases: bool,
}

#[derive(Debug)]
pub(crate) struct ContextRow {
    pub name: Arc<str>,
    pub range: Range,
    pub symbol: String,
    pub value: u64,
    pub nested_error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Hook {
    pub name: Arc<str>,
    pub range: Range,
    pub programs: super::context::ProgramHooks,
    pub contexts: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub name: Arc<str>,
    pub types: Option<Vec<Arc<str>>>,
    pub range: Range,
    /// Size in bytes, where it is known.
    pub bytes: Option<u64>,
}

/// A text in a compact line format, with the file it stands in.
#[derive(Debug)]
pub(crate) struct Lined<T> {
    pub file: usize,
    pub layer: usize,
    pub entry: T,
}

/// A rules file, kept to point into it.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub name: String,
    pub text: std::borrow::Cow<'static, str>,
}

/// What was loaded.
#[derive(Debug)]
pub(crate) struct Data {
    pub title: String,
    pub files: Vec<SourceFile>,
    pub complete_prefixes: Vec<String>,
    pub complete_type_prefixes: Vec<String>,
    pub series: Vec<Series>,
    /// Every series of every layer with its newest point release, for what was or will be: those
    /// that the manifest does not keep too.
    pub dated: Vec<(Release, Release)>,
    pub releases: Vec<Release>,
    pub eras: Vec<Era>,
    pub contexts: Vec<ContextRow>,
    /// The name of each bit of [`super::Contexts`].
    pub context_names: Vec<Arc<str>>,
    pub hooks: Vec<Hook>,
    pub sets: BTreeMap<Arc<str>, Timeline<SetFacts>>,
    pub kfuncs: BTreeMap<Arc<str>, Timeline<KfuncFacts>>,
    pub struct_ops: BTreeMap<Arc<str>, Timeline<StructOpsFacts>>,
    pub callbacks: BTreeMap<Arc<str>, Timeline<CallbackFacts>>,
    pub fields: Vec<Field>,
    pub nesting: Vec<(Range, NestingEdge)>,
    pub hazards: Vec<(Range, Hazard)>,
    pub takers: Vec<CallbackTaker>,
    pub regions: BTreeMap<Arc<str>, RegionEffect>,
    pub helpers: Vec<(u32, Arc<str>)>,
    pub kconfig: Vec<(Range, KconfigEntry)>,
    pub history: Vec<HistoryEntry>,
    pub enums: Vec<Lined<EnumEntry>>,
    pub structs: Vec<Lined<StructEntry>>,
    pub other_kfuncs: Vec<Lined<OtherEntry>>,
    pub variables: Vec<Lined<OtherEntry>>,
    /// The line formats, read when first needed.
    pub types: OnceLock<Result<TypeData, String>>,
}

/// Where a kfunc is to be had, and what else it was or is called.
#[derive(Debug, Clone, Default)]
pub struct KfuncHistory {
    /// The name asked for.
    pub name: String,
    /// The releases that have it, in order.
    pub releases: Vec<Release>,
    /// What to call in its place, if it is gone or on its way out.
    pub replaced_by: Vec<String>,
    /// What it took the place of.
    pub replaces: Vec<String>,
    /// The kernel's words on its deprecation, and since when.
    pub deprecated: Option<(String, Release)>,
    /// What is known of a name no release has.
    pub never: Option<NeverThere>,
    /// The most similar names there are, best first, when no release has this one.
    pub nearest: Vec<String>,
}

/// A name that no release of the tables has, but programs or texts do.
#[derive(Debug, Clone)]
pub struct NeverThere {
    /// What to use today.
    pub today: Vec<String>,
    /// What it was.
    pub text: String,
    /// Where that is from.
    pub source: String,
}

impl Tables {
    /// The tables built into scx-lint.
    ///
    /// A test proves that they load; the error is there so that nothing has to panic.
    pub fn bundled() -> Result<Tables, RulesError> {
        static READ: OnceLock<Tables> = OnceLock::new();
        match READ.get() {
            Some(tables) => Ok(tables.clone()),
            None => Ok(READ
                .get_or_init({
                    let tables = super::load::bundled()?;
                    || tables
                })
                .clone()),
        }
    }

    /// The tables of a directory (`--rules`), alone or on top of the bundled ones as its manifest
    /// says.
    pub fn load(directory: &std::path::Path) -> Result<Tables, RulesError> {
        super::load::directory(directory)
    }

    /// Tables from texts: `(file name, content)`.
    pub fn from_texts(title: &str, files: Vec<(String, String)>) -> Result<Tables, RulesError> {
        super::load::texts(title, files)
    }

    /// What the tables describe, in a line.
    pub fn title(&self) -> &str {
        &self.data.title
    }

    /// The series the tables describe, oldest first.
    pub fn releases(&self) -> &[Release] {
        &self.data.releases
    }

    /// The newest point release of a series that was looked at.
    pub fn newest(&self, release: Release) -> Option<Release> {
        self.data.series(release).map(|series| series.newest)
    }

    /// One kernel. Without a point release, the newest one known of the series; with one, facts
    /// that changed inside the series are those of that point release.
    pub fn kernel(&self, release: Release) -> Result<Kernel, RulesError> {
        super::assemble::kernel(&self.data, release)
    }

    /// Every series, as [`Tables::kernel`] gives them.
    pub fn kernels(&self) -> Result<Vec<Kernel>, RulesError> {
        self.data
            .releases
            .iter()
            .map(|release| self.kernel(*release))
            .collect()
    }

    /// How the tables know something of a release: the evidence for this very name if there is
    /// some, the release's evidence for the area otherwise.
    pub fn source(&self, release: Release, area: Area, name: &str) -> SourceNote {
        let newest = self.newest(release).unwrap_or(release);
        let exact = Release {
            patch: release.patch.or(newest.patch),
            ..release
        };
        self.data.source(exact, area, name)
    }

    /// All evidence of a release, and its notes.
    pub fn evidence(&self, release: Release) -> (&[EvidenceEntry], &[String]) {
        match self.data.series(release) {
            Some(series) => (&series.evidence, &series.notes),
            None => (&[], &[]),
        }
    }

    /// Reads everything there is, the compact line formats included, which are else read when
    /// first needed. Loading a user's table does this; for the bundled ones a test does.
    pub fn check(&self) -> Result<(), RulesError> {
        super::check::everything(self)
    }

    /// What changed between the point releases of a series, in words.
    pub fn changes_inside(&self, release: Release) -> Vec<String> {
        super::assemble::inside_series(&self.data, release.series())
    }

    /// What the tables know of a kfunc over time, whether any release has it or none.
    pub fn history(&self, kfunc: &str) -> KfuncHistory {
        self.data.history(kfunc)
    }

    /// What is known of any other name (a constant, a callback) that no release has.
    pub fn never_there(&self, name: &str) -> Option<NeverThere> {
        self.data.never_there(name)
    }

    /// The releases whose struct_ops type has a member, oldest first.
    pub fn member_history(&self, struct_ops: &str, member: &str) -> Vec<Release> {
        let data = &self.data;
        let has =
            |(_, newest): &&(Release, Release)| data.has_member(struct_ops, member, newest.first());
        data.dated
            .iter()
            .filter(has)
            .map(|(release, _)| *release)
            .collect()
    }

    /// Whether the tables say anything of a kfunc of that name, scheduler's or not.
    pub fn knows_kfunc(&self, name: &str) -> bool {
        self.data
            .complete_prefixes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
            || self.data.kfuncs.contains_key(name)
            || super::types::of(&self.data)
                .is_some_and(|types| types.other_kfuncs.contains_key(name))
    }

    /// Every kfunc of the scheduler interface that some release has.
    pub fn kfunc_names(&self) -> impl Iterator<Item = &str> {
        self.data.kfuncs.keys().map(|name| &**name)
    }

    /// Every callback, by the name it has in the type others are derived from.
    pub fn callback_names(&self) -> impl Iterator<Item = &str> {
        self.data.callbacks.keys().map(|name| &**name)
    }
}

impl Data {
    pub fn series(&self, release: Release) -> Option<&Series> {
        let index = self.releases.binary_search(&release.series()).ok()?;
        self.series.get(index)
    }

    pub fn era(&self, point: Point) -> Option<&Era> {
        self.eras
            .iter()
            .find(|era| era.range.holds(point) == Some(true))
    }

    /// How a fact about a point release is known.
    pub fn source(&self, release: Release, area: Area, name: &str) -> SourceNote {
        let own = match area {
            Area::Kfuncs | Area::Requires => {
                let period = self
                    .kfuncs
                    .get(name)
                    .and_then(|known| known.period(release.first()));
                period.and_then(|period| period.facts.as_ref()?.own.as_ref())
            }
            Area::Callbacks | Area::Sleepable => {
                let known = self.callbacks.get(name);
                let period = known.and_then(|known| known.period(release.first()));
                period.and_then(|period| period.facts.as_ref()?.own.as_ref())
            }
            _ => None,
        };
        if let Some(own) = own {
            return SourceNote {
                text: own.source.to_string(),
                status: own.status,
            };
        }
        let unknown = || SourceNote {
            text: "not said".to_owned(),
            status: Status::Inferred,
        };
        let Some(series) = self.series(release) else {
            return unknown();
        };
        let of_area = || {
            series
                .evidence
                .iter()
                .filter(|evidence| evidence.of.contains(&area))
        };
        of_area()
            .find(|evidence| evidence.names.iter().any(|known| known.get_ref() == name))
            .or_else(|| of_area().find(|evidence| evidence.names.is_empty()))
            .map(|evidence| SourceNote {
                text: evidence.source.clone(),
                status: evidence.status,
            })
            .unwrap_or_else(unknown)
    }

    /// Whether a struct_ops type has a member at a point.
    fn has_member(&self, struct_ops: &str, member: &str, point: Point) -> bool {
        super::assemble::struct_ops_type(self, struct_ops, point)
            .is_ok_and(|found| found.is_some_and(|found| found.has_member(member)))
    }

    fn never_there(&self, name: &str) -> Option<NeverThere> {
        let entry = self
            .history
            .iter()
            .find(|entry| entry.names.iter().any(|known| known.get_ref() == name))?;
        Some(NeverThere {
            today: entry.today.clone(),
            text: entry.text.clone(),
            source: entry.source.clone(),
        })
    }

    fn history(&self, name: &str) -> KfuncHistory {
        let mut history = KfuncHistory {
            name: name.to_owned(),
            ..KfuncHistory::default()
        };
        if let Some(timeline) = self.kfuncs.get(name) {
            for (release, newest) in &self.dated {
                if timeline.at(newest.first()).is_some() {
                    history.releases.push(*release);
                }
            }
            let mut replaced_by = BTreeSet::new();
            for facts in timeline
                .periods
                .iter()
                .filter_map(|period| period.facts.as_ref())
            {
                replaced_by.extend(
                    facts
                        .replaced_by
                        .iter()
                        .flatten()
                        .map(|new| new.to_string()),
                );
            }
            history.replaced_by = replaced_by.into_iter().collect();
            history.deprecated =
                super::assemble::deprecation(timeline, |facts| facts.deprecated.clone())
                    .map(|deprecation| (deprecation.message.to_string(), deprecation.since));
        }
        for (other, timeline) in &self.kfuncs {
            let replaces = timeline
                .periods
                .iter()
                .filter_map(|period| period.facts.as_ref())
                .any(|facts| facts.replaced_by.iter().flatten().any(|new| **new == *name));
            if replaces {
                history.replaces.push(other.to_string());
            }
        }
        history.never = self.never_there(name);
        if history.releases.is_empty() {
            history.nearest = super::nearest::nearest(name, self.kfuncs.keys().map(|key| &**key));
        }
        history
    }
}
