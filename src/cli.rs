//! The command line: the one description of commands and flags that parsing, `--help`, the man page
//! and shell completions come from.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::kernel::Release;
use crate::probe::command::{ProbeFormat, ProbeRequest};
use crate::profile::{LoadProfile, MemberPath, Setting};
use crate::{CheckRequest, Error, KernelRequest};

/// The exit status, the same for every output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The job was done and there is no finding at error level.
    Clean = 0,
    /// There is at least one finding at error level.
    Findings = 1,
    /// The job could not be done: wrong usage, or unreadable or malformed input.
    Failed = 2,
}

impl From<Exit> for process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Shown below `--help` and in the man page.
const AFTER_HELP: &str = "\
Exit status:
  0  no finding at error level
  1  at least one finding at error level
  2  the job could not be done: wrong usage, or unreadable or malformed input

Findings go to standard output, everything else to standard error.";

/// A static verifier for sched_ext schedulers: what each kernel will refuse, kill or hang on,
/// before loading
///
/// Reads compiled BPF objects and decides, for every kernel from 6.12 on, which kfuncs each
/// struct_ops callback can reach there and whether that kernel permits it.
#[derive(Debug, Parser)]
#[command(
    name = "scx-lint",
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// What to do; without one, `check`.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The arguments of `check`, which may be left out.
    #[command(flatten)]
    pub check: CheckArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check compiled BPF objects (the default command)
    #[command(after_help = AFTER_HELP)]
    Check(CheckArgs),
    /// Show where a kfunc may be called, and since when
    Kfunc {
        /// Name of the kfunc
        name: String,
        /// Which kernels.
        #[command(flatten)]
        kernels: KernelArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show which kfuncs a callback may call, and since when
    Callback {
        /// Name of the struct_ops member
        name: String,
        /// Which kernels.
        #[command(flatten)]
        kernels: KernelArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the permission matrix of kernels: every callback and kfunc
    Table {
        /// Which kernels.
        #[command(flatten)]
        kernels: KernelArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List the kernels that are known, and how well
    Kernels {
        /// Which kernels.
        #[command(flatten)]
        kernels: KernelArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Explain a rule, or list all of them
    Explain {
        /// Name of the rule, as in `error[NAME]`
        rule: Option<String>,
    },
    /// Ask the running kernel for its permission matrix, as a table for --rules (needs root)
    ///
    /// Loads one small program for every callback, kfunc and program type, and drops each at once:
    /// nothing runs and nothing stays. What the verifier said is written as a table that --rules
    /// takes, on top of the bundled ones.
    Probe(ProbeArgs),
    /// Print a completion script for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Read a kernel's BTF (/sys/kernel/btf/vmlinux, or a vmlinux ELF) instead, and load nothing
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Release whose BTF that is (7.1.13), where the file does not say it
    #[arg(long, value_name = "VERSION", requires = "btf")]
    pub release: Option<Release>,

    /// Directory to write the table into, instead of to standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ProbeOutput,
}

/// What `probe` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeOutput {
    /// A table for --rules
    Table,
    /// Every question and its answer, a JSON object a line
    Json,
}

impl From<ProbeArgs> for ProbeRequest {
    fn from(args: ProbeArgs) -> Self {
        Self {
            btf: args.btf,
            release: args.release,
            out: args.out,
            format: match args.format {
                ProbeOutput::Table => ProbeFormat::Table,
                ProbeOutput::Json => ProbeFormat::Records,
            },
        }
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// BPF objects (.bpf.o) to check
    #[arg(value_name = "OBJECT", required = true)]
    pub objects: Vec<PathBuf>,

    /// Which kernels.
    #[command(flatten)]
    pub kernels: KernelArgs,

    /// What user space does before loading.
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which kernels.
#[derive(Debug, Args)]
pub struct KernelArgs {
    /// Kernel to check against: a version (6.12, 7.0.13), a range (6.16..7.1, >=6.13, <=7.0), host,
    /// or all; may be repeated. All kernels named must work; without any, every known kernel is
    /// checked, and those that lack what the object needs only narrow the range it supports
    #[arg(
        short = 'k',
        long = "kernel",
        value_name = "KERNEL",
        help_heading = "Kernels"
    )]
    pub selection: Vec<String>,

    /// BTF of a kernel (/sys/kernel/btf/vmlinux, or a vmlinux ELF) to check against; its facts
    /// override the tables
    #[arg(long, value_name = "FILE", help_heading = "Kernels")]
    pub btf: Option<PathBuf>,

    /// Directory of tables to use instead of the bundled ones
    #[arg(long, value_name = "DIR", help_heading = "Kernels")]
    pub rules: Option<PathBuf>,
}

/// What user space does before loading.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load profile")]
pub struct ProfileArgs {
    /// Value that user space gives a read-only variable before loading; may be repeated
    #[arg(long, value_name = "VAR=VALUE")]
    pub set: Vec<Setting>,

    /// Program that user space does not load; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    pub no_autoload: Vec<String>,

    /// struct_ops member that user space clears; may be repeated
    #[arg(long, value_name = "MAP.MEMBER")]
    pub null: Vec<MemberPath>,

    /// Configuration file with a `[profile]` table; without this option, scx-lint.toml in the current
    /// directory if there is one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,

    /// Colour; `auto` means on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Human,
    /// One JSON document
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether standard output gets colour. An explicit `always` is stronger than `NO_COLOR`.
    #[must_use]
    pub fn on_stdout(self) -> bool {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                set("NO_COLOR").is_none()
                    && set("TERM").is_none_or(|term| term != "dumb")
                    && io::stdout().is_terminal()
            }
        }
    }
}

