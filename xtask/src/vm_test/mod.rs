//! `cargo xtask vm-test`: the reference scheduler in every kernel of the cache: each mode under a
//! mixed load, CPUs that come and go, user space stopped and killed, and what the real kernel does
//! with the variants the gate stops.

mod transcript;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::kernels::{Cache, Kernel, KernelError, Wanted};
use crate::tools::{self, ToolError};
use crate::vm::{self, GuestFile, VmError, VmOutcome, VmRequest};
use transcript::Transcript;

/// Everything there is to run, in order.
const PARTS: &[&str] = &[
    "default",
    "fifo",
    "throughput",
    "deadline",
    "user",
    "user-deadline",
    "hotplug",
    "stop",
    "kill",
    "example",
    "broken",
];

/// Arguments of `cargo xtask vm-test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A series (7.3) or a release (7.3.4) from the cache; all of them if none is given
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<Wanted>,
    /// Only these parts
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PARTS))]
    part: Vec<String>,
    /// How long each mode runs under load
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds until a guest is switched off
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Show what each guest said
    #[arg(long)]
    verbose: bool,
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
}

/// What goes into every guest.
struct Programs {
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
        [] => PARTS.to_vec(),
        parts => parts.iter().map(String::as_str).collect(),
    };
    let mut failed = false;
    for kernel in &kernels {
        // Broken schedulers get a guest of their own: they may take it down.
        let (broken, sound): (Vec<&str>, Vec<&str>) =
            parts.iter().copied().partition(|part| *part == "broken");
        for parts in [sound, broken] {
            if !parts.is_empty() {
                failed |= !test(kernel, &programs, &parts, args)?;
            }
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
    let result = vm::run(kernel, &request)?;

    let stdout = String::from_utf8_lossy(&result.stdout);
    if args.verbose {
        println!("{stdout}");
    }
    let transcript = Transcript::read(&stdout);
    let mut well = true;
    println!("{} ({:.0} s)", kernel.release, result.total.as_secs_f64());
    for part in &transcript.parts {
        let (line, ok) = verdict::of(part);
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
    Ok(well)
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
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = target.join(if profile == "dev" { "debug" } else { profile });
    let objects = target.join("broken");
    let mut list = Command::new(built.join("examples/broken"));
    let listed = tools::text(list.arg(&objects))?;

    let mut programs = Programs {
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
