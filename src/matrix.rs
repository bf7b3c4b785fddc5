//! The permission matrix of kernels: every callback against every kfunc of the scheduler interface.

use crate::check::Kernels;
use crate::kernel::{Callback, Enforcement, HazardOutcome, Kernel, Kfunc, Permission, Tables};
use crate::report::Outcome;
use crate::report::table::{Row, Table};

/// Only some cells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Only this kfunc.
    pub kfunc: Option<&'a str>,
    /// Only this callback.
    pub callback: Option<&'a str>,
}

/// The cells a filter leaves, kernel by kernel, and what else is known of the names in it.
pub fn table(kernels: &Kernels, filter: Filter<'_>) -> Table {
    let mut rows = Vec::new();
    for kernel in &kernels.kernels {
        for ops in kernel.struct_ops_types() {
            let callbacks = ops
                .callbacks
                .iter()
                .filter(|c| filter.callback.is_none_or(|name| *c.name == *name));
            for callback in callbacks {
                let kfuncs = kernel
                    .kfuncs()
                    .filter(|k| filter.kfunc.is_none_or(|name| *k.name == *name));
                rows.extend(kfuncs.map(|kfunc| row(kernel, callback, kfunc)));
            }
        }
    }
    let mut notes = Vec::new();
    if let Some(name) = filter.kfunc {
        notes.extend(kfunc_notes(&kernels.tables, &kernels.kernels, name));
    }
    if let Some(name) = filter.callback {
        notes.extend(callback_notes(&kernels.kernels, name, rows.is_empty()));
    }
    Table { rows, notes }
}

/// One cell: what a call of `kfunc` in `callback` does, from a program that sleeps if the kfunc asks
/// for it and the callback allows it.
pub fn row(kernel: &Kernel, callback: &Callback, kfunc: &Kfunc) -> Row {
    let permission = kernel.permission(callback, kfunc);
    let outcome = match permission {
        Permission::CpuOnly => Outcome::Refused,
        Permission::WrongContext => match kernel.enforcement {
            Enforcement::Load => Outcome::Refused,
            // What cannot load cannot be killed either.
            Enforcement::RunTime if kfunc.sleepable && !callback.sleepable => Outcome::Refused,
            Enforcement::RunTime if callback.ends_anyway => Outcome::Ok,
            Enforcement::RunTime => Outcome::Killed,
        },
        Permission::Permitted if kfunc.sleepable && !callback.sleepable => Outcome::Refused,
        Permission::Permitted => {
            match kernel.hazard(callback, kfunc).map(|hazard| hazard.outcome) {
                Some(HazardOutcome::Hangs) => Outcome::Hangs,
                Some(HazardOutcome::Killed) if !callback.ends_anyway => Outcome::Killed,
                _ => Outcome::Ok,
            }
        }
    };
    Row {
        kernel: kernel.label.clone(),
        struct_ops: callback.struct_ops.to_string(),
        callback: callback.name.to_string(),
        kfunc: kfunc.name.to_string(),
        sleepable_required: kfunc.sleepable,
        permitted: permission == Permission::Permitted,
        outcome,
    }
}

fn kfunc_notes(tables: &Tables, kernels: &[Kernel], name: &str) -> Vec<String> {
    let history = tables.history(name);
    let mut notes = Vec::new();
    let newest = kernels.iter().rev().find_map(|kernel| kernel.kfunc(name));
    if let Some(kfunc) = newest {
        if let Some(prototype) = &kfunc.prototype_text {
            notes.push(format!("prototype: {prototype}"));
        }
        notes.push(format!("program types: {}", kfunc.hooks.names().join(", ")));
        notes.extend(kfunc.note.as_ref().map(ToString::to_string));
    }
    if let Some((message, since)) = &history.deprecated {
        notes.push(format!("deprecated since {since}: {message}"));
    }
    if !history.replaced_by.is_empty() {
        notes.push(format!("replaced by {}", history.replaced_by.join(", ")));
    }
    if !history.replaces.is_empty() {
        notes.push(format!("replaces {}", history.replaces.join(", ")));
    }
    if let Some(never) = &history.never {
        notes.push(never.text.clone());
        if !never.today.is_empty() {
            notes.push(format!("today: {}", never.today.join(", ")));
        }
    } else if history.releases.is_empty() && !history.nearest.is_empty() {
        notes.push(format!(
            "no kernel has it; nearest names: {}",
            history.nearest.join(", ")
        ));
    }
    notes
}

fn callback_notes(kernels: &[Kernel], name: &str, unknown: bool) -> Vec<String> {
    let newest = kernels.iter().rev().find_map(|kernel| {
        kernel
            .struct_ops_types()
            .iter()
            .find_map(|ops| ops.callback(name))
            .map(|c| (kernel, c))
    });
    let mut notes = Vec::new();
    if let Some((kernel, callback)) = newest {
        if let Some(prototype) = &callback.prototype_text {
            notes.push(format!("prototype: {prototype}"));
        }
        let contexts = kernel.context_names(callback.contexts);
        let contexts = if contexts.is_empty() {
            "none".to_owned()
        } else {
            contexts.join(", ")
        };
        notes.push(format!("runs as on {}: {contexts}", kernel.label));
        notes.push(format!(
            "may sleep on {}: {}",
            kernel.label,
            if callback.sleepable { "yes" } else { "no" }
        ));
        if let Some(deprecated) = &callback.deprecated {
            notes.push(format!(
                "deprecated since {}: {}",
                deprecated.since, deprecated.message
            ));
        }
        notes.extend(callback.note.as_ref().map(ToString::to_string));
    } else if unknown {
        notes.push("no kernel has a callback of that name; `scx-lint table` lists them".to_owned());
    }
    notes
}
