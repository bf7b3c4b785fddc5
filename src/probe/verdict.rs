//! What the verifier's text means.
//!
//! The program asked about is wrong in its arguments on purpose, so nearly every load fails; what
//! counts is whether the failure comes from the permission check or after it. A complaint about
//! the call itself (its instruction is printed before it) that is none of the known ones below is
//! one after the check.

use serde::{Deserialize, Serialize};

/// The answer to "may this program call this kfunc".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The check let it pass.
    Permitted,
    /// The check let it pass, and the kfunc wants a program that may sleep.
    NeedsSleepable,
    /// The check let it pass, and the kfunc wants an RCU read section around it.
    NeedsRcu,
    /// The check refused.
    NotAllowed,
    /// A function, but none a program can call: this build has it under no known address or
    /// prototype.
    NotCallable,
    /// This build lacks the twin that holds the true prototype, and with it the kfunc.
    ImplicitTwinMissing,
    /// No program can be loaded for this hook, whatever it calls.
    HookRefused,
    /// Nothing we know; the text says more.
    Unclassified,
}

/// Complaints from before the call is looked at.
const BEFORE: &[(&str, Verdict)] = &[
    // "cannot find function X_impl in BTF"
    ("_impl in BTF", Verdict::ImplicitTwinMissing),
    (
        "cannot find address for kernel function",
        Verdict::NotCallable,
    ),
    ("is not a function", Verdict::NotCallable),
    ("does not have a valid func_proto", Verdict::NotCallable),
];

/// Complaints about the call that are not about permission.
const AT_CALL: &[(&str, Verdict)] = &[
    ("is not allowed", Verdict::NotAllowed),
    (
        "program must be sleepable to call sleepable kfunc",
        Verdict::NeedsSleepable,
    ),
    ("must be sleepable", Verdict::NeedsSleepable),
    (
        "requires RCU critical section protection",
        Verdict::NeedsRcu,
    ),
];

/// The text of a kernel that wants to see an arena before it looks at the call.
const WANTS_ARENA: &str = "requires a program with an associated arena";

/// How the explanations begin that newer kernels append.
const EXPLANATION: &str = "\nVerification failed:";

/// Whether the same question has to be asked again with an arena in the program.
pub fn wants_arena(log: &str) -> bool {
    log.contains(WANTS_ARENA)
}

/// Classifies a load that called one kfunc in a program that loads without the call; with the line
/// that decided.
pub fn classify(loaded: bool, log: &str) -> (Verdict, &str) {
    if loaded {
        return (Verdict::Permitted, "");
    }
    for (text, verdict) in BEFORE {
        if let Some(line) = log.lines().find(|line| line.contains(text)) {
            return (*verdict, line);
        }
    }
    let line = decisive(log);
    for (text, verdict) in AT_CALL {
        if line.contains(text) {
            return (*verdict, line);
        }
    }
    let reached = log.lines().any(|line| line.contains(": (85) call "));
    let verdict = if reached && !wants_arena(log) {
        Verdict::Permitted
    } else {
        Verdict::Unclassified
    };
    (verdict, line)
}

/// The line in which the verifier says why.
pub fn decisive(log: &str) -> &str {
    // 7.3 explains itself at length after that line.
    let said = log.split_once(EXPLANATION).map_or(log, |(said, _)| said);
    said.lines()
        .rev()
        .find(|line| !line.is_empty() && !is_chatter(line))
        .unwrap_or_default()
}

/// Statistics, and the instructions it walks over (`4: (85) call …`).
fn is_chatter(line: &str) -> bool {
    line.starts_with("processed ")
        || line.starts_with("verification time ")
        || line.starts_with("stack depth ")
        || line
            .split_once(": ")
            .is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_and_a_later_complaint_are_told_apart() {
        let refused = "0: R1=ctx() R10=fp0\n0: (b7) r1 = 0\n5: (85) call scx_bpf_x#1\n\
                       calling kernel function scx_bpf_x is not allowed\n\
                       processed 6 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(classify(false, refused).0, Verdict::NotAllowed);
        let later = "5: (85) call scx_bpf_x#1\narg#0 pointer type STRUCT task_struct must point\n";
        assert_eq!(classify(false, later).0, Verdict::Permitted);
        assert_eq!(classify(true, "").0, Verdict::Permitted);
    }

    #[test]
    fn a_missing_twin_is_named_although_the_last_line_names_only_a_number() {
        let log = "cannot find function scx_bpf_x_impl in BTF\n\
                   kernel function btf_id 7 does not have a valid func_proto\n";
        let (verdict, line) = classify(false, log);
        assert_eq!(verdict, Verdict::ImplicitTwinMissing);
        assert_eq!(line, "cannot find function scx_bpf_x_impl in BTF");
    }

    #[test]
    fn the_explanations_of_newer_kernels_do_not_hide_the_decisive_line() {
        let log = "5: (85) call scx_bpf_x#1\ncalling kernel function scx_bpf_x is not allowed\n\n\
                   Verification failed: Policy\n\nSuggestion:\n  Mark the program sleepable.\n";
        assert_eq!(classify(false, log).0, Verdict::NotAllowed);
    }

    #[test]
    fn what_is_not_known_is_not_taken_for_a_permission() {
        assert_eq!(classify(false, "").0, Verdict::Unclassified);
        assert_eq!(
            classify(false, "attach_btf_id is not what we thought\n").0,
            Verdict::Unclassified
        );
    }
}
