//! `cargo bench`: what a run costs, beside `llvm-objdump -d` of the same file in the same run.
//!
//! Costs are CPU time of child processes, so that both are measured alike and start-up counts;
//! short ones are repeated, because the system counts in hundredths of a second. Peak memory is
//! that of a process that does nothing but the check. Figures are for reading, not for passing:
//! the status is only non-zero when something could not be run.
//!
//! `cargo bench --bench scale -- --write FILE INSTRUCTIONS` writes a generated object and stops.

// Sizes of our own making: nothing here is input.
#![allow(clippy::cast_possible_truncation)]

mod object;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use self::object::Shape;

/// Instruction counts that growth is shown over.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// How long a command is repeated to get above the resolution of the clock.
const LEAST: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--peak", file] => return check_and_say_peak(Path::new(file)),
        ["--write", file, instructions] => {
            let shape = Shape {
                instructions: instructions.parse()?,
                per_function: 200,
                arena: 0,
            };
            fs::write(file, object::write(shape)?.0)?;
            return Ok(true);
        }
        _ => {}
    }
    let dir = env::temp_dir().join(format!("scx-lint-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = measure(&dir);
    fs::remove_dir_all(&dir)?;
    result
}

fn measure(dir: &Path) -> Result<bool, Box<dyn Error>> {
    let objdump = objdump();
    match &objdump {
        Some(path) => println!("beside: {} -d", path.display()),
        None => println!("beside: nothing; no llvm-objdump on PATH"),
    }
    println!(
        "{:28} {:>10} {:>12} {:>12} {:>8}  note",
        "object", "bytes", "scx-lint", "objdump", "ratio"
    );
    let mut complete = true;

    let mut fixtures = fixtures()?;
    fixtures.sort();
    let all = measure_line("all fixtures, one process", &fixtures, objdump.as_deref())?;
    complete &= all.is_some();

    let mut previous: Option<(usize, Duration)> = None;
    for instructions in SIZES {
        let (bytes, count) = object::write(Shape {
            instructions,
            per_function: 200,
            arena: 0,
        })?;
        let path = dir.join(format!("generated-{count}-insns.bpf.o"));
        fs::write(&path, bytes)?;
        let cost = measure_line(
            &format!("{count} instructions"),
            &[path],
            objdump.as_deref(),
        )?;
        if let (Some(cost), Some((before, earlier))) = (cost, previous) {
            println!(
                "{:28} {:.1} times the instructions, {:.1} times the time",
                "",
                count as f64 / before as f64,
                cost.as_secs_f64() / earlier.as_secs_f64()
            );
        }
        complete &= cost.is_some();
        previous = cost.map(|cost| (count, cost));
    }

    let arena = Shape {
        instructions: 50_000,
        per_function: 200,
        arena: 20 << 20,
    };
    let (bytes, count) = object::write(arena)?;
    let path = dir.join("arena.bpf.o");
    let megabytes = bytes.len() >> 20;
    fs::write(&path, bytes)?;
    let files = [path.clone()];
    complete &= measure_line(
        &format!("{megabytes} MB, {count} instructions"),
        &files,
        objdump.as_deref(),
    )?
    .is_some();
    let peak = Command::new(env::current_exe()?)
        .arg("--peak")
        .arg(&path)
        .output()?;
    println!(
        "peak memory on {megabytes} MB: {}",
        String::from_utf8_lossy(&peak.stdout).trim()
    );
    Ok(complete && peak.status.success())
}

/// One line of the table: CPU time of one pass over `files`, if it could be had.
fn measure_line(
    title: &str,
    files: &[PathBuf],
    objdump: Option<&Path>,
) -> Result<Option<Duration>, Box<dyn Error>> {
    let bytes: u64 = files
        .iter()
        .map(|file| fs::metadata(file).map_or(0, |data| data.len()))
        .sum();
    let ours = cpu_time(
        Command::new(env!("CARGO_BIN_EXE_scx-lint"))
            .args(["check", "--color=never"])
            .args(files),
        &[0, 1],
    )?;
    let theirs = match objdump {
        Some(objdump) => cpu_time(Command::new(objdump).arg("-d").args(files), &[0])?,
        None => None,
    };
    let milliseconds = |time: Option<Duration>| {
        time.map_or_else(
            || "failed".to_owned(),
            |time| format!("{:.2} ms", time.as_secs_f64() * 1e3),
        )
    };
    let ratio = match (ours, theirs) {
        (Some(ours), Some(theirs)) => format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64()),
        _ => "-".to_owned(),
    };
    println!(
        "{title:28} {bytes:>10} {:>12} {:>12} {ratio:>8}  {} file(s)",
        milliseconds(ours),
        milliseconds(theirs),
        files.len()
    );
    Ok(ours)
}

/// CPU time of one run of `command`, over as many as it takes; `None` if its status is not expected.
fn cpu_time(command: &mut Command, expected: &[i32]) -> Result<Option<Duration>, Box<dyn Error>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (before, started) = (children_cpu()?, Instant::now());
    let mut runs = 0;
    while started.elapsed() < LEAST {
        let status = command.status()?;
        if !status.code().is_some_and(|code| expected.contains(&code)) {
            return Ok(None);
        }
        runs += 1;
    }
    Ok(Some((children_cpu()? - before) / runs))
}

/// CPU time of all children waited for, in the kernel's hundredths of a second.
fn children_cpu() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is a name in parentheses that may contain anything.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Checks one object in this process and says how much memory that took.
fn check_and_say_peak(file: &Path) -> Result<bool, Box<dyn Error>> {
    let request = scx_lint::CheckRequest {
        objects: vec![file.to_owned()],
        ..Default::default()
    };
    let done = scx_lint::check(&request).is_ok_and(|report| report.failures.is_empty());
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("?")
            .trim()
    };
    let failed = if done { "" } else { " (the check failed)" };
    // The highest resident size ever, and what of it now is not pages of mapped files.
    println!(
        "{} resident, of it {} not backed by files{failed}",
        field("VmHWM:"),
        field("RssAnon:")
    );
    Ok(done)
}

/// Every compiled fixture.
fn fixtures() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut objects = Vec::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for case in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|case| case.path().is_dir())
    {
        for file in fs::read_dir(case.path())? {
            let path = file?.path();
            if path.to_string_lossy().ends_with(".bpf.o") {
                objects.push(path);
            }
        }
    }
    Ok(objects)
}

/// The newest `llvm-objdump` there is.
fn objdump() -> Option<PathBuf> {
    let directories: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let names = (14..40)
        .rev()
        .map(|version| format!("llvm-objdump-{version}"));
    names
        .chain(["llvm-objdump".to_owned()])
        .flat_map(|name| {
            directories
                .iter()
                .map(move |directory| directory.join(&name))
        })
        .find(|path| path.is_file())
}
