//! The guest's side of `cargo xtask oracle`: hands every fixture to libbpf and the kernel, and writes
//! what they answer to stdout, one JSON line each. It judges nothing; the host does.

mod drive;
mod kernel_log;
mod load;
mod object;
mod plan;
mod run;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plan::{Answer, Plan};

/// Why the guest could not do its work. A kernel's refusal is no error but an answer.
#[derive(Debug, thiserror::Error)]
enum GuestError {
    #[error("usage: oracle-guest load|whole|run PLAN")]
    Usage,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Plan {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write an answer: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oracle-guest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), GuestError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, plan] = arguments.as_slice() else {
        return Err(GuestError::Usage);
    };
    let plan = read_plan(Path::new(plan))?;
    object::collect_messages();
    let work = match mode.as_str() {
        "load" => load::case,
        "whole" => load::whole,
        "run" => run::case,
        _ => return Err(GuestError::Usage),
    };
    for case in &plan.cases {
        work(case, &mut emit)?;
    }
    Ok(())
}

fn read_plan(path: &Path) -> Result<Plan, GuestError> {
    let text = std::fs::read(path).map_err(|source| GuestError::File {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| GuestError::Plan {
        path: path.to_owned(),
        source,
    })
}

/// One line, out at once: the next thing may be the end of the machine.
fn emit(answer: &Answer<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
