use std::fs;

use super::super::diagnostic::Location;
use super::super::{ProgramReport, StructOpsReport, json, style};
use super::termcolor::Ansi;
use super::*;

const SERIES: [&str; 12] = [
    "6.12", "6.13", "6.14", "6.15", "6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3",
];

fn kernels(kernels: &[&str]) -> Vec<String> {
    kernels.iter().map(|&kernel| kernel.to_owned()).collect()
}

fn at(file: &str, line: u32, column: u32, text: &str) -> Option<Location> {
    Some(Location {
        file: file.into(),
        line,
        column,
        text: text.into(),
    })
}

fn link(kind: ChainKind, name: &str, location: Option<Location>) -> ChainLink {
    ChainLink {
        kind,
        name: name.into(),
        location,
    }
}

/// A direct call, with the outcome by era: the most common finding.
fn direct() -> Vec<Diagnostic> {
    let call = at(
        "no/such/fifo.bpf.c",
        41,
        2,
        "\tscx_bpf_dsq_move_to_local(SHARED_DSQ);",
    );
    let entry = at(
        "no/such/fifo.bpf.c",
        12,
        6,
        "void BPF_STRUCT_OPS(fifo_enqueue, struct task_struct *p, u64 enq_flags)",
    );
    let killed = Diagnostic {
        object: "fifo.bpf.o".into(),
        kernels: kernels(&SERIES[1..9]),
        outcome: Outcome::Killed,
        program: Some("fifo_enqueue".into()),
        struct_ops: Some("sched_ext_ops".into()),
        callback: Some("enqueue".into()),
        kfunc: Some("scx_bpf_dsq_move_to_local".into()),
        location: call.clone(),
        chain: vec![
            link(ChainKind::Callback, "enqueue", entry),
            link(ChainKind::Kfunc, "scx_bpf_dsq_move_to_local", call),
        ],
        help: Some("call it from callback `dispatch`".into()),
        ..Diagnostic::new(
            "kfunc-context",
            Level::Error,
            "`scx_bpf_dsq_move_to_local` is not permitted in callback `enqueue`",
        )
    };
    let refused = Diagnostic {
        kernels: kernels(&SERIES[9..]),
        outcome: Outcome::Refused,
        ..killed.clone()
    };
    vec![killed, refused]
}

/// A chain through a subprogram in a header and a timer.
fn through_timer() -> Diagnostic {
    let call = at(
        "timer.h",
        7,
        9,
        "        scx_bpf_dsq_insert(p, dsq, slice, 0);",
    );
    Diagnostic {
        object: "timer.bpf.o".into(),
        kernels: kernels(&["6.12", "6.14", "7.0.13", "vmlinux-vendor"]),
        outcome: Outcome::Killed,
        program: Some("timer_init".into()),
        struct_ops: Some("sched_ext_ops".into()),
        callback: Some("init".into()),
        kfunc: Some("scx_bpf_dsq_insert".into()),
        location: call.clone(),
        chain: vec![
            link(ChainKind::Callback, "init", at("timer.bpf.c", 90, 5, "s32 BPF_STRUCT_OPS_SLEEPABLE(timer_init)")),
            link(ChainKind::Subprogram, "arm", at("timer.bpf.c", 92, 9, "\treturn arm(&timer);")),
            link(
                ChainKind::Async,
                "on_timer",
                at("timer.bpf.c", 70, 2, "\tbpf_timer_set_callback(t, on_timer);"),
            ),
            link(ChainKind::Kfunc, "scx_bpf_dsq_insert", call),
        ],
        help: Some("insert tasks from callback `enqueue` or `dispatch`, or kick a CPU from the timer with `scx_bpf_kick_cpu`".into()),
        notes: vec!["a timer runs outside every callback, in every kernel".into()],
        ..Diagnostic::new(
            "async-context",
            Level::Error,
            "`scx_bpf_dsq_insert` is called from `on_timer`, which runs outside every callback",
        )
    }
}

/// Nothing but names: an object without line information.
fn without_lines() -> Diagnostic {
    Diagnostic {
        object: "stripped.bpf.o".into(),
        kernels: kernels(&["7.1"]),
        outcome: Outcome::Unknown,
        program: Some("stripped_enqueue".into()),
        chain: vec![
            link(ChainKind::Callback, "enqueue", None),
            link(ChainKind::Subprogram, "helper", at("x.bpf.c", 0, 0, "")),
        ],
        help: Some("compile with `-g` and keep `.BTF.ext`".into()),
        ..Diagnostic::new(
            "unverifiable",
            Level::Error,
            "function `helper` has no BTF function information",
        )
    }
}

