//! From what the guest answers to what is kept: the decisive line, and whose fault it is.

use std::collections::{BTreeMap, BTreeSet};

use scx_lint::object;
use scx_lint::probe::verdict::decisive;

use super::cases::Case;
use super::guest::{Answer, Hung};
use super::record::{End, LoadResult, Loaded, Ran};

/// Frames libbpf puts around the verifier's log.
const LOG_BEGIN: &str = "-- BEGIN PROG LOAD LOG --";
const LOG_END: &str = "-- END PROG LOAD LOG --";

/// What a build says that lacks a kfunc's true prototype, or has one with the hidden argument.
const DAMAGE: &[&str] = &[
    "_impl in BTF",
    "incompatible with vmlinux",
    "does not have a valid func_proto",
];

/// Lines of libbpf that say only that something failed, or is not of interest.
const CHATTER: &[&str] = &[
    "skipping it as it's set to zero",
    "BPF program load failed",
    ": failed to load: ",
    "failed to load object",
    "failed to find valid kernel BTF",
];

/// The kernel's announcement of a scheduler.
const ENABLED: &str = "\" enabled";

/// The kernel's announcement of a scheduler's end.
const DISABLED: &str = "disabled (";

/// How it announces an end it did not cause.
const FRIENDLY_ENDS: &[&str] = &[
    "unregistered from user space",
    "unregistered from the main kernel",
];

/// What became of loading each fixture. `damaged` are the kfuncs whose answers come from a defect of
/// the kernel's build.
pub fn loaded(cases: &[Case], answers: &[Answer], damaged: &BTreeSet<String>) -> Vec<Loaded> {
    let mut all = Vec::new();
    for case in cases {
        let leans_on_damage = leans_on(case, damaged);
        let mut whole = None;
        let mut programs = BTreeMap::new();
        for answer in answers {
            let Answer::Load {
                case: name,
                program,
                error,
                messages,
            } = answer
            else {
                continue;
            };
            if *name != case.name {
                continue;
            }
            let because = error
                .as_ref()
                .map_or_else(String::new, |error| reason(messages, error));
            let result = LoadResult {
                loads: error.is_none(),
                defect: !damaged.is_empty() && (leans_on_damage || is_damage(messages)),
                because,
            };
            match program {
                Some(program) => drop(programs.insert(program.clone(), result)),
                None => whole = Some(result),
            }
        }
        if let Some(whole) = whole {
            all.push(Loaded {
                case: case.name.clone(),
                object: case.fingerprint.clone(),
                whole,
                programs,
            });
        }
    }
    all
}

/// What became of running each scheduler.
pub fn ran(
    cases: &[Case],
    answers: &[Answer],
    hung: &[Hung],
    damaged: &BTreeSet<String>,
) -> Vec<Ran> {
    let mut all = Vec::new();
    for case in cases {
        for map in &case.settings.attach {
            let found = answers.iter().find_map(|answer| match answer {
                Answer::Ran {
                    case: name,
                    map: ran,
                    stage,
                    error,
                    state,
                    messages,
                    log,
                    ..
                } if *name == case.name && ran == map => {
                    let (end, because) = ending(stage, error.as_deref(), state, messages, log);
                    let defect =
                        !damaged.is_empty() && (leans_on(case, damaged) || is_damage(messages));
                    Some((end, because, defect))
                }
                _ => None,
            });
            let hang = || {
                let hung = hung
                    .iter()
                    .find(|hung| hung.case == case.name && hung.map == *map)?;
                Some((End::Hung, hung.because.clone(), false))
            };
            if let Some((end, because, defect)) = found.or_else(hang) {
                all.push(Ran {
                    case: case.name.clone(),
                    object: case.fingerprint.clone(),
                    map: map.clone(),
                    end,
                    because,
                    defect,
                });
            }
        }
    }
    all
}

fn ending(
    stage: &str,
    error: Option<&str>,
    state: &[String],
    messages: &[String],
    log: &[String],
) -> (End, String) {
    let end = disabled(log);
    // Where enabling happens behind the link's back, the link is there and the scheduler is not.
    let stage = if stage == "drive" && !log.iter().any(|line| line.contains(ENABLED)) {
        "attach"
    } else {
        stage
    };
    match (stage, error) {
        ("load", error) => (End::NotLoaded, reason(messages, error.unwrap_or_default())),
        ("attach", error) => {
            let because = end.map_or_else(
                || reason(messages, error.unwrap_or_default()),
                |(_, why)| why,
            );
            (End::NotAttached, because)
        }
        _ => match end {
            // A failure of the fixture to be enabled may only show after the link is there.
            Some((true, why)) => (End::Killed, why),
            Some((false, _)) | None if state.first().is_some_and(|state| state == "enabled") => {
                (End::Alive, String::new())
            }
            other => (
                End::Killed,
                other.map_or_else(|| state.join(", then "), |(_, why)| why),
            ),
        },
    }
}

