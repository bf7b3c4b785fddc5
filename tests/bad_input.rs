//! Inputs that are no BPF object for us: exit status 2 and one clear line each, never a pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn check(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scx-lint"))
        .arg(path)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("scx-lint runs")
}

fn assert_refused(path: &Path) {
    let output = check(path);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}: {errors}",
        path.display()
    );
    assert_eq!(errors.lines().count(), 1, "{}: {errors}", path.display());
    assert!(errors.contains(path.to_str().unwrap()), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("no findings"), "{}: {said}", path.display());
}

#[test]
fn every_damaged_or_foreign_file_is_refused() {
    let mut bad: Vec<PathBuf> = std::fs::read_dir("fixtures/bad")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "o"))
        .collect();
    bad.push("fixtures/big_endian/big_endian.bpf.o".into());
    assert!(bad.len() > 20);
    bad.iter().for_each(|path| assert_refused(path));
}

#[test]
fn a_directory_a_missing_and_an_empty_file_are_refused() {
    let empty = std::env::temp_dir().join(format!("scx-lint-empty-{}.o", std::process::id()));
    std::fs::write(&empty, b"").unwrap();
    for path in [Path::new("fixtures"), Path::new("no/such/file.o"), &empty] {
        assert_refused(path);
    }
    std::fs::remove_file(&empty).unwrap();
}

/// A flip in a header may leave an object that says the same (fields nothing reads); what it may not
/// do is end in a panic, or turn an object with findings into one without.
#[test]
fn flips_in_headers_never_pass_what_was_refused() {
    let original = std::fs::read("fixtures/context_direct/context_direct.bpf.o").unwrap();
    let word = |at: usize, len: usize| {
        original[at..at + len]
            .iter()
            .rev()
            .fold(0usize, |n, byte| n << 8 | usize::from(*byte))
    };
    let (headers, size, count) = (word(0x28, 8), word(0x3a, 2), word(0x3c, 2));
    let sections = headers..headers + size * count;
    let kernels = scx_lint::KernelRequest {
        selection: vec!["7.3".into()],
        ..Default::default()
    };
    let mut passed = Vec::new();
    for at in (0..64).chain(sections) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = original.clone();
            bytes[at] ^= flip;
            let report =
                scx_lint::check_bytes("flipped", &bytes, &kernels, &Default::default()).unwrap();
            let found = report.summary.errors > 0 || !report.failures.is_empty();
            if !found {
                passed.push((at, flip));
            }
        }
    }
    assert!(
        passed.is_empty(),
        "flips (offset, mask) that pass: {passed:x?}"
    );
}
