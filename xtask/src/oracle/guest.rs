//! The host's side of `oracle-guest`: builds it, hands it its plan, and reads what it answers, also
//! when the machine goes down halfway.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use scx_lint::object;
use scx_lint::probe::types::KernelTypes;
use serde::{Deserialize, Serialize};

use super::OracleError;
use super::cases::Case;
use crate::kernels::Kernel;
use crate::tools::{self, ToolError};
use crate::vm::{self, GuestFile, VmOutcome, VmRequest};

/// Where the guest has the objects.
const OBJECTS: &str = "/work/objects";

/// Booting, and what the guest does before the first case.
const BOOT: Duration = Duration::from_secs(60);

/// A machine that gives no answer for so long stands still, however slow it is emulated.
const SILENCE: Duration = Duration::from_secs(100);

/// The convention of scx loaders: `__SCX_X` is filled with the kernel's `SCX_X`.
const ENUM_VARIABLE: &str = "__SCX_";

/// What the guest is asked.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    cases: Vec<PlannedCase<'a>>,
}

#[derive(Debug, Serialize)]
struct PlannedCase<'a> {
    name: &'a str,
    object: String,
    set: Vec<Patch<'a>>,
    max_entries: &'a BTreeMap<String, u32>,
    value_sizes: &'a BTreeMap<String, u32>,
    no_autoload: &'a [String],
    attach: Vec<&'a str>,
}

#[derive(Debug, Clone, Serialize)]
struct Patch<'a> {
    section: &'a str,
    offset: u64,
    bytes: Vec<u8>,
}

/// One line of the guest.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Of loading an object, or one program of it.
    Load {
        /// The fixture.
        case: String,
        /// The program; none for the whole object.
        program: Option<String>,
        /// Why not.
        error: Option<String>,
        /// What libbpf said.
        messages: Vec<String>,
    },
    /// Before a scheduler is attached.
    Attaching,
    /// After it is gone.
    Ran {
        /// The fixture.
        case: String,
        /// The map.
        map: String,
        /// How far it came.
        stage: String,
        /// Why not further.
        error: Option<String>,
        /// The state before and after CPUs went off and on.
        state: Vec<String>,
        /// How many tasks the kernel refused to hand over.
        #[serde(rename = "rejected")]
        _rejected: Option<String>,
        /// What libbpf said.
        messages: Vec<String>,
        /// What the kernel said.
        log: Vec<String>,
    },
}

/// A struct_ops map of a fixture to be attached.
#[derive(Debug, Clone, Copy)]
pub struct Scheduler<'a> {
    /// The fixture.
    pub case: &'a Case,
    /// The map.
    pub map: &'a str,
}

/// A scheduler under which the guest went down or stood still.
#[derive(Debug)]
pub struct Hung {
    /// The fixture.
    pub case: String,
    /// The map.
    pub map: String,
    /// How it showed.
    pub because: String,
}

/// A guest of one kernel.
pub struct Guest<'k> {
    kernel: &'k Kernel,
    program: PathBuf,
    types: KernelTypes,
}

