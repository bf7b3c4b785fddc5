//! Tables written from probes: recorded ones of real kernels, cut down to a few kfuncs, give the
//! matrix of the bundled tables; altered ones, as a vendor's kernel would answer, give what it
//! answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use scx_lint::kernel::{Enforcement, Kernel, Permission, ProgramHooks, Release, Tables};
use scx_lint::probe::answers::Answers;
use scx_lint::probe::verdict::Verdict;
use scx_lint::probe::{Record, table};

/// The recorded probes.
const RECORDED: [&str; 3] = ["6.17.13", "7.1.13", "7.3.4"];

fn records(release: &str) -> Vec<Record> {
    let path = format!(
        "{}/tests/data/probe/{release}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The kernel of the table that is written, loaded from a directory as `--rules` does.
fn written(test: &str, release: &str, records: Vec<Record>) -> (Kernel, Tables) {
    let release: Release = release.parse().unwrap();
    let answers = Answers::from_records(records);
    let bundled = Tables::bundled().unwrap();
    let written = table::write(&answers, None, &bundled, release, "probe of this test").unwrap();
    assert_eq!(written.unexpressed, Vec::<String>::new());
    assert!(written.compared > 100, "{}", written.compared);
    let directory = std::env::temp_dir().join(format!("scx-lint-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("table.toml"), &written.text).unwrap();
    let tables = Tables::load(&directory);
    std::fs::remove_dir_all(&directory).unwrap();
    let tables = tables.unwrap_or_else(|error| panic!("{error}\n{}", written.text));
    assert_eq!(tables.releases(), [release.series()]);
    (tables.kernel(release.series()).unwrap(), tables)
}

/// `(struct_ops, callback, kfunc)` to what is said of it.
type Matrix = BTreeMap<(String, String, String), (Permission, bool, bool, bool)>;

fn matrix(kernel: &Kernel, kfuncs: &[String]) -> Matrix {
    let mut matrix = Matrix::new();
    for ops in kernel.struct_ops_types() {
        for callback in &ops.callbacks {
            for kfunc in kernel
                .kfuncs()
                .filter(|kfunc| kfuncs.contains(&kfunc.name.to_string()))
            {
                let key = (
                    ops.name.to_string(),
                    callback.name.to_string(),
                    kfunc.name.to_string(),
                );
                let permission = kernel.permission(callback, kfunc);
                matrix.insert(
                    key,
                    (
                        permission,
                        callback.sleepable,
                        kfunc.sleepable,
                        kfunc.rcu_protected,
                    ),
                );
            }
        }
    }
    matrix
}

fn kfuncs(records: &[Record]) -> Vec<String> {
    let name = |record: &Record| match record {
        Record::Kfunc(kfunc) if !kfunc.implicit_twin => Some(kfunc.name.clone()),
        _ => None,
    };
    records.iter().filter_map(name).collect()
}

#[test]
fn a_recorded_probe_gives_the_bundled_matrix() {
    for release in RECORDED {
        let records = records(release);
        let names = kfuncs(&records);
        let bundled = Tables::bundled()
            .unwrap()
            .kernel(release.parse().unwrap())
            .unwrap();
        let (kernel, _) = written("bundled", release, records);
        let expected = matrix(&bundled, &names);
        assert!(expected.len() > 100);
        assert_eq!(matrix(&kernel, &names), expected, "{release}");
        assert_eq!(kernel.enforcement, bundled.enforcement);
        for name in &names {
            let (ours, theirs) = (kernel.kfunc(name).unwrap(), bundled.kfunc(name).unwrap());
            assert_eq!(ours.hooks, theirs.hooks, "{release}: {name}");
            assert_eq!(ours.requires, theirs.requires, "{release}: {name}");
            assert_eq!(ours.group, theirs.group, "{release}: {name}");
        }
        // What was not recorded is not there.
        assert_eq!(kernel.kfuncs().count(), names.len());
    }
}

#[test]
fn what_was_asked_is_measured_and_what_was_not_is_taken_over() {
    use scx_lint::kernel::{Area, Status};
    let source = |kernel: &Kernel, area| kernel.source(area, "scx_bpf_dsq_insert");
    let (run_time, _) = written("sources", "6.17.13", records("6.17.13"));
    assert_eq!(source(&run_time, Area::Kfuncs).status, Status::Measured);
    assert_eq!(source(&run_time, Area::Kfuncs).text, "probe of this test");
    assert!(
        source(&run_time, Area::Requires)
            .text
            .starts_with("taken over from 6.17: ")
    );
    let (load, _) = written("sources-load", "7.1.13", records("7.1.13"));
    assert_eq!(source(&load, Area::Requires).text, "probe of this test");
    assert!(
        source(&load, Area::Behaviour)
            .text
            .starts_with("taken over from 7.1: ")
    );
}

#[test]
fn a_build_that_keeps_implicit_arguments_is_written_as_such() {
    let (kernel, _) = written("damaged", "7.1.13", records("7.1.13"));
    let kfunc = kernel.kfunc("scx_bpf_create_dsq").unwrap();
    assert!(kfunc.damaged);
    assert_eq!(kfunc.prototype.as_ref().unwrap().params.len(), 3);
    assert!(!kernel.kfunc("scx_bpf_dsq_insert").unwrap().damaged);
}

/// Changes the verdicts on calls.
fn altered(
    records: Vec<Record>,
    alter: impl Fn(&str, &str, &str, Verdict) -> Verdict,
) -> Vec<Record> {
    let alter = |record| match record {
        Record::Call {
            hook,
            target,
            kfunc,
            sleepable,
            verdict,
            log,
        } => {
            let verdict = alter(&hook, &target, &kfunc, verdict);
            Record::Call {
                hook,
                target,
                kfunc,
                sleepable,
                verdict,
                log,
            }
        }
        other => other,
    };
    records.into_iter().map(alter).collect()
}

#[test]
fn a_vendor_who_permits_more_is_believed() {
    let records = altered(records("7.1.13"), |hook, target, kfunc, verdict| {
        if hook == "sched_ext_ops" && target == "tick" && kfunc == "scx_bpf_dsq_insert" {
            return Verdict::Permitted;
        }
        if hook == "kprobe" && kfunc == "scx_bpf_kick_cpu" {
            return Verdict::Permitted;
        }
        verdict
    });
    let (kernel, _) = written("more", "7.1.13", records);
    let ops = kernel.struct_ops("sched_ext_ops").unwrap();
    let permission = |callback: &str, kfunc: &str| {
        kernel.permission(
            ops.callback(callback).unwrap(),
            kernel.kfunc(kfunc).unwrap(),
        )
    };
    assert_eq!(
        permission("tick", "scx_bpf_dsq_insert"),
        Permission::Permitted
    );
    assert_eq!(
        permission("enqueue", "scx_bpf_dsq_insert"),
        Permission::Permitted
    );
    assert_eq!(
        permission("running", "scx_bpf_dsq_insert"),
        Permission::WrongContext
    );
    assert_eq!(
        permission("tick", "scx_bpf_dsq_move"),
        Permission::WrongContext
    );
    let kick = kernel.kfunc("scx_bpf_kick_cpu").unwrap();
    assert!(kick.hooks.contains(ProgramHooks::KPROBE));
    assert!(kick.hooks.contains(ProgramHooks::SYSCALL));
    assert!(
        !kernel
            .kfunc("scx_bpf_dsq_move")
            .unwrap()
            .hooks
            .contains(ProgramHooks::KPROBE)
    );
}

#[test]
fn a_backport_of_the_verifiers_check_is_noticed() {
    let records = altered(records("6.17.13"), |hook, target, kfunc, verdict| {
        let refused =
            hook == "sched_ext_ops" && kfunc == "scx_bpf_dsq_insert" && target != "enqueue";
        if refused {
            Verdict::NotAllowed
        } else {
            verdict
        }
    });
    let (kernel, _) = written("backport", "6.17.13", records);
    assert_eq!(kernel.enforcement, Enforcement::Load);
    let ops = kernel.struct_ops("sched_ext_ops").unwrap();
    let insert = kernel.kfunc("scx_bpf_dsq_insert").unwrap();
    for callback in &ops.callbacks {
        let permitted = kernel.permission(callback, insert) == Permission::Permitted;
        assert_eq!(permitted, &*callback.name == "enqueue", "{}", callback.name);
    }
}

#[test]
fn members_and_kfuncs_that_no_table_has_are_taken_as_they_are() {
    let mut records = records("7.1.13");
    let mut more = Vec::new();
    for record in &mut records {
        match record {
            Record::StructOps(ops) => {
                let tick = ops
                    .callbacks
                    .iter_mut()
                    .find(|callback| callback.name == "tick")
                    .unwrap();
                tick.name = "vendor_tick".to_owned();
                tick.prototype = tick.prototype.replace("tick", "vendor_tick");
                ops.fields.retain(|field| field != "timeout_ms");
                ops.fields.push("vendor_field".to_owned());
            }
            Record::Hook { target, .. } if target == "tick" => "vendor_tick".clone_into(target),
            Record::Call { target, .. } if target == "tick" => "vendor_tick".clone_into(target),
            Record::Kfunc(kfunc) if kfunc.name == "scx_bpf_dsq_insert" => {
                let mut vendor = kfunc.clone();
                vendor.name = "scx_bpf_vendor".to_owned();
                vendor.prototype = "void scx_bpf_vendor(u64 x)".to_owned();
                more.push(Record::Kfunc(vendor));
            }
            _ => {}
        }
        if let Record::Call {
            hook,
            target,
            kfunc,
            sleepable,
            verdict,
            log,
        } = &*record
            && kfunc == "scx_bpf_dsq_insert"
        {
            more.push(Record::Call {
                hook: hook.clone(),
                target: target.clone(),
                kfunc: "scx_bpf_vendor".to_owned(),
                sleepable: *sleepable,
                verdict: if target == "vendor_tick" {
                    Verdict::Permitted
                } else {
                    *verdict
                },
                log: log.clone(),
            });
        }
    }
    records.extend(more);
    let (kernel, _) = written("vendor", "7.1.20", records);
    let ops = kernel.struct_ops("sched_ext_ops").unwrap();
    assert!(ops.callback("tick").is_none());
    assert!(!ops.has_member("timeout_ms"));
    assert!(ops.has_member("vendor_field"));
    let vendor = kernel.kfunc("scx_bpf_vendor").unwrap();
    let permission = |callback| kernel.permission(ops.callback(callback).unwrap(), vendor);
    assert_eq!(permission("vendor_tick"), Permission::Permitted);
    assert_eq!(permission("running"), Permission::WrongContext);
    assert_eq!(vendor.prototype.as_ref().unwrap().params.len(), 1);
    assert_eq!(kernel.exact_release(), "7.1.20".parse().unwrap());
}

#[test]
fn a_kernel_beyond_the_tables_has_a_table_of_its_own() {
    let (kernel, _) = written("beyond", "7.9.2", records("7.3.4"));
    assert_eq!(kernel.enforcement, Enforcement::Load);
    assert!(kernel.struct_ops("sched_ext_ops_cid").is_some());
}

#[test]
fn types_alone_give_a_table_too() {
    let records = records("7.1.13");
    let types = records
        .into_iter()
        .filter(|record| !matches!(record, Record::Call { .. } | Record::Hook { .. }));
    let answers = Answers::from_records(types);
    assert!(!answers.asked());
    let bundled = Tables::bundled().unwrap();
    let written =
        table::write(&answers, None, &bundled, "7.1".parse().unwrap(), "BTF of x").unwrap();
    assert_eq!(written.unexpressed, Vec::<String>::new());
    let tables = Tables::from_texts("x", vec![("x.toml".to_owned(), written.text)]).unwrap();
    let kernel = tables.kernel("7.1".parse().unwrap()).unwrap();
    assert!(kernel.kfunc("scx_bpf_create_dsq").unwrap().damaged);
    assert_eq!(
        kernel.source(scx_lint::kernel::Area::Kfuncs, "x").text,
        "BTF of x"
    );
}
