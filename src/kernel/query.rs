//! The questions that the analysis asks of a kernel.

use std::sync::Arc;

use super::Kernel;
use super::context::{ContextInfo, Contexts, ProgramHooks};
use super::format::Where;
use super::model::{
    Area, Callback, CallbackTaker, Form, Hazard, HazardOutcome, KconfigValue, Kfunc, LockedRq,
    NestingEdge, Permission, Presence, RcuEffect, RegionEffect, RegionKind, SourceNote, Status,
    StructOpsType, SymbolMatch,
};
use super::release::Release;
use super::types::{self, TypeData};
use crate::btf::core::{EnumAnswer, TargetTypes};
use crate::btf::prototype::{self, Prototype};
use crate::btf::{Btf, Type, TypeKind};

/// libbpf's virtual Kconfig value for the version of the running kernel.
const KERNEL_VERSION: &str = "LINUX_KERNEL_VERSION";

impl Kernel {
    /// The point release whose facts these are.
    pub fn exact_release(&self) -> Release {
        self.facts.exact
    }

    /// What to know before believing the rest: point releases assumed, facts not certain.
    pub fn notes(&self) -> &[String] {
        &self.facts.notes
    }

    /// A kfunc of the scheduler interface, if this kernel has it.
    pub fn kfunc(&self, name: &str) -> Option<&Kfunc> {
        self.facts.kfuncs.get(name)
    }

    /// Every kfunc of the scheduler interface, by name.
    pub fn kfuncs(&self) -> impl Iterator<Item = &Kfunc> {
        self.facts.kfuncs.values()
    }

