//! A table in the format of `rules/` from what a kernel answered.
//!
//! It extends the bundled tables and speaks of one kernel, at exactly its point release: what was
//! asked overrides them, what cannot be asked (what a kfunc demands when it is called, nesting,
//! hazards) stays as they have it for that release. What each kind of fact rests on is in the
//! table's own evidence.

mod check;
mod kfuncs;
mod members;
mod types;

use toml::Spanned;

use super::answers::Answers;
use super::types::KernelTypes;
use crate::kernel::format::{
    ContextEntry, EnforcementEntry, EraEntry, EvidenceEntry, File, Manifest, ReleaseEntry, Text,
};
use crate::kernel::{Area, Enforcement, Kernel, ProgramHooks, Release, RulesError, Status, Tables};

/// Version of the format this writes.
const FORMAT: u32 = 1;

/// A table that is written.
#[derive(Debug)]
pub struct Written {
    /// Its text.
    pub text: String,
    /// What was asked and the format cannot say, or the table says otherwise; none for any kernel
    /// we know.
    pub unexpressed: Vec<String>,
    /// How many answers the table was compared with.
    pub compared: usize,
}

/// Why no table was written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The tables that the new one extends.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Should not happen; better said than a panic.
    #[error("the table cannot be written as TOML: {0}")]
    Toml(#[from] toml::ser::Error),
}

/// Writes the table of a kernel.
///
/// `release` is the kernel's, `source` what the facts are said to come from; `types` are its types
/// beyond those of the answers.
pub fn write(
    answers: &Answers,
    types: Option<&KernelTypes>,
    tables: &Tables,
    release: Release,
    source: &str,
) -> Result<Written, TableError> {
    let mut writer = Writer::new(answers, types, tables, release)?;
    let mut file = File {
        manifest: Some(writer.manifest(source)),
        ..File::default()
    };
    writer.callbacks(&mut file);
    writer.kfuncs(&mut file);
    writer.enums(&mut file);
    if let Some(types) = types {
        writer.structs(types, &mut file);
        writer.others(types, &mut file);
    }
    if writer.moved {
        writer.era(&mut file, source);
    }
    file.release.push(writer.release(source));
    let mut text = format!("# {}.\n", heading(answers, source));
    text.push_str(
        "# Made by `scx-lint probe`; use it with `--rules DIRECTORY`, where DIRECTORY holds this \
         file and no other.\n\n",
    );
    text.push_str(&toml::to_string_pretty(&file)?);
    let (compared, wrong) = check::compare(answers, &text, writer.exact)?;
    writer.unexpressed.extend(wrong);
    Ok(Written {
        text,
        unexpressed: writer.unexpressed,
        compared,
    })
}

fn heading(answers: &Answers, source: &str) -> String {
    match answers.version.as_str() {
        "" => format!("Facts about one kernel: {source}"),
        version => format!("Facts about one kernel: {source} ({version})"),
    }
}

/// The table in the making.
struct Writer<'a> {
    answers: &'a Answers,
    types: Option<&'a KernelTypes>,
    tables: &'a Tables,
    /// The kernel, to the point release.
    exact: Release,
    /// What the tables take for it where it was not or cannot be asked.
    base: Kernel,
    /// Every other series, the most similar first.
    others: Vec<Kernel>,
    /// The kernel does not check contexts when its release should, so `base` is of another.
    moved: bool,
    /// Contexts made up for callers that no context of the tables describes.
    made_up: Vec<kfuncs::MadeUp>,
    unexpressed: Vec<String>,
    /// Kfuncs whose contexts were not measured.
    taken_over: Vec<String>,
}

