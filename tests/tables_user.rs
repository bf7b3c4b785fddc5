//! Tables of the user's own: alone, on top of the bundled ones, and broken in every way that the
//! loader has a sentence for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use scx_lint::kernel::{Permission, Presence, Tables};

/// The smallest table there is.
const BASE: &str = r#"[manifest]
format = 1
title = "mine"

[[release]]
version = "6.12"
newest = "6.12.1"

[[release.evidence]]
of = ["kfuncs", "requires", "prototypes", "members", "callbacks", "sleepable", "behaviour", "enums", "types", "other-kfuncs"]
status = "read"
source = "nowhere"

[[era]]
enforcement = "run-time"
message = "no"
async_contexts = ["A"]
async_checked_as_armer = false
nested_inherits = true
nested_increases = true
async_sleeps_with_program = false
source = "nowhere"

[[context]]
name = "A"
symbol = "A"
value = 1
source = "nowhere"

[[hook]]
name = "struct_ops"
programs = ["struct_ops"]
source = "nowhere"

[[set]]
name = "any"
hooks = ["struct_ops"]

[[struct_ops]]
type = "my_ops"
form = "cpu"

[[callback]]
name = "run"
contexts = ["A"]

[[kfunc]]
name = "my_kfunc"
sets = ["any"]
mask = ["A"]
"#;

fn load(more: &str) -> Result<Tables, String> {
    let files = vec![
        ("base.toml".to_owned(), BASE.to_owned()),
        ("more.toml".to_owned(), more.to_owned()),
    ];
    Tables::from_texts("test", files).map_err(|error| error.to_string())
}

