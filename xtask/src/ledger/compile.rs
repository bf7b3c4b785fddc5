//! The kernel's own schedulers, from its source package to objects in the cache. Nothing of theirs
//! enters the tree.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::LedgerError;
use super::plan::Source;
use crate::fixtures::{Tools, find_tools};
use crate::kernels::apt::{self, Apt};
use crate::kernels::{Cache, Plan as KernelPlan, Point, Wanted};
use crate::tools;

/// What of a source tree is needed: the schedulers, and what they include.
const NEEDED: &[&str] = &[
    "Makefile",
    "tools/sched_ext",
    "tools/testing/selftests/sched_ext",
    "tools/lib/bpf",
    "tools/include",
    "include/uapi/linux/bpf.h",
    "scripts/bpf_doc.py",
];

/// Where the schedulers are, and what we call the place.
const DIRECTORIES: &[(&str, &str)] = &[
    ("tools", "tools/sched_ext"),
    ("selftests", "tools/testing/selftests/sched_ext"),
];

/// What a BPF source is called.
const SOURCE: &str = ".bpf.c";

/// Flags of the schedulers' own makefiles, of all releases: one that a release does not use yet only
/// allows more.
const FLAGS: &[&str] = &[
    "-g",
    "-O2",
    "-mcpu=v3",
    "-target",
    "bpf",
    "-mlittle-endian",
    "-D__TARGET_ARCH_x86",
    "-fms-extensions",
    "-Wno-microsoft-anon-tag",
    "-Wno-compare-distinct-pointer-types",
    "-Wno-incompatible-function-pointer-types",
];

/// All objects of one source.
pub struct Compiled {
    /// The release the source is of.
    pub release: Point,
    /// The compiler's name for itself.
    pub compiler: String,
    /// Name and file, by name.
    pub objects: Vec<(String, PathBuf)>,
}

/// Fetches the source if it is not there and compiles what is not compiled yet.
pub fn compile(cache: &Cache, source: &Source) -> Result<Compiled, LedgerError> {
    let Tools {
        clang,
        objcopy,
        version: compiler,
    } = find_tools()?;
    tools::require(&["bpftool", "python3", "tar", "dpkg"])?;
    let tree = tree(cache, source)?;
    let release = release(&tree)?;
    let work = cache.ledger().join(release.to_string());
    // Objects made otherwise are made anew.
    let stamp = work.join("compiled");
    let made = format!("{compiler}\n{}\n", FLAGS.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == made) {
        return Ok(Compiled {
            release,
            compiler,
            objects: objects(&work)?,
        });
    }
    eprintln!("{release}: compiling the kernel's schedulers");
    let include = headers(cache, release, &tree, &work)?;
    for (name, directory) in DIRECTORIES {
        let out = work.join("objects").join(name);
        at(&out, fs::create_dir_all(&out))?;
        for file in files(&tree.join(directory), SOURCE)? {
            let stem = stem(&file, SOURCE);
            let object = out.join(format!("{stem}.bpf.o"));
            let mut command = Command::new("nice");
            command.arg(&clang).args(FLAGS);
            // Objects name files by their place in the tree, and are the same on every machine.
            command.arg(format!("-ffile-prefix-map={}=", tree.display()));
            command.arg(format!("-ffile-prefix-map={}=include", include.display()));
            command.arg("-I").arg(&include);
            for path in ["include", "include/bpf-compat"] {
                command
                    .arg(format!("-I{directory}/{path}"))
                    .arg(format!("-Itools/sched_ext/{path}"));
            }
            command.arg("-Itools/include/uapi");
            // What `-target bpf` does not look at, such as asm/.
            command
                .arg("-idirafter")
                .arg("/usr/include/x86_64-linux-gnu")
                .arg("-idirafter")
                .arg("/usr/include");
            command
                .arg("-c")
                .arg(format!("{directory}/{stem}{SOURCE}"))
                .arg("-o")
                .arg(&object);
            tools::run(command.current_dir(&tree))?;
            // DWARF, which nobody reads; BTF stays.
            tools::run(Command::new(&objcopy).arg("--strip-debug").arg(&object))?;
        }
    }
    at(&stamp, fs::write(&stamp, &made))?;
    Ok(Compiled {
        release,
        compiler,
        objects: objects(&work)?,
    })
}

