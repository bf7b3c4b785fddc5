//! The linter's claims against a kernel's answers.
//!
//! Compiled into `cargo xtask oracle` and into `tests/oracle.rs`, like [`super::record`].

use std::collections::{BTreeMap, BTreeSet};

use scx_lint::kernel::{Enforcement, Flag, Kernel, Kfunc, Permission, Presence, ProgramHooks};
use scx_lint::report::{Diagnostic, ObjectReport, Outcome, ProgramReport, Report};

use super::record::{End, LoadResult, Loaded, Ran, Record, Row};

/// A program may call the kfunc (and fails later, or loads).
pub const PERMITTED: char = 'p';
/// It may, if it could sleep.
pub const NEEDS_SLEEPABLE: char = 's';
/// It may, inside an RCU read section.
pub const NEEDS_RCU: char = 'r';
/// It may not.
pub const DENIED: char = 'd';
/// No program can call such a function.
pub const NOT_CALLABLE: char = 'n';
/// The build lacks the kfunc's true prototype: no answer.
pub const DAMAGED: char = 't';
/// Not asked here.
pub const NOT_ASKED: char = '-';

/// How a comparison went.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers compared.
    pub compared: usize,
    /// Answers that come from a defect of the kernel's build and say nothing of the release.
    pub defects: usize,
    /// Answers that the tables say nothing of, and need not.
    pub untold: usize,
    /// What the kernel takes and the linter will not analyse, as the fixture wants it, one line each.
    pub unanalysed: Vec<String>,
    /// What does not agree, one line each.
    pub mismatches: Vec<String>,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: Tally) {
        self.compared += other.compared;
        self.defects += other.defects;
        self.untold += other.untold;
        self.unanalysed.extend(other.unanalysed);
        self.mismatches.extend(other.mismatches);
    }

    fn check(&mut self, agrees: bool, mismatch: impl FnOnce() -> String) {
        self.compared += 1;
        if !agrees {
            self.mismatches.push(mismatch());
        }
    }
}

/// The tables against what the kernel's verifier and its BTF said.
pub fn matrix(record: &Record, kernel: &Kernel) -> Tally {
    let mut tally = Tally::default();
    let matrix = &record.matrix;
    for (name, callbacks) in &matrix.callbacks {
        let Some(known) = kernel.struct_ops(name) else {
            tally.check(false, || {
                format!("{name}: the kernel has it, the tables do not")
            });
            continue;
        };
        let fields = matrix
            .fields
            .get(name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        same_names(
            &mut tally,
            &format!("{name} callback"),
            callbacks,
            known.callbacks.iter().map(|c| &*c.name),
        );
        same_names(
            &mut tally,
            &format!("{name} field"),
            fields,
            known.fields.iter().map(|f| &**f),
        );
    }
    for known in kernel.struct_ops_types() {
        tally.check(matrix.callbacks.contains_key(&*known.name), || {
            format!("{}: the tables have it, the kernel does not", known.name)
        });
    }
    let callable: BTreeSet<&str> = callable(record);
    for name in &matrix.kfuncs {
        let known = kernel.kfunc(name).is_some();
        tally.check(known == callable.contains(name.as_str()), || match known {
            true => format!("kfunc {name}: the tables have it, no program can call it"),
            false => format!("kfunc {name}: programs can call it, the tables do not have it"),
        });
    }
    for known in kernel.kfuncs() {
        tally.check(
            matrix.kfuncs.iter().any(|name| **name == *known.name),
            || {
                format!(
                    "kfunc {}: the tables have it, the kernel does not",
                    known.name
                )
            },
        );
    }
    for row in &matrix.rows {
        self::row(&mut tally, record, kernel, row, &callable);
    }
    enums(&mut tally, record, kernel);
    tally
}

/// The functions that some program may call: the rest only bear a kfunc's prefix.
fn callable(record: &Record) -> BTreeSet<&str> {
    let mut callable = BTreeSet::new();
    for row in &record.matrix.rows {
        for (name, verdict) in record.matrix.kfuncs.iter().zip(row.verdicts.chars()) {
            if !matches!(verdict, DENIED | NOT_CALLABLE | NOT_ASKED) {
                callable.insert(name.as_str());
            }
        }
    }
    callable
}

fn same_names<'a>(
    tally: &mut Tally,
    what: &str,
    theirs: &[String],
    ours: impl Iterator<Item = &'a str>,
) {
    let ours: BTreeSet<&str> = ours.collect();
    let theirs: BTreeSet<&str> = theirs.iter().map(String::as_str).collect();
    for name in ours.union(&theirs) {
        tally.check(
            ours.contains(name) && theirs.contains(name),
            || match ours.contains(name) {
                true => format!("{what} {name}: the tables have it, the kernel does not"),
                false => format!("{what} {name}: the kernel has it, the tables do not"),
            },
        );
    }
}

