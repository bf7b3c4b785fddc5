//! Compiles the BPF half with the machine's clang, and has scx-lint check the object against every
//! kernel it knows: an error fails the build with the finding.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;
use scx_lint::report::human;
use scx_lint::{KernelRequest, check_bytes, series};

const SOURCE: &str = "bpf/scx_tiers.bpf.c";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let object = PathBuf::from(std::env::var("OUT_DIR")?).join("scx_tiers.bpf.o");
    let mut builder = SkeletonBuilder::new();
    builder.source(SOURCE).obj(&object).clang_args([
        "-Wall",
        "-Wno-missing-declarations",
        "-mcpu=v3",
    ]);
    if let Some(clang) = clang() {
        println!("cargo::rustc-env=SCX_TIERS_CLANG={clang}");
        builder.clang(clang);
    }
    builder.build()?;
    gate(&object)?;
    println!("cargo::rustc-env=SCX_TIERS_OBJECT={}", object.display());
    Ok(())
}

/// Why the object is not to be shipped.
enum Refusal {
    Findings(String),
    Unchecked(String),
}

impl Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Findings(findings) => write!(f, "{SOURCE} fails on a kernel\n\n{findings}"),
            Self::Unchecked(why) => write!(f, "{SOURCE} cannot be checked: {why}"),
        }
    }
}

// Cargo shows what `main` returns by `Debug`, and findings are to be read.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn gate(object: &Path) -> Result<(), Box<dyn Error>> {
    // Every kernel by name: none may be left out as not supported.
    let kernels = KernelRequest {
        selection: vec!["all".to_owned()],
        ..KernelRequest::default()
    };
    let bytes = std::fs::read(object)?;
    let report = check_bytes("scx_tiers.bpf.o", &bytes, &kernels, &Default::default())?;
    if let Some(failure) = report.failures.first() {
        return Err(Refusal::Unchecked(failure.message.clone()).into());
    }
    if report.summary.errors == 0 {
        return Ok(());
    }
    let options = human::Options {
        series: series(),
        ..human::Options::default()
    };
    Err(Refusal::Findings(human::to_text(&report, &options)?).into())
}

/// The compiler: `CLANG`, else the first of these that is installed, else
/// whatever libbpf-cargo finds.
fn clang() -> Option<String> {
    if let Ok(named) = std::env::var("CLANG") {
        return Some(named);
    }
    let path = std::env::var_os("PATH")?;
    let installed = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    std::iter::once("clang".to_owned())
        .chain((16..=22).rev().map(|version| format!("clang-{version}")))
        .find(|name| installed(name))
}
