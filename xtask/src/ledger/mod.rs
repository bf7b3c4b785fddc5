//! `cargo xtask ledger`: the schedulers that come with the kernel, on every kernel, beside what the
//! linter says of them.
//!
//! They are compiled from the kernel's packaged sources into the cache, loaded by libbpf and, where
//! asked for, attached and driven in real kernels. One line each is kept in `tests/ledger/`. A line
//! where the two differ has a reason from `ledger.toml`, or the command fails.

mod compile;
mod plan;
pub mod record;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use scx_lint::KernelRequest;
use scx_lint::kernel::{RulesError, Tables};
use scx_lint::object;
use scx_lint::profile::LoadProfile;
use scx_lint::report::Outcome;

use crate::fixtures::FixturesError;
use crate::kernels::{Cache, Kernel, KernelError, Wanted};
use crate::oracle::answers::{loaded, ran};
use crate::oracle::cases::Case;
use crate::oracle::guest::{Guest, Scheduler};
use crate::oracle::record::{End, LoadResult, Record as OracleRecord, fingerprint};
use crate::oracle::{OracleError, today};
use crate::tools::ToolError;
use compile::Compiled;
use plan::{Plan, Source};
use record::{Ledger, Line, Object, RecordError, Theirs, version};

/// What makes a struct_ops map a scheduler.
const SCHEDULER: &str = "sched_ext_ops";

