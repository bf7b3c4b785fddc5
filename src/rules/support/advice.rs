//! Help lines: where a kfunc may be called, what replaces one, who may sleep. All from the tables.

use super::case::Case;
use super::evidence::quoted;
use crate::kernel::{Callback, Kfunc, Permission, StructOpsType};

impl Case<'_> {
    /// The struct_ops types of this case, or every one the kernel has when the object has none.
    fn types(&self) -> Vec<&StructOpsType> {
        let mine: Vec<_> = self
            .object
            .struct_ops
            .iter()
            .filter_map(|map| self.kernel.struct_ops(map.essential_type_name()))
            .collect();
        if mine.is_empty() {
            self.kernel.struct_ops_types().iter().collect()
        } else {
            mine
        }
    }

    fn callbacks_where(&self, holds: impl Fn(&Callback) -> bool) -> Vec<String> {
        let mut names: Vec<String> = self
            .types()
            .into_iter()
            .flat_map(|ops| &ops.callbacks)
            .filter(|callback| holds(callback))
            .map(|callback| callback.name.to_string())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The callbacks in which a kfunc is permitted, as text.
    pub fn callbacks_permitting(&self, kfunc: &Kfunc) -> String {
        quoted(self.callbacks_where(|callback| {
            self.kernel.permission(callback, kfunc) == Permission::Permitted
        }))
    }

    /// Where a kfunc may be called, as a sentence.
    pub fn where_permitted(&self, kfunc: &Kfunc) -> String {
        let names = self.callbacks_where(|callback| {
            self.kernel.permission(callback, kfunc) == Permission::Permitted
        });
        match &names[..] {
            [] => format!("no callback of this scheduler permits `{}`", kfunc.name),
            names => format!("call `{}` from {}", kfunc.name, quoted(names)),
        }
    }

    /// Where a kfunc is permitted and does no harm.
    pub fn where_safe(&self, kfunc: &Kfunc) -> String {
        let names = self.callbacks_where(|callback| {
            self.kernel.permission(callback, kfunc) == Permission::Permitted
                && self.kernel.hazard(callback, kfunc).is_none()
        });
        match &names[..] {
            [] => format!(
                "no callback of this scheduler can call `{}` safely",
                kfunc.name
            ),
            names => format!("call `{}` from {}", kfunc.name, quoted(names)),
        }
    }

    /// The callbacks that permit a kfunc and may have a sleepable program, as text.
    pub fn sleepable_callbacks(&self, kfunc: &Kfunc) -> String {
        quoted(self.callbacks_where(|callback| {
            callback.sleepable && self.kernel.permission(callback, kfunc) == Permission::Permitted
        }))
    }

    /// Whether a kfunc may be called outside every callback, as asynchronous callbacks and programs
    /// of other types do.
    pub fn permitted_outside(&self, kfunc: &Kfunc) -> bool {
        self.kernel.permits_in(self.kernel.async_contexts(), kfunc)
    }

    /// What to do about a kfunc that a kernel lacks: a help line, and what else is known of the name.
    pub fn advice_on_missing(&self, name: &str) -> (Option<String>, Vec<String>) {
        let history = self.tables.history(name);
        let mut notes = Vec::new();
        if let Some(never) = &history.never {
            notes.push(never.text.clone());
            let help = match &never.today[..] {
                [] => None,
                names => Some(format!("use {}", quoted(names))),
            };
            return (help, notes);
        }
        let help = match (history.releases.first(), history.releases.last()) {
            (Some(first), Some(last)) => {
                let newest = self.tables.releases().last() == Some(last);
                let range = if newest {
                    format!("since {first}")
                } else {
                    format!("from {first} to {last}")
                };
                notes.push(format!("kernels have `{name}` {range}"));
                match &self.names_here(name)[..] {
                    [] => {
                        format!("declare it `__weak` and call it only if `bpf_ksym_exists({name})`")
                    }
                    here => format!(
                        "where it does not exist, call {}: declare both `__weak` and test `bpf_ksym_exists({name})`",
                        quoted(here)
                    ),
                }
            }
            _ => match &history.nearest[..] {
                [] => "no kernel has a kfunc of that name or a similar one".to_owned(),
                [nearest, ..] => format!("no kernel has it; did you mean `{nearest}`?"),
            },
        };
        (Some(help), notes)
    }

    /// The names under which this kernel has what `name` is elsewhere: the nearest that exist here,
    /// by what replaced what.
    fn names_here(&self, name: &str) -> Vec<String> {
        let mut known = vec![name.to_owned()];
        let mut nearest = vec![name.to_owned()];
        loop {
            nearest = nearest
                .iter()
                .flat_map(|name| {
                    let history = self.tables.history(name);
                    history.replaces.into_iter().chain(history.replaced_by)
                })
                .filter(|name| !known.contains(name))
                .collect();
            let here = |name: &&String| self.kernel.kfunc(name).is_some();
            let found: Vec<String> = nearest.iter().filter(here).cloned().collect();
            if !found.is_empty() || nearest.is_empty() {
                return found;
            }
            known.extend_from_slice(&nearest);
        }
    }
}
