//! The gate: scx-lint, as a library, on the very bytes that are about to be
//! loaded, against the running kernel's own types and release.

use scx_lint::profile::LoadProfile;
use scx_lint::report::{Level, Report, human};
use scx_lint::{KernelRequest, check_bytes, series};
use thiserror::Error;

/// What to do with the linter's findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GateMode {
    /// An error stops the load.
    #[default]
    On,
    /// Findings are printed and the load goes on.
    Warn,
    /// The linter is not run.
    Off,
}

/// Why the gate stayed shut.
#[derive(Debug, Error)]
pub enum GateError {
    /// The linter found an error.
    #[error("the gate refused the scheduler\n{findings}")]
    Refused {
        /// The findings at error level, rendered.
        findings: String,
    },
    /// The linter could not judge; the gate fails closed.
    #[error("the gate could not check the scheduler: {0}; `--gate=warn` loads it all the same")]
    Unable(String),
}

/// Lints `bytes`, as `profile` says they will be loaded, for the running
/// kernel. What happened is visible on stderr in every mode.
///
/// # Errors
/// [`GateError`] in mode `On` only; mode `Warn` prints it.
pub fn check(
    name: &str,
    bytes: &[u8],
    profile: &LoadProfile,
    mode: GateMode,
) -> Result<(), GateError> {
    if mode == GateMode::Off {
        eprintln!("scx_tiers: the gate is off; the object is loaded unchecked");
        return Ok(());
    }
    match (lint(name, bytes, profile), mode) {
        (Ok(said), _) => {
            eprintln!("scx_tiers: the gate found nothing against the scheduler{said}");
            Ok(())
        }
        (Err(error), GateMode::Warn) => {
            eprintln!("scx_tiers: warning only, by `--gate=warn`: {error}");
            Ok(())
        }
        (Err(error), _) => Err(error),
    }
}

/// What is worth saying when there is no error.
fn lint(name: &str, bytes: &[u8], profile: &LoadProfile) -> Result<String, GateError> {
    let kernels = KernelRequest {
        selection: vec!["host".to_owned()],
        ..KernelRequest::default()
    };
    let report = check_bytes(name, bytes, &kernels, profile)
        .map_err(|error| GateError::Unable(error.to_string()))?;
    judge(report)
}

fn judge(mut report: Report) -> Result<String, GateError> {
    if let Some(failure) = report.failures.first() {
        return Err(GateError::Unable(failure.message.clone()));
    }
    if report.summary.errors > 0 {
        // The rest only hides what stopped the load.
        report
            .diagnostics
            .retain(|finding| finding.level == Level::Error);
        return Err(GateError::Refused {
            findings: render(&report),
        });
    }
    Ok(match report.summary.warnings {
        0 => String::new(),
        _ => format!(" but warnings\n{}", render(&report)),
    })
}

fn render(report: &Report) -> String {
    let options = human::Options {
        series: series(),
        ..human::Options::default()
    };
    human::to_text(report, &options)
        .unwrap_or_else(|error| format!("(the findings cannot be shown: {error})"))
}
