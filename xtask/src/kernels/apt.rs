//! A second, private set of apt lists: packages of the machine's own suites and of newer ones,
//! without touching the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::KernelError;
use super::plan::Packages;
use crate::tools;

/// An apt of our own: its lists and cache live in the kernel cache.
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Points apt at the mirror this machine uses and at the suites of the plan, and fetches the
    /// package lists.
    pub fn update(root: &Path, packages: &Packages) -> Result<Apt, KernelError> {
        tools::require(&["apt-get", "apt-cache", "dpkg", "tar"])?;
        let directory = root.join("apt");
        for sub in ["lists/partial", "cache/archives/partial"] {
            super::create_dir(&directory.join(sub))?;
        }
        let sources = directory.join("sources.list");
        let signed_by = if Path::new(&packages.keyring).exists() {
            format!(" [signed-by={}]", packages.keyring)
        } else {
            // Without that file apt's own trusted keys decide.
            String::new()
        };
        let mut repositories = own_repositories()?;
        let mirror = repositories
            .iter()
            .find(|(_, suite)| !suite.contains("security"))
            .map(|(uri, _)| uri.clone())
            .ok_or(KernelError::NoMirror)?;
        repositories.extend(
            packages
                .suites
                .iter()
                .map(|suite| (mirror.clone(), suite.clone())),
        );
        repositories.sort();
        repositories.dedup();
        let lines: String = repositories
            .iter()
            .map(|(uri, suite)| format!("deb{signed_by} {uri} {suite} main\n"))
            .collect();
        super::write(&sources, lines.as_bytes())?;
        let apt = Apt {
            options: vec![
                format!("Dir::Etc::sourcelist={}", sources.display()),
                "Dir::Etc::sourceparts=-".to_owned(),
                format!("Dir::State::lists={}", directory.join("lists").display()),
                format!("Dir::Cache={}", directory.join("cache").display()),
                "APT::Architecture=amd64".to_owned(),
                "APT::Architectures=amd64".to_owned(),
                "Acquire::Languages=none".to_owned(),
                "Acquire::Retries=3".to_owned(),
                // apt's own user cannot write into a cache in somebody's home.
                "APT::Sandbox::User=root".to_owned(),
            ],
        };
        tools::run(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    /// The names of all packages there are.
    pub fn names(&self) -> Result<Vec<String>, KernelError> {
        let text = tools::text(self.command("apt-cache").arg("pkgnames"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Whether the package can be downloaded; apt also knows names it only heard of.
    pub fn available(&self, package: &str) -> bool {
        tools::text(self.command("apt-cache").args(["show", "--", package]))
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("Filename:")))
    }

    /// Downloads a package into `directory` (or finds it there, whole) and returns its path.
    pub fn download(&self, package: &str, directory: &Path) -> Result<PathBuf, KernelError> {
        super::create_dir(directory)?;
        tools::run(
            self.command("apt-get")
                .args(["-q", "download", package])
                .current_dir(directory),
        )?;
        let prefix = format!("{package}_");
        let entries = fs::read_dir(directory).map_err(|source| KernelError::File {
            path: directory.to_owned(),
            source,
        })?;
        entries
            .filter_map(Result::ok)
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(&prefix) && name.ends_with(".deb")
            })
            .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok())
            .map(|entry| entry.path())
            .ok_or_else(|| KernelError::NotDownloaded {
                package: package.to_owned(),
                directory: directory.to_owned(),
            })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        // The messages are quoted in errors and must be the same everywhere.
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

/// Unpacks a package into a directory; nothing is installed.
pub fn unpack(package: &Path, directory: &Path) -> Result<(), KernelError> {
    super::create_dir(directory)?;
    tools::run(Command::new("dpkg").arg("-x").arg(package).arg(directory))?;
    Ok(())
}

/// The distribution's repositories that the machine's own apt uses: address and suite.
fn own_repositories() -> Result<Vec<(String, String)>, KernelError> {
    let text = tools::text(&mut tools::command(
        "apt-get",
        [
            "indextargets",
            "--format",
            "$(ORIGIN) $(RELEASE) $(REPO_URI)",
            "Created-By: Packages",
        ],
    ))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (origin, suite, uri) = (words.next()?, words.next()?, words.next()?);
            (origin == "Debian").then(|| (uri.to_owned(), suite.to_owned()))
        })
        .collect())
}
