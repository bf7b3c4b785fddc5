//! A mixed load for schedulers, and what came of it: CPU hogs at every level,
//! sleepers at every level, a ping-pong, jobs with deadlines, fork storms.
//!
//! Prints one JSON object. Every part is a process of its own, so that each
//! has its nice value and its name.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use scheduler::user::now_ns;
use serde_json::{Value, json};

/// The levels as nice values.
const LEVELS: [(&str, i32); 4] = [("low", 15), ("normal", 0), ("high", -5), ("critical", -15)];

#[derive(Debug, Parser)]
#[command(about = "A mixed load for schedulers; prints what came of it as JSON")]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Everything at once
    All {
        /// How long
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Hogs for each level
        #[arg(long, default_value_t = 2)]
        hogs: u32,
    },
    /// Only hogs, one level against the other
    Rivals {
        /// How long
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Hogs for each of the two
        #[arg(long, default_value_t = 2)]
        hogs: u32,
    },
    /// A critical sleeper among hogs of the lower levels
    Urgent {
        /// How long
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Hogs for each of the two lowest levels
        #[arg(long, default_value_t = 2)]
        hogs: u32,
    },
    /// Only hogs, one cgroup against the other
    Groups {
        /// How long
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Hogs in each
        #[arg(long, default_value_t = 2)]
        hogs: u32,
        /// The directory of a cgroup
        front: PathBuf,
        /// The directory of another
        back: PathBuf,
    },
    /// One part (for the above)
    #[command(hide = true)]
    One {
        name: String,
        nice: i32,
        seconds: u64,
        /// When to begin: nanoseconds of CLOCK_MONOTONIC
        #[arg(default_value_t = 0)]
        at: u64,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().part {
        Part::All { seconds, hogs } => all(seconds, hogs),
        Part::Rivals { seconds, hogs } => rivals(seconds, hogs),
        Part::Urgent { seconds, hogs } => urgent(seconds, hogs),
        Part::Groups {
            seconds,
            hogs,
            front,
            back,
        } => groups(seconds, hogs, &front, &back),
        Part::One {
            name,
            nice,
            seconds,
            at,
        } => one(&name, nice, Duration::from_secs(seconds), at),
    };
    match done {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tiers_load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all(seconds: u64, hogs: u32) -> io::Result<Value> {
    let mut load = Load::new(seconds);
    for (level, nice) in LEVELS {
        for _ in 0..hogs {
            load.start(level, "hog", nice)?;
        }
        load.start(level, "sleeper", nice)?;
    }
    load.start("normal", "pingpong", 0)?;
    load.start("normal", "forks", 0)?;
    load.start("high", "fits", -5)?;
    load.start("normal", "late", 0)?;
    load.collect()
}

fn rivals(seconds: u64, hogs: u32) -> io::Result<Value> {
    let mut load = Load::new(seconds);
    for (level, nice) in [LEVELS[0], LEVELS[3]] {
        for _ in 0..hogs {
            load.start(level, "hog", nice)?;
        }
    }
    load.collect()
}

fn urgent(seconds: u64, hogs: u32) -> io::Result<Value> {
    let mut load = Load::new(seconds);
    let (level, nice) = LEVELS[3];
    load.start(level, "sleeper", nice)?;
    for (level, nice) in [LEVELS[0], LEVELS[1]] {
        for _ in 0..hogs {
            load.start(level, "hog", nice)?;
        }
    }
    load.collect()
}

fn groups(seconds: u64, hogs: u32, front: &Path, back: &Path) -> io::Result<Value> {
    let mut load = Load::new(seconds);
    for (name, group) in [("front", front), ("back", back)] {
        for _ in 0..hogs {
            let id = load.start(name, "hog", 0)?;
            std::fs::write(group.join("cgroup.procs"), id.to_string())?;
        }
    }
    load.collect()
}

/// Parts that run beside each other, from the same moment on.
struct Load {
    seconds: u64,
    at: u64,
    parts: Vec<(String, Child)>,
}

impl Load {
    /// How long parts may take to start, before any of them takes the CPU from those after it.
    const LEAD: Duration = Duration::from_secs(1);

    fn new(seconds: u64) -> Self {
        Self {
            seconds,
            at: now_ns() + Self::LEAD.as_nanos() as u64,
            parts: Vec::new(),
        }
    }

    /// Starts a part; returns its process id.
    fn start(&mut self, level: &str, name: &str, nice: i32) -> io::Result<u32> {
        let child = Command::new(std::env::current_exe()?)
            .args(["one", name, "--", &nice.to_string()])
            .args([self.seconds, self.at].map(|number| number.to_string()))
            .stdout(Stdio::piped())
            .spawn()?;
        let id = child.id();
        self.parts.push((format!("{name}.{level}"), child));
        Ok(id)
    }

    /// Waits for all parts; figures of equal parts are added.
    fn collect(self) -> io::Result<Value> {
        let mut results: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        let mut finished = 0u64;
        let total = self.parts.len();
        for (key, child) in self.parts {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                continue;
            }
            finished += 1;
            let values: BTreeMap<String, u64> = serde_json::from_slice(&output.stdout)?;
            let merged = results.entry(key).or_default();
            for (name, value) in values {
                *merged.entry(name).or_default() += value;
            }
        }
        Ok(json!({
            "seconds": self.seconds,
            "parts": total,
            "finished": finished,
            "results": results,
        }))
    }
}

fn one(name: &str, nice: i32, length: Duration, at: u64) -> io::Result<Value> {
    become_part(name, nice)?;
    let lead = Duration::from_nanos(at.saturating_sub(now_ns()));
    let until = Instant::now() + lead + length;
    std::thread::sleep(lead);
    match name {
        "hog" => Ok(hog(until)),
        "sleeper" => Ok(sleeper(until)),
        "pingpong" => pingpong(until),
        "forks" => Ok(forks(until)),
        // 2 ms of work every 50 ms, wanted within 40.
        "fits" => Ok(periodic(until, 2, 50, 40)),
        // 12 ms of work every 100 ms, wanted within 5: it cannot be.
        "late" => Ok(periodic(until, 12, 100, 5)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such part")),
    }
}

fn become_part(name: &str, nice: i32) -> io::Result<()> {
    let comm = std::ffi::CString::new(format!("tl_{name}"))?;
    // SAFETY: prctl reads the 0-terminated name; setpriority has no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, comm.as_ptr());
        if libc::setpriority(libc::PRIO_PROCESS, 0, nice) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// One unit of work: the same everywhere, some tens of microseconds.
fn unit(seed: u64) -> u64 {
    let mut x = seed | 1;
    for _ in 0..2_000 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x)
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn hog(until: Instant) -> Value {
    let mut units = 0u64;
    while Instant::now() < until {
        unit(units);
        units += 1;
    }
    json!({ "units": units, "cpu_ms": cpu_time().as_millis() as u64 })
}

/// Latencies of waking from a short sleep.
fn sleeper(until: Instant) -> Value {
    const NAP: Duration = Duration::from_millis(10);
    let mut late = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        std::thread::sleep(NAP);
        late.push(start.elapsed().saturating_sub(NAP).as_micros() as u64);
    }
    percentiles(late)
}

fn percentiles(mut samples: Vec<u64>) -> Value {
    samples.sort_unstable();
    let at = |share: usize| {
        let rank = (samples.len() * share).div_ceil(100).max(1);
        samples.get(rank - 1).copied().unwrap_or(0)
    };
    json!({
        "samples": samples.len() as u64,
        "p50_us": at(50),
        "p90_us": at(90),
        "p99_us": at(99),
        "max_us": samples.last().copied().unwrap_or(0),
    })
}

/// Two threads hand a time stamp back and forth over pipes.
fn pingpong(until: Instant) -> io::Result<Value> {
    let (mut there_read, mut there) = io::pipe()?;
    let (mut back_read, mut back) = io::pipe()?;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let mut ball = [0; 8];
        while there_read.read_exact(&mut ball).is_ok() {
            back.write_all(&ball)?;
        }
        Ok(())
    });
    let mut rounds = Vec::new();
    while Instant::now() < until {
        there.write_all(&now_ns().to_ne_bytes())?;
        let mut ball = [0; 8];
        back_read.read_exact(&mut ball)?;
        rounds.push((now_ns() - u64::from_ne_bytes(ball)) / 1000);
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(there);
    echo.join()
        .map_err(|_| io::Error::other("the other side of the ping-pong failed"))??;
    Ok(percentiles(rounds))
}

/// Batches of short-lived children.
fn forks(until: Instant) -> Value {
    let (mut started, mut ended) = (0u64, 0u64);
    while Instant::now() < until {
        let mut batch = 0;
        for _ in 0..15 {
            // SAFETY: the child calls only async-signal-safe functions and
            // leaves; it shares nothing it changes.
            match unsafe { libc::fork() } {
                0 => {
                    unit(started);
                    // SAFETY: ends the child without running our destructors.
                    unsafe { libc::_exit(0) }
                }
                -1 => break,
                _ => batch += 1,
            }
        }
        started += batch;
        for _ in 0..batch {
            // SAFETY: waits for any child; no status is wanted.
            if unsafe { libc::wait(std::ptr::null_mut()) } > 0 {
                ended += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    json!({ "started": started, "ended": ended })
}

/// A job every `period` ms that takes `work` ms of CPU and is wanted within
/// `within` ms of its start.
fn periodic(until: Instant, work: u64, period: u64, within: u64) -> Value {
    let (mut met, mut missed) = (0u64, 0u64);
    let mut next = Instant::now();
    while next < until {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let cpu = cpu_time();
        while cpu_time().saturating_sub(cpu) < Duration::from_millis(work) {
            unit(met);
        }
        if next.elapsed() <= Duration::from_millis(within) {
            met += 1;
        } else {
            missed += 1;
        }
        next = (next + Duration::from_millis(period)).max(Instant::now());
    }
    json!({ "met": met, "missed": missed })
}
