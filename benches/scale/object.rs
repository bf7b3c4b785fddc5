//! Writes BPF objects of any size, as clang would lay them out: a scheduler with two callbacks that
//! call every one of many static subprograms, with BTF, line information, a kfunc and a
//! `struct_ops` map.

use object::write::{Object, Relocation, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
};

/// What to write.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Instructions in all, approximately.
    pub instructions: usize,
    /// Instructions of one subprogram.
    pub per_function: usize,
    /// Bytes of an initialised arena section; 0 for none.
    pub arena: usize,
}

/// Bytes of `struct sched_ext_ops` as written here: two callbacks, flags, timeout, name.
const OPS_BYTES: u32 = 8 + 8 + 8 + 8 + 128;

/// The object, and how many instructions it has.
pub fn write(shape: Shape) -> Result<(Vec<u8>, usize), object::write::Error> {
    let per_function = shape.per_function.max(16);
    // Either callback has three instructions for each subprogram.
    let each = per_function + 6;
    let functions = ((shape.instructions + each / 2) / each).max(1);

    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let mut types = Types::default();
    let known = types.known();

    let kfunc = symbol(
        &mut object,
        "scx_bpf_kick_cpu",
        SymbolKind::Unknown,
        SymbolSection::Undefined,
        0,
        0,
        true,
    );
    let text = object.section_id(StandardSection::Text);
    let text_symbol = object.section_symbol(text);
    let mut text_info = SectionInfo::new(&mut types, ".text");
    let mut total = 0;
    let mut relocations: Vec<(u64, SymbolId)> = Vec::new();
    let mut code = Vec::new();
    let mut starts = Vec::with_capacity(functions);
    for index in 0..functions {
        let name = format!("work_{index}");
        let start = code.len();
        subprogram(per_function, index, &mut code, &mut relocations, kfunc);
        let function = types.function(&name, known.sub_proto, 0);
        text_info.function(start, function);
        text_info.lines(&mut types, start, code.len(), 10 + index * per_function);
        let size = (code.len() - start) as u64;
        symbol(
            &mut object,
            &name,
            SymbolKind::Text,
            SymbolSection::Section(text),
            start as u64,
            size,
            false,
        );
        starts.push(start);
        total += size as usize / 8;
    }
    object.append_section_data(text, &code, 8);
    relocate(&mut object, text, &relocations)?;

    let mut infos = vec![text_info];
    let mut programs = Vec::new();
    for name in ["gen_enqueue", "gen_dispatch"] {
        let section_name = format!("struct_ops/{name}");
        let mut code = Vec::new();
        let mut relocations = Vec::new();
        insn(&mut code, 0xbf, 0x16, 0, 0); // r6 = r1
        insn(&mut code, 0xb7, 0x07, 0, 0); // r7 = 0
        for start in &starts {
            insn(&mut code, 0xbf, 0x61, 0, 0); // r1 = r6
            relocations.push((code.len() as u64, text_symbol));
            insn(&mut code, 0x85, 0x10, 0, (*start / 8) as i32 - 1); // call .text + start
            insn(&mut code, 0x0f, 0x07, 0, 0); // r7 += r0
        }
        insn(&mut code, 0xb7, 0x00, 0, 0); // r0 = 0
        insn(&mut code, 0x95, 0, 0, 0); // exit
        let function = types.function(name, known.program_proto, 1);
        let mut info = SectionInfo::new(&mut types, &section_name);
        info.function(0, function);
        info.lines(&mut types, 0, code.len(), 5);
        infos.push(info);
        total += code.len() / 8;

        let section = object.add_section(Vec::new(), section_name.into_bytes(), SectionKind::Text);
        let size = code.len() as u64;
        object.append_section_data(section, &code, 8);
        relocate(&mut object, section, &relocations)?;
        programs.push(symbol(
            &mut object,
            name,
            SymbolKind::Text,
            SymbolSection::Section(section),
            0,
            size,
            true,
        ));
    }

    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    symbol(
        &mut object,
        "_license",
        SymbolKind::Data,
        SymbolSection::Section(license),
        0,
        4,
        true,
    );

    let ops = object.add_section(Vec::new(), b".struct_ops.link".to_vec(), SectionKind::Data);
    let mut value = vec![0; OPS_BYTES as usize];
    for (at, byte) in value.iter_mut().skip(32).zip(b"generated") {
        *at = *byte;
    }
    object.append_section_data(ops, &value, 8);
    symbol(
        &mut object,
        "gen_ops",
        SymbolKind::Data,
        SymbolSection::Section(ops),
        0,
        u64::from(OPS_BYTES),
        true,
    );
    for (member, program) in programs.iter().enumerate() {
        let flags = RelocationFlags::Elf {
            r_type: elf::RelocationType(2), // R_BPF_64_ABS64
        };
        object.add_relocation(
            ops,
            Relocation {
                offset: member as u64 * 8,
                symbol: *program,
                addend: 0,
                flags,
            },
        )?;
    }

    if shape.arena > 0 {
        let arena = object.add_section(Vec::new(), b".addr_space.1".to_vec(), SectionKind::Data);
        // Not zero: what clang writes for initialised arena variables.
        let bytes: Vec<u8> = (0..shape.arena).map(|at| (at % 251) as u8).collect();
        object.append_section_data(arena, &bytes, 8);
    }

    let btf = object.add_section(Vec::new(), b".BTF".to_vec(), SectionKind::Other);
    let ext = btf_ext(&infos);
    object.append_section_data(btf, &types.finish(), 4);
    let section = object.add_section(Vec::new(), b".BTF.ext".to_vec(), SectionKind::Other);
    object.append_section_data(section, &ext, 4);
    Ok((object.write()?, total))
}

