//! The few commands of `bpf(2)` the probe needs, by hand: no libbpf.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;

const MAP_TYPE_ARENA: u32 = 33;
const F_MMAPABLE: u32 = 1 << 10;
const F_SLEEPABLE: u32 = 1 << 4;

/// Room for the verifier's text about a program of a dozen instructions; it says `ENOSPC` when
/// it does not do.
const LOG_SIZE: usize = 64 << 10;

/// One BPF instruction.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Insn {
    opcode: u8,
    /// Destination in the low, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Insn {
    /// `dst = value`
    pub fn set(dst: u8, value: i32) -> Insn {
        Insn {
            opcode: 0xb7,
            registers: dst,
            offset: 0,
            immediate: value,
        }
    }

    /// `dst = r10 - below`: room on the stack.
    pub fn stack(dst: u8, below: i32) -> [Insn; 2] {
        [
            Insn {
                opcode: 0xbf,
                registers: dst | 10 << 4,
                offset: 0,
                immediate: 0,
            },
            Insn {
                opcode: 0x07,
                registers: dst,
                offset: 0,
                immediate: below.wrapping_neg(),
            },
        ]
    }

    /// A call of the vmlinux kfunc with that BTF id.
    pub fn call_kfunc(id: i32) -> Insn {
        Insn {
            opcode: 0x85,
            registers: 2 << 4,
            offset: 0,
            immediate: id,
        }
    }

    /// `dst = map`, two slots wide.
    pub fn map(dst: u8, fd: RawFd) -> [Insn; 2] {
        [
            Insn {
                opcode: 0x18,
                registers: dst | 1 << 4,
                offset: 0,
                immediate: fd,
            },
            Insn::default(),
        ]
    }

    /// `exit`
    pub fn exit() -> Insn {
        Insn {
            opcode: 0x95,
            ..Insn::default()
        }
    }
}

/// What a program is loaded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadAs {
    /// `enum bpf_prog_type`
    pub program_type: u32,
    /// `enum bpf_attach_type`; for struct_ops the member's index.
    pub attach_type: u32,
    /// The type, function or typedef in vmlinux that it attaches to; 0 for none.
    pub attach_btf_id: u32,
    /// Whether it may sleep.
    pub sleepable: bool,
}

/// The verifier's answer.
#[derive(Debug)]
pub struct Loaded {
    /// None when it loaded.
    pub error: Option<io::Error>,
    /// Its text.
    pub log: String,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_value_type_id: u32,
    map_extra: u64,
}

/// Asks for a program to be loaded, and drops it again at once: nothing here ever runs.
pub fn load(what: LoadAs, instructions: &[Insn], log: &mut Vec<u8>) -> Loaded {
    log.clear();
    log.resize(LOG_SIZE, 0);
    let attr = ProgLoad {
        prog_type: what.program_type,
        insn_cnt: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: u32::try_from(LOG_SIZE).unwrap_or(u32::MAX),
        log_buf: log.as_mut_ptr() as u64,
        prog_flags: if what.sleepable { F_SLEEPABLE } else { 0 },
        prog_name: *b"scx_lint_probe\0\0",
        expected_attach_type: what.attach_type,
        attach_btf_id: what.attach_btf_id,
        ..ProgLoad::default()
    };
    // SAFETY: every pointer in `attr` is to a live buffer of the length given beside it.
    let result = unsafe { bpf(PROG_LOAD, &attr) };
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    Loaded {
        error: result.err(),
        log: String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned(),
    }
}

/// An arena of one page, for kfuncs that take arena pointers.
pub fn create_arena() -> io::Result<OwnedFd> {
    let attr = MapCreate {
        map_type: MAP_TYPE_ARENA,
        max_entries: 1,
        map_flags: F_MMAPABLE,
        map_name: *b"scx_lint_probe\0\0",
        // The address user space would map it at. Any will do: nobody maps it.
        map_extra: 1 << 44,
        ..MapCreate::default()
    };
    // SAFETY: `attr` holds no pointers.
    unsafe { bpf(MAP_CREATE, &attr) }
}

/// The map as an instruction needs it.
pub fn raw(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}

/// # Safety
/// `T` must be a prefix of `union bpf_attr` as `command` reads it, and every pointer in it must
/// be good for the access the kernel makes.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: as promised by the caller; the kernel reads `size_of::<T>()` bytes of `attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            std::mem::size_of::<T>(),
        )
    };
    let fd = RawFd::try_from(result).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
