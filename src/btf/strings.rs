//! String tables of BTF and ELF.

use std::ffi::CStr;

/// The longest string that is read. Names and source lines are far shorter; without a limit, a
/// table of many references into one long string would cost its product.
const MAX_STRING: usize = 16 * 1024;

/// A section of NUL-terminated strings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Strings<'d> {
    bytes: &'d [u8],
}

impl<'d> Strings<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Strings<'d> {
        Strings { bytes }
    }

    /// Whether `offset` lies in the section.
    pub(crate) fn contains(&self, offset: u32) -> bool {
        (offset as usize) < self.bytes.len()
    }

    /// The string that starts at `offset`, if it ends, is UTF-8 and not absurdly long.
    pub(crate) fn get(&self, offset: u32) -> Option<&'d str> {
        let rest = self.bytes.get(offset as usize..)?;
        let rest = rest.get(..MAX_STRING).unwrap_or(rest);
        CStr::from_bytes_until_nul(rest).ok()?.to_str().ok()
    }
}
