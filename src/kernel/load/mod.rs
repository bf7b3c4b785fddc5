//! From TOML texts to [`Tables`], with every check that a table has to pass.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use toml::Spanned;

use super::error::{Place, RulesError};
use super::facts::{CallbackFacts, KfuncFacts, SetFacts, StructOpsFacts};
use super::format::{self, File, Text};
use super::model::{CallbackTaker, Hazard, NestingEdge, RegionEffect};
use super::release::{Point, Range, Release};
use super::tables::{ContextRow, Data, Era, Field, Hook, Lined, Series, SourceFile, Tables};
use super::timeline::{Inherit, Origin, Statement, Timeline};

/// Version of the format this reads.
const FORMAT: u32 = 1;

mod simple;
mod timed;

mod bundled_files {
    include!(concat!(env!("OUT_DIR"), "/rules.rs"));
}

/// The tables built into scx-lint.
pub(crate) fn bundled() -> Result<Tables, RulesError> {
    let mut reader = Reader::default();
    reader.layer(bundled_layer())?;
    reader.finish("bundled tables")
}

/// The tables of a directory.
pub(crate) fn directory(directory: &Path) -> Result<Tables, RulesError> {
    let files = collect(directory)?;
    if files.is_empty() {
        return Err(RulesError::Empty {
            path: directory.to_owned(),
        });
    }
    let files = files
        .into_iter()
        .map(|(name, text)| (name, Cow::Owned(text)))
        .collect();
    user(&directory.display().to_string(), files)
}

/// Tables from texts already read.
pub(crate) fn texts(title: &str, files: Vec<(String, String)>) -> Result<Tables, RulesError> {
    user(
        title,
        files
            .into_iter()
            .map(|(name, text)| (name, Cow::Owned(text)))
            .collect(),
    )
}

type NamedText = (String, Cow<'static, str>);

fn bundled_layer() -> Vec<NamedText> {
    bundled_files::FILES
        .iter()
        .map(|(name, text)| (format!("rules/{name}"), Cow::Borrowed(*text)))
        .collect()
}

/// Everything of a table that does not come with scx-lint is read at once, so that what is wrong
/// with it is said at once.
fn user(title: &str, files: Vec<NamedText>) -> Result<Tables, RulesError> {
    let mut reader = Reader::default();
    let parsed = parse(&files)?;
    let extends = parsed
        .iter()
        .find_map(|file| file.manifest.as_ref()?.extends.clone());
    if let Some(base) = &extends {
        if base.get_ref() != "bundled" {
            reader.keep(files);
            let file = reader.manifest_file(&parsed);
            return Err(reader.wrong(
                Origin {
                    file,
                    offset: base.span().start,
                },
                format!(
                    "`extends = \"{}\"` names no table; only \"bundled\" is there",
                    base.get_ref()
                ),
            ));
        }
        reader.layer(bundled_layer())?;
    }
    reader.parsed_layer(files, parsed)?;
    let tables = reader.finish(title)?;
    super::check::everything(&tables)?;
    Ok(tables)
}

/// The `*.toml` of a directory and of its `kernels/`, as the bundled tables are laid out; a file
/// by itself is a table too.
fn collect(path: &Path) -> Result<Vec<(String, String)>, RulesError> {
    let unreadable = |path: &Path, source| RulesError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let read = |path: &Path| -> Result<(String, String), RulesError> {
        let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
        Ok((path.display().to_string(), text))
    };
    if path.is_file() {
        return Ok(vec![read(path)?]);
    }
    let mut files = Vec::new();
    let kernels = path.join("kernels");
    for directory in [Some(path), kernels.is_dir().then_some(kernels.as_path())] {
        let Some(directory) = directory else { continue };
        let entries =
            std::fs::read_dir(directory).map_err(|source| unreadable(directory, source))?;
        for entry in entries {
            let path = entry
                .map_err(|source| unreadable(directory, source))?
                .path();
            if path.is_file()
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                files.push(read(&path)?);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn parse(files: &[NamedText]) -> Result<Vec<File>, RulesError> {
    files
        .iter()
        .map(|(name, text)| parse_one(name, text))
        .collect()
}

fn parse_one(name: &str, text: &str) -> Result<File, RulesError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        RulesError::Invalid {
            place: Place::at(name, text, offset),
            message: error.message().trim().replace('\n', ", "),
        }
    })
}

/// One text for each name.
type Renames = BTreeMap<Arc<str>, Arc<str>>;

/// All statements, by name, before they are put in order.
type Statements<T> = BTreeMap<Arc<str>, Vec<Statement<T>>>;

#[derive(Default)]
struct Reader {
    files: Vec<SourceFile>,
    layer: usize,
    manifest: Option<(usize, format::Manifest)>,
    complete_prefixes: Vec<String>,
    complete_type_prefixes: Vec<String>,
    series: BTreeMap<Release, (Origin, usize, Series)>,
    eras: Vec<(Origin, usize, Era)>,
    contexts: Vec<(Origin, usize, ContextRow)>,
    hooks: Vec<(Origin, usize, Hook)>,
    sets: Statements<SetFacts>,
    kfuncs: Statements<KfuncFacts>,
    struct_ops: Statements<StructOpsFacts>,
    callbacks: Statements<CallbackFacts>,
    fields: Vec<(Origin, usize, Field)>,
    nesting: Vec<(Origin, Range, NestingEdge)>,
    hazards: Vec<(Origin, usize, Range, Hazard)>,
    takers: Vec<CallbackTaker>,
    regions: BTreeMap<Arc<str>, RegionEffect>,
    helpers: Vec<(u32, Arc<str>)>,
    pending_takers: Vec<(usize, format::TakerEntry)>,
    kconfig: Vec<(Origin, Range, format::KconfigEntry)>,
    history: Vec<format::HistoryEntry>,
    enums: Vec<Lined<format::EnumEntry>>,
    structs: Vec<Lined<format::StructEntry>>,
    other_kfuncs: Vec<Lined<format::OtherEntry>>,
    variables: Vec<Lined<format::OtherEntry>>,
    /// Names that have to be known once everything is read: of what, name, place.
    uses: Vec<(Named, Arc<str>, Origin)>,
    removals: Vec<(usize, usize, format::RemovedEntry)>,
}

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Context,
    Set,
    Hook,
    Kfunc,
    Callback,
    StructOps,
}

