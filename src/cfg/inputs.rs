//! The constants that differ from kernel to kernel or from load to load: whether externs exist,
//! what CO-RE relocations and Kconfig values become, what read-only variables hold.

use std::cell::RefCell;
use std::collections::HashMap;

use super::value::Scalar;
use crate::btf::core::{self, CoreValue};
use crate::kernel::{KconfigValue, Kernel, Presence, SymbolMatch};
use crate::object::{DataId, ExternId, ExternKind, FunctionId, Object};
use crate::profile::LoadProfile;

/// Index of one such constant of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputId(u32);

impl InputId {
    /// Externs come first.
    pub fn from_extern(id: ExternId) -> Self {
        Self(id.0)
    }
}

/// What is known of one constant on one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// The symbol is there. For a variable: it holds what the object says.
    Present,
    /// The symbol is not there and reads as zero.
    Absent,
    /// Could be anything.
    Unknown,
    /// Either 0 or 1: a question about types the tables do not answer.
    Bool,
    /// A number of which the bits outside `mask` are known.
    Bits {
        /// Known bits.
        value: u64,
        /// Unknown bits.
        mask: u64,
    },
    /// Any number but zero.
    NonZero,
    /// A CO-RE relocation without a target: libbpf makes the instruction an invalid call.
    Poisoned,
}

impl Known {
    /// A number.
    pub const fn constant(n: u64) -> Self {
        Self::Bits { value: n, mask: 0 }
    }

    /// As a set of numbers.
    pub fn scalar(self) -> Scalar {
        match self {
            Self::Present | Self::NonZero => Scalar::NON_ZERO,
            Self::Absent => Scalar::constant(0),
            Self::Unknown | Self::Poisoned => Scalar::UNKNOWN,
            Self::Bool => Scalar::bits(0, 1),
            Self::Bits { value, mask } => Scalar::bits(value, mask),
        }
    }

    /// As the 32-bit immediate of an instruction, sign-extended like one.
    pub fn immediate(self) -> Scalar {
        match self.scalar().as_constant() {
            Some(n) => Scalar::constant(i64::from(n as i32) as u64),
            None => match self {
                Self::Bool => self.scalar(),
                _ => Scalar::UNKNOWN,
            },
        }
    }
}

/// Numbers the kernel-dependent constants of an object.
#[derive(Debug)]
pub struct InputTable {
    externs: usize,
    /// Per function and relocation: the index of the question it asks.
    core: Vec<Vec<u32>>,
    /// One function and relocation for each different question.
    questions: Vec<(FunctionId, usize)>,
    /// Index of a section's first variable.
    variables: Vec<usize>,
    /// Section and position of each variable.
    places: Vec<(DataId, usize)>,
    /// Offsets and sizes per section, ordered.
    extents: Vec<Vec<(u64, u64)>>,
}

impl InputTable {
    /// Numbers them.
    pub fn of(object: &Object<'_>) -> Self {
        let mut questions = Vec::new();
        let mut known = HashMap::new();
        let mut core = Vec::with_capacity(object.functions.len());
        for (index, function) in object.functions.iter().enumerate() {
            let id = FunctionId(index as u32);
            let numbers =
                function
                    .core_relocations
                    .iter()
                    .enumerate()
                    .map(|(position, relocation)| {
                        let key = (relocation.kind, relocation.type_id, relocation.access);
                        *known.entry(key).or_insert_with(|| {
                            questions.push((id, position));
                            questions.len() as u32 - 1
                        })
                    });
            core.push(numbers.collect());
        }
        let mut variables = Vec::with_capacity(object.data.len());
        let mut places = Vec::new();
        let mut extents = Vec::with_capacity(object.data.len());
        for (section, data) in object.data.iter().enumerate() {
            variables.push(places.len());
            let tracked = if data.read_only {
                &data.variables[..]
            } else {
                &[]
            };
            places.extend((0..tracked.len()).map(|position| (DataId(section as u32), position)));
            extents.push(
                tracked
                    .iter()
                    .map(|variable| (variable.offset, variable.size))
                    .collect(),
            );
        }
        Self {
            externs: object.externs.len(),
            core,
            questions,
            variables,
            places,
            extents,
        }
    }

