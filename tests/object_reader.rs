//! The object reader over small objects that have one of everything (tests/data/object).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use scx_lint::btf::core::{CoreRelocation, CoreValue, Kind};
use scx_lint::btf::prototype::{Prototype, compatible};
use scx_lint::btf::{Btf, Type, resolve};
use scx_lint::object::{
    ExternKind, Function, Linkage, MemberValue, Object, ProgramKind, Target, parse,
};

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/object/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn function<'o, 'd>(object: &'o Object<'d>, name: &str) -> &'o Function<'d> {
    let mut found = object.functions.iter().filter(|f| f.name == name);
    found.next().unwrap_or_else(|| panic!("no function {name}"))
}

/// The references of a function as text, in instruction order.
fn references(object: &Object<'_>, name: &str) -> Vec<String> {
    let show = |target: &Target<'_>| match target {
        Target::Function(id) => format!("fn {}", object.function(*id).unwrap().name),
        Target::Extern(id) => format!("extern {}", object.externs[id.0 as usize].name),
        Target::Data(id, at) => format!("{}+{at}", object.data[id.0 as usize].name),
        Target::Map(name) => format!("map {name}"),
        Target::Unresolved(name) => format!("? {name}"),
    };
    let references = &function(object, name).references;
    references.iter().map(|r| show(&r.target)).collect()
}

#[test]
fn functions_have_linkage_types_and_lines() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    assert_eq!(object.problems, []);
    let linkage = |name| function(&object, name).linkage;
    assert_eq!(linkage("sub_static"), Linkage::Static);
    assert_eq!(linkage("sub_global"), Linkage::Global);
    assert_eq!(linkage("sub_hidden"), Linkage::Static);
    let sub = function(&object, "sub_static");
    assert_eq!(sub.section, ".text");
    assert_eq!(
        object.btf.describe(sub.type_id.unwrap()),
        "int sub_static(u64 x)"
    );
    let line = sub.lines.first().unwrap();
    assert!(line.file.ends_with("everything.bpf.c"), "{}", line.file);
    assert_eq!(
        line.text,
        "\treturn x + static_limit + LINUX_KERNEL_VERSION;"
    );
    assert_eq!((line.insn, line.column), (0, 13));
    let places: Vec<_> = object
        .functions
        .iter()
        .map(|f| (f.section_index, f.offset))
        .collect();
    assert!(places.is_sorted());
    for f in &object.functions {
        assert!(f.lines.is_sorted_by_key(|line| line.insn));
        assert!(f.references.is_sorted_by_key(|reference| reference.insn));
        let at = object.function_at(f.section_index, f.offset).unwrap();
        assert_eq!(object.function(at).unwrap().name, f.name);
        assert_eq!(
            object
                .function_at(f.section_index, f.offset + 8)
                .map(|id| { object.function(id).unwrap().offset }),
            (f.code.len() == 8
                && object
                    .functions
                    .iter()
                    .any(|g| g.section_index == f.section_index && g.offset == f.offset + 8))
            .then_some(f.offset + 8)
        );
    }
}

#[test]
fn instructions_refer_to_what_libbpf_would_put_there() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    assert_eq!(
        references(&object, "enqueue"),
        [
            "map counts",
            ".rodata+0",
            ".data.own+0",
            ".bss+0",
            "extern kfunc_weak___v2___compat",
            "extern kfunc_weak___v2___compat",
            "extern runqueues",
            "extern some_symbol",
            "extern kfunc_strong",
        ]
    );
    assert_eq!(
        references(&object, "select_cpu"),
        [
            "fn sub_global",
            "fn step_static",
            "extern CONFIG_X",
            "fn sub_hidden",
            "fn step_global",
            "fn sub_static",
        ]
    );
    // Against the section with the offset in the instruction, because they are static.
    assert_eq!(
        references(&object, "sub_static"),
        [".rodata+8", "extern LINUX_KERNEL_VERSION"]
    );
    assert_eq!(references(&object, "step_static"), [".data+8"]);
    let core = &function(&object, "enqueue").core_relocations;
    let core: Vec<_> = core
        .iter()
        .map(|c| (c.kind, object.btf.describe(c.type_id), c.access))
        .collect();
    assert_eq!(
        core,
        [(
            Kind::FieldByteOffset,
            "struct task_struct".to_owned(),
            "0:1:0"
        )]
    );
}

#[test]
fn programs_have_kinds_and_autoload() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    let programs: Vec<_> = object
        .programs
        .iter()
        .map(|p| (p.name, p.kind, p.sleepable, p.autoload, p.attached.clone()))
        .collect();
    use ProgramKind::*;
    assert_eq!(
        programs,
        [
            ("enqueue", StructOps, false, true, vec![(0, 1), (1, 1)]),
            ("select_cpu", StructOps, false, true, vec![(0, 0)]),
            // Optional, and named by a map that is created.
            ("init", StructOps, true, true, vec![(0, 2)]),
            ("unused", StructOps, false, false, vec![]),
            // Not optional, and named only by a map that is not.
            ("orphan", StructOps, false, false, vec![(2, 1)]),
            ("throwing", Syscall, true, true, vec![]),
            ("tracing", Tracing, false, true, vec![]),
            ("unknown_kind", Unknown, false, true, vec![]),
        ]
    );
    let callback = function(&object, "throwing").exception_callback.unwrap();
    assert_eq!(object.function(callback).unwrap().name, "on_exception");
}

