//! Go functions: what is seen where one is entered and where it returns, and what its arguments say.
//!
//! The programs are generic: which function a site belongs to is told by the attach cookie, an index into the
//! map `GO_PROBES`; what to read is told by [`Field`]s, short lists of steps that user space compiles from a
//! signature and a path. Every value comes with a [`Status`], so that missing never looks like empty.
//!
//! Entry and return are records of their own; user space pairs them (docs/adr/0009-pairing-in-user-space.md). A
//! goroutine's stack may move, so a frame is named by its depth, the distance from the top of the stack, which
//! does not change when the stack does.

#[cfg(target_arch = "bpf")]
mod field;
#[cfg(target_arch = "bpf")]
mod goroutine;
#[cfg(target_arch = "bpf")]
mod program;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::settings::ABSENT;
use crate::units::Goid;
use crate::wire::Header;

/// Entries of the map `GO_PROBES`: functions that can be probed at a time.
pub const PROBES_MAX: u32 = 2048;
/// Entries of the map `GO_FIELDS`.
pub const FIELDS_MAX: u32 = 8192;
/// Fields that one entry, or one return, may have.
pub const FIELDS_OF_A_SITE: usize = 12;
/// Steps that lead to a value.
pub const STEPS: usize = 32;
/// Texts that the steps to one value may look for.
pub const KEYS: usize = 2;
/// Bytes of such a text.
pub const KEY_MAX: usize = 32;
/// Places of a map, elements of a slice, or contexts around one another that one search looks at.
pub const SEARCHED_MAX: u64 = 128;
/// Words that an entry may keep for its return.
pub const KEPT: usize = 4;
/// Bytes that are taken of one value.
pub const VALUE_MAX: usize = 512;
/// Return addresses taken of a stack.
pub const FRAMES_MAX: usize = 64;
/// Registers that carry integers and pointers: 9 on amd64, 16 on arm64.
pub const REGISTERS: usize = 16;

/// Bits of `header.flags`.
pub mod flags {
    /// The stack pointer lies within the stack of the goroutine that the register names.
    pub const STACK: u16 = 1 << 0;
    /// `goid` was read, is plausible, and the goroutine's thread says it runs that goroutine.
    pub const GOID: u16 = 1 << 1;
    /// Not all of the fields' values are there: the record was full.
    pub const FULL: u16 = 1 << 2;
}

/// A call at its entry or return, or another place of a goroutine's life. Cells follow, [`Call::bytes`] bytes of
/// them: each a [`Cell`] and its value, padded to eight bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Call {
    /// Common head; `flags` are those of [`flags`].
    pub header: Header,
    /// Index of the probe.
    pub probe: u32,
    /// Bytes of cells that follow.
    pub bytes: u32,
    /// Goroutine; 0 when it could not be read.
    pub goid: Goid,
    /// The goroutine that started it; 0 when unknown (Go before 1.21).
    pub parent: Goid,
    /// Address of `runtime.g`: never freed, but reused when a goroutine has ended.
    pub g: u64,
    /// Bytes from the stack pointer up to the top of the goroutine's stack: names the frame.
    pub depth: u64,
    /// Address of the site that was hit: tells where the program is loaded.
    pub site: u64,
}
const _: () = assert!(size_of::<Call>() == 96 + 48);

/// Frames of a goroutine are gone without having returned: those whose depth is in `(above, up_to]`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Unwind {
    /// Common head.
    pub header: Header,
    /// Index of the probe.
    pub probe: u32,
    /// Zero.
    pub reserved: u32,
    /// Goroutine.
    pub goid: Goid,
    /// Address of `runtime.g`.
    pub g: u64,
    /// The frame that goes on (the one whose deferred call recovered): not unwound.
    pub above: u64,
    /// The deepest frame that is gone; `u64::MAX`: all below.
    pub up_to: u64,
}
const _: () = assert!(size_of::<Unwind>() == 96 + 40);

/// A signal that says that code was not what it should be was delivered to a probed process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Signal {
    /// Common head.
    pub header: Header,
    /// Its number.
    pub signal: u32,
    /// `si_code`: where it comes from.
    pub code: i32,
    /// 1 if the process has a handler for it, else 0.
    pub handled: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Signal>() == 96 + 16);

/// How a value was had, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// All of it.
    Whole = 0,
    /// The value is longer than what is taken; `total` states its length.
    Cut = 1,
    /// A pointer on the way is nil, or the interface is.
    Nil = 2,
    /// Memory on the way is not there.
    Fault = 3,
    /// The slice has no such element.
    OutOfRange = 4,
    /// The record was full.
    NoRoom = 5,
    /// The entry kept nothing for this return (it was not seen, or its map was full).
    NotKept = 6,
    /// What was looked for is not there: no such key, element or value of a context.
    Absent = 7,
    /// It is not among the first [`SEARCHED_MAX`].
    Unsearched = 8,
    /// How this program's runtime lays out maps is not known.
    NoLayout = 9,
}