/// A subprogram of `count` instructions: arithmetic, stack traffic, branches, and a kfunc call now
/// and then.
fn subprogram(
    count: usize,
    seed: usize,
    code: &mut Vec<u8>,
    relocations: &mut Vec<(u64, SymbolId)>,
    kfunc: SymbolId,
) {
    const BLOCK: usize = 12;
    insn(code, 0xbf, 0x16, 0, 0); // r6 = r1
    insn(code, 0xb7, 0x07, 0, seed as i32); // r7 = seed
    for block in 0..(count - 4) / BLOCK {
        let salt = (seed * 31 + block * 7) as i32 & 0xffff;
        insn(code, 0x7b, 0x6a, -8, 0); // *(u64 *)(r10 - 8) = r6
        insn(code, 0x79, 0xa8, -8, 0); // r8 = *(u64 *)(r10 - 8)
        insn(code, 0x07, 0x07, 0, salt); // r7 += salt
        insn(code, 0x25, 0x07, 2, salt * 2); // if r7 > 2 * salt goto +2
        insn(code, 0xa7, 0x07, 0, salt); // r7 ^= salt
        insn(code, 0x67, 0x07, 0, 3); // r7 <<= 3
        insn(code, 0xbc, 0x79, 0, 0); // w9 = w7
        insn(code, 0x56, 0x09, 3, 0); // if w9 != 0 goto +3
        insn(code, 0xb7, 0x01, 0, 0); // r1 = 0
        insn(code, 0xb7, 0x02, 0, 0); // r2 = 0
        if block % 8 == 0 {
            relocations.push((code.len() as u64, kfunc));
            insn(code, 0x85, 0x10, 0, -1); // call scx_bpf_kick_cpu
        } else {
            insn(code, 0x0f, 0x17, 0, 0); // r7 += r1
        }
        insn(code, 0x5f, 0x77, 0, 0); // r7 &= r7
    }
    insn(code, 0xbf, 0x70, 0, 0); // r0 = r7
    insn(code, 0x95, 0, 0, 0); // exit
}

/// One instruction; `registers` is the source in the high and the destination in the low half.
fn encode(opcode: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    [opcode, registers, o0, o1, i0, i1, i2, i3]
}

fn insn(code: &mut Vec<u8>, opcode: u8, registers: u8, offset: i16, immediate: i32) {
    code.extend(encode(opcode, registers, offset, immediate));
}

fn symbol(
    object: &mut Object<'_>,
    name: &str,
    kind: SymbolKind,
    section: SymbolSection,
    value: u64,
    size: u64,
    global: bool,
) -> SymbolId {
    let scope = if global {
        SymbolScope::Dynamic
    } else {
        SymbolScope::Compilation
    };
    object.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size,
        kind,
        scope,
        weak: false,
        section,
        flags: SymbolFlags::None,
    })
}

/// Adds call relocations, whose addend is in the instruction already.
fn relocate(
    object: &mut Object<'_>,
    section: object::write::SectionId,
    calls: &[(u64, SymbolId)],
) -> Result<(), object::write::Error> {
    for (offset, symbol) in calls {
        let flags = RelocationFlags::Elf {
            r_type: elf::R_BPF_64_32,
        };
        object.add_relocation(
            section,
            Relocation {
                offset: *offset,
                symbol: *symbol,
                addend: 0,
                flags,
            },
        )?;
    }
    Ok(())
}

/// BTF under construction.
#[derive(Default)]
struct Types {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    file: u32,
    line: u32,
}

/// The types that functions refer to.
struct Known {
    sub_proto: u32,
    program_proto: u32,
}

