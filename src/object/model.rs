//! The data types of a parsed object.

use crate::btf::Btf;
pub use crate::btf::TypeId;
pub use crate::btf::core::CoreRelocation;

/// Index of a [`Function`] in [`Object::functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u32);

/// Index of an [`Extern`] in [`Object::externs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternId(pub u32);

/// Index of a [`DataSection`] in [`Object::data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataId(pub u32);

/// A parsed BPF object.
#[derive(Debug)]
pub struct Object<'d> {
    /// What the user calls it: the path given, or `archive:member`.
    pub path: String,
    /// Every function symbol of every executable section, ordered by section and offset.
    pub functions: Vec<Function<'d>>,
    /// The functions a loader would hand to the kernel as programs of their own.
    pub programs: Vec<Program<'d>>,
    /// The maps of `.struct_ops`, `.struct_ops.link` and their optional (`?`) forms.
    pub struct_ops: Vec<StructOpsMap<'d>>,
    /// Undefined symbols described by the `.ksyms` and `.kconfig` DATASECs.
    pub externs: Vec<Extern<'d>>,
    /// Sections that become data maps.
    pub data: Vec<DataSection<'d>>,
    /// The object's own types.
    pub btf: Btf<'d>,
    /// What kept the reader from a complete picture; each becomes an `unverifiable` finding.
    pub problems: Vec<Problem>,
}

/// A function symbol: an entry program or a subprogram.
#[derive(Debug)]
pub struct Function<'d> {
    /// Symbol name.
    pub name: &'d str,
    /// ELF section name it lies in (`.text`, `struct_ops/enqueue`, …).
    pub section: &'d str,
    /// ELF section index.
    pub section_index: usize,
    /// Byte offset in that section.
    pub offset: u64,
    /// Its instructions, a multiple of 8 bytes.
    pub code: &'d [u8],
    /// Whether the verifier checks it inline (static) or on its own for any argument (global).
    /// libbpf makes a global function with hidden visibility static.
    pub linkage: Linkage,
    /// Its `BTF_KIND_FUNC`, from func_info or by name.
    pub type_id: Option<TypeId>,
    /// What instructions refer to through ELF relocations, ordered by `insn`.
    pub references: Vec<Reference<'d>>,
    /// CO-RE relocations of its instructions, ordered by `insn`.
    pub core_relocations: Vec<CoreRelocation<'d>>,
    /// Source lines, ordered by `insn`.
    pub lines: Vec<Line<'d>>,
    /// The exception callback named by its `exception_callback:` declaration tag, if any.
    pub exception_callback: Option<FunctionId>,
}

/// How the verifier treats a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// Verified inline, with the caller's values.
    Static,
    /// Verified once, for any argument values.
    Global,
}

/// What the instruction at `insn` (index in 8-byte units from the function's start) refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'d> {
    /// Instruction slot in the function.
    pub insn: u32,
    /// The target.
    pub target: Target<'d>,
}

/// The target of a relocated instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'d> {
    /// A function: callee of a call, or the function pointer of an `ld_imm64`.
    Function(FunctionId),
    /// An extern kfunc, ksym variable or Kconfig value.
    Extern(ExternId),
    /// `offset` bytes into a data section (the value pointer of its map).
    Data(DataId, u64),
    /// A map by name (its address or descriptor).
    Map(&'d str),
    /// A symbol the reader could not place, with its name.
    Unresolved(String),
}

/// A program as a loader sees it.
#[derive(Debug)]
pub struct Program<'d> {
    /// The function it starts in.
    pub function: FunctionId,
    /// Symbol name.
    pub name: &'d str,
    /// Full section name as written, `?` included.
    pub section: &'d str,
    /// What kind of program the section name makes it.
    pub kind: ProgramKind,
    /// `SEC("xxx.s/…")`: loaded with `BPF_F_SLEEPABLE`.
    pub sleepable: bool,
    /// False for `SEC("?…")`: not loaded unless asked for (or named by a map that is loaded).
    pub autoload: bool,
    /// The members that name it: indices into [`Object::struct_ops`] and into its members.
    pub attached: Vec<(usize, usize)>,
}

