//! Running other programs: what is missing is named together with the package that has it.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// One or more programs are not installed.
    #[error("missing on this machine: {programs}\n  install with: apt-get install {packages}")]
    Missing {
        /// The programs, separated by commas.
        programs: String,
        /// The packages that hold them, ready for the command line.
        packages: String,
    },
    /// The program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program's name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("{command} failed ({status}){}", if .output.is_empty() { String::new() } else { format!(":\n{}", .output) })]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote to stderr.
        output: String,
    },
}

/// The package of Debian (and derivatives) that holds each program we use.
const PACKAGES: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("apt-cache", "apt"),
    ("dpkg", "dpkg"),
    ("zstd", "zstd"),
    ("xz", "xz-utils"),
    ("gzip", "gzip"),
    ("lz4", "lz4"),
    ("tar", "tar"),
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("cpio", "cpio"),
    ("pahole", "dwarves"),
    ("pkg-config", "pkgconf"),
    ("bpftool", "bpftool"),
    ("python3", "python3"),
    ("nice", "coreutils"),
    ("ldd", "libc-bin"),
    ("busybox", "busybox-static"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    // Header packages: a path stands for the program.
    ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
];

/// Fails unless every one of `programs` (or, with a leading slash, files) is there.
///
/// All that is missing is named at once, so that one `apt-get` line is enough.
pub fn require(programs: &[&str]) -> Result<(), ToolError> {
    let missing: Vec<&str> = programs.iter().copied().filter(|p| !present(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing
        .iter()
        .map(|program| {
            PACKAGES
                .iter()
                .find(|(name, _)| name == program)
                .map_or(*program, |(_, package)| package)
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    Err(ToolError::Missing {
        programs: missing.join(", "),
        packages: packages.join(" "),
    })
}

fn present(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// Runs to the end and returns stdout; stderr is quoted in the error if it fails.
pub fn output(command: &mut Command) -> Result<Vec<u8>, ToolError> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|source| start_error(command, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(command, output.status, &output.stderr))
    }
}

/// Like [`output`], as text.
pub fn text(command: &mut Command) -> Result<String, ToolError> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// Runs to the end for its effect only.
pub fn run(command: &mut Command) -> Result<(), ToolError> {
    output(command).map(drop)
}

/// A command with its arguments, for the common case.
pub fn command<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The error of a program that could not be started.
pub fn start_error(command: &Command, source: io::Error) -> ToolError {
    let program = command.get_program().to_string_lossy().into_owned();
    if source.kind() == io::ErrorKind::NotFound
        && let Err(missing) = require(&[program.as_str()])
    {
        return missing;
    }
    ToolError::Start { program, source }
}

fn failed(command: &Command, status: ExitStatus, stderr: &[u8]) -> ToolError {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or(&[]);
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    ToolError::Failed {
        command: line,
        status,
        output: tail.join("\n"),
    }
}

/// Where cargo puts what it builds for us.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into(),
        PathBuf::from,
    )
}

/// A line on stdout. Whoever closed it (`| head`) does not want to hear more, and the work goes on.
pub fn say(line: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stdout(), "{line}"));
}
