//! What kind of program a section name makes: libbpf's table, as data.

use super::model::ProgramKind;

/// How a section name matches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `SEC("name")` only.
    Exact,
    /// `SEC("name")` and `SEC("name/anything")`.
    Open,
}

/// Whether a program of the section is loaded as sleepable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Never,
    Always,
}

use Form::{Exact, Open};
use Sleep::{Always, Never};

/// Names that say more than "some other program type". First match wins.
const SECTIONS: &[(&str, Form, ProgramKind, Sleep)] = &[
    ("struct_ops", Open, ProgramKind::StructOps, Never),
    ("struct_ops.s", Open, ProgramKind::StructOps, Always),
    ("syscall", Exact, ProgramKind::Syscall, Always),
    ("tp_btf", Open, ProgramKind::Tracing, Never),
    ("fentry", Open, ProgramKind::Tracing, Never),
    ("fexit", Open, ProgramKind::Tracing, Never),
    ("fmod_ret", Open, ProgramKind::Tracing, Never),
    ("fsession", Open, ProgramKind::Tracing, Never),
    ("iter", Open, ProgramKind::Tracing, Never),
    ("fentry.s", Open, ProgramKind::Tracing, Always),
    ("fexit.s", Open, ProgramKind::Tracing, Always),
    ("fmod_ret.s", Open, ProgramKind::Tracing, Always),
    ("fsession.s", Open, ProgramKind::Tracing, Always),
    ("iter.s", Open, ProgramKind::Tracing, Always),
    ("tracepoint", Open, ProgramKind::Tracepoint, Never),
    ("tp", Open, ProgramKind::Tracepoint, Never),
    ("raw_tracepoint", Open, ProgramKind::RawTracepoint, Never),
    ("raw_tp", Open, ProgramKind::RawTracepoint, Never),
    ("raw_tracepoint.w", Open, ProgramKind::Other, Never),
    ("raw_tp.w", Open, ProgramKind::Other, Never),
    ("perf_event", Exact, ProgramKind::PerfEvent, Never),
    ("lsm", Open, ProgramKind::Lsm, Never),
    ("lsm.s", Open, ProgramKind::Lsm, Always),
    ("lsm_cgroup", Open, ProgramKind::Lsm, Never),
    ("freplace", Open, ProgramKind::Extension, Never),
    ("kprobe", Open, ProgramKind::Kprobe, Never),
    ("kretprobe", Open, ProgramKind::Kprobe, Never),
    ("kprobe.multi", Open, ProgramKind::Kprobe, Never),
    ("kretprobe.multi", Open, ProgramKind::Kprobe, Never),
    ("kprobe.session", Open, ProgramKind::Kprobe, Never),
    ("uprobe", Open, ProgramKind::Kprobe, Never),
    ("uretprobe", Open, ProgramKind::Kprobe, Never),
    ("uprobe.multi", Open, ProgramKind::Kprobe, Never),
    ("uretprobe.multi", Open, ProgramKind::Kprobe, Never),
    ("uprobe.session", Open, ProgramKind::Kprobe, Never),
    ("uprobe.s", Open, ProgramKind::Kprobe, Always),
    ("uretprobe.s", Open, ProgramKind::Kprobe, Always),
    ("uprobe.multi.s", Open, ProgramKind::Kprobe, Always),
    ("uretprobe.multi.s", Open, ProgramKind::Kprobe, Always),
    ("uprobe.session.s", Open, ProgramKind::Kprobe, Always),
    ("ksyscall", Open, ProgramKind::Kprobe, Never),
    ("kretsyscall", Open, ProgramKind::Kprobe, Never),
    ("usdt", Open, ProgramKind::Kprobe, Never),
    ("usdt.s", Open, ProgramKind::Kprobe, Always),
];

