//! What the README shows is what happens: runs its blocks that are marked `run`.
//!
//! ```` ```sh run ```` holds commands, one a line, that must succeed. ```` ```console run ```` holds
//! `$ command` lines, each followed by what it prints on standard output, where a line `...` stands
//! for any lines; `$ echo $?` is the status of the command before it, which must be 0 if not shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

/// One command and what the README says of it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    output: Option<Vec<String>>,
    status: i32,
}

#[test]
fn the_readme_shows_what_happens() {
    let readme = include_str!("../README.md");
    let steps = steps(readme);
    assert!(
        steps.iter().any(|step| step.command == "cargo test"),
        "the README shows the test command"
    );
    assert!(
        steps
            .iter()
            .any(|step| step.command.starts_with("cargo run --release -- fixtures/")),
        "the README shows how to check an object"
    );
    // That one is what is running this.
    for step in steps.iter().filter(|step| step.command != "cargo test") {
        let output = Command::new("sh")
            .args(["-c", &step.command])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("NO_COLOR", "1")
            .output()
            .expect("sh runs");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let context = format!(
            "README.md:{}: {}\n{stdout}\n{stderr}",
            step.line, step.command
        );
        assert_eq!(output.status.code(), Some(step.status), "{context}");
        if let Some(expected) = &step.output {
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            let actual: Vec<&str> = stdout.lines().collect();
            assert!(
                matches(&expected, &actual),
                "{context}\nexpected:\n{}",
                expected.join("\n")
            );
        }
    }
}

/// The steps of all marked blocks.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut language: Option<&str> = None;
    for (at, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), language) {
            (Some(info), None) => {
                let words: Vec<&str> = info.split_whitespace().collect();
                language = Some(match words.as_slice() {
                    ["sh", "run"] => "sh",
                    ["console", "run"] => "console",
                    _ => "",
                });
            }
            (Some(_), Some(_)) => language = None,
            (None, Some("sh")) if !line.is_empty() => {
                steps.push(Step {
                    line: at + 1,
                    command: line.to_owned(),
                    output: None,
                    status: 0,
                });
            }
            (None, Some("console")) => match line.strip_prefix("$ ") {
                Some("echo $?") => {
                    // The status follows as output; it belongs to the command before.
                    steps.push(Step {
                        line: at + 1,
                        command: "echo $?".into(),
                        output: Some(vec![]),
                        status: 0,
                    });
                }
                Some(command) => {
                    steps.push(Step {
                        line: at + 1,
                        command: command.into(),
                        output: Some(vec![]),
                        status: 0,
                    });
                }
                None => {
                    let step = steps.last_mut().expect("output follows a command");
                    step.output
                        .as_mut()
                        .expect("a console block")
                        .push(line.to_owned());
                }
            },
            _ => {}
        }
    }
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        if step.command == "echo $?" {
            let shown = step.output.expect("console")[0].parse().expect("a status");
            joined.last_mut().expect("a command before").status = shown;
        } else {
            joined.push(step);
        }
    }
    joined
}

/// Whether `actual` is what `expected` shows, `...` standing for any lines.
fn matches(expected: &[&str], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((&"...", rest)) => (0..=actual.len()).any(|skip| matches(rest, &actual[skip..])),
        Some((line, rest)) => actual.first() == Some(line) && matches(rest, &actual[1..]),
    }
}

#[test]
fn blocks_are_read_as_described() {
    let text = "```sh run\ntrue\n```\n```sh\nnot this\n```\n```console run\n$ false\nout\n...\n$ echo $?\n1\n```\n";
    assert_eq!(
        steps(text),
        [
            Step {
                line: 2,
                command: "true".into(),
                output: None,
                status: 0
            },
            Step {
                line: 8,
                command: "false".into(),
                output: Some(vec!["out".into(), "...".into()]),
                status: 1
            },
        ]
    );
    assert!(matches(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(matches(&["...", "d", "..."], &["a", "d"]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(!matches(&["a", "...", "x"], &["a", "b"]));
}
