//! `scx-lint probe`: asks the running kernel, or reads a BTF file, and writes what it says.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::answers::Answers;
use super::record::Record;
use super::table::{self, TableError, Written};
use super::types::KernelTypes;
use super::{ENUM_PREFIX, KFUNC_PREFIXES, Probe, ProbeError, Progress, SCHED_EXT};
use crate::input::{Input, InputError};
use crate::kernel::{Kernel, Release, RulesError, Tables};
use crate::select::release_of;

/// The file that holds the table in the directory of `--out`.
const FILE_NAME: &str = "table.toml";

/// In what form the answers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProbeFormat {
    /// A table in the format of `rules/`.
    #[default]
    Table,
    /// Every question and its answer, one JSON object a line.
    Records,
}

/// What to ask, and where to write it.
#[derive(Debug, Clone, Default)]
pub struct ProbeRequest {
    /// Read this BTF file instead of asking the running kernel.
    pub btf: Option<PathBuf>,
    /// The release whose BTF that is, where the file does not say it.
    pub release: Option<Release>,
    /// Write into this directory instead of to standard output.
    pub out: Option<PathBuf>,
    /// How.
    pub format: ProbeFormat,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ProbeCommandError {
    /// The kernel could not be asked.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The BTF file could not be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The bundled tables or the BTF file make no sense.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The table could not be made.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A kernel that does not say what it is.
    #[error(
        "the kernel calls itself `{0}`, which names no release; use `--btf FILE --release X.Y`"
    )]
    NoRelease(String),
    /// The directory holds something that would be read as part of the table.
    #[error(
        "{}: holds `{other}`, which would become part of the table; name a directory of its own",
        directory.display()
    )]
    NotAlone {
        /// As given.
        directory: PathBuf,
        /// The file in it.
        other: String,
    },
    /// The table could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Out {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

/// Does it; the table or the records to `out`, everything else to `progress`.
///
/// # Errors
/// When the kernel cannot be asked, the file not be read, or the output not be written.
pub fn run(
    request: &ProbeRequest,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), ProbeCommandError> {
    if let Some(directory) = &request.out {
        alone(directory)?;
    }
    match &request.btf {
        Some(path) => file(path, request, out, progress),
        None => running(request, out, progress),
    }
}

fn running(
    request: &ProbeRequest,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), ProbeCommandError> {
    // What would fail in the end should fail before the minutes that asking may take.
    let tables = Tables::bundled()?;
    let probe = Probe::open()?;
    let mut shown = Shown::new(progress);
    let mut answers = Answers::default();
    let mut lines = Vec::new();
    probe.run(
        &mut |record| {
            if request.format == ProbeFormat::Records {
                line(&record, &mut lines).map_err(ProbeError::Output)?;
            }
            answers.add(record);
            Ok(())
        },
        &mut |progress| shown.show(progress),
    )?;
    shown.end(answers.questions());
    let said = &answers.release;
    let release = release_of(said).ok_or_else(|| ProbeCommandError::NoRelease(said.clone()))?;
    if request.format == ProbeFormat::Records {
        return deliver(request, &lines, out);
    }
    let source = format!("probe of {said}");
    let written = table::write(&answers, Some(probe.types()), &tables, release, &source)?;
    finish(request, &written, out, progress)
}

fn file(
    path: &Path,
    request: &ProbeRequest,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), ProbeCommandError> {
    let tables = Tables::bundled()?;
    let input = Input::open(path)?;
    let name = path.display().to_string();
    let kernel = Kernel::from_btf(&name, input.bytes().to_vec(), &tables, request.release)?;
    let Some(btf) = kernel.btf() else {
        return Err(RulesError::KernelBtf {
            path: name,
            message: "has no types".to_owned(),
        }
        .into());
    };
    let types = KernelTypes::of(btf);
    let records = records(&kernel, &types);
    if request.format == ProbeFormat::Records {
        let mut lines = Vec::new();
        for record in &records {
            line(record, &mut lines).map_err(ProbeCommandError::Output)?;
        }
        return deliver(request, &lines, out);
    }
    for note in kernel.notes() {
        say(progress, note);
    }
    let answers = Answers::from_records(records);
    let source = format!("BTF of {}", kernel.label);
    let written = table::write(&answers, Some(&types), &tables, kernel.release, &source)?;
    finish(request, &written, out, progress)
}

