//! Lists the files of `rules/`, so that a new kernel is one new data file and no code.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = std::env::var("OUT_DIR").map_err(io::Error::other)?;
    let rules = Path::new(&manifest).join("rules");
    println!("cargo::rerun-if-changed=rules");
    let mut files = Vec::new();
    for directory in [rules.clone(), rules.join("kernels")] {
        println!("cargo::rerun-if-changed={}", directory.display());
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut code = String::from("pub(super) static FILES: &[(&str, &str)] = &[\n");
    for path in files {
        let name: PathBuf = path
            .strip_prefix(&rules)
            .map_err(io::Error::other)?
            .to_owned();
        let _ = writeln!(
            code,
            "    ({:?}, include_str!({:?})),",
            name.display().to_string(),
            path.display().to_string()
        );
    }
    code.push_str("];\n");
    std::fs::write(Path::new(&out).join("rules.rs"), code)
}
