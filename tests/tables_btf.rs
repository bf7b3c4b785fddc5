//! Kernels from BTF: what is refused, and what is believed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use scx_lint::kernel::{Area, KconfigValue, Kernel, Presence, Release, Status, Tables};

fn read(fixture: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(fixture)
        .join(format!("{fixture}.bpf.o"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kernel(bytes: Vec<u8>, hint: Option<Release>) -> Result<Kernel, String> {
    let tables = Tables::bundled().unwrap();
    Kernel::from_btf("dir/some.btf", bytes, &tables, hint).map_err(|error| error.to_string())
}

#[test]
fn what_is_no_btf_is_refused_in_a_line() {
    for (bytes, wanted) in [
        (Vec::new(), "neither raw BTF"),
        (b"hello".to_vec(), "neither raw BTF"),
        (b"\xeb\x9f\x01\x00".to_vec(), "big-endian"),
        (b"\x9f\xeb\x01\x00".to_vec(), "its BTF is malformed"),
        (b"\x7fELF".to_vec(), "a broken ELF file"),
    ] {
        let error = kernel(bytes, None).unwrap_err();
        assert!(
            error.starts_with("dir/some.btf: ") && error.contains(wanted),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

/// An object has a BTF too, with the struct_ops types it uses: enough to be read as a kernel.
#[test]
fn members_and_functions_are_those_of_the_btf() {
    let kernel = kernel(read("fifo"), None).unwrap();
    assert_eq!(kernel.label, "some.btf");
    assert!(kernel.struct_ops("sched_ext_ops").is_some());
    assert!(kernel.struct_ops("sched_ext_ops_cid").is_none());
    assert_eq!(
        kernel.struct_ops_presence("sched_ext_ops_cid"),
        Presence::Absent
    );
    // Nothing says which release it is of.
    assert_eq!(
        kernel.kconfig("LINUX_KERNEL_VERSION"),
        KconfigValue::Unknown
    );
    assert!(
        kernel
            .notes()
            .iter()
            .any(|note| note.contains("does not say its release"))
    );
    assert_eq!(
        kernel.kfunc_exists("scx_bpf_no_such_kfunc"),
        Presence::Absent
    );
    assert_eq!(kernel.source(Area::Members, "enqueue").status, Status::Read);
}

#[test]
fn hint_decides_the_release() {
    let kernel = kernel(read("fifo"), Some("7.0.5".parse().unwrap())).unwrap();
    assert_eq!(kernel.release.to_string(), "7.0.5");
    assert_eq!(
        kernel.kconfig("LINUX_KERNEL_VERSION"),
        KconfigValue::Known(0x07_00_05)
    );
    let newer = self::kernel(read("fifo"), Some("9.1.2".parse().unwrap())).unwrap();
    assert_eq!(newer.release.to_string(), "9.1.2");
    assert!(
        newer
            .notes()
            .iter()
            .any(|note| note.contains("do not describe 9.1.2"))
    );
}

#[test]
fn damaged_bytes_are_refused_or_read_and_never_more() {
    let bytes = read("fifo");
    let tables = Tables::bundled().unwrap();
    let hint = Some("6.12".parse().unwrap());
    let read = |bytes: Vec<u8>| Kernel::from_btf("some.btf", bytes, &tables, hint).is_ok();
    for (turn, position) in (0..bytes.len()).step_by(bytes.len() / 120 + 1).enumerate() {
        let mut damaged = bytes.clone();
        damaged[position] = [0x00, 0xff, 0x80][turn % 3];
        read(damaged);
    }
    for length in (0..bytes.len()).step_by(bytes.len() / 30 + 1) {
        assert!(!read(bytes[..length].to_vec()), "{length} bytes");
    }
}

/// Against the BTF of real kernels: `SCX_LINT_BTF` names a directory with `X.Y.btf` files, as
/// `cargo xtask kernels` makes them.
#[test]
#[ignore = "needs the BTF of real kernels"]
fn real_kernels_are_recognised_and_agree_with_the_tables() {
    let directory = std::env::var("SCX_LINT_BTF").expect("SCX_LINT_BTF is not set");
    let tables = Tables::bundled().unwrap();
    let mut seen = 0;
    for release in tables.releases() {
        let Ok(bytes) = std::fs::read(Path::new(&directory).join(format!("{release}.btf"))) else {
            continue;
        };
        seen += 1;
        let found = kernel(bytes, None).unwrap();
        assert_eq!(found.release, *release);
        let known = tables.kernel(*release).unwrap();
        let names = |kernel: &Kernel| -> Vec<String> {
            kernel
                .kfuncs()
                .map(|kfunc| kfunc.name.to_string())
                .collect()
        };
        assert_eq!(names(&found), names(&known), "{release}");
        for (ours, theirs) in known
            .struct_ops_types()
            .iter()
            .zip(found.struct_ops_types())
        {
            let members = |of: &scx_lint::kernel::StructOpsType| -> Vec<String> {
                let mut fields: Vec<String> = of.fields.iter().map(ToString::to_string).collect();
                fields.extend(
                    of.callbacks
                        .iter()
                        .map(|callback| callback.name.to_string()),
                );
                fields.sort();
                fields
            };
            assert_eq!(members(ours), members(theirs), "{release} {}", ours.name);
        }
    }
    assert!(seen > 0, "no BTF in {directory}");
}
