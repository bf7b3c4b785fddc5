//! Repository chores: fixtures, real kernels, and commands in them.

mod fixtures;
mod fixtures_bad;
mod fixtures_case;
mod kernels;
mod ledger;
mod oracle;
mod probe;
mod tools;
mod vm;
mod vm_test;

use std::process::ExitCode;

use clap::Parser as _;

#[derive(Debug, clap::Parser)]
#[command(bin_name = "cargo xtask", about = "Repository chores")]
enum Cli {
    /// Rebuild the fixtures, or compare them with their sources
    Fixtures(fixtures::FixturesArgs),
    /// Get real kernels into the cache, and the BTF of each
    Kernels(kernels::Args),
    /// Compile the kernels' own schedulers and compare the linter with real kernels over them
    Ledger(ledger::Args),
    /// Compare the linter with real kernels: tables, fixtures, running schedulers
    Oracle(oracle::Args),
    /// Ask every kernel which callback may call which kfunc, and keep the answers
    Probe(probe::Args),
    /// Run a command in a real kernel
    Vm(vm::Args),
    /// Test the reference scheduler in real kernels
    VmTest(vm_test::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Fixtures(args) => done(fixtures::run(&args)),
        Cli::Kernels(args) => done(kernels::run(&args)),
        Cli::Ledger(args) => ledger::run(&args).map_err(Into::into),
        Cli::Oracle(args) => oracle::run(&args).map_err(Into::into),
        Cli::Probe(args) => done(probe::run(&args)),
        Cli::Vm(args) => vm::command(&args).map_err(Into::into),
        Cli::VmTest(args) => vm_test::run(&args).map_err(Into::into),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// A chore that has no exit code of its own.
fn done<E: Into<Box<dyn std::error::Error>>>(
    result: Result<(), E>,
) -> Result<u8, Box<dyn std::error::Error>> {
    result.map(|()| 0).map_err(Into::into)
}
