//! Damaged and foreign files: always an error or a result, in time, and never a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use scx_lint::object::{Cause, Object, ObjectError, parse};

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/object/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cause(bytes: &[u8]) -> Cause {
    match parse("x.bpf.o", bytes) {
        Ok(_) => panic!("no error"),
        Err(error) => {
            let line = error.to_string();
            assert!(
                line.starts_with("x.bpf.o: ") && !line.contains('\n'),
                "{line}"
            );
            error.cause
        }
    }
}

/// Look at everything a caller would, so that a bad reference cannot hide.
fn walk(result: Result<Object<'_>, ObjectError>) {
    let Ok(object) = result else { return };
    let mut sum = 0_usize;
    for f in &object.functions {
        sum += f.code.len() + f.references.len() + f.core_relocations.len();
        sum += f.type_id.map_or(0, |id| object.btf.describe(id).len());
        for relocation in &f.core_relocations {
            let answer = scx_lint::btf::core::evaluate(&object.btf, relocation, &object.btf);
            sum += format!("{answer:?}").len();
        }
    }
    for (id, _) in object.btf.iter() {
        sum += object.btf.describe(id).len();
        sum += object.btf.size_of(id).map_or(0, |_| 1);
        sum += scx_lint::btf::prototype::Prototype::from_btf(&object.btf, id).map_or(0, |_| 1);
    }
    std::hint::black_box(sum);
}

#[test]
fn foreign_files_are_named() {
    let good = bytes("everything.bpf.o");
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        cause(&bytes)
    };
    assert_eq!(cause(b""), Cause::Empty);
    assert_eq!(cause(b"#!/bin/sh\n"), Cause::NotElf);
    assert_eq!(cause(b"\x7fEL"), Cause::NotElf);
    assert_eq!(changed(4, 1), Cause::Elf32);
    assert_eq!(changed(5, 2), Cause::BigEndian);
    assert_eq!(changed(18, 62), Cause::OtherMachine { machine: 62 });
    assert_eq!(changed(16, 2), Cause::NotRelocatable { kind: 2 });
    assert!(matches!(cause(b"\x7fELF\x02\x01"), Cause::Malformed { .. }));
}

/// Where the section headers start.
fn section_headers(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize
}

/// Index of the section header, and file offset and size, of a section.
fn section(bytes: &[u8], name: &str) -> (usize, usize, usize) {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let headers = section_headers(bytes);
    let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()) as usize;
    let names = word(headers + half(62) * 64 + 24);
    (0..half(60))
        .map(|index| (index, headers + index * 64))
        .find(|(_, at)| {
            let start = names + (word(*at) & 0xffff_ffff);
            bytes[start..].starts_with(name.as_bytes()) && bytes[start + name.len()] == 0
        })
        .map(|(index, at)| (index, word(at + 24), word(at + 32)))
        .unwrap_or_else(|| panic!("no section {name}"))
}

/// The bytes whose every flip is tried: ELF header, section headers, BTF and BTF.ext headers.
fn headers(bytes: &[u8]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..64).collect();
    places.extend(section_headers(bytes)..bytes.len());
    for name in [".BTF", ".BTF.ext"] {
        let (_, at, _) = section(bytes, name);
        places.extend(at..at + 32);
    }
    places
}

#[test]
fn no_flipped_bit_of_a_header_panics() {
    let good = bytes("linked.bpf.o");
    for place in headers(&good) {
        let flips = [0, 3, 7].map(|bit| good[place] ^ (1 << bit));
        for value in flips.into_iter().chain([0xff]) {
            let mut bytes = good.clone();
            bytes[place] = value;
            walk(parse("linked", &bytes));
        }
    }
    let good = bytes("everything.bpf.o");
    for place in headers(&good) {
        let mut bytes = good.clone();
        bytes[place] ^= 0xff;
        walk(parse("everything", &bytes));
    }
}

#[test]
fn no_changed_byte_panics() {
    let good = bytes("linked.bpf.o");
    for place in 0..good.len() {
        for value in [good[place] ^ 1, good[place] ^ 0x80] {
            let mut bytes = good.clone();
            bytes[place] = value;
            walk(parse("x", &bytes));
        }
    }
}

#[test]
fn no_length_panics_and_no_cut_file_passes() {
    let good = bytes("everything.bpf.o");
    for length in 0..good.len() {
        // The section headers come last, so that every cut file lacks some.
        let cut = parse("x", &good[..length]);
        assert!(cut.is_err(), "{length} bytes of {} passed", good.len());
    }
}

