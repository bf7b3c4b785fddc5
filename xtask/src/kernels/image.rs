//! The BTF inside a kernel image.
//!
//! A bzImage says in its header where its payload lies and how long it is: the compressed vmlinux
//! (boot protocol 2.08 and later), followed by the four bytes of its uncompressed size.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use object::{Object as _, ObjectSection as _};

use crate::tools::{self, ToolError};

/// Why no BTF came out of an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is not what its name says.
    #[error("not an x86 bzImage: {0}")]
    NotBzImage(&'static str),
    /// The payload is compressed in a way we cannot undo.
    #[error("the kernel inside is compressed in an unknown way (it begins with {0:02x?})")]
    Compression(Vec<u8>),
    /// The decompressor failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Writing to the decompressor failed.
    #[error("cannot decompress the kernel: {0}")]
    Decompress(std::io::Error),
    /// The vmlinux is not readable as ELF.
    #[error("the vmlinux inside is not readable: {0}")]
    Elf(#[from] object::Error),
    /// A kernel built without CONFIG_DEBUG_INFO_BTF.
    #[error("the vmlinux inside has no .BTF section")]
    NoBtf,
}

/// The BTF of a kernel image, as `/sys/kernel/btf/vmlinux` would show it.
pub fn btf_of_bzimage(image: &[u8]) -> Result<Vec<u8>, ImageError> {
    btf_of_vmlinux(&vmlinux_of_bzimage(image)?)
}

/// The `.BTF` section of a vmlinux.
pub fn btf_of_vmlinux(vmlinux: &[u8]) -> Result<Vec<u8>, ImageError> {
    let file = object::File::parse(vmlinux)?;
    let section = file.section_by_name(".BTF").ok_or(ImageError::NoBtf)?;
    Ok(section.data()?.to_vec())
}

fn vmlinux_of_bzimage(image: &[u8]) -> Result<Vec<u8>, ImageError> {
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(ImageError::NotBzImage("no setup header"));
    }
    let setup_sectors = image.get(0x1f1).copied().map_or(0, usize::from);
    // Zero means four, from the days of the boot floppy.
    let setup_sectors = if setup_sectors == 0 { 4 } else { setup_sectors };
    let offset = word(image, 0x248).ok_or(ImageError::NotBzImage("header cut short"))?;
    let length = word(image, 0x24c).ok_or(ImageError::NotBzImage("header cut short"))?;
    let start = ((setup_sectors + 1) * 512).saturating_add(offset);
    let payload = image
        .get(start..start.saturating_add(length))
        .ok_or(ImageError::NotBzImage("payload beyond the end of the file"))?;
    let program = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        [0x7f, b'E', b'L', b'F', ..] => return Ok(payload.to_vec()),
        other => {
            return Err(ImageError::Compression(
                other.get(..8).unwrap_or(other).to_vec(),
            ));
        }
    };
    // gzip ends in the size by itself; the others have it appended, which their tools reject.
    let body = match program {
        "gzip" => payload,
        _ => payload
            .get(..payload.len().saturating_sub(4))
            .unwrap_or(payload),
    };
    decompress(program, body)
}

fn decompress(program: &'static str, body: &[u8]) -> Result<Vec<u8>, ImageError> {
    tools::require(&[program])?;
    let mut command = Command::new(program);
    command
        .args(["-d", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .map_err(|source| tools::start_error(&command, source))?;
    let stdin = child.stdin.take();
    // Fed from another thread: the output is larger than a pipe, so both ends must move.
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || match stdin {
            Some(mut stdin) => stdin.write_all(body),
            None => Ok(()),
        });
        let output = child.wait_with_output();
        // A decompressor that stops early closes the pipe; what came out decides.
        drop(writer.join());
        output
    });
    Ok(output.map_err(ImageError::Decompress)?.stdout)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(word)).ok()
}

/// The file in an unpacked package that is a kernel image, if any.
pub fn find_image(directory: &Path) -> Option<std::path::PathBuf> {
    super::find_file(directory, &|name| name.starts_with("vmlinuz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_refused_with_a_reason() {
        for length in [0, 0x100, 0x206, 0x24a, 0x1000] {
            let mut image = vec![0; length];
            assert!(matches!(
                btf_of_bzimage(&image),
                Err(ImageError::NotBzImage(_))
            ));
            if let Some(header) = image.get_mut(0x202..0x206) {
                header.copy_from_slice(b"HdrS");
                assert!(btf_of_bzimage(&image).is_err(), "{length:#x}");
            }
        }
    }

    #[test]
    fn a_payload_beyond_the_end_is_refused() {
        let mut image = vec![0; 0x1000];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x250].copy_from_slice(&[0xff; 8]);
        assert!(matches!(
            btf_of_bzimage(&image),
            Err(ImageError::NotBzImage(_))
        ));
    }
}
