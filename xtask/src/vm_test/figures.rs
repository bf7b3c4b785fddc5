//! What a part measured, and the table of all kernels that is kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::transcript::{Load, Part};
use super::{MODES, VmTestError};

/// A part's figures. Times are in the unit their name ends with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Units of work the hogs did.
    pub units: u64,
    /// Children that were forked and ended.
    pub forks: u64,
    /// Round trips between two threads: 50th and 99th percentile.
    pub pingpong_us: [u64; 2],
    /// Lateness of a critical sleeper's wake-up: 50th and 99th percentile.
    pub critical_us: [u64; 2],
    /// The same at the normal level.
    pub normal_us: [u64; 2],
    /// Jobs whose deadline fits: met, and all.
    pub fits: [u64; 2],
    /// CPU time of critical and of low hogs beside each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rivals_ms: Option<[u64; 2]>,
    /// Lateness of a critical sleeper's wake-up among hogs of lower levels: 50th and 99th
    /// percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent_us: Option<[u64; 2]>,
    /// How long the scheduler was away when a CPU went and came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts_ms: Vec<u64>,
    /// Deadlines that the scheduler counted as met and missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<[u64; 2]>,
    /// Tasks that did not wait for user space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallbacks: Option<u64>,
}

impl Figures {
    /// A part's, if its load ran.
    pub fn of(part: &Part) -> Option<Self> {
        let load = part.load("all")?;
        let counted = !part.stats.is_empty();
        Some(Self {
            units: load.sum("hog", "units"),
            forks: load.sum("forks", "ended"),
            pingpong_us: percentiles(load, "pingpong.normal"),
            critical_us: percentiles(load, "sleeper.critical"),
            normal_us: percentiles(load, "sleeper.normal"),
            fits: [
                load.sum("fits", "met"),
                load.sum("fits", "met") + load.sum("fits", "missed"),
            ],
            rivals_ms: part.load("rivals").map(rivals),
            urgent_us: part
                .load("urgent")
                .map(|load| percentiles(load, "sleeper.critical")),
            restarts_ms: part.restarts.clone(),
            deadlines: counted.then(|| {
                [
                    part.counter("deadlines_met"),
                    part.counter("deadlines_missed"),
                ]
            }),
            fallbacks: counted.then(|| part.counter("fallbacks")),
        })
    }

    /// One line for a person.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{} units, {} forks, ping-pong p50/p99 {} us, wake-up critical {} normal {} us, deadlines {}",
            self.units,
            self.forks,
            pair(self.pingpong_us),
            pair(self.critical_us),
            pair(self.normal_us),
            pair(self.fits),
        );
        if let Some([critical, low]) = self.rivals_ms {
            line.push_str(&format!(", rivals {critical}:{low} ms"));
        }
        if let Some(urgent) = self.urgent_us {
            line.push_str(&format!(", urgent {} us", pair(urgent)));
        }
        if let Some([met, missed]) = self.deadlines {
            line.push_str(&format!(", met {met} missed {missed}"));
        }
        if let Some(fallbacks) = self.fallbacks {
            line.push_str(&format!(", fallbacks {fallbacks}"));
        }
        if !self.restarts_ms.is_empty() {
            line.push_str(&format!(", restarts {:?} ms", self.restarts_ms));
        }
        line
    }
}

fn percentiles(load: &Load, part: &str) -> [u64; 2] {
    ["p50_us", "p99_us"].map(|name| load.figure(part, name))
}

/// CPU time of the critical and of the low hogs; of the front and the back group's.
pub fn rivals(load: &Load) -> [u64; 2] {
    let either = |one: &str, other: &str| load.figure(one, "cpu_ms") + load.figure(other, "cpu_ms");
    [
        either("hog.critical", "hog.front"),
        either("hog.low", "hog.back"),
    ]
}

fn pair([one, other]: [u64; 2]) -> String {
    format!("{one}/{other}")
}

/// One kernel's figures, as kept in a file of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// The kernel.
    pub release: String,
    /// How long each mixed load ran.
    pub seconds: u64,
    /// Figures by part.
    pub parts: BTreeMap<String, Figures>,
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scheduler")
}

