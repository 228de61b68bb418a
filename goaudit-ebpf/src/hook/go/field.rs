//! Carries out the steps that lead to values, and puts the values behind the record.
//!
//! All state of the machine is in the scratch buffer, not in registers: the verifier forgets what it knew of
//! memory, so every round of the loops looks alike to it and is verified once.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use super::goroutine::WINDOW;
use super::{
    Call, Cell, FIELDS_MAX, FIELDS_OF_A_SITE, FRAMES, FRAMES_MAX, Field, KEPT, Op, PROCESSORS,
    PROCESSORS_MAX, REGISTERS, STEPS, Status, Step, Take, VALUE_MAX, WRITTEN,
};
use crate::kernel::{read, rounds, setting};

/// Ways to values, by index.
#[map]
static GO_FIELDS: Array<Field> = Array::with_max_entries(FIELDS_MAX, 0);

/// Bytes that one cell may need.
const CELL: usize = size_of::<Cell>() + VALUE_MAX;
/// Bytes of all cells: each field, the stack, and two of a few words.
pub(super) const CELLS: usize = (FIELDS_OF_A_SITE + 2) * CELL;
const _: () = assert!(FRAMES_MAX * 8 <= VALUE_MAX);

/// Steps of all values together.
const ROUNDS: u32 = 4096;
/// The same where the verifier follows every one of them.
const ROUNDS_FOLLOWED: u32 = 256;

/// A buffer of the Go programs: the machine, then the record. What is used of it at every hit is together: pages and
/// lines of the cache that are touched are what a hit costs.
#[repr(C)]
pub(super) struct Work {
    /// 1 while a program uses the buffer. In the buffer itself: whoever took it gives this one back, on whichever
    /// CPU it then is.
    pub(super) busy: u64,
    /// The first words of the goroutine.
    pub(super) window: [u64; WINDOW],
    pub(super) registers: [u64; REGISTERS],
    pub(super) stack_pointer: u64,
    /// The goroutine's stack.
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) kept: Kept,
    /// Whether `kept` may be read.
    pub(super) has_kept: u64,
    /// Bytes of cells so far.
    pub(super) used: u64,
    pub(super) faults: u64,
    /// A `MapLayout`.
    pub(super) maps: u64,
    /// How far the loop has come.
    round: u32,
    reserved: u32,
    /// The value and the step that come next.
    field: u64,
    step: u64,
    search: Search,
    a: u64,
    b: u64,
    dynamic_type: u64,
    status: u64,
    pub(super) call: Call,
    /// Cells, and room for a whole cell behind any position in them.
    pub(super) cells: [u8; CELLS + CELL],
}

/// Words that an entry keeps for its return.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Kept {
    pub(super) words: [u64; KEPT],
    /// Bit n: word n points into the goroutine's stack and is kept as the distance from its top, because the
    /// stack may move.
    pub(super) on_stack: u64,
}

macro_rules! get {
    ($work:ident $(. $field:ident)+ $([$index:expr])?) => {
        // SAFETY: the buffer is claimed.
        unsafe { core::ptr::read_volatile(&raw const (*$work)$(.$field)+$([$index])?) }
    };
}
macro_rules! set {
    ($work:ident $(. $field:ident)+ $([$index:expr])? = $value:expr) => {
        // SAFETY: the buffer is claimed.
        unsafe { core::ptr::write_volatile(&raw mut (*$work)$(.$field)+$([$index])?, $value) }
    };
}

mod search;

use search::Search;

/// Takes `count` values, from entry `first` of the map on. One loop for all steps to all values, so that a search may
/// take as many of them as it needs.
///
/// # Safety
/// `work` is claimed, its registers and stack are filled.
#[inline(always)]
pub(super) unsafe fn take_all(work: *mut Work, first: u32, count: u32) {
    set!(work.field = 0);
    begin(work);
    let most = if setting!(may_goto) == 0 { ROUNDS_FOLLOWED } else { ROUNDS };
    let mut done = 0;
    // SAFETY: by contract.
    while let Some(next) = unsafe { rounds::next(&raw mut (*work).round, done, most) } {
        done = next;
        let number = get!(work.field);
        if number >= u64::from(count) {
            return;
        }
        let Some(field) = GO_FIELDS.get_ptr(first + number as u32) else { return };
        let at = get!(work.step);
        set!(work.step = at + 1);
        if at < STEPS as u64 && one_step(work, field, at) {
            continue;
        }
        // SAFETY: a map value.
        let (take, max) = unsafe { (read::volatile(&(*field).take), read::volatile(&(*field).max)) };
        if take != Take::Nothing as u8 {
            // SAFETY: `put_cell` bounds the position.
            unsafe { put_cell(work, number as u16, take, max) };
        }
        set!(work.field = number + 1);
        begin(work);
    }
}

