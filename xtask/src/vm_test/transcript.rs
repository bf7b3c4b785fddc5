//! What the guest's script wrote, as data.

use serde::Deserialize;
use std::collections::BTreeMap;

/// One guest's output.
#[derive(Debug, Default)]
pub struct Transcript {
    /// The parts it began, in order.
    pub parts: Vec<Part>,
    /// The kernel's messages that matter.
    pub dmesg: Vec<String>,
    /// It came to the end.
    pub complete: bool,
}

/// One part: a mode, or a trial.
#[derive(Debug, Default)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Every look at sched_ext's state.
    pub states: Vec<String>,
    /// Exit status of the scheduler.
    pub rc: Option<i32>,
    /// What the scheduler said.
    pub said: Vec<String>,
    /// Its figures for the whole run.
    pub stats: Option<serde_json::Value>,
    /// The mixed load's results.
    pub all: Option<Load>,
    /// The rivals' results.
    pub rivals: Option<Load>,
    /// Broken variants.
    pub broken: Vec<Broken>,
}

/// What became of a broken variant.
#[derive(Debug, Default)]
pub struct Broken {
    /// Its name.
    pub name: String,
    /// Exit status with the gate.
    pub gate: Option<i32>,
    /// What the gate said.
    pub gate_said: Vec<String>,
    /// Exit status without the gate.
    pub ungated: Option<i32>,
    /// What the kernel made of it then.
    pub said: Vec<String>,
}

/// What tiers_load printed.
#[derive(Debug, Default, Deserialize)]
pub struct Load {
    /// Processes it started.
    pub parts: u64,
    /// Those that came to their end.
    pub finished: u64,
    /// Figures by kind and level.
    pub results: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Load {
    /// One figure; 0 where there is none.
    pub fn figure(&self, part: &str, name: &str) -> u64 {
        self.results
            .get(part)
            .and_then(|part| part.get(name))
            .copied()
            .unwrap_or(0)
    }

    /// A figure over all parts of a kind.
    pub fn sum(&self, kind: &str, name: &str) -> u64 {
        self.results
            .iter()
            .filter(|(part, _)| part.split('.').next() == Some(kind))
            .filter_map(|(_, figures)| figures.get(name))
            .sum()
    }
}

impl Transcript {
    /// Reads a guest's output. Lines that are not the script's are skipped.
    pub fn read(text: &str) -> Self {
        let mut transcript = Self::default();
        for line in text.lines() {
            let Some((word, rest)) = line
                .strip_prefix('@')
                .map(|line| line.split_once(' ').unwrap_or((line, "")))
            else {
                continue;
            };
            match word {
                "part" => transcript.parts.push(Part {
                    name: rest.to_owned(),
                    ..Part::default()
                }),
                "dmesg" => transcript.dmesg.push(rest.to_owned()),
                "done" => transcript.complete = true,
                _ => {
                    if let Some(part) = transcript.parts.last_mut() {
                        part.take(word, rest);
                    }
                }
            }
        }
        transcript
    }
}

impl Part {
    fn take(&mut self, word: &str, rest: &str) {
        match word {
            "state" => self.states.push(rest.to_owned()),
            "rc" => self.rc = rest.parse().ok(),
            "stats" => self.stats = serde_json::from_str(rest).ok(),
            "all" => self.all = serde_json::from_str(rest).ok(),
            "rivals" => self.rivals = serde_json::from_str(rest).ok(),
            "broken" => self.broken.push(Broken {
                name: rest.to_owned(),
                ..Broken::default()
            }),
            _ => match (self.broken.last_mut(), word) {
                (Some(broken), "gate") => broken.gate = rest.parse().ok(),
                (Some(broken), "gatesaid") => broken.gate_said.push(rest.to_owned()),
                (Some(broken), "ungated") => broken.ungated = rest.parse().ok(),
                (Some(broken), "said") => broken.said.push(rest.to_owned()),
                (None, "said") => self.said.push(rest.to_owned()),
                _ => {}
            },
        }
    }

    /// A counter of the whole run.
    pub fn counter(&self, name: &str) -> u64 {
        self.stats
            .as_ref()
            .and_then(|stats| stats.get("stats")?.get(name)?.as_u64())
            .unwrap_or(0)
    }
}
