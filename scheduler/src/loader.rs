//! Opens, prepares, gates, loads and attaches the BPF half.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libbpf_rs::btf::types::MemberAttr;
use libbpf_rs::btf::{Btf, ReferencesType, types};
use libbpf_rs::{
    AsRawLibbpf, Link, MapCore, MapFlags, Object, ObjectBuilder, OpenObject, PrintLevel,
    ProgramInput, set_print,
};
use scx_lint::profile::{LoadProfile, MemberPath};
use thiserror::Error;

use crate::gate::{self, GateError, GateMode};
use crate::intf::{COMM_LEN, Counters, Depths, ExitRecord, LEVELS, RuleEffect};
use crate::kernel::{self, KernelError, KernelTypes, Topology};
use crate::policy::ExecPriority;

/// The BPF object this crate was built with.
pub static OBJECT: &[u8] = include_bytes!(env!("SCX_TIERS_OBJECT"));

const OPS_TYPE: &str = "sched_ext_ops";
/// The program that stands in for `cpu_release` where that is deprecated.
const SWITCH_PROGRAM: &str = "tiers_sched_switch";
/// SYSCALL programs: queue depths, CPUs without work, an idle CPU for a task.
const DEPTHS_PROGRAM: &str = "queue_depths";
/// See [`DEPTHS_PROGRAM`].
pub(crate) const FREE_PROGRAM: &str = "free_cpus";
/// See [`DEPTHS_PROGRAM`].
pub(crate) const PICK_PROGRAM: &str = "pick_cpu";

/// Which scheduler to run: one struct_ops map each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One global queue.
    Fifo,
    /// Priority levels.
    Throughput,
    /// Earliest deadline first.
    Deadline,
    /// Decisions from user space.
    User,
}

impl Mode {
    fn ops_map(self) -> &'static str {
        match self {
            Self::Fifo => "fifo_ops",
            Self::Throughput => "throughput_ops",
            Self::Deadline => "deadline_ops",
            Self::User => "user_ops",
        }
    }
}

/// Whom an explicit rule is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RuleFor {
    /// Tasks of this name.
    Comm(String),
    /// Tasks of this process.
    Tgid(i32),
}

/// An explicit rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is for.
    pub target: RuleFor,
    /// What it says.
    pub effect: RuleEffect,
}

/// What to load and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The scheduler.
    pub mode: Mode,
    /// The slice every task gets.
    pub slice: Duration,
    /// Take levels from cgroup weights instead of nice values.
    pub level_from_cgroup: bool,
    /// Explicit rules, which win over both.
    pub rules: Vec<Rule>,
    /// Relative deadlines by level.
    pub level_deadlines: [Duration; LEVELS],
    /// How long user space may take for a round of decisions.
    pub stall: Duration,
    /// Schedule only tasks of the SCHED_EXT class.
    pub partial: bool,
    /// What to do with the linter's findings.
    pub gate: GateMode,
    /// Another object instead of the built-in one.
    pub object: Option<PathBuf>,
}

impl Options {
    /// The defaults for a mode.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            slice: Duration::from_millis(20),
            level_from_cgroup: false,
            rules: Vec::new(),
            level_deadlines: [Duration::ZERO; LEVELS],
            stall: Duration::from_millis(500),
            partial: false,
            gate: GateMode::On,
            object: None,
        }
    }
}

/// Why the scheduler did not start, or stopped without a word.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel or its state.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The linter said no.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The object file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The object is not the one this loader knows.
    #[error("the BPF object has no {0}")]
    Missing(String),
    /// libbpf or the kernel refused.
    #[error("cannot {doing}: {source}{}", said(.log))]
    Libbpf {
        /// The step that failed.
        doing: &'static str,
        /// libbpf's error.
        source: libbpf_rs::Error,
        /// What libbpf and the verifier printed.
        log: String,
    },
    /// A record of the BPF half has another layout than this loader's.
    #[error("the BPF object's `{0}` records have an unknown layout")]
    Layout(&'static str),
}

