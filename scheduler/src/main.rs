//! `scx_tiers`: loads the scheduler and keeps it running.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use scheduler::cli::Cli;
use scheduler::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(shell) = cli.completions {
        let name = env!("CARGO_BIN_NAME");
        clap_complete::generate(shell, &mut Cli::command(), name, &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let options = match cli.options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("scx_tiers: {message}");
            return ExitCode::from(2);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("scx_tiers: cannot watch for signal {signal}: {error}");
            return ExitCode::from(2);
        }
    }
    // A restart under load must not wait behind that load. Without the right to it, it may.
    // SAFETY: setpriority has no memory preconditions.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    let mut left = cli.duration.map(Duration::from_secs);
    loop {
        let began = Instant::now();
        match run::once(&cli, &options, &stop, left) {
            Err(error) => {
                eprintln!("scx_tiers: {error}");
                return ExitCode::FAILURE;
            }
            Ok(report) => {
                eprintln!("scx_tiers: {report}");
                if report.is_error() {
                    return ExitCode::FAILURE;
                }
                if !report.wants_restart() || cli.no_restart || stop.load(Ordering::Relaxed) {
                    return ExitCode::SUCCESS;
                }
                eprintln!("scx_tiers: the kernel asks for a restart");
                left = left.map(|left| left.saturating_sub(began.elapsed()));
            }
        }
    }
}