/// Keeps a kernel's figures (parts that did not run this time keep theirs) and writes the table of
/// all kernels anew.
///
/// # Errors
/// When a file cannot be read or written.
pub fn keep(series: &str, mut record: Record) -> Result<(), VmTestError> {
    let directory = home().join("measured");
    let path = directory.join(format!("{series}.json"));
    at(&directory, fs::create_dir_all(&directory))?;
    if path.exists() {
        let earlier = read(&path)?;
        if earlier.release == record.release && earlier.seconds == record.seconds {
            for (name, figures) in earlier.parts {
                record.parts.entry(name).or_insert(figures);
            }
        }
    }
    let text = serde_json::to_string_pretty(&record).map_err(|error| VmTestError::Record {
        path: path.clone(),
        what: error.to_string(),
    })?;
    at(&path, fs::write(&path, text + "\n"))?;
    let table = home().join("MEASURED.md");
    at(&table, fs::write(&table, render(&all(&directory)?)))
}

/// All kept records, oldest kernel first.
fn all(directory: &Path) -> Result<Vec<Record>, VmTestError> {
    let mut records = Vec::new();
    for entry in at(directory, fs::read_dir(directory))? {
        let path = at(directory, entry)?.path();
        if path.extension().is_some_and(|end| end == "json") {
            records.push(read(&path)?);
        }
    }
    let version = |record: &Record| -> Vec<u32> {
        let numbers = record.release.split(|c: char| !c.is_ascii_digit());
        numbers.map_while(|number| number.parse().ok()).collect()
    };
    records.sort_by_key(version);
    Ok(records)
}

fn read(path: &Path) -> Result<Record, VmTestError> {
    let text = at(path, fs::read_to_string(path))?;
    serde_json::from_str(&text).map_err(|error| VmTestError::Record {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, VmTestError> {
    result.map_err(|source| VmTestError::Record {
        path: path.to_owned(),
        what: source.to_string(),
    })
}

const HEAD: &str = "\
# scx_tiers in real kernels

Written by `cargo xtask vm-test --record`; do not edit. Each kernel runs under pure emulation (two
CPUs on one host thread), so figures compare within one kernel only: `default` is the kernel's own
scheduler under the same load in the same guest.

The load: two hogs at each of four levels, a sleeper at each level (10 ms naps), a ping-pong of two
threads, a fork storm, a job that needs 2 ms every 50 ms within 40, one that cannot meet its
deadline, and CPU 1 offline for a third of the time. The two critical hogs alone fill both CPUs, so
that lower levels live on what aging gives them; `urgent` shows the other case.

Work is in units of the hogs; latencies are 50th/99th percentile in microseconds; `fits` is jobs done
in time, and all, of those whose deadline fits; `rivals` is CPU time in ms of two critical against two
low hogs on two CPUs in 5 s; `urgent` is the wake-up of a critical sleeper among hogs of lower levels
only; `away` is how long in ms the scheduler was disabled when a CPU went and when it came (the kernel
asks for a restart then). On a build whose types keep hidden arguments only `fifo` can run.
";

fn render(records: &[Record]) -> String {
    let mut text = HEAD.to_owned();
    for record in records {
        text.push_str(&format!(
            "\n## Linux {}\n\nMixed load of {} s.\n\n\
             | mode | work | of default | forks | ping-pong | wake-up, critical | wake-up, normal | fits | counted met/missed | rivals | urgent | away |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n",
            record.release, record.seconds
        ));
        let default = record.parts.get("default").map_or(0, |own| own.units);
        for name in MODES {
            if let Some(figures) = record.parts.get(*name) {
                row(&mut text, name, figures, default);
            }
        }
    }
    text
}

fn row(text: &mut String, name: &str, figures: &Figures, default: u64) {
    let share = (figures.units * 100)
        .checked_div(default)
        .map_or(String::new(), |share| format!("{share} %"));
    let away: Vec<String> = figures.restarts_ms.iter().map(u64::to_string).collect();
    text.push_str(&format!(
        "| {name} | {} | {share} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        figures.units,
        figures.forks,
        pair(figures.pingpong_us),
        pair(figures.critical_us),
        pair(figures.normal_us),
        pair(figures.fits),
        figures.deadlines.map_or(String::new(), pair),
        figures
            .rivals_ms
            .map_or(String::new(), |[critical, low]| format!("{critical}:{low}")),
        figures.urgent_us.map_or(String::new(), pair),
        away.join(", "),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_kept_records() -> Result<(), VmTestError> {
        let table = home().join("MEASURED.md");
        let written = at(&table, fs::read_to_string(&table))?;
        let records = all(&home().join("measured"))?;
        assert!(!records.is_empty());
        assert_eq!(written, render(&records));
        Ok(())
    }
}