/// What a probe would say before its first question.
fn records(kernel: &Kernel, types: &KernelTypes) -> Vec<Record> {
    let release = kernel.release.to_string();
    let mut records = vec![Record::Kernel {
        release,
        version: String::new(),
    }];
    records.extend(types.kfuncs(KFUNC_PREFIXES).into_iter().map(Record::Kfunc));
    records.extend(
        types
            .enums(ENUM_PREFIX)
            .into_iter()
            .cloned()
            .map(Record::Enum),
    );
    let struct_ops = SCHED_EXT.iter().filter_map(|name| types.struct_ops(name));
    records.extend(struct_ops.map(Record::StructOps));
    records
}

fn finish(
    request: &ProbeRequest,
    written: &Written,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), ProbeCommandError> {
    for what in &written.unexpressed {
        say(progress, &format!("warning: the table does not say {what}"));
    }
    say(
        progress,
        &format!(
            "the table was read back and compared with {} answers",
            written.compared
        ),
    );
    deliver(request, written.text.as_bytes(), out)
}

fn line(record: &Record, lines: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, record)?;
    lines.push(b'\n');
    Ok(())
}

/// Writes to where the request says.
fn deliver(
    request: &ProbeRequest,
    bytes: &[u8],
    out: &mut dyn Write,
) -> Result<(), ProbeCommandError> {
    let Some(directory) = &request.out else {
        return out.write_all(bytes).map_err(ProbeCommandError::Output);
    };
    let at = |path: &Path, result: io::Result<()>| {
        result.map_err(|source| ProbeCommandError::Out {
            path: path.to_owned(),
            source,
        })
    };
    at(directory, std::fs::create_dir_all(directory))?;
    let path = directory.join(match request.format {
        ProbeFormat::Table => FILE_NAME,
        ProbeFormat::Records => "records.jsonl",
    });
    at(&path, std::fs::write(&path, bytes))
}

/// A table is every `*.toml` in its directory.
fn alone(directory: &Path) -> Result<(), ProbeCommandError> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let table = Path::new(&name)
            .extension()
            .is_some_and(|extension| extension == "toml");
        if table && name != FILE_NAME {
            return Err(ProbeCommandError::NotAlone {
                directory: directory.to_owned(),
                other: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// A line for people. Nothing to be done where that fails.
fn say(progress: &mut dyn Write, line: &str) {
    let _ = writeln!(progress, "{line}");
}

/// How far the probe is: one line that changes on a terminal, one for each struct_ops type else.
struct Shown<'a> {
    to: &'a mut dyn Write,
    terminal: bool,
    hook: String,
}

impl<'a> Shown<'a> {
    fn new(to: &'a mut dyn Write) -> Shown<'a> {
        Shown {
            to,
            terminal: io::stderr().is_terminal(),
            hook: String::new(),
        }
    }

    fn show(
        &mut self,
        Progress {
            hook,
            target,
            asked,
        }: Progress<'_>,
    ) {
        if self.terminal {
            let _ = write!(
                self.to,
                "\r\x1b[Kasked {asked} questions; now {hook} {target}"
            );
            let _ = self.to.flush();
        } else if self.hook != hook && SCHED_EXT.contains(&hook) {
            hook.clone_into(&mut self.hook);
            say(self.to, &format!("asked {asked} questions; now {hook}"));
        }
    }

    fn end(&mut self, asked: usize) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        say(self.to, &format!("{clear}asked {asked} questions"));
    }
}
