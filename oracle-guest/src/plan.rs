//! What the host asks and what it gets: its side of both is `xtask/src/oracle/guest.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Debug, Deserialize)]
pub struct Plan {
    /// In order.
    pub cases: Vec<Case>,
}

/// One fixture.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where the guest has the object.
    pub object: PathBuf,
    /// What user space writes before it loads the object.
    pub set: Vec<Patch>,
    /// Sizes it gives to maps, by name.
    #[serde(default)]
    pub max_entries: BTreeMap<String, u32>,
    /// Sizes it gives to resizable arrays, by section.
    #[serde(default)]
    pub value_sizes: BTreeMap<String, u32>,
    /// Programs it does not load.
    #[serde(default)]
    pub no_autoload: Vec<String>,
    /// The struct_ops maps to attach, one after the other.
    pub attach: Vec<String>,
}

/// Bytes in a map's initial value.
#[derive(Debug, Deserialize)]
pub struct Patch {
    /// The section the map is made from.
    pub section: String,
    /// Offset in it.
    pub offset: usize,
    /// What to write.
    pub bytes: Vec<u8>,
}

/// One line of answer.
#[derive(Debug, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer<'a> {
    /// The whole object, or (with a program) that program alone.
    Load {
        /// The fixture.
        case: &'a str,
        /// The program; none for the whole object.
        program: Option<&'a str>,
        /// The error, none if it loaded.
        error: Option<String>,
        /// What libbpf said, the verifier's log included.
        messages: Vec<String>,
    },
    /// About to attach: without an answer to it, the machine went down.
    Attaching {
        /// The fixture.
        case: &'a str,
        /// The map.
        map: &'a str,
    },
    /// A scheduler that was attached and driven.
    Ran {
        /// The fixture.
        case: &'a str,
        /// The map.
        map: &'a str,
        /// How far it came: `load`, `attach`, or `drive`.
        stage: &'a str,
        /// The error of that stage.
        error: Option<String>,
        /// `/sys/kernel/sched_ext/state` after everything but CPUs going off and on, and at the end.
        state: Vec<String>,
        /// `/sys/kernel/sched_ext/nr_rejected` at the end.
        rejected: Option<String>,
        /// What libbpf said.
        messages: Vec<String>,
        /// What the kernel said meanwhile.
        log: Vec<String>,
    },
}
