//! `cargo xtask vm`: a command in a real kernel, under pure emulation.
//!
//! The guest is an initramfs (busybox and the given files). Its kernel messages go to the first
//! serial port; the command's stdout, its stderr and its status have a virtio port each, so that
//! nothing mixes. What happens to the guest is a result, not an error: see [`VmOutcome`].

mod initramfs;
mod qemu;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernels::{Cache, Kernel, KernelError, Wanted};
use crate::tools::{self, ToolError};
use initramfs::Initramfs;

/// Arguments of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A series (7.1) or a release (7.1.13) from the cache
    kernel: Wanted,
    /// A file or directory to have in the guest, in /work unless a place is given; programs bring
    /// their shared libraries
    #[arg(long, value_name = "PATH[:GUEST_PATH]")]
    file: Vec<String>,
    /// Seconds until the guest is switched off
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// Processors
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    mem: u32,
    /// More for the kernel's command line
    #[arg(long, value_name = "WORDS")]
    append: Vec<String>,
    /// Show the kernel's messages on stderr when the guest is done
    #[arg(long)]
    console: bool,
    /// The command and its arguments, run in /work as root
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A file for the guest.
#[derive(Debug, Clone)]
pub struct GuestFile {
    /// Where it is.
    pub host: PathBuf,
    /// Where the guest has it.
    pub guest: PathBuf,
}

