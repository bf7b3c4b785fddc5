//! Attaching a scheduler, driving it, and how it ended.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use libbpf_rs::MapCore as _;

use crate::drive;
use crate::kernel_log::KernelLog;
use crate::object::{only_map, open, take_messages};
use crate::plan::{Answer, Case};

/// The state in which a scheduler runs.
const ENABLED: &str = "enabled";

/// How long a scheduler may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// Runs every scheduler of one fixture.
pub fn case(
    case: &Case,
    emit: &mut dyn FnMut(&Answer<'_>) -> io::Result<()>,
) -> Result<(), crate::GuestError> {
    for map in &case.attach {
        emit(&Answer::Attaching {
            case: &case.name,
            map,
        })?;
        let mut log = KernelLog::here();
        drop(take_messages());
        let (stage, outcome) = scheduler(case, map);
        let (error, state) = match outcome {
            Ok(state) => (None, state),
            Err(error) => (Some(error.to_string()), Vec::new()),
        };
        wait_until_gone();
        emit(&Answer::Ran {
            case: &case.name,
            map,
            stage,
            error,
            state,
            rejected: sched_ext("nr_rejected"),
            messages: take_messages(),
            log: log.since(),
        })?;
    }
    Ok(())
}

fn scheduler(case: &Case, wanted: &str) -> (&'static str, Result<Vec<String>, libbpf_rs::Error>) {
    let object = open(case).and_then(|mut object| {
        only_map(&mut object, wanted)?;
        object.load()
    });
    let mut object = match object {
        Ok(object) => object,
        Err(error) => return ("load", Err(error)),
    };
    let Some(mut map) = object.maps_mut().find(|map| map.name() == wanted) else {
        return ("attach", Ok(Vec::new()));
    };
    let link = match map.attach_struct_ops() {
        Ok(link) => link,
        Err(error) => return ("attach", Err(error)),
    };
    let alive = || sched_ext("state").is_some_and(|state| state == ENABLED);
    drive::everything_but_hotplug(&alive);
    let mut state = vec![sched_ext("state").unwrap_or_default()];
    if alive() {
        drive::hotplug();
    }
    state.push(sched_ext("state").unwrap_or_default());
    drop(link);
    ("drive", Ok(state))
}

fn sched_ext(file: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/sys/kernel/sched_ext/{file}")).ok()?;
    Some(text.trim().to_owned())
}

/// The next scheduler cannot be attached before.
fn wait_until_gone() {
    let start = Instant::now();
    while sched_ext("state").is_some_and(|state| state != "disabled") && start.elapsed() < GONE {
        sleep(Duration::from_millis(20));
    }
}
