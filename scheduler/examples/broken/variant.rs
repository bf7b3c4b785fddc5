//! Variants of the scheduler's source that each break one rule: read, apply,
//! compile. Used by the test of the gate and by the `broken` example, each of
//! which reads some of the fields.
#![allow(dead_code)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;
use serde::Deserialize;

/// One variant: a file in `broken/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The file's name without its end.
    #[serde(skip)]
    pub name: String,
    /// What it does and why that is wrong.
    pub what: String,
    /// The rule that must find it.
    pub rule: String,
    /// The kfunc at fault, where there is one.
    pub kfunc: Option<String>,
    /// The mode that loads what was changed, as on the command line.
    pub mode: String,
    /// Kernels on which it is wrong, as for `--kernel`.
    pub kernels: Vec<String>,
    /// The finding is about the object as a whole and has no line: a declaration
    /// leaves none in it.
    #[serde(default)]
    pub whole_object: bool,
    /// The change.
    pub change: Change,
}

/// A replacement in the source: `find` occurs exactly once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The file in `bpf/`.
    pub file: String,
    /// What is there.
    pub find: String,
    /// What comes in its place.
    pub replace: String,
    /// A part of the line a finding must name; it is in `replace`.
    pub line: String,
}

/// The crate's directory.
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All variants, by name.
pub fn all() -> Result<Vec<Variant>, Box<dyn Error>> {
    let mut variants = Vec::new();
    for entry in fs::read_dir(home().join("broken"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let mut variant: Variant =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        variant.name = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        variants.push(variant);
    }
    variants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(variants)
}

impl Variant {
    /// Applies the change to a copy of the source in `dir` and compiles it.
    /// Returns the object and the number of the changed line.
    pub fn build(&self, dir: &Path) -> Result<(PathBuf, usize), Box<dyn Error>> {
        let source = dir.join(&self.name);
        fs::create_dir_all(&source)?;
        for entry in fs::read_dir(home().join("bpf"))? {
            let path = entry?.path();
            if let Some(name) = path.file_name() {
                fs::copy(&path, source.join(name))?;
            }
        }
        let file = source.join(&self.change.file);
        let text = fs::read_to_string(&file)?;
        let found = text.matches(&self.change.find).count();
        if found != 1 {
            return Err(format!("{}: `find` occurs {found} times", self.name).into());
        }
        let broken = text.replacen(&self.change.find, &self.change.replace, 1);
        let start = text.find(&self.change.find).unwrap_or_default();
        let line = broken
            .lines()
            .enumerate()
            .skip(text[..start].lines().count().saturating_sub(1))
            .find(|(_, line)| line.contains(&self.change.line))
            .map(|(at, _)| at + 1)
            .ok_or_else(|| format!("{}: no line has `{}`", self.name, self.change.line))?;
        fs::write(&file, broken)?;
        let object = dir.join(format!("{}.bpf.o", self.name));
        compile(&source.join("scx_tiers.bpf.c"), &object)?;
        Ok((object, line))
    }
}

/// Compiles as build.rs does.
fn compile(source: &Path, object: &Path) -> Result<(), Box<dyn Error>> {
    let mut builder = SkeletonBuilder::new();
    builder.source(source).obj(object).clang_args(["-mcpu=v3"]);
    if let Some(clang) = option_env!("SCX_TIERS_CLANG") {
        builder.clang(clang);
    }
    builder.build()?;
    Ok(())
}
