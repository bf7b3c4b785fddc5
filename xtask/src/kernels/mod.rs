//! `cargo xtask kernels`: real kernels in a cache outside the tree.
//!
//! Layout of the cache, `${XDG_CACHE_HOME:-~/.cache}/scx-lint/kernels/`:
//!
//! ```text
//! <X.Y.Z>/vmlinuz    the image; there only when the rest is
//! <X.Y.Z>/config     its configuration, where the packages have it
//! <X.Y.Z>/package    where it came from
//! btf/<X.Y.Z>.btf    its BTF
//! btf/<X.Y>.btf      the BTF of the newest release of the series in the cache
//! apt/ packages/ build/   work in progress
//! ```

pub mod apt;
mod build;
mod image;
pub mod plan;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use plan::{BadVersion, Plan, Point, Series, Wanted};

use crate::tools::{self, ToolError};
use apt::Apt;

/// Arguments of `cargo xtask kernels`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A series (7.1: its newest release) or a release (7.1.13); every kernel of the plan if
    /// none is given
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<Wanted>,
    /// Look for newer point releases of what is already there
    #[arg(long)]
    refresh: bool,
}

/// Why a kernel could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Neither cache directory is known.
    #[error("no place for the cache: set HOME or XDG_CACHE_HOME")]
    NoCache,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `kernels.toml` is wrong.
    #[error("xtask/kernels.toml: {0}")]
    Plan(Box<toml::de::Error>),
    /// Not a version.
    #[error(transparent)]
    Version(#[from] BadVersion),
    /// Nobody said how to get that kernel.
    #[error("xtask/kernels.toml says nothing of {wanted}; it has {known}")]
    NotInPlan {
        /// What was asked for.
        wanted: Wanted,
        /// What there is.
        known: String,
    },
    /// The machine's apt has no Debian repository.
    #[error(
        "apt on this machine has no package lists of Debian to take a mirror from\n  \
         run: apt-get update (the kernels come as Debian packages)"
    )]
    NoMirror,
    /// No package of that name pattern can be downloaded.
    #[error("no package with a kernel {wanted} can be downloaded (looked for {pattern})")]
    NoPackage {
        /// What was asked for.
        wanted: Wanted,
        /// The names that would do.
        pattern: String,
    },
    /// apt said it had downloaded the package, and it is not there.
    #[error("apt-get download {package} left no package in {}", directory.display())]
    NotDownloaded {
        /// The package.
        package: String,
        /// Where it should be.
        directory: PathBuf,
    },
    /// A package lacks what it should hold.
    #[error("{package} holds no {what}")]
    NotInPackage {
        /// The package.
        package: String,
        /// What was looked for.
        what: &'static str,
    },
    /// No BTF came out of an image.
    #[error("{}: {source}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// Options that did not take effect.
    #[error("{}: these options did not take effect; a dependency is missing:\n  {missing}", path.display())]
    Config {
        /// The configuration that came out.
        path: PathBuf,
        /// The lines that are not in it.
        missing: String,
    },
    /// Not in the cache.
    #[error("kernel {0} is not in the cache\n  run: cargo xtask kernels --kernel {0}")]
    NotCached(Wanted),
}

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `7.1.13`
    pub release: Point,
    /// The bootable image.
    pub image: PathBuf,
    /// Its configuration, if the packages had it.
    pub config: Option<PathBuf>,
    /// Its BTF.
    pub btf: PathBuf,
}

/// The cache.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache of this user.
    pub fn open() -> Result<Cache, KernelError> {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .filter(|value| Path::new(value).is_absolute())
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .ok_or(KernelError::NoCache)?;
        Ok(Cache {
            root: base.join("scx-lint/kernels"),
        })
    }

    /// Where the answers of probed kernels are kept.
    pub fn probe_results(&self) -> PathBuf {
        self.root.with_file_name("probe")
    }

    /// Where the kernels' own schedulers are kept, compiled.
    pub fn ledger(&self) -> PathBuf {
        self.root.with_file_name("ledger")
    }

    /// Where everything of this cache is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The newest kernel in the cache that is what is wanted.
    pub fn find(&self, wanted: Wanted) -> Result<Kernel, KernelError> {
        let release = self
            .releases()
            .into_iter()
            .rev()
            .find(|release| wanted.accepts(*release))
            .ok_or(KernelError::NotCached(wanted))?;
        let directory = self.root.join(release.to_string());
        let config = directory.join("config");
        Ok(Kernel {
            release,
            image: directory.join("vmlinuz"),
            config: config.exists().then_some(config),
            btf: self.root.join("btf").join(format!("{release}.btf")),
        })
    }

    /// The configuration of the newest kernel in the cache that is no newer than this and has one, or
    /// else of the oldest that has one.
    pub fn nearest_config(&self, release: Point) -> Option<PathBuf> {
        let configs = |releases: Vec<Point>| {
            let paths = releases
                .into_iter()
                .map(|release| self.root.join(release.to_string()).join("config"));
            paths.filter(|path| path.exists()).collect::<Vec<_>>()
        };
        let (older, newer) = self
            .releases()
            .into_iter()
            .partition(|other| *other <= release);
        configs(older)
            .into_iter()
            .next_back()
            .or_else(|| configs(newer).into_iter().next())
    }

    /// The newest kernel of every series in the cache, oldest series first.
    pub fn all(&self) -> Result<Vec<Kernel>, KernelError> {
        let mut series: Vec<Series> = self.releases().iter().map(|r| r.series).collect();
        series.dedup();
        series
            .into_iter()
            .map(|series| {
                self.find(Wanted {
                    series,
                    point: None,
                })
            })
            .collect()
    }

    /// All complete kernels, oldest first.
    fn releases(&self) -> Vec<Point> {
        let mut releases: Vec<Point> = fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("vmlinuz").exists())
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        releases.sort_unstable();
        releases
    }
}

