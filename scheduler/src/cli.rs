//! The command line of `scx_tiers`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use clap_complete::Shell;

use crate::gate::GateMode;
use crate::intf::{LEVELS, RuleEffect};
use crate::loader::{Mode, Options, Rule, RuleFor, level_named};
use crate::policy::ExecPriority;

/// A sched_ext scheduler with four priority levels and deadlines, checked by
/// scx-lint before it is loaded.
#[derive(Debug, Parser)]
#[command(name = "scx_tiers", version)]
pub struct Cli {
    /// How to schedule
    #[arg(short, long, value_enum, default_value_t = ModeName::Throughput)]
    pub mode: ModeName,

    /// Decide in user space; the kernel half only moves tasks
    #[arg(short, long)]
    pub user: bool,

    /// Slice of every task, in microseconds
    #[arg(long, value_name = "US", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub slice_us: u64,

    /// Where a task's level comes from when no rule names it
    #[arg(long, value_enum, default_value_t = LevelSource::Nice)]
    pub level_from: LevelSource,

    /// A rule: `comm:NAME=LEVEL`, `tgid:ID=LEVEL`, each with `,DEADLINE_US` if
    /// wanted; LEVEL is low, normal, high, critical or `-` (repeatable)
    #[arg(short, long = "rule", value_name = "RULE", value_parser = rule)]
    pub rules: Vec<Rule>,

    /// Relative deadline of a level, as `LEVEL=US` (repeatable)
    #[arg(long = "level-deadline", value_name = "LEVEL=US", value_parser = level_deadline)]
    pub level_deadlines: Vec<(ExecPriority, Duration)>,

    /// User mode: how long user space may take for a round before tasks run
    /// from the global queue, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    pub stall_ms: u64,

    /// Schedule only tasks that ask for the SCHED_EXT policy
    #[arg(short, long)]
    pub partial: bool,

    /// Print a table every so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub stats: Option<u64>,

    /// Print statistics as one JSON object a line (every second unless
    /// `--stats` says otherwise)
    #[arg(long)]
    pub stats_json: bool,

    /// What to do with scx-lint's findings on the object about to be loaded
    #[arg(long, value_enum, default_value_t = GateName::On)]
    pub gate: GateName,

    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,

    /// Exit when the kernel asks for a restart, as after CPU hotplug
    #[arg(long)]
    pub no_restart: bool,

    /// Load this object instead of the built-in one
    #[arg(long, value_name = "FILE", hide = true)]
    pub object: Option<PathBuf>,

    /// Print completions for a shell and exit
    #[arg(long, value_enum, value_name = "SHELL")]
    pub completions: Option<Shell>,
}

/// The modes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// One global queue
    Fifo,
    /// Highest priority level first
    Throughput,
    /// Earliest deadline first
    Deadline,
}

/// Where levels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LevelSource {
    /// The nice value
    Nice,
    /// The weight of the task's cgroup
    Cgroup,
}

/// The gate's settings by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GateName {
    /// An error stops the load
    On,
    /// Findings are printed
    Warn,
    /// No check
    Off,
}

impl Cli {
    /// What the loader needs to know.
    ///
    /// # Errors
    /// When the options contradict each other.
    pub fn options(&self) -> Result<Options, String> {
        let mode = match (self.mode, self.user) {
            (ModeName::Fifo, true) => {
                return Err(
                    "`--user` goes with `--mode throughput` or `--mode deadline`; \
                     for a FIFO in user space see examples/fifo.rs"
                        .into(),
                );
            }
            (_, true) => Mode::User,
            (ModeName::Fifo, false) => Mode::Fifo,
            (ModeName::Throughput, false) => Mode::Throughput,
            (ModeName::Deadline, false) => Mode::Deadline,
        };
        let mut level_deadlines = [Duration::ZERO; LEVELS];
        for (level, deadline) in &self.level_deadlines {
            level_deadlines[level.index()] = *deadline;
        }
        Ok(Options {
            slice: Duration::from_micros(self.slice_us),
            level_from_cgroup: self.level_from == LevelSource::Cgroup,
            rules: self.rules.clone(),
            level_deadlines,
            stall: Duration::from_millis(self.stall_ms),
            partial: self.partial,
            gate: match self.gate {
                GateName::On => GateMode::On,
                GateName::Warn => GateMode::Warn,
                GateName::Off => GateMode::Off,
            },
            object: self.object.clone(),
            ..Options::new(mode)
        })
    }

    /// Seconds between statistics, if any are wanted.
    pub fn stats_interval(&self) -> Option<Duration> {
        let seconds = self.stats.or(self.stats_json.then_some(1))?;
        Some(Duration::from_secs(seconds))
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    let (target, effect) = text
        .rsplit_once('=')
        .ok_or("a rule is comm:NAME=LEVEL or tgid:ID=LEVEL")?;
    let target = match target.split_once(':') {
        Some(("comm", name)) if !name.is_empty() => RuleFor::Comm(name.to_owned()),
        Some(("tgid", id)) => RuleFor::Tgid(
            id.parse()
                .map_err(|_| format!("`{id}` is not a process id"))?,
        ),
        _ => return Err(format!("`{target}` is neither comm:NAME nor tgid:ID")),
    };
    let (level, deadline) = match effect.split_once(',') {
        Some((level, deadline)) => (level, micros(deadline)?),
        None => (effect, Duration::ZERO),
    };
    let level = match level {
        "-" => None,
        name => Some(level_named(name).ok_or(format!("`{name}` is not a level"))?),
    };
    Ok(Rule {
        target,
        effect: RuleEffect {
            level,
            deadline_ns: deadline.as_nanos() as u64,
        },
    })
}

fn level_deadline(text: &str) -> Result<(ExecPriority, Duration), String> {
    let (level, deadline) = text
        .split_once('=')
        .ok_or("a level's deadline is LEVEL=US")?;
    let level = level_named(level).ok_or(format!("`{level}` is not a level"))?;
    Ok((level, micros(deadline)?))
}

/// A deadline of at least a microsecond and at most an hour.
fn micros(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(us) if (1..=3_600_000_000).contains(&us) => Ok(Duration::from_micros(us)),
        _ => Err(format!(
            "`{text}` is not a number of microseconds from 1 to 3600000000"
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rules_are_read() {
        let read = rule("comm:a=b=critical,500").unwrap();
        assert_eq!(read.target, RuleFor::Comm("a=b".into()));
        assert_eq!(read.effect.level, Some(ExecPriority::Critical));
        assert_eq!(read.effect.deadline_ns, 500_000);
        assert_eq!(rule("tgid:7=-,1").unwrap().effect.level, None);
        for wrong in [
            "",
            "x=low",
            "comm:=low",
            "tgid:x=low",
            "comm:x=lower",
            "comm:x=low,0",
        ] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fifo_is_not_decided_in_user_space() {
        let cli = Cli::try_parse_from(["scx_tiers", "--mode", "fifo", "--user"]).unwrap();
        assert!(cli.options().is_err());
    }
}