fn row(tally: &mut Tally, record: &Record, kernel: &Kernel, row: &Row, callable: &BTreeSet<&str>) {
    let Row {
        hook,
        target,
        sleepable,
        verdicts,
    } = row;
    let place = format!(
        "{hook}.{target}{}",
        if *sleepable { " (sleepable)" } else { "" }
    );
    let callback = kernel.struct_ops(hook).map(|ops| ops.callback(target));
    let expected: Box<dyn Fn(&Kfunc) -> char> = match callback {
        // That the callback is missing has been said.
        Some(None) => return,
        Some(Some(callback)) => {
            let loads = (!*sleepable || callback.sleepable) && !callback.program_refused;
            tally.check(loads != verdicts.is_empty(), || match loads {
                true => format!(
                    "{place}: the tables allow a program here, the kernel refuses every one"
                ),
                false => {
                    format!("{place}: the kernel takes such a program, the tables say it does not")
                }
            });
            Box::new(move |kfunc| {
                let by_context = kernel.enforcement == Enforcement::RunTime
                    || kernel.permission(callback, kfunc) == Permission::Permitted;
                expected(
                    kfunc,
                    by_context && kfunc.hooks.contains(ProgramHooks::STRUCT_OPS),
                    *sleepable,
                )
            })
        }
        None => {
            let hook = program_hook(hook, target);
            Box::new(move |kfunc| {
                expected(
                    kfunc,
                    hook.is_some_and(|hook| kfunc.hooks.contains(hook)),
                    *sleepable,
                )
            })
        }
    };
    for (name, verdict) in record.matrix.kfuncs.iter().zip(verdicts.chars()) {
        match kernel
            .kfunc(name)
            .filter(|_| callable.contains(name.as_str()))
        {
            _ if verdict == NOT_ASKED => {}
            _ if verdict == DAMAGED => tally.defects += 1,
            None => tally.check(!callable.contains(name.as_str()), || {
                format!("{place} calls {name}: `{verdict}`, and the tables do not know it")
            }),
            Some(kfunc) => {
                let ours = expected(kfunc);
                tally.check(ours == verdict, || {
                    format!(
                        "{place} calls {name}: {}, the tables say {}",
                        word(verdict),
                        word(ours)
                    )
                });
            }
        }
    }
}

fn expected(kfunc: &Kfunc, permitted: bool, sleepable: bool) -> char {
    if !permitted {
        DENIED
    } else if kfunc.sleepable && !sleepable {
        NEEDS_SLEEPABLE
    } else if kfunc.rcu_protected && sleepable && !kfunc.flags.contains(&Flag::IterNext) {
        // (A step is asked about without an iterator, which the verifier sees before all else.)
        NEEDS_RCU
    } else {
        PERMITTED
    }
}

fn word(verdict: char) -> &'static str {
    match verdict {
        PERMITTED => "permitted",
        NEEDS_SLEEPABLE => "wants a sleepable program",
        NEEDS_RCU => "wants an RCU read section",
        DENIED => "denied",
        NOT_CALLABLE => "not callable",
        _ => "no clear answer",
    }
}

/// The program kind that the probe's name for a hook stands for; none for the kinds that may call
/// no kfunc of a scheduler.
fn program_hook(hook: &str, target: &str) -> Option<ProgramHooks> {
    Some(match hook {
        "syscall" => ProgramHooks::SYSCALL,
        "fentry" | "fexit" | "fmod_ret" | "tp_btf" | "iter" => ProgramHooks::TRACING,
        "lsm" | "lsm_cgroup" => ProgramHooks::LSM,
        "tracepoint" => ProgramHooks::TRACEPOINT,
        "raw_tracepoint" => ProgramHooks::RAW_TRACEPOINT,
        "perf_event" => ProgramHooks::PERF_EVENT,
        "kprobe" => ProgramHooks::KPROBE,
        // A type of struct_ops of the kernel has callbacks as its targets, a program kind has none.
        _ if !target.is_empty() => ProgramHooks::FOREIGN_STRUCT_OPS,
        _ => return None,
    })
}

