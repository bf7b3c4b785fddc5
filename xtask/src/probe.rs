//! `cargo xtask probe`: what every kernel in the cache answers, kept beside the kernels.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::kernels::{Cache, Kernel, KernelError, Wanted};
use crate::tools::{self, ToolError};
use crate::vm::{self, GuestFile, VmError, VmOutcome, VmRequest};

/// Arguments of `cargo xtask probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A series (7.1) or a release (7.1.13); every series in the cache if none is given
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<Wanted>,
}

/// Why a kernel gave no answers.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No guest ran.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// No such kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The probe could not be built.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The results could not be kept.
    #[error("{}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The guest did not get to the end.
    #[error("{release}: the probe did not finish ({outcome:?})\n{text}")]
    Unfinished {
        /// The kernel.
        release: String,
        /// How it ended.
        outcome: VmOutcome,
        /// What the probe and the kernel said last.
        text: String,
    },
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), ProbeError> {
    let cache = Cache::open()?;
    let kernels = if args.kernel.is_empty() {
        cache.all()?
    } else {
        (args.kernel.iter())
            .map(|wanted| cache.find(*wanted))
            .collect::<Result<_, _>>()?
    };
    for kernel in kernels {
        one(&cache, &kernel)?;
    }
    Ok(())
}

/// Asks one kernel and keeps its answers.
pub fn one(cache: &Cache, kernel: &Kernel) -> Result<(), ProbeError> {
    let directory = cache.probe_results();
    at(&directory, std::fs::create_dir_all(&directory))?;
    let mut request = VmRequest::new(["scx-lint", "probe", "--format", "json"]);
    request.files.push(GuestFile::in_work(build()?)?);
    request.timeout = Duration::from_secs(900);
    let result = vm::run(kernel, &request)?;
    if result.outcome != VmOutcome::Exited(0) {
        return Err(ProbeError::Unfinished {
            release: kernel.release.to_string(),
            outcome: result.outcome,
            text: format!(
                "{}{}",
                String::from_utf8_lossy(&result.stderr),
                result.console_tail(20)
            ),
        });
    }
    let mut names = vec![kernel.release.to_string()];
    // The short name stands for the newest of the series, whichever is asked last.
    let newest = cache.find(Wanted {
        series: kernel.release.series,
        point: None,
    })?;
    if newest.release == kernel.release {
        names.push(kernel.release.series.to_string());
    }
    for name in names {
        let path = directory.join(format!("{name}.jsonl"));
        at(&path, std::fs::write(&path, &result.stdout))?;
    }
    tools::say(format_args!(
        "{:<8} booted in {:.1} s, all in {:.1} s, {} answers",
        kernel.release.to_string(),
        result.boot.unwrap_or_default().as_secs_f64(),
        result.total.as_secs_f64(),
        result.stdout.iter().filter(|byte| **byte == b'\n').count()
    ));
    Ok(())
}

fn build() -> Result<PathBuf, ToolError> {
    tools::run(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--package", "scx-lint"])
            .args(["--bin", "scx-lint"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")),
    )?;
    Ok(tools::target().join("release/scx-lint"))
}

fn at<T>(path: &std::path::Path, result: std::io::Result<T>) -> Result<T, ProbeError> {
    result.map_err(|source| ProbeError::File {
        path: path.to_owned(),
        source,
    })
}
