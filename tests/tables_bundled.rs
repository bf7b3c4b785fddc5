//! The bundled tables load, and say what the kernels were seen to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use scx_lint::btf::TypeKind;
use scx_lint::btf::core::{EnumAnswer, FieldAnswer, FieldStep, TargetTypes};
use scx_lint::btf::prototype::Prototype;
use scx_lint::kernel::{
    Area, CallbackTime, Enforcement, HazardOutcome, KconfigValue, Kernel, KernelSelection,
    Permission, Presence, ProgramHooks, RcuEffect, Release, Status, SymbolMatch, Tables,
};

fn tables() -> Tables {
    Tables::bundled().unwrap_or_else(|error| panic!("{error}"))
}

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

fn kernel(text: &str) -> Kernel {
    tables().kernel(release(text)).unwrap()
}

fn permitted(kernel: &Kernel, struct_ops: &str, callback: &str, kfunc: &str) -> Permission {
    let struct_ops = kernel.struct_ops(struct_ops).unwrap();
    kernel.permission(
        struct_ops.callback(callback).unwrap(),
        kernel.kfunc(kfunc).unwrap(),
    )
}

#[test]
fn every_line_of_the_bundled_tables_can_be_read() {
    tables().check().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_bundled_kernel_can_be_put_together() {
    let labels: Vec<String> = tables()
        .kernels()
        .unwrap()
        .iter()
        .map(|k| k.label.clone())
        .collect();
    assert_eq!(
        labels,
        [
            "6.12", "6.13", "6.14", "6.15", "6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2",
            "7.3"
        ]
    );
}

#[test]
fn number_of_kfuncs_and_callbacks_is_that_of_the_kernels() {
    let kernels = tables().kernels().unwrap();
    let kfuncs: Vec<usize> = kernels
        .iter()
        .map(|kernel| kernel.kfuncs().count())
        .collect();
    assert_eq!(kfuncs, [38, 45, 46, 53, 54, 47, 49, 56, 56, 59, 73, 77]);
    let callbacks = |name: &str| -> Vec<Option<usize>> {
        kernels
            .iter()
            .map(|kernel| Some(kernel.struct_ops(name)?.callbacks.len()))
            .collect()
    };
    let cpu: Vec<usize> = callbacks("sched_ext_ops").into_iter().flatten().collect();
    assert_eq!(cpu, [33, 33, 33, 33, 33, 34, 34, 35, 35, 37, 37, 40]);
    assert_eq!(callbacks("sched_ext_ops_cid")[..10], [None; 10]);
    assert_eq!(callbacks("sched_ext_ops_cid")[10..], [Some(35), Some(38)]);
}

#[test]
fn point_release_decides_what_changed_inside_a_series() {
    let contexts = |text: &str| {
        let kernel = kernel(text);
        let ops = kernel.struct_ops("sched_ext_ops").unwrap();
        let contexts = ops.callback("cgroup_move").unwrap().contexts;
        let names = kernel.context_names(contexts).join("+");
        (names, !kernel.notes().is_empty())
    };
    assert_eq!(contexts("7.0.0"), ("UNLOCKED".to_owned(), false));
    assert_eq!(contexts("7.0.5"), ("UNLOCKED".to_owned(), true));
    assert_eq!(contexts("7.0.13"), ("REST".to_owned(), false));
    assert_eq!(contexts("7.0"), ("REST".to_owned(), true));
    assert_eq!(contexts("7.0.99"), ("REST".to_owned(), true));
}

#[test]
fn permission_follows_the_era() {
    let (old, new) = (kernel("7.0"), kernel("7.1"));
    assert_eq!(old.enforcement, Enforcement::RunTime);
    assert_eq!(new.enforcement, Enforcement::Load);
    let ops = "sched_ext_ops";
    for kernel in [&old, &new] {
        for (callback, kfunc, wanted) in [
            ("select_cpu", "scx_bpf_dsq_insert", Permission::Permitted),
            ("enqueue", "scx_bpf_dsq_insert", Permission::Permitted),
            ("dispatch", "scx_bpf_dsq_insert", Permission::Permitted),
            ("running", "scx_bpf_dsq_insert", Permission::WrongContext),
            ("init", "scx_bpf_dsq_insert", Permission::WrongContext),
            (
                "dispatch",
                "scx_bpf_dsq_move_to_local",
                Permission::Permitted,
            ),
            (
                "enqueue",
                "scx_bpf_dsq_move_to_local",
                Permission::WrongContext,
            ),
            ("init", "scx_bpf_dsq_move", Permission::Permitted),
            ("enqueue", "scx_bpf_dsq_move", Permission::WrongContext),
            (
                "cpu_release",
                "scx_bpf_reenqueue_local",
                Permission::Permitted,
            ),
            (
                "dispatch",
                "scx_bpf_reenqueue_local",
                Permission::WrongContext,
            ),
            ("tick", "scx_bpf_kick_cpu", Permission::Permitted),
            (
                "dispatch",
                "scx_bpf_select_cpu_dfl",
                Permission::WrongContext,
            ),
        ] {
            let found = permitted(kernel, ops, callback, kfunc);
            assert_eq!(found, wanted, "{} {callback} {kfunc}", kernel.label);
        }
    }
    // The one place where 7.1 newly refuses plain scheduler code.
    assert_eq!(
        permitted(&old, ops, "enqueue", "scx_bpf_dsq_move_set_slice"),
        Permission::Permitted
    );
    assert_eq!(
        permitted(&new, ops, "enqueue", "scx_bpf_dsq_move_set_slice"),
        Permission::WrongContext
    );
    // Before 6.16 the default CPU selection was for ops.select_cpu() alone.
    let before = kernel("6.15");
    assert_eq!(
        permitted(&before, ops, "enqueue", "scx_bpf_select_cpu_dfl"),
        Permission::WrongContext
    );
    assert_eq!(
        permitted(&old, ops, "enqueue", "scx_bpf_select_cpu_dfl"),
        Permission::Permitted
    );
}

#[test]
fn cid_form_has_its_own_names_and_lacks_cpu_kfuncs() {
    let kernel = kernel("7.3");
    let cid = kernel.struct_ops("sched_ext_ops_cid").unwrap();
    for name in [
        "select_cid",
        "cid_online",
        "dump_cid",
        "set_cmask",
        "cpuctl_move",
        "init_cids",
    ] {
        assert!(cid.callback(name).is_some(), "{name}");
    }
    for name in [
        "select_cpu",
        "cpu_release",
        "cpu_acquire",
        "cgroup_move",
        "set_cpumask",
    ] {
        assert!(cid.callback(name).is_none(), "{name}");
    }
    assert_eq!(&*cid.callback("cpuctl_move").unwrap().role, "cgroup_move");
    let name = "sched_ext_ops_cid";
    assert_eq!(
        permitted(&kernel, name, "enqueue", "scx_bpf_kick_cpu"),
        Permission::CpuOnly
    );
    assert_eq!(
        permitted(&kernel, name, "enqueue", "scx_bpf_kick_cid"),
        Permission::Permitted
    );
    assert_eq!(
        permitted(&kernel, name, "init_cids", "scx_bpf_cid_override"),
        Permission::Permitted
    );
    assert_eq!(
        permitted(&kernel, name, "init", "scx_bpf_cid_override"),
        Permission::WrongContext
    );
    let before = self::kernel("7.2");
    assert_eq!(
        permitted(&before, name, "init", "scx_bpf_cid_override"),
        Permission::Permitted
    );
    assert!(
        before
            .struct_ops(name)
            .unwrap()
            .callback("cgroup_move")
            .is_some()
    );
    let text = |kernel: &Kernel| {
        let cid = kernel.struct_ops(name).unwrap();
        cid.callback("enable")
            .unwrap()
            .prototype_text
            .clone()
            .unwrap()
            .to_string()
    };
    assert_eq!(text(&before), "void (struct task_struct *)");
    assert_eq!(
        text(&kernel),
        "void (struct task_struct *, struct scx_enable_args *)"
    );
    assert!(
        kernel
            .struct_ops("sched_ext_ops")
            .unwrap()
            .callback("sub_attach")
            .unwrap()
            .attach_refused
    );
    assert!(!cid.callback("sub_attach").unwrap().attach_refused);
}

#[test]
fn registration_says_which_programs_may_call() {
    let may =
        |text: &str, kfunc: &str, hook| kernel(text).kfunc(kfunc).unwrap().hooks.contains(hook);
    use ProgramHooks as H;
    assert!(!may("6.19", "scx_bpf_kick_cpu", H::RAW_TRACEPOINT));
    assert!(may("7.0", "scx_bpf_kick_cpu", H::RAW_TRACEPOINT));
    assert!(may("6.12", "scx_bpf_kick_cpu", H::TRACING));
    assert!(!may("7.3", "scx_bpf_kick_cpu", H::KPROBE));
    assert!(may("6.12", "scx_bpf_dsq_nr_queued", H::FOREIGN_STRUCT_OPS));
    assert!(!may("7.1", "scx_bpf_dsq_nr_queued", H::FOREIGN_STRUCT_OPS));
    // 7.2 left its cid kfuncs out of the filter.
    assert!(may("7.2", "scx_bpf_cid_to_cpu", H::FOREIGN_STRUCT_OPS));
    assert!(!may("7.3", "scx_bpf_cid_to_cpu", H::FOREIGN_STRUCT_OPS));
    assert!(!may("6.15", "scx_bpf_select_cpu_dfl", H::SYSCALL));
    assert!(may("6.16", "scx_bpf_select_cpu_dfl", H::TRACING));
    assert!(!may("7.1", "scx_bpf_select_cpu_dfl", H::TRACING));
    assert!(may("7.1", "scx_bpf_select_cpu_dfl", H::SYSCALL));
    assert!(may("6.13", "scx_bpf_dsq_move", H::SYSCALL));
    assert!(!may("7.3", "scx_bpf_dsq_insert", H::SYSCALL));
    assert!(!may("7.3", "scx_bpf_dsq_insert", H::EXTENSION));
}

#[test]
fn hazards_are_those_that_were_seen() {
    let hazard = |text: &str, callback: &str, kfunc: &str| {
        let kernel = kernel(text);
        let ops = kernel.struct_ops("sched_ext_ops").unwrap();
        let found = kernel
            .hazard(
                ops.callback(callback).unwrap(),
                kernel.kfunc(kfunc).unwrap(),
            )
            .cloned();
        found.map(|hazard| hazard.outcome)
    };
    let hangs = Some(HazardOutcome::Hangs);
    let killed = Some(HazardOutcome::Killed);
    assert_eq!(
        hazard("6.12", "cgroup_move", "scx_bpf_dispatch_from_dsq"),
        hangs
    );
    assert_eq!(hazard("6.19", "cgroup_move", "scx_bpf_dsq_move"), hangs);
    assert_eq!(hazard("7.0.0", "cgroup_move", "scx_bpf_dsq_move"), hangs);
    assert_eq!(hazard("7.0.5", "cgroup_move", "scx_bpf_dsq_move"), hangs);
    assert_eq!(hazard("7.0", "cgroup_move", "scx_bpf_dsq_move"), None);
    assert_eq!(
        hazard("6.16", "cgroup_move", "scx_bpf_select_cpu_and"),
        hangs
    );
    assert_eq!(hazard("7.3", "dispatch", "scx_bpf_task_cgroup"), killed);
    assert_eq!(hazard("7.3", "enqueue", "scx_bpf_task_cgroup"), None);
    assert_eq!(hazard("6.13", "tick", "scx_bpf_task_cgroup"), killed);
    assert_eq!(hazard("6.14", "tick", "scx_bpf_task_cgroup"), None);
    assert_eq!(hazard("6.18", "init", "scx_bpf_locked_rq"), killed);
    assert_eq!(hazard("6.18", "dispatch", "scx_bpf_locked_rq"), None);
    let kernel = kernel("7.1");
    let consume = kernel.kfunc("scx_bpf_dsq_move_to_local").unwrap();
    assert_eq!(
        kernel.async_hazard(consume).map(|hazard| hazard.outcome),
        hangs
    );
    let insert = kernel.kfunc("scx_bpf_dsq_insert").unwrap();
    let outcome = kernel.async_hazard(insert).map(|hazard| hazard.outcome);
    assert_eq!(outcome, Some(HazardOutcome::Misbehaves));
}

#[test]
fn task_cgroup_ends_the_scheduler_from_seventeen_callbacks_of_7_3() {
    // Those are the callbacks whose task the kernel does not record and that a booted scheduler
    // can be made to run; section G of the facts counts 17.
    let kernel = kernel("7.3");
    let kfunc = kernel.kfunc("scx_bpf_task_cgroup").unwrap();
    let ops = kernel.struct_ops("sched_ext_ops").unwrap();
    let killed = ops
        .callbacks
        .iter()
        .filter(|callback| !callback.attach_refused)
        .filter(|callback| kernel.hazard(callback, kfunc).is_some())
        .count();
    assert!(killed >= 17, "{killed}");
}

#[test]
fn prototypes_are_compared_as_libbpf_does() {
    let fits = |text: &str, name: &str, prototype: &str| {
        kernel(text).kfunc_presence(name, Some(&Prototype::parse(prototype).unwrap()))
    };
    let void = "void f(struct task_struct *p, u64 d, u64 s, u64 e)";
    let flag = "bool f(struct task_struct *p, u64 d, u64 s, u64 e)";
    assert_eq!(
        fits("6.19", "scx_bpf_dsq_insert", void),
        SymbolMatch::Present
    );
    assert_eq!(
        fits("6.19", "scx_bpf_dsq_insert", flag),
        SymbolMatch::PrototypeMismatch
    );
    assert_eq!(
        fits("6.19", "scx_bpf_dsq_insert___v2", flag),
        SymbolMatch::Present
    );
    assert_eq!(
        fits("6.12", "scx_bpf_dsq_insert", void),
        SymbolMatch::Absent
    );
    assert_eq!(
        fits("6.12", "scx_bpf_no_such_thing", void),
        SymbolMatch::Absent
    );
    assert_eq!(
        fits("6.12", "some_driver_kfunc", void),
        SymbolMatch::Unknown
    );
    assert_eq!(
        fits("7.3", "scx_bpf_cidperf_set", "s32 f(s32, u32)"),
        SymbolMatch::Present
    );
    assert_eq!(
        fits("7.2", "scx_bpf_cidperf_set", "s32 f(s32, u32)"),
        SymbolMatch::PrototypeMismatch
    );
}

#[test]
fn kfuncs_of_other_subsystems_have_ranges() {
    let exists = |text: &str, name: &str| kernel(text).kfunc_exists(name);
    assert_eq!(exists("6.12", "bpf_cpumask_create"), Presence::Present);
    assert_eq!(exists("6.12", "bpf_cpumask_populate"), Presence::Absent);
    assert_eq!(exists("6.14", "bpf_cpumask_populate"), Presence::Unknown);
    assert_eq!(exists("6.16", "bpf_cpumask_populate"), Presence::Present);
    assert_eq!(
        exists("6.19", "bpf_wq_set_callback_impl"),
        Presence::Present
    );
    assert_eq!(exists("7.0", "bpf_wq_set_callback_impl"), Presence::Absent);
    assert_eq!(exists("7.0", "bpf_wq_set_callback"), Presence::Present);
    assert_eq!(exists("6.19", "bpf_wq_set_callback"), Presence::Absent);
    // What a configuration may leave out is never certain.
    assert_eq!(exists("7.3", "bpf_get_mem_cgroup"), Presence::Unknown);
    assert_eq!(exists("6.16", "bpf_get_mem_cgroup"), Presence::Absent);
}

#[test]
fn enums_have_the_values_of_each_kernel() {
    let value = |text: &str, name: &str| kernel(text).constant(name);
    let present = |value| (Presence::Present, Some(value));
    assert_eq!(value("6.18", "SCX_ENQ_HEAD"), present(0x10));
    assert_eq!(value("6.19", "SCX_ENQ_HEAD"), present(0x10000));
    assert_eq!(value("6.18", "SCX_ENQ_IMMED"), (Presence::Absent, None));
    assert_eq!(value("7.1", "SCX_ENQ_IMMED"), present(0x2_0000_0000));
    assert_eq!(
        value("6.12", "SCX_DSQ_LOCAL"),
        present(0x8000_0000_0000_0002)
    );
    assert_eq!(value("6.14", "SCX_OPS_ALL_FLAGS"), present(0x1001f));
    assert_eq!(value("7.3", "SCX_OPS_ALL_FLAGS"), present(0x1ff));
    assert_eq!(
        value("7.1", "SCX_OPS_HAS_CGROUP_WEIGHT"),
        (Presence::Absent, None)
    );
    assert_eq!(
        value("6.12", "SCX_TASK_CURSOR"),
        present(0xffff_ffff_8000_0000)
    );
    assert_eq!(value("6.12", "SCX_ENQ_LOCAL"), (Presence::Unknown, None));
    assert_eq!(
        kernel("6.12").enum_value("scx_enq_flags", "SCX_ENQ_LOCAL"),
        EnumAnswer::Absent
    );
    assert_eq!(
        kernel("6.12").enum_value("no_such_enum", "X"),
        EnumAnswer::Unknown
    );
    // It depends on HZ.
    assert_eq!(
        kernel("6.12").enum_value("scx_consts", "SCX_WATCHDOG_MAX_TIMEOUT"),
        EnumAnswer::Present(None)
    );
}

#[test]
fn structs_are_known_by_member() {
    let field = |text: &str, root: &str, path: &[&str]| {
        let path: Vec<FieldStep<'_>> = path.iter().map(|name| FieldStep::Member(name)).collect();
        match kernel(text).field(TypeKind::Struct, root, &path) {
            FieldAnswer::Absent => Presence::Absent,
            FieldAnswer::Unknown => Presence::Unknown,
            FieldAnswer::Present(_) => Presence::Present,
        }
    };
    assert_eq!(
        field("6.12", "task_struct", &["scx", "dsq_vtime"]),
        Presence::Present
    );
    assert_eq!(
        field("7.1", "task_struct", &["scx", "tid"]),
        Presence::Absent
    );
    assert_eq!(
        field("7.2", "task_struct", &["scx", "tid"]),
        Presence::Present
    );
    assert_eq!(
        field("6.12", "task_struct", &["no_such_member"]),
        Presence::Unknown
    );
    assert_eq!(
        field("6.12", "sched_ext_entity", &["core_sched_at"]),
        Presence::Unknown
    );
    assert_eq!(
        field("7.0", "sched_ext_entity", &["sched"]),
        Presence::Absent
    );
    assert_eq!(
        field("7.1", "sched_ext_entity", &["sched"]),
        Presence::Unknown
    );
    assert_eq!(
        field("6.16", "sched_ext_ops", &["cgroup_set_bandwidth"]),
        Presence::Absent
    );
    assert_eq!(
        field("6.17", "sched_ext_ops", &["cgroup_set_bandwidth"]),
        Presence::Present
    );
    assert_eq!(
        field("7.1", "sched_ext_ops_cid", &["init"]),
        Presence::Absent
    );
    assert_eq!(field("6.12", "whatever", &["x"]), Presence::Unknown);
    for (text, old, new) in [
        ("6.15", Presence::Present, Presence::Absent),
        ("6.16", Presence::Absent, Presence::Present),
    ] {
        assert_eq!(
            field(text, "scx_event_stats", &["SCX_EV_ENQ_SLICE_DFL"]),
            old
        );
        assert_eq!(
            field(text, "scx_event_stats", &["SCX_EV_REFILL_SLICE_DFL"]),
            new
        );
    }
    let kind = TypeKind::Struct;
    assert_eq!(
        kernel("6.12").type_presence(kind, "scx_event_stats"),
        Presence::Absent
    );
    assert_eq!(
        kernel("6.14").type_presence(kind, "scx_event_stats"),
        Presence::Absent
    );
    assert_eq!(
        kernel("6.16").type_presence(kind, "scx_event_stats"),
        Presence::Present
    );
    assert_eq!(
        kernel("7.1").type_presence(kind, "sched_ext_ops_cid"),
        Presence::Absent
    );
    assert_eq!(
        kernel("7.1").type_presence(kind, "tcp_congestion_ops"),
        Presence::Unknown
    );
}

#[test]
fn kconfig_knows_the_version_and_what_sched_ext_needs() {
    assert_eq!(
        kernel("6.12").kconfig("LINUX_KERNEL_VERSION"),
        KconfigValue::Bits {
            value: 0x06_0c_00,
            mask: !0xff
        }
    );
    assert_eq!(
        kernel("7.0.13").kconfig("LINUX_KERNEL_VERSION"),
        KconfigValue::Known(0x07_00_0d)
    );
    assert_eq!(
        kernel("6.12").kconfig("CONFIG_SCHED_CLASS_EXT"),
        KconfigValue::Known(1)
    );
    assert_eq!(kernel("6.12").kconfig("CONFIG_HZ"), KconfigValue::Unknown);
}

#[test]
fn takers_and_regions_are_found_by_number_and_name() {
    let kernel = kernel("7.3");
    let taker = kernel.helper_taker(181).unwrap();
    assert_eq!(
        (&*taker.name, taker.function, taker.count),
        ("bpf_loop", 2, Some(1))
    );
    assert_eq!(taker.passes, [(3, 2)]);
    assert!(taker.is_sync());
    assert_eq!(kernel.helper_taker(170).unwrap().runs, CallbackTime::Timer);
    let wq = kernel.kfunc_taker("bpf_wq_set_callback").unwrap();
    assert!(wq.sleepable && wq.runs == CallbackTime::Workqueue);
    assert_eq!(
        kernel.rcu_effect("bpf_rcu_read_lock"),
        Some(RcuEffect::Lock)
    );
    assert_eq!(
        kernel.rcu_effect("bpf_rcu_read_unlock"),
        Some(RcuEffect::Unlock)
    );
    assert_eq!(kernel.rcu_effect("bpf_preempt_disable"), None);
    assert!(kernel.region_effect("bpf_preempt_disable").unwrap().enters);
    assert_eq!(kernel.helper_name(1), Some("bpf_map_lookup_elem"));
    assert_eq!(kernel.helper_name(211), Some("bpf_cgrp_storage_delete"));
    assert_eq!(kernel.helper_name(212), None);
}

#[test]
fn history_tells_renames_and_names_that_never_were() {
    let tables = tables();
    let old = tables.history("scx_bpf_dispatch");
    assert_eq!(old.releases.len(), 5);
    assert_eq!(old.replaced_by, ["scx_bpf_dsq_insert"]);
    assert!(old.deprecated.unwrap().0.contains("renamed to"));
    assert_eq!(
        tables.history("scx_bpf_dsq_insert").replaces,
        ["scx_bpf_dispatch"]
    );
    for name in [
        "scx_bpf_switch_all",
        "scx_bpf_dsq_consume",
        "scx_bpf_task_ctx",
        "scx_bpf_cpu_llc_id",
        "scx_bpf_cgroup_weight",
        "scx_bpf_task_set_weight",
    ] {
        let history = tables.history(name);
        assert!(
            history.releases.is_empty() && history.never.is_some(),
            "{name}"
        );
    }
    assert_eq!(
        tables.history("scx_bpf_kick_cpuu").nearest[0],
        "scx_bpf_kick_cpu"
    );
    assert!(tables.never_there("SCX_ENQ_LOCAL").is_some());
    assert_eq!(
        tables
            .member_history("sched_ext_ops", "cgroup_set_idle")
            .first(),
        Some(&release("6.19"))
    );
}

#[test]
fn nesting_edges_follow_the_release() {
    let edges = |text: &str| {
        kernel(text)
            .nesting_edges()
            .iter()
            .filter(|e| !e.deferred)
            .count()
    };
    assert_eq!(edges("6.12"), 1);
    assert_eq!(edges("6.19"), 1);
    assert_eq!(edges("7.1"), 6);
    assert_eq!(edges("7.3"), 8);
    let kernel = kernel("6.12");
    let checked: Vec<&str> = kernel
        .nested_checks()
        .map(|context| context.name.as_str())
        .collect();
    assert_eq!(checked, ["CPU_RELEASE", "DISPATCH"]);
    assert!(kernel.nested_increases() && kernel.nested_inherits());
    let refusal = kernel.refusal(
        kernel.kfunc("scx_bpf_consume").unwrap(),
        kernel.context("ENQUEUE").unwrap().context,
    );
    assert_eq!(
        refusal,
        "kfunc with mask 0x2 called from an operation only allowing 0x4"
    );
}

#[test]
fn unbooted_kernels_are_read_or_inferred_and_booted_ones_measured() {
    let tables = tables();
    let status = |text: &str, area, name: &str| tables.source(release(text), area, name).status;
    for text in ["6.13", "6.14", "6.15"] {
        for area in Area::ALL {
            assert_ne!(
                status(text, area, ""),
                Status::Measured,
                "{text} {}",
                area.name()
            );
        }
    }
    assert_eq!(status("6.13", Area::Callbacks, "tick"), Status::Read);
    assert_eq!(
        status("6.13", Area::Callbacks, "dispatch"),
        Status::Inferred
    );
    assert_eq!(
        status("6.12", Area::Callbacks, "dispatch"),
        Status::Measured
    );
    assert_eq!(
        status("6.16", Area::Callbacks, "core_sched_before"),
        Status::Inferred
    );
    assert_eq!(
        status("7.0.13", Area::Callbacks, "cgroup_move"),
        Status::Read
    );
}

#[test]
fn selections_pick_releases() {
    let tables = tables();
    let pick = |text: &str| -> Result<String, String> {
        let selection: KernelSelection = text.parse().map_err(|e| format!("{e}"))?;
        let releases = selection.releases(&tables).map_err(|e| format!("{e}"))?;
        Ok(releases
            .iter()
            .map(Release::to_string)
            .collect::<Vec<_>>()
            .join(" "))
    };
    assert_eq!(pick("6.12").unwrap(), "6.12");
    assert_eq!(pick("7.0.13").unwrap(), "7.0.13");
    assert_eq!(pick("6.19..7.1").unwrap(), "6.19 7.0 7.1");
    assert_eq!(pick(">=7.2").unwrap(), "7.2 7.3");
    assert_eq!(pick("<=6.13").unwrap(), "6.12 6.13");
    assert_eq!(pick("..6.12").unwrap(), "6.12");
    assert_eq!(pick("all").unwrap().split(' ').count(), 12);
    assert_eq!(pick("host").unwrap(), "");
    assert!(pick("6.6").unwrap_err().contains("6.12"));
    assert!(pick("7.1..6.12").unwrap_err().contains("ends before"));
    assert!(pick("5.1..5.9").unwrap_err().contains("selects no kernel"));
    for text in [
        "", "6", "6.", "6.x", "6.12.3.4", "+6.12", "6.99999", ">=", "6.12..x",
    ] {
        assert!(pick(text).is_err(), "{text}");
    }
}