    /// The constant a CO-RE relocation becomes.
    pub fn core(&self, function: FunctionId, index: usize) -> Option<InputId> {
        let question = self.core.get(function.0 as usize)?.get(index)?;
        Some(InputId(u32::try_from(self.externs).ok()? + question))
    }

    /// The read-only variable at `at` in a section, and the offset inside it.
    pub fn variable(&self, section: DataId, at: u64) -> Option<(InputId, u64)> {
        let extents = self.extents.get(section.0 as usize)?;
        let position = extents
            .partition_point(|(offset, _)| *offset <= at)
            .checked_sub(1)?;
        let (offset, size) = extents.get(position)?;
        let inside = at - offset;
        if inside >= *size {
            return None;
        }
        let first = self.variables.get(section.0 as usize)?;
        Some((self.nth_variable(first + position)?, inside))
    }

    fn nth_variable(&self, index: usize) -> Option<InputId> {
        u32::try_from(self.externs + self.questions.len() + index)
            .ok()
            .map(InputId)
    }

    /// The input of a variable by section and position.
    pub fn variable_at(&self, section: DataId, position: usize) -> Option<InputId> {
        self.nth_variable(self.variables.get(section.0 as usize)? + position)
    }

    /// The read-only variable an input stands for.
    pub fn as_variable(&self, input: InputId) -> Option<(DataId, usize)> {
        let index = (input.0 as usize).checked_sub(self.externs + self.questions.len())?;
        self.places.get(index).copied()
    }

    /// What an input is, for messages: a symbol's name or what a CO-RE relocation asks for.
    pub fn describe(&self, object: &Object<'_>, input: InputId) -> Option<String> {
        match self.kind(input) {
            InputKind::Extern(id) => object
                .externs
                .get(id.0 as usize)
                .map(|symbol| symbol.name.to_owned()),
            InputKind::Core(function, position) => {
                let relocation = object
                    .functions
                    .get(function.0 as usize)?
                    .core_relocations
                    .get(position)?;
                Some(core::describe(&object.btf, relocation))
            }
            InputKind::Variable => None,
        }
    }

    fn kind(&self, input: InputId) -> InputKind {
        let index = input.0 as usize;
        if index < self.externs {
            return InputKind::Extern(ExternId(input.0));
        }
        match self.questions.get(index - self.externs) {
            Some((function, position)) => InputKind::Core(*function, *position),
            None => InputKind::Variable,
        }
    }

    fn len(&self) -> usize {
        self.externs + self.questions.len() + self.places.len()
    }
}

/// What the enumerators that loaders copy into read-only variables begin with.
const ENUM_PREFIX: &str = "SCX_";

enum InputKind {
    Extern(ExternId),
    Core(FunctionId, usize),
    Variable,
}

/// The constants of one object on one kernel, worked out when first asked for.
#[derive(Debug)]
pub struct Inputs<'a, 'k> {
    object: &'a Object<'a>,
    table: &'a InputTable,
    kernel: &'k Kernel,
    overrides: HashMap<InputId, Known>,
    values: RefCell<Vec<Option<Known>>>,
}

impl<'a, 'k> Inputs<'a, 'k> {
    /// Constants with the object's own values for read-only variables.
    pub fn new(
        object: &'a Object<'a>,
        table: &'a InputTable,
        kernel: &'k Kernel,
        profile: &LoadProfile,
    ) -> Self {
        let mut overrides = HashMap::new();
        for (section, data) in object.data.iter().enumerate() {
            for (position, variable) in data.variables.iter().enumerate() {
                if let (Some(number), Some(input)) = (
                    profile.set.get(variable.name),
                    table.variable_at(DataId(section as u32), position),
                ) {
                    overrides.insert(input, Known::constant(*number as u64));
                }
            }
        }
        Self {
            object,
            table,
            kernel,
            overrides,
            values: RefCell::new(vec![None; table.len()]),
        }
    }

    /// The same with one constant changed.
    pub fn with(&self, input: InputId, known: Known) -> Self {
        let mut overrides = self.overrides.clone();
        overrides.insert(input, known);
        Self {
            object: self.object,
            table: self.table,
            kernel: self.kernel,
            overrides,
            values: RefCell::new(vec![None; self.table.len()]),
        }
    }

