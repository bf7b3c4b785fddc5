//! `cargo xtask fixtures [--check]`: rebuild every fixture from its source, and either store the
//! objects or compare them with the stored ones byte for byte.
//!
//! Everything is compiled from the repository root under its repository-relative path, so that the
//! objects hold no path of the machine they were built on and line info names `fixtures/<case>/…`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures_bad;
use crate::fixtures_case::{Build, Case, CaseError};

/// Oldest clang major version whose BPF backend has everything the fixtures use.
const OLDEST_CLANG: u32 = 19;
/// Newest clang major version looked for under a suffixed name.
const NEWEST_CLANG: u32 = 29;

/// What can go wrong while rebuilding fixtures.
#[derive(Debug, thiserror::Error)]
pub enum FixturesError {
    /// No compiler new enough.
    #[error(
        "no clang >= {OLDEST_CLANG} found (looked for clang-{OLDEST_CLANG} .. clang-{NEWEST_CLANG} and clang): install \
         the packages `clang-{OLDEST_CLANG}` and `llvm-{OLDEST_CLANG}`, or name one in the environment variable CLANG"
    )]
    NoClang,
    /// A tool that the case needs is not there.
    #[error("cannot run `{tool}`: {source}; install the package `{package}`")]
    NoTool {
        /// Program name.
        tool: String,
        /// Debian package that has it.
        package: String,
        /// Why it did not start.
        source: io::Error,
    },
    /// A tool ran and failed.
    #[error("fixtures/{case}: `{tool}` failed:\n{stderr}")]
    ToolFailed {
        /// Case name.
        case: String,
        /// Program name.
        tool: String,
        /// What it said.
        stderr: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `case.toml` that does not follow fixtures/README.md.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A stored object differs from what its source gives.
    #[error(
        "{} fixture(s) differ from their sources: {}; run `cargo xtask fixtures` and commit the result \
         (this compiler: {compiler})",
        cases.len(),
        cases.join(", ")
    )]
    Stale {
        /// The files.
        cases: Vec<String>,
        /// Version line of the compiler used.
        compiler: String,
    },
    /// No case of that name.
    #[error("no fixture is called `{0}`: a case is a folder of fixtures/ with a case.toml")]
    UnknownCase(String),
    /// The bad inputs could not be derived.
    #[error("fixtures/bad: {0}")]
    Bad(#[from] fixtures_bad::BadInputError),
}

/// Arguments of `cargo xtask fixtures`.
#[derive(Debug, clap::Args)]
pub struct FixturesArgs {
    /// Compare with the stored objects instead of replacing them.
    #[arg(long)]
    pub check: bool,
    /// Only these cases (default: all).
    pub cases: Vec<String>,
}

/// The tools, found once.
pub struct Tools {
    /// The compiler.
    pub clang: String,
    /// What strips its objects.
    pub objcopy: String,
    /// The compiler's name for itself.
    pub version: String,
}

/// Rebuilds (or compares) the fixtures.
pub fn run(args: &FixturesArgs) -> Result<(), FixturesError> {
    let root = repository_root();
    let tools = find_tools()?;
    let scratch = root.join("target").join("fixtures");
    create_dir(&scratch)?;

    let mut made = Vec::new();
    for case in selected_cases(&root, &args.cases)? {
        let object = build_case(&root, &scratch, &tools, &case)?;
        made.push((format!("fixtures/{case}/{case}.bpf.o"), object));
        if let Some(btf) = Case::read(&root, &case)?.btf {
            let name = format!("fixtures/{case}/{}", btf.display());
            made.push((name, build_btf(&root, &scratch, &tools, &case)?));
        }
    }
    let seed = made
        .iter()
        .find(|(name, _)| name == fixtures_bad::SEED)
        .map(|(_, bytes)| bytes);
    if let Some(seed) = seed {
        for (name, bytes) in fixtures_bad::generate(seed)? {
            made.push((format!("fixtures/bad/{name}"), bytes));
        }
    }

    let mut stale = Vec::new();
    for (name, bytes) in &made {
        let path = root.join(name);
        if fs::read(&path).is_ok_and(|stored| stored == *bytes) {
            continue;
        }
        stale.push(name.clone());
        if !args.check {
            write(&path, bytes)?;
        }
    }
    if args.check && !stale.is_empty() {
        return Err(FixturesError::Stale {
            cases: stale,
            compiler: tools.version,
        });
    }
    let verb = if args.check { "compared" } else { "built" };
    println!(
        "{} fixtures {verb}, {} changed ({})",
        made.len(),
        stale.len(),
        tools.version
    );
    Ok(())
}