impl<'a> Writer<'a> {
    fn new(
        answers: &'a Answers,
        types: Option<&'a KernelTypes>,
        tables: &'a Tables,
        release: Release,
    ) -> Result<Writer<'a>, RulesError> {
        let newest = tables.newest(release).and_then(|newest| newest.patch);
        let exact = Release {
            patch: Some(release.patch.or(newest).unwrap_or(0)),
            ..release
        };
        let series = tables.releases();
        // A kernel between or beyond those described has what the last before it has.
        let known = series.contains(&exact.series());
        let nearest = series
            .iter()
            .rev()
            .find(|known| **known <= exact.series())
            .or(series.first());
        let mut base = match (known, nearest) {
            (false, Some(nearest)) => tables.kernel(*nearest)?,
            _ => tables.kernel(exact)?,
        };
        let mut others = Vec::new();
        for release in series.iter().rev() {
            others.push(tables.kernel(*release)?);
        }
        let expected = match answers.checks_contexts() {
            Some(true) => Some(Enforcement::Load),
            Some(false) => Some(Enforcement::RunTime),
            None => None,
        };
        let moved = expected.is_some_and(|expected| expected != base.enforcement);
        if let (true, Some(expected)) = (moved, expected) {
            let mut same = others.iter().filter(|other| other.enforcement == expected);
            let similar = match expected {
                Enforcement::Load => same.next_back(),
                Enforcement::RunTime => same.next(),
            };
            if let Some(similar) = similar {
                base = similar.clone();
            }
        }
        Ok(Writer {
            answers,
            types,
            tables,
            exact,
            base,
            others,
            moved,
            made_up: Vec::new(),
            unexpressed: Vec::new(),
            taken_over: Vec::new(),
        })
    }

    fn manifest(&self, source: &str) -> Manifest {
        Manifest {
            format: spanned(FORMAT),
            title: source.to_owned(),
            extends: Some(text("bundled")),
            drop: Vec::new(),
            releases: vec![spanned(self.exact.series())],
            complete_prefixes: Vec::new(),
            complete_type_prefixes: Vec::new(),
        }
    }

    fn since(&self) -> Option<Spanned<Release>> {
        Some(spanned(self.exact))
    }

    /// The range of what ended before this kernel.
    fn before(&self) -> String {
        let Release {
            major,
            minor,
            patch,
        } = self.exact;
        match (
            patch.and_then(|patch| patch.checked_sub(1)),
            minor.checked_sub(1),
        ) {
            (Some(patch), _) => format!("..{major}.{minor}.{patch}"),
            (None, Some(minor)) => format!("..{major}.{minor}"),
            (None, None) => format!("..{}.{}", major.saturating_sub(1), u16::MAX),
        }
    }

    /// When and as what contexts are checked, where the release does it otherwise.
    fn era(&self, file: &mut File, source: &str) {
        let base = &self.base;
        let names = |contexts| base.context_names(contexts).into_iter().map(text).collect();
        file.era.push(EraEntry {
            since: self.since(),
            until: None,
            enforcement: spanned(match base.enforcement {
                Enforcement::RunTime => EnforcementEntry::RunTime,
                Enforcement::Load => EnforcementEntry::Load,
            }),
            message: base.refusal_pattern().to_owned(),
            async_contexts: names(base.async_contexts()),
            async_checked_as_armer: base.async_checked_as_armer(),
            nested_inherits: base.nested_inherits(),
            async_sleeps_with_program: base.async_sleeps_with_program(),
            nested_increases: base.nested_increases(),
            source: source.to_owned(),
        });
        for context in base.mask_order() {
            file.context.push(ContextEntry {
                name: text(&context.name),
                since: self.since(),
                until: None,
                symbol: context.symbol.clone(),
                value: context.value,
                nested_error: context.nested_error.clone(),
                source: format!("as in {}", base.release),
            });
        }
    }

    fn release(&self, source: &str) -> ReleaseEntry {
        let measured = EvidenceEntry {
            of: Vec::new(),
            names: Vec::new(),
            status: if self.answers.asked() {
                Status::Measured
            } else {
                Status::Read
            },
            source: source.to_owned(),
        };
        let by_load = self.answers.asked() && self.base.enforcement == Enforcement::Load;
        let seen = |area: &Area| match area {
            Area::Kfuncs | Area::Prototypes | Area::Members | Area::Enums => true,
            Area::Sleepable => self.answers.asked(),
            Area::Requires | Area::Callbacks => by_load,
            Area::Types | Area::OtherKfuncs => self.types.is_some(),
            Area::Behaviour => false,
        };
        let (seen, unseen): (Vec<Area>, Vec<Area>) = Area::ALL.iter().partition(|area| seen(area));
        let mut evidence = Vec::new();
        if by_load && !self.taken_over.is_empty() {
            evidence.push(EvidenceEntry {
                of: vec![Area::Requires],
                names: self.taken_over.iter().map(|name| text(name)).collect(),
                status: Status::Inferred,
                source: format!(
                    "no program that calls it loads in this build; taken over from {}",
                    self.base.release
                ),
            });
        }
        evidence.push(EvidenceEntry {
            of: seen,
            ..measured
        });
        let (known, _) = self.tables.evidence(self.base.release);
        for entry in known {
            let of: Vec<Area> = entry
                .of
                .iter()
                .filter(|area| unseen.contains(area))
                .copied()
                .collect();
            if !of.is_empty() {
                evidence.push(EvidenceEntry {
                    of,
                    names: entry.names.clone(),
                    status: entry.status,
                    source: format!(
                        "taken over from {}: {}",
                        self.base.release.series(),
                        entry.source
                    ),
                });
            }
        }
        ReleaseEntry {
            version: spanned(self.exact.series()),
            newest: spanned(self.exact),
            notes: self.notes(),
            evidence,
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.base.release.series() != self.exact.series() {
            notes.push(format!(
                "the bundled tables have no such kernel; what cannot be asked is that of {}",
                self.base.release
            ));
        }
        let damaged = self.taken_over.len();
        if damaged > 0 {
            notes.push(format!(
                "{damaged} kfuncs cannot be called in this build, whose types keep their implicit \
                 arguments: {}",
                self.taken_over.join(", ")
            ));
        }
        notes
    }
}

/// The kinds of program that the probe asks about, besides a scheduler's callbacks.
const KINDS: [ProgramHooks; 8] = [
    ProgramHooks::FOREIGN_STRUCT_OPS,
    ProgramHooks::SYSCALL,
    ProgramHooks::TRACING,
    ProgramHooks::TRACEPOINT,
    ProgramHooks::RAW_TRACEPOINT,
    ProgramHooks::PERF_EVENT,
    ProgramHooks::LSM,
    ProgramHooks::KPROBE,
];

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn text(text: &str) -> Text {
    spanned(text.to_owned())
}

fn texts<'t>(names: impl IntoIterator<Item = &'t str>) -> Vec<Text> {
    names.into_iter().map(text).collect()
}