/// The kernel's announcement that a scheduler ended: whether it ended it, and its message.
fn disabled(log: &[String]) -> Option<(bool, String)> {
    let at = log.iter().position(|line| line.contains(DISABLED))?;
    let line = log.get(at)?;
    let forced = !FRIENDLY_ENDS.iter().any(|end| line.contains(end));
    // "sched_ext: NAME: message", if there is one.
    let message = log
        .get(at + 1)
        .filter(|line| line.starts_with("sched_ext: "));
    Some((
        forced,
        message
            .unwrap_or(line)
            .trim_start_matches("sched_ext: ")
            .to_owned(),
    ))
}

/// The decisive line of what libbpf said: the verifier's if there is one.
fn reason(messages: &[String], error: &str) -> String {
    for message in messages {
        if let Some((log, _)) = message.split_once(LOG_END) {
            let log = log.split_once(LOG_BEGIN).map_or(log, |(_, log)| log);
            let damage = log
                .lines()
                .find(|line| DAMAGE.iter().any(|text| line.contains(text)));
            let line = damage.unwrap_or_else(|| decisive(log));
            if !line.is_empty() {
                return line.to_owned();
            }
        }
    }
    let said = messages
        .iter()
        .map(|message| message.trim().trim_start_matches("libbpf: "));
    let mut said = said.filter(|message| !CHATTER.iter().any(|text| message.contains(text)));
    said.next_back()
        .filter(|message| !message.is_empty())
        .unwrap_or(error)
        .to_owned()
}

fn is_damage(messages: &[String]) -> bool {
    messages
        .iter()
        .any(|message| DAMAGE.iter().any(|text| message.contains(text)))
}

/// Whether the object asks for a damaged kfunc in a way that leaves no message: a weak extern is
/// then absent.
fn leans_on(case: &Case, damaged: &BTreeSet<String>) -> bool {
    object::parse(&case.name, &case.bytes).is_ok_and(|object| {
        object
            .externs
            .iter()
            .any(|symbol| symbol.weak && damaged.contains(symbol.essential_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn end(state: &[&str], log: &[&str]) -> (End, String) {
        ending("drive", None, &owned(state), &[], &owned(log))
    }

    #[test]
    fn a_scheduler_that_the_kernel_ends_is_killed_for_the_reason_the_kernel_gives() {
        let log = [
            "sched_ext: BPF scheduler \"x\" enabled",
            "sched_ext: BPF scheduler \"x\" disabled (runtime error)",
            "sched_ext: x: kfunc with mask 0x2 called from an operation only allowing 0x4",
        ];
        let (end, because) = end(&["disabled", "disabled"], &log);
        assert_eq!(end, End::Killed);
        assert_eq!(
            because,
            "x: kfunc with mask 0x2 called from an operation only allowing 0x4"
        );
    }

    #[test]
    fn a_scheduler_that_was_never_enabled_was_not_attached() {
        let log = [
            "sched_ext: BPF scheduler \"x\" disabled (runtime error)",
            "sched_ext: x: no cid form",
        ];
        let (end, because) = end(&["disabled", "disabled"], &log);
        assert_eq!(
            (end, because.as_str()),
            (End::NotAttached, "x: no cid form")
        );
    }

    #[test]
    fn a_scheduler_that_goes_with_a_cpu_or_with_its_link_was_alive() {
        for reason in [
            "unregistered from the main kernel",
            "unregistered from user space",
        ] {
            let line = format!("sched_ext: BPF scheduler \"x\" disabled ({reason})");
            let log = ["sched_ext: BPF scheduler \"x\" enabled", &line];
            let (end, because) = end(&["enabled", "disabled"], &log);
            assert_eq!((end, because.as_str()), (End::Alive, ""));
        }
    }

    #[test]
    fn the_verifiers_line_comes_before_what_libbpf_makes_of_it() {
        let log = "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n0: (85) call f#1\n\
                   calling kernel function f is not allowed\nprocessed 1 insns (limit 1)\n\
                   -- END PROG LOAD LOG --\n";
        let messages = owned(&["libbpf: prog 'p': BPF program load failed: -EACCES\n", log]);
        assert_eq!(
            reason(&messages, "error 13"),
            "calling kernel function f is not allowed"
        );
    }

    #[test]
    fn without_a_verifier_libbpf_has_the_word() {
        let messages = owned(&[
            "libbpf: struct_ops x: member y not found in kernel, skipping it as it's set to zero\n",
            "libbpf: extern (func ksym) 'f': not found in kernel or module BTFs\n",
            "libbpf: failed to load object 'x'\n",
        ]);
        assert_eq!(
            reason(&messages, "error 3"),
            "extern (func ksym) 'f': not found in kernel or module BTFs"
        );
        assert_eq!(reason(&[], "error 3"), "error 3");
    }
}
