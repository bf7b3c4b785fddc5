//! Turns arguments into a request, and the result into output and an exit status.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use scx_lint::cli::{Cli, Command, Exit, Format, OutputArgs};
use scx_lint::report::human::termcolor::{Ansi, NoColor};
use scx_lint::report::table::{self, Arrange};
use scx_lint::report::{Report, escape, human, json};
use scx_lint::{Error, TableRequest, cli, rules};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Check(cli.check));
    let exit = match run(command) {
        Ok(exit) => exit,
        // A reader that has seen enough, such as `head`, is no failure of ours to speak of.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Failed,
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
    };
    exit.into()
}

fn run(command: Command) -> Result<Exit, Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    let exit = match command {
        Command::Check(args) => {
            let output = args.output;
            let report = scx_lint::check(&args.into_request()?)?;
            print_report(&report, output, &mut out)?;
            for failure in &report.failures {
                complain(&failure.message);
            }
            exit_of(&report)
        }
        Command::Kfunc {
            name,
            kernels,
            output,
        } => {
            let request = TableRequest {
                kernels: kernels.into(),
                kfunc: Some(name.clone()),
                callback: None,
            };
            print_table(&request, Arrange::Kfunc(&name), output, &mut out)?
        }
        Command::Callback {
            name,
            kernels,
            output,
        } => {
            let request = TableRequest {
                kernels: kernels.into(),
                kfunc: None,
                callback: Some(name.clone()),
            };
            print_table(&request, Arrange::Callback(&name), output, &mut out)?
        }
        Command::Table { kernels, output } => {
            let request = TableRequest {
                kernels: kernels.into(),
                kfunc: None,
                callback: None,
            };
            print_table(&request, Arrange::Kernels, output, &mut out)?
        }
        Command::Kernels { kernels, output } => {
            scx_lint::kernels(&kernels.into(), output.format == Format::Json, &mut out)?;
            Exit::Clean
        }
        Command::Explain { rule } => {
            explain(rule.as_deref(), &mut out)?;
            Exit::Clean
        }
        Command::Probe(args) => {
            scx_lint::probe(&args.into(), &mut out, &mut io::stderr())?;
            Exit::Clean
        }
        Command::Completions { shell } => {
            cli::completions(shell, &mut out)?;
            Exit::Clean
        }
        Command::Man => {
            cli::man(&mut out)?;
            Exit::Clean
        }
    };
    out.flush()?;
    Ok(exit)
}

/// What a report means for the caller.
fn exit_of(report: &Report) -> Exit {
    if !report.failures.is_empty() {
        Exit::Failed
    } else if report.summary.errors > 0 {
        Exit::Findings
    } else {
        Exit::Clean
    }
}

fn print_report(report: &Report, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    if output.format == Format::Json {
        return Ok(json::render(report, out)?);
    }
    let options = human::Options {
        series: scx_lint::series(),
        roots: std::env::current_dir().into_iter().collect(),
    };
    if output.color.on_stdout() {
        human::render(report, &options, &mut Ansi::new(out))?;
    } else {
        human::render(report, &options, &mut NoColor::new(out))?;
    }
    Ok(())
}

fn print_table(
    request: &TableRequest,
    by: Arrange<'_>,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<Exit, Error> {
    let answer = scx_lint::table(request)?;
    match output.format {
        Format::Json => table::render_json(&answer, out)?,
        Format::Human => table::render(&answer, by, &scx_lint::series(), out)?,
    }
    Ok(Exit::Clean)
}

fn explain(rule: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    match rule {
        Some(name) => {
            let info = rules::find(name).ok_or_else(|| Error::UnknownRule {
                name: escape::escape(name).into_owned(),
            })?;
            writeln!(
                out,
                "# {} ({}, {})\n\n{}",
                info.name,
                info.level,
                info.lifecycle,
                info.explanation()
            )?;
        }
        None => {
            for info in rules::ALL.iter().map(|rule| rule.info()) {
                writeln!(out, "{:24} {}", info.name, info.summary())?;
            }
        }
    }
    Ok(())
}

/// One line on standard error. Nothing to be done where even that fails.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "scx-lint: {}", escape::escape(message));
}