impl<'k> Guest<'k> {
    /// Builds the guest's program and reads the kernel's types.
    pub fn new(kernel: &'k Kernel) -> Result<Guest<'k>, OracleError> {
        let bytes = std::fs::read(&kernel.btf).map_err(|source| OracleError::File {
            path: kernel.btf.clone(),
            source,
        })?;
        let types = KernelTypes::parse(&bytes).map_err(|source| OracleError::Btf {
            path: kernel.btf.clone(),
            source,
        })?;
        Ok(Guest {
            kernel,
            program: build()?,
            types,
        })
    }

    /// Loads every fixture, and every program of it alone, in one boot.
    pub fn load(&self, cases: &[Case]) -> Result<Vec<Answer>, OracleError> {
        self.all("load", cases)
    }

    /// Loads every object, in one boot.
    pub fn load_whole(&self, cases: &[Case]) -> Result<Vec<Answer>, OracleError> {
        self.all("whole", cases)
    }

    fn all(&self, mode: &str, cases: &[Case]) -> Result<Vec<Answer>, OracleError> {
        let planned = cases
            .iter()
            .map(|case| self.planned(case, Vec::new()))
            .collect();
        let time = BOOT + Duration::from_secs(10) * u32::try_from(cases.len()).unwrap_or(u32::MAX);
        let (answers, ended) = self.boot(mode, planned, cases, time)?;
        match ended {
            Ended::Done => Ok(answers),
            Ended::Down(text) => Err(OracleError::Guest {
                release: self.kernel.release.to_string(),
                text,
            }),
        }
    }

    /// Runs schedulers, those expected to be the last thing their machine does each in one of its
    /// own. A machine that goes down costs its scheduler, not the rest.
    pub fn run<'a>(
        &self,
        schedulers: &[Scheduler<'a>],
        alone: &[Scheduler<'a>],
    ) -> Result<(Vec<Answer>, Vec<Hung>), OracleError> {
        let mut answers = Vec::new();
        let mut hung = Vec::new();
        let mut batches: VecDeque<Vec<Scheduler<'a>>> = VecDeque::new();
        batches.push_back(schedulers.to_vec());
        batches.extend(alone.iter().map(|one| vec![*one]));
        while let Some(batch) = batches.pop_front() {
            if batch.is_empty() {
                continue;
            }
            let planned = batch
                .iter()
                .map(|one| self.planned(one.case, vec![one.map]))
                .collect();
            let cases: Vec<Case> = batch.iter().map(|one| one.case.clone()).collect();
            let time =
                BOOT + Duration::from_secs(12) * u32::try_from(batch.len()).unwrap_or(u32::MAX);
            let (fresh, ended) = self.boot("run", planned, &cases, time)?;
            let done = fresh
                .iter()
                .filter(|answer| matches!(answer, Answer::Ran { .. }))
                .count();
            if let Ended::Down(because) = ended {
                let Some(victim) = batch.get(done) else {
                    return Err(OracleError::Guest {
                        release: self.kernel.release.to_string(),
                        text: because,
                    });
                };
                let (case, map) = (victim.case.name.clone(), victim.map.to_owned());
                eprintln!(
                    "{}: the guest stopped under {case} {map}",
                    self.kernel.release
                );
                hung.push(Hung { case, map, because });
                batches.push_back(batch.get(done + 1..).unwrap_or_default().to_vec());
            }
            answers.extend(fresh);
        }
        Ok((answers, hung))
    }

    fn planned<'a>(&self, case: &'a Case, attach: Vec<&'a str>) -> PlannedCase<'a> {
        PlannedCase {
            name: &case.name,
            object: format!("{OBJECTS}/{}.bpf.o", case.name),
            set: self.patches(case),
            max_entries: &case.settings.max_entries,
            value_sizes: &case.settings.value_sizes,
            no_autoload: &case.settings.no_autoload,
            attach,
        }
    }

    /// What the fixture's user space stores before loading: what `case.toml` says, and the kernel's
    /// enum values.
    fn patches<'a>(&self, case: &'a Case) -> Vec<Patch<'a>> {
        // An object that cannot be read is handed over as it is; libbpf will say what it thinks.
        let Ok(object) = object::parse(&case.name, &case.bytes) else {
            return Vec::new();
        };
        let mut patches = Vec::new();
        for path in &case.settings.null {
            let maps = object.struct_ops.iter().filter(|map| map.name == path.map);
            let members = maps.flat_map(|map| map.members.iter().map(move |member| (map, member)));
            patches.extend(
                members
                    .filter(|(_, member)| member.name == path.member)
                    .map(|(map, member)| Patch {
                        section: map.name,
                        offset: member.offset,
                        // A pointer to a program, of whatever size the guest's are.
                        bytes: vec![0; 8],
                    }),
            );
        }
        for section in object.data.iter().filter(|section| section.read_only) {
            for variable in &section.variables {
                let value = match case.settings.set.get(variable.name) {
                    Some(value) => i128::from(*value),
                    None if variable.name.starts_with(ENUM_VARIABLE) => {
                        self.enumerator(variable.name.trim_start_matches('_'))
                    }
                    None => continue,
                };
                let size = usize::try_from(variable.size).unwrap_or(0).min(8);
                let bytes = value.to_le_bytes().get(..size).unwrap_or_default().to_vec();
                patches.push(Patch {
                    section: section.name,
                    offset: variable.offset,
                    bytes,
                });
            }
        }
        patches
    }

    fn enumerator(&self, name: &str) -> i128 {
        let enums = self.types.enums("SCX_");
        let mut values = enums.iter().flat_map(|found| &found.values);
        values
            .find(|(known, _)| known == name)
            .map_or(0, |(_, value)| *value)
    }

    fn boot(
        &self,
        mode: &str,
        planned: Vec<PlannedCase<'_>>,
        cases: &[Case],
        time: Duration,
    ) -> Result<(Vec<Answer>, Ended), OracleError> {
        let mut request = VmRequest::new(["oracle-guest", mode, "plan.json"]);
        request.timeout = time;
        request.silence = Some(SILENCE);
        request.files.push(GuestFile::in_work(&self.program)?);
        let plan = serde_json::to_vec(&Plan { cases: planned }).map_err(OracleError::Plan)?;
        request
            .generated
            .push(("/work/plan.json".into(), 0o644, plan));
        for case in cases {
            let path = format!("{OBJECTS}/{}.bpf.o", case.name);
            request
                .generated
                .push((path.into(), 0o644, case.bytes.clone()));
        }
        let result = vm::run(self.kernel, &request)?;
        let mut answers = Vec::new();
        for line in result.stdout.split_inclusive(|byte| *byte == b'\n') {
            // A machine that goes down may leave half a line.
            match serde_json::from_slice(line) {
                Ok(answer) => answers.push(answer),
                Err(_) if !line.ends_with(b"\n") => {}
                Err(source) => return Err(OracleError::Answer(source)),
            }
        }
        let ended = match result.outcome {
            VmOutcome::Exited(0) => Ended::Done,
            VmOutcome::Exited(code) => {
                let text = String::from_utf8_lossy(&result.stderr);
                Ended::Down(format!("oracle-guest ended with {code}: {}", text.trim()))
            }
            VmOutcome::Panicked => Ended::Down(last_words(&result.console)),
            VmOutcome::TimedOut => Ended::Down("the machine stood still".to_owned()),
        };
        Ok((answers, ended))
    }
}

enum Ended {
    Done,
    Down(String),
}

/// What the kernel said when it went down.
fn last_words(console: &str) -> String {
    let line = console.lines().find(|line| {
        ["BUG:", "Kernel panic", "Oops", "lockup", "stall"]
            .iter()
            .any(|word| line.contains(word))
    });
    line.map_or("the guest went down", |line| without_stamp(line))
        .to_owned()
}

/// A line of the console without `[   12.345678] `.
fn without_stamp(line: &str) -> &str {
    line.split_once("] ").map_or(line, |(_, text)| text)
}

fn build() -> Result<PathBuf, ToolError> {
    tools::require(&[
        "make",
        "gcc",
        "pkg-config",
        "/usr/include/libelf.h",
        "/usr/include/zlib.h",
    ])?;
    tools::run(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "oracle-guest"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")),
    )?;
    Ok(tools::target().join("debug/oracle-guest"))
}