/// The end of the log: a verifier's last lines say why.
fn said(log: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    lines
        .get(from..)
        .unwrap_or_default()
        .iter()
        .map(|line| format!("\n{line}"))
        .collect()
}

/// What libbpf printed since the last step began. libbpf bounds a verifier's
/// log at 16 MiB, and a step loads each program once.
static LOG: Mutex<String> = Mutex::new(String::new());

fn keep_log(_level: PrintLevel, text: String) {
    if let Ok(mut log) = LOG.lock() {
        log.push_str(&text);
    }
}

/// Runs one step against libbpf; its output belongs to the error.
fn step<T>(
    doing: &'static str,
    run: impl FnOnce() -> libbpf_rs::Result<T>,
) -> Result<T, LoadError> {
    if let Ok(mut log) = LOG.lock() {
        log.clear();
    }
    run().map_err(|source| LoadError::Libbpf {
        doing,
        source,
        log: LOG.lock().map(|log| log.clone()).unwrap_or_default(),
    })
}

/// A setting's place in `.rodata`; `width` is an element's of an array.
struct Place {
    offset: usize,
    size: usize,
    width: usize,
}

/// Where the object keeps what the loader sets before loading.
struct Layout {
    /// Settings in `.rodata`.
    settings: HashMap<String, Place>,
    /// Members of the object's `struct sched_ext_ops`: offsets.
    ops: HashMap<String, usize>,
}

impl Layout {
    fn of(object: &OpenObject) -> Result<Self, LoadError> {
        // SAFETY: the pointer is that of an open object and lives as long.
        let raw = unsafe { object.as_libbpf_object().as_ref() };
        let btf = step("read the object's types", || Btf::from_bpf_object(raw))?
            .ok_or_else(|| LoadError::Missing("type information".into()))?;
        let rodata: types::DataSec<'_> = btf
            .type_by_name(".rodata")
            .ok_or_else(|| LoadError::Missing("settings (.rodata)".into()))?;
        let settings = rodata
            .iter()
            .filter_map(|variable| setting(&btf, &variable))
            .collect();
        let ops: types::Struct<'_> = btf
            .type_by_name(OPS_TYPE)
            .ok_or_else(|| LoadError::Missing(format!("struct {OPS_TYPE}")))?;
        let ops = ops
            .iter()
            .filter_map(|member| match member.attr {
                MemberAttr::Normal { offset } => Some((
                    member.name?.to_string_lossy().into_owned(),
                    offset as usize / 8,
                )),
                MemberAttr::BitField { .. } => None,
            })
            .collect();
        Ok(Self { settings, ops })
    }

    /// Whether a callback belongs to this mode, by its name's first part;
    /// `tiers_` callbacks belong to all.
    fn of_mode(&self, program: &str, mode: Mode) -> bool {
        let owner = program.split('_').next().unwrap_or_default();
        mode.ops_map().strip_suffix("_ops") == Some(owner) || owner == "tiers"
    }
}

fn setting(btf: &Btf<'_>, variable: &types::VarSecInfo) -> Option<(String, Place)> {
    let var: types::Var<'_> = btf.type_by_id(variable.ty)?;
    let name = var.name()?.to_string_lossy().into_owned();
    let elements = types::Array::try_from(var.referenced_type().skip_mods_and_typedefs())
        .map_or(1, |array| array.capacity().max(1));
    Some((
        name,
        Place {
            offset: variable.offset as usize,
            size: variable.size,
            width: variable.size / elements,
        },
    ))
}

/// A scheduler that is loaded and enabled; dropping it disables it.
pub struct Scheduler {
    object: Object,
    link: Option<Link>,
    switch: Option<Link>,
    topology: Topology,
    has_queues: bool,
}