/// Everything an object's author can do to a terminal.
fn hostile() -> Diagnostic {
    let long = format!(
        "\t{}scx_bpf_kick_cpu(cpu, 0);{}",
        "a += b; ".repeat(60),
        " c();".repeat(200)
    );
    Diagnostic {
        object: "evil.bpf.o".into(),
        kernels: kernels(&["6.12"]),
        outcome: Outcome::Hangs,
        program: Some("evil\x1b]0;title\x07".into()),
        kfunc: Some("scx_bpf_kick_cpu".into()),
        location: at("a\x1b[2J.c", 4_000_000_000, 482, &long),
        chain: vec![
            link(
                ChainKind::Program,
                "evil\x1b]0;title\x07",
                at(
                    "a\x1b[2J.c",
                    3_999_999_998,
                    1,
                    "\t\tif (\u{202e}x)\u{9b}1m\u{fffd} {",
                ),
            ),
            link(
                ChainKind::Nested,
                "dequeue",
                at("a\x1b[2J.c", 4_000_000_000, 482, &long),
            ),
        ],
        notes: vec!["text\r\nwith `lines`".into()],
        ..Diagnostic::new(
            "kfunc-context",
            Level::Warning,
            "message with \x1b[31mcolour",
        )
    }
}

fn object(path: &str, kernels: Vec<KernelVerdict>) -> ObjectReport {
    ObjectReport {
        path: path.into(),
        member: None,
        struct_ops: vec![StructOpsReport {
            map: "ops".into(),
            type_name: "sched_ext_ops".into(),
            callbacks: vec![],
        }],
        programs: vec![ProgramReport {
            name: "fifo_enqueue".into(),
            section: "struct_ops/fifo_enqueue".into(),
            program_type: "struct_ops".into(),
            attached: vec![],
            kernels: vec![],
        }],
        kernels,
    }
}

fn verdicts(outcomes: &[(&str, Outcome, &[&str])]) -> Vec<KernelVerdict> {
    outcomes
        .iter()
        .map(|(kernel, outcome, reasons)| KernelVerdict {
            kernel: (*kernel).to_owned(),
            outcome: *outcome,
            reasons: kernels_of(reasons),
        })
        .collect()
}

fn kernels_of(texts: &[&str]) -> Vec<String> {
    kernels(texts)
}

fn text(report: &Report, roots: Vec<PathBuf>) -> String {
    let options = Options {
        series: Series::new(SERIES),
        roots,
    };
    to_text(report, &options).unwrap()
}

fn one(path: &str, diagnostics: Vec<Diagnostic>) -> Report {
    Report::new(kernels(&SERIES), vec![object(path, vec![])], diagnostics)
}

#[test]
fn direct_call_with_the_outcome_by_era() {
    let missing = "kfunc `scx_bpf_dsq_move_to_local` is missing";
    let mut outcomes: Vec<(&str, Outcome, &[&str])> = vec![("6.12", Outcome::Unsupported, &[])];
    let reasons = [missing];
    outcomes[0].2 = &reasons;
    let refused = ["program `fifo_enqueue` is refused"];
    for kernel in &SERIES[1..9] {
        outcomes.push((kernel, Outcome::Killed, &[]));
    }
    for kernel in &SERIES[9..] {
        outcomes.push((kernel, Outcome::Refused, &refused));
    }
    let report = Report::new(
        kernels(&SERIES),
        vec![object("fifo.bpf.o", verdicts(&outcomes))],
        direct(),
    );
    insta::assert_snapshot!(text(&report, vec![]));
}

#[test]
fn chain_through_subprogram_and_timer() {
    insta::assert_snapshot!(text(&one("timer.bpf.o", vec![through_timer()]), vec![]));
}

#[test]
fn no_line_information() {
    insta::assert_snapshot!(text(&one("stripped.bpf.o", vec![without_lines()]), vec![]));
}

