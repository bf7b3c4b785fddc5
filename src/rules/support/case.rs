//! What a rule is given: one object on one kernel, with everything its programs reach there.

use crate::btf::prototype::{Prototype, compatible};
use crate::cfg::{InputId, InputTable, KfuncCall, Known, Reach, Site, kfunc_match};
use crate::kernel::{
    Callback, Kernel, Kfunc, Presence, ProgramHooks, StructOpsType, SymbolMatch, Tables,
};
use crate::object::{
    Extern, FunctionId, Object, Program, ProgramKind, StructOpsMap, StructOpsMember,
};
use crate::report::{ChainLink, Diagnostic, Level, Outcome};

use super::{conditions, evidence};

/// What a function reaches, as a program, if one constant of the object is another than it is.
pub type Supposing<'a> = &'a (dyn Fn(FunctionId, InputId, Known) -> Option<Reach> + 'a);

/// One object on one kernel.
pub struct Case<'a> {
    /// What a function would reach if one constant were another.
    pub supposing: Supposing<'a>,
    /// The numbering of the object's constants.
    pub table: &'a InputTable,
    /// The object.
    pub object: &'a Object<'a>,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// All kernels, for what a message says of the others.
    pub tables: &'a Tables,
    /// The programs that may be loaded, with what they reach.
    pub programs: Vec<ProgramCase<'a>>,
    /// Which `struct_ops` maps are created, by index.
    pub created: Vec<bool>,
    /// Members that user space sets to null, as (map, member) indices.
    pub nulled: Vec<(usize, usize)>,
}

/// One program of a [`Case`].
#[derive(Debug)]
pub struct ProgramCase<'a> {
    /// Index in [`Object::programs`].
    pub index: usize,
    /// The program.
    pub program: &'a Program<'a>,
    /// Where it runs.
    pub host: Host<'a>,
    /// What it reaches; none when it could not be explored at all.
    pub reach: Option<Reach>,
    /// Whether a loader loads it unless told otherwise.
    pub loaded: bool,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy)]
pub enum Host<'a> {
    /// A callback of a struct_ops type that the tables describe.
    Callback {
        /// The map.
        map: &'a StructOpsMap<'a>,
        /// Its type on this kernel.
        ops: &'a StructOpsType,
        /// The callback on this kernel; none where the kernel lacks the member.
        callback: Option<&'a Callback>,
        /// Member name.
        member: &'a str,
    },
    /// A callback of a type the tables describe, on a kernel that lacks the type.
    MissingType {
        /// The map.
        map: &'a StructOpsMap<'a>,
        /// Member name.
        member: &'a str,
    },
    /// A callback of any other struct_ops type.
    ForeignStructOps {
        /// The map.
        map: &'a StructOpsMap<'a>,
        /// Member name.
        member: &'a str,
    },
    /// A program of another type, or a struct_ops program that nothing names.
    Other(ProgramKind),
}

impl<'a> Host<'a> {
    /// Where `program` runs on `kernel`, by the first member that names it.
    pub fn of(object: &'a Object<'a>, program: &Program<'_>, kernel: &'a Kernel) -> Self {
        let place = program.attached.first().and_then(|(map, member)| {
            let map = object.struct_ops.get(*map)?;
            Some((map, map.members.get(*member)?.name))
        });
        let Some((map, member)) = place else {
            return Self::Other(program.kind);
        };
        let type_name = map.essential_type_name();
        match kernel.struct_ops(type_name) {
            Some(ops) => Self::Callback {
                map,
                ops,
                callback: ops.callback(member),
                member,
            },
            None if kernel.struct_ops_presence(type_name) == Presence::Absent => {
                Self::MissingType { map, member }
            }
            None => Self::ForeignStructOps { map, member },
        }
    }

    /// The registration hook the kernel looks a kfunc up under; none for program types
    /// no scheduler kfunc is registered for.
    pub fn hook(&self) -> Option<ProgramHooks> {
        Some(match self {
            Self::Callback { .. } | Self::MissingType { .. } => ProgramHooks::STRUCT_OPS,
            Self::ForeignStructOps { .. } => ProgramHooks::FOREIGN_STRUCT_OPS,
            Self::Other(kind) => match kind {
                ProgramKind::StructOps => ProgramHooks::STRUCT_OPS,
                ProgramKind::Syscall => ProgramHooks::SYSCALL,
                ProgramKind::Tracing => ProgramHooks::TRACING,
                ProgramKind::Tracepoint => ProgramHooks::TRACEPOINT,
                ProgramKind::RawTracepoint => ProgramHooks::RAW_TRACEPOINT,
                ProgramKind::PerfEvent => ProgramHooks::PERF_EVENT,
                ProgramKind::Lsm => ProgramHooks::LSM,
                ProgramKind::Kprobe => ProgramHooks::KPROBE,
                ProgramKind::Extension => ProgramHooks::EXTENSION,
                ProgramKind::Other | ProgramKind::Unknown => return None,
            },
        })
    }
}

/// A kfunc call as a rule sees it: the extern, and the kfunc where the kernel has it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The reached call.
    pub call: &'a KfuncCall,
    /// The extern.
    pub symbol: &'a Extern<'a>,
    /// How it resolves.
    pub resolves: SymbolMatch,
    /// The kernel's kfunc, when it has one that the tables describe.
    pub kfunc: Option<&'a Kfunc>,
}

