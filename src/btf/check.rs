//! A linear check of BTF bytes before `btf-rs` sees them: header, record bounds, type ids, names.
//!
//! `btf-rs` reports no offsets, accepts ids that point nowhere, and copies every string twice
//! (26 ms and 8 MB for each MB of a kernel's BTF). This pass finds what is wrong and where, and
//! keeps the names where they are; `btf-rs` then gets the records alone, see [`super::decode`].

use super::BtfError;
use super::strings::Strings;
use super::types::TypeId;

const HEADER_LEN: usize = 24;
const MAGIC: u16 = 0xeb9f;
const RECORD_LEN: usize = 12;
/// The kernel's own limit (`BTF_MAX_TYPE`); it keeps the work bounded whatever the header says.
const MAX_TYPES: usize = 0x000f_ffff;

/// BTF bytes that keep what the format promises.
pub(super) struct Checked<'d> {
    pub(super) strings: Strings<'d>,
    /// The type section.
    pub(super) records: &'d [u8],
    /// Where `records` starts in the BTF.
    pub(super) records_at: usize,
    /// Where in `records` each type starts; type 1 first.
    pub(super) starts: Vec<u32>,
}

impl Checked<'_> {
    /// Where a type's record starts in the BTF, for messages.
    pub(super) fn offset_of(&self, id: TypeId) -> usize {
        let start = (id as usize)
            .checked_sub(1)
            .and_then(|at| self.starts.get(at));
        self.records_at
            .saturating_add(start.copied().unwrap_or(0) as usize)
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

pub(super) fn check(bytes: &[u8]) -> Result<Checked<'_>, BtfError> {
    let (records_at, records, strings) = header(bytes)?;
    let mut checked = Checked {
        strings,
        records,
        records_at,
        starts: Vec::new(),
    };
    bounds(&mut checked)?;
    references(&checked)?;
    Ok(checked)
}

fn header(bytes: &[u8]) -> Result<(usize, &[u8], Strings<'_>), BtfError> {
    let truncated = || {
        BtfError::new(
            0,
            format!("BTF header of {} bytes is too short", bytes.len()),
        )
    };
    let magic = u16_at(bytes, 0).ok_or_else(truncated)?;
    if magic == MAGIC.swap_bytes() {
        return Err(BtfError::new(
            0,
            "big-endian BTF is not supported; compile with `-target bpfel`",
        ));
    }
    if magic != MAGIC {
        return Err(BtfError::new(0, format!("wrong BTF magic {magic:#06x}")));
    }
    let [version, flags] = match bytes.get(2..4) {
        Some([version, flags]) => [*version, *flags],
        _ => return Err(truncated()),
    };
    if version != 1 || flags != 0 {
        return Err(BtfError::new(
            2,
            format!("BTF version {version} with flags {flags:#x} is not supported"),
        ));
    }
    let field = |at| {
        u32_at(bytes, at)
            .map(|value| value as usize)
            .ok_or_else(truncated)
    };
    let header_len = field(4)?;
    if header_len < HEADER_LEN || header_len > bytes.len() {
        return Err(BtfError::new(
            4,
            format!("wrong BTF header length {header_len}"),
        ));
    }
    let (type_off, type_len) = (field(8)?, field(12)?);
    let (string_off, string_len) = (field(16)?, field(20)?);
    let part = |at: usize, what: &str, offset: usize, len: usize| {
        let start = header_len.checked_add(offset);
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        range
            .and_then(|range| bytes.get(range))
            .ok_or_else(|| {
                BtfError::new(
                    at,
                    format!("BTF {what} section (offset {offset:#x}, {len:#x} bytes) does not fit in {:#x} bytes", bytes.len()),
                )
            })
    };
    let records = part(8, "type", type_off, type_len)?;
    let strings = part(16, "string", string_off, string_len)?;
    if type_off % 4 != 0 {
        return Err(BtfError::new(
            8,
            "BTF type section is not aligned to 4 bytes",
        ));
    }
    if type_off.saturating_add(type_len) > string_off {
        return Err(BtfError::new(16, "BTF type and string sections overlap"));
    }
    if strings.first() != Some(&0) || strings.last() != Some(&0) {
        return Err(BtfError::new(
            header_len.saturating_add(string_off),
            "BTF strings do not start and end with an empty string",
        ));
    }
    Ok((
        header_len.saturating_add(type_off),
        records,
        Strings::new(strings),
    ))
}

