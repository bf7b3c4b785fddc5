//! The guest's file system: a cpio archive (`newc`) built in memory.
//!
//! Written by hand because it is thirty lines; uncompressed because an emulated processor
//! unpacks slower than it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::VmError;
use crate::tools;

const INIT: &str = include_str!("init.sh");

enum Node {
    Directory,
    File {
        mode: u32,
        bytes: Vec<u8>,
    },
    Link(PathBuf),
    /// The console, which the kernel opens before devtmpfs is mounted.
    Console,
}

/// Collects the guest's files and writes them out.
pub struct Initramfs {
    nodes: BTreeMap<PathBuf, Node>,
    scanned: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// A guest that boots: busybox and our init.
    pub fn new() -> Result<Initramfs, VmError> {
        let mut this = Initramfs {
            nodes: BTreeMap::new(),
            scanned: BTreeSet::new(),
        };
        let busybox = which("busybox")?;
        this.add_host_file(&busybox, Path::new("/bin/busybox"))?;
        this.add_bytes(Path::new("/init"), 0o755, INIT.as_bytes().to_vec());
        this.insert(Path::new("/dev/console"), Node::Console);
        this.insert(Path::new("/work"), Node::Directory);
        Ok(this)
    }

    /// A file with the given content.
    pub fn add_bytes(&mut self, guest: &Path, mode: u32, bytes: Vec<u8>) {
        self.insert(guest, Node::File { mode, bytes });
    }

    /// A file or a directory of the host, with the shared libraries that programs in it need.
    pub fn add_host(&mut self, host: &Path, guest: &Path) -> Result<(), VmError> {
        let meta = at(host, fs::metadata(host))?;
        if !meta.is_dir() {
            return self.add_host_file(host, guest);
        }
        self.insert(guest, Node::Directory);
        for entry in at(host, fs::read_dir(host))? {
            let entry = at(host, entry)?;
            let target = guest.join(entry.file_name());
            let kind = at(&entry.path(), entry.file_type())?;
            if kind.is_symlink() {
                let link = at(&entry.path(), fs::read_link(entry.path()))?;
                self.insert(&target, Node::Link(link));
            } else {
                self.add_host(&entry.path(), &target)?;
            }
        }
        Ok(())
    }

    fn add_host_file(&mut self, host: &Path, guest: &Path) -> Result<(), VmError> {
        let bytes = at(host, fs::read(host))?;
        let mode = at(host, fs::metadata(host))?.permissions().mode() & 0o7777;
        // BPF objects are ELF too, and ldd has nothing to say of them.
        let program = bytes.starts_with(b"\x7fELF") && mode & 0o111 != 0;
        self.add_bytes(guest, mode, bytes);
        if program && self.scanned.insert(host.to_owned()) {
            for library in libraries(host)? {
                if !self.nodes.contains_key(&library) {
                    let bytes = at(&library, fs::read(&library))?;
                    self.add_bytes(&library, 0o755, bytes);
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, guest: &Path, node: Node) {
        for parent in guest.ancestors().skip(1) {
            if parent.parent().is_some() && !self.nodes.contains_key(parent) {
                self.nodes.insert(parent.to_owned(), Node::Directory);
            }
        }
        self.nodes.insert(guest.to_owned(), node);
    }

    /// The archive. Parents sort before their children, as the kernel needs them.
    pub fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (number, (path, node)) in self.nodes.iter().enumerate() {
            let name = path.strip_prefix("/").unwrap_or(path);
            let link;
            let (mode, data, device): (u32, &[u8], (u32, u32)) = match node {
                Node::Directory => (0o040_755, &[], (0, 0)),
                Node::File { mode, bytes } => (0o100_000 | mode, bytes, (0, 0)),
                Node::Link(target) => {
                    link = target.to_string_lossy().into_owned();
                    (0o120_777, link.as_bytes(), (0, 0))
                }
                Node::Console => (0o020_600, &[], (5, 1)),
            };
            entry(
                &mut archive,
                number + 1,
                &name.to_string_lossy(),
                mode,
                data,
                device,
            );
        }
        entry(&mut archive, 0, "TRAILER!!!", 0, &[], (0, 0));
        archive
    }
}

fn entry(
    archive: &mut Vec<u8>,
    inode: usize,
    name: &str,
    mode: u32,
    data: &[u8],
    (major, minor): (u32, u32),
) {
    let header = format!(
        "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{major:08x}{minor:08x}{:08x}{:08x}",
        0, // user
        0, // group
        1, // links
        0, // time: the same files give the same archive
        data.len(),
        0, // device the file is on
        0,
        name.len() + 1,
        0, // checksum, unused in this variant
    );
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// The shared libraries of a program, by absolute path, as the loader of this machine finds them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, VmError> {
    let mut command = Command::new("ldd");
    command.arg(program).env("LC_ALL", "C");
    let output = command
        .output()
        .map_err(|source| tools::start_error(&command, source))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // "not a dynamic executable": a static one needs nothing.
        return Ok(Vec::new());
    }
    let mut libraries = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some((name, rest)) = line.split_once("=>")
            && rest.contains("not found")
        {
            return Err(VmError::Library {
                program: program.to_owned(),
                library: name.trim().to_owned(),
            });
        }
        let path = line
            .split_once("=>")
            .map_or(line, |(_, path)| path)
            .split_whitespace()
            .next()
            .unwrap_or_default();
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

fn which(program: &str) -> Result<PathBuf, VmError> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(program))
            .find(|path| path.is_file())
    });
    at(
        Path::new(program),
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)),
    )
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, VmError> {
    result.map_err(|source| VmError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_aligned_entries_parents_first_and_a_trailer() {
        let mut initramfs = Initramfs {
            nodes: BTreeMap::new(),
            scanned: BTreeSet::new(),
        };
        initramfs.add_bytes(Path::new("/a/b/c"), 0o644, b"hello".to_vec());
        let archive = initramfs.archive();
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        let a = text.find("\0a\0").or(text.find("a\0"));
        let c = text.find("a/b/c\0");
        assert!(a < c && c < text.find("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 4);
    }
}
