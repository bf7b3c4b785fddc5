//! Reading a written table back: it has to say what the kernel said.

use super::KINDS;
use crate::kernel::{Enforcement, Permission, Release, RulesError, Tables};
use crate::probe::answers::Answers;

/// How many answers there were to compare, and those that the table does not give.
pub(super) fn compare(
    answers: &Answers,
    text: &str,
    release: Release,
) -> Result<(usize, Vec<String>), RulesError> {
    let tables = Tables::from_texts(
        "the written table",
        vec![("table.toml".to_owned(), text.to_owned())],
    )?;
    let kernel = tables.kernel(release)?;
    let mut compared = 0_usize;
    let mut wrong = Vec::new();
    let mut compare = |what: &dyn Fn() -> String, told: bool, written: bool| {
        compared = compared.saturating_add(1);
        if told != written {
            let not = if told { "" } else { "not " };
            wrong.push(format!(
                "{} is {not}so in the kernel, and otherwise in the table",
                what()
            ));
        }
    };
    for found in &answers.struct_ops {
        let Some(known) = kernel.struct_ops(&found.name) else {
            compare(&|| format!("that `{}` exists", found.name), true, false);
            continue;
        };
        for field in &found.fields {
            compare(
                &|| format!("the member `{field}`"),
                true,
                known.has_member(field),
            );
        }
        for callback in &known.callbacks {
            let there = found
                .callbacks
                .iter()
                .any(|there| *there.name == *callback.name);
            compare(&|| format!("the callback `{}`", callback.name), there, true);
        }
        for callback in &found.callbacks {
            let Some(known) = known.callback(&callback.name) else {
                compare(&|| format!("the callback `{}`", callback.name), true, false);
                continue;
            };
            if let Some(told) = answers.may_sleep(&found.name, &callback.name) {
                compare(
                    &|| format!("that `{}` may sleep", callback.name),
                    told,
                    known.sleepable,
                );
            }
            for kfunc in kernel.kfuncs() {
                // A load says nothing of contexts where calls are checked.
                let written = kernel.enforcement == Enforcement::RunTime
                    || kernel.permission(known, kfunc) == Permission::Permitted;
                if let Some(told) = answers.cell(&found.name, &callback.name, &kfunc.name) {
                    let what = || format!("that `{}` may call `{}`", callback.name, kfunc.name);
                    compare(&what, told, written);
                }
            }
        }
    }
    for kfunc in kernel.kfuncs() {
        for kind in KINDS {
            if let Some(told) = answers.program(kind, &kfunc.name) {
                let what = || {
                    format!(
                        "that {} programs may call `{}`",
                        kind.names().concat(),
                        kfunc.name
                    )
                };
                compare(&what, told, kfunc.hooks.contains(kind));
            }
        }
        let demands = [
            (
                "sleep",
                answers.needs_sleepable(&kfunc.name),
                kfunc.sleepable,
            ),
            (
                "be in an RCU section",
                answers.needs_rcu(&kfunc.name),
                kfunc.rcu_protected,
            ),
        ];
        for (demand, told, written) in demands {
            if let Some(told) = told {
                compare(
                    &|| format!("that callers of `{}` have to {demand}", kfunc.name),
                    told,
                    written,
                );
            }
        }
    }
    for an_enum in &answers.enums {
        for (name, value) in &an_enum.values {
            let (_, written) = kernel.enum_variant(&an_enum.name, name);
            let told = u64::try_from(*value)
                .ok()
                .or_else(|| i64::try_from(*value).ok().map(i64::cast_unsigned));
            compare(
                &|| format!("that `{name}` is {value}"),
                true,
                written == told,
            );
        }
    }
    Ok((compared, wrong))
}
