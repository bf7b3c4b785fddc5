//! Every fixture against every kernel: snapshots in both formats, the expectations written down in
//! its `case.toml`, and the bookkeeping that no rule lacks a fixture.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use scx_lint::kernel::{KernelSelection, Tables};
use scx_lint::report::{Level, ObjectReport, Outcome, Report, human, json, style};
use scx_lint::{CheckRequest, KernelRequest, check};
use serde::Deserialize;

/// `case.toml`; the manual is fixtures/README.md.
#[derive(Debug, Deserialize)]
struct Case {
    about: String,
    rule: Option<String>,
    neighbour: Option<String>,
    #[serde(default)]
    clean: bool,
    #[serde(default)]
    bad: bool,
    rules: Option<PathBuf>,
    btf: Option<PathBuf>,
    btf_of: Option<String>,
    #[serde(default)]
    expect: Vec<Expect>,
    #[serde(default)]
    set: BTreeMap<String, i64>,
    #[serde(flatten)]
    _other: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
struct Expect {
    program: Option<String>,
    kfunc: Option<String>,
    rule: Option<String>,
    kernels: String,
    outcome: Outcome,
    /// Of a program that is left out unless asked for: nothing needs to be said.
    #[serde(default)]
    optional: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<_> = std::fs::read_dir(root().join("fixtures"))
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path().join("case.toml")).ok()?;
            let name = entry.file_name().into_string().unwrap();
            let case =
                toml::from_str(&text).unwrap_or_else(|error| panic!("{name}/case.toml: {error}"));
            Some((name, case))
        })
        .collect();
    cases.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!cases.is_empty());
    cases
}