#[test]
fn struct_ops_members_are_programs_or_bytes() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    let maps: Vec<_> = object
        .struct_ops
        .iter()
        .map(|m| (m.name, m.type_name, m.link, m.autocreate))
        .collect();
    assert_eq!(
        maps,
        [
            ("main_ops", "sched_ext_ops", true, true),
            ("second_ops", "sched_ext_ops", true, true),
            ("optional_ops", "sched_ext_ops", false, false),
        ]
    );
    let member = |map: usize, name: &str| {
        let mut members = object.struct_ops[map].members.iter();
        members.find(|m| m.name == name).unwrap().value.clone()
    };
    let program = |name: &str| match object.functions.iter().position(|f| f.name == name) {
        Some(index) => MemberValue::Program(scx_lint::object::FunctionId(index as u32)),
        None => panic!("no function {name}"),
    };
    assert_eq!(member(0, "select_cpu"), program("select_cpu"));
    assert_eq!(member(0, "init"), program("init"));
    assert_eq!(member(0, "dispatch_max_batch"), MemberValue::Zero);
    assert_eq!(
        member(0, "flags"),
        MemberValue::Bytes(&[0x20, 0, 0, 0, 0, 0, 0, 0])
    );
    assert_eq!(
        member(0, "name"),
        MemberValue::Bytes(b"main\0\0\0\0\0\0\0\0\0\0\0\0")
    );
    assert_eq!(member(1, "enqueue"), program("enqueue"));
    assert_eq!(member(1, "select_cpu"), MemberValue::Zero);
    assert_eq!(
        member(1, "dispatch_max_batch"),
        MemberValue::Bytes(&[8, 0, 0, 0])
    );
    assert_eq!(member(2, "enqueue"), program("orphan"));
}

#[test]
fn externs_have_kinds_strength_and_essential_names() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    let mut externs: Vec<_> = object
        .externs
        .iter()
        .map(|e| (e.name, e.essential_name, e.kind, e.weak, e.type_id != 0))
        .collect();
    externs.sort_by_key(|e| e.0);
    use ExternKind::*;
    assert_eq!(
        externs,
        [
            ("CONFIG_X", "CONFIG_X", Kconfig { size: 1 }, true, true),
            (
                "LINUX_KERNEL_VERSION",
                "LINUX_KERNEL_VERSION",
                Kconfig { size: 4 },
                false,
                true
            ),
            ("kfunc_strong", "kfunc_strong", Kfunc, false, true),
            (
                "kfunc_weak___v2___compat",
                "kfunc_weak___v2",
                Kfunc,
                true,
                true
            ),
            ("runqueues", "runqueues", TypedVariable, false, true),
            ("some_symbol", "some_symbol", Typeless, true, false),
        ]
    );
    let kfunc = object
        .externs
        .iter()
        .find(|e| e.name == "kfunc_strong")
        .unwrap();
    let local = Prototype::from_btf(&object.btf, kfunc.type_id).unwrap();
    let table =
        Prototype::parse("void kfunc_strong(struct task_struct *p, u64 enq_flags)").unwrap();
    assert!(compatible(&local, &table));
}

#[test]
fn data_sections_have_bytes_and_variables() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    let section = |name: &str| object.data.iter().find(|d| d.name == name).unwrap();
    let variables = |name: &str| -> Vec<_> {
        let variables = section(name).variables.iter();
        variables
            .map(|v| {
                (
                    v.name,
                    v.offset,
                    v.size,
                    v.type_id.map(|t| object.btf.describe(t)),
                )
            })
            .collect()
    };
    let described = |text: &str| Some(text.to_owned());
    assert!(section(".rodata").read_only);
    assert!(!section(".data").read_only);
    assert_eq!(
        variables(".rodata"),
        [
            ("slice_ns", 0, 8, described("const volatile u64")),
            ("static_limit", 8, 4, described("const volatile u32")),
        ]
    );
    assert_eq!(
        section(".rodata").bytes,
        [
            20_000_000_u64.to_le_bytes().as_slice(),
            &7_u32.to_le_bytes()
        ]
        .concat()
    );
    assert_eq!(
        variables(".data"),
        [
            ("counter", 0, 8, described("u64")),
            ("static_counter", 8, 8, described("u64")),
        ]
    );
    assert_eq!(variables(".bss"), [("zeroed", 0, 16, described("u64[2]"))]);
    assert!(section(".bss").bytes.is_empty());
    assert_eq!(variables(".data.own").len(), 1);
}

#[test]
fn sections_are_borrowed_not_copied() {
    let bytes = bytes("everything.bpf.o");
    let object = parse("everything", &bytes).unwrap();
    let file = bytes.as_ptr_range();
    for f in &object.functions {
        assert!(file.contains(&f.code.as_ptr()) && file.contains(&f.name.as_ptr()));
    }
    for d in object.data.iter().filter(|d| !d.bytes.is_empty()) {
        assert!(file.contains(&d.bytes.as_ptr()));
    }
}