impl Reader {
    /// Keeps texts so that errors can point into them.
    fn keep(&mut self, files: Vec<NamedText>) {
        self.files.extend(
            files
                .into_iter()
                .map(|(name, text)| SourceFile { name, text }),
        );
    }

    fn layer(&mut self, files: Vec<NamedText>) -> Result<(), RulesError> {
        let parsed = parse(&files)?;
        self.parsed_layer(files, parsed)
    }

    fn manifest_file(&self, parsed: &[File]) -> usize {
        let first = self.files.len().saturating_sub(parsed.len());
        first
            + parsed
                .iter()
                .position(|file| file.manifest.is_some())
                .unwrap_or(0)
    }

    fn parsed_layer(&mut self, files: Vec<NamedText>, parsed: Vec<File>) -> Result<(), RulesError> {
        let first = self.files.len();
        self.keep(files);
        // The manifest says what is to be dropped of the layers below, so it comes first.
        let mut parsed = parsed;
        let mut found = None;
        for (index, file) in parsed.iter_mut().enumerate() {
            if let Some(manifest) = file.manifest.take() {
                let origin = Origin {
                    file: first + index,
                    offset: manifest.format.span().start,
                };
                if found.is_some() {
                    return Err(self.wrong(origin, "a table has only one [manifest]".to_owned()));
                }
                if *manifest.format.get_ref() != FORMAT {
                    return Err(self.wrong(
                        origin,
                        format!(
                            "format {} is not known; this scx-lint reads format {FORMAT}",
                            manifest.format.get_ref()
                        ),
                    ));
                }
                for drop in &manifest.drop {
                    self.drop_kind(drop, first + index)?;
                }
                self.complete_prefixes
                    .extend(manifest.complete_prefixes.iter().cloned());
                self.complete_type_prefixes
                    .extend(manifest.complete_type_prefixes.iter().cloned());
                found = Some((first + index, manifest));
            }
        }
        for (index, file) in parsed.into_iter().enumerate() {
            self.file(first + index, file)?;
        }
        if found.is_some() {
            self.manifest = found;
        }
        self.layer += 1;
        Ok(())
    }