impl<'a> Case<'a> {
    /// The kfunc calls a program reaches.
    pub fn calls<'c>(&'c self, program: &'c ProgramCase<'a>) -> Vec<Call<'c>> {
        let calls = program.reach.iter().flat_map(|reach| &reach.calls);
        calls
            .filter_map(|call| {
                let symbol = self.object.externs.get(call.callee.0 as usize)?;
                let resolves = kfunc_match(self.object, self.kernel, call.callee);
                let kfunc = match resolves {
                    SymbolMatch::Present => self.kernel.kfunc(symbol.essential_name),
                    _ => None,
                };
                Some(Call {
                    call,
                    symbol,
                    resolves,
                    kfunc,
                })
            })
            .collect()
    }

    /// Whether an extern would do if this kernel's types did not keep the implicit arguments of the
    /// kfunc, or was declared with them: either way no call of it loads.
    pub fn kept_arguments(&self, symbol: &Extern<'_>) -> bool {
        let Some(kfunc) = self
            .kernel
            .kfunc(symbol.essential_name)
            .filter(|kfunc| kfunc.damaged)
        else {
            return false;
        };
        let local = self.object.kfunc_prototype(symbol);
        let (Some(local), Some(here)) = (local, &kfunc.prototype) else {
            return true;
        };
        let visible = here
            .params
            .get(..local.params.len())
            .unwrap_or_default()
            .to_vec();
        compatible(
            &local,
            &Prototype {
                ret: here.ret.clone(),
                params: visible,
            },
        )
    }

    /// A finding about `program`, filled with where it is attached; the rule adds the rest.
    pub fn diagnostic(
        &self,
        rule: &str,
        program: &ProgramCase<'_>,
        outcome: Outcome,
        message: impl Into<String>,
    ) -> Diagnostic {
        let mut diagnostic = self.object_diagnostic(rule, outcome, message);
        diagnostic.program = Some(program.program.name.to_owned());
        if let Host::Callback { map, member, .. }
        | Host::MissingType { map, member }
        | Host::ForeignStructOps { map, member } = program.host
        {
            diagnostic.struct_ops = Some(map.essential_type_name().to_owned());
            diagnostic.callback = Some(member.to_owned());
        }
        if !program.loaded {
            diagnostic.level = Level::Warning;
            diagnostic.notes.push(format!(
                "`{}` is not loaded unless user space asks for it",
                program.program.name
            ));
        }
        diagnostic
    }

    /// A finding about the object as a whole.
    pub fn object_diagnostic(
        &self,
        rule: &str,
        outcome: Outcome,
        message: impl Into<String>,
    ) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(rule, Level::Error, message);
        diagnostic.object = self.object.path.clone();
        diagnostic.kernels = vec![self.kernel.label.clone()];
        diagnostic.outcome = outcome;
        diagnostic
    }

    /// A finding at a kfunc call, with the call chain that leads there.
    pub fn at_call(
        &self,
        rule: &str,
        program: &ProgramCase<'_>,
        call: &Call<'_>,
        outcome: Outcome,
        message: impl Into<String>,
    ) -> Diagnostic {
        let mut diagnostic = self.diagnostic(rule, program, outcome, message);
        diagnostic.kfunc = Some(call.symbol.essential_name.to_owned());
        self.place(&mut diagnostic, program, call.call.site);
        diagnostic.chain.push(ChainLink {
            kind: crate::report::ChainKind::Kfunc,
            name: call.symbol.essential_name.to_owned(),
            location: diagnostic.location.clone(),
        });
        diagnostic
    }

    /// Fills in location and chain of a site.
    pub fn place(&self, diagnostic: &mut Diagnostic, program: &ProgramCase<'_>, site: Site) {
        if let Some(reach) = &program.reach {
            diagnostic.location = evidence::location(self.object, reach, site);
            diagnostic.chain = evidence::chain(self.object, program, reach, site);
            diagnostic
                .notes
                .extend(conditions::of(self, program, reach, site));
        }
    }

    /// Members that are set in a created map, with the map.
    pub fn set_members(
        &self,
    ) -> impl Iterator<Item = (&'a StructOpsMap<'a>, &'a StructOpsMember<'a>)> {
        let object = self.object;
        object
            .struct_ops
            .iter()
            .enumerate()
            .filter(|(index, _)| self.created.get(*index) == Some(&true))
            .flat_map(move |(index, map)| {
                map.members
                    .iter()
                    .enumerate()
                    .filter(move |(member, _)| !self.nulled.contains(&(index, *member)))
                    .map(move |(_, member)| (map, member))
            })
    }
}

/// A finding and what it counts for.
#[derive(Debug)]
pub struct Finding {
    /// The finding.
    pub diagnostic: Diagnostic,
    /// The program whose own outcome it decides; none for the object as a whole.
    pub program: Option<usize>,
    /// Whether it is printed, or only follows from one that is.
    pub shown: bool,
}

/// Where rules put what they find.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the order found.
    pub all: Vec<Finding>,
}

impl Findings {
    /// A finding that decides a program's outcome.
    pub fn program(&mut self, program: &ProgramCase<'_>, diagnostic: Diagnostic) {
        self.all.push(Finding {
            diagnostic,
            program: Some(program.index),
            shown: true,
        });
    }

    /// A finding that decides the object's outcome.
    pub fn object(&mut self, diagnostic: Diagnostic) {
        self.all.push(Finding {
            diagnostic,
            program: None,
            shown: true,
        });
    }

    /// Decides the object's outcome because of something that is reported elsewhere.
    pub fn implied(&mut self, diagnostic: Diagnostic) {
        self.all.push(Finding {
            diagnostic,
            program: None,
            shown: false,
        });
    }

    /// Decides a program's outcome because of something that is reported elsewhere.
    pub fn implied_program(&mut self, program: &ProgramCase<'_>, diagnostic: Diagnostic) {
        self.all.push(Finding {
            diagnostic,
            program: Some(program.index),
            shown: false,
        });
    }
}
