//! What makes the kernel call a scheduler's callbacks.
//!
//! Everything here is best effort: a kernel without a cgroup controller or a second CPU has nothing
//! to be driven there. Nothing waits for a task of the scheduler without a limit.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const CGROUPS: &str = "/sys/fs/cgroup";

/// The second CPU.
const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";

/// Wants a CPU nearly always. Nearly: a kernel on its way out of a scheduler may not take the CPU from
/// a task that never sleeps (6.17.13 stood still like that).
const SPIN: &str = "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 0.01; done";

/// How long a helper process may take before it is killed.
const PATIENCE: Duration = Duration::from_secs(4);

/// Fork and exec, sleep and wake, yield, cgroups, affinity, nice, a real-time task on every CPU, while
/// more tasks want to run than there are CPUs; stops when the scheduler is gone, which `alive` tells.
pub fn everything_but_hotplug(alive: &dyn Fn() -> bool) {
    let spinners: Vec<Child> = (0..3).filter_map(|_| shell(SPIN)).collect();
    let first = spinners.first().map(Child::id);
    let steps: [&dyn Fn(); 5] = [
        &|| {
            finish(shell("true; sleep 0.02; true"));
            yields();
        },
        &|| first.into_iter().for_each(cgroups),
        &|| first.into_iter().for_each(nice_and_affinity),
        &|| (0..2).for_each(real_time),
        // Ticks, idle CPUs, timers and work queues.
        &|| sleep(Duration::from_millis(200)),
    ];
    for step in steps {
        if alive() {
            step();
        }
    }
    for mut child in spinners {
        // Fails when it has ended.
        drop(child.kill());
        finish(Some(child));
    }
    // CPUs go idle.
    sleep(Duration::from_millis(50));
}

/// The second CPU goes and comes back.
pub fn hotplug() {
    write(Path::new(CPU1), "0");
    sleep(Duration::from_millis(50));
    write(Path::new(CPU1), "1");
    sleep(Duration::from_millis(100));
}

fn yields() {
    for _ in 0..200 {
        std::thread::yield_now();
    }
}

/// Made, entered, weighted, limited, left and removed again.
fn cgroups(process: u32) {
    let root = Path::new(CGROUPS);
    write(&root.join("cgroup.subtree_control"), "+cpu");
    let (a, b) = (root.join("oracle-a"), root.join("oracle-b"));
    drop(fs::create_dir(&a));
    drop(fs::create_dir(&b));
    let process = process.to_string();
    for _ in 0..3 {
        write(&a.join("cgroup.procs"), &process);
        write(&b.join("cgroup.procs"), &process);
    }
    write(&a.join("cgroup.procs"), &process);
    write(&a.join("cpu.weight"), "200");
    write(&a.join("cpu.max"), "50000 100000");
    write(&a.join("cpu.idle"), "1");
    write(&b.join("cgroup.procs"), &process);
    write(&root.join("cgroup.procs"), &process);
    drop(fs::remove_dir(&a));
    drop(fs::remove_dir(&b));
}

fn nice_and_affinity(process: u32) {
    finish(shell(&format!(
        "renice -n 5 -p {process}; taskset -p 1 {process}; taskset -p 3 {process}"
    )));
}

/// A real-time task takes the CPU from the scheduler several times, 30 ms each.
fn real_time(cpu: usize) {
    let thread = std::thread::spawn(move || {
        if !become_real_time(cpu) {
            return;
        }
        for _ in 0..3 {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(30) {
                std::hint::spin_loop();
            }
            sleep(Duration::from_millis(20));
        }
    });
    // Ends by itself; a panic in it would have nothing to say.
    drop(thread.join());
}

fn become_real_time(cpu: usize) -> bool {
    // SAFETY: a CPU set is plain bits, for which all zero is a value; CPU_SET checks the number.
    // Both calls read what they are given and change only this thread.
    unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut cpus);
        let priority = libc::sched_param { sched_priority: 10 };
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const cpus) == 0
            && libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0
    }
}

fn shell(script: &str) -> Option<Child> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().ok()
}

/// Waits for it, within limits: under a scheduler that forgot it, a task does not end by itself.
fn finish(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let start = Instant::now();
    while let Ok(None) = child.try_wait() {
        if start.elapsed() > PATIENCE {
            drop(child.kill());
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

fn write(path: &Path, text: &str) {
    drop(fs::write(path, text));
}