#[test]
fn hostile_names_and_lines_are_shown_not_obeyed() {
    let text = text(&one("evil.bpf.o", vec![hostile()]), vec![]);
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_found() {
    let ok: Vec<(&str, Outcome, &[&str])> = SERIES
        .iter()
        .map(|kernel| (*kernel, Outcome::Ok, &[][..]))
        .collect();
    let objects = vec![
        object("a.bpf.o", verdicts(&ok)),
        object("b.bpf.o", verdicts(&ok[2..4])),
    ];
    insta::assert_snapshot!(text(
        &Report::new(kernels(&SERIES), objects, vec![]),
        vec![]
    ));
}

#[test]
fn findings_about_no_listed_object_are_printed_too() {
    let report = Report::new(kernels(&SERIES), vec![], vec![without_lines()]);
    assert!(text(&report, vec![]).contains("has no BTF function information"));
}

#[test]
fn source_beside_the_object_fills_what_the_object_lacks() {
    let dir = scratch("fills");
    fs::write(
        dir.join("src.bpf.c"),
        b"first\n\tcall(p); /* gr\xc3\xb6\xc3\x9fe */\nbetween \xff \x1b[1m\r\n\tscx_bpf_now();\n",
    )
    .unwrap();
    let path = dir.join("src.bpf.o");
    let path = path.to_str().unwrap();
    let call = at("src.bpf.c", 4, 2, "");
    let finding = Diagnostic {
        object: path.to_owned(),
        location: call.clone(),
        chain: vec![
            link(
                ChainKind::Subprogram,
                "call",
                at("src.bpf.c", 2, 2, "\tcall(p); /* gr\u{f6}\u{df}e */"),
            ),
            link(ChainKind::Kfunc, "scx_bpf_now", call),
        ],
        ..Diagnostic::new("kfunc-context", Level::Note, "a note")
    };
    let text = text(
        &one(path, vec![finding]),
        vec![PathBuf::from("/nonexistent")],
    );
    insta::assert_snapshot!(text.replace(&*dir.to_string_lossy(), "DIR"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn source_that_has_changed_is_not_shown() {
    let dir = scratch("changed");
    fs::write(dir.join("fifo.bpf.c"), "new first line\n\tscx_bpf_now();\n").unwrap();
    let finding = Diagnostic {
        location: at("fifo.bpf.c", 1, 2, "\tscx_bpf_now();"),
        object: "fifo.bpf.o".into(),
        kfunc: Some("scx_bpf_now".into()),
        ..Diagnostic::new("kfunc-context", Level::Error, "an error")
    };
    let text = text(&one("fifo.bpf.o", vec![finding]), vec![dir.clone()]);
    assert!(text.contains("1 │     scx_bpf_now();"), "{text}");
    assert!(text.contains("has changed since"), "{text}");
    assert!(!text.contains("new first line"), "{text}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn colour_is_the_writers_choice() {
    let options = Options {
        series: Series::new(SERIES),
        roots: vec![],
    };
    let mut out = Ansi::new(Vec::new());
    render(&one("fifo.bpf.o", direct()), &options, &mut out).unwrap();
    let coloured = String::from_utf8(out.into_inner()).unwrap();
    assert!(
        coloured.contains("\x1b[31m") || coloured.contains("\x1b[38;5;9m"),
        "{coloured:?}"
    );
    assert!(!text(&one("fifo.bpf.o", direct()), vec![]).contains('\x1b'));
}

#[test]
fn the_json_contract() {
    let mut report = Report::new(
        kernels(&["6.12", "7.1"]),
        vec![object(
            "fifo.bpf.o",
            verdicts(&[
                ("6.12", Outcome::Ok, &[]),
                ("7.1", Outcome::Refused, &["a reason"]),
            ]),
        )],
        direct().into_iter().chain([without_lines()]).collect(),
    );
    report.tool.version = "0.0.0".into();
    let mut out = Vec::new();
    json::render(&report, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    insta::assert_snapshot!(text);
}

#[test]
fn hostile_names_survive_json() {
    let report = one("evil.bpf.o", vec![hostile()]);
    let mut out = Vec::new();
    json::render(&report, &mut out).unwrap();
    assert!(
        !out.iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\n')
    );
    assert_eq!(serde_json::from_slice::<Report>(&out).unwrap(), report);
}

#[test]
fn the_corpus_is_in_house_style() {
    for finding in direct()
        .into_iter()
        .chain([through_timer(), without_lines()])
    {
        assert_eq!(style::problems(&finding), [""; 0]);
    }
    assert!(!style::problems(&hostile()).is_empty());
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("scx-lint-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}
