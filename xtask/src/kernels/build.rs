//! Building the kernel that no package has with sched_ext on.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::{self, Apt};
use super::plan::Point;
use super::{KernelError, copy, create_dir, find_file, image, remove_dir, write};
use crate::tools;

/// The options over `allnoconfig`.
const CONFIG: &str = include_str!("../../kernel-config/6.12.config");

/// What a build needs besides the compiler it is started with.
const TOOLS: &[&str] = &[
    "make",
    "gcc",
    "ld",
    "flex",
    "bison",
    "bc",
    "perl",
    "cpio",
    "gzip",
    "pahole",
    "nice",
    "xz",
    "tar",
    "/usr/include/libelf.h",
    "/usr/include/openssl/ssl.h",
];

/// Says what is missing before anything is fetched.
pub fn check_tools() -> Result<(), KernelError> {
    Ok(tools::require(TOOLS)?)
}

/// Fetches the source package, builds it and puts image, configuration and BTF into a directory
/// of the release's name, which it returns. An interrupted build goes on where it was.
pub fn build(apt: &Apt, root: &Path, package: &str) -> Result<(Point, PathBuf), KernelError> {
    let work = root.join("build").join(package);
    let source = unpack_source(apt, root, package, &work)?;
    let out = work.join("out");
    create_dir(&out)?;
    let fragment = work.join("fragment.config");
    write(&fragment, CONFIG.as_bytes())?;

    let make = |arguments: &[&str]| {
        let mut command = Command::new("nice");
        command
            .arg("make")
            .args(["-s", "-C"])
            .arg(&source)
            .arg(format!("O={}", out.display()))
            .arg(format!("KCONFIG_ALLCONFIG={}", fragment.display()))
            .args(["KBUILD_BUILD_USER=scx-lint", "KBUILD_BUILD_HOST=scx-lint"])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8");
        command
    };
    tools::run(&mut make(&["allnoconfig"]))?;
    check_config(&out.join(".config"))?;
    let release: Point = tools::text(&mut make(&["kernelversion"]))?.trim().parse()?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!("{release}: building with {jobs} jobs (about 10 minutes on two processors)");
    tools::run(&mut make(&[&format!("-j{jobs}"), "bzImage"]))?;

    let directory = root.join(release.to_string());
    create_dir(&directory)?;
    copy(&out.join(".config"), &directory.join("config"))?;
    let vmlinux = super::read(&out.join("vmlinux"))?;
    let btf = image::btf_of_vmlinux(&vmlinux).map_err(|source| KernelError::Image {
        path: out.join("vmlinux"),
        source,
    })?;
    write(&root.join("btf").join(format!("{release}.btf")), &btf)?;
    write(
        &directory.join("package"),
        format!("built from {package}\n").as_bytes(),
    )?;
    // The image last: a directory with an image is complete.
    copy(
        &out.join("arch/x86/boot/bzImage"),
        &directory.join("vmlinuz"),
    )?;
    remove_dir(&work)?;
    Ok((release, directory))
}

fn unpack_source(
    apt: &Apt,
    root: &Path,
    package: &str,
    work: &Path,
) -> Result<PathBuf, KernelError> {
    let source = work.join("source");
    let done = source.join("Makefile");
    if done.exists() {
        return Ok(source);
    }
    eprintln!("{package}: fetching");
    let file = apt.download(package, &root.join("packages"))?;
    let unpacked = work.join("package");
    apt::unpack(&file, &unpacked)?;
    let tar = find_file(&unpacked, &|name| name.contains(".tar")).ok_or_else(|| {
        KernelError::NotInPackage {
            package: package.to_owned(),
            what: "source archive",
        }
    })?;
    // Unpacked beside and renamed, so that a source directory is a whole one.
    let partial = work.join("source.partial");
    remove_dir(&partial)?;
    create_dir(&partial)?;
    eprintln!("{package}: unpacking");
    tools::run(
        Command::new("tar")
            .arg("-xf")
            .arg(&tar)
            .args(["--strip-components=1", "-C"])
            .arg(&partial),
    )?;
    super::rename(&partial, &source)?;
    remove_dir(&unpacked)?;
    super::remove_file(&file)?;
    Ok(source)
}

/// An option that a dependency switched off again would be missed only much later.
fn check_config(path: &Path) -> Result<(), KernelError> {
    let text = super::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let missing: Vec<&str> = CONFIG
        .lines()
        .filter(|line| line.starts_with("CONFIG_") || line.ends_with(" is not set"))
        .filter(|wanted| !text.lines().any(|line| line == *wanted))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(KernelError::Config {
            path: path.to_owned(),
            missing: missing.join("\n  "),
        })
    }
}
