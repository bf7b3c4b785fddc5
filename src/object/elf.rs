//! The ELF container: sections, symbols and relocation tables of a BPF object, checked once.
//!
//! Sections stay where they are in the file. They may not overlap, or a small file could make
//! many large programs.

use super::error::Cause;
use crate::btf::Strings;
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};

type Header = elf::FileHeader64<LE>;
type SectionHeader = elf::SectionHeader64<LE>;
type Symbol64 = elf::Sym64<LE>;
type Rel64 = elf::Rel64<LE>;

const SECTION_HEADER_LEN: u64 = 64;
const SYMBOL_LEN: u64 = 24;
const REL_LEN: u64 = 16;

/// Offsets in the ELF header, for messages.
const AT_TYPE: u64 = 16;
const AT_SECTIONS: u64 = 40;
const AT_SECTION_NAMES: u64 = 62;

/// A checked BPF ELF file.
pub(super) struct Elf<'d> {
    pub(super) sections: Vec<Section<'d>>,
    symbols: &'d [Symbol64],
    symbols_at: u64,
    symbol_names: Strings<'d>,
    /// Ordered by target.
    tables: Vec<RelocationTable<'d>>,
}

/// A section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'d> {
    pub(super) index: usize,
    pub(super) name: &'d str,
    pub(super) kind: elf::SectionType,
    pub(super) executable: bool,
    pub(super) size: u64,
    /// Where its bytes are in the file.
    pub(super) offset: u64,
    /// Its bytes; empty for `.bss`.
    pub(super) data: &'d [u8],
}

/// A symbol.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol<'d> {
    /// Name; for a section's own symbol, the section's name.
    pub(super) name: &'d str,
    pub(super) value: u64,
    pub(super) size: u64,
    pub(super) place: Place,
    pub(super) kind: SymbolKind,
    /// Not `static`.
    pub(super) global: bool,
    pub(super) weak: bool,
    /// Hidden or internal visibility.
    pub(super) hidden: bool,
    /// Where its record is in the file.
    pub(super) at: u64,
}

/// Where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Undefined,
    Section(usize),
    /// Absolute, common and the like: nothing of a BPF program.
    Special,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SymbolKind {
    None,
    Object,
    Function,
    Section,
    Other,
}

struct RelocationTable<'d> {
    /// The section whose bytes are relocated.
    target: usize,
    offset: u64,
    entries: &'d [Rel64],
}

/// A relocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relocation {
    /// Byte offset in the relocated section.
    pub(super) offset: u64,
    /// Symbol index.
    pub(super) symbol: u32,
    /// Where its record is in the file.
    pub(super) at: u64,
}

impl<'d> Elf<'d> {
    pub(super) fn parse(bytes: &'d [u8]) -> Result<Elf<'d>, Cause> {
        let header = header(bytes)?;
        let headers = header
            .section_headers(LE, bytes)
            .map_err(|error| Cause::malformed(AT_SECTIONS, format!("section headers: {error}")))?;
        if headers.len() >= usize::from(elf::SHN_LORESERVE) {
            return Err(Cause::malformed(
                AT_SECTIONS,
                format!("{} sections are too many", headers.len()),
            ));
        }
        let headers = Headers {
            bytes,
            at: header.e_shoff.get(LE),
            list: headers,
        };
        let sections = headers.sections(header)?;
        refuse_overlap(&sections, &headers)?;
        let (symbols_at, symbols, symbol_names) = headers.symbols(&sections)?;
        let elf = Elf {
            symbols,
            symbols_at,
            symbol_names,
            tables: headers.relocation_tables(&sections)?,
            sections,
        };
        elf.check_symbols()?;
        Ok(elf)
    }

    pub(super) fn section(&self, index: usize) -> Option<&Section<'d>> {
        self.sections.get(index)
    }