impl Scheduler {
    /// Checks the machine, runs the gate, loads and enables.
    ///
    /// # Errors
    /// What stood in the way, as [`LoadError`]; nothing is left loaded then.
    pub fn start(options: &Options) -> Result<Self, LoadError> {
        set_print(Some((PrintLevel::Warn, keep_log)));
        kernel::check()?;
        let bytes = match &options.object {
            None => OBJECT.to_vec(),
            Some(path) => std::fs::read(path).map_err(|source| LoadError::Read {
                path: path.clone(),
                source,
            })?,
        };
        let kernel = KernelTypes::of_running_kernel()?;
        let topology = Topology::of_machine()?;
        let mut open = step("open the BPF object", || {
            ObjectBuilder::default()
                .name("scx_tiers")?
                .open_memory(&bytes)
        })?;
        let layout = Layout::of(&open)?;
        let plan = Plan::new(&open, &layout, options, &kernel, &topology)?;
        let name = options
            .object
            .as_deref()
            .unwrap_or(Path::new("scx_tiers.bpf.o"));
        gate::check(
            &name.display().to_string(),
            &bytes,
            &plan.profile(options.mode),
            options.gate,
        )?;
        plan.apply(&mut open, &layout, options.mode)?;
        let mut object = step("load the BPF object", || open.load())?;
        for rule in &options.rules {
            install(&object, rule)?;
        }
        let switch = attach_switch(&object, &kernel)?;
        let link = attach(&mut object, options.mode)?;
        Ok(Self {
            object,
            link: Some(link),
            switch,
            topology,
            has_queues: kernel.has_queues,
        })
    }

    /// The machine it runs on.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let map = self.map("counters")?;
        let per_cpu = step("read the counters", || {
            map.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
        })?;
        let mut sum = Counters::default();
        for cpu in per_cpu.iter().flatten() {
            sum.add(&Counters::from_bytes(cpu).ok_or(LoadError::Layout("counters"))?);
        }
        Ok(sum)
    }

    /// How many tasks wait in its queues.
    ///
    /// # Errors
    /// When the kernel refuses to run the program that counts.
    pub fn depths(&self) -> Result<Depths, LoadError> {
        let mut bytes = [0; Depths::SIZE];
        if !self.has_queues {
            return Ok(Depths::default());
        }
        self.run(DEPTHS_PROGRAM, Some(&mut bytes))?;
        Depths::from_bytes(&bytes).ok_or(LoadError::Layout("depths"))
    }

    /// The kernel's word on how it ended; kind 0 while it runs.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn exit_record(&self) -> Result<ExitRecord, LoadError> {
        let map = self.map("exit_records")?;
        let bytes = step("read the exit record", || {
            map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
        })?;
        ExitRecord::from_bytes(&bytes.unwrap_or_default()).ok_or(LoadError::Layout("exit_records"))
    }

    /// Whether the kernel has ended it.
    pub fn exited(&self) -> bool {
        self.exit_record().is_ok_and(|record| record.kind != 0)
            || kernel::state().is_ok_and(|state| state == "disabled")
    }

    /// Disables it and returns what the kernel says.
    ///
    /// # Errors
    /// When the kernel's record cannot be read.
    pub fn stop(mut self) -> Result<ExitRecord, LoadError> {
        self.switch = None;
        self.link = None;
        // The kernel disables the scheduler in its own thread.
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let record = self.exit_record()?;
            if record.kind != 0 || Instant::now() >= patience {
                return Ok(record);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, LoadError> {
        self.object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| LoadError::Missing(format!("map `{name}`")))
    }

    /// Runs one of the object's SYSCALL programs.
    pub(crate) fn run(
        &self,
        name: &'static str,
        context: Option<&mut [u8]>,
    ) -> Result<i32, LoadError> {
        let program = self
            .object
            .progs_mut()
            .find(|program| program.name() == name)
            .ok_or_else(|| LoadError::Missing(format!("program `{name}`")))?;
        let output = step("run a program of the scheduler", || {
            program.test_run(ProgramInput {
                context_in: context,
                ..ProgramInput::default()
            })
        })?;
        Ok(output.return_value as i32)
    }
}

/// Everything that is decided before the verifier runs. The gate is told the
/// same before it is done.
struct Plan {
    /// Settings: name, index in an array, value.
    settings: Vec<(String, usize, u64)>,
    /// Ops members to write: 0 clears a callback.
    members: Vec<(String, u64)>,
    /// Programs that are not loaded.
    unused: Vec<String>,
}

