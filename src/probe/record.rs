//! What the probe says, question by question: the lines of `scx-lint probe --format json`.

use serde::{Deserialize, Serialize};

use super::types::{EnumType, KfuncType, StructOps};
use super::verdict::Verdict;

/// One line of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// The kernel asked.
    Kernel {
        /// `uname -r`
        release: String,
        /// `uname -v`, which tells builds apart.
        version: String,
    },
    /// A struct_ops type of sched_ext.
    StructOps(StructOps),
    /// A kfunc candidate.
    Kfunc(KfuncType),
    /// An enum.
    Enum(EnumType),
    /// May a program for this hook be loaded at all?
    Hook {
        /// The struct_ops type or, for other programs, their kind.
        hook: String,
        /// The struct_ops callback or what it attaches to.
        target: String,
        /// Whether the program may sleep.
        sleepable: bool,
        /// `permitted` or `hook-refused`
        verdict: Verdict,
        /// The verifier's decisive line.
        log: String,
    },
    /// May a program for this hook call this kfunc?
    Call {
        /// The struct_ops type or, for other programs, their kind.
        hook: String,
        /// The struct_ops callback or what it attaches to.
        target: String,
        /// The kfunc.
        kfunc: String,
        /// Whether the program may sleep.
        sleepable: bool,
        /// The answer.
        verdict: Verdict,
        /// The verifier's decisive line.
        log: String,
    },
}
