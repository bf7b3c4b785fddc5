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
    /// How long the scheduler was away after a CPU went or came, in milliseconds.
    pub restarts: Vec<u64>,
    /// Exit status of the scheduler.
    pub rc: Option<i32>,
    /// What the scheduler said.
    pub said: Vec<String>,
    /// Its figures, for each time it was loaded.
    pub stats: Vec<serde_json::Value>,
    /// Results of loads by name: `all` (the mixed load), `rivals`, `swapped`, `urgent`.
    pub loads: BTreeMap<String, Load>,
    /// The hog with a rule of its own.
    pub favoured: Option<BTreeMap<String, u64>>,
    /// The hogs beside it.
    pub others: Vec<BTreeMap<String, u64>>,
    /// What must not work, or does not.
    pub trials: Vec<Trial>,
}

/// A command that must be refused, or a broken variant.
#[derive(Debug, Default)]
pub struct Trial {
    /// Its name.
    pub name: String,
    /// Exit status: of the command, or of the variant with the gate.
    pub status: Option<i32>,
    /// What the gate said of a variant.
    pub gate_said: Vec<String>,
    /// Exit status of the variant without the gate.
    pub ungated: Option<i32>,
    /// What the command said; for a variant, without the gate.
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
            "restart" => self.restarts.extend(rest.parse::<u64>()),
            "rc" => self.rc = rest.parse().ok(),
            "stats" => self.stats.extend(serde_json::from_str(rest)),
            "all" | "rivals" | "swapped" | "urgent" => {
                if let Ok(load) = serde_json::from_str(rest) {
                    self.loads.insert(word.to_owned(), load);
                }
            }
            "favoured" => self.favoured = serde_json::from_str(rest).ok(),
            "other" => self.others.extend(serde_json::from_str(rest)),
            "broken" | "refusal" => self.trials.push(Trial {
                name: rest.to_owned(),
                ..Trial::default()
            }),
            _ => match (self.trials.last_mut(), word) {
                (Some(trial), "gate" | "refused") => trial.status = rest.parse().ok(),
                (Some(trial), "gatesaid") => trial.gate_said.push(rest.to_owned()),
                (Some(trial), "ungated") => trial.ungated = rest.parse().ok(),
                (trial, "said") => match trial {
                    // What follows the scheduler's own end is the scheduler's.
                    Some(trial) if self.rc.is_none() => trial.said.push(rest.to_owned()),
                    _ => self.said.push(rest.to_owned()),
                },
                _ => {}
            },
        }
    }

    /// A load's results.
    pub fn load(&self, name: &str) -> Option<&Load> {
        self.loads.get(name)
    }

    /// A counter, over all times the scheduler was loaded.
    pub fn counter(&self, name: &str) -> u64 {
        self.stats
            .iter()
            .filter_map(|stats| stats.get("stats")?.get(name)?.as_u64())
            .sum()
    }
}