impl Plan {
    fn new(
        open: &OpenObject,
        layout: &Layout,
        options: &Options,
        kernel: &KernelTypes,
        topology: &Topology,
    ) -> Result<Self, LoadError> {
        if !kernel.has_queues && options.mode != Mode::Fifo {
            return Err(KernelError::NoQueues.into());
        }
        let mut plan = Self {
            settings: settings(layout, options, kernel, topology),
            members: members(layout, options, kernel),
            unused: Vec::new(),
        };
        for program in open.progs() {
            let name = program.name().to_string_lossy().into_owned();
            let used = match name.as_str() {
                SWITCH_PROGRAM => kernel.reenqueues_from_anywhere,
                DEPTHS_PROGRAM => kernel.has_queues,
                FREE_PROGRAM | PICK_PROGRAM => options.mode == Mode::User,
                // The rest is callbacks; libbpf leaves out what no map needs.
                _ => layout.of_mode(&name, options.mode),
            };
            if !used {
                plan.unused.push(name);
            }
        }
        Ok(plan)
    }

    /// The plan as the linter's load profile.
    fn profile(&self, mode: Mode) -> LoadProfile {
        LoadProfile {
            set: self
                .settings
                .iter()
                .filter(|(_, index, _)| *index == 0)
                .map(|(name, _, value)| (name.clone(), i128::from(*value)))
                .collect(),
            no_autoload: self.unused.clone(),
            null: self
                .members
                .iter()
                .filter(|(_, value)| *value == 0)
                .map(|(member, _)| MemberPath {
                    map: mode.ops_map().to_owned(),
                    member: member.clone(),
                })
                .collect(),
        }
    }

    fn apply(&self, open: &mut OpenObject, layout: &Layout, mode: Mode) -> Result<(), LoadError> {
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            let struct_ops = map.map_type() == libbpf_rs::MapType::StructOps;
            if struct_ops && name != mode.ops_map() {
                step("leave out the other modes", || map.set_autocreate(false))?;
                continue;
            }
            if !struct_ops && !name.ends_with(".rodata") {
                continue;
            }
            let bytes = map
                .initial_value_mut()
                .ok_or_else(|| LoadError::Missing(format!("content in map `{name}`")))?;
            if struct_ops {
                for (member, value) in &self.members {
                    write(bytes, layout.ops.get(member).copied(), 8, *value)
                        .ok_or_else(|| LoadError::Missing(format!("ops member `{member}`")))?;
                }
            } else {
                for (name, index, value) in &self.settings {
                    layout
                        .settings
                        .get(name)
                        .and_then(|place| {
                            let offset = place.offset + index * place.width;
                            let inside = (index + 1) * place.width <= place.size;
                            write(bytes, inside.then_some(offset), place.width, *value)
                        })
                        .ok_or_else(|| LoadError::Missing(format!("setting `{name}`")))?;
                }
            }
        }
        for mut program in open.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            if name == SWITCH_PROGRAM || self.unused.contains(&name) {
                program.set_autoload(!self.unused.contains(&name));
            }
        }
        Ok(())
    }
}

/// Writes the low `width` bytes of a value; `None` when they do not fit.
fn write(bytes: &mut [u8], offset: Option<usize>, width: usize, value: u64) -> Option<()> {
    let offset = offset?;
    let value = if cfg!(target_endian = "big") {
        value.to_be_bytes().get(8 - width..)?.to_vec()
    } else {
        value.to_le_bytes().get(..width)?.to_vec()
    };
    bytes
        .get_mut(offset..offset.checked_add(width)?)?
        .copy_from_slice(&value);
    Some(())
}

