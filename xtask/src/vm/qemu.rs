//! qemu as a child process that does not outlive us.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{VmError, VmOutcome, VmRequest, VmResult};
use crate::kernels::Kernel;
use crate::tools;

/// How often the guest's ports are looked at.
const POLL: Duration = Duration::from_millis(50);

/// After the command has reported its status, the guest gets this long to switch itself off.
const POWER_OFF: Duration = Duration::from_secs(10);

/// Boots and waits.
pub fn boot(kernel: &Kernel, request: &VmRequest, archive: &[u8]) -> Result<VmResult, VmError> {
    let directory = tempfile::Builder::new()
        .prefix("scx-lint-vm-")
        .tempdir()
        .map_err(|source| VmError::File {
            path: std::env::temp_dir(),
            source,
        })?;
    let path = |name: &str| directory.path().join(name);
    at(&path("initramfs"), fs::write(path("initramfs"), archive))?;

    let mut command = Command::new("qemu-system-x86_64");
    command
        // One emulating thread: with several, guests up to 7.0 oops now and then.
        .args(["-accel", "tcg,thread=single"])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-m", &request.memory.to_string()])
        .args(["-smp", &processors(request)])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(path("initramfs"))
        .arg("-append")
        .arg(kernel_command_line(request))
        .arg("-serial")
        .arg(format!("file:{}", path("console").display()))
        .args(["-device", "virtio-serial-pci"]);
    for (number, name) in ["status", "stdout", "stderr"].iter().enumerate() {
        command
            .arg("-chardev")
            .arg(format!("file,id={name},path={}", path(name).display()))
            .arg("-device")
            .arg(format!("virtserialport,chardev={name},nr={}", number + 1));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let child = command
        .spawn()
        .map_err(|source| tools::start_error(&command, source))?;
    let mut guest = Guest(child);

    let mut status_port = Port::new(path("status"));
    let mut stderr_port = Port::new(path("stderr"));
    let mut boot = None;
    let mut ended: Option<(i32, Instant)> = None;
    let mut timed_out = false;
    let mut written = (0, start);
    let status = loop {
        let exited = at(&kernel.image, guest.0.try_wait())?;
        status_port.read();
        stderr_port.read();
        if request.show_stderr {
            // Nobody to tell if our own stderr is gone.
            drop(io::stderr().write_all(stderr_port.fresh()));
        }
        if boot.is_none() && status_port.line("up ").is_some() {
            boot = Some(start.elapsed());
        }
        if ended.is_none()
            && let Some(code) = status_port.line("exit ").and_then(|text| text.parse().ok())
        {
            ended = Some((code, Instant::now()));
        }
        if let Some(status) = exited {
            break Some(status);
        }
        if ended.is_some_and(|(_, since)| since.elapsed() > POWER_OFF) {
            break None;
        }
        let length = fs::metadata(path("stdout")).map_or(0, |file| file.len());
        if boot.is_none() || length != written.0 {
            written = (length, Instant::now());
        }
        let silent = request
            .silence
            .is_some_and(|most| written.1.elapsed() > most);
        if ended.is_none() && (silent || start.elapsed() > request.timeout) {
            timed_out = true;
            break None;
        }
        thread::sleep(POLL);
    };
    let total = start.elapsed();
    guest.stop();
    let console = String::from_utf8_lossy(&read(&path("console"))?).into_owned();
    if let Some(status) = status
        && !status.success()
        && console.is_empty()
    {
        return Err(qemu_error(&mut guest, status));
    }
    Ok(VmResult {
        outcome: match ended {
            Some((code, _)) => VmOutcome::Exited(code),
            None if timed_out => VmOutcome::TimedOut,
            None => VmOutcome::Panicked,
        },
        stdout: read(&path("stdout"))?,
        stderr: read(&path("stderr"))?,
        console: console.replace('\r', ""),
        boot,
        total,
    })
}

fn processors(request: &VmRequest) -> String {
    let (cpus, sockets) = (request.cpus, request.sockets.max(1));
    format!(
        "{cpus},sockets={sockets},cores={},threads=1",
        cpus / sockets
    )
}

fn kernel_command_line(request: &VmRequest) -> String {
    // An oops leaves a guest of which nothing more can be believed: it goes down at once
    // (`panic=-1` restarts, `-no-reboot` turns that into the end).
    let mut line = "console=ttyS0 panic=-1 oops=panic mitigations=off rdinit=/init".to_owned();
    for word in &request.kernel_arguments {
        line.push(' ');
        line.push_str(word);
    }
    line
}

fn qemu_error(guest: &mut Guest, status: ExitStatus) -> VmError {
    let mut message = String::new();
    if let Some(stderr) = &mut guest.0.stderr {
        // What was read before a read error is still the best there is to say.
        drop(stderr.read_to_string(&mut message));
    }
    VmError::Qemu { status, message }
}

/// The running qemu; ends with us.
struct Guest(Child);

impl Guest {
    fn stop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of the guest, seen as the file qemu appends to.
struct Port {
    path: PathBuf,
    file: Option<File>,
    seen: Vec<u8>,
    shown: usize,
}

impl Port {
    fn new(path: PathBuf) -> Port {
        Port {
            path,
            file: None,
            seen: Vec::new(),
            shown: 0,
        }
    }

    fn read(&mut self) {
        if self.file.is_none() {
            // Not there until qemu has made it.
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            // A file that cannot be read now is tried again in a moment.
            drop(file.read_to_end(&mut self.seen));
        }
    }

    fn fresh(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.shown, self.seen.len());
        self.seen.get(from..).unwrap_or_default()
    }

    /// What stands behind `prefix` on a complete line.
    fn line(&self, prefix: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.seen);
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .find_map(|line| line.trim_end().strip_prefix(prefix).map(str::to_owned))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, VmError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => at(path, other),
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, VmError> {
    result.map_err(|source| VmError::File {
        path: path.to_owned(),
        source,
    })
}
