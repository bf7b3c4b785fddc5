//! `cargo xtask vm-test`: the reference scheduler in every kernel of the cache: each mode under a
//! mixed load, CPUs that come and go, user space stopped and killed, and what the real kernel does
//! with the variants the gate stops.

mod figures;
mod transcript;
mod verdict;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::kernels::{Cache, Kernel, KernelError, Wanted};
use crate::tools::{self, ToolError};
use crate::vm::{self, GuestFile, VmError, VmOutcome, VmRequest};
use figures::{Figures, Record};
use transcript::{Part, Transcript};

/// Parts that run the same load for the same time, so that their figures compare.
const MODES: &[&str] = &[
    "default",
    "fifo",
    "throughput",
    "deadline",
    "user",
    "user-deadline",
];

/// The other parts: what befalls a scheduler, one thing each.
const EVENTS: &[&str] = &[
    "stop", "kill", "example", "rules", "cgroups", "refusals", "caches", "broken",
];

/// Everything there is to run, in order.
fn all_parts() -> impl Iterator<Item = &'static str> {
    MODES.iter().chain(EVENTS).copied()
}

/// Parts that need a guest of their own, its CPUs and sockets: each socket has a last-level cache of
/// its own, and broken schedulers may take a guest down.
const ALONE: &[(&str, u32, u32)] = &[("caches", 4, 2), ("broken", 2, 1)];