    /// Forgets what lower layers say of one kind of entry.
    fn drop_kind(&mut self, kind: &Text, file: usize) -> Result<(), RulesError> {
        match kind.get_ref().as_str() {
            "release" => self.series.clear(),
            "era" => self.eras.clear(),
            "context" => self.contexts.clear(),
            "hook" => self.hooks.clear(),
            "set" => self.sets.clear(),
            "kfunc" => self.kfuncs.clear(),
            "struct_ops" => self.struct_ops.clear(),
            "callback" => self.callbacks.clear(),
            "field" => self.fields.clear(),
            "nesting" => self.nesting.clear(),
            "hazard" => self.hazards.clear(),
            "taker" => self.pending_takers.clear(),
            "region" => self.regions.clear(),
            "helpers" => self.helpers.clear(),
            "kconfig" => self.kconfig.clear(),
            "history" => self.history.clear(),
            "enum" => self.enums.clear(),
            "struct" => self.structs.clear(),
            "other_kfuncs" => self.other_kfuncs.clear(),
            "variables" => self.variables.clear(),
            other => {
                let origin = Origin {
                    file,
                    offset: kind.span().start,
                };
                return Err(self.wrong(
                    origin,
                    format!("`{other}` is no kind of entry; write \"kfunc\", \"callback\", …"),
                ));
            }
        }
        // Names used by what was dropped need not be known any more; what is left is checked
        // again when a kernel is put together.
        self.uses.clear();
        Ok(())
    }

    fn wrong(&self, origin: Origin, message: String) -> RulesError {
        let place = match self.files.get(origin.file) {
            Some(file) => Place::at(&file.name, &file.text, origin.offset),
            None => Place {
                file: "rules".to_owned(),
                line: 1,
                column: 1,
            },
        };
        RulesError::Invalid { place, message }
    }

    fn range(
        &self,
        file: usize,
        since: &Option<Spanned<Release>>,
        until: &Option<Spanned<Release>>,
    ) -> Result<Range, RulesError> {
        let first = since
            .as_ref()
            .map_or(Point::START, |since| since.get_ref().first());
        let last = until
            .as_ref()
            .map_or(Point::END, |until| until.get_ref().last());
        if first > last {
            let offset = until.as_ref().map_or(0, |until| until.span().start);
            return Err(self.wrong(
                Origin { file, offset },
                "`until` is before `since`; `until` is the last release, itself included"
                    .to_owned(),
            ));
        }
        Ok(Range {
            maybe_since: first,
            since: first,
            until: last,
            maybe_until: last,
        })
    }

    fn use_names(&mut self, named: Named, file: usize, names: &[Text]) -> Vec<Arc<str>> {
        names
            .iter()
            .map(|name| self.use_name(named, file, name))
            .collect()
    }

    fn use_name(&mut self, named: Named, file: usize, name: &Text) -> Arc<str> {
        let shared: Arc<str> = Arc::from(name.get_ref().as_str());
        self.uses.push((
            named,
            shared.clone(),
            Origin {
                file,
                offset: name.span().start,
            },
        ));
        shared
    }

    fn file(&mut self, index: usize, file: File) -> Result<(), RulesError> {
        for entry in file.release {
            self.release(index, entry)?;
        }
        for entry in file.era {
            self.era(index, entry)?;
        }
        for entry in file.context {
            self.context(index, entry)?;
        }
        for entry in file.hook {
            self.hook(index, entry)?;
        }
        for entry in file.set {
            self.set(index, entry)?;
        }
        for entry in file.kfunc {
            self.kfunc(index, entry)?;
        }
        for entry in file.struct_ops {
            self.struct_ops_entry(index, entry)?;
        }
        for entry in file.callback {
            self.callback(index, entry)?;
        }
        for entry in file.field {
            self.field(index, entry)?;
        }
        self.removals.extend(
            file.removed
                .into_iter()
                .map(|entry| (index, self.layer, entry)),
        );
        for entry in file.nesting {
            self.nesting(index, entry)?;
        }
        for entry in file.hazard {
            self.hazard(index, entry)?;
        }
        self.pending_takers
            .extend(file.taker.into_iter().map(|entry| (index, entry)));
        for entry in file.region {
            self.region(entry);
        }
        if let Some(entry) = file.helpers {
            self.helpers(index, &entry)?;
        }
        for entry in file.kconfig {
            let range = self.range(index, &entry.since, &entry.until)?;
            let origin = Origin {
                file: index,
                offset: entry.name.span().start,
            };
            self.kconfig.push((origin, range, entry));
        }
        self.history.extend(file.history);
        let layer = self.layer;
        self.enums.extend(file.enums.into_iter().map(|entry| Lined {
            file: index,
            layer,
            entry,
        }));
        self.structs
            .extend(file.structs.into_iter().map(|entry| Lined {
                file: index,
                layer,
                entry,
            }));
        self.other_kfuncs
            .extend(file.other_kfuncs.into_iter().map(|entry| Lined {
                file: index,
                layer,
                entry,
            }));
        self.variables
            .extend(file.variables.into_iter().map(|entry| Lined {
                file: index,
                layer,
                entry,
            }));
        Ok(())
    }

