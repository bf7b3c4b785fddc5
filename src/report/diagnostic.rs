//! The canonical result: what every renderer is given, and, serialised as it stands, the JSON
//! contract (`schema_version` 1). Fields keep their order; what does not apply is `null`, never
//! left out, so that a reader can rely on every key.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::kernels::Series;

/// Version of the JSON document. Within one version fields are only added.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole result of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Who made it.
    pub tool: Tool,
    /// The kernels that were checked, oldest first, as output names them.
    pub kernels: Vec<String>,
    /// One entry per object, in the order given.
    pub objects: Vec<ObjectReport>,
    /// All findings, by object and place.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of findings by level.
    pub summary: Summary,
    /// Inputs the job could not be done for (exit status 2); the key is absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// The program that made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `scx-lint`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// An input that could not be read or understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// As the user gave it.
    pub path: String,
    /// One line: what is wrong and what to do.
    pub message: String,
}

/// What was learnt of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReport {
    /// The file as the user gave it.
    pub path: String,
    /// Name inside it, for an object found in an archive or a host binary.
    pub member: Option<String>,
    /// Its `struct_ops` maps.
    pub struct_ops: Vec<StructOpsReport>,
    /// Its programs.
    pub programs: Vec<ProgramReport>,
    /// The verdict of each kernel on the object as a whole.
    pub kernels: Vec<KernelVerdict>,
}

/// One `struct_ops` map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StructOpsReport {
    /// Map (variable) name.
    pub map: String,
    /// Type name, without a flavour suffix.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The members that are set to programs.
    pub callbacks: Vec<CallbackReport>,
}

/// A `struct_ops` member that is set to a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackReport {
    /// Member name.
    pub callback: String,
    /// Program name.
    pub program: String,
    /// Whether that program is a sleepable one.
    pub sleepable: bool,
}

/// One program and what each kernel makes of it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramReport {
    /// Function name.
    pub name: String,
    /// ELF section name.
    pub section: String,
    /// Program type in lower case: `struct_ops`, `syscall`, `tracing`, ….
    #[serde(rename = "type")]
    pub program_type: String,
    /// The members that name it.
    pub attached: Vec<Attachment>,
    /// One verdict per kernel.
    pub kernels: Vec<ProgramVerdict>,
}

/// Where a program is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `struct_ops` map.
    pub map: String,
    /// Member.
    pub callback: String,
}

/// What one kernel makes of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramVerdict {
    /// Kernel.
    pub kernel: String,
    /// What loading it alone would give.
    pub outcome: Outcome,
    /// The kfuncs reachable there, by the kernel's names, sorted.
    pub kfuncs: Vec<String>,
}

/// What one kernel makes of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelVerdict {
    /// Kernel.
    pub kernel: String,
    /// The worst of its parts.
    pub outcome: Outcome,
    /// Why it is not [`Outcome::Ok`], one sentence each, lower case, no final stop.
    pub reasons: Vec<String>,
}

/// What happens on a kernel, from best to worst, so that the greater of two is what counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Loads, and nothing in it is killed or hangs.
    #[default]
    Ok,
    /// Loads; the scheduler is aborted when the call is reached.
    Killed,
    /// Loads; the call passes the kernel's check and locks up the CPU.
    Hangs,
    /// The verifier refuses it.
    Refused,
    /// The kernel lacks something the object needs.
    Unsupported,
    /// Could not be analysed; counts as an error.
    Unknown,
}

impl Outcome {
    /// How text output says it.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Ok => "loads and runs",
            Self::Killed => "killed at run time",
            Self::Hangs => "hangs the CPU",
            Self::Refused => "refused at load",
            Self::Unsupported => "not supported",
            Self::Unknown => "could not be analysed",
        }
    }
}

/// How serious a finding is. Only errors make the exit status 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It does not work on a kernel it is meant for.
    Error,
    /// It works, with something to know.
    Warning,
    /// Information.
    Note,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// A place in the source, as the compiler recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// File as the compiler wrote it.
    pub file: String,
    /// 1-based line; 0 when the compiler gave none.
    pub line: u32,
    /// 1-based column, in bytes; 0 when the compiler gave none.
    pub column: u32,
    /// The whole line, indentation included; empty when the object has no line text.
    pub text: String,
}