fn run(name: &str, case: &Case) -> Report {
    std::env::set_current_dir(root()).unwrap();
    let request = CheckRequest {
        objects: vec![PathBuf::from(format!("fixtures/{name}/{name}.bpf.o"))],
        kernels: KernelRequest {
            rules: case.rules.clone(),
            btf: case
                .btf
                .as_ref()
                .map(|btf| Path::new("fixtures").join(name).join(btf)),
            selection: case.btf_of.iter().cloned().collect(),
        },
        profile: scx_lint::profile::LoadProfile {
            set: case
                .set
                .iter()
                .map(|(name, value)| (name.clone(), i128::from(*value)))
                .collect(),
            ..Default::default()
        },
    };
    check(&request).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The kernels an expectation speaks of; a case with a kernel's types of its own has only that one.
fn kernels(case: &Case, selection: &str) -> BTreeSet<String> {
    if let Some(btf) = &case.btf {
        return BTreeSet::from([btf.display().to_string()]);
    }
    let tables = Tables::bundled().unwrap();
    let selection: KernelSelection = selection.parse().unwrap();
    selection
        .releases(&tables)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn snapshots_of_every_fixture() {
    let mut style_problems = Vec::new();
    for (name, case) in cases() {
        let mut report = run(&name, &case);
        report.tool.version = "VERSION".into();
        for diagnostic in &report.diagnostics {
            let problems = style::problems(diagnostic);
            style_problems.extend(
                problems
                    .into_iter()
                    .map(|problem| format!("{name}: {problem}")),
            );
        }
        let options = human::Options {
            series: scx_lint::series(),
            roots: vec![root().to_path_buf()],
        };
        let mut text = Vec::new();
        human::render(
            &report,
            &options,
            &mut human::termcolor::NoColor::new(&mut text),
        )
        .unwrap();
        let mut document = Vec::new();
        json::render(&report, &mut document).unwrap();
        insta::with_settings!({prepend_module_to_snapshot => false, description => case.about.clone()}, {
            insta::assert_snapshot!(format!("{name}.human"), String::from_utf8(text).unwrap());
            insta::assert_snapshot!(format!("{name}.json"), String::from_utf8(document).unwrap());
        });
    }
    assert!(style_problems.is_empty(), "{}", style_problems.join("\n"));
}

#[test]
fn every_expectation_holds() {
    let mut wrong = Vec::new();
    for (name, case) in cases() {
        let report = run(&name, &case);
        if case.bad {
            assert!(report.objects.is_empty(), "{name} is no object for us");
            assert_eq!(report.failures.len(), 1, "{name}");
            continue;
        }
        let object = &report.objects[0];
        wrong.extend(unexpected(&name, &case, object));
        if case.clean {
            for diagnostic in report
                .diagnostics
                .iter()
                .filter(|d| d.level == Level::Error)
            {
                wrong.push(format!(
                    "{name}: is clean, but {}: {}",
                    diagnostic.rule, diagnostic.message
                ));
            }
        }
        for expect in &case.expect {
            // A case with tables of its own has their kernels only.
            for kernel in kernels(&case, &expect.kernels)
                .into_iter()
                .filter(|kernel| report.kernels.contains(kernel))
            {
                let found = match &expect.program {
                    Some(program) => object
                        .programs
                        .iter()
                        .find(|p| p.name == *program)
                        .unwrap_or_else(|| panic!("{name}: no program {program}"))
                        .kernels
                        .iter()
                        .find(|v| v.kernel == kernel)
                        .map(|v| v.outcome),
                    None => object
                        .kernels
                        .iter()
                        .find(|v| v.kernel == kernel)
                        .map(|v| v.outcome),
                };
                if found != Some(expect.outcome) {
                    wrong.push(format!(
                        "{name}: {} on {kernel}: expected {:?}, found {found:?}",
                        expect.program.as_deref().unwrap_or("the object"),
                        expect.outcome
                    ));
                }
                let bad = !matches!(expect.outcome, Outcome::Ok | Outcome::Unsupported);
                let told = report.diagnostics.iter().any(|d| {
                    d.kernels.contains(&kernel)
                        && (expect.kfunc.is_none() || d.kfunc == expect.kfunc)
                        && expect.rule.as_ref().is_none_or(|rule| d.rule == *rule)
                });
                let possible = object
                    .kernels
                    .iter()
                    .any(|v| v.kernel == kernel && v.outcome != Outcome::Unsupported);
                if bad && possible && !expect.optional && !told {
                    wrong.push(format!(
                        "{name}: nothing is said of {:?} on {kernel}",
                        expect.kfunc
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What no expectation names is ok.
fn unexpected(name: &str, case: &Case, object: &ObjectReport) -> Vec<String> {
    let expected: Vec<(&Expect, BTreeSet<String>)> = case
        .expect
        .iter()
        .map(|expect| (expect, kernels(case, &expect.kernels)))
        .collect();
    let verdicts = object.programs.iter().flat_map(|program| {
        program
            .kernels
            .iter()
            .map(move |verdict| (program.name.as_str(), verdict))
    });
    verdicts
        .filter(|(program, verdict)| {
            // Tables of its own are not what the expectations speak of.
            case.rules.is_none()
                && verdict.outcome != Outcome::Ok
                && !expected.iter().any(|(expect, kernels)| {
                    kernels.contains(&verdict.kernel)
                        && expect
                            .program
                            .as_deref()
                            .is_none_or(|expected| expected == *program)
                })
        })
        .map(|(program, verdict)| {
            format!(
                "{name}: {program} on {} is {:?}",
                verdict.kernel, verdict.outcome
            )
        })
        .collect()
}

#[test]
fn every_rule_has_a_fixture_that_fires_it_and_a_neighbour_that_does_not() {
    let cases = cases();
    let mut fired: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, case) in &cases {
        for diagnostic in run(name, case).diagnostics {
            fired
                .entry(diagnostic.rule)
                .or_default()
                .insert(name.clone());
        }
    }
    for (name, case) in &cases {
        let rules = fired
            .iter()
            .filter(|(_, names)| names.contains(name))
            .map(|(rule, _)| rule);
        let rules: BTreeSet<&String> = rules.collect();
        if let Some(rule) = &case.rule {
            assert!(
                rules.contains(rule),
                "{name} does not fire {rule}, only {rules:?}"
            );
        }
        if let Some(neighbour) = &case.neighbour {
            let rule = case
                .rule
                .as_ref()
                .unwrap_or_else(|| panic!("{name} has a neighbour and no rule"));
            assert!(
                cases.iter().any(|(other, _)| other == neighbour),
                "{name}: no fixture {neighbour}"
            );
            let silent = fired
                .get(rule)
                .is_none_or(|names| !names.contains(neighbour));
            assert!(silent, "{neighbour} is to be silent and fires {rule}");
        }
    }
    for info in scx_lint::rules::ALL.iter().map(|rule| rule.info()) {
        let own: Vec<_> = cases
            .iter()
            .filter(|(_, case)| case.rule.as_deref() == Some(info.name))
            .collect();
        assert!(!own.is_empty(), "no fixture fires {}", info.name);
        assert!(
            own.iter().any(|(_, case)| case.neighbour.is_some()),
            "no fixture is a silent neighbour for {}",
            info.name
        );
    }
}