    /// Whether this kernel has a kfunc of that name, whatever its prototype.
    pub fn kfunc_exists(&self, name: &str) -> Presence {
        if self
            .facts
            .uncertain_kfuncs
            .iter()
            .any(|uncertain| **uncertain == *name)
        {
            return Presence::Unknown;
        }
        if self.facts.kfuncs.contains_key(name) {
            return Presence::Present;
        }
        if let Some(btf) = self.facts.btf {
            return match btf.find(TypeKind::Func, name) {
                Some(_) => Presence::Present,
                None => Presence::Absent,
            };
        }
        let data = &self.facts.data;
        let listed = data
            .complete_prefixes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()));
        if listed || data.kfuncs.contains_key(name) {
            return Presence::Absent;
        }
        let others = self
            .type_data()
            .and_then(|types| types.other_kfuncs.get(name));
        types::configured(others, self.facts.point)
    }

    /// What libbpf finds when it looks a kfunc up, its prototype compared if both are known.
    pub fn kfunc_presence(&self, name: &str, local: Option<&Prototype>) -> SymbolMatch {
        match self.kfunc_exists(name) {
            Presence::Absent => return SymbolMatch::Absent,
            Presence::Unknown => return SymbolMatch::Unknown,
            Presence::Present => {}
        }
        match (local, self.kfunc_prototype(name)) {
            (Some(local), Some(kernel)) if !prototype::compatible(local, &kernel) => {
                SymbolMatch::PrototypeMismatch
            }
            _ => SymbolMatch::Present,
        }
    }

    /// The prototype libbpf compares a program's extern with, if it is known.
    pub fn kfunc_prototype(&self, name: &str) -> Option<Arc<Prototype>> {
        if let Some(btf) = self.facts.btf {
            return super::from_btf::prototype(btf, name).map(Arc::new);
        }
        self.kfunc(name)?.prototype.clone()
    }

    /// This kernel's own types, when it was read from its BTF.
    pub(crate) fn btf(&self) -> Option<&'static Btf<'static>> {
        self.facts.btf
    }

    /// Whether this kernel has a typed ksym variable.
    pub fn variable_presence(&self, name: &str) -> Presence {
        if let Some(btf) = self.facts.btf {
            return match btf.find(TypeKind::Var, name) {
                Some(_) => Presence::Present,
                None => Presence::Absent,
            };
        }
        let known = self.type_data().and_then(|types| types.variables.get(name));
        types::configured(known, self.facts.point)
    }

    /// The value of a `__kconfig` extern.
    pub fn kconfig(&self, name: &str) -> KconfigValue {
        if name == KERNEL_VERSION {
            return self.kernel_version();
        }
        let known = self.facts.data.kconfig.iter().find(|(range, entry)| {
            entry.name.get_ref() == name && range.holds(self.facts.point) == Some(true)
        });
        match known {
            Some((_, entry)) => match entry.value {
                Some(value) => KconfigValue::Known(value),
                None => KconfigValue::Absent,
            },
            None => KconfigValue::Unknown,
        }
    }

    /// `KERNEL_VERSION(a, b, c)` as include/linux/version.h makes it: the patch level has 8 bits
    /// and stops at 255.
    fn kernel_version(&self) -> KconfigValue {
        if !self.facts.release_known {
            return KconfigValue::Unknown;
        }
        let Release {
            major,
            minor,
            patch,
        } = self.release;
        let series = u64::from(major) << 16 | u64::from(minor) << 8;
        match patch {
            Some(patch) => KconfigValue::Known(series | u64::from(patch.min(255))),
            None => KconfigValue::Bits {
                value: series,
                mask: !0xff,
            },
        }
    }

    /// A struct_ops type this kernel has and the tables describe.
    pub fn struct_ops(&self, type_name: &str) -> Option<&StructOpsType> {
        self.facts
            .struct_ops
            .iter()
            .find(|known| *known.name == *type_name)
    }

    /// Every struct_ops type the tables describe for this kernel.
    pub fn struct_ops_types(&self) -> &[StructOpsType] {
        &self.facts.struct_ops
    }

    /// Whether this kernel has a struct_ops type: absent when the tables describe it for other
    /// kernels only, unknown when they do not describe it at all.
    pub fn struct_ops_presence(&self, type_name: &str) -> Presence {
        if self.struct_ops(type_name).is_some() {
            Presence::Present
        } else if self.facts.data.struct_ops.contains_key(type_name) {
            Presence::Absent
        } else {
            Presence::Unknown
        }
    }

    /// Whether the context of a callback is one a kfunc may be called from.
    pub fn permits(&self, callback: &Callback, kfunc: &Kfunc) -> bool {
        permits(callback.contexts, kfunc)
    }

    /// Whether something that runs as `contexts` may call a kfunc.
    pub fn permits_in(&self, contexts: Contexts, kfunc: &Kfunc) -> bool {
        permits(contexts, kfunc)
    }

    /// Whether a callback may call a kfunc, context and form considered.
    pub fn permission(&self, callback: &Callback, kfunc: &Kfunc) -> Permission {
        if kfunc.cpu_only && callback.form == Form::Cid {
            Permission::CpuOnly
        } else if permits(callback.contexts, kfunc) {
            Permission::Permitted
        } else {
            Permission::WrongContext
        }
    }

    /// The callbacks of a struct_ops type that may call a kfunc.
    pub fn callers<'k>(
        &'k self,
        struct_ops: &'k StructOpsType,
        kfunc: &'k Kfunc,
    ) -> impl Iterator<Item = &'k Callback> {
        struct_ops
            .callbacks
            .iter()
            .filter(move |callback| self.permission(callback, kfunc) == Permission::Permitted)
    }

    /// What is known to go wrong when a callback makes a call that passes the kernel's own check;
    /// the worst if there are several.
    pub fn hazard(&self, callback: &Callback, kfunc: &Kfunc) -> Option<&Hazard> {
        self.worst_hazard(kfunc, |hazard| {
            hazard.callbacks.contains(&callback.role)
                || match hazard.place {
                    Some(Where::NoTask) => !callback.records_task,
                    Some(Where::NoLockedRq) => callback.locked_rq == LockedRq::None,
                    Some(Where::Async) | None => false,
                }
        })
    }

    /// The same for an asynchronous callback.
    pub fn async_hazard(&self, kfunc: &Kfunc) -> Option<&Hazard> {
        self.worst_hazard(kfunc, |hazard| hazard.place.is_some())
    }

    fn worst_hazard(&self, kfunc: &Kfunc, applies: impl Fn(&Hazard) -> bool) -> Option<&Hazard> {
        self.facts
            .hazards
            .iter()
            .filter(|hazard| hazard.kfuncs.contains(&kfunc.name) && applies(hazard))
            .min_by_key(|hazard| match hazard.outcome {
                HazardOutcome::Hangs => 0,
                HazardOutcome::Killed => 1,
                HazardOutcome::Misbehaves => 2,
            })
    }

    /// Every hazard of this kernel.
    pub fn hazards(&self) -> &[Hazard] {
        &self.facts.hazards
    }

    /// What an asynchronous callback (timer, workqueue, task work) runs as.
    pub fn async_contexts(&self) -> Contexts {
        self.facts.async_contexts
    }

    /// Whether the verifier checks an asynchronous callback as part of the program that arms it.
    pub fn async_checked_as_armer(&self) -> bool {
        self.facts.async_checked_as_armer
    }

    /// What a program that is no callback runs as, where contexts are checked at run time.
    pub fn program_contexts(&self, kind: ProgramHooks) -> Contexts {
        self.facts
            .hook_contexts
            .iter()
            .filter(|(programs, _)| programs.contains(kind))
            .fold(Contexts::NONE, |all, (_, contexts)| all.union(*contexts))
    }

    /// Which kfuncs and callbacks make this kernel call back.
    pub fn nesting_edges(&self) -> &[NestingEdge] {
        &self.facts.nesting
    }

    /// Whether the verifier takes an asynchronous callback for sleepable when the program that arms
    /// it is, whatever runs it.
    pub fn async_sleeps_with_program(&self) -> bool {
        self.facts.async_sleeps_with_program
    }

    /// Whether a nested callback keeps the contexts of the one outside.
    pub fn nested_inherits(&self) -> bool {
        self.facts.nested_inherits
    }

    /// Whether the kernel requires the contexts of nested callbacks to increase.
    pub fn nested_increases(&self) -> bool {
        self.facts.nested_increases
    }

    /// Every context of this kernel, in the order of its value.
    pub fn mask_order(&self) -> &[ContextInfo] {
        &self.facts.contexts
    }

    /// The contexts whose kfuncs refuse to be called from a nested operation.
    pub fn nested_checks(&self) -> impl Iterator<Item = &ContextInfo> {
        self.facts
            .contexts
            .iter()
            .filter(|context| context.nested_error.is_some())
    }

    /// The kernel's value of a set of contexts: its `scx_kf_mask` or allow flags.
    pub fn context_value(&self, contexts: Contexts) -> u64 {
        self.facts
            .contexts
            .iter()
            .filter(|info| contexts.contains(info.context))
            .fold(0, |value, info| value | info.value)
    }

    /// The names of a set of contexts, in the order of the kernel's values.
    pub fn context_names(&self, contexts: Contexts) -> Vec<&str> {
        self.facts
            .contexts
            .iter()
            .filter(|info| contexts.contains(info.context))
            .map(|info| info.name.as_str())
            .collect()
    }

    /// The context of that name.
    pub fn context(&self, name: &str) -> Option<&ContextInfo> {
        self.facts.contexts.iter().find(|info| info.name == name)
    }

    /// What this kernel says when it refuses: `{kfunc}`, `{mask}` and `{allowed}` filled in.
    pub fn refusal(&self, kfunc: &Kfunc, contexts: Contexts) -> String {
        self.facts
            .refusal
            .replace("{kfunc}", &kfunc.name)
            .replace(
                "{mask}",
                &format!("{:#x}", self.context_value(kfunc.requires)),
            )
            .replace("{allowed}", &format!("{:#x}", self.context_value(contexts)))
    }

    /// What it says, with `{kfunc}`, `{mask}` and `{allowed}` still in it.
    pub fn refusal_pattern(&self) -> &str {
        &self.facts.refusal
    }

    /// The helpers and kfuncs that take a function.
    pub fn callback_takers(&self) -> &[CallbackTaker] {
        &self.facts.data.takers
    }

    /// The helper of that number, if it takes a function.
    pub fn helper_taker(&self, helper: u32) -> Option<&CallbackTaker> {
        self.facts
            .data
            .takers
            .iter()
            .find(|taker| taker.helper == Some(helper))
    }

    /// The kfunc of that name, if it takes a function.
    pub fn kfunc_taker(&self, name: &str) -> Option<&CallbackTaker> {
        self.facts
            .data
            .takers
            .iter()
            .find(|taker| taker.helper.is_none() && *taker.name == *name)
    }

    /// Whether a kfunc opens or closes a region the verifier tracks.
    pub fn region_effect(&self, kfunc: &str) -> Option<RegionEffect> {
        self.facts.data.regions.get(kfunc).copied()
    }

    /// Whether a kfunc opens or closes an RCU read section.
    pub fn rcu_effect(&self, kfunc: &str) -> Option<RcuEffect> {
        let effect = self.region_effect(kfunc)?;
        (effect.kind == RegionKind::Rcu).then_some(match effect.enters {
            true => RcuEffect::Lock,
            false => RcuEffect::Unlock,
        })
    }

    /// The name of a BPF helper.
    pub fn helper_name(&self, id: u32) -> Option<&str> {
        let helpers = &self.facts.data.helpers;
        let index = helpers
            .binary_search_by_key(&id, |(number, _)| *number)
            .ok()?;
        helpers.get(index).map(|(_, name)| &**name)
    }

    /// The value of a kernel constant whose enum is not named, as the `__SCX_*` variables of
    /// schedulers ask for it; the first known enum that has it.
    pub fn constant(&self, variant: &str) -> (Presence, Option<u64>) {
        if let Some(btf) = self.facts.btf {
            let value = btf.iter().find_map(|(_, found)| match found {
                Type::Enum(found) => found.values.iter().find(|value| value.name == variant),
                _ => None,
            });
            return match value {
                Some(value) => (Presence::Present, Some(value.value)),
                None => (Presence::Absent, None),
            };
        }
        let Some(types) = self.type_data() else {
            return (Presence::Unknown, None);
        };
        let mut answer = (Presence::Unknown, None);
        for found in types.enums.values() {
            let Some(history) = found.values.get(variant) else {
                continue;
            };
            match types::at(history, self.facts.point) {
                (Presence::Present, value) => return (Presence::Present, value.copied().flatten()),
                (presence, _) => answer = (presence, None),
            }
        }
        answer
    }

    /// Whether this kernel has an enum of that name.
    pub fn enum_exists(&self, name: &str) -> Presence {
        if let Some(btf) = self.facts.btf {
            return match btf.find(TypeKind::Enum, name) {
                Some(_) => Presence::Present,
                None => Presence::Absent,
            };
        }
        match self.type_data().and_then(|types| types.enums.get(name)) {
            Some(found) => types::presence(&found.range, self.facts.point),
            None => Presence::Unknown,
        }
    }

    /// The value of an enum's variant.
    pub fn enum_variant(&self, enum_name: &str, variant: &str) -> (Presence, Option<u64>) {
        if let Some(btf) = self.facts.btf {
            return match TargetTypes::enum_value(btf, enum_name, variant) {
                EnumAnswer::Absent => (Presence::Absent, None),
                EnumAnswer::Unknown => (Presence::Unknown, None),
                EnumAnswer::Present(value) => (Presence::Present, value),
            };
        }
        let Some(types) = self.type_data() else {
            return (Presence::Unknown, None);
        };
        let Some(found) = types.enums.get(enum_name) else {
            return (Presence::Unknown, None);
        };
        if found.range.holds(self.facts.point) == Some(false) {
            return (Presence::Absent, None);
        }
        match found.values.get(variant) {
            Some(history) => {
                let (presence, value) = types::at(history, self.facts.point);
                match presence {
                    Presence::Present => (presence, value.copied().flatten()),
                    _ => (presence, None),
                }
            }
            None if found.complete => (Presence::Absent, None),
            None => (Presence::Unknown, None),
        }
    }

    /// How a fact about this kernel is known.
    pub fn source(&self, area: Area, name: &str) -> SourceNote {
        if self.facts.btf.is_some()
            && matches!(
                area,
                Area::Prototypes | Area::Members | Area::Enums | Area::Types | Area::OtherKfuncs
            )
        {
            return SourceNote {
                text: format!("BTF of {}", self.label),
                status: Status::Read,
            };
        }
        self.facts.data.source(self.facts.exact, area, name)
    }

    /// What the compact line formats say.
    pub(crate) fn type_data(&self) -> Option<&TypeData> {
        types::of(&self.facts.data)
    }
}

fn permits(contexts: Contexts, kfunc: &Kfunc) -> bool {
    kfunc.requires.is_empty() || contexts.intersects(kfunc.requires)
}
