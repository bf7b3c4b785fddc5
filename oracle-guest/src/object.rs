//! Opening objects the way the host wants them, and what libbpf says about it.

use std::os::raw::c_void;
use std::sync::Mutex;

use libbpf_rs::{AsRawLibbpf as _, MapType, ObjectBuilder, OpenObject, PrintLevel};

use crate::plan::Case;

/// The last part of a long message holds the reason: a verifier log walks there.
const KEPT: usize = 4000;

/// What starts a kernel's explanation.
const EXPLANATION: &str = "\nVerification failed:";

/// How libbpf ends a verifier's log.
const LOG_END: &str = "\n-- END PROG LOAD LOG --\n";

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has libbpf's messages kept for [`take_messages`].
pub fn collect_messages() {
    libbpf_rs::set_print(Some((PrintLevel::Info, |_, message| {
        if let Ok(mut messages) = MESSAGES.lock() {
            messages.push(tail(message));
        }
    })));
}

/// What was said since the last time.
pub fn take_messages() -> Vec<String> {
    MESSAGES
        .lock()
        .map(|mut messages| std::mem::take(&mut *messages))
        .unwrap_or_default()
}

fn tail(mut message: String) -> String {
    // 7.3 explains itself at any length, after the line that decides.
    if let Some(at) = message.find(EXPLANATION) {
        message.truncate(at);
        message.push_str(LOG_END);
    }
    let mut from = message.len().saturating_sub(KEPT);
    while !message.is_char_boundary(from) {
        from += 1;
    }
    message.get(from..).unwrap_or_default().to_owned()
}

/// Opens the fixture's object and writes into it what its user space would.
pub fn open(case: &Case) -> Result<OpenObject, libbpf_rs::Error> {
    let mut object = ObjectBuilder::default().open_file(&case.object)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if let Some(size) = case.max_entries.get(&name) {
            map.set_max_entries(*size)?;
        }
        if let Some((_, size)) = case
            .value_sizes
            .iter()
            .find(|(section, _)| name.ends_with(section.as_str()))
        {
            map.set_value_size(*size)?;
        }
        let Some(value) = map.initial_value_mut() else {
            continue;
        };
        // libbpf puts (a part of) the object's name in front of the section's.
        for patch in case
            .set
            .iter()
            .filter(|patch| name.ends_with(patch.section.as_str()))
        {
            if let Some(place) = value.get_mut(patch.offset..patch.offset + patch.bytes.len()) {
                place.copy_from_slice(&patch.bytes);
            }
        }
    }
    for mut program in object.progs_mut() {
        if case
            .no_autoload
            .iter()
            .any(|name| program.name() == name.as_str())
        {
            program.set_autoload(false);
        }
    }
    Ok(object)
}

/// The names of all programs.
pub fn programs(object: &OpenObject) -> Vec<String> {
    object
        .progs()
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect()
}

/// Leaves one program to load, and of the struct_ops maps those that name it, without their other
/// programs.
pub fn only_program(object: &mut OpenObject, wanted: &str) -> Result<(), libbpf_rs::Error> {
    let mut keep = 0_usize;
    let mut others = Vec::new();
    for mut program in object.progs_mut() {
        let address = program.as_libbpf_object().cast::<c_void>().as_ptr().addr();
        let is_wanted = program.name() == wanted;
        program.set_autoload(is_wanted);
        if is_wanted {
            keep = address;
        } else {
            others.push(address);
        }
    }
    for mut map in object.maps_mut() {
        if map.map_type() != MapType::StructOps {
            continue;
        }
        let mut names_it = false;
        // Until it is loaded, a struct_ops map holds the addresses of libbpf's programs.
        for word in map
            .initial_value_mut()
            .into_iter()
            .flat_map(|value| value.chunks_exact_mut(8))
        {
            let address = <[u8; 8]>::try_from(&*word).map_or(0, usize::from_ne_bytes);
            if address == keep {
                names_it = true;
            } else if others.contains(&address) {
                word.fill(0);
            }
        }
        map.set_autocreate(names_it)?;
    }
    Ok(())
}

/// Leaves one struct_ops map and its programs.
pub fn only_map(object: &mut OpenObject, wanted: &str) -> Result<(), libbpf_rs::Error> {
    let mut members = Vec::new();
    for mut map in object.maps_mut() {
        if map.map_type() != MapType::StructOps {
            continue;
        }
        let is_wanted = map.name() == wanted;
        map.set_autocreate(is_wanted)?;
        if is_wanted && let Some(value) = map.initial_value_mut() {
            members = value
                .chunks_exact(8)
                .map(|word| <[u8; 8]>::try_from(word).map_or(0, usize::from_ne_bytes))
                .collect();
        }
    }
    for mut program in object.progs_mut() {
        let address = program.as_libbpf_object().cast::<c_void>().as_ptr().addr();
        program.set_autoload(members.contains(&address));
    }
    Ok(())
}