/// What a [`ChainLink`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// The `struct_ops` callback it starts in; the name is the callback's (`enqueue`).
    Callback,
    /// A program that is no callback, by its own name.
    Program,
    /// A subprogram that is called, or a function that a helper calls before it returns.
    Subprogram,
    /// A function that runs later: timer, workqueue, task work.
    Async,
    /// A kfunc call, by the kernel's name.
    Kfunc,
    /// A callback that the kernel runs inside the kfunc before it.
    Nested,
}

/// One hop from a callback to what went wrong.
///
/// `location` of the first link is where its function begins; of every later link it is the call
/// (or hand-over, or kfunc call that makes the kernel nest) in the link before it. So a chain reads
/// as the places one would put a finger on, and the last link's location is the finding's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChainLink {
    /// What it is.
    pub kind: ChainKind,
    /// Its name.
    pub name: String,
    /// See the type's description.
    pub location: Option<Location>,
}

/// One finding: one cause, one outcome, every kernel it holds on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Name of the rule.
    pub rule: String,
    /// How serious.
    pub level: Level,
    /// One sentence, lower case, no final stop, names in backticks (see [`super::style`]).
    pub message: String,
    /// The object's path (`path:member` for one inside another file).
    pub object: String,
    /// The kernels it holds on, oldest first.
    pub kernels: Vec<String>,
    /// What happens there.
    pub outcome: Outcome,
    /// Entry program.
    pub program: Option<String>,
    /// `struct_ops` type of the callback.
    pub struct_ops: Option<String>,
    /// Callback the program is attached to.
    pub callback: Option<String>,
    /// kfunc, by the kernel's name.
    pub kfunc: Option<String>,
    /// Where: for a kfunc call, the call.
    pub location: Option<Location>,
    /// How it is reached.
    pub chain: Vec<ChainLink>,
    /// What to do.
    pub help: Option<String>,
    /// More to know.
    pub notes: Vec<String>,
    /// Stays the same when lines move or kernels are added: what a baseline compares.
    /// Filled by [`Report::new`].
    pub fingerprint: String,
}

impl Diagnostic {
    /// A finding with nothing but its rule, level and message; the rest is for struct update syntax.
    #[must_use]
    pub fn new(rule: &str, level: Level, message: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            level,
            message: message.into(),
            object: String::new(),
            kernels: Vec::new(),
            outcome: Outcome::Ok,
            program: None,
            struct_ops: None,
            callback: None,
            kfunc: None,
            location: None,
            chain: Vec::new(),
            help: None,
            notes: Vec::new(),
            fingerprint: String::new(),
        }
    }

    /// Whether this and `other` are one finding whose outcome differs by kernel: what text output
    /// shows as one place with several verdicts.
    #[must_use]
    pub fn same_place(&self, other: &Self) -> bool {
        self.rule == other.rule
            && self.level == other.level
            && self.message == other.message
            && self.object == other.object
            && self.program == other.program
            && self.struct_ops == other.struct_ops
            && self.callback == other.callback
            && self.kfunc == other.kfunc
            && self.location == other.location
            && self.chain == other.chain
    }

    /// Hash of what identifies the finding: neither lines, nor kernels, nor the object's path, nor
    /// wording, so that it survives edits elsewhere, new tables and better messages. The text of
    /// the line tells two calls in one function apart.
    fn identity(&self) -> String {
        let mut hash = Fnv::default();
        hash.field(&self.rule);
        hash.field(self.program.as_deref().unwrap_or_default());
        hash.field(self.struct_ops.as_deref().unwrap_or_default());
        hash.field(self.callback.as_deref().unwrap_or_default());
        hash.field(self.kfunc.as_deref().unwrap_or_default());
        hash.field(self.outcome.phrase());
        for link in &self.chain {
            hash.field(&link.name);
        }
        if let Some(location) = &self.location {
            hash.field(location.text.trim());
        }
        format!("{:016x}", hash.0)
    }
}

/// FNV-1a: small, stable across versions and platforms, and no dependency; the values are only
/// compared with each other.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds one field and a separator, so that `ab`,`c` differs from `a`,`bc`.
    fn field(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Number of findings by level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Findings at error level.
    pub errors: usize,
    /// Findings at warning level.
    pub warnings: usize,
    /// Findings at note level.
    pub notes: usize,
}