impl GuestFile {
    /// `host` in the guest's working directory, under its own name.
    pub fn in_work(host: impl Into<PathBuf>) -> Result<GuestFile, VmError> {
        let host = host.into();
        let name = host.file_name().ok_or_else(|| VmError::File {
            path: host.clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "has no file name"),
        })?;
        Ok(GuestFile {
            guest: Path::new("/work").join(name),
            host,
        })
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct VmRequest {
    /// Files and directories of the host.
    pub files: Vec<GuestFile>,
    /// Files that exist only for the guest: its path, mode, content.
    pub generated: Vec<(PathBuf, u32, Vec<u8>)>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// From power on to power off.
    pub timeout: Duration,
    /// How long a command may write nothing to its stdout before the guest counts as standing still.
    pub silence: Option<Duration>,
    /// Processors.
    pub cpus: u32,
    /// Sockets they are divided among; each has a last-level cache of its own.
    pub sockets: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// More for the kernel's command line.
    pub kernel_arguments: Vec<String>,
    /// Copy the command's stderr to ours while it runs.
    pub show_stderr: bool,
}

impl VmRequest {
    /// A command in a guest of two processors and 1 GiB, with five minutes.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> VmRequest {
        VmRequest {
            files: Vec::new(),
            generated: Vec::new(),
            command: command.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(300),
            silence: None,
            cpus: 2,
            sockets: 1,
            memory: 1024,
            kernel_arguments: Vec::new(),
            show_stderr: false,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmOutcome {
    /// The command ended; a signal is 128 and its number, as in a shell.
    Exited(i32),
    /// The guest went down before the command ended: a panic or an oops, a triple fault, or the
    /// command switched it off.
    Panicked,
    /// The time was up: the command or the whole guest hangs.
    TimedOut,
}

/// What came out.
#[derive(Debug)]
pub struct VmResult {
    /// How it ended.
    pub outcome: VmOutcome,
    /// The command's stdout, as far as it came.
    pub stdout: Vec<u8>,
    /// The command's stderr, as far as it came.
    pub stderr: Vec<u8>,
    /// The kernel's messages.
    pub console: String,
    /// From power on to the start of the command; none if it never started.
    pub boot: Option<Duration>,
    /// From power on to power off.
    pub total: Duration,
}

impl VmResult {
    /// The last lines of the kernel's messages.
    pub fn console_tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.console.lines().collect();
        all.get(all.len().saturating_sub(lines)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// Why no guest ran.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No such kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program for the guest lacks a library on this machine.
    #[error("{}: needs {library}, which is not on this machine", program.display())]
    Library {
        /// The program.
        program: PathBuf,
        /// The library.
        library: String,
    },
    /// There is nothing to run.
    #[error("no command to run in the guest")]
    NoCommand,
    /// qemu itself failed.
    #[error("qemu ended with {status} before the guest did anything:\n{message}")]
    Qemu {
        /// Its status.
        status: std::process::ExitStatus,
        /// Its stderr.
        message: String,
    },
}

/// Boots the kernel, runs the command and waits for the end.
pub fn run(kernel: &Kernel, request: &VmRequest) -> Result<VmResult, VmError> {
    if request.command.is_empty() {
        return Err(VmError::NoCommand);
    }
    tools::require(&["qemu-system-x86_64", "busybox", "ldd"])?;
    let mut initramfs = Initramfs::new()?;
    if let Some(config) = &kernel.config {
        // The kernel's full name, which belongs into the file's, is known only in the guest.
        initramfs.add_host(config, Path::new("/boot/config"))?;
    }
    for file in &request.files {
        initramfs.add_host(&file.host, &file.guest)?;
    }
    for (path, mode, bytes) in &request.generated {
        initramfs.add_bytes(path, *mode, bytes.clone());
    }
    initramfs.add_bytes(Path::new("/.vm/run"), 0o755, script(&request.command));
    qemu::boot(kernel, request, &initramfs.archive())
}

/// The command as a shell script that becomes it.
fn script(command: &[String]) -> Vec<u8> {
    let mut script = b"exec".to_vec();
    for word in command {
        script.extend_from_slice(b" '");
        script.extend_from_slice(word.replace('\'', r"'\''").as_bytes());
        script.push(b'\'');
    }
    script.push(b'\n');
    script
}

/// Runs `cargo xtask vm`; the exit code is the command's, or 124 for a timeout (as timeout(1)
/// has it) and 125 for a guest that went down.
pub fn command(args: &Args) -> Result<u8, VmError> {
    let kernel = Cache::open()?.find(args.kernel)?;
    let mut request = VmRequest::new(args.command.iter().cloned());
    for file in &args.file {
        request.files.push(match file.split_once(':') {
            Some((host, guest)) => GuestFile {
                host: host.into(),
                guest: Path::new("/work").join(guest),
            },
            None => GuestFile::in_work(file)?,
        });
    }
    request.timeout = Duration::from_secs(args.timeout);
    request.cpus = args.smp;
    request.memory = args.mem;
    request.kernel_arguments.clone_from(&args.append);
    request.show_stderr = true;
    let result = run(&kernel, &request)?;
    let path = Path::new("stdout");
    io::stdout()
        .write_all(&result.stdout)
        .map_err(|source| VmError::File {
            path: path.to_owned(),
            source,
        })?;
    if args.console {
        eprintln!("{}", result.console.trim_end());
    }
    let boot = result.boot.map_or("never".to_owned(), |boot| {
        format!("{:.1} s", boot.as_secs_f64())
    });
    eprintln!(
        "vm: {} booted in {boot}, {} after {:.1} s",
        kernel.release,
        match result.outcome {
            VmOutcome::Exited(status) => format!("command exited with {status}"),
            VmOutcome::Panicked => "guest went down".to_owned(),
            VmOutcome::TimedOut => "timed out".to_owned(),
        },
        result.total.as_secs_f64()
    );
    Ok(match result.outcome {
        VmOutcome::Exited(status) => u8::try_from(status).unwrap_or(u8::MAX),
        ended => {
            if !args.console {
                eprintln!("{}", result.console_tail(40));
            }
            if ended == VmOutcome::TimedOut {
                124
            } else {
                125
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_guest_as_they_are() {
        let script = script(&["echo".into(), "it's $HOME".into()]);
        assert_eq!(
            String::from_utf8_lossy(&script),
            "exec 'echo' 'it'\\''s $HOME'\n"
        );
    }
}