fn repository_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// The asked cases, or every folder of `fixtures/` that has a `case.toml`, in order.
fn selected_cases(root: &Path, asked: &[String]) -> Result<Vec<String>, FixturesError> {
    let folder = root.join("fixtures");
    let failed = |source| FixturesError::Io {
        path: folder.clone(),
        source,
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().join("case.toml").is_file() {
            all.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    all.sort();
    if asked.is_empty() {
        return Ok(all);
    }
    match asked.iter().find(|case| !all.contains(case)) {
        Some(unknown) => Err(FixturesError::UnknownCase(unknown.clone())),
        None => Ok(asked.to_vec()),
    }
}

/// Compiles one case and returns the bytes of its object.
fn build_case(
    root: &Path,
    scratch: &Path,
    tools: &Tools,
    case: &str,
) -> Result<Vec<u8>, FixturesError> {
    let Case { build, .. } = Case::read(root, case)?;

    let single = [format!("{case}.bpf.c")];
    let sources = if build.sources.is_empty() {
        &single[..]
    } else {
        &build.sources
    };
    let mut parts = Vec::new();
    for source in sources {
        let part = scratch.join(format!("{case}-{source}.o"));
        compile(root, tools, case, &build, source, &part)?;
        strip(root, tools, case, &build, &part)?;
        parts.push(part);
    }
    match parts.as_slice() {
        [only] => read(only),
        several => {
            let linked = scratch.join(format!("{case}.bpf.o"));
            let mut bpftool = Command::new("bpftool");
            bpftool.args(["gen", "object"]).arg(&linked).args(several);
            execute(&mut bpftool, root, case, "bpftool")?;
            read(&linked)
        }
    }
}

/// Compiles the `kernel.c` of a case and returns its types.
fn build_btf(
    root: &Path,
    scratch: &Path,
    tools: &Tools,
    case: &str,
) -> Result<Vec<u8>, FixturesError> {
    let object = scratch.join(format!("{case}-kernel.o"));
    let types = scratch.join(format!("{case}-kernel.btf"));
    compile(root, tools, case, &Build::default(), "kernel.c", &object)?;
    let mut objcopy = Command::new(&tools.objcopy);
    objcopy.arg(format!("--dump-section=.BTF={}", types.display()));
    objcopy.arg(&object);
    execute(&mut objcopy, root, case, "llvm")?;
    read(&types)
}

fn compile(
    root: &Path,
    tools: &Tools,
    case: &str,
    build: &Build,
    source: &str,
    output: &Path,
) -> Result<(), FixturesError> {
    let mut clang = Command::new(&tools.clang);
    clang
        .arg("-target")
        .arg(build.target.as_deref().unwrap_or("bpfel"))
        .args(["-mcpu=v3", "-O2", "-Wall", "-Werror", "-Ifixtures/include"])
        .arg(format!("-ffile-prefix-map={}=", root.display()));
    if !build.no_debug {
        clang.arg("-g");
    }
    clang
        .args(&build.args)
        .arg("-c")
        .arg(format!("fixtures/{case}/{source}"))
        .arg("-o")
        .arg(output);
    execute(&mut clang, root, case, "clang")
}

/// Drops DWARF (nothing reads it) and what the case wants gone.
fn strip(
    root: &Path,
    tools: &Tools,
    case: &str,
    build: &Build,
    object: &Path,
) -> Result<(), FixturesError> {
    let mut objcopy = Command::new(&tools.objcopy);
    objcopy.arg("--strip-debug");
    for section in &build.remove_sections {
        objcopy.arg(format!("--remove-section={section}"));
    }
    objcopy.arg(object);
    execute(&mut objcopy, root, case, "llvm")
}

fn execute(
    command: &mut Command,
    root: &Path,
    case: &str,
    package: &str,
) -> Result<(), FixturesError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(root)
        .output()
        .map_err(|source| FixturesError::NoTool {
            tool: tool.clone(),
            package: package.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(FixturesError::ToolFailed {
        case: case.to_owned(),
        tool,
        stderr,
    })
}

/// The oldest suitable clang wins: the stored objects come from it, and another version may choose
/// other instructions.
pub fn find_tools() -> Result<Tools, FixturesError> {
    let suffixed = (OLDEST_CLANG..=NEWEST_CLANG).map(|major| format!("clang-{major}"));
    let candidates = std::env::var("CLANG")
        .ok()
        .into_iter()
        .chain(suffixed)
        .chain(["clang".to_owned()]);
    for clang in candidates {
        let Some((major, version)) = clang_version(&clang) else {
            continue;
        };
        if major < OLDEST_CLANG {
            continue;
        }
        let suffixed = format!("llvm-objcopy-{major}");
        let objcopy = if runs(&suffixed) {
            suffixed
        } else {
            "llvm-objcopy".to_owned()
        };
        return Ok(Tools {
            clang,
            objcopy,
            version,
        });
    }
    Err(FixturesError::NoClang)
}

/// Major version and version line of a clang, if it runs at all.
fn clang_version(clang: &str) -> Option<(u32, String)> {
    let output = Command::new(clang).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?;
    let (_, after) = line.split_once("version ")?;
    let major = after.split('.').next()?.parse().ok()?;
    Some((major, line.to_owned()))
}

fn runs(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn read(path: &Path) -> Result<Vec<u8>, FixturesError> {
    fs::read(path).map_err(|source| FixturesError::Io {
        path: path.to_path_buf(),
        source,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FixturesError> {
    if let Some(folder) = path.parent() {
        create_dir(folder)?;
    }
    fs::write(path, bytes).map_err(|source| FixturesError::Io {
        path: path.to_path_buf(),
        source,
    })
}

fn create_dir(path: &Path) -> Result<(), FixturesError> {
    fs::create_dir_all(path).map_err(|source| FixturesError::Io {
        path: path.to_path_buf(),
        source,
    })
}