impl TryFrom<u8> for Status {
    /// The unknown number.
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        Ok(match number {
            0 => Self::Whole,
            1 => Self::Cut,
            2 => Self::Nil,
            3 => Self::Fault,
            4 => Self::OutOfRange,
            5 => Self::NoRoom,
            6 => Self::NotKept,
            7 => Self::Absent,
            8 => Self::Unsearched,
            9 => Self::NoLayout,
            unknown => return Err(unknown),
        })
    }
}

/// Number of the cell that holds the stack's return addresses, innermost first.
pub const FRAMES: u16 = u16::MAX;
/// Number of the cell that holds the sum of a word (4 bytes) of all of the runtime's processors.
pub const PROCESSORS: u16 = u16::MAX - 1;
/// Number of the cell that says of what a dying thread writes, in two words: how much it wrote before, and the length
/// of this.
pub const WRITTEN: u16 = u16::MAX - 2;

/// Processors of a runtime (GOMAXPROCS) that can be summed up; of more there is no sum.
pub const PROCESSORS_MAX: usize = 64;

/// Head of a value.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cell {
    /// Number of the field within its site, or [`FRAMES`].
    pub field: u16,
    /// A [`Status`].
    pub status: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes that follow, before padding.
    pub len: u32,
    /// Length of the whole value.
    pub total: u64,
    /// Address of the dynamic type that an interface on the way had; 0 when there was none.
    pub dynamic_type: u64,
}
const _: () = assert!(size_of::<Cell>() == 24);

/// What a step does. The machine has two words, `a` and `b`; a value ends in `a`, or in `a` and `b` (address and
/// length).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// No more steps.
    End = 0,
    /// `a` = integer register `n`.
    RegisterA = 1,
    /// `b` = integer register `n`.
    RegisterB = 2,
    /// `a` = address of the stack slot at `offset` from the stack pointer.
    Stack = 3,
    /// `a` = word `n` that the entry kept.
    Kept = 4,
    /// `a` += `offset`.
    Add = 5,
    /// `a` = the `n` (1, 2, 4, 8) bytes at `a` + `offset`, zero-extended. Nil if `a` is 0.
    Load = 6,
    /// `a`, `b` = the two words at `a` + `offset`. Nil if `a` is 0.
    LoadPair = 7,
    /// Out of range unless `n` < `b`; `a` += `n` times `offset` (the element's size).
    Index = 8,
    /// `a` = `b`.
    TakeB = 9,
    /// `a` is an empty interface's type: note it. Nil if it is 0.
    Type = 10,
    /// `a` is another interface's method table: note its type. Nil if it is 0.
    MethodTable = 11,
    /// Keep `a` as word `n` for the return.
    Keep = 12,
    /// `a` = address of the site that was hit: what the program has at a fixed distance from its code is counted from
    /// there, wherever it is loaded.
    Site = 13,
    /// `a` += `offset`, `b` -= `offset`: the rest of a text. Out of range unless `b` is more than that.
    Skip = 14,
    /// `a` = address of the value behind key `n` (see [`Step::n`]) in the map at `a`, whose keys are strings and whose
    /// values have `offset` bytes.
    Find = 15,
    /// For each element of `offset` bytes of the slice `a`, `b`, with its address in `a`: the steps up to
    /// [`Op::Match`].
    Each = 16,
    /// `a` = address of the element, if the text `a`, `b` is key `n`; else on to the next one. An element whose text
    /// cannot be read is none that is looked for.
    Match = 17,
    /// `a`, `b` = the value under a key of type [`Field::types`]`[1]` in the `context.Context` `a`, `b`, or in those
    /// that it is derived from.
    Context = 18,
    /// `b` = `offset`.
    SetB = 19,
}

/// One step.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Step {
    /// An [`Op`].
    pub op: u8,
    /// Zero.
    pub reserved: u8,
    /// Register, size or index, as the operation says; of a key its number and, above eight bits, its length.
    pub n: u16,
    /// Bytes.
    pub offset: u32,
}
const _: () = assert!(size_of::<Step>() == 8);

/// What is taken at the end of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Take {
    /// Nothing: the steps kept something.
    Nothing = 0,
    /// The eight bytes of `a`.
    Word = 1,
    /// `b` bytes at `a`, at most [`Field::max`].
    Bytes = 2,
}