/// Arguments of `cargo xtask vm-test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A series (7.3) or a release (7.3.4) from the cache; all of them if none is given
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<Wanted>,
    /// Only these parts
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(all_parts()))]
    part: Vec<String>,
    /// How long each mode runs under load
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds until a guest is switched off
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
    /// Show what each guest said
    #[arg(long)]
    verbose: bool,
    /// Keep the figures in scheduler/measured and in the table made of them
    #[arg(long)]
    record: bool,
    /// Cargo profile of the programs
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Why nothing could be tested.
#[derive(Debug, thiserror::Error)]
pub enum VmTestError {
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No such kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No guest ran.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The cache is empty.
    #[error("there is no kernel in the cache; get some with `cargo xtask kernels`")]
    NoKernel,
    /// Kept figures are not what they were, or have no place.
    #[error("{}: {what}; remove it, and `cargo xtask vm-test --record` measures again", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// What goes into every guest.
struct Programs {
    // Removed with us.
    _objects: tempfile::TempDir,
    files: Vec<PathBuf>,
    variants: Vec<u8>,
}

/// Runs the tests; 1 when a kernel failed one.
///
/// # Errors
/// When something needed to run them is missing.
pub fn run(args: &Args) -> Result<u8, VmTestError> {
    let cache = Cache::open()?;
    let kernels = match args.kernel.as_slice() {
        [] => cache.all()?,
        wanted => wanted
            .iter()
            .map(|wanted| cache.find(*wanted))
            .collect::<Result<_, _>>()?,
    };
    if kernels.is_empty() {
        return Err(VmTestError::NoKernel);
    }
    let programs = build(&args.profile)?;
    let parts: Vec<&str> = match args.part.as_slice() {
        [] => all_parts().collect(),
        parts => parts.iter().map(String::as_str).collect(),
    };
    let mut failed = false;
    for kernel in &kernels {
        let (alone, together): (Vec<&str>, Vec<&str>) = parts
            .iter()
            .partition(|part| ALONE.iter().any(|(name, ..)| name == *part));
        if !together.is_empty() {
            failed |= !test(kernel, &programs, &together, args)?;
        }
        for part in alone {
            failed |= !test(kernel, &programs, &[part], args)?;
        }
    }
    Ok(u8::from(failed))
}

/// One guest; whether all was well.
fn test(
    kernel: &Kernel,
    programs: &Programs,
    parts: &[&str],
    args: &Args,
) -> Result<bool, VmTestError> {
    let seconds = args.seconds.to_string();
    let words = ["sh", "/work/guest.sh", seconds.as_str()];
    let mut request = VmRequest::new(words.iter().chain(parts).copied());
    for file in &programs.files {
        request.files.push(GuestFile::in_work(file)?);
    }
    let guest = include_bytes!("guest.sh").to_vec();
    request
        .generated
        .push(("/work/guest.sh".into(), 0o755, guest));
    let variants = programs.variants.clone();
    request
        .generated
        .push(("/work/variants.tsv".into(), 0o644, variants));
    request.timeout = Duration::from_secs(args.timeout);
    // Whether the messages have times is the kernel builder's choice otherwise.
    request.kernel_arguments.push("printk.time=1".to_owned());
    if let Some((_, cpus, sockets)) = ALONE.iter().find(|(name, ..)| parts == [*name]) {
        request.cpus = *cpus;
        request.sockets = *sockets;
    }
    let result = vm::run(kernel, &request)?;

    let stdout = String::from_utf8_lossy(&result.stdout);
    if args.verbose {
        println!("{stdout}");
    }
    let transcript = Transcript::read(&stdout);
    let mut well = true;
    let of = |name: &str| transcript.parts.iter().find(|part| part.name == name);
    let default = of("default").and_then(Figures::of);
    println!("{} ({:.0} s)", kernel.release, result.total.as_secs_f64());
    for part in &transcript.parts {
        let (line, ok) = verdict::of(part, default.as_ref());
        println!(
            "  {:<14} {} {line}",
            part.name,
            if ok { "ok  " } else { "FAIL" }
        );
        well &= ok;
    }
    for line in &transcript.dmesg {
        if verdict::is_alarming(line) {
            println!("  kernel message: {line}");
            // Broken schedulers may alarm the kernel: that is what they are for.
            well &= parts.contains(&"broken");
        }
    }
    if !transcript.complete {
        println!("  the guest did not finish: {}", ended(result.outcome));
        println!("{}", result.console_tail(20));
        well = false;
    }
    if args.record && transcript.parts.iter().any(is_mode) {
        keep(kernel, &transcript, args)?;
    }
    Ok(well)
}

fn is_mode(part: &Part) -> bool {
    MODES.contains(&part.name.as_str())
}

/// Keeps the figures of the parts that have some.
fn keep(kernel: &Kernel, transcript: &Transcript, args: &Args) -> Result<(), VmTestError> {
    let measured = |part: &Part| Some((part.name.clone(), Figures::of(part)?));
    let record = Record {
        release: kernel.release.to_string(),
        seconds: args.seconds,
        parts: transcript
            .parts
            .iter()
            .filter(|part| is_mode(part))
            .filter_map(measured)
            .collect(),
    };
    figures::keep(&kernel.release.series.to_string(), record)
}

fn ended(outcome: VmOutcome) -> String {
    match outcome {
        VmOutcome::Exited(status) => format!("its script ended with {status}"),
        VmOutcome::Panicked => "it went down".to_owned(),
        VmOutcome::TimedOut => "its time was up".to_owned(),
    }
}

/// Builds the scheduler, its load and its broken variants.
fn build(profile: &str) -> Result<Programs, VmTestError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--package", "scheduler", "--bins", "--examples"];
    tools::run(
        Command::new(&cargo)
            .args(build)
            .args(["--profile", profile]),
    )?;
    let target = tools::target();
    let built = target.join(if profile == "dev" { "debug" } else { profile });
    // A place of its own, for runs beside each other.
    let objects = tempfile::Builder::new()
        .prefix("broken-")
        .tempdir_in(&target)
        .map_err(|source| VmError::File {
            path: target,
            source,
        })?;
    let mut list = Command::new(built.join("examples/broken"));
    let listed = tools::text(list.arg(objects.path()))?;

    let mut programs = Programs {
        _objects: objects,
        files: vec![
            built.join("scx_tiers"),
            built.join("tiers_load"),
            built.join("examples/fifo"),
        ],
        variants: Vec::new(),
    };
    for line in listed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let [name, mode, rule, object] = fields.as_slice() {
            programs.files.push(PathBuf::from(object));
            programs
                .variants
                .extend_from_slice(format!("{name} {mode} {rule}\n").as_bytes());
        }
    }
    Ok(programs)
}