#[test]
fn smallest_table_loads() {
    let tables = load("").unwrap();
    let kernel = tables.kernel("6.12".parse().unwrap()).unwrap();
    let callback = kernel
        .struct_ops("my_ops")
        .unwrap()
        .callback("run")
        .unwrap();
    let kfunc = kernel.kfunc("my_kfunc").unwrap();
    assert_eq!(kernel.permission(callback, kfunc), Permission::Permitted);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases: &[(&str, &str)] = &[
        ("[[kfunc]\n", "more.toml:1:"),
        (
            "\n[[kfunc]]\nnam = \"x\"\n",
            "more.toml:3:1: unknown field `nam`",
        ),
        (
            "[[kfunc]]\nsets = [\"any\"]\n",
            "more.toml:1:1: a [[kfunc]] has no name",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"amy\"]\n",
            "more.toml:3:9: no set is called `amy`; is it `any`?",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nmask = [\"B\"]\n",
            "more.toml:4:9: no context is called `B`; is it `A`?",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nflags = [\"fast\"]\n",
            "more.toml:4:10: `fast` is no kfunc flag",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nprototype = \"void\"\n",
            "more.toml:4:13: `void` is no prototype",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nprototype = \"void (struct)\"\n",
            "more.toml:4:13: ",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nsince = \"seven\"\n",
            "more.toml:4:9: `seven` is not a kernel release",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nsince = \"7.0\"\nuntil = \"6.12\"\n",
            "more.toml:5:9: `until` is before `since`",
        ),
        (
            "[[kfunc]]\nname = \"my_kfunc\"\nsets = [\"any\"]\n",
            "more.toml:2:8: two ranges of the kfunc `my_kfunc` overlap; the other is at base.toml:",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nuntil = \"6.15\"\nsets = [\"any\"]\n[[kfunc]]\nname = \"x\"\nsince = \"6.14\"\nsets = [\"any\"]\n",
            "more.toml:7:9: two ranges of the kfunc `x` overlap; the other is at more.toml:2:8",
        ),
        (
            "[[kfunc]]\nname = \"x\"\nsets = [\"any\"]\nreplaced_by = [\"nothing\"]\n",
            "more.toml:4:16: no kfunc is called `nothing`",
        ),
        ("[[kfunc]]\nname = \"x\"\n", "the kfunc `x` is in no set"),
        (
            "[[callback]]\nname = \"walk\"\ncontexts = [\"B\"]\n",
            "more.toml:3:13: no context is called `B`",
        ),
        (
            "[[callback]]\nname = \"walk\"\nin = [\"your_ops\"]\n",
            "more.toml:3:7: no struct_ops type is called `your_ops`",
        ),
        (
            "[[hook]]\nname = \"other\"\nprograms = [\"kernel_module\"]\nsource = \"x\"\n",
            "more.toml:3:13: `kernel_module` is no kind of program",
        ),
        (
            "[[context]]\nname = \"A\"\nsymbol = \"A\"\nvalue = 2\nsource = \"x\"\n",
            "more.toml:2:8: two ranges of the context `A` overlap",
        ),
        (
            "[[era]]\nsince = \"6.12\"\nenforcement = \"load\"\nmessage = \"\"\nasync_contexts = []\nasync_checked_as_armer = true\nnested_inherits = false\nnested_increases = false
async_sleeps_with_program = false\nsource = \"x\"\n",
            "more.toml:3:15: two eras overlap",
        ),
        (
            "[[nesting]]\nkfuncs = [\"my_kfunc\"]\ncalls = [\"sleep\"]\nchain = \"x\"\nsource = \"x\"\nstatus = \"read\"\n",
            "more.toml:3:10: no callback is called `sleep`",
        ),
        (
            "[[nesting]]\nkfuncs = [\"my_kfunc\"]\ncalls = [\"run\"]\nchain = \"x\"\nsource = \"x\"\n",
            "more.toml:1:1: missing field `status`",
        ),
        (
            "[[hazard]]\nname = \"h\"\nkfuncs = [\"my_kfunc\"]\noutcome = \"hangs\"\ntext = \"x\"\nsource = \"x\"\nstatus = \"read\"\n",
            "more.toml:2:8: a hazard needs either `callbacks` or `where`",
        ),
        (
            "[[taker]]\nkfunc = \"x\"\nfunction = 6\nruns = \"sync\"\nsource = \"x\"\n",
            "more.toml:3:12: 6 is no argument",
        ),
        (
            "[[taker]]\nhelper = \"bpf_nothing\"\nfunction = 1\nruns = \"sync\"\nsource = \"x\"\n",
            "more.toml:2:10: `bpf_nothing` is no helper",
        ),
        (
            "[[release]]\nversion = \"6.13\"\nnewest = \"6.14.1\"\n",
            "more.toml:3:10: `6.14.1` is no point release of 6.13",
        ),
        (
            "[[release]]\nversion = \"6.13\"\nnewest = \"6.13.1\"\n",
            "more.toml:2:11: nothing says how the `kfuncs` of 6.13 are known",
        ),
        (
            "[[removed]]\nkfunc = \"x\"\nsince = \"6.13\"\n",
            "more.toml:3:9: [[removed]] names something no table has",
        ),
        (
            "[manifest]\nformat = 1\ntitle = \"x\"\n",
            "a table has only one [manifest]",
        ),
        (
            "[[enum]]\nname = \"e\"\nvalues = \"\"\"\nA 1\nB one\n\"\"\"\n",
            "more.toml:5:1: `one` is not a number",
        ),
        (
            "[[enum]]\nname = \"e\"\nvalues = \"\"\"\nA 1 ..6.14\nA 2 6.14..\n\"\"\"\n",
            "more.toml:5:1: two ranges of `A` overlap",
        ),
        (
            "[[struct]]\nname = \"s\"\nmembers = \"\"\"\na 6.14..6.13\n\"\"\"\n",
            "more.toml:4:1: the range `6.14..6.13` is empty or out of order",
        ),
        (
            "[[other_kfuncs]]\nnames = \"\"\"\nf\nf\n\"\"\"\n",
            "two ranges of `f` overlap",
        ),
    ];
    for (more, wanted) in cases {
        let error = load(more).expect_err(more);
        assert!(
            error.contains(wanted),
            "wanted: {wanted}\nfound:  {error}\nfor:\n{more}"
        );
        assert!(!error.contains('\n'), "more than a line: {error}");
    }
}

#[test]
fn overlay_changes_what_it_names_and_keeps_the_rest() {
    let overlay = r#"
[manifest]
format = 1
title = "a vendor's 6.17"
extends = "bundled"
releases = ["6.17"]

# Backported.
[[kfunc]]
name = "scx_bpf_dsq_peek"
since = "6.17"
prototype = "struct task_struct *(u64 dsq_id)"
sets = ["any"]
flags = ["ret_null", "rcu_protected"]

[[callback]]
name = "running"
since = "6.17"
contexts = ["ENQUEUE"]

[[removed]]
kfunc = "scx_bpf_events"
since = "6.17"

[[enum]]
name = "scx_kick_flags"
complete = true
values = """
SCX_KICK_IDLE 1
SCX_KICK_VENDOR 0x100
"""
"#;
    let files = vec![("overlay.toml".to_owned(), overlay.to_owned())];
    let tables = Tables::from_texts("overlay", files).unwrap();
    assert_eq!(tables.releases().len(), 1);
    let kernel = tables.kernel("6.17".parse().unwrap()).unwrap();
    assert!(kernel.kfunc("scx_bpf_dsq_peek").is_some());
    assert!(kernel.kfunc("scx_bpf_events").is_none());
    assert_eq!(kernel.kfunc_exists("scx_bpf_events"), Presence::Absent);
    let ops = kernel.struct_ops("sched_ext_ops").unwrap();
    let insert = kernel.kfunc("scx_bpf_dsq_insert").unwrap();
    let permission = kernel.permission(ops.callback("running").unwrap(), insert);
    assert_eq!(permission, Permission::Permitted);
    assert!(
        ops.callback("running").unwrap().records_task,
        "inherited from the bundled table"
    );
    assert_eq!(
        kernel.constant("SCX_KICK_VENDOR"),
        (Presence::Present, Some(0x100))
    );
    assert_eq!(kernel.constant("SCX_KICK_WAIT"), (Presence::Unknown, None));
    assert_eq!(kernel.constant("SCX_ENQ_HEAD").1, Some(0x10));
}

#[test]
fn overlay_can_drop_a_kind_of_entry() {
    let text = |drop: &str| {
        format!(
            "[manifest]\nformat = 1\ntitle = \"x\"\nextends = \"bundled\"\ndrop = [\"{drop}\"]\n"
        )
    };
    let load = |text: String| Tables::from_texts("x", vec![("m.toml".to_owned(), text)]);
    let tables = load(text("hazard")).unwrap();
    assert!(
        tables
            .kernel("6.12".parse().unwrap())
            .unwrap()
            .hazards()
            .is_empty()
    );
    let error = load(text("haggis")).unwrap_err().to_string();
    assert!(
        error.starts_with("m.toml:5:9: `haggis` is no kind of entry"),
        "{error}"
    );
    let error = load("[manifest]\nformat = 1\ntitle = \"x\"\nextends = \"moon\"\n".to_owned());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("m.toml:4:11: `extends = \"moon\"`")
    );
    let error = load("[manifest]\nformat = 9\ntitle = \"x\"\n".to_owned());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("m.toml:2:10: format 9 is not known")
    );
}

