//! The ledger of the kernel's own schedulers says what it should: everything that differs has its
//! reason, nothing that works is reported, and it is not of another version.
//!
//! The objects are not in the tree; `cargo xtask ledger` compiles them and makes the ledger anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The command that writes ledgers uses the rest.
#[allow(dead_code)]
#[path = "../xtask/src/ledger/record.rs"]
mod record;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use record::{Ledger, Line, Theirs, version};
use scx_lint::kernel::Tables;
use scx_lint::report::Outcome;

fn ledgers() -> Vec<(PathBuf, Ledger)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledger");
    let entries = std::fs::read_dir(&directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), Ledger::read(&path).unwrap().unwrap());
    let all: Vec<_> = paths.into_iter().map(read).collect();
    assert!(!all.is_empty(), "{} has no ledger", directory.display());
    all
}

fn for_each_line(check: &mut dyn FnMut(&Ledger, &str, &Line)) {
    for (_, ledger) in ledgers() {
        for object in &ledger.objects {
            for line in &object.on {
                check(
                    &ledger,
                    &format!("{} {} on {}", ledger.source, object.name, line.kernel),
                    line,
                );
            }
        }
    }
}

#[test]
fn what_works_is_not_reported() {
    let mut alarms = Vec::new();
    for_each_line(&mut |_, place, line| {
        let works = matches!(line.theirs, Some(Theirs::Loads | Theirs::Runs));
        if works && !line.agrees() && line.reason.is_empty() {
            alarms.push(format!("{place}: {} ({})", line.ours.phrase(), line.we));
        }
    });
    assert!(alarms.is_empty(), "{}", alarms.join("\n"));
}

#[test]
fn what_differs_has_a_reason_and_nothing_else_has() {
    for_each_line(&mut |_, place, line| {
        assert_eq!(line.agrees(), line.reason.is_empty(), "{place}: {line:?}");
    });
}

#[test]
fn everything_is_analysed() {
    for_each_line(&mut |_, place, line| {
        assert_ne!(line.ours, Outcome::Unknown, "{place}: {}", line.we);
    });
}

#[test]
fn every_refusal_says_why() {
    for_each_line(&mut |_, place, line| {
        let bad = !matches!(line.theirs, None | Some(Theirs::Loads | Theirs::Runs));
        assert!(
            !bad || !line.said.is_empty(),
            "{place}: the kernel's words are missing"
        );
        assert!(
            line.ours == Outcome::Ok || !line.we.is_empty(),
            "{place}: our reason is missing"
        );
    });
}

#[test]
fn verdicts_are_of_asked_kernels_and_every_series_has_one() {
    let tables = Tables::bundled().unwrap();
    let series: Vec<String> = tables.releases().iter().map(ToString::to_string).collect();
    for_each_line(&mut |ledger, place, line| {
        assert_eq!(
            line.theirs.is_some(),
            ledger.asked.contains_key(&line.kernel),
            "{place}"
        );
    });
    for (path, ledger) in ledgers() {
        for object in &ledger.objects {
            let of: Vec<String> = object
                .on
                .iter()
                .map(|line| series_of(&line.kernel))
                .collect();
            assert_eq!(of, series, "{}: {}", path.display(), object.name);
        }
    }
}

#[test]
fn the_header_tells_the_version_and_the_days() {
    for (path, ledger) in ledgers() {
        let place = path.display();
        assert_eq!(
            ledger.tool,
            env!("CARGO_PKG_VERSION"),
            "{place}: run `cargo xtask ledger --lint-only`"
        );
        assert_eq!(
            path.file_stem().unwrap().to_str().unwrap(),
            series_of(&ledger.source),
            "{place}"
        );
        assert!(ledger.compiler.contains("clang"), "{place}");
        for date in ledger.asked.values().chain([&ledger.linted]) {
            assert!(is_date(date.get(..10).unwrap_or(date)), "{place}: `{date}`");
        }
    }
}

#[test]
fn it_is_sorted_and_written_as_it_is_read() {
    for (path, ledger) in ledgers() {
        let names: Vec<&str> = ledger
            .objects
            .iter()
            .map(|object| object.name.as_str())
            .collect();
        assert!(names.is_sorted(), "{}", path.display());
        assert_eq!(
            names.iter().collect::<BTreeSet<_>>().len(),
            names.len(),
            "{}",
            path.display()
        );
        assert_eq!(
            ledger.text(),
            std::fs::read_to_string(&path).unwrap(),
            "{}",
            path.display()
        );
    }
}

/// The selftests that exist to be denied something are found where the kernel denies it.
#[test]
fn selftests_that_must_fail_for_their_context_are_found() {
    let mut found = BTreeSet::new();
    for_each_line(&mut |_, place, line| {
        let denied = place.contains("enq_select_cpu_fails") || place.contains("non_scx_kfunc_deny");
        let theirs = matches!(line.theirs, Some(Theirs::Killed | Theirs::Refused));
        if denied && theirs && matches!(line.ours, Outcome::Killed | Outcome::Refused) {
            found.insert(place.split(' ').nth(1).unwrap().to_owned());
        }
    });
    assert_eq!(found.len(), 2, "{found:?}");
}

fn series_of(release: &str) -> String {
    let numbers = version(release);
    format!("{}.{}", numbers[0], numbers[1])
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    digits && parts.iter().map(|part| part.len()).eq([4, 2, 2])
}
