//! One object against a set of kernels: parse, explore, run the rules, and put the verdicts together.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::cfg::{Explorer, InputId, InputTable, Inputs, Known, Reach};
use crate::kernel::{Kernel, SymbolMatch, Tables};
use crate::object::{self, FunctionId, MemberValue, Object, ObjectError, ProgramKind};
use crate::profile::LoadProfile;
use crate::report::{
    Attachment, CallbackReport, Diagnostic, KernelVerdict, Level, ObjectReport, Outcome,
    ProgramReport, ProgramVerdict, StructOpsReport,
};
use crate::rules::{self, Case, Findings, Host, ProgramCase};

/// The kernels to check against.
#[derive(Debug)]
pub struct Kernels {
    /// All that is known, for what a message says of other kernels.
    pub tables: Tables,
    /// The kernels asked about, oldest first.
    pub kernels: Vec<Kernel>,
    /// The user named them: each has to work. Otherwise those that lack something the object needs
    /// are its limits, not errors, as long as one remains.
    pub named: bool,
}

/// Checks one object.
///
/// # Errors
/// When the bytes are no BPF object that can be read.
pub fn object(
    path: &str,
    bytes: &[u8],
    kernels: &Kernels,
    profile: &LoadProfile,
) -> Result<(ObjectReport, Vec<Diagnostic>), ObjectError> {
    let object = object::parse(path, bytes)?;
    let plan = LoadPlan::of(&object, profile);
    let table = InputTable::of(&object);
    let explorer = RefCell::new(Explorer::new(&object));
    let verdicts: Vec<Verdict> = kernels
        .kernels
        .iter()
        .map(|kernel| {
            let inputs = Inputs::new(&object, &table, kernel, profile);
            Verdict::of(&object, &plan, &explorer, &inputs, &kernels.tables)
        })
        .collect();
    let report = report(&object, &kernels.kernels, &verdicts);
    Ok((report, diagnostics(verdicts, kernels.named)))
}

/// What a loader does with the parts of an object, by libbpf's rules and the load profile.
struct LoadPlan {
    created: Vec<bool>,
    nulled: Vec<(usize, usize)>,
    loaded: Vec<bool>,
    /// Programs the profile takes out of play altogether.
    off: Vec<bool>,
}

impl LoadPlan {
    fn of(object: &Object<'_>, profile: &LoadProfile) -> Self {
        let mut nulled = Vec::new();
        for (index, map) in object.struct_ops.iter().enumerate() {
            for (member, slot) in map.members.iter().enumerate() {
                if profile
                    .null
                    .iter()
                    .any(|path| path.map == map.name && path.member == slot.name)
                {
                    nulled.push((index, member));
                }
            }
        }
        let created: Vec<bool> = object.struct_ops.iter().map(|map| map.autocreate).collect();
        let mut loaded = Vec::new();
        let mut off = Vec::new();
        for program in &object.programs {
            let nulled_everywhere = !program.attached.is_empty()
                && program.attached.iter().all(|place| nulled.contains(place));
            let disabled = profile.no_autoload.iter().any(|name| name == program.name);
            off.push(disabled || nulled_everywhere);
            loaded.push(!disabled && !nulled_everywhere && program.autoload);
        }
        Self {
            created,
            nulled,
            loaded,
            off,
        }
    }
}

/// What one kernel makes of an object.
struct Verdict {
    outcome: Outcome,
    reasons: Vec<String>,
    programs: Vec<(Outcome, Vec<String>)>,
    diagnostics: Vec<Diagnostic>,
}

impl Verdict {
    fn of(
        object: &Object<'_>,
        plan: &LoadPlan,
        explorer: &RefCell<Explorer<'_, '_>>,
        inputs: &Inputs<'_, '_>,
        tables: &Tables,
    ) -> Self {
        let kernel = inputs.kernel();
        let programs = object
            .programs
            .iter()
            .enumerate()
            .map(|(index, program)| ProgramCase {
                index,
                program,
                host: Host::of(object, program, kernel),
                reach: Reach::of(object, &mut explorer.borrow_mut(), program.function, inputs),
                loaded: plan.loaded.get(index) == Some(&true),
            });
        let supposing = |function: FunctionId, input: InputId, known: Known| {
            Reach::of(
                object,
                &mut explorer.borrow_mut(),
                function,
                &inputs.with(input, known),
            )
        };
        let case = Case {
            supposing: &supposing,
            table: inputs.table(),
            object,
            kernel,
            tables,
            programs: programs
                .filter(|program| plan.off.get(program.index) != Some(&true))
                .collect(),
            created: plan.created.clone(),
            nulled: plan.nulled.clone(),
        };
        let mut findings = Findings::default();
        for rule in rules::ALL {
            rule.check(&case, &mut findings);
        }
        let mut verdict = Self {
            outcome: Outcome::Ok,
            reasons: Vec::new(),
            programs: vec![(Outcome::Ok, Vec::new()); object.programs.len()],
            diagnostics: Vec::new(),
        };
        for program in &case.programs {
            if let Some((_, kfuncs)) = verdict.programs.get_mut(program.index) {
                *kfuncs = reachable_kfuncs(&case, program);
            }
        }
        let mut implied = Vec::new();
        for finding in findings.all {
            let outcome = finding.diagnostic.outcome;
            let concerns_object = match finding.program {
                Some(index) => {
                    if let Some((program, _)) = verdict.programs.get_mut(index) {
                        *program = outcome.max(*program);
                    }
                    plan.loaded.get(index) == Some(&true)
                }
                None => true,
            };
            if concerns_object && outcome != Outcome::Ok {
                verdict.outcome = verdict.outcome.max(outcome);
                let reasons = if finding.shown {
                    &mut verdict.reasons
                } else {
                    &mut implied
                };
                if !reasons.contains(&finding.diagnostic.message) {
                    reasons.push(finding.diagnostic.message.clone());
                }
            }
            if finding.shown {
                verdict.diagnostics.push(finding.diagnostic);
            }
        }
        // What only follows from a reason is none beside it.
        if verdict.reasons.is_empty() {
            verdict.reasons = implied;
        }
        verdict
    }
}

