//! The records of one probe, by what they answer.

use std::collections::BTreeMap;

use super::record::Record;
use super::types::{EnumType, KfuncType, StructOps};
use super::verdict::Verdict;
use super::{SCHED_EXT, hooks};
use crate::kernel::ProgramHooks;

/// What a kernel said.
#[derive(Debug, Default)]
pub struct Answers {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// The struct_ops types of sched_ext.
    pub struct_ops: Vec<StructOps>,
    /// Functions that are kfuncs or may be.
    pub kfuncs: Vec<KfuncType>,
    /// Enums with values of sched_ext.
    pub enums: Vec<EnumType>,
    /// Whether a program loads there at all.
    programs: BTreeMap<Place, bool>,
    /// By kfunc.
    calls: BTreeMap<String, Vec<(Place, Verdict)>>,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    hook: String,
    target: String,
    sleepable: bool,
}

impl Answers {
    /// From records in any order.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Answers {
        let mut this = Answers::default();
        for record in records {
            this.add(record);
        }
        this
    }

    /// One more.
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Kernel { release, version } => {
                self.release = release;
                self.version = version;
            }
            Record::StructOps(found) => self.struct_ops.push(found),
            Record::Kfunc(found) => self.kfuncs.push(found),
            Record::Enum(found) => self.enums.push(found),
            Record::Hook {
                hook,
                target,
                sleepable,
                verdict,
                ..
            } => {
                let loads = verdict == Verdict::Permitted;
                self.programs.insert(
                    Place {
                        hook,
                        target,
                        sleepable,
                    },
                    loads,
                );
            }
            Record::Call {
                hook,
                target,
                kfunc,
                sleepable,
                verdict,
                ..
            } => {
                let place = Place {
                    hook,
                    target,
                    sleepable,
                };
                self.calls.entry(kfunc).or_default().push((place, verdict));
            }
        }
    }

    /// Whether the verifier was asked anything.
    pub fn asked(&self) -> bool {
        !self.calls.is_empty()
    }

    /// How many questions it was asked.
    pub fn questions(&self) -> usize {
        self.calls.values().map(Vec::len).sum()
    }

    /// Whether a callback may call a kfunc, from a program that sleeps if it has to; `None` where
    /// the kernel gave no answer.
    pub fn cell(&self, struct_ops: &str, callback: &str, kfunc: &str) -> Option<bool> {
        self.any(kfunc, |place| {
            place.hook == struct_ops && place.target == callback
        })
    }

    /// Whether a program of this kind may call a kfunc.
    pub fn program(&self, kind: ProgramHooks, kfunc: &str) -> Option<bool> {
        self.any(kfunc, |place| kind_of(&place.hook) == Some(kind))
    }

    /// Whether the program of a callback may sleep.
    pub fn may_sleep(&self, struct_ops: &str, callback: &str) -> Option<bool> {
        let loads = |sleepable| {
            let place = Place {
                hook: struct_ops.to_owned(),
                target: callback.to_owned(),
                sleepable,
            };
            self.programs.get(&place).copied()
        };
        match (loads(false), loads(true)) {
            (_, Some(true)) => Some(true),
            // The member may be one that no program can be attached to in this build.
            (Some(true), Some(false)) => Some(false),
            _ => None,
        }
    }

    /// Whether a kfunc wants a program that may sleep.
    pub fn needs_sleepable(&self, kfunc: &str) -> Option<bool> {
        self.demand(kfunc, false, Verdict::NeedsSleepable)
    }

    /// Whether a kfunc wants an RCU read section around it.
    pub fn needs_rcu(&self, kfunc: &str) -> Option<bool> {
        // Up to 6.17 an iterator outside of one is only refused where it is used next.
        let iterator = |known: &KfuncType| known.name == kfunc && known.iterator.is_some();
        let wants = self.demand(kfunc, true, Verdict::NeedsRcu);
        wants.filter(|wants| *wants || !self.kfuncs.iter().any(iterator))
    }

    /// Whether no program that calls it loads, because this build lacks its true prototype.
    pub fn damaged(&self, kfunc: &str) -> bool {
        self.verdicts(kfunc)
            .any(|(_, verdict)| verdict == Verdict::ImplicitTwinMissing)
    }

    /// Whether some program may call it.
    pub fn permitted_somewhere(&self, kfunc: &str) -> bool {
        self.any(kfunc, |_| true) == Some(true)
    }

    /// Whether the verifier refuses some callback a kfunc that another may call: it checks
    /// contexts. `None` when it was not asked.
    pub fn checks_contexts(&self) -> Option<bool> {
        let ours = |place: &Place| SCHED_EXT.contains(&place.hook.as_str());
        let checked = self.calls.keys().any(|kfunc| {
            self.permitted_somewhere(kfunc)
                && self
                    .verdicts(kfunc)
                    .any(|(place, verdict)| ours(place) && verdict == Verdict::NotAllowed)
        });
        self.asked().then_some(checked)
    }

    fn verdicts(&self, kfunc: &str) -> impl Iterator<Item = (&Place, Verdict)> {
        let all = self.calls.get(kfunc).map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|(place, verdict)| (place, *verdict))
    }

    /// Permitted in one of these places, or refused in all that gave an answer.
    fn any(&self, kfunc: &str, here: impl Fn(&Place) -> bool) -> Option<bool> {
        let mut answer = None;
        for (_, verdict) in self.verdicts(kfunc).filter(|(place, _)| here(place)) {
            match verdict {
                Verdict::Permitted | Verdict::NeedsSleepable | Verdict::NeedsRcu => {
                    return Some(true);
                }
                Verdict::NotAllowed => answer = Some(false),
                _ => {}
            }
        }
        answer
    }

    /// Whether programs that sleep, or that do not, get this complaint past the permission check.
    fn demand(&self, kfunc: &str, sleepable: bool, complaint: Verdict) -> Option<bool> {
        let mut answer = None;
        for (_, verdict) in self
            .verdicts(kfunc)
            .filter(|(place, _)| place.sleepable == sleepable)
        {
            if verdict == complaint {
                return Some(true);
            }
            if verdict == Verdict::Permitted {
                answer = Some(false);
            }
        }
        answer
    }
}

/// The kind of program of the tables that one of the probe's hooks is.
fn kind_of(hook: &str) -> Option<ProgramHooks> {
    if SCHED_EXT.contains(&hook) {
        return Some(ProgramHooks::STRUCT_OPS);
    }
    match hooks::HOOKS.iter().find(|known| known.name == hook) {
        Some(known) => known.kind.and_then(ProgramHooks::named),
        // Whatever is no program type is a struct_ops type.
        None => Some(ProgramHooks::FOREIGN_STRUCT_OPS),
    }
}
