//! Compiles the BPF half with the machine's clang.

use std::error::Error;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

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
    println!("cargo::rustc-env=SCX_TIERS_OBJECT={}", object.display());
    Ok(())
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
