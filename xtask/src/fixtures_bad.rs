//! Inputs that are not what they seem, derived from one good object and stored because they are small:
//! truncated files, flipped bits, foreign formats, and sizes that lie.
//!
//! The recipes read just enough ELF to find what they damage; tests that damage every byte in turn need
//! no stored files and live with the tests.

/// The good object that the bad ones are made from.
pub const SEED: &str = "fixtures/fifo/fifo.bpf.o";

/// Why a bad input could not be derived.
#[derive(Debug, thiserror::Error)]
pub enum BadInputError {
    /// The seed is not the ELF that the recipes expect.
    #[error("{SEED} has no {0}: rebuild it first")]
    Seed(&'static str),
}

/// A file name and its bytes.
pub type BadInput = (&'static str, Vec<u8>);

/// Size of an ELF64 header, and of one of its section headers.
const ELF_HEADER: usize = 64;
const SECTION_HEADER: usize = 64;

/// Offsets in the ELF header.
const E_MACHINE: usize = 18;
const E_SHOFF: usize = 40;
const E_SHNUM: usize = 60;

/// Offsets in a section header.
const SH_NAME: usize = 0;
const SH_OFFSET: usize = 24;
const SH_SIZE: usize = 32;
const SH_LINK: usize = 40;
const SH_ENTSIZE: usize = 56;

/// Offsets in the header of `.BTF` and `.BTF.ext`.
const HDR_LEN: usize = 4;
const TYPE_LEN: usize = 12;
const STR_OFF: usize = 16;
const STR_LEN: usize = 20;
const FUNC_INFO_LEN: usize = 12;

/// BTF kinds that refer to one other type.
const KIND_PTR: u32 = 2;
const KIND_TYPEDEF: u32 = 8;

/// Derives every bad input from the seed.
pub fn generate(seed: &[u8]) -> Result<Vec<BadInput>, BadInputError> {
    let elf = Elf::read(seed)?;
    let (btf, ext) = (elf.section(b".BTF")?, elf.section(b".BTF.ext")?);
    let symtab = elf.section_of_type(2)?;
    let strtab = elf.section(b".strtab")?;
    let near_4g = 0xffff_fff0_u32.to_le_bytes();

    let mut all: Vec<BadInput> = vec![
        ("empty.o", Vec::new()),
        ("text.o", b"this is not an object file\n".to_vec()),
        ("magic_only.o", seed.get(..4).unwrap_or_default().to_vec()),
        (
            "header_only.o",
            seed.get(..ELF_HEADER).unwrap_or_default().to_vec(),
        ),
        (
            "truncated_half.o",
            seed.get(..seed.len() / 2).unwrap_or_default().to_vec(),
        ),
        (
            "truncated_last_byte.o",
            seed.get(..seed.len().saturating_sub(1))
                .unwrap_or_default()
                .to_vec(),
        ),
    ];
    // Another machine (x86-64) and another class (32 bits).
    all.push((
        "machine_x86.o",
        elf.patched(E_MACHINE, &62_u16.to_le_bytes()),
    ));
    all.push(("class_32.o", elf.patched(4, &[1])));
    all.push((
        "sections_far_away.o",
        elf.patched(E_SHOFF, &0xffff_ffff_ffff_ff00_u64.to_le_bytes()),
    ));
    all.push((
        "sections_near_4g.o",
        elf.patched(E_SHOFF, &0xffff_fff0_u64.to_le_bytes()),
    ));
    all.push((
        "sections_too_many.o",
        elf.patched(E_SHNUM, &0xfeff_u16.to_le_bytes()),
    ));
    all.push((
        "btf_size_near_4g.o",
        elf.patched(btf.header + SH_SIZE, &0xffff_fff0_u64.to_le_bytes()),
    ));
    all.push((
        "btf_offset_near_4g.o",
        elf.patched(btf.header + SH_OFFSET, &0xffff_fff0_u64.to_le_bytes()),
    ));
    all.push(("btf_magic_flipped.o", elf.patched(btf.offset, &[0x9e])));
    all.push((
        "btf_big_endian_magic.o",
        elf.patched(btf.offset, &[0xeb, 0x9f]),
    ));
    all.push((
        "btf_header_near_4g.o",
        elf.patched(btf.offset + HDR_LEN, &near_4g),
    ));
    all.push((
        "btf_types_near_4g.o",
        elf.patched(btf.offset + TYPE_LEN, &near_4g),
    ));
    all.push((
        "btf_strings_far.o",
        elf.patched(btf.offset + STR_OFF, &near_4g),
    ));
    all.push((
        "btf_strings_near_4g.o",
        elf.patched(btf.offset + STR_LEN, &near_4g),
    ));
    all.push((
        "btf_ext_func_info_near_4g.o",
        elf.patched(ext.offset + FUNC_INFO_LEN, &near_4g),
    ));
    all.push((
        "btf_ext_record_size_0.o",
        elf.patched(ext.offset + record_size(seed, ext)?, &[0; 4]),
    ));
    all.push((
        "btf_ext_record_size_near_4g.o",
        elf.patched(ext.offset + record_size(seed, ext)?, &near_4g),
    ));
    all.push((
        "symbols_size_odd.o",
        elf.patched(symtab.header + SH_SIZE, &7_u64.to_le_bytes()),
    ));
    all.push((
        "symbols_entry_size_0.o",
        elf.patched(symtab.header + SH_ENTSIZE, &0_u64.to_le_bytes()),
    ));
    all.push((
        "symbols_link_nowhere.o",
        elf.patched(symtab.header + SH_LINK, &0xffff_u32.to_le_bytes()),
    ));
    all.push((
        "strings_size_0.o",
        elf.patched(strtab.header + SH_SIZE, &0_u64.to_le_bytes()),
    ));
    all.push((
        "btf_pointer_cycle.o",
        with_type_cycle(seed, btf, 1, KIND_PTR)?,
    ));
    all.push((
        "btf_typedef_cycle.o",
        with_type_cycle(seed, btf, 2, KIND_TYPEDEF)?,
    ));
    Ok(all)
}

/// Where the record size of func_info stands: the first word after the header of `.BTF.ext`.
fn record_size(seed: &[u8], ext: Section) -> Result<usize, BadInputError> {
    let header =
        u32_at(seed, ext.offset + HDR_LEN).ok_or(BadInputError::Seed("header in .BTF.ext"))?;
    Ok(header as usize)
}

/// Makes a type refer to itself. clang numbers types as it meets them: first the `u64 *` of the first
/// program, then `u64`.
fn with_type_cycle(
    seed: &[u8],
    btf: Section,
    id: u32,
    kind: u32,
) -> Result<Vec<u8>, BadInputError> {
    /// Size of a type record without members.
    const RECORD: usize = 12;
    let types = btf.offset + u32_at(seed, btf.offset + HDR_LEN).unwrap_or(0) as usize;
    let record = types + (id as usize).saturating_sub(1) * RECORD;
    if u32_at(seed, record + 4).map(|info| info >> 24 & 0x1f) != Some(kind) {
        return Err(BadInputError::Seed(
            "pointer and typedef as its first BTF types",
        ));
    }
    Ok(patched(seed, record + 8, &id.to_le_bytes()))
}

/// A section: where its header and its bytes are.
#[derive(Clone, Copy)]
struct Section {
    header: usize,
    offset: usize,
}

struct Elf<'a> {
    bytes: &'a [u8],
    headers: usize,
    count: usize,
    names: usize,
}

impl<'a> Elf<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, BadInputError> {
        const E_SHSTRNDX: usize = 62;
        let missing = || BadInputError::Seed("ELF64 section headers");
        let headers = u64_at(bytes, E_SHOFF).ok_or_else(missing)? as usize;
        let count = u16_at(bytes, E_SHNUM).ok_or_else(missing)? as usize;
        let names = u16_at(bytes, E_SHSTRNDX).ok_or_else(missing)? as usize;
        let names = u64_at(bytes, headers + names * SECTION_HEADER + SH_OFFSET)
            .ok_or_else(missing)? as usize;
        Ok(Self {
            bytes,
            headers,
            count,
            names,
        })
    }

    fn section(&self, wanted: &'static [u8]) -> Result<Section, BadInputError> {
        self.find(|header| {
            let name = u32_at(self.bytes, header + SH_NAME)? as usize;
            let text = self.bytes.get(self.names + name..)?;
            text.strip_prefix(wanted)?
                .first()
                .filter(|end| **end == 0)
                .map(|_| ())
        })
        .ok_or(BadInputError::Seed(
            std::str::from_utf8(wanted).unwrap_or("section"),
        ))
    }

    fn section_of_type(&self, wanted: u32) -> Result<Section, BadInputError> {
        self.find(|header| (u32_at(self.bytes, header + 4)? == wanted).then_some(()))
            .ok_or(BadInputError::Seed("symbol table"))
    }

    fn find(&self, matches: impl Fn(usize) -> Option<()>) -> Option<Section> {
        let header = (0..self.count)
            .map(|index| self.headers + index * SECTION_HEADER)
            .find(|header| matches(*header).is_some())?;
        let offset = u64_at(self.bytes, header + SH_OFFSET)? as usize;
        Some(Section { header, offset })
    }

    fn patched(&self, at: usize, with: &[u8]) -> Vec<u8> {
        patched(self.bytes, at, with)
    }
}

fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    if let Some(place) = copy.get_mut(at..at.saturating_add(with.len())) {
        place.copy_from_slice(with);
    }
    copy
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
