//! The linter against the last answers of real kernels, kept in `tests/oracle/`: no kernel is booted.
//! `cargo xtask oracle` asks anew; how it compares is the same code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../xtask/src/oracle/cases.rs"]
#[allow(dead_code)]
mod cases;
#[path = "../xtask/src/oracle/judge.rs"]
#[allow(dead_code)]
mod judge;
#[path = "../xtask/src/oracle/record.rs"]
#[allow(dead_code)]
mod record;

use std::path::Path;

use cases::Case;
use judge::{Claims, Tally};
use record::Record;
use scx_lint::kernel::{Release, Tables};
use scx_lint::report::Report;
use scx_lint::{CheckRequest, KernelRequest};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn records() -> Vec<Record> {
    let mut paths: Vec<_> = std::fs::read_dir(root().join("tests/oracle"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    assert!(
        !paths.is_empty(),
        "no kernel has been asked: run `cargo xtask oracle`"
    );
    paths
        .iter()
        .map(|path| Record::read(path).unwrap())
        .collect()
}

fn claims(cases: &[Case], release: &str) -> Report {
    let request = CheckRequest {
        objects: cases.iter().map(|case| case.object.clone()).collect(),
        kernels: KernelRequest {
            selection: vec![release.to_owned()],
            ..KernelRequest::default()
        },
        ..CheckRequest::default()
    };
    scx_lint::check(&request).unwrap()
}

fn assert_agrees(tally: &Tally) {
    assert!(
        tally.mismatches.is_empty(),
        "{} of {} answers do not agree:\n{}",
        tally.mismatches.len(),
        tally.compared,
        tally.mismatches.join("\n")
    );
    assert!(tally.compared > 0);
}

#[test]
fn the_tables_say_what_the_verifiers_and_the_types_of_real_kernels_say() {
    let tables = Tables::bundled().unwrap();
    let mut total = Tally::default();
    for record in records() {
        let release: Release = record.release.parse().unwrap();
        let mut tally = judge::matrix(&record, &tables.kernel(release).unwrap());
        tally
            .mismatches
            .iter_mut()
            .for_each(|line| *line = format!("{} {line}", record.release));
        total.add(tally);
    }
    assert_agrees(&total);
}

#[test]
fn fixtures_end_on_real_kernels_as_the_linter_says() {
    let cases = cases::read(root(), &[]).unwrap();
    let mut total = Tally::default();
    for record in records() {
        let report = claims(&cases, &record.release);
        let claims = Claims::of(&report);
        // An answer about another object than today's says nothing; the next test names it.
        let asked = |name: &str, object: &str| {
            cases
                .iter()
                .find(|case| case.name == name && case.fingerprint == object)
        };
        let mut tally = Tally::default();
        for loaded in &record.load {
            if let Some(case) = asked(&loaded.case, &loaded.object) {
                tally.add(judge::load(loaded, &claims, case.expected()));
            }
        }
        for ran in &record.run {
            if let Some(case) = asked(&ran.case, &ran.object) {
                tally.add(judge::run(ran, &claims, case.expected()));
            }
        }
        tally
            .mismatches
            .iter_mut()
            .for_each(|line| *line = format!("{} {line}", record.release));
        total.add(tally);
    }
    assert_agrees(&total);
}

#[test]
fn no_kernel_has_yet_to_be_asked_about_a_fixture() {
    let cases = cases::read(root(), &[]).unwrap();
    let mut stale = Vec::new();
    for record in records() {
        for case in &cases {
            if !record.answers(&case.name, &case.fingerprint, &case.settings.attach) {
                stale.push(format!(
                    "--kernel {} --fixture {}",
                    record.release, case.name
                ));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "the kept answers are not about today's objects; run `cargo xtask oracle --stale` for\n{}",
        stale.join("\n")
    );
}