#[test]
fn what_bpftool_linked_reads_like_what_clang_wrote() {
    let bytes = bytes("linked.bpf.o");
    let object = parse("linked", &bytes).unwrap();
    assert_eq!(object.problems, []);
    assert_eq!(references(&object, "enqueue_one"), ["fn helper", ".data+0"]);
    let maps: Vec<_> = object.struct_ops.iter().map(|m| m.name).collect();
    assert_eq!(maps, ["ops_one", "ops_two"]);
    for (map, name) in object.struct_ops.iter().zip(["enqueue_one", "enqueue_two"]) {
        let enqueue = map.members.iter().find(|m| m.name == "enqueue").unwrap();
        let MemberValue::Program(id) = enqueue.value else {
            panic!("{enqueue:?}");
        };
        assert_eq!(object.function(id).unwrap().name, name);
    }
    let rodata = object.data.iter().find(|d| d.name == ".rodata").unwrap();
    let offsets: Vec<_> = rodata
        .variables
        .iter()
        .map(|v| (v.name, v.offset))
        .collect();
    assert_eq!(offsets, [("limit_one", 0), ("limit_two", 4)]);
    assert!(rodata.variables.iter().all(|v| v.type_id.is_some()));
    // Two static functions of one name, each with its own data.
    let helpers: Vec<_> = object
        .functions
        .iter()
        .filter(|f| f.name == "helper")
        .collect();
    assert_eq!(helpers.len(), 2);
    for (helper, offset) in helpers.iter().zip([0, 4]) {
        assert!(helper.references.iter().any(
            |r| matches!(r.target, Target::Data(id, at) if object.data[id.0 as usize].read_only && at == offset)
        ));
    }
}

#[test]
fn what_libbpf_refuses_is_a_problem() {
    let bytes = bytes("static_program.bpf.o");
    let object = parse("static_program", &bytes).unwrap();
    let subjects: Vec<_> = object
        .problems
        .iter()
        .map(|p| (p.subject.as_deref().unwrap_or(""), p.message.as_str()))
        .collect();
    assert_eq!(
        subjects,
        [
            (
                "forgotten",
                "`forgotten` is static in the program section `syscall`, which libbpf does not \
                 support"
            ),
            (
                "wrong_ops",
                "the `struct_ops` map `wrong_ops` sets `enqueue` to `subprogram`, which is not in \
                 a `struct_ops` section: libbpf refuses the object"
            )
        ]
    );
    for problem in &object.problems {
        assert!(!problem.help.is_empty() && !problem.help.ends_with('.'));
    }
}

#[test]
fn relocations_agree_with_libbpf() {
    let (local, target) = (bytes("core_local.bpf.o"), bytes("core_target.bpf.o"));
    let local = parse("core_local", &local).unwrap().btf;
    let target = parse("core_target", &target).unwrap().btf;
    let expected = String::from_utf8(bytes("core_expected.txt")).unwrap();
    let mut compared = 0;
    for line in expected.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [type_id, access, kind, value, sizes @ ..] = words.as_slice() else {
            panic!("{line}");
        };
        let relocation = CoreRelocation {
            insn: 0,
            kind: Kind::from_raw(kind.parse().unwrap()).unwrap(),
            type_id: type_id.parse().unwrap(),
            access,
        };
        let resolution = resolve(&local, &relocation, &target);
        let got = match resolution.value {
            CoreValue::Known(value) => value.to_string(),
            CoreValue::Poisoned => "poison".to_owned(),
            CoreValue::Refused(_) => "error".to_owned(),
            CoreValue::Unknown => "unknown".to_owned(),
        };
        let what = format!("{line}: {}", local.describe(relocation.type_id));
        assert_eq!(&got, value, "{what}");
        let access = resolution.access.map(|a| (a.local, a.target, a.adaptable));
        match (sizes, access) {
            (["0", "0", _] | [], None) => {}
            ([here, there, poisoned], Some((local, target, adaptable))) => {
                assert_eq!(*here, local.to_string(), "{what}");
                assert_eq!(*there, target.to_string(), "{what}");
                assert_eq!(*poisoned == "1", local != target && !adaptable, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
        compared += 1;
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn types_are_described_as_c() {
    let bytes = bytes("core_local.bpf.o");
    let btf: Btf<'_> = parse("core_local", &bytes).unwrap().btf;
    let (_, plain) = btf.iter().find(|(_, t)| t.name() == "plain").unwrap();
    let Type::Struct(plain) = plain else {
        panic!("{plain:?}");
    };
    let described: Vec<String> = plain.members.iter().map(|m| btf.describe(m.to)).collect();
    assert_eq!(
        described,
        [
            "int",
            "char",
            "u32",
            "int",
            "void *",
            "struct inner",
            "struct inner[3]",
            "enum plain_enum",
            "const volatile u32",
            "float",
            "callback_t",
            "struct forward *",
            "int",
            "int[8]",
        ]
    );
}