    /// `[[removed]]` ends timelines, so it waits for all of them.
    fn removals(&mut self) -> Result<(), RulesError> {
        for (file, layer, entry) in std::mem::take(&mut self.removals) {
            let since = entry.since.get_ref().first();
            let origin = Origin {
                file,
                offset: entry.since.span().start,
            };
            let known = match (&entry.kfunc, &entry.callback, &entry.field) {
                (Some(name), None, None) => {
                    end(&mut self.kfuncs, name.get_ref(), layer, origin, since)
                }
                (None, Some(name), None) => {
                    end(&mut self.callbacks, name.get_ref(), layer, origin, since)
                }
                (None, None, Some(name)) => {
                    let mut known = false;
                    for (_, _, field) in &mut self.fields {
                        if *field.name == **name.get_ref() && field.range.until == Point::END {
                            let last = entry.since.get_ref().first();
                            field.range.until = last.previous();
                            field.range.maybe_until = last.previous();
                            known = true;
                        }
                    }
                    known
                }
                _ => {
                    return Err(self.wrong(
                        origin,
                        "[[removed]] names one `kfunc`, `callback` or `field`".to_owned(),
                    ));
                }
            };
            if !known {
                return Err(self.wrong(
                    origin,
                    "[[removed]] names something no table has".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn timelines<T: Inherit>(
        &self,
        what: &str,
        statements: Statements<T>,
    ) -> Result<BTreeMap<Arc<str>, Timeline<T>>, RulesError> {
        let mut timelines = BTreeMap::new();
        for (name, statements) in statements {
            match Timeline::build(statements) {
                Ok(timeline) => {
                    timelines.insert(name, timeline);
                }
                Err(overlap) => {
                    let first = self.wrong(overlap.first, String::new());
                    let first = match first {
                        RulesError::Invalid { place, .. } => place.to_string(),
                        _ => String::new(),
                    };
                    return Err(self.wrong(
                        overlap.second,
                        format!(
                            "two ranges of the {what} `{name}` overlap; the other is at {first}"
                        ),
                    ));
                }
            }
        }
        Ok(timelines)
    }

    /// Every name that was used has to be the name of something.
    fn check_uses(&self, known: &Known<'_>) -> Result<(), RulesError> {
        for (named, name, origin) in &self.uses {
            let (names, what): (&BTreeSet<&str>, &str) = match named {
                Named::Context => (&known.contexts, "context"),
                Named::Set => (&known.sets, "set"),
                Named::Hook => (&known.hooks, "hook"),
                Named::Kfunc => (&known.kfuncs, "kfunc"),
                Named::Callback => (&known.callbacks, "callback"),
                Named::StructOps => (&known.struct_ops, "struct_ops type"),
            };
            if names.contains(&**name) {
                continue;
            }
            let nearest = super::nearest::nearest(name, names.iter().copied());
            let hint = match nearest.first() {
                Some(nearest) => format!("; is it `{nearest}`?"),
                None if names.len() <= 12 => {
                    let all: Vec<&str> = names.iter().copied().collect();
                    format!("; known are {}", all.join(", "))
                }
                None => String::new(),
            };
            return Err(self.wrong(*origin, format!("no {what} is called `{name}`{hint}")));
        }
        Ok(())
    }

    fn finish(mut self, title: &str) -> Result<Tables, RulesError> {
        self.removals()?;
        self.takers()?;
        let keep = match &self.manifest {
            Some((_, manifest)) => manifest.releases.clone(),
            None => Vec::new(),
        };
        for release in &keep {
            if !self.series.contains_key(release.get_ref()) {
                let file = self.manifest.as_ref().map_or(0, |(file, _)| *file);
                return Err(self.wrong(
                    Origin {
                        file,
                        offset: release.span().start,
                    },
                    format!("no [[release]] describes {}", release.get_ref()),
                ));
            }
        }
        let dated = self.series.iter();
        let dated = dated
            .map(|(release, (_, _, series))| (*release, series.newest))
            .collect();
        if !keep.is_empty() {
            self.series
                .retain(|release, _| keep.iter().any(|kept| kept.get_ref() == release));
        }
        if self.series.is_empty() {
            return Err(RulesError::Incomplete {
                table: title.to_owned(),
                message: "no [[release]] in it, so it describes no kernel".to_owned(),
            });
        }
        // A higher layer's statement about the same thing replaces the lower one's.
        let eras = topmost(std::mem::take(&mut self.eras), |new, old| {
            new.range.overlaps(&old.range)
        });
        let contexts = topmost(std::mem::take(&mut self.contexts), |new, old| {
            new.name == old.name && new.range.overlaps(&old.range)
        });
        let hooks = topmost(std::mem::take(&mut self.hooks), |new, old| {
            new.name == old.name && new.range.overlaps(&old.range)
        });
        let fields = topmost(std::mem::take(&mut self.fields), |new, old| {
            new.name == old.name && new.range.overlaps(&old.range)
        });
        let hazards = std::mem::take(&mut self.hazards)
            .into_iter()
            .map(|(origin, layer, range, hazard)| (origin, layer, (range, hazard)))
            .collect();
        let hazards = topmost(hazards, |new, old| {
            new.1.name == old.1.name && new.0.overlaps(&old.0)
        });

        let mut context_names: Vec<Arc<str>> = Vec::new();
        for row in &contexts {
            if !context_names.contains(&row.name) {
                context_names.push(row.name.clone());
            }
        }
        if context_names.len() > u64::BITS as usize {
            return Err(RulesError::Incomplete {
                table: title.to_owned(),
                message: format!("more than {} contexts", u64::BITS),
            });
        }
        let sets = std::mem::take(&mut self.sets);
        let sets = self.timelines("set", sets)?;
        let kfuncs = std::mem::take(&mut self.kfuncs);
        let kfuncs = self.timelines("kfunc", kfuncs)?;
        let struct_ops = std::mem::take(&mut self.struct_ops);
        let struct_ops = self.timelines("struct_ops type", struct_ops)?;
        let callbacks = std::mem::take(&mut self.callbacks);
        let callbacks = self.timelines("callback", callbacks)?;
        self.check_uses(&Known {
            contexts: context_names.iter().map(|name| &**name).collect(),
            sets: sets.keys().map(|name| &**name).collect(),
            hooks: hooks.iter().map(|hook| &*hook.name).collect(),
            kfuncs: kfuncs.keys().map(|name| &**name).collect(),
            callbacks: callbacks.keys().map(|name| &**name).collect(),
            struct_ops: struct_ops.keys().map(|name| &**name).collect(),
        })?;
        let series: Vec<Series> = self
            .series
            .into_values()
            .map(|(_, _, series)| series)
            .collect();
        let title = match self.manifest {
            Some((_, manifest)) => manifest.title,
            None => title.to_owned(),
        };
        Ok(Tables {
            data: Arc::new(Data {
                title,
                files: self.files,
                complete_prefixes: self.complete_prefixes,
                complete_type_prefixes: self.complete_type_prefixes,
                releases: series.iter().map(|series| series.release).collect(),
                series,
                dated,
                eras,
                contexts,
                context_names,
                hooks,
                sets,
                kfuncs,
                struct_ops,
                callbacks,
                fields,
                nesting: self
                    .nesting
                    .into_iter()
                    .map(|(_, range, edge)| (range, edge))
                    .collect(),
                hazards,
                takers: self.takers,
                regions: self.regions,
                helpers: self.helpers,
                kconfig: self
                    .kconfig
                    .into_iter()
                    .map(|(_, range, entry)| (range, entry))
                    .collect(),
                history: self.history,
                enums: self.enums,
                structs: self.structs,
                other_kfuncs: self.other_kfuncs,
                variables: self.variables,
                types: OnceLock::new(),
            }),
        })
    }
}

/// The names that entries may refer to.
struct Known<'n> {
    contexts: BTreeSet<&'n str>,
    sets: BTreeSet<&'n str>,
    hooks: BTreeSet<&'n str>,
    kfuncs: BTreeSet<&'n str>,
    callbacks: BTreeSet<&'n str>,
    struct_ops: BTreeSet<&'n str>,
}

/// Drops what a higher layer says again.
fn topmost<T>(entries: Vec<(Origin, usize, T)>, same: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut kept: Vec<(usize, T)> = Vec::with_capacity(entries.len());
    for (_, layer, entry) in entries {
        kept.retain(|(lower, old)| *lower == layer || !same(&entry, old));
        kept.push((layer, entry));
    }
    kept.into_iter().map(|(_, entry)| entry).collect()
}

/// Ends a timeline; whether there was one.
fn end<T>(
    statements: &mut Statements<T>,
    name: &str,
    layer: usize,
    origin: Origin,
    since: Point,
) -> bool {
    let Some(statements) = statements.get_mut(name) else {
        return false;
    };
    statements.push(Statement {
        layer,
        origin,
        since,
        maybe_since: since,
        until: None,
        facts: None,
    });
    true
}
