//! The program types besides the scheduler's own that are asked about.

/// What a program of this type has to be attached to.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Nothing.
    None,
    /// A function of the kernel: the first of these that does.
    Function(&'static [&'static str]),
    /// A tracepoint's typedef: the first of these that does.
    Typedef(&'static [&'static str]),
}

/// A program type.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// What we call it.
    pub name: &'static str,
    /// `enum bpf_prog_type`
    pub program_type: u32,
    /// `enum bpf_attach_type`
    pub attach_type: u32,
    /// What it needs.
    pub target: Target,
    /// What `rules/` calls programs of its kind, if it does.
    pub kind: Option<&'static str>,
}

/// `BPF_PROG_TYPE_STRUCT_OPS`
pub const STRUCT_OPS: u32 = 27;

const fn plain(name: &'static str, program_type: u32, attach_type: u32) -> Hook {
    Hook {
        name,
        program_type,
        attach_type,
        target: Target::None,
        kind: None,
    }
}

impl Hook {
    const fn kind(self, kind: &'static str) -> Hook {
        Hook {
            kind: Some(kind),
            ..self
        }
    }
}

const fn on(name: &'static str, program_type: u32, attach_type: u32, target: Target) -> Hook {
    Hook {
        name,
        program_type,
        attach_type,
        target,
        kind: None,
    }
}

/// Functions that tracing programs can attach to: a test stub of the kernel's, and some that a
/// program may sleep in.
const FUNCTIONS: Target = Target::Function(&[
    "bpf_fentry_test1",
    "__x64_sys_getpgid",
    "security_file_open",
    "schedule",
]);

/// LSM hooks, the first of which may sleep.
const LSM_HOOKS: Target = Target::Function(&["bpf_lsm_file_open", "bpf_lsm_task_alloc"]);

/// All of them, with the numbers of `linux/bpf.h`, which never change.
pub const HOOKS: &[Hook] = &[
    plain("syscall", 31, 0).kind("syscall"),
    on("fentry", 26, 24, FUNCTIONS).kind("tracing"),
    on("fexit", 26, 25, FUNCTIONS).kind("tracing"),
    on("fmod_ret", 26, 26, FUNCTIONS).kind("tracing"),
    on(
        "tp_btf",
        26,
        23,
        Target::Typedef(&["btf_trace_sched_switch"]),
    )
    .kind("tracing"),
    on("iter", 26, 28, Target::Function(&["bpf_iter_task"])).kind("tracing"),
    on("lsm", 29, 27, LSM_HOOKS).kind("lsm"),
    on(
        "lsm_cgroup",
        29,
        43,
        Target::Function(&["bpf_lsm_socket_create"]),
    ),
    plain("tracepoint", 5, 0).kind("tracepoint"),
    plain("raw_tracepoint", 17, 0).kind("raw_tracepoint"),
    plain("raw_tracepoint_writable", 24, 0),
    plain("perf_event", 7, 0).kind("perf_event"),
    plain("kprobe", 2, 0).kind("kprobe"),
    plain("socket_filter", 1, 0),
    plain("sched_cls", 3, 0),
    plain("sched_act", 4, 0),
    plain("xdp", 6, 37),
    plain("cgroup_skb", 8, 0),
    plain("cgroup_sock", 9, 2),
    plain("cgroup_device", 15, 6),
    plain("cgroup_sock_addr", 18, 8),
    plain("cgroup_sysctl", 23, 18),
    plain("cgroup_sockopt", 25, 21),
    plain("lwt_in", 10, 0),
    plain("sock_ops", 13, 3),
    plain("sk_skb", 14, 5),
    plain("sk_msg", 16, 7),
    plain("sk_reuseport", 21, 39),
    plain("flow_dissector", 22, 17),
    plain("sk_lookup", 30, 36),
    plain("netfilter", 32, 45),
];
