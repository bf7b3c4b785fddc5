//! Facts as timelines hold them: stated in part, completed by inheritance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::format::{CidOnly, Form, LockedRq, Status};
use super::model::Flag;
use super::timeline::Inherit;
use crate::btf::prototype::Prototype;

/// A note and where it comes from, when a fact has its own.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub source: Arc<str>,
    pub status: Status,
}

// `own` is left out everywhere: a source speaks of the period it stands in, not of later ones.
macro_rules! inherit {
    ($facts:ident { $($field:ident),* $(,)? }) => {
        impl Inherit for $facts {
            fn inherit(&mut self, earlier: &Self) {
                $(if self.$field.is_none() { self.$field = earlier.$field.clone(); })*
            }
        }
    };
}

/// A prototype as written and as libbpf compares it.
#[derive(Debug)]
pub(crate) struct KfuncPrototype {
    pub text: Arc<str>,
    pub shape: Arc<Prototype>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SetFacts {
    pub hooks: Option<Vec<Arc<str>>>,
    pub foreign: Option<bool>,
    pub extension: Option<bool>,
    pub allow: Option<Vec<Arc<str>>>,
}

inherit!(SetFacts {
    hooks,
    foreign,
    extension,
    allow
});

#[derive(Debug, Clone, Default)]
pub(crate) struct KfuncFacts {
    pub sets: Option<Vec<Arc<str>>>,
    pub mask: Option<Vec<Arc<str>>>,
    pub requires: Option<Vec<Arc<str>>>,
    pub flags: Option<Vec<Flag>>,
    pub prototype: Option<Arc<KfuncPrototype>>,
    pub cpu_only: Option<bool>,
    pub own_task: Option<bool>,
    pub locked_rq: Option<bool>,
    pub damaged: Option<bool>,
    pub deprecated: Option<Arc<str>>,
    pub replaced_by: Option<Vec<Arc<str>>>,
    pub note: Option<Arc<str>>,
    pub own: Option<Own>,
}

inherit!(KfuncFacts {
    sets,
    mask,
    requires,
    flags,
    prototype,
    cpu_only,
    own_task,
    locked_rq,
    damaged,
    deprecated,
    replaced_by,
    note,
});

#[derive(Debug, Clone, Default)]
pub(crate) struct StructOpsFacts {
    pub form: Option<Form>,
    pub like: Option<Arc<str>>,
    pub without: Option<Vec<Arc<str>>>,
    pub rename: Option<BTreeMap<Arc<str>, Arc<str>>>,
    pub prototype: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

inherit!(StructOpsFacts {
    form,
    like,
    without,
    rename,
    prototype
});

#[derive(Debug, Clone, Default)]
pub(crate) struct CallbackFacts {
    pub types: Option<Vec<Arc<str>>>,
    pub contexts: Option<Vec<Arc<str>>>,
    pub sleepable: Option<bool>,
    pub records_task: Option<bool>,
    pub ends_anyway: Option<bool>,
    pub locked_rq: Option<LockedRq>,
    pub cid_only: Option<CidOnly>,
    pub deprecated: Option<Arc<str>>,
    pub prototype: Option<Arc<str>>,
    pub called_from: Option<Vec<Arc<str>>>,
    pub note: Option<Arc<str>>,
    pub own: Option<Own>,
}

inherit!(CallbackFacts {
    types,
    contexts,
    sleepable,
    records_task,
    ends_anyway,
    locked_rq,
    cid_only,
    deprecated,
    prototype,
    called_from,
    note,
});
