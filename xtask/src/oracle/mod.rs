//! `cargo xtask oracle`: real kernels judge the tables and the analysis.
//!
//! Every kernel is asked about every cell of the matrix (by `scx-lint probe`), about every fixture,
//! and about every scheduler among the fixtures; the answers are kept in `tests/oracle/` and
//! compared with what the linter says. Nothing is ever left out because it does not agree.

pub(crate) mod answers;
pub(crate) mod cases;
pub(crate) mod guest;
mod judge;
mod probed;
pub(crate) mod record;

use std::path::{Path, PathBuf};

use scx_lint::kernel::{NotARelease, Release, RulesError, Tables};
use scx_lint::report::{Outcome, Report};
use scx_lint::{CheckRequest, KernelRequest};

use crate::kernels::{Cache, Kernel, KernelError, Wanted};
use crate::probe::{self, ProbeError};
use crate::tools::{self, ToolError};
use crate::vm::VmError;
use cases::{Case, CaseError};
use guest::{Guest, Scheduler};
use judge::{Claims, Tally};
use record::{Record, RecordError};

/// Arguments of `cargo xtask oracle`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A series (7.1) or a release (7.1.13); every series in the cache if none is given
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<Wanted>,
    /// Only this part; all of them if none is given
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Only these fixtures
    #[arg(long, value_name = "NAME")]
    fixture: Vec<String>,
    /// Only fixtures that the kept answers say nothing of, or of another object
    #[arg(long)]
    stale: bool,
    /// Ask the probe's questions again, instead of using the answers `cargo xtask probe` has kept
    #[arg(long)]
    fresh: bool,
    /// Compare with the kept answers of the kernels, without booting any
    #[arg(long)]
    kept: bool,
}

/// A part of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The tables with what the verifier allows and the kernel's types say
    Probe,
    /// What becomes of loading every fixture
    Load,
    /// What becomes of the schedulers among them
    Run,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// No such kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No guest ran.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The kernel could not be probed.
    #[error(transparent)]
    ProbeRun(#[from] ProbeError),
    /// The fixtures.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A kept record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The tables.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A record of no release.
    #[error(transparent)]
    Release(#[from] NotARelease),
    /// The linter.
    #[error(transparent)]
    Lint(#[from] scx_lint::Error),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A kernel's types.
    #[error("{}: {source}", path.display())]
    Btf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: scx_lint::btf::BtfError,
    },
    /// The probe's answers.
    #[error("{}:{line}: {source}; ask again with --fresh", path.display())]
    Probe {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The guest's plan could not be written.
    #[error("cannot write the guest's plan: {0}")]
    Plan(serde_json::Error),
    /// The guest said something else.
    #[error("the guest's answer makes no sense: {0}")]
    Answer(serde_json::Error),
    /// The guest did not get to the end.
    #[error("{release}: {text}")]
    Guest {
        /// The kernel.
        release: String,
        /// Its last words.
        text: String,
    },
}

/// Runs it; 1 if anything does not agree.
pub fn run(args: &Args) -> Result<u8, OracleError> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let cache = Cache::open()?;
    let mut kernels = match args.kernel.as_slice() {
        [] => cache.all()?,
        wanted => wanted
            .iter()
            .map(|one| cache.find(*one))
            .collect::<Result<_, _>>()?,
    };
    for kernel in &mut kernels {
        // Not every kernel's packages have its configuration, and libbpf does not load an object that
        // asks for some of it without. What fixtures ask does not change between neighbours.
        kernel.config = kernel
            .config
            .take()
            .or_else(|| cache.nearest_config(kernel.release));
    }
    let cases = cases::read(root, &args.fixture)?;
    let mut total = Tally::default();
    for kernel in &kernels {
        let mut oracle = Oracle {
            args,
            root,
            cache: &cache,
            kernel,
            cases: cases.clone(),
        };
        let tally = oracle.ask_and_compare()?;
        tools::say(format_args!(
            "{:<8} {} compared, {} mismatched ({} answers of a damaged build, {} the tables need not tell)",
            kernel.release.to_string(),
            tally.compared,
            tally.mismatches.len(),
            tally.defects,
            tally.untold
        ));
        for mismatch in &tally.mismatches {
            tools::say(format_args!("  {} {mismatch}", kernel.release));
        }
        for unanalysed in &tally.unanalysed {
            tools::say(format_args!(
                "  {} (as the fixture wants it) {unanalysed}",
                kernel.release
            ));
        }
        total.add(tally);
    }
    tools::say(format_args!(
        "{} compared, {} mismatched",
        total.compared,
        total.mismatches.len()
    ));
    Ok(u8::from(!total.mismatches.is_empty()))
}

/// One kernel.
struct Oracle<'a> {
    args: &'a Args,
    root: &'a Path,
    cache: &'a Cache,
    kernel: &'a Kernel,
    cases: Vec<Case>,
}