/// Begins the way to a value.
#[inline(always)]
fn begin(work: *mut Work) {
    set!(work.step = 0);
    set!(work.a = 0);
    set!(work.b = 0);
    set!(work.dynamic_type = 0);
    set!(work.status = Status::Whole as u64);
    search::none(work);
}

/// The step at `at`; whether to go on.
#[inline(always)]
fn one_step(work: *mut Work, field: *const Field, at: u64) -> bool {
    let at = read::bound::<{ STEPS as i32 - 1 }>(at);
    // SAFETY: bounded, a map value.
    let step = unsafe { read::volatile(&*(&raw const (*field).steps).cast::<Step>().add(at as usize)) };
    step_once(work, field, step) || search::next_element(work)
}

/// One step; whether to go on.
#[inline(always)]
fn step_once(work: *mut Work, field: *const Field, step: Step) -> bool {
    const REGISTER_A: u8 = Op::RegisterA as u8;
    const REGISTER_B: u8 = Op::RegisterB as u8;
    const STACK: u8 = Op::Stack as u8;
    const KEPT_WORD: u8 = Op::Kept as u8;
    const ADD: u8 = Op::Add as u8;
    const LOAD: u8 = Op::Load as u8;
    const LOAD_PAIR: u8 = Op::LoadPair as u8;
    const INDEX: u8 = Op::Index as u8;
    const TAKE_B: u8 = Op::TakeB as u8;
    const TYPE: u8 = Op::Type as u8;
    const METHOD_TABLE: u8 = Op::MethodTable as u8;
    const KEEP: u8 = Op::Keep as u8;
    const SITE: u8 = Op::Site as u8;
    const SKIP: u8 = Op::Skip as u8;
    const FIND: u8 = Op::Find as u8;
    const EACH: u8 = Op::Each as u8;
    const MATCH: u8 = Op::Match as u8;
    const CONTEXT: u8 = Op::Context as u8;
    const SET_B: u8 = Op::SetB as u8;
    let n = step.n;
    let offset64 = u64::from(step.offset);
    match step.op {
        REGISTER_A => set!(work.a = integer(work, n)),
        REGISTER_B => set!(work.b = integer(work, n)),
        STACK => set!(work.a = get!(work.stack_pointer) + offset64),
        ADD => set!(work.a = get!(work.a) + offset64),
        TAKE_B => set!(work.a = get!(work.b)),
        LOAD => return load(work, n, offset64),
        LOAD_PAIR => {
            let from = get!(work.a);
            if from == 0 {
                return stop(work, Status::Nil);
            }
            let Some([a, b]) = read::user::<[u64; 2]>(from + offset64) else { return fault(work) };
            set!(work.a = a);
            set!(work.b = b);
        }
        INDEX => {
            if u64::from(n) >= get!(work.b) {
                return stop(work, Status::OutOfRange);
            }
            set!(work.a = get!(work.a) + u64::from(n) * offset64);
        }
        TYPE => {
            let of = get!(work.a);
            set!(work.dynamic_type = of);
            if of == 0 {
                return stop(work, Status::Nil);
            }
        }
        METHOD_TABLE => {
            let table = get!(work.a);
            if table == 0 {
                set!(work.dynamic_type = 0);
                return stop(work, Status::Nil);
            }
            // `abi.ITab`: the interface's type, then the dynamic type, in every version.
            let Some(of) = read::user::<u64>(table + 8) else { return fault(work) };
            set!(work.dynamic_type = of);
        }
        SITE => set!(work.a = get!(work.call.site)),
        SKIP => {
            let rest = get!(work.b);
            if rest <= offset64 {
                return stop(work, Status::OutOfRange);
            }
            set!(work.a = get!(work.a) + offset64);
            set!(work.b = rest - offset64);
        }
        KEEP => keep(work, n),
        KEPT_WORD => return kept(work, n),
        FIND => return search::map(work, field, n, offset64),
        EACH => return search::slice(work, offset64),
        MATCH => return search::element(work, field, n),
        CONTEXT => return search::context(work, field),
        SET_B => set!(work.b = offset64),
        _ => return false,
    }
    true
}