    /// The numbering.
    pub fn table(&self) -> &'a InputTable {
        self.table
    }

    /// The kernel.
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// One constant.
    pub fn get(&self, input: InputId) -> Known {
        let index = input.0 as usize;
        if let Some(Some(known)) = self.values.borrow().get(index) {
            return *known;
        }
        let known = self
            .overrides
            .get(&input)
            .copied()
            .unwrap_or_else(|| self.work_out(input));
        if let Some(slot) = self.values.borrow_mut().get_mut(index) {
            *slot = Some(known);
        }
        known
    }

    fn work_out(&self, input: InputId) -> Known {
        match self.table.kind(input) {
            InputKind::Extern(id) => self.symbol(id),
            InputKind::Core(function, position) => self.core(function, position),
            InputKind::Variable => self.variable(input),
        }
    }

    fn symbol(&self, id: ExternId) -> Known {
        let Some(symbol) = self.object.externs.get(id.0 as usize) else {
            return Known::Unknown;
        };
        match symbol.kind {
            ExternKind::Kfunc => match kfunc_match(self.object, self.kernel, id) {
                SymbolMatch::Present => Known::Present,
                SymbolMatch::Absent | SymbolMatch::PrototypeMismatch => Known::Absent,
                SymbolMatch::Unknown => Known::Unknown,
            },
            ExternKind::TypedVariable => match self.kernel.variable_presence(symbol.essential_name)
            {
                Presence::Present => Known::Present,
                Presence::Absent => Known::Absent,
                Presence::Unknown => Known::Unknown,
            },
            ExternKind::Typeless => Known::Unknown,
            ExternKind::Kconfig { .. } => match self.kernel.kconfig(symbol.name) {
                KconfigValue::Known(n) => Known::constant(n),
                // Theirs are the known bits, ours the unknown ones.
                KconfigValue::Bits { value, mask } => Known::Bits {
                    value: value & mask,
                    mask: !mask,
                },
                KconfigValue::Absent => Known::constant(0),
                KconfigValue::Unknown => Known::Unknown,
            },
        }
    }

    fn core(&self, function: FunctionId, position: usize) -> Known {
        let relocation = self
            .object
            .functions
            .get(function.0 as usize)
            .and_then(|function| function.core_relocations.get(position));
        let Some(relocation) = relocation else {
            return Known::Unknown;
        };
        match core::evaluate(&self.object.btf, relocation, self.kernel) {
            CoreValue::Poisoned | CoreValue::Refused(_) => Known::Poisoned,
            CoreValue::Unknown if relocation.kind.is_question() => Known::Bool,
            // Where a field lies does not decide what can run, and differs from build to build.
            CoreValue::Known(_) if relocation.kind.is_layout() => Known::Unknown,
            CoreValue::Known(n) => Known::constant(n),
            CoreValue::Unknown => Known::Unknown,
        }
    }

    /// scx convention: `const volatile u64 __SCX_NAME` is filled by the loader from the kernel's
    /// enumerator `SCX_NAME`, and left zero where the kernel lacks it.
    fn variable(&self, input: InputId) -> Known {
        let variable = self
            .table
            .as_variable(input)
            .and_then(|(section, position)| {
                self.object
                    .data
                    .get(section.0 as usize)?
                    .variables
                    .get(position)
            });
        let Some(variable) = variable else {
            return Known::Unknown;
        };
        let Some(enumerator) = variable
            .name
            .strip_prefix("__")
            .filter(|name| name.starts_with(ENUM_PREFIX))
        else {
            return Known::Present;
        };
        match self.kernel.constant(enumerator) {
            (Presence::Present, Some(n)) => Known::constant(n),
            (Presence::Absent, _) => Known::constant(0),
            _ => Known::Unknown,
        }
    }
}

/// How a kfunc extern resolves on a kernel, prototype included.
pub fn kfunc_match(object: &Object<'_>, kernel: &Kernel, id: ExternId) -> SymbolMatch {
    let Some(symbol) = object.externs.get(id.0 as usize) else {
        return SymbolMatch::Unknown;
    };
    let prototype = object.kfunc_prototype(symbol);
    kernel.kfunc_presence(symbol.essential_name, prototype.as_ref())
}
