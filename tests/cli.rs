//! The program as a caller sees it: exit status, what goes to which stream, and one clear line for
//! each input that cannot be had.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Exit status, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_scx-lint"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().expect("no signal"),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("scx-lint-cli-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn each_unusable_input_is_one_line_on_stderr_and_status_2() {
    let dir = scratch("inputs");
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    fs::write(path("empty"), "").unwrap();
    File::create(path("huge"))
        .unwrap()
        .set_len(5 << 30)
        .unwrap();
    fs::write(path("secret"), "x").unwrap();
    fs::set_permissions(path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let inputs = [
        path(""),
        path("empty"),
        path("huge"),
        path("none"),
        path("esc\x1b[2J\n"),
    ];

    let (status, stdout, stderr) = run(&inputs.each_ref().map(String::as_str));
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), inputs.len(), "{stderr}");
    assert!(
        lines.iter().all(|line| line.starts_with("scx-lint: ")),
        "{stderr}"
    );
    assert!(!stderr.contains('\x1b'), "{stderr:?}");

    // Root reads everything.
    if File::open(path("secret")).is_err() {
        let (status, _, stderr) = run(&[&path("secret")]);
        assert_eq!(status, 2);
        assert!(
            stderr.contains("cannot be read: Permission denied"),
            "{stderr}"
        );
    }

    let (status, stdout, _) = run(&[&path("empty"), "--format", "json"]);
    assert_eq!(status, 2);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["failures"][0]["path"], path("empty"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_malformed_configuration_is_status_2_with_its_place() {
    let dir = scratch("config");
    let config = dir.join("c.toml");
    fs::write(&config, "[profile]\nset = 1\n").unwrap();
    let config = config.to_str().unwrap();
    let (status, stdout, stderr) = run(&["none.bpf.o", "--config", config]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(
        stderr.starts_with(&format!("scx-lint: {config}:2:7: ")),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1);
    let (status, _, stderr) = run(&["none.bpf.o", "--config", "/none.toml"]);
    assert_eq!(status, 2);
    assert!(stderr.contains("/none.toml: cannot be read"), "{stderr}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn help_version_man_and_completions_are_status_0() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["man"],
        &["completions", "zsh"],
        &["explain"],
    ] {
        let (status, _, stderr) = run(arguments);
        assert_eq!((status, stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn wrong_usage_is_status_2_and_says_so_on_stderr() {
    for arguments in [
        &[][..],
        &["check"],
        &["--format", "xml", "a.o"],
        &["explain", "no-such-rule"],
    ] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_scx-lint"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    child.wait().unwrap();
    assert_eq!(stderr, "");
}