#[test]
fn a_new_release_is_one_file() {
    let next = r#"
[manifest]
format = 1
title = "with 7.4"
extends = "bundled"

[[release]]
version = "7.4"
newest = "7.4.0"

[[release.evidence]]
of = ["kfuncs", "requires", "prototypes", "members", "callbacks", "sleepable", "behaviour", "enums", "types", "other-kfuncs"]
status = "inferred"
source = "7.3.4"

[[kfunc]]
name = "scx_bpf_brand_new"
since = "7.4"
prototype = "void (void)"
sets = ["any"]

[[kfunc]]
name = "scx_bpf_dsq_insert"
since = "7.4"
flags = ["rcu", "implicit_args", "sleepable"]

[[removed]]
kfunc = "scx_bpf_dsq_insert_vtime"
since = "7.4"

[[enum]]
name = "scx_kick_flags"
complete = true
values = """
SCX_KICK_IDLE 1
SCX_KICK_PREEMPT 2
SCX_KICK_WAIT 4 ..7.3
SCX_KICK_WAIT 8 7.4..
"""
"#;
    let tables = Tables::from_texts("7.4", vec![("7.4.toml".to_owned(), next.to_owned())]).unwrap();
    assert_eq!(tables.releases().len(), 13);
    let (old, new) = (
        tables.kernel("7.3".parse().unwrap()).unwrap(),
        tables.kernel("7.4".parse().unwrap()).unwrap(),
    );
    assert!(old.kfunc("scx_bpf_brand_new").is_none());
    assert!(new.kfunc("scx_bpf_brand_new").is_some());
    assert!(old.kfunc("scx_bpf_dsq_insert_vtime").is_some());
    assert!(new.kfunc("scx_bpf_dsq_insert_vtime").is_none());
    assert!(!old.kfunc("scx_bpf_dsq_insert").unwrap().sleepable);
    let insert = new.kfunc("scx_bpf_dsq_insert").unwrap();
    assert!(
        insert.sleepable && insert.prototype.is_some(),
        "the rest is inherited"
    );
    assert_eq!(old.constant("SCX_KICK_WAIT").1, Some(4));
    assert_eq!(new.constant("SCX_KICK_WAIT").1, Some(8));
}