impl Summary {
    /// Counts findings.
    pub fn of<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Self {
        let mut summary = Self::default();
        for diagnostic in diagnostics {
            match diagnostic.level {
                Level::Error => summary.errors += 1,
                Level::Warning => summary.warnings += 1,
                Level::Note => summary.notes += 1,
            }
        }
        summary
    }
}

impl Report {
    /// Makes the canonical report of `diagnostics` as the rules gave them, kernel by kernel or not:
    /// findings that differ only in their kernels become one, the order becomes that of objects,
    /// places and names, and fingerprints and counts are filled in.
    #[must_use]
    pub fn new(
        kernels: Vec<String>,
        objects: Vec<ObjectReport>,
        diagnostics: Vec<Diagnostic>,
    ) -> Self {
        let mut diagnostics = merge(diagnostics, &kernels);
        let kernel_order = positions(kernels.iter().map(String::as_str));
        let object_names: Vec<String> = objects.iter().map(ObjectReport::name).collect();
        let object_order = positions(object_names.iter().map(String::as_str));
        for diagnostic in &mut diagnostics {
            diagnostic
                .kernels
                .sort_by_cached_key(|kernel| position(&kernel_order, kernel));
            diagnostic.kernels.dedup();
            diagnostic.fingerprint = diagnostic.identity();
        }
        diagnostics.sort_by_cached_key(|d| {
            let place = d
                .location
                .as_ref()
                .map(|l| (l.file.clone(), l.line, l.column));
            (
                position(&object_order, &d.object),
                place,
                (
                    d.level,
                    d.rule.clone(),
                    d.program.clone(),
                    d.callback.clone(),
                ),
                (d.kfunc.clone(), d.message.clone()),
                d.kernels
                    .first()
                    .map(|kernel| position(&kernel_order, kernel)),
            )
        });
        Self {
            schema_version: SCHEMA_VERSION,
            tool: Tool {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            kernels,
            objects,
            summary: Summary::of(&diagnostics),
            diagnostics,
            failures: Vec::new(),
        }
    }
}

impl ObjectReport {
    /// The name findings use in [`Diagnostic::object`].
    #[must_use]
    pub fn name(&self) -> String {
        match &self.member {
            Some(member) => format!("{}:{member}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Joins findings of one cause and outcome, keeping the order of the first of each. Help and notes
/// may differ by kernel: what does not hold on all of them says where it does.
fn merge(diagnostics: Vec<Diagnostic>, kernels: &[String]) -> Vec<Diagnostic> {
    let series = Series::new(kernels);
    let mut merged: Vec<(Diagnostic, Vec<Advice>)> = Vec::with_capacity(diagnostics.len());
    let mut index: HashMap<Diagnostic, usize> = HashMap::with_capacity(diagnostics.len());
    for mut diagnostic in diagnostics {
        let advice = Advice {
            kernels: std::mem::take(&mut diagnostic.kernels),
            help: diagnostic.help.take(),
            notes: std::mem::take(&mut diagnostic.notes),
        };
        match index.get(&diagnostic).and_then(|&at| merged.get_mut(at)) {
            Some((_, all)) => all.push(advice),
            None => {
                index.insert(diagnostic.clone(), merged.len());
                merged.push((diagnostic, vec![advice]));
            }
        }
    }
    merged
        .into_iter()
        .map(|(diagnostic, advice)| Advice::join(diagnostic, advice, &series))
        .collect()
}

/// What a finding says beside its cause, on some kernels.
struct Advice {
    kernels: Vec<String>,
    help: Option<String>,
    notes: Vec<String>,
}

impl Advice {
    fn join(mut diagnostic: Diagnostic, all: Vec<Self>, series: &Series) -> Diagnostic {
        let where_said = |said: &dyn Fn(&Self) -> bool| -> Option<String> {
            let (yes, no): (Vec<_>, Vec<_>) = all.iter().partition(|advice| said(advice));
            let kernels: Vec<&String> = yes.iter().flat_map(|advice| &advice.kernels).collect();
            (!no.is_empty()).then(|| series.ranges(&kernels))
        };
        let mut notes: Vec<String> = Vec::new();
        for note in all.iter().flat_map(|advice| &advice.notes) {
            let text = match where_said(&|advice| advice.notes.contains(note)) {
                Some(kernels) => format!("on {kernels}: {note}"),
                None => note.clone(),
            };
            if !notes.contains(&text) {
                notes.push(text);
            }
        }
        // The newest kernels' help is the one to act on; older answers are worth a note.
        diagnostic.help = all.iter().rev().find_map(|advice| advice.help.clone());
        for help in all.iter().filter_map(|advice| advice.help.as_ref()) {
            if let Some(kernels) = where_said(&|advice| advice.help.as_ref() == Some(help)) {
                let text = format!("on {kernels}: {help}");
                if diagnostic.help.as_ref() != Some(help) && !notes.contains(&text) {
                    notes.push(text);
                }
            }
        }
        diagnostic.notes = notes;
        diagnostic.kernels = all.into_iter().flat_map(|advice| advice.kernels).collect();
        diagnostic
    }
}

/// Position of each name in a list.
fn positions<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut positions = HashMap::new();
    for (at, name) in names.enumerate() {
        positions.entry(name).or_insert(at);
    }
    positions
}

/// Sort key: listed names in their order, then the others by name.
fn position(positions: &HashMap<&str, usize>, name: &str) -> (usize, String) {
    match positions.get(name) {
        Some(&at) => (at, String::new()),
        None => (usize::MAX, name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kernels: &[&str], outcome: Outcome) -> Diagnostic {
        Diagnostic {
            kernels: kernels.iter().map(|&k| k.to_owned()).collect(),
            outcome,
            kfunc: Some("scx_bpf_consume".into()),
            ..Diagnostic::new("kfunc-context", Level::Error, "message")
        }
    }

    fn kernels() -> Vec<String> {
        ["6.12", "6.13", "7.1"].map(String::from).to_vec()
    }

    #[test]
    fn findings_that_differ_only_in_kernels_become_one_in_kernel_order() {
        let report = Report::new(
            kernels(),
            vec![],
            vec![
                finding(&["6.13"], Outcome::Killed),
                finding(&["7.1"], Outcome::Refused),
                finding(&["6.12", "6.13"], Outcome::Killed),
            ],
        );
        let got: Vec<_> = report
            .diagnostics
            .iter()
            .map(|d| (d.outcome, d.kernels.join(" ")))
            .collect();
        assert_eq!(
            got,
            [
                (Outcome::Killed, "6.12 6.13".to_owned()),
                (Outcome::Refused, "7.1".to_owned())
            ]
        );
        assert_eq!(
            report.summary,
            Summary {
                errors: 2,
                warnings: 0,
                notes: 0
            }
        );
        assert!(report.diagnostics[0].same_place(&report.diagnostics[1]));
        assert_ne!(
            report.diagnostics[0].fingerprint,
            report.diagnostics[1].fingerprint
        );
    }

    #[test]
    fn fingerprint_ignores_lines_kernels_and_wording() {
        let at = |line, text: &str| {
            Some(Location {
                file: "a.c".into(),
                line,
                column: 2,
                text: text.into(),
            })
        };
        let one = Diagnostic {
            location: at(10, "\tcall();"),
            ..finding(&["6.12"], Outcome::Killed)
        };
        let moved = Diagnostic {
            location: at(99, "  call();"),
            message: "reworded".into(),
            ..finding(&["6.13"], Outcome::Killed)
        };
        let other = Diagnostic {
            location: at(10, "\tother();"),
            ..finding(&["6.12"], Outcome::Killed)
        };
        assert_eq!(one.identity(), moved.identity());
        assert_ne!(one.identity(), other.identity());
    }

    #[test]
    fn worse_outcomes_are_greater() {
        let mut all = [
            Outcome::Unknown,
            Outcome::Ok,
            Outcome::Refused,
            Outcome::Hangs,
            Outcome::Unsupported,
            Outcome::Killed,
        ];
        all.sort();
        assert_eq!(
            all,
            [
                Outcome::Ok,
                Outcome::Killed,
                Outcome::Hangs,
                Outcome::Refused,
                Outcome::Unsupported,
                Outcome::Unknown
            ]
        );
    }
}