#[inline(always)]
fn stop(work: *mut Work, status: Status) -> bool {
    set!(work.status = status as u64);
    false
}

#[inline(always)]
fn fault(work: *mut Work) -> bool {
    set!(work.faults = get!(work.faults) + 1);
    stop(work, Status::Fault)
}

#[inline(always)]
fn integer(work: *mut Work, n: u16) -> u64 {
    let n = read::bound::<{ REGISTERS as i32 - 1 }>(u64::from(n));
    // SAFETY: bounded.
    unsafe { core::ptr::read_volatile((&raw const (*work).registers).cast::<u64>().add(n as usize)) }
}

#[inline(always)]
fn load(work: *mut Work, n: u16, offset: u64) -> bool {
    let from = get!(work.a);
    if from == 0 {
        return stop(work, Status::Nil);
    }
    let mut value = 0u64;
    let len = read::bound::<8>(u64::from(n));
    // SAFETY: at most the eight bytes of `value`; the helper checks the address.
    let read =
        unsafe { bpf_probe_read_user((&raw mut value).cast(), len as u32, (from + offset) as *const _) };
    if read != 0 {
        return fault(work);
    }
    set!(work.a = value);
    true
}

#[inline(always)]
fn keep(work: *mut Work, n: u16) {
    let n = read::bound::<{ KEPT as i32 - 1 }>(u64::from(n));
    let a = get!(work.a);
    let (low, high) = (get!(work.low), get!(work.high));
    let mut word = a;
    if low <= a && a < high {
        word = high - a;
        // SAFETY: the buffer is claimed.
        unsafe {
            let bits = &raw mut (*work).kept.on_stack;
            core::ptr::write_volatile(bits, core::ptr::read_volatile(bits) | 1 << n);
        }
    }
    // SAFETY: bounded.
    unsafe { core::ptr::write_volatile((&raw mut (*work).kept.words).cast::<u64>().add(n as usize), word) };
}

#[inline(always)]
fn kept(work: *mut Work, n: u16) -> bool {
    if get!(work.has_kept) == 0 {
        return stop(work, Status::NotKept);
    }
    let n = read::bound::<{ KEPT as i32 - 1 }>(u64::from(n));
    // SAFETY: bounded.
    let (word, on_stack) = unsafe {
        (
            core::ptr::read_volatile((&raw const (*work).kept.words).cast::<u64>().add(n as usize)),
            core::ptr::read_volatile(&raw const (*work).kept.on_stack),
        )
    };
    set!(work.a = if on_stack >> n & 1 == 0 { word } else { get!(work.high) - word });
    true
}

/// The cell at the end of those that are there, and what may be written behind its head.
#[inline(always)]
fn next_cell(work: *mut Work) -> (*mut Cell, *mut u8) {
    let used = read::bound::<{ CELLS as i32 }>(get!(work.used));
    // SAFETY: behind any bounded position there is room for a whole cell.
    unsafe {
        let cell = (&raw mut (*work).cells).cast::<u8>().add(used as usize);
        (cell.cast::<Cell>(), cell.add(size_of::<Cell>()))
    }
}

#[inline(always)]
fn used(work: *mut Work, len: u64) {
    set!(work.used = get!(work.used) + size_of::<Cell>() as u64 + ((len + 7) & !7));
}

/// # Safety
/// `work` is claimed.
#[inline(always)]
unsafe fn put_cell(work: *mut Work, number: u16, take: u8, max: u32) {
    let (cell, value) = next_cell(work);
    let mut status = get!(work.status);
    let mut len = 0;
    let mut total = 0;
    // SAFETY: `next_cell`.
    unsafe {
        if status == Status::Whole as u64 {
            if take == Take::Word as u8 {
                core::ptr::write_volatile(value.cast::<u64>(), get!(work.a));
                len = 8;
                total = 8;
            } else {
                total = get!(work.b);
                len = total;
                if len > u64::from(max) {
                    len = u64::from(max);
                    status = Status::Cut as u64;
                }
                len = read::bound::<{ VALUE_MAX as i32 }>(len);
                if bpf_probe_read_user(value.cast(), len as u32, get!(work.a) as *const _) != 0 {
                    fault(work);
                    status = Status::Fault as u64;
                    len = 0;
                }
            }
        }
        read::put(&raw mut (*cell).field, number);
        read::put(&raw mut (*cell).status, status as u8);
        read::put(&raw mut (*cell).reserved, 0);
        read::put(&raw mut (*cell).len, len as u32);
        read::put(&raw mut (*cell).total, total);
        read::put(&raw mut (*cell).dynamic_type, get!(work.dynamic_type));
    }
    used(work, len);
}