/// The source tree, as far as we need it.
fn tree(cache: &Cache, source: &Source) -> Result<PathBuf, LedgerError> {
    let sources = cache.root().join("src");
    let tree = sources.join(&source.package);
    // The makefile comes first in the archive; a whole extraction has all of it.
    if NEEDED.iter().all(|path| tree.join(path).exists()) {
        return Ok(tree);
    }
    let apt = Apt::update(cache.root(), &KernelPlan::load()?.packages)?;
    eprintln!("{}: fetching", source.package);
    let file = apt.download(&source.package, &cache.root().join("packages"))?;
    let unpacked = sources.join(format!("{}.package", source.package));
    apt::unpack(&file, &unpacked)?;
    let archives = unpacked.join("usr/src");
    let archive = files(&archives, "")?
        .into_iter()
        .find(|path| path.to_string_lossy().contains(".tar"))
        .ok_or_else(|| LedgerError::NoArchive(source.package.clone()))?;
    eprintln!("{}: unpacking", source.package);
    let members = NEEDED
        .iter()
        .map(|path| format!("{}/{path}", source.package));
    tools::run(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(&sources)
            .args(members),
    )?;
    at(&unpacked, fs::remove_dir_all(&unpacked))?;
    at(&file, fs::remove_file(&file))?;
    Ok(tree)
}

/// The release of a source tree, from its makefile.
fn release(tree: &Path) -> Result<Point, LedgerError> {
    let path = tree.join("Makefile");
    let text = at(&path, fs::read_to_string(&path))?;
    let number = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    let release = format!(
        "{}.{}.{}",
        number("VERSION"),
        number("PATCHLEVEL"),
        number("SUBLEVEL")
    );
    release.parse().map_err(|_| LedgerError::NoRelease {
        path,
        found: release,
    })
}

/// What the schedulers' makefiles generate: the kernel's types and libbpf's headers.
fn headers(
    cache: &Cache,
    release: Point,
    tree: &Path,
    work: &Path,
) -> Result<PathBuf, LedgerError> {
    let include = work.join("include");
    let bpf = include.join("bpf");
    at(&bpf, fs::create_dir_all(&bpf))?;
    let exact = cache.find(Wanted {
        series: release.series,
        point: Some(release.point),
    });
    let kernel = exact.or_else(|_| {
        cache.find(Wanted {
            series: release.series,
            point: None,
        })
    })?;
    let types = tools::output(
        Command::new("bpftool")
            .args(["btf", "dump", "file"])
            .arg(&kernel.btf)
            .args(["format", "c"]),
    )?;
    let vmlinux = include.join("vmlinux.h");
    at(&vmlinux, fs::write(&vmlinux, types))?;
    for header in files(&tree.join("tools/lib/bpf"), ".h")? {
        let to = bpf.join(header.file_name().unwrap_or_default());
        at(&to, fs::copy(&header, &to))?;
    }
    let helpers = tools::output(
        Command::new("python3")
            .arg(tree.join("scripts/bpf_doc.py"))
            .args(["--header", "--file"])
            .arg(tree.join("tools/include/uapi/linux/bpf.h")),
    )?;
    let path = bpf.join("bpf_helper_defs.h");
    at(&path, fs::write(&path, helpers))?;
    Ok(include)
}

fn objects(work: &Path) -> Result<Vec<(String, PathBuf)>, LedgerError> {
    let mut all = Vec::new();
    for (name, _) in DIRECTORIES {
        for file in files(&work.join("objects").join(name), ".bpf.o")? {
            all.push((format!("{name}/{}", stem(&file, ".bpf.o")), file));
        }
    }
    all.sort();
    Ok(all)
}

fn stem(file: &Path, suffix: &str) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(suffix).unwrap_or(&name).to_owned()
}

/// The files of a directory whose name ends so, in order.
fn files(directory: &Path, suffix: &str) -> Result<Vec<PathBuf>, LedgerError> {
    let entries = at(directory, fs::read_dir(directory))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.ends_with(suffix))
    };
    let mut all: Vec<PathBuf> = paths.filter(fits).collect();
    all.sort();
    Ok(all)
}

fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, LedgerError> {
    result.map_err(|source| LedgerError::File {
        path: path.to_owned(),
        source,
    })
}