impl Types {
    fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        offset
    }

    /// Adds a type: name, `kind` and `vlen`, size or type, and what follows.
    fn add(&mut self, name: u32, kind: u32, vlen: usize, size_or_type: u32, more: &[u32]) -> u32 {
        let info = kind << 24 | vlen as u32;
        for word in [name, info, size_or_type].iter().chain(more) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    fn function(&mut self, name: &str, proto: u32, linkage: usize) -> u32 {
        let name = self.string(name);
        self.add(name, 12, linkage, proto, &[])
    }

    fn known(&mut self) -> Known {
        self.file = self.string("/src/generated.bpf.c");
        self.line = self.string("\tvalue = step(value, ctx); /* a line of ordinary length */");
        let name = self.string("unsigned long long");
        let u64_type = self.add(name, 1, 0, 8, &[64]);
        let name = self.string("int");
        let int_type = self.add(name, 1, 0, 4, &[1 << 24 | 32]);
        let name = self.string("char");
        let char_type = self.add(name, 1, 0, 1, &[1 << 24 | 8]);
        let context = self.add(0, 2, 0, u64_type, &[]);
        let parameter = self.string("ctx");
        let program_proto = self.add(0, 13, 1, 0, &[parameter, context]);
        let sub_proto = self.add(0, 13, 1, u64_type, &[parameter, context]);

        let (cpu, flags) = (self.string("cpu"), self.string("flags"));
        let kick_proto = self.add(0, 13, 2, 0, &[cpu, int_type, flags, u64_type]);
        let kick = self.function("scx_bpf_kick_cpu", kick_proto, 2);
        let name = self.string(".ksyms");
        self.add(name, 15, 1, 0, &[kick, 0, 0]);

        let name = self.string("task_struct");
        let task = self.add(name, 7, 0, 0, &[]);
        let task = self.add(0, 2, 0, task, &[]);
        let void_task_flags = self.add(0, 13, 2, 0, &[0, task, 0, u64_type]);
        let enqueue = self.add(0, 2, 0, void_task_flags, &[]);
        let void_cpu_task = self.add(0, 13, 2, 0, &[0, int_type, 0, task]);
        let dispatch = self.add(0, 2, 0, void_cpu_task, &[]);
        let name_array = self.add(0, 3, 0, 0, &[char_type, int_type, 128]);
        let members = [
            ("enqueue", enqueue, 0),
            ("dispatch", dispatch, 64),
            ("flags", u64_type, 128),
            ("timeout_ms", u64_type, 192),
            ("name", name_array, 256),
        ];
        let mut words = Vec::new();
        for (name, kind, bits) in members {
            words.extend([self.string(name), kind, bits]);
        }
        let name = self.string("sched_ext_ops");
        let ops = self.add(name, 4, members.len(), OPS_BYTES, &words);
        let name = self.string("gen_ops");
        let variable = self.add(name, 14, 0, ops, &[1]);
        let name = self.string(".struct_ops.link");
        self.add(name, 15, 1, OPS_BYTES, &[variable, 0, OPS_BYTES]);
        let license_array = self.add(0, 3, 0, 0, &[char_type, int_type, 4]);
        let name = self.string("_license");
        let variable = self.add(name, 14, 0, license_array, &[1]);
        let name = self.string("license");
        self.add(name, 15, 1, 4, &[variable, 0, 4]);
        Known {
            sub_proto,
            program_proto,
        }
    }

    /// The section.
    fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

/// What `.BTF.ext` says of one section.
struct SectionInfo {
    name: u32,
    functions: Vec<u32>,
    lines: Vec<u32>,
    file: u32,
}

impl SectionInfo {
    fn new(types: &mut Types, name: &str) -> Self {
        Self {
            name: types.string(name),
            functions: Vec::new(),
            lines: Vec::new(),
            file: types.file,
        }
    }

    fn function(&mut self, offset: usize, type_id: u32) {
        self.functions.extend([offset as u32, type_id]);
    }

    /// A line for every fourth instruction.
    fn lines(&mut self, types: &mut Types, start: usize, end: usize, first: usize) {
        for (nth, offset) in (start..end).step_by(32).enumerate() {
            let line = (first + nth) as u32 & 0x3f_ffff;
            self.lines
                .extend([offset as u32, self.file, types.line, line << 10 | 9]);
        }
    }
}

/// The `.BTF.ext` section.
fn btf_ext(infos: &[SectionInfo]) -> Vec<u8> {
    let part = |record: usize, words: fn(&SectionInfo) -> &Vec<u32>| {
        let mut bytes = (record as u32).to_le_bytes().to_vec();
        for info in infos {
            let words = words(info);
            for word in [info.name, (words.len() * 4 / record) as u32]
                .iter()
                .chain(words)
            {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes
    };
    let functions = part(8, |info| &info.functions);
    let lines = part(16, |info| &info.lines);
    let (function_bytes, line_bytes) = (functions.len() as u32, lines.len() as u32);
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [
        32,
        0,
        function_bytes,
        function_bytes,
        line_bytes,
        function_bytes + line_bytes,
        0,
    ] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(functions);
    bytes.extend(lines);
    bytes
}