fn enums(tally: &mut Tally, record: &Record, kernel: &Kernel) {
    for (name, values) in &record.matrix.enums {
        for (variant, value) in values {
            match kernel.enum_variant(name, variant) {
                (Presence::Unknown, _) | (Presence::Present, None) => tally.untold += 1,
                (Presence::Absent, _) => tally.check(false, || {
                    format!("enum {name}.{variant}: the kernel has it, the tables say it does not")
                }),
                // Both sides as 64 bits: BTF knows the sign, the tables need not.
                (Presence::Present, Some(ours)) => tally.check(ours == as_bits(*value), || {
                    format!("enum {name}.{variant}: {value:#x}, the tables say {ours:#x}")
                }),
            }
        }
    }
}

fn as_bits(value: i128) -> u64 {
    let low = value & i128::from(u64::MAX);
    u64::try_from(low).unwrap_or_default()
}

/// What the linter says of the fixtures on one kernel.
pub struct Claims<'a> {
    objects: BTreeMap<&'a str, &'a ObjectReport>,
    diagnostics: &'a [Diagnostic],
    kernel: String,
}

impl<'a> Claims<'a> {
    /// From a report on `fixtures/<case>/…` for one kernel.
    pub fn of(report: &'a Report) -> Claims<'a> {
        let case = |path: &'a str| path.rsplit('/').nth(1).unwrap_or(path);
        Claims {
            objects: report
                .objects
                .iter()
                .map(|object| (case(&object.path), object))
                .collect(),
            diagnostics: &report.diagnostics,
            kernel: report.kernels.first().cloned().unwrap_or_default(),
        }
    }

    /// What becomes of loading the whole object; a fixture that cannot be read is not known.
    fn object(&self, case: &str) -> Outcome {
        let Some(object) = self.objects.get(case) else {
            return Outcome::Unknown;
        };
        let programs = object.programs.iter().map(|program| program.name.as_str());
        let worst = |claims: &mut dyn Iterator<Item = Outcome>| claims.max().unwrap_or_default();
        let whole = object
            .kernels
            .iter()
            .find(|v| v.kernel == self.kernel)
            .map_or(Outcome::Unknown, |v| v.outcome);
        // A scheduler that loads and is refused when it registers: that is seen by running it.
        if whole == Outcome::Refused && worst(&mut self.of_no_program(case)) == Outcome::Refused {
            return worst(&mut programs.map(|program| self.program(case, program)));
        }
        whole
    }

    /// What is said of the object and of none of its programs.
    fn of_no_program(&self, case: &str) -> impl Iterator<Item = Outcome> {
        self.said_of(case)
            .filter(|d| d.program.is_none())
            .map(|d| d.outcome)
    }

    fn program(&self, case: &str, name: &str) -> Outcome {
        let object = self.objects.get(case);
        let program =
            object.and_then(|object| object.programs.iter().find(|program| program.name == name));
        program.map_or(Outcome::Unknown, |program| self.outcome(program))
    }

    fn outcome(&self, program: &ProgramReport) -> Outcome {
        program
            .kernels
            .iter()
            .find(|v| v.kernel == self.kernel)
            .map_or(Outcome::Unknown, |v| v.outcome)
    }

    /// What becomes of one scheduler of the object: the worst of its programs and of what concerns
    /// no program.
    pub fn scheduler(&self, case: &str, map: &str) -> Outcome {
        let Some(object) = self.objects.get(case) else {
            return Outcome::Unknown;
        };
        let members = object
            .programs
            .iter()
            .filter(|p| p.attached.iter().any(|place| place.map == map));
        members
            .map(|program| self.outcome(program))
            .chain(self.of_no_program(case))
            .max()
            .unwrap_or_default()
    }

    /// Whether every program of a scheduler loads by itself.
    fn programs_load(&self, case: &str, map: &str) -> bool {
        let programs = self
            .objects
            .get(case)
            .into_iter()
            .flat_map(|object| &object.programs);
        programs
            .filter(|p| p.attached.iter().any(|place| place.map == map))
            .all(|program| self.outcome(program) == Outcome::Ok)
    }

    fn said_of(&self, case: &str) -> impl Iterator<Item = &'a Diagnostic> {
        let path = self.objects.get(case).map(|object| object.path.as_str());
        let said = self
            .diagnostics
            .iter()
            .filter(move |d| path == Some(d.object.as_str()));
        said.filter(|d| d.kernels.contains(&self.kernel))
    }

    /// Whether a finding has the kernel's own words.
    fn quotes(&self, case: &str, text: &str) -> bool {
        self.said_of(case).any(|d| {
            d.message.contains(text)
                || d.help.as_ref().is_some_and(|help| help.contains(text))
                || d.notes.iter().any(|note| note.contains(text))
        })
    }

