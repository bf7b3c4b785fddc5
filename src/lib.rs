//! A static verifier for `sched_ext` schedulers: what each kernel would refuse, kill or hang on,
//! decided from the compiled BPF object before anything is loaded.
//!
//! Data flows one way: bytes → object → (per kernel) what can run → rules → diagnostics → output.

pub mod btf;
pub mod cfg;
pub mod check;
pub mod cli;
pub mod input;
pub mod kernel;
pub mod kernel_list;
pub mod matrix;
pub mod object;
pub mod probe;
pub mod profile;
pub mod report;
pub mod rules;
mod select;

use std::io::Write;
use std::path::PathBuf;

use report::kernels::Series;
use report::table::Table;
use report::{Failure, Report};

/// What to check, against what.
#[derive(Debug, Clone, Default)]
pub struct CheckRequest {
    /// The object files.
    pub objects: Vec<PathBuf>,
    /// Which kernels.
    pub kernels: KernelRequest,
    /// What user space does to the objects before loading them.
    pub profile: profile::LoadProfile,
}

/// Which kernels are asked about, and where their facts come from.
#[derive(Debug, Clone, Default)]
pub struct KernelRequest {
    /// Versions, ranges, `host` or `all`, as the user wrote them. Empty means every bundled kernel,
    /// with those the object cannot load on reported as its supported range and not as errors.
    pub selection: Vec<String>,
    /// A kernel's own BTF (raw, or a vmlinux ELF): its facts override the tables.
    pub btf: Option<PathBuf>,
    /// A directory of tables to use instead of the bundled ones.
    pub rules: Option<PathBuf>,
}

/// A question about the permission matrix.
#[derive(Debug, Clone, Default)]
pub struct TableRequest {
    /// Which kernels.
    pub kernels: KernelRequest,
    /// Only this kfunc.
    pub kfunc: Option<String>,
    /// Only this callback.
    pub callback: Option<String>,
}

/// Why the job could not be done: exit status 2. One line each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input file.
    #[error(transparent)]
    Input(#[from] input::InputError),
    /// Tables or a kernel selection.
    #[error(transparent)]
    Rules(#[from] kernel::RulesError),
    /// `--btf` with several kernels.
    #[error("`--btf` describes one kernel; name at most one release with `--kernel`")]
    BtfWithRange,
    /// The running kernel does not say what it is.
    #[error("{what}: {error}; `--kernel host` needs a Linux with BTF")]
    Host {
        /// File asked.
        what: &'static str,
        /// Why it did not answer.
        error: std::io::Error,
    },
    /// A release that is no version number.
    #[error(
        "the running kernel calls itself `{release}`, which names no release; use `--kernel X.Y --btf FILE`"
    )]
    HostRelease {
        /// As it says.
        release: String,
    },
    /// A configuration file.
    #[error(transparent)]
    Config(#[from] profile::ConfigError),
    /// A rule that does not exist.
    #[error("there is no rule `{name}`; `scx-lint explain` lists them")]
    UnknownRule {
        /// As asked for.
        name: String,
    },
    /// The running kernel could not be asked.
    #[error(transparent)]
    Probe(#[from] probe::command::ProbeCommandError),
    /// Output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// Checks objects against kernels.
///
/// An object that cannot be read or understood does not keep the others from being checked: it is
/// in [`Report::failures`], and the exit status is 2.
///
/// # Errors
/// When the job as a whole cannot be done: tables, kernel selection or profile make no sense.
pub fn check(request: &CheckRequest) -> Result<Report, Error> {
    let kernels = select::kernels(&request.kernels)?;
    let mut checked = Checked::default();
    for path in &request.objects {
        let name = path.display().to_string();
        match input::Input::open(path) {
            Ok(input) => checked.add(&name, input.bytes(), &kernels, &request.profile),
            Err(error) => checked.fail(name, error.to_string()),
        }
    }
    Ok(checked.report(&kernels))
}

/// Checks one object that is already in memory, such as the bytes a loader is about to load.
///
/// # Errors
/// When the job cannot be done at all; bytes that are no BPF object are in [`Report::failures`].
pub fn check_bytes(
    name: &str,
    bytes: &[u8],
    kernels: &KernelRequest,
    profile: &profile::LoadProfile,
) -> Result<Report, Error> {
    let kernels = select::kernels(kernels)?;
    let mut checked = Checked::default();
    checked.add(name, bytes, &kernels, profile);
    Ok(checked.report(&kernels))
}

/// What has been checked so far.
#[derive(Default)]
struct Checked {
    objects: Vec<report::ObjectReport>,
    diagnostics: Vec<report::Diagnostic>,
    failures: Vec<Failure>,
}

impl Checked {
    fn add(
        &mut self,
        name: &str,
        bytes: &[u8],
        kernels: &check::Kernels,
        profile: &profile::LoadProfile,
    ) {
        match check::object(name, bytes, kernels, profile) {
            Ok((object, diagnostics)) => {
                self.objects.push(object);
                self.diagnostics.extend(diagnostics);
            }
            Err(error) => self.fail(name.to_owned(), error.to_string()),
        }
    }

    fn fail(&mut self, path: String, message: String) {
        self.failures.push(Failure { path, message });
    }

    fn report(self, kernels: &check::Kernels) -> Report {
        let labels = kernels
            .kernels
            .iter()
            .map(|kernel| kernel.label.clone())
            .collect();
        let mut report = Report::new(labels, self.objects, self.diagnostics);
        report.failures = self.failures;
        report
    }
}

/// The bundled releases in order, for showing sets of them as ranges.
#[must_use]
pub fn series() -> Series {
    // Tables that do not load are reported by whatever needs them; here they only leave out ranges.
    kernel::Tables::bundled().map_or_else(
        |_| Series::default(),
        |tables| Series::new(tables.releases()),
    )
}

/// Answers a question about the permission matrix.
///
/// # Errors
/// When the tables or the kernel selection make no sense.
pub fn table(request: &TableRequest) -> Result<Table, Error> {
    let kernels = select::kernels(&request.kernels)?;
    let filter = matrix::Filter {
        kfunc: request.kfunc.as_deref(),
        callback: request.callback.as_deref(),
    };
    Ok(matrix::table(&kernels, filter))
}

/// Writes what is known of the kernels, and how well, to `out`.
///
/// # Errors
/// When the tables or the kernel selection make no sense, or `out` cannot be written.
pub fn kernels(request: &KernelRequest, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let kernels = select::kernels(request)?;
    let list = kernel_list::kernels(&kernels.tables)?.only(&kernels.kernels);
    if json {
        serde_json::to_writer_pretty(&mut *out, &list).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{list}")?;
    }
    Ok(())
}

/// Asks the running kernel, or reads a BTF file, and writes a table in the format of `rules/` to
/// `out` or where the request says; how far it is goes to `progress`.
///
/// # Errors
/// When the kernel cannot be asked or the table cannot be written.
pub fn probe(
    request: &probe::command::ProbeRequest,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    Ok(probe::command::run(request, out, progress)?)
}