/// Bytes after the common part of a record of this kind.
fn tail_len(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        2 | 7..=12 | 16 | 18 => 0,
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => vlen.saturating_mul(12),
        6 | 13 => vlen.saturating_mul(8),
        _ => return None,
    })
}

pub(super) fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn vlen_of(info: u32) -> usize {
    (info & 0xffff) as usize
}

fn bounds(checked: &mut Checked<'_>) -> Result<(), BtfError> {
    let mut at = 0_usize;
    while at < checked.records.len() {
        let here = checked.records_at.saturating_add(at);
        let id = checked.starts.len().saturating_add(1);
        if id > MAX_TYPES {
            return Err(BtfError::new(
                here,
                format!("more than {MAX_TYPES} BTF types"),
            ));
        }
        let cut = || BtfError::new(here, format!("BTF type {id} is cut short"));
        let info = u32_at(checked.records, at.saturating_add(4)).ok_or_else(cut)?;
        let tail = tail_len(kind_of(info), vlen_of(info)).ok_or_else(|| {
            BtfError::new(
                here,
                format!("BTF type {id} is of the unknown kind {}", kind_of(info)),
            )
        })?;
        let end = at.saturating_add(RECORD_LEN).saturating_add(tail);
        if end > checked.records.len() {
            return Err(cut());
        }
        checked.starts.push(u32::try_from(at).map_err(|_| cut())?);
        at = end;
    }
    Ok(())
}

/// Every name starts inside the string section and every referenced type exists.
fn references(checked: &Checked<'_>) -> Result<(), BtfError> {
    let count = checked.starts.len().saturating_add(1);
    let records = checked.records;
    for (id, start) in (1_u32..).zip(&checked.starts) {
        let start = *start as usize;
        let here = || checked.records_at.saturating_add(start);
        let word = |at: usize| u32_at(records, start.saturating_add(at)).unwrap_or(0);
        let name = |at: usize| match checked.strings.contains(word(at)) {
            true => Ok(()),
            false => Err(BtfError::new(
                here().saturating_add(at),
                format!("BTF type {id} has a name outside the string section"),
            )),
        };
        let target = |at: usize| match (word(at) as usize) < count {
            true => Ok(()),
            false => Err(BtfError::new(
                here().saturating_add(at),
                format!(
                    "BTF type {id} refers to type {}, which does not exist",
                    word(at)
                ),
            )),
        };
        let info = word(4);
        name(0)?;
        if matches!(kind_of(info), 2 | 8..=14 | 17 | 18) {
            target(8)?;
        }
        // (stride, offset of the name, offset of the type) of what follows the common part.
        let (stride, name_at, type_at) = match kind_of(info) {
            3 => {
                target(RECORD_LEN)?;
                target(RECORD_LEN + 4)?;
                continue;
            }
            4 | 5 => (12, Some(0), Some(4)),
            6 => (8, Some(0), None),
            13 => (8, Some(0), Some(4)),
            15 => (12, None, Some(0)),
            19 => (12, Some(0), None),
            _ => continue,
        };
        for at in (RECORD_LEN..).step_by(stride).take(vlen_of(info)) {
            if let Some(offset) = name_at {
                name(at.saturating_add(offset))?;
            }
            if let Some(offset) = type_at {
                target(at.saturating_add(offset))?;
            }
        }
    }
    Ok(())
}