fn settings(
    layout: &Layout,
    options: &Options,
    kernel: &KernelTypes,
    topology: &Topology,
) -> Vec<(String, usize, u64)> {
    let one = |name: &str, value: u64| (name.to_owned(), 0, value);
    let mut settings = vec![
        one("nr_cpus", topology.nr_cpus() as u64),
        one("nr_online_cpus", topology.online.len() as u64),
        one("nr_llcs", u64::from(topology.nr_llcs())),
        one("slice_ns", nanos(options.slice)),
        one("stall_ns", nanos(options.stall)),
        one("level_from_cgroup", options.level_from_cgroup.into()),
        one("have_rules", (!options.rules.is_empty()).into()),
    ];
    if options.mode == Mode::User {
        settings.push(one("user_tgid", std::process::id().into()));
    }
    for (cpu, llc) in topology.llc_of_cpu.iter().enumerate() {
        settings.push(("cpu_llc".to_owned(), cpu, u64::from(*llc)));
    }
    for cpu in &topology.online {
        settings.push(("cpu_online".to_owned(), *cpu, 1));
    }
    for (level, deadline) in options.level_deadlines.iter().enumerate() {
        settings.push(("level_deadline_ns".to_owned(), level, nanos(*deadline)));
    }
    // `const volatile u64 __SCX_NAME` is the kernel's enumerator SCX_NAME; 0
    // where the kernel has none.
    for name in layout.settings.keys() {
        if let Some(enumerator) = name
            .strip_prefix("__")
            .filter(|name| name.starts_with("SCX_"))
        {
            settings.push(one(name, kernel.enumerator(enumerator).unwrap_or(0)));
        }
    }
    settings
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Fields of the ops, and callbacks this kernel has not or no longer wants.
fn members(layout: &Layout, options: &Options, kernel: &KernelTypes) -> Vec<(String, u64)> {
    let mut members = Vec::new();
    for member in layout.ops.keys() {
        let deprecated = member == "cpu_release" && kernel.reenqueues_from_anywhere;
        if deprecated || !kernel.has_ops_member(member) {
            members.push((member.clone(), 0));
        }
    }
    if let Some(seq) = kernel::hotplug_seq() {
        members.push(("hotplug_seq".to_owned(), seq));
    }
    let partial = kernel.enumerator("SCX_OPS_SWITCH_PARTIAL").unwrap_or(0);
    let last = kernel.enumerator("SCX_OPS_ENQ_LAST").unwrap_or(0);
    let flags = (if options.partial { partial } else { 0 })
        | (if options.mode == Mode::User { last } else { 0 });
    if flags != 0 {
        members.push(("flags".to_owned(), flags));
    }
    members
}

fn install(object: &Object, rule: &Rule) -> Result<(), LoadError> {
    let (name, key) = match &rule.target {
        RuleFor::Comm(comm) => {
            let mut key = [0; COMM_LEN];
            // The kernel cuts names the same way.
            for (to, from) in key.iter_mut().zip(comm.bytes().take(COMM_LEN - 1)) {
                *to = from;
            }
            ("comm_rules", key.to_vec())
        }
        RuleFor::Tgid(tgid) => ("tgid_rules", tgid.to_ne_bytes().to_vec()),
    };
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or_else(|| LoadError::Missing(format!("map `{name}`")))?;
    step("install a rule", || {
        map.update(&key, &rule.effect.to_bytes(), MapFlags::ANY)
    })
}

fn attach_switch(object: &Object, kernel: &KernelTypes) -> Result<Option<Link>, LoadError> {
    if !kernel.reenqueues_from_anywhere {
        return Ok(None);
    }
    let Some(program) = object
        .progs_mut()
        .find(|program| program.name() == SWITCH_PROGRAM)
    else {
        return Ok(None);
    };
    step("watch for higher scheduling classes", || {
        program.attach_trace()
    })
    .map(Some)
}

fn attach(object: &mut Object, mode: Mode) -> Result<Link, LoadError> {
    let mut map = object
        .maps_mut()
        .find(|map| map.name() == mode.ops_map())
        .ok_or_else(|| LoadError::Missing(format!("struct_ops map `{}`", mode.ops_map())))?;
    step("enable the scheduler", || map.attach_struct_ops())
}

/// The level of that name, in any case.
pub fn level_named(name: &str) -> Option<ExecPriority> {
    match name.to_ascii_lowercase().as_str() {
        "low" => Some(ExecPriority::Low),
        "normal" => Some(ExecPriority::Normal),
        "high" => Some(ExecPriority::High),
        "critical" => Some(ExecPriority::Critical),
        _ => None,
    }
}