impl CheckArgs {
    /// The request these arguments make, with the configuration file read.
    ///
    /// # Errors
    /// When the configuration file cannot be used.
    pub fn into_request(self) -> Result<CheckRequest, Error> {
        let mut profile = LoadProfile::from_config(self.profile.config.as_deref())?;
        profile.extend(LoadProfile {
            set: self
                .profile
                .set
                .into_iter()
                .map(|s| (s.variable, s.value))
                .collect(),
            no_autoload: self.profile.no_autoload,
            null: self.profile.null,
        });
        Ok(CheckRequest {
            objects: self.objects,
            kernels: self.kernels.into(),
            profile,
        })
    }
}

impl From<KernelArgs> for KernelRequest {
    fn from(args: KernelArgs) -> Self {
        Self {
            selection: args.selection,
            btf: args.btf,
            rules: args.rules,
        }
    }
}

/// Writes the man page.
///
/// # Errors
/// When `out` cannot be written.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    let mut out = out;
    clap_mangen::Man::new(Cli::command()).render(&mut out)
}

/// Writes the completion script for `shell`.
///
/// # Errors
/// When `out` cannot be written.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> io::Result<()> {
    // Into memory first: the generator panics where writing fails, say on a closed pipe.
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "scx-lint", &mut script);
    out.write_all(&script)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn check(line: &str) -> CheckArgs {
        let cli = parse(line).unwrap();
        match cli.command {
            Some(Command::Check(args)) => args,
            None => cli.check,
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_description_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn check_is_the_default_command() {
        for line in [
            "scx-lint a.o b.o --kernel 6.12 -k >=7.0 --format json",
            "scx-lint check a.o b.o --kernel 6.12 -k >=7.0 --format json",
            "scx-lint --kernel 6.12 -k >=7.0 --format=json a.o b.o",
        ] {
            let args = check(line);
            assert_eq!(args.objects, ["a.o", "b.o"].map(PathBuf::from), "{line}");
            assert_eq!(args.kernels.selection, ["6.12", ">=7.0"], "{line}");
            assert_eq!(args.output.format, Format::Json, "{line}");
        }
        // After an object, a command's name is an object too.
        assert_eq!(check("scx-lint a.o kfunc").objects.len(), 2);
        assert_eq!(check("scx-lint ./table").objects.len(), 1);
    }

    #[test]
    fn the_other_commands() {
        assert!(
            matches!(parse("scx-lint kfunc x").unwrap().command, Some(Command::Kfunc { name, .. }) if name == "x")
        );
        assert!(matches!(
            parse("scx-lint explain").unwrap().command,
            Some(Command::Explain { rule: None })
        ));
        assert!(matches!(
            parse("scx-lint man").unwrap().command,
            Some(Command::Man)
        ));
        assert!(parse("scx-lint completions bash").is_ok());
        assert!(matches!(
            parse("scx-lint probe --btf f --release 7.1.13 --format json")
                .unwrap()
                .command,
            Some(Command::Probe(ProbeArgs {
                btf: Some(_),
                release: Some(_),
                ..
            }))
        ));
        assert!(parse("scx-lint table --kernel 7.1 --format json").is_ok());
    }

    #[test]
    fn wrong_usage_is_status_2() {
        for line in [
            "scx-lint",
            "scx-lint check",
            "scx-lint kfunc",
            "scx-lint a.o --format yaml",
            "scx-lint a.o --set x",
            "scx-lint a.o --null ops",
            "scx-lint a.o --nonsense",
            "scx-lint probe --release 7.1",
            "scx-lint probe --btf f --release seven",
        ] {
            assert_eq!(
                parse(line).unwrap_err().exit_code(),
                i32::from(Exit::Failed as u8),
                "{line}"
            );
        }
    }

    #[test]
    fn help_man_page_and_completions_know_every_flag() {
        let help = Cli::command().render_long_help().to_string();
        let mut page = Vec::new();
        man(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap().replace("\\-", "-");
        let mut script = Vec::new();
        completions(clap_complete::Shell::Bash, &mut script).unwrap();
        let script = String::from_utf8(script).unwrap();
        for flag in [
            "--kernel",
            "--btf",
            "--rules",
            "--set",
            "--no-autoload",
            "--null",
            "--config",
            "--format",
            "--color",
        ] {
            assert!(help.contains(flag), "{flag} in help");
            assert!(page.contains(flag), "{flag} in man page");
            assert!(script.contains(flag), "{flag} in completions");
        }
        assert!(help.contains("Exit status"));
    }
}