/// A value and the way to it: an entry of the map `GO_FIELDS`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Field {
    /// The way; ends at the first [`Op::End`] or at the last step.
    pub steps: [Step; STEPS],
    /// Texts that are looked for, with zeros behind.
    pub keys: [[u8; KEY_MAX]; KEYS],
    /// The types `*context.valueCtx` and that of a context's key: bytes from the entry site up to them, or down by
    /// wrapping; 0 where the program has none.
    pub types: [u64; 2],
    /// A [`Take`].
    pub take: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Bytes taken at most; at most [`VALUE_MAX`].
    pub max: u32,
}
const _: () = assert!(size_of::<Field>() == 344);

/// Bits of [`Probe::traits_`].
pub mod traits {
    /// The entry keeps words for the return.
    pub const KEEPS: u32 = 1 << 0;
    /// Also take the stack's return addresses.
    pub const FRAMES: u32 = 1 << 1;
    /// The entry site is the stack check's jump: where it is taken (carry or zero flag set) the function begins
    /// again later, and this is not its entry.
    pub const IGNORE_TAKEN_JUMP: u32 = 1 << 2;
    /// The goroutine is the first argument, not the one that runs (functions on the system stack).
    pub const GOROUTINE_IN_ARGUMENT: u32 = 1 << 3;
    /// From here on the thread is dying: what it writes to standard error is the runtime's report.
    pub const DIES: u32 = 1 << 4;
    /// A write of the runtime to standard error, its bytes and their number the first two arguments; a dying thread's
    /// only.
    pub const WRITES: u32 = 1 << 5;
    /// Also take the sum of what the runtime's processors have at [`Probe::processor_word`](super::Probe).
    pub const PROCESSORS: u32 = 1 << 6;
    /// Of goaudit's own code, to measure what a hit costs: all is done but the sending.
    pub const REHEARSES: u32 = 1 << 7;
}

/// Where the runtime of one Go version keeps what is read; [`ABSENT`] where it does not. Source: DWARF of real
/// toolchains (goaudit-user/src/golang/offsets.rs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuntimeLayout {
    /// `g.goid`
    pub goid: u32,
    /// `g.parentGoid`
    pub parent_goid: u32,
    /// `g.m`
    pub m: u32,
    /// `m.curg`
    pub curg: u32,
    /// `g._panic`
    pub panic: u32,
    /// `_panic.sp`; Go up to 1.21: [`ABSENT`]
    pub panic_sp: u32,
    /// `_panic.startSP`; Go up to 1.21: [`ABSENT`]
    pub panic_start_sp: u32,
    /// `g.sigcode0`: where `recovery` takes the stack pointer from, Go up to 1.21; else [`ABSENT`]
    pub sigcode0: u32,
    /// How maps are laid out: a [`MapLayout`].
    pub maps: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<RuntimeLayout>() == 40);

/// How a runtime lays out maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MapLayout {
    /// Not known: not searched.
    Unknown = 0,
    /// Buckets of eight with a chain each (`runtime.hmap`): up to Go 1.23.
    Buckets = 1,
    /// Tables of groups of eight (`internal/runtime/maps.Map`): since Go 1.24.
    Groups = 2,
}

impl RuntimeLayout {
    /// Nothing is known: goroutines are told apart by their address only.
    pub const NONE: Self = Self {
        goid: ABSENT,
        parent_goid: ABSENT,
        m: ABSENT,
        curg: ABSENT,
        panic: ABSENT,
        panic_sp: ABSENT,
        panic_start_sp: ABSENT,
        sigcode0: ABSENT,
        maps: MapLayout::Unknown as u32,
        reserved: 0,
    };
}

/// A probed function: an entry of the map `GO_PROBES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Probe {
    /// Bits of [`traits`].
    pub traits_: u32,
    /// First field of the entry in `GO_FIELDS`.
    pub entry_first: u32,
    /// How many.
    pub entry_count: u32,
    /// First field of the return in `GO_FIELDS`.
    pub return_first: u32,
    /// How many.
    pub return_count: u32,
    /// Bytes from the entry site up to the runtime's list of processors, with [`traits::PROCESSORS`].
    pub processors: u32,
    /// Offset of the word of each that is summed up.
    pub processor_word: u32,
    /// The runtime that the program was built with.
    pub runtime: RuntimeLayout,
}
const _: () = assert!(size_of::<Probe>() == 68);

/// What one CPU counts of a probe: a value of the per-CPU map `GO_HEALTH`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Health {
    /// Entries that were recorded or lost.
    pub entries: u64,
    /// Returns that were recorded or lost.
    pub returns: u64,
    /// Entry sites hit on the way to a larger stack, which are no entries.
    pub restarts: u64,
    /// Hits whose stack pointer was outside the goroutine's stack, or whose goroutine was not believable.
    pub implausible: u64,
    /// Values on whose way memory was not there.
    pub faults: u64,
    /// Hits outside the scope of the recording.
    pub out_of_scope: u64,
}
const _: () = assert!(size_of::<Health>() == 48);