    pub(super) fn section_named(&self, name: &str) -> Option<&Section<'d>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The sections with instructions.
    pub(super) fn code_sections(&self) -> impl Iterator<Item = &Section<'d>> {
        self.sections.iter().filter(|section| section.is_code())
    }

    /// A symbol by its index in the symbol table.
    pub(super) fn symbol(&self, index: u32) -> Option<Symbol<'d>> {
        let raw = self.symbols.get(index as usize)?;
        let place = match raw.st_shndx(LE) {
            elf::SHN_UNDEF => Place::Undefined,
            special if special.is_special() => Place::Special,
            section => Place::Section(usize::from(section.0)),
        };
        let kind = match raw.st_type() {
            elf::STT_NOTYPE => SymbolKind::None,
            elf::STT_OBJECT => SymbolKind::Object,
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_SECTION => SymbolKind::Section,
            _ => SymbolKind::Other,
        };
        let mut name = self.symbol_names.get(raw.st_name(LE)).unwrap_or_default();
        if name.is_empty()
            && kind == SymbolKind::Section
            && let Place::Section(index) = place
        {
            name = self.section(index).map_or("", |section| section.name);
        }
        let visibility = raw.st_visibility();
        Some(Symbol {
            name,
            value: raw.st_value(LE),
            size: raw.st_size(LE),
            place,
            kind,
            global: raw.st_bind() != elf::STB_LOCAL,
            weak: raw.st_bind() == elf::STB_WEAK,
            hidden: visibility == elf::STV_HIDDEN || visibility == elf::STV_INTERNAL,
            at: self.symbol_at(index),
        })
    }

    /// All symbols with their indices.
    pub(super) fn symbols(&self) -> impl Iterator<Item = (u32, Symbol<'d>)> {
        (0_u32..)
            .map_while(|index| Some((index, self.symbol(index)?)))
            .take(self.symbols.len())
    }

    /// The relocations of a section, in file order.
    pub(super) fn relocations(&self, section: usize) -> impl Iterator<Item = Relocation> {
        let first = self.tables.partition_point(|table| table.target < section);
        self.tables
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(move |table| table.target == section)
            .flat_map(|table| {
                let places = (table.offset..).step_by(REL_LEN as usize);
                table
                    .entries
                    .iter()
                    .zip(places)
                    .map(|(raw, at)| Relocation {
                        offset: raw.r_offset.get(LE),
                        symbol: raw.r_sym(LE),
                        at,
                    })
            })
    }

    fn symbol_at(&self, index: u32) -> u64 {
        u64::from(index)
            .wrapping_mul(SYMBOL_LEN)
            .wrapping_add(self.symbols_at)
    }

    /// Every symbol has a readable name and a section that exists, so that [`Elf::symbol`] need
    /// not say otherwise.
    fn check_symbols(&self) -> Result<(), Cause> {
        for (index, raw) in (0_u32..).zip(self.symbols) {
            if self.symbol_names.get(raw.st_name(LE)).is_none() {
                return Err(Cause::malformed(
                    self.symbol_at(index),
                    format!("symbol {index} has no readable name"),
                ));
            }
            let section = raw.st_shndx(LE);
            if !section.is_special() && usize::from(section.0) >= self.sections.len() {
                return Err(Cause::malformed(
                    self.symbol_at(index),
                    format!(
                        "symbol {index} is in section {}, which does not exist",
                        section.0
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Section<'_> {
    /// Instructions.
    pub(super) fn is_code(&self) -> bool {
        self.executable && self.kind == elf::SHT_PROGBITS && self.size > 0
    }

    /// The section of subprograms. libbpf holds everything in it for a subprogram and everything
    /// in another code section for a program.
    pub(super) fn is_text(&self) -> bool {
        self.is_code() && self.name == ".text"
    }

    /// Initialised data.
    pub(super) fn is_data(&self) -> bool {
        !self.executable && self.kind == elf::SHT_PROGBITS && self.size > 0
    }
}

fn header(bytes: &[u8]) -> Result<&Header, Cause> {
    if bytes.is_empty() {
        return Err(Cause::Empty);
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Cause::NotElf);
    }
    let cut = || Cause::malformed(0, "the ELF header is cut short");
    let (Some(class), Some(order)) = (bytes.get(4), bytes.get(5)) else {
        return Err(cut());
    };
    match *class {
        1 => return Err(Cause::Elf32),
        2 => {}
        class => return Err(Cause::malformed(4, format!("unknown ELF class {class}"))),
    }
    match *order {
        1 => {}
        2 => return Err(Cause::BigEndian),
        order => {
            return Err(Cause::malformed(
                5,
                format!("unknown ELF byte order {order}"),
            ));
        }
    }
    if bytes.len() < size_of::<Header>() {
        return Err(cut());
    }
    let header = Header::parse(bytes)
        .map_err(|error| Cause::malformed(0, format!("ELF header: {error}")))?;
    let machine = header.e_machine.get(LE);
    // Old compilers left the machine out, and libbpf still accepts that.
    if machine != elf::EM_BPF && machine != elf::EM_NONE {
        return Err(Cause::OtherMachine { machine: machine.0 });
    }
    let kind = header.e_type.get(LE);
    if kind != elf::ET_REL {
        return Err(Cause::NotRelocatable { kind: kind.0 });
    }
    if header.e_shoff.get(LE) == 0 {
        return Err(Cause::malformed(AT_TYPE, "the object has no sections"));
    }
    Ok(header)
}

struct Headers<'d> {
    bytes: &'d [u8],
    /// Where they start in the file.
    at: u64,
    list: &'d [SectionHeader],
}

impl<'d> Headers<'d> {
    fn at(&self, index: usize) -> u64 {
        (index as u64)
            .wrapping_mul(SECTION_HEADER_LEN)
            .wrapping_add(self.at)
    }

    fn sections(&self, header: &Header) -> Result<Vec<Section<'d>>, Cause> {
        let names = header
            .shstrndx(LE, self.bytes)
            .ok()
            .and_then(|index| self.list.get(index as usize))
            .and_then(|section| section.data(LE, self.bytes).ok())
            .map(Strings::new)
            .ok_or_else(|| {
                Cause::malformed(AT_SECTION_NAMES, "the section names cannot be found")
            })?;
        let headers = self.list.iter().enumerate();
        headers
            .map(|(index, raw)| {
                let malformed = |what: &str| {
                    Cause::malformed(self.at(index), format!("section {index} {what}"))
                };
                let name = names
                    .get(raw.sh_name(LE))
                    .ok_or_else(|| malformed("has no readable name"))?;
                let (offset, size) = (raw.sh_offset(LE), raw.sh_size(LE));
                // Section 0 describes no bytes.
                let data = match index {
                    0 => &[],
                    _ => raw.data(LE, self.bytes).map_err(|_| {
                        malformed(&format!(
                            "(`{name}`, offset {offset:#x}, {size:#x} bytes) does not fit in the \
                             file"
                        ))
                    })?,
                };
                let flags = raw.sh_flags(LE);
                Ok(Section {
                    index,
                    name,
                    kind: raw.sh_type(LE),
                    executable: flags.contains(elf::SHF_EXECINSTR),
                    size,
                    offset,
                    data,
                })
            })
            .collect()
    }

    fn symbols(
        &self,
        sections: &[Section<'d>],
    ) -> Result<(u64, &'d [Symbol64], Strings<'d>), Cause> {
        let mut tables = sections
            .iter()
            .filter(|section| section.kind == elf::SHT_SYMTAB);
        let table = tables.next().ok_or(Cause::Stripped)?;
        let at = self.at(table.index);
        if let Some(second) = tables.next() {
            return Err(Cause::malformed(
                self.at(second.index),
                "the object has two symbol tables",
            ));
        }
        let raw = self.list.get(table.index);
        let symbols = raw
            .filter(|raw| raw.sh_entsize(LE) == SYMBOL_LEN)
            .and_then(|raw| raw.data_as_array::<Symbol64, _>(LE, self.bytes).ok())
            .filter(|_| table.size.is_multiple_of(SYMBOL_LEN))
            .ok_or_else(|| Cause::malformed(at, "the symbol table has entries of a wrong size"))?;
        let names = raw
            .and_then(|raw| sections.get(raw.sh_link(LE) as usize))
            .filter(|names| names.kind == elf::SHT_STRTAB)
            .ok_or_else(|| Cause::malformed(at, "the symbol names cannot be found"))?;
        Ok((table.offset, symbols, Strings::new(names.data)))
    }

    fn relocation_tables(
        &self,
        sections: &[Section<'d>],
    ) -> Result<Vec<RelocationTable<'d>>, Cause> {
        let mut tables = Vec::new();
        for (section, raw) in sections.iter().zip(self.list) {
            if section.kind != elf::SHT_REL && section.kind != elf::SHT_RELA {
                if section.name.starts_with(".rel") {
                    return Err(Cause::malformed(
                        self.at(section.index),
                        format!("`{}` is not a relocation table", section.name),
                    ));
                }
                continue;
            }
            let malformed = |what: &str| {
                Cause::malformed(self.at(section.index), format!("`{}` {what}", section.name))
            };
            // Compilers and linkers name the table after the section it relocates. Relocations of
            // the wrong section, or none, would be read as a different program.
            let target = sections
                .get(raw.sh_info(LE) as usize)
                .filter(|target| named_after(section.name, target.name))
                .ok_or_else(|| malformed("relocates another section than its name says"))?;
            // Debugging sections and BTF need no relocation here, nor for libbpf.
            if !target.is_code() && !target.name.contains(".struct_ops") {
                continue;
            }
            if section.kind == elf::SHT_RELA {
                return Err(malformed("has relocations with addends, which BPF has not"));
            }
            if raw.sh_entsize(LE) != REL_LEN || !section.size.is_multiple_of(REL_LEN) {
                return Err(malformed("has relocations of a wrong size"));
            }
            let entries = raw
                .data_as_array::<Rel64, _>(LE, self.bytes)
                .map_err(|_| malformed("does not fit in the file"))?;
            tables.push(RelocationTable {
                target: target.index,
                offset: section.offset,
                entries,
            });
        }
        tables.sort_by_key(|table: &RelocationTable<'_>| table.target);
        Ok(tables)
    }
}

/// Whether a relocation table is called `.rel` and its section's name.
fn named_after(table: &str, target: &str) -> bool {
    let name = table.strip_prefix(".rela").filter(|name| *name == target);
    name.or_else(|| table.strip_prefix(".rel")) == Some(target)
}

fn refuse_overlap(sections: &[Section<'_>], headers: &Headers<'_>) -> Result<(), Cause> {
    let mut used: Vec<&Section<'_>> = sections
        .iter()
        .filter(|section| !section.data.is_empty())
        .collect();
    used.sort_by_key(|section| section.offset);
    for pair in used.windows(2) {
        if let [first, second] = pair
            && first.offset.saturating_add(first.size) > second.offset
        {
            return Err(Cause::malformed(
                headers.at(second.index),
                format!("sections `{}` and `{}` overlap", first.name, second.name),
            ));
        }
    }
    Ok(())
}