impl Oracle<'_> {
    fn ask_and_compare(&mut self) -> Result<Tally, OracleError> {
        let path = Record::path(self.root, &self.kernel.release.series.to_string());
        let mut record = match Record::read(&path) {
            Ok(record) => record,
            Err(RecordError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && !self.args.kept =>
            {
                Record::default()
            }
            Err(error) => return Err(error.into()),
        };
        if self.args.stale {
            self.cases.retain(|case| {
                !record.answers(&case.name, &case.fingerprint, &case.settings.attach)
            });
        }
        if !self.args.kept {
            // Kept after each part: the next may take minutes, and a machine with it.
            self.ask(&mut record, &path, Self::probe)?;
            if self.wants(Part::Load) {
                self.ask(&mut record, &path, Self::load)?;
            }
            if self.wants(Part::Run) {
                self.ask(&mut record, &path, Self::run)?;
            }
        }
        self.compare(&record)
    }

    /// Has the kernel answer one part, and keeps the record if that changed anything but the date.
    fn ask(
        &self,
        record: &mut Record,
        path: &Path,
        part: fn(&Self, &mut Record) -> Result<(), OracleError>,
    ) -> Result<(), OracleError> {
        let before = record.clone();
        part(self, record)?;
        if *record != before {
            record.date = today()?;
            record.write(path)?;
        }
        Ok(())
    }

    fn wants(&self, part: Part) -> bool {
        let nothing = part != Part::Probe && self.cases.is_empty();
        !nothing && (self.args.only.is_empty() || self.args.only.contains(&part))
    }

    /// The answers to the probe, which also tell which kfuncs of this build are damaged.
    fn probe(&self, record: &mut Record) -> Result<(), OracleError> {
        record.release = self.kernel.release.to_string();
        let answers = self
            .cache
            .probe_results()
            .join(format!("{}.jsonl", self.kernel.release));
        if self.args.fresh || !answers.exists() {
            probe::one(self.cache, self.kernel)?;
        }
        probed::read(&answers, record)
    }

    fn load(&self, record: &mut Record) -> Result<(), OracleError> {
        let Kernel { release, .. } = self.kernel;
        eprintln!("{release}: loading {} fixtures", self.cases.len());
        let answers = Guest::new(self.kernel)?.load(&self.cases)?;
        let damaged = record.damaged.iter().cloned().collect();
        let fresh = answers::loaded(&self.cases, &answers, &damaged);
        record.load.retain(|old| self.is_kept(&old.case));
        record.load.extend(fresh);
        record.load.sort_by(|a, b| a.case.cmp(&b.case));
        Ok(())
    }

    fn run(&self, record: &mut Record) -> Result<(), OracleError> {
        let Kernel { release, .. } = self.kernel;
        let (together, alone) = self.schedulers()?;
        let count = together.len() + alone.len();
        eprintln!("{release}: running {count} schedulers");
        let (answers, hung) = Guest::new(self.kernel)?.run(&together, &alone)?;
        let damaged = record.damaged.iter().cloned().collect();
        let fresh = answers::ran(&self.cases, &answers, &hung, &damaged);
        record.run.retain(|old| self.is_kept(&old.case));
        record.run.extend(fresh);
        record
            .run
            .sort_by(|a, b| (&a.case, &a.map).cmp(&(&b.case, &b.map)));
        Ok(())
    }

    /// Whether old answers about a fixture stay: it was not asked about, and is still there.
    fn is_kept(&self, case: &str) -> bool {
        let all = self.args.fixture.is_empty() && !self.args.stale;
        !all && self.cases.iter().all(|asked| asked.name != case)
    }

    /// Everything to attach: what can share a machine, and what takes its machine with it.
    fn schedulers(&self) -> Result<(Vec<Scheduler<'_>>, Vec<Scheduler<'_>>), OracleError> {
        let report = self.claims(&self.cases)?;
        let mut together = Vec::new();
        let mut alone = Vec::new();
        for case in &self.cases {
            for map in &case.settings.attach {
                let scheduler = Scheduler { case, map };
                match Claims::of(&report).scheduler(&case.name, map) {
                    Outcome::Hangs => alone.push(scheduler),
                    _ => together.push(scheduler),
                }
            }
        }
        Ok((together, alone))
    }

    fn compare(&self, record: &Record) -> Result<Tally, OracleError> {
        let mut tally = Tally::default();
        if self.wants(Part::Probe) {
            let tables = Tables::bundled()?;
            let release: Release = record.release.parse()?;
            tally.add(judge::matrix(record, &tables.kernel(release)?));
        }
        let report = self.claims(&self.cases)?;
        let claims = Claims::of(&report);
        let find = |name: &str| self.cases.iter().find(|case| case.name == name);
        if self.wants(Part::Load) {
            for loaded in &record.load {
                if let Some(case) = find(&loaded.case) {
                    tally.add(judge::load(loaded, &claims, case.expected()));
                }
            }
        }
        if self.wants(Part::Run) {
            for ran in &record.run {
                if let Some(case) = find(&ran.case) {
                    tally.add(judge::run(ran, &claims, case.expected()));
                }
            }
        }
        Ok(tally)
    }

    /// What the linter says of fixtures on this kernel.
    fn claims(&self, cases: &[Case]) -> Result<Report, OracleError> {
        let request = CheckRequest {
            objects: cases.iter().map(|case| case.object.clone()).collect(),
            kernels: KernelRequest {
                selection: vec![self.kernel.release.to_string()],
                ..KernelRequest::default()
            },
            ..CheckRequest::default()
        };
        Ok(scx_lint::check(&request)?)
    }
}

/// Today, as the system has it.
pub(crate) fn today() -> Result<String, ToolError> {
    let text = tools::text(&mut tools::command("date", ["+%Y-%m-%d"]))?;
    Ok(text.trim().to_owned())
}