/// Names of the networking and cgroup program types, which all call no scheduler's kfuncs. All
/// match exactly.
const OTHER: &[&str] = &[
    "socket",
    "sk_reuseport",
    "sk_reuseport/migrate",
    "tc",
    "tc/ingress",
    "tc/egress",
    "tcx/ingress",
    "tcx/egress",
    "classifier",
    "action",
    "netkit/primary",
    "netkit/peer",
    "xdp",
    "xdp/cpumap",
    "xdp/devmap",
    "xdp.frags",
    "xdp.frags/cpumap",
    "xdp.frags/devmap",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "lwt_seg6local",
    "sockops",
    "sk_skb",
    "sk_skb/stream_parser",
    "sk_skb/stream_verdict",
    "sk_skb/verdict",
    "sk_msg",
    "sk_lookup",
    "lirc_mode2",
    "flow_dissector",
    "netfilter",
    "cgroup_skb/ingress",
    "cgroup_skb/egress",
    "cgroup/skb",
    "cgroup/sock",
    "cgroup/sock_create",
    "cgroup/sock_release",
    "cgroup/post_bind4",
    "cgroup/post_bind6",
    "cgroup/bind4",
    "cgroup/bind6",
    "cgroup/connect4",
    "cgroup/connect6",
    "cgroup/connect_unix",
    "cgroup/sendmsg4",
    "cgroup/sendmsg6",
    "cgroup/sendmsg_unix",
    "cgroup/recvmsg4",
    "cgroup/recvmsg6",
    "cgroup/recvmsg_unix",
    "cgroup/getpeername4",
    "cgroup/getpeername6",
    "cgroup/getpeername_unix",
    "cgroup/getsockname4",
    "cgroup/getsockname6",
    "cgroup/getsockname_unix",
    "cgroup/sysctl",
    "cgroup/getsockopt",
    "cgroup/setsockopt",
    "cgroup/dev",
];

/// What a section name says of its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SectionMeaning {
    pub(super) kind: ProgramKind,
    pub(super) sleepable: bool,
    /// False for `SEC("?...")`.
    pub(super) autoload: bool,
}

pub(super) fn meaning(section: &str) -> SectionMeaning {
    let (autoload, name) = match section.strip_prefix('?') {
        Some(name) => (false, name),
        None => (true, section),
    };
    let listed = SECTIONS.iter().find(|(pattern, form, ..)| {
        name.strip_prefix(pattern)
            .is_some_and(|rest| rest.is_empty() || (*form == Open && rest.starts_with('/')))
    });
    let (kind, sleepable) = match listed {
        Some((_, _, kind, sleep)) => (*kind, *sleep == Always),
        None if OTHER.contains(&name) => (ProgramKind::Other, false),
        None => (ProgramKind::Unknown, false),
    };
    SectionMeaning {
        kind,
        sleepable,
        autoload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(section: &str) -> (ProgramKind, bool, bool) {
        let meaning = meaning(section);
        (meaning.kind, meaning.sleepable, meaning.autoload)
    }

    #[test]
    fn exact_open_sleepable_and_optional_forms() {
        use ProgramKind::*;
        assert_eq!(kind("struct_ops"), (StructOps, false, true));
        assert_eq!(kind("struct_ops/enqueue"), (StructOps, false, true));
        assert_eq!(kind("struct_ops.s/init"), (StructOps, true, true));
        assert_eq!(kind("?struct_ops.s/init"), (StructOps, true, false));
        assert_eq!(kind("struct_opsy"), (Unknown, false, true));
        assert_eq!(kind("struct_ops."), (Unknown, false, true));
        assert_eq!(kind("syscall"), (Syscall, true, true));
        assert_eq!(kind("syscall/x"), (Unknown, false, true));
        assert_eq!(kind("tp/sched/sched_switch"), (Tracepoint, false, true));
        assert_eq!(kind("tp_btf/sched_switch"), (Tracing, false, true));
        assert_eq!(kind("iter.s/task"), (Tracing, true, true));
        assert_eq!(kind("uprobe.multi.s//bin/x:f"), (Kprobe, true, true));
        assert_eq!(kind("xdp.frags/cpumap"), (Other, false, true));
        assert_eq!(kind("xdp/other"), (Unknown, false, true));
        assert_eq!(kind("classifier/x"), (Unknown, false, true));
        assert_eq!(kind(""), (Unknown, false, true));
        assert_eq!(kind("?"), (Unknown, false, false));
    }
}