#[test]
fn sizes_near_the_limits_are_refused() {
    let good = bytes("everything.bpf.o");
    let headers = section_headers(&good);
    for name in [".text", ".BTF", ".symtab", ".rel.text", ".struct_ops.link"] {
        let (index, _, _) = section(&good, name);
        for field in [24, 32] {
            for value in [0xffff_ffff, 0x1_0000_0000, u64::MAX, u64::MAX - 7, 1 << 63] {
                let mut bytes = good.clone();
                let at = headers + index * 64 + field;
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                assert!(matches!(cause(&bytes), Cause::Malformed { .. }), "{name}");
            }
        }
    }
    for name in [".BTF", ".BTF.ext"] {
        let (_, at, _) = section(&good, name);
        for field in (4..24).step_by(4) {
            let mut bytes = good.clone();
            bytes[at + field..at + field + 4].copy_from_slice(&0xffff_fffc_u32.to_le_bytes());
            assert!(matches!(cause(&bytes), Cause::Btf { .. }), "{name}+{field}");
        }
    }
}

#[test]
fn overlapping_sections_are_refused() {
    let good = bytes("everything.bpf.o");
    let headers = section_headers(&good);
    let (text, at, size) = section(&good, ".text");
    let (other, ..) = section(&good, "struct_ops/enqueue");
    let mut bytes = good.clone();
    let field = headers + other * 64 + 24;
    bytes[field..field + 16].copy_from_slice(&[at.to_le_bytes(), size.to_le_bytes()].concat());
    let Cause::Malformed { message, offset } = cause(&bytes) else {
        panic!("not malformed");
    };
    assert!(message.contains("overlap"), "{message}");
    assert!(offset as usize >= headers && text != other);
}

#[test]
fn a_type_cycle_is_refused() {
    let good = bytes("core_local.bpf.o");
    let (_, at, _) = section(&good, ".BTF");
    let word = |at: usize| u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
    let types = at + 24 + word(at + 8) as usize;
    // Every modifier, typedef, pointer and array in turn refers to itself.
    let (mut record, mut id, mut tried) = (types, 1_u32, 0);
    while record < types + word(at + 12) as usize {
        let info = word(record + 4);
        let (kind, vlen) = (info >> 24 & 0x1f, info as usize & 0xffff);
        let place = match kind {
            2 | 8..=11 | 18 => Some(record + 8),
            3 => Some(record + 12),
            4 | 5 if vlen > 0 => Some(record + 12 + 4),
            _ => None,
        };
        if let Some(place) = place {
            let mut bytes = good.clone();
            bytes[place..place + 4].copy_from_slice(&id.to_le_bytes());
            let error = cause(&bytes);
            assert!(
                error.to_string().contains("refers to itself"),
                "{id}: {error}"
            );
            tried += 1;
        }
        record += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => vlen * 12,
                6 | 13 => vlen * 8,
                _ => 0,
            };
        id += 1;
    }
    assert!(tried > 20);
}

#[test]
fn a_record_longer_than_known_is_read_by_its_beginning() {
    // Rebuild .BTF.ext at the end of the file with every record 8 bytes longer.
    let good = bytes("everything.bpf.o");
    let (index, at, size) = section(&good, ".BTF.ext");
    let ext = &good[at..at + size];
    let word = |at: usize| u32::from_le_bytes(ext[at..at + 4].try_into().unwrap()) as usize;
    let header = word(4);
    let mut longer = ext[..header].to_vec();
    let mut body = Vec::new();
    for field in [8, 16, 24] {
        let (start, end) = (header + word(field), header + word(field) + word(field + 4));
        let table = body.len();
        let record = word(start);
        body.extend_from_slice(&(record as u32 + 8).to_le_bytes());
        let mut block = start + 4;
        while block < end {
            let count = word(block + 4);
            body.extend_from_slice(&ext[block..block + 8]);
            for record_at in (block + 8..).step_by(record).take(count) {
                body.extend_from_slice(&ext[record_at..record_at + record]);
                body.extend_from_slice(&[0xaa; 8]);
            }
            block += 8 + count * record;
        }
        longer[field..field + 4].copy_from_slice(&(table as u32).to_le_bytes());
        longer[field + 4..field + 8].copy_from_slice(&((body.len() - table) as u32).to_le_bytes());
    }
    longer.extend(body);
    let mut bytes = good.clone();
    while !bytes.len().is_multiple_of(8) {
        bytes.push(0);
    }
    let header = section_headers(&good) + index * 64;
    let place = [bytes.len() as u64, longer.len() as u64]
        .map(u64::to_le_bytes)
        .concat();
    bytes[header + 24..header + 40].copy_from_slice(&place);
    bytes.extend(longer);

    let (before, after) = (parse("x", &good).unwrap(), parse("x", &bytes).unwrap());
    assert_eq!(after.problems, []);
    for (before, after) in before.functions.iter().zip(&after.functions) {
        assert_eq!(before.type_id, after.type_id);
        assert_eq!(format!("{:?}", before.lines), format!("{:?}", after.lines));
        assert_eq!(before.core_relocations.len(), after.core_relocations.len());
    }
}