    /// Whether a finding about the program is about this kfunc.
    fn names(&self, case: &str, program: &str, kfunc: &str) -> bool {
        self.said_of(case)
            .any(|d| d.program.as_deref() == Some(program) && d.kfunc.as_deref() == Some(kfunc))
    }
}

/// What `case.toml` says of a fixture that bears on the comparison.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// False for a forbidden call that no stimulus reaches.
    pub reached: bool,
    /// The fixture shows what the linter will not analyse.
    pub unanalysed: bool,
}

/// The linter against what became of loading a fixture.
pub fn load(loaded: &Loaded, claims: &Claims<'_>, expected: Expected) -> Tally {
    let mut tally = Tally::default();
    let case = &loaded.case;
    one_load(
        &mut tally,
        case,
        "the object",
        &loaded.whole,
        claims.object(case),
        expected,
    );
    for (name, result) in &loaded.programs {
        let ours = claims.program(case, name);
        let before = tally.mismatches.len();
        one_load(&mut tally, case, name, result, ours, expected);
        let agreed = tally.mismatches.len() == before && !result.defect;
        if agreed && let Some(kfunc) = denied_kfunc(&result.because) {
            tally.check(claims.names(case, name, kfunc), || {
                format!("{case} {name}: the kernel refuses `{kfunc}`, no finding names it")
            });
        }
    }
    tally
}

fn one_load(
    tally: &mut Tally,
    case: &str,
    what: &str,
    result: &LoadResult,
    ours: Outcome,
    expected: Expected,
) {
    if result.defect {
        tally.defects += 1;
        return;
    }
    if result.loads && ours == Outcome::Unknown && expected.unanalysed {
        tally
            .unanalysed
            .push(format!("{case} {what}: loads; ours: {}", ours.phrase()));
        return;
    }
    let we_expect = matches!(ours, Outcome::Ok | Outcome::Killed | Outcome::Hangs);
    tally.check(we_expect == result.loads, || {
        let theirs = if result.loads {
            "loads".to_owned()
        } else {
            format!("does not load ({})", result.because)
        };
        format!("{case} {what}: {theirs}; ours: {}", ours.phrase())
    });
}

/// The kfunc whose call the verifier refused for its place.
fn denied_kfunc(line: &str) -> Option<&str> {
    let name = line
        .strip_prefix("calling kernel function ")
        .and_then(|rest| rest.strip_suffix(" is not allowed"))
        .or_else(|| line.strip_prefix("program must be sleepable to call sleepable kfunc "))
        .or_else(|| {
            let rest = line.strip_prefix("kernel func ")?;
            rest.strip_suffix(" requires RCU critical section protection")
        })
        .or_else(|| line.strip_prefix("expected an RCU CS when using "))?;
    Some(name.trim())
}

/// The linter against what became of a scheduler.
pub fn run(ran: &Ran, claims: &Claims<'_>, expected: Expected) -> Tally {
    let mut tally = Tally::default();
    if ran.defect {
        tally.defects += 1;
        return tally;
    }
    let Ran {
        case,
        map,
        end,
        because,
        ..
    } = ran;
    let ours = claims.scheduler(case, map);
    if ours == Outcome::Unknown && expected.unanalysed && *end == End::Alive {
        tally
            .unanalysed
            .push(format!("{case} {map}: runs; ours: {}", ours.phrase()));
        return tally;
    }
    let agrees = match ours {
        Outcome::Ok => *end == End::Alive,
        // In `init` a kill is a failure to attach.
        Outcome::Killed => {
            matches!(end, End::Killed | End::NotAttached)
                || (!expected.reached && *end == End::Alive)
        }
        Outcome::Hangs => *end == End::Hung,
        Outcome::Refused | Outcome::Unsupported | Outcome::Unknown => {
            // Where every program loads, it is registering that the kernel refuses: it enables the
            // scheduler and ends it again.
            matches!(end, End::NotLoaded | End::NotAttached)
                || (*end == End::Killed && claims.programs_load(case, map))
        }
    };
    tally.check(agrees, || {
        format!("{case} {map}: {end:?} ({because}); ours: {}", ours.phrase())
    });
    if agrees && let Some(text) = mask_error(because) {
        tally.check(claims.quotes(case, text), || {
            format!("{case} {map}: the kernel says `{text}`, no finding quotes it")
        });
    }
    tally
}

/// The kernel's message about a kfunc called from the wrong context.
fn mask_error(line: &str) -> Option<&str> {
    line.find("kfunc with mask ").and_then(|at| line.get(at..))
}
