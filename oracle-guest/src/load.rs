//! Does it load: the whole object, then every program alone.

use std::io;

use libbpf_rs::OpenObject;

use crate::object::{only_program, open, programs, take_messages};
use crate::plan::{Answer, Case};

/// Loads one object as its user space would.
pub fn whole(
    case: &Case,
    emit: &mut dyn FnMut(&Answer<'_>) -> io::Result<()>,
) -> Result<(), crate::GuestError> {
    drop(take_messages());
    answer(case, None, open(case).and_then(OpenObject::load), emit)
}

/// Loads one fixture in all ways.
pub fn case(
    case: &Case,
    emit: &mut dyn FnMut(&Answer<'_>) -> io::Result<()>,
) -> Result<(), crate::GuestError> {
    whole(case, emit)?;
    let names = open(case).as_ref().map(programs).unwrap_or_default();
    for name in &names {
        let alone = open(case).and_then(|mut object| {
            only_program(&mut object, name)?;
            object.load()
        });
        answer(case, Some(name), alone, emit)?;
    }
    Ok(())
}

fn answer<T>(
    case: &Case,
    program: Option<&str>,
    result: Result<T, libbpf_rs::Error>,
    emit: &mut dyn FnMut(&Answer<'_>) -> io::Result<()>,
) -> Result<(), crate::GuestError> {
    let error = result.err().map(|error| error.to_string());
    // Of a program that loads, nobody asks why.
    let messages = if error.is_some() {
        take_messages()
    } else {
        drop(take_messages());
        Vec::new()
    };
    Ok(emit(&Answer::Load {
        case: &case.name,
        program,
        error,
        messages,
    })?)
}