/// Arguments of `cargo xtask ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask only these kernels again: a series (7.1) or a release (7.1.13); every series in the
    /// cache if none is given
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<Wanted>,
    /// Only schedulers of these kernels' sources; all of them if none is given
    #[arg(long, value_name = "SERIES")]
    source: Vec<Wanted>,
    /// Only these objects (`selftests/maximal`)
    #[arg(long, value_name = "NAME")]
    object: Vec<String>,
    /// Renew our verdicts and keep the kernels', without booting any
    #[arg(long)]
    lint_only: bool,
    /// Also attach and drive what loads, where a denied call shows only at run time
    #[arg(long)]
    run: bool,
}

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No such kernel or package.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The guest.
    #[error(transparent)]
    Guest(#[from] OracleError),
    /// The tables.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The linter.
    #[error(transparent)]
    Lint(#[from] scx_lint::Error),
    /// A kept ledger.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// `ledger.toml` is wrong.
    #[error("xtask/ledger.toml: {0}")]
    Plan(Box<toml::de::Error>),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A package without source.
    #[error("{0} holds no source archive")]
    NoArchive(String),
    /// A makefile that does not say.
    #[error("{}: `{found}` is no release", path.display())]
    NoRelease {
        /// The makefile.
        path: PathBuf,
        /// What it seems to say.
        found: String,
    },
    /// No compiler.
    #[error(transparent)]
    Compiler(#[from] FixturesError),
}

/// Runs it; 1 if a difference has no reason.
pub fn run(args: &Args) -> Result<u8, LedgerError> {
    let cache = Cache::open()?;
    let plan = Plan::load()?;
    let kernels = match args.kernel.as_slice() {
        _ if args.lint_only => Vec::new(),
        [] => cache.all()?,
        wanted => wanted
            .iter()
            .map(|one| cache.find(*one))
            .collect::<Result<_, _>>()?,
    };
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/ledger"));
    std::fs::create_dir_all(directory).map_err(|source| LedgerError::File {
        path: directory.to_owned(),
        source,
    })?;
    let mut books = Vec::new();
    for source in &plan.sources {
        if !args.source.is_empty()
            && args
                .source
                .iter()
                .all(|wanted| wanted.series != source.series)
        {
            continue;
        }
        let path = directory.join(format!("{}.toml", source.series));
        let compiled = compile::compile(&cache, source)?;
        books.push(Book::open(&plan, source, &compiled, path, args)?);
    }
    let releases: Vec<String> = kernels
        .iter()
        .map(|kernel| kernel.release.to_string())
        .collect();
    for book in &mut books {
        book.lint(&releases)?;
    }
    // One boot for all sources.
    for kernel in kernels {
        let (kernel, note) = with_config(&cache, kernel)?;
        ask(&kernel, &note, &mut books, args)?;
        // A kernel's answers are dear: they are kept even if the next one cannot be asked.
        keep(&mut books)?;
    }
    keep(&mut books)?;
    let open: usize = books.iter().map(Book::summary).sum();
    Ok(u8::from(open > 0))
}

fn keep(books: &mut [Book<'_>]) -> Result<(), RecordError> {
    for book in books {
        book.explain();
        book.ledger.write(&book.path)?;
    }
    Ok(())
}

/// One source's ledger while it is being made.
struct Book<'p> {
    plan: &'p Plan,
    source: &'p Source,
    path: PathBuf,
    ledger: Ledger,
    /// Beside the ledger's objects, in their order; absent for those not to be touched.
    cases: Vec<(Case, LoadProfile)>,
}

impl<'p> Book<'p> {
    fn open(
        plan: &'p Plan,
        source: &'p Source,
        compiled: &Compiled,
        path: PathBuf,
        args: &Args,
    ) -> Result<Book<'p>, LedgerError> {
        let kept = Ledger::read(&path)?;
        let mut ledger = Ledger {
            source: compiled.release.to_string(),
            compiler: compiled.compiler.clone(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            linted: today()?,
            asked: kept
                .as_ref()
                .map(|kept| kept.asked.clone())
                .unwrap_or_default(),
            objects: Vec::new(),
        };
        let mut cases = Vec::new();
        for (name, file) in &compiled.objects {
            let bytes = std::fs::read(file).map_err(|source| LedgerError::File {
                path: file.clone(),
                source,
            })?;
            let old = kept
                .as_ref()
                .and_then(|kept| kept.objects.iter().find(|old| old.name == *name));
            let (profile, mut settings) = plan.loader(source.series, name);
            let now = Object {
                name: name.clone(),
                fingerprint: fingerprint(&bytes),
                profile: options(&profile),
                on: Vec::new(),
            };
            // What a kernel said of another object, or one loaded otherwise, says nothing of this one.
            let same =
                old.filter(|old| old.fingerprint == now.fingerprint && old.profile == now.profile);
            let on = same.map(|old| old.on.clone()).unwrap_or_default();
            ledger.objects.push(Object { on, ..now });
            if args.object.is_empty() || args.object.contains(name) {
                settings.attach = schedulers(name, &bytes);
                let case = Case {
                    // Objects of several sources share a guest.
                    name: format!("{}/{name}", source.series),
                    object: file.clone(),
                    fingerprint: fingerprint(&bytes),
                    bytes,
                    settings,
                };
                cases.push((case, profile));
            }
        }
        Ok(Book {
            plan,
            source,
            path,
            ledger,
            cases,
        })
    }

    fn object(&mut self, case: &str) -> Option<&mut Object> {
        let name = case.split_once('/').map_or(case, |(_, name)| name);
        self.ledger
            .objects
            .iter_mut()
            .find(|object| object.name == name)
    }

    /// Renews our verdicts: on the releases that are or were asked, and the series that were not.
    fn lint(&mut self, to_ask: &[String]) -> Result<(), LedgerError> {
        let tables = Tables::bundled()?;
        for index in 0..self.cases.len() {
            let Some((case, profile)) = self.cases.get(index).cloned() else {
                continue;
            };
            let Some(object) = self.object(&case.name) else {
                continue;
            };
            let mut lines = Vec::new();
            for series in tables.releases() {
                let series = series.to_string();
                let old = object
                    .on
                    .iter()
                    .find(|line| same_series(&line.kernel, &series));
                let release = to_ask
                    .iter()
                    .find(|release| same_series(release, &series))
                    .cloned();
                let kernel = release
                    .or_else(|| old.map(|line| line.kernel.clone()))
                    .unwrap_or(series);
                let old = old.filter(|line| line.kernel == kernel);
                lines.push(Line {
                    theirs: old.and_then(|old| old.theirs),
                    said: old.map(|old| one_line(&old.said)).unwrap_or_default(),
                    kernel,
                    ours: Outcome::Unknown,
                    we: String::new(),
                    reason: String::new(),
                });
            }
            claim(&case, &profile, &mut lines)?;
            object.on = lines;
        }
        Ok(())
    }

    /// Gives every difference its reason, if one is known.
    fn explain(&mut self) {
        for object in &mut self.ledger.objects {
            for line in &mut object.on {
                let known = if line.agrees() {
                    None
                } else {
                    self.plan.reason(self.source.series, &object.name, line)
                };
                line.reason = known.unwrap_or_default().to_owned();
            }
        }
    }

    /// Prints what differs without a reason, and returns how much that is.
    fn summary(&self) -> usize {
        let (mut asked, mut agreed, mut explained, mut open) = (0, 0, 0, 0);
        let mut lines = 0;
        for object in &self.ledger.objects {
            for line in &object.on {
                lines += 1;
                asked += usize::from(line.theirs.is_some());
                if line.agrees() {
                    agreed += usize::from(line.theirs.is_some());
                } else if line.reason.is_empty() {
                    open += 1;
                    println!(
                        "  {} {} on {}: {}, ours: {} ({}{}{})",
                        self.ledger.source,
                        object.name,
                        line.kernel,
                        line.theirs.map_or("not asked", word),
                        line.ours.phrase(),
                        line.said,
                        if line.said.is_empty() || line.we.is_empty() {
                            ""
                        } else {
                            "; "
                        },
                        line.we,
                    );
                } else {
                    explained += 1;
                }
            }
        }
        println!(
            "{:<8} {} objects, {lines} verdicts of ours, {asked} of kernels: {agreed} agree, {explained} differ \
             with a reason, {open} without",
            self.ledger.source,
            self.ledger.objects.len(),
        );
        open
    }
}

/// A kernel with a configuration, without which libbpf loads nothing that has an `extern __kconfig`.
/// Some packages come without; then the next newer kernel's serves, which is said in the ledger.
fn with_config(cache: &Cache, mut kernel: Kernel) -> Result<(Kernel, String), LedgerError> {
    if kernel.config.is_some() {
        return Ok((kernel, String::new()));
    }
    let newer = cache
        .all()?
        .into_iter()
        .filter(|other| other.release > kernel.release);
    let Some(other) = newer.into_iter().find(|other| other.config.is_some()) else {
        return Ok((kernel, String::new()));
    };
    kernel.config = other.config;
    Ok((
        kernel,
        format!(", with the configuration of {}", other.release),
    ))
}

/// Has a kernel load everything, and run what `--run` is for.
fn ask(
    kernel: &Kernel,
    note: &str,
    books: &mut [Book<'_>],
    args: &Args,
) -> Result<(), LedgerError> {
    let release = kernel.release.to_string();
    let cases: Vec<Case> = books
        .iter()
        .flat_map(|book| book.cases.iter().map(|(case, _)| case.clone()))
        .collect();
    let guest = Guest::new(kernel)?;
    eprintln!("{release}: loading {} objects", cases.len());
    let damaged = damaged(kernel)?;
    let answers = guest.load_whole(&cases)?;
    for found in loaded(&cases, &answers, &damaged) {
        let theirs = of_load(&found.whole);
        if theirs == Theirs::Loads && !args.run && has_run(books, &found.case, &release) {
            continue;
        }
        put(books, &found.case, &release, theirs, &found.whole.because);
    }
    if args.run {
        run_all(&guest, &release, &cases, books, &damaged)?;
    }
    let today = format!("{}{note}", today()?);
    for book in books {
        let series = kernel.release.series.to_string();
        book.ledger
            .asked
            .retain(|kernel, _| !kernel.starts_with(&format!("{series}.")));
        book.ledger.asked.insert(release.clone(), today.clone());
    }
    Ok(())
}

/// Attaches and drives every scheduler that loaded; those we expect to take their machine with them
/// each in one of its own.
fn run_all(
    guest: &Guest<'_>,
    release: &str,
    cases: &[Case],
    books: &mut [Book<'_>],
    damaged: &BTreeSet<String>,
) -> Result<(), LedgerError> {
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    for case in cases {
        let line = find(books, &case.name, release).cloned();
        let Some(line) = line.filter(|line| line.theirs == Some(Theirs::Loads)) else {
            continue;
        };
        for map in &case.settings.attach {
            match line.ours {
                Outcome::Hangs => alone.push(Scheduler { case, map }),
                _ => together.push(Scheduler { case, map }),
            }
        }
    }
    eprintln!(
        "{release}: running {} schedulers",
        together.len() + alone.len()
    );
    let (answers, hung) = guest.run(&together, &alone)?;
    let found = ran(cases, &answers, &hung, damaged);
    for case in cases {
        // The worst of an object's schedulers stands for it.
        let of_case = found.iter().filter(|one| one.case == case.name);
        if let Some(worst) = of_case.max_by_key(|one| severity(one.end)) {
            put(
                books,
                &case.name,
                release,
                of_end(worst.end),
                &worst.because,
            );
        }
    }
    Ok(())
}

/// What is known of an object on a kernel.
fn find<'b>(books: &'b mut [Book<'_>], case: &str, release: &str) -> Option<&'b mut Line> {
    let book = books
        .iter_mut()
        .find(|book| book.cases.iter().any(|(own, _)| own.name == case))?;
    book.object(case)?
        .on
        .iter_mut()
        .find(|line| line.kernel == release)
}

/// Enters a kernel's verdict.
fn put(books: &mut [Book<'_>], case: &str, release: &str, theirs: Theirs, said: &str) {
    if let Some(line) = find(books, case, release) {
        line.theirs = Some(theirs);
        line.said = one_line(said);
    }
}

/// Whether it is known what happens after loading, which loading alone does not tell anew.
fn has_run(books: &mut [Book<'_>], case: &str, release: &str) -> bool {
    let known = find(books, case, release).and_then(|line| line.theirs);
    matches!(
        known,
        Some(Theirs::Runs | Theirs::Killed | Theirs::Hangs | Theirs::NotAttached)
    )
}

/// Fills in our verdicts, and the first reason for each.
fn claim(case: &Case, profile: &LoadProfile, lines: &mut [Line]) -> Result<(), LedgerError> {
    let selection = lines.iter().map(|line| line.kernel.clone()).collect();
    let request = KernelRequest {
        selection,
        ..KernelRequest::default()
    };
    let report = scx_lint::check_bytes(&case.name, &case.bytes, &request, profile)?;
    let verdicts = report
        .objects
        .first()
        .map(|object| object.kernels.as_slice())
        .unwrap_or_default();
    let failure = report
        .failures
        .first()
        .map(|failure| failure.message.as_str());
    // The report has the kernels oldest first, as we do.
    for (index, line) in lines.iter_mut().enumerate() {
        match verdicts.get(index) {
            Some(found) => {
                line.ours = found.outcome;
                line.we = found.reasons.first().cloned().unwrap_or_default();
            }
            None => failure.unwrap_or_default().clone_into(&mut line.we),
        }
    }
    Ok(())
}

/// The kfuncs that a build lacks the true prototype of, as `cargo xtask oracle` found them.
fn damaged(kernel: &Kernel) -> Result<BTreeSet<String>, LedgerError> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let record = OracleRecord::read(&OracleRecord::path(
        root,
        &kernel.release.series.to_string(),
    ));
    // Without a record a damaged build shows as differences, which is not silent.
    Ok(record
        .map(|record| record.damaged.into_iter().collect())
        .unwrap_or_default())
}

/// The struct_ops maps that are schedulers.
fn schedulers(name: &str, bytes: &[u8]) -> Vec<String> {
    let Ok(object) = object::parse(name, bytes) else {
        return Vec::new();
    };
    let maps = object
        .struct_ops
        .iter()
        .filter(|map| map.essential_type_name().starts_with(SCHEDULER));
    maps.map(|map| map.name.to_owned()).collect()
}

fn of_load(result: &LoadResult) -> Theirs {
    match result {
        LoadResult { loads: true, .. } => Theirs::Loads,
        LoadResult { defect: true, .. } => Theirs::Damaged,
        LoadResult { .. } => Theirs::Refused,
    }
}

fn of_end(end: End) -> Theirs {
    match end {
        End::Alive => Theirs::Runs,
        End::Killed => Theirs::Killed,
        End::NotAttached => Theirs::NotAttached,
        End::NotLoaded => Theirs::Refused,
        End::Hung => Theirs::Hangs,
    }
}

fn severity(end: End) -> u8 {
    match end {
        End::Alive => 0,
        End::NotAttached => 1,
        End::NotLoaded => 2,
        End::Killed => 3,
        End::Hung => 4,
    }
}

fn word(theirs: Theirs) -> &'static str {
    match theirs {
        Theirs::Loads => "loads",
        Theirs::Runs => "runs",
        Theirs::Refused => "does not load",
        Theirs::NotAttached => "is not attached",
        Theirs::Killed => "is killed",
        Theirs::Hangs => "hangs",
        Theirs::Damaged => "damaged build",
    }
}

/// A profile as options of the command line.
fn options(profile: &LoadProfile) -> String {
    let set = profile
        .set
        .iter()
        .map(|(name, value)| format!("--set {name}={value}"));
    let off = profile
        .no_autoload
        .iter()
        .map(|name| format!("--no-autoload {name}"));
    let null = profile.null.iter().map(|path| format!("--null {path}"));
    set.chain(off).chain(null).collect::<Vec<_>>().join(" ")
}

fn same_series(a: &str, b: &str) -> bool {
    version(a).iter().take(2).eq(version(b).iter().take(2))
}

/// `oracle-guest[58]` is another task and another number the next time.
fn without_task(word: &str) -> String {
    match word
        .strip_suffix(']')
        .and_then(|rest| rest.rsplit_once('['))
    {
        Some((_, pid)) if pid.bytes().all(|byte| byte.is_ascii_digit()) => "task[pid]".to_owned(),
        _ => word.to_owned(),
    }
}

/// What is said goes on one line, without what differs from run to run.
fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let words: Vec<String> = text.split_whitespace().map(without_task).collect();
    words.join(" ").chars().take(MOST).collect()
}