/// What the manual shows as an example is a file like the bundled ones.
#[test]
fn the_example_of_the_manual_adds_a_kernel() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let manual = std::fs::read_to_string(rules.join("README.md")).unwrap();
    let example = manual
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .find(|example| example.contains("version = \"7.4\""))
        .unwrap();
    let mut files = vec![("kernels/7.4.toml".to_owned(), example.to_owned())];
    for directory in [rules.clone(), rules.join("kernels")] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.display().to_string(), text));
            }
        }
    }
    let tables = Tables::from_texts("with 7.4", files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tables.releases().len(), 13);
    let kernel = |text: &str| tables.kernel(text.parse().unwrap()).unwrap();
    assert!(kernel("7.4").kfunc("scx_bpf_brand_new").is_some());
    assert!(kernel("7.4").kfunc("scx_bpf_dsq_insert_vtime").is_none());
    assert_eq!(
        kernel("7.3").constant("SCX_KICK_WAIT"),
        (Presence::Present, Some(4))
    );
    assert_eq!(kernel("7.4").constant("SCX_KICK_WAIT").0, Presence::Absent);
    assert_eq!(
        kernel("7.4").constant("SCX_KICK_NEW"),
        (Presence::Present, Some(8))
    );
    assert_eq!(kernel("7.3").constant("SCX_KICK_NEW").0, Presence::Absent);
}

#[test]
fn the_bundled_directory_is_a_table() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let (ours, bundled) = (Tables::load(&rules).unwrap(), Tables::bundled().unwrap());
    assert_eq!(ours.releases(), bundled.releases());
    assert_eq!(ours.title(), bundled.title());
}

#[test]
fn the_mask_scheme_of_the_patch_sets_is_a_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/examples/patchset-2023");
    let tables = Tables::load(&directory).unwrap();
    let kernel = tables.kernel("6.5".parse().unwrap()).unwrap();
    let ops = kernel.struct_ops("sched_ext_ops").unwrap();
    let permission = |callback: &str, kfunc: &str| {
        kernel.permission(
            ops.callback(callback).unwrap(),
            kernel.kfunc(kfunc).unwrap(),
        )
    };
    assert_eq!(
        permission("select_cpu", "scx_bpf_dispatch"),
        Permission::WrongContext
    );
    assert_eq!(
        permission("enqueue", "scx_bpf_dispatch"),
        Permission::Permitted
    );
    assert_eq!(
        permission("init", "scx_bpf_switch_all"),
        Permission::Permitted
    );
    assert_eq!(
        permission("prep_enable", "scx_bpf_create_dsq"),
        Permission::Permitted
    );
    assert_eq!(
        permission("prep_enable", "scx_bpf_switch_all"),
        Permission::WrongContext
    );
}

#[test]
fn directories_that_are_no_tables_are_said_to_be() {
    let error = Tables::load(Path::new("/no/such/directory"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot read /no/such/directory: "),
        "{error}"
    );
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let error = Tables::load(&source).unwrap_err().to_string();
    assert!(error.contains("no rules in it"), "{error}");
}