/// Program types, by section name (libbpf `section_defs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProgramKind {
    /// `struct_ops/…`.
    StructOps,
    /// `syscall`.
    Syscall,
    /// `fentry`, `fexit`, `fmod_ret`, `tp_btf`, `iter`.
    Tracing,
    /// `tp`, `tracepoint`.
    Tracepoint,
    /// `raw_tp`, `raw_tracepoint`.
    RawTracepoint,
    /// `perf_event`.
    PerfEvent,
    /// `lsm`.
    Lsm,
    /// `kprobe`, `kretprobe`, `uprobe`, `usdt`, `ksyscall` and their multi forms.
    Kprobe,
    /// `freplace`.
    Extension,
    /// Any other type libbpf knows (tc, xdp, cgroup, socket filters, …).
    Other,
    /// A section name libbpf does not know.
    Unknown,
}

/// One `struct_ops` map.
#[derive(Debug)]
pub struct StructOpsMap<'d> {
    /// Variable name.
    pub name: &'d str,
    /// Type name as written (`sched_ext_ops`, `sched_ext_ops___compat`).
    pub type_name: &'d str,
    /// Local type id of the struct.
    pub type_id: TypeId,
    /// From `.struct_ops.link`.
    pub link: bool,
    /// False for `SEC("?.struct_ops…")`.
    pub autocreate: bool,
    /// Every member of the struct in order, set or not.
    pub members: Vec<StructOpsMember<'d>>,
}

/// One member of a [`StructOpsMap`].
#[derive(Debug)]
pub struct StructOpsMember<'d> {
    /// Member name.
    pub name: &'d str,
    /// Byte offset in the struct.
    pub offset: u64,
    /// What it holds.
    pub value: MemberValue<'d>,
}

/// What a `struct_ops` member holds in the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberValue<'d> {
    /// All bytes zero, no relocation.
    Zero,
    /// The program it is set to.
    Program(FunctionId),
    /// A relocation to something that is not a function, by symbol name.
    Unresolved(String),
    /// Constant bytes (flags, timeout, name).
    Bytes(&'d [u8]),
}

/// An extern from `.ksyms` or `.kconfig`.
#[derive(Debug)]
pub struct Extern<'d> {
    /// Name as written, flavour suffix included.
    pub name: &'d str,
    /// Name without the flavour suffix (everything from the last `___`): what libbpf looks up.
    pub essential_name: &'d str,
    /// What it is.
    pub kind: ExternKind,
    /// `__weak`.
    pub weak: bool,
    /// Local type: FUNC for kfuncs, the variable's type otherwise (0 for typeless ksyms).
    pub type_id: TypeId,
}

/// The kinds of extern libbpf resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternKind {
    /// `extern … f(…) __ksym`.
    Kfunc,
    /// `extern const struct x y __ksym`: resolved through BTF.
    TypedVariable,
    /// `extern const void y __ksym`: resolved through kallsyms.
    Typeless,
    /// `extern int CONFIG_X __kconfig`, with its size in bytes.
    Kconfig {
        /// Bytes.
        size: u32,
    },
}

/// A section that becomes a data map.
#[derive(Debug)]
pub struct DataSection<'d> {
    /// Section name.
    pub name: &'d str,
    /// Frozen and read-only when the verifier runs (`.rodata*`), so that its bytes are constants.
    pub read_only: bool,
    /// Its bytes in the file; empty for `.bss`.
    pub bytes: &'d [u8],
    /// Variables, ordered by offset.
    pub variables: Vec<Variable<'d>>,
}

/// A variable of a [`DataSection`].
#[derive(Debug)]
pub struct Variable<'d> {
    /// Name.
    pub name: &'d str,
    /// Byte offset in the section.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Its type in the object's BTF, if described.
    pub type_id: Option<TypeId>,
}

/// A line_info record.
#[derive(Debug, Clone, Copy)]
pub struct Line<'d> {
    /// First instruction slot it covers.
    pub insn: u32,
    /// Source file as the compiler wrote it.
    pub file: &'d str,
    /// The text of the line.
    pub text: &'d str,
    /// 1-based line.
    pub line: u32,
    /// 1-based column (0 when the compiler gave none).
    pub column: u32,
}

/// Something the reader could not make sense of without having to give up on the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is missing or wrong, one sentence, lower case, no final stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// The program or map it concerns, if one.
    pub subject: Option<String>,
    /// Byte offset in the file, when one can be named.
    pub offset: Option<u64>,
}