/// Adds the return addresses of a stack whose innermost is `innermost` and whose frame pointer is `frame`.
///
/// # Safety
/// `work` is claimed, its stack is filled.
#[inline(always)]
pub(super) unsafe fn put_frames(work: *mut Work, innermost: u64, frame: u64) {
    let (cell, value) = next_cell(work);
    // SAFETY: `next_cell`; a cell has room for `FRAMES_MAX` words.
    unsafe {
        core::ptr::write_volatile(value.cast::<u64>(), innermost);
        set!(work.a = frame);
        set!(work.b = 1);
        let mut done = 0;
        while let Some(next) = rounds::next(&raw mut (*work).round, done, FRAMES_MAX as u32 - 1) {
            done = next;
            let frame = get!(work.a);
            if frame < get!(work.low) || frame >= get!(work.high) {
                break;
            }
            // The caller's frame pointer, then the return address.
            let Some([caller, address]) = read::user::<[u64; 2]>(frame) else { break };
            if address == 0 {
                break;
            }
            let at = read::bound::<{ FRAMES_MAX as i32 - 1 }>(u64::from(done));
            core::ptr::write_volatile(value.cast::<u64>().add(at as usize), address);
            set!(work.b = u64::from(done) + 1);
            if caller <= frame {
                break;
            }
            set!(work.a = caller);
        }
        let len = get!(work.b) * 8;
        put_head(work, cell, FRAMES, Status::Whole, len);
    }
}

/// Writes the head of a cell whose `len` bytes are there.
///
/// # Safety
/// `cell` is the next one of `work`, which is claimed.
#[inline(always)]
unsafe fn put_head(work: *mut Work, cell: *mut Cell, number: u16, status: Status, len: u64) {
    // SAFETY: by contract.
    unsafe {
        read::put(&raw mut (*cell).field, number);
        read::put(&raw mut (*cell).status, status as u8);
        read::put(&raw mut (*cell).reserved, 0);
        read::put(&raw mut (*cell).len, len as u32);
        read::put(&raw mut (*cell).total, len);
        read::put(&raw mut (*cell).dynamic_type, 0);
    }
    used(work, len);
}

/// Adds how much a dying thread wrote before, and what it writes now.
///
/// # Safety
/// `work` is claimed.
#[inline(always)]
pub(super) unsafe fn put_written(work: *mut Work, before: u64, len: u64) {
    let (cell, value) = next_cell(work);
    // SAFETY: `next_cell`.
    unsafe {
        core::ptr::write_volatile(value.cast::<u64>(), before);
        core::ptr::write_volatile(value.cast::<u64>().add(1), len);
        put_head(work, cell, WRITTEN, Status::Whole, 16);
    }
}

/// Adds the sum of the words (4 bytes) at `offset` of all processors in the list (`[]*p`) at `list`.
///
/// # Safety
/// `work` is claimed.
#[inline(always)]
pub(super) unsafe fn put_processors(work: *mut Work, list: u64, offset: u32) {
    let (cell, value) = next_cell(work);
    let mut status = Status::Whole;
    set!(work.b = 0);
    match read::user::<[u64; 2]>(list) {
        Some([first, count]) if count <= PROCESSORS_MAX as u64 => {
            set!(work.a = first);
            let mut done = 0;
            // SAFETY: the buffer is claimed.
            while let Some(next) =
                unsafe { rounds::next(&raw mut (*work).round, done, PROCESSORS_MAX as u32) }
            {
                done = next;
                let at = u64::from(done - 1);
                if at >= count {
                    break;
                }
                let word = read::user::<u64>(get!(work.a) + at * 8)
                    .and_then(|processor| read::user::<u32>(processor + u64::from(offset)));
                let Some(word) = word else {
                    status = Status::Fault;
                    break;
                };
                set!(work.b = get!(work.b) + u64::from(word));
            }
        }
        Some(_) => status = Status::OutOfRange,
        None => status = Status::Fault,
    }
    // SAFETY: `next_cell`.
    unsafe {
        core::ptr::write_volatile(value.cast::<u64>(), get!(work.b));
        put_head(work, cell, PROCESSORS, status, 8);
    }
}