fn reachable_kfuncs(case: &Case<'_>, program: &ProgramCase<'_>) -> Vec<String> {
    let names: BTreeSet<&str> = case
        .calls(program)
        .into_iter()
        .filter(|call| matches!(call.resolves, SymbolMatch::Present | SymbolMatch::Unknown))
        .map(|call| call.symbol.essential_name)
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Kernels that lack something the object needs are its limits. What else would be said of them
/// cannot happen there; and unless the user named them, or no kernel is left, the lack is no error.
fn diagnostics(verdicts: Vec<Verdict>, named: bool) -> Vec<Diagnostic> {
    let limits_only = !named
        && verdicts
            .iter()
            .any(|verdict| verdict.outcome != Outcome::Unsupported);
    let mut all = Vec::new();
    for verdict in verdicts {
        let unsupported = verdict.outcome == Outcome::Unsupported;
        for mut diagnostic in verdict.diagnostics {
            let lack = diagnostic.outcome == Outcome::Unsupported;
            if unsupported && !lack && !named {
                continue;
            }
            if lack && limits_only {
                diagnostic.level = Level::Note;
            }
            all.push(diagnostic);
        }
    }
    all
}

fn report(object: &Object<'_>, kernels: &[Kernel], verdicts: &[Verdict]) -> ObjectReport {
    let struct_ops = object.struct_ops.iter().map(|map| StructOpsReport {
        map: map.name.to_owned(),
        type_name: map.essential_type_name().to_owned(),
        callbacks: map
            .members
            .iter()
            .filter_map(|member| {
                let MemberValue::Program(function) = member.value else {
                    return None;
                };
                let program = object
                    .programs
                    .iter()
                    .find(|program| program.function == function)?;
                Some(CallbackReport {
                    callback: member.name.to_owned(),
                    program: program.name.to_owned(),
                    sleepable: program.sleepable,
                })
            })
            .collect(),
    });
    let programs = object
        .programs
        .iter()
        .enumerate()
        .map(|(index, program)| ProgramReport {
            name: program.name.to_owned(),
            section: program.section.to_owned(),
            program_type: type_name(program.kind).to_owned(),
            attached: program
                .attached
                .iter()
                .filter_map(|(map, member)| {
                    let map = object.struct_ops.get(*map)?;
                    let member = map.members.get(*member)?;
                    Some(Attachment {
                        map: map.name.to_owned(),
                        callback: member.name.to_owned(),
                    })
                })
                .collect(),
            kernels: kernels
                .iter()
                .zip(verdicts)
                .filter_map(|(kernel, verdict)| {
                    let (outcome, kfuncs) = verdict.programs.get(index)?;
                    Some(ProgramVerdict {
                        kernel: kernel.label.clone(),
                        outcome: *outcome,
                        kfuncs: kfuncs.clone(),
                    })
                })
                .collect(),
        });
    let verdicts = kernels
        .iter()
        .zip(verdicts)
        .map(|(kernel, verdict)| KernelVerdict {
            kernel: kernel.label.clone(),
            outcome: verdict.outcome,
            reasons: verdict.reasons.clone(),
        });
    ObjectReport {
        path: object.path.clone(),
        member: None,
        struct_ops: struct_ops.collect(),
        programs: programs.collect(),
        kernels: verdicts.collect(),
    }
}

fn type_name(kind: ProgramKind) -> &'static str {
    match kind {
        ProgramKind::StructOps => "struct_ops",
        ProgramKind::Syscall => "syscall",
        ProgramKind::Tracing => "tracing",
        ProgramKind::Tracepoint => "tracepoint",
        ProgramKind::RawTracepoint => "raw_tracepoint",
        ProgramKind::PerfEvent => "perf_event",
        ProgramKind::Lsm => "lsm",
        ProgramKind::Kprobe => "kprobe",
        ProgramKind::Extension => "extension",
        ProgramKind::Other => "other",
        ProgramKind::Unknown => "unknown",
    }
}
