//! `.BTF.ext`: which BTF type each function has, which source line each instruction, and which
//! instructions CO-RE relocates.
//!
//! Three tables of one shape: a record size, then for each ELF section its name, a count and that
//! many records. Newer compilers may append fields to a record, so records are read by their
//! beginning and stepped over by their size.

use super::check::u32_at;
use super::{Btf, BtfError};

const MAGIC: u16 = 0xeb9f;
/// Up to and including the line table; what every `.BTF.ext` has.
const MIN_HEADER: usize = 24;
/// Including the CO-RE table.
const CORE_HEADER: usize = 32;

/// The tables of a `.BTF.ext` section.
#[derive(Debug, Default)]
pub struct Ext<'d> {
    /// Function records by section.
    pub functions: Vec<Block<'d>>,
    /// Line records by section.
    pub lines: Vec<Block<'d>>,
    /// CO-RE records by section.
    pub relocations: Vec<Block<'d>>,
}

/// The records of one table for one ELF section.
#[derive(Debug, Clone, Copy)]
pub struct Block<'d> {
    /// ELF section name.
    pub section: &'d str,
    /// Its records, `count * record_size` bytes.
    records: &'d [u8],
    record_size: usize,
    /// Where the records start in `.BTF.ext`.
    at: usize,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'d> {
    bytes: &'d [u8],
    /// Where it starts in `.BTF.ext`.
    pub at: u64,
}

impl<'d> Block<'d> {
    /// The records in file order.
    pub fn records(&self) -> impl Iterator<Item = Record<'d>> {
        let starts = (self.at..).step_by(self.record_size.max(1));
        starts
            .zip(self.records.chunks_exact(self.record_size.max(1)))
            .map(|(at, bytes)| Record {
                bytes,
                at: at as u64,
            })
    }
}

impl Record<'_> {
    /// The byte offset of the instruction in its section, the first word of every record.
    pub fn insn_offset(&self) -> u32 {
        self.word(0)
    }

    /// The `n`th 32-bit word; 0 past the end, which [`Ext::parse`] rules out for known fields.
    pub fn word(&self, n: usize) -> u32 {
        n.checked_mul(4)
            .and_then(|at| u32_at(self.bytes, at))
            .unwrap_or(0)
    }
}

impl<'d> Ext<'d> {
    /// Read the tables; section names are strings of `btf`.
    pub fn parse(bytes: &'d [u8], btf: &Btf<'d>) -> Result<Ext<'d>, BtfError> {
        let truncated =
            || BtfError::new(0, format!(".BTF.ext of {} bytes is too short", bytes.len()));
        let Some([low, high, version, flags]) = bytes.get(..4) else {
            return Err(truncated());
        };
        let magic = u16::from_le_bytes([*low, *high]);
        if magic != MAGIC || *version != 1 || *flags != 0 {
            return Err(BtfError::new(
                0,
                format!(
                    ".BTF.ext with magic {magic:#06x}, version {version} and flags {flags:#x} \
                     is not supported"
                ),
            ));
        }
        let field = |at| {
            u32_at(bytes, at)
                .map(|value| value as usize)
                .ok_or_else(truncated)
        };
        let header_len = field(4)?;
        if header_len < MIN_HEADER || header_len > bytes.len() {
            return Err(BtfError::new(
                4,
                format!("wrong .BTF.ext header length {header_len}"),
            ));
        }
        let body = bytes.get(header_len..).unwrap_or_default();
        let table = |at: usize, what: &'static str, known: usize| {
            Ok::<_, BtfError>(Table {
                btf,
                body,
                body_at: header_len,
                what,
                field_at: at,
                offset: field(at)?,
                len: field(at.saturating_add(4))?,
                known,
            })
        };
        let functions = table(8, "function", 8)?;
        let lines = table(16, "line", 16)?;
        let mut tables = vec![functions, lines];
        if header_len >= CORE_HEADER {
            tables.push(table(24, "CO-RE", 16)?);
        }
        refuse_overlap(&tables)?;
        let mut blocks = tables.iter().map(Table::blocks);
        let mut next = || blocks.next().unwrap_or_else(|| Ok(Vec::new()));
        Ok(Ext {
            functions: next()?,
            lines: next()?,
            relocations: next()?,
        })
    }
}

struct Table<'a, 'd> {
    btf: &'a Btf<'d>,
    body: &'d [u8],
    body_at: usize,
    what: &'static str,
    /// Where the header states its offset.
    field_at: usize,
    offset: usize,
    len: usize,
    /// Bytes of a record that we read.
    known: usize,
}

fn refuse_overlap(tables: &[Table<'_, '_>]) -> Result<(), BtfError> {
    let mut used: Vec<&Table<'_, '_>> = tables.iter().filter(|table| table.len > 0).collect();
    used.sort_by_key(|table| table.offset);
    for pair in used.windows(2) {
        if let [first, second] = pair
            && first.offset.saturating_add(first.len) > second.offset
        {
            return Err(BtfError::new(
                second.field_at,
                format!(".BTF.ext {} and {} tables overlap", first.what, second.what),
            ));
        }
    }
    Ok(())
}

impl<'d> Table<'_, 'd> {
    fn error(&self, at: usize, message: String) -> BtfError {
        BtfError::new(
            self.body_at.saturating_add(self.offset).saturating_add(at),
            message,
        )
    }

    fn blocks(&self) -> Result<Vec<Block<'d>>, BtfError> {
        if self.len == 0 {
            return Ok(Vec::new());
        }
        let what = self.what;
        let end = self.offset.saturating_add(self.len);
        let bytes = self
            .body
            .get(self.offset..end)
            .filter(|_| self.offset.is_multiple_of(4))
            .ok_or_else(|| {
                BtfError::new(
                    self.field_at,
                    format!(
                        ".BTF.ext {what} table (offset {:#x}, {:#x} bytes) is misaligned or does \
                         not fit",
                        self.offset, self.len
                    ),
                )
            })?;
        let record_size = u32_at(bytes, 0).unwrap_or(0) as usize;
        if record_size < self.known || !record_size.is_multiple_of(4) {
            return Err(self.error(
                0,
                format!(".BTF.ext {what} table has records of {record_size} bytes"),
            ));
        }
        let mut blocks = Vec::new();
        let mut at = 4_usize;
        while at < bytes.len() {
            let cut = || self.error(at, format!(".BTF.ext {what} table is cut short"));
            let name = u32_at(bytes, at).ok_or_else(cut)?;
            let count = u32_at(bytes, at.saturating_add(4)).ok_or_else(cut)? as usize;
            let section = self.btf.string(name).ok_or_else(|| {
                self.error(
                    at,
                    format!(".BTF.ext {what} table names a section outside the BTF strings"),
                )
            })?;
            let start = at.saturating_add(8);
            let len = count.checked_mul(record_size).ok_or_else(cut)?;
            let end = start.checked_add(len).ok_or_else(cut)?;
            let records = bytes
                .get(start..end)
                .filter(|_| count > 0)
                .ok_or_else(cut)?;
            blocks.push(Block {
                section,
                records,
                record_size,
                at: self
                    .body_at
                    .saturating_add(self.offset)
                    .saturating_add(start),
            });
            at = end;
        }
        Ok(blocks)
    }
}