/// Runs `cargo xtask kernels`.
pub fn run(args: &Args) -> Result<(), KernelError> {
    let cache = Cache::open()?;
    let plan = Plan::load()?;
    let wanted = if args.kernel.is_empty() {
        plan.kernels
            .iter()
            .map(|entry| Wanted {
                series: entry.series,
                point: None,
            })
            .collect()
    } else {
        args.kernel.clone()
    };
    let mut missing = Vec::new();
    for wanted in wanted {
        let entry = plan.entry(wanted)?;
        match cache.find(wanted) {
            Ok(_) if !args.refresh => {}
            _ => missing.push((wanted, entry)),
        }
    }
    if !missing.is_empty() {
        // The packages first: they are there in seconds, a build takes minutes.
        missing.sort_by_key(|(_, entry)| entry.source.is_some());
        if missing.iter().any(|(_, entry)| entry.source.is_some()) {
            build::check_tools()?;
        }
        create_dir(&cache.root.join("btf"))?;
        let apt = Apt::update(&cache.root, &plan.packages)?;
        let names = apt.names()?;
        for (wanted, entry) in missing {
            match &entry.source {
                Some(package) => {
                    build::build(&apt, &cache.root, package)?;
                }
                None => fetch(&apt, &names, &cache, &plan, wanted)?,
            }
        }
    }
    for kernel in cache.all()? {
        // The short name is a copy: whoever reads the cache needs to know only the series.
        let short = cache
            .root
            .join("btf")
            .join(format!("{}.btf", kernel.release.series));
        copy(&kernel.btf, &short)?;
        tools::say(format_args!(
            "{:<8} {}",
            kernel.release.to_string(),
            kernel.image.display()
        ));
    }
    Ok(())
}

/// Fetches the newest packaged kernel that is wanted.
fn fetch(
    apt: &Apt,
    names: &[String],
    cache: &Cache,
    plan: &Plan,
    wanted: Wanted,
) -> Result<(), KernelError> {
    let packages = &plan.packages;
    for package in plan::candidates(names, wanted, packages) {
        let directory = cache.root.join(package.release.to_string());
        if directory.join("vmlinuz").exists() {
            return Ok(());
        }
        if !apt.available(&package.name) {
            continue;
        }
        eprintln!("{}: fetching {}", package.release, package.name);
        let work = cache.root.join("packages").join(&package.name);
        let file = apt.download(&package.name, &work)?;
        let unpacked = work.join("unpacked");
        apt::unpack(&file, &unpacked)?;
        let Some(image) = image::find_image(&unpacked) else {
            // Named like a package with an image, but only depends on one.
            remove_dir(&work)?;
            continue;
        };
        let config_package = format!("{}{}", packages.config_prefix, package.tail);
        if find_config(&unpacked).is_none() && apt.available(&config_package) {
            let file = apt.download(&config_package, &work)?;
            apt::unpack(&file, &unpacked)?;
        }
        let bytes = read(&image)?;
        let btf = image::btf_of_bzimage(&bytes).map_err(|source| KernelError::Image {
            path: image.clone(),
            source,
        })?;
        write(
            &cache
                .root
                .join("btf")
                .join(format!("{}.btf", package.release)),
            &btf,
        )?;
        create_dir(&directory)?;
        if let Some(config) = find_config(&unpacked) {
            copy(&config, &directory.join("config"))?;
        }
        let origin = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        write(
            &directory.join("package"),
            format!("{}\n", origin.unwrap_or_default()).as_bytes(),
        )?;
        // The image last: a directory with an image is complete.
        write(&directory.join("vmlinuz"), &bytes)?;
        return remove_dir(&work);
    }
    Err(KernelError::NoPackage {
        wanted,
        pattern: packages
            .image_prefixes
            .iter()
            .map(|prefix| format!("{prefix}{wanted}*{}", packages.image_suffix))
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn find_config(directory: &Path) -> Option<PathBuf> {
    find_file(directory, &|name| {
        name == "config" || name.starts_with("config-")
    })
}

/// The first regular file under `directory` whose name fits.
fn find_file(directory: &Path, fits: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).ok()?.filter_map(Result::ok) {
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_str().is_some_and(fits) {
                return Some(entry.path());
            }
        }
    }
    None
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, KernelError> {
    result.map_err(|source| KernelError::File {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, KernelError> {
    at(path, fs::read(path))
}

/// Writes beside and renames, so that nobody reads half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<(), KernelError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    at(&partial, fs::write(&partial, bytes))?;
    rename(&partial, path)
}

fn rename(from: &Path, to: &Path) -> Result<(), KernelError> {
    at(to, fs::rename(from, to))
}

fn copy(from: &Path, to: &Path) -> Result<(), KernelError> {
    write(to, &read(from)?)
}

fn create_dir(path: &Path) -> Result<(), KernelError> {
    at(path, fs::create_dir_all(path))
}

fn remove_dir(path: &Path) -> Result<(), KernelError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => at(path, other),
    }
}

fn remove_file(path: &Path) -> Result<(), KernelError> {
    at(path, fs::remove_file(path))
}
