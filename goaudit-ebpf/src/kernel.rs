//! The kernel side's machinery: maps, sequence numbers, the way onto the ring.
//!
//! The conservation law is kept here: [`emit`] numbers a record before anything can go wrong with it, and
//! whatever goes wrong afterwards is counted by cause. Programs decide what is in a record, never whether it
//! is counted.
//!
//! Two programs can be under way on one CPU at the same time: up to 6.x tracepoints run with preemption off,
//! later kernels let a program be preempted (but not migrated), see [`relief`]. So sequence numbers and
//! scratch buffers are taken by atomic instructions where the kernel has them; where it has not (before
//! 5.12), nothing preempts.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ringbuf_output, bpf_ringbuf_query};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};

use crate::settings::Settings;
use crate::wire::{CpuState, Header, Lost, reader as sleep};

pub(crate) mod atomic;
pub(crate) mod entry;
pub(crate) mod path;
pub(crate) mod read;
pub(crate) mod registers;
pub(crate) mod relief;
pub(crate) mod rounds;
pub(crate) mod scope;
pub(crate) mod scratch;
pub(crate) mod task;
pub(crate) mod text;

/// Written by the loader, then frozen: to the verifier every field is a known constant, so that code for
/// what this kernel lacks is not even looked at.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings::UNSET;

/// Reads a field of [`SETTINGS`] in a way that the compiler does not fold.
macro_rules! setting {
    ($($field:tt)+) => {
        $crate::kernel::read::volatile(&$crate::kernel::SETTINGS.$($field)+)
    };
}
pub(crate) use setting;

/// Records on their way to user space. The loader sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The books of each CPU.
#[map]
static CPU_STATE: PerCpuArray<CpuState> = PerCpuArray::with_max_entries(1, 0);

/// One word: whether the reader sleeps, and what for ([`crate::wire::reader`]).
#[map]
static READER: Array<u32> = Array::with_max_entries(1, 0);

/// Says something to whoever builds with the feature `kernel-log` (aya-log, level debug); nothing otherwise.
macro_rules! diagnose {
    ($($words:tt)+) => {
        #[cfg(feature = "kernel-log")]
        aya_log_ebpf::debug!(&(), $($words)+);
    };
}
pub(crate) use diagnose;

/// How much a record matters now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The reader is woken for it, even while it rests: it is sealed at once.
    Urgent,
    /// The reader is woken for it, if it sleeps; it is not while it rests, which it does for a moment at most.
    Prompt,
    /// The reader is woken when many bytes wait.
    Normal,
    /// A piece of a record that is urgent and follows at once.
    Piece,
    /// As normal, but gives way when three quarters of the ring are in use.
    Flood,
}

/// This CPU's books.
#[inline(always)]
pub(crate) fn state() -> Option<*mut CpuState> {
    CPU_STATE.get_ptr_mut(0)
}

/// The next number of this CPU.
#[inline(always)]
fn next_seq(state: *mut CpuState) -> u64 {
    // SAFETY: `state` is this CPU's map value; see the module's words on preemption.
    unsafe {
        if setting!(fetch_atomics) != 0 {
            atomic::fetch_increment(&raw mut (*state).seq) + 1
        } else {
            let seq = read_volatile(&raw const (*state).seq) + 1;
            write_volatile(&raw mut (*state).seq, seq);
            seq
        }
    }
}

/// Counts a record as lost.
#[inline(always)]
fn lose(state: *mut CpuState, cause: Lost) {
    diagnose!("a record is lost: cause {}", cause as u32);
    // SAFETY: `state` is this CPU's map value.
    unsafe {
        atomic::increment((&raw mut (*state).lost).cast::<u64>().add(cause as usize));
    }
}

/// Counts something that a map had no room for.
#[inline(always)]
pub(crate) fn count_unkept() {
    diagnose!("a map of calls under way is full");
    if let Some(state) = state() {
        // SAFETY: as in `lose`.
        unsafe {
            atomic::increment(&raw mut (*state).unkept);
        }
    }
}

/// Gives a number to a record that cannot be built at all, and counts it as lost.
#[inline(always)]
pub(crate) fn lose_unbuilt(cause: Lost) {
    if let Some(state) = state() {
        next_seq(state);
        lose(state, cause);
    }
}

/// Takes one of this CPU's scratch buffers: its index, or none.
#[inline(always)]
pub(crate) fn claim(buffers: u32) -> Option<u32> {
    let state = state()?;
    let mut index = 0;
    while index < buffers {
        let bit = 1u64 << index;
        // SAFETY: `state` is this CPU's map value.
        let before = unsafe {
            if setting!(fetch_atomics) != 0 {
                atomic::fetch_or(&raw mut (*state).busy, bit)
            } else {
                let before = read_volatile(&raw const (*state).busy);
                write_volatile(&raw mut (*state).busy, before | bit);
                before
            }
        };
        if before & bit == 0 {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// Gives a scratch buffer back.
#[inline(always)]
pub(crate) fn release(index: u32) {
    let Some(state) = state() else { return };
    let mask = !(1u64 << index);
    // SAFETY: `state` is this CPU's map value.
    unsafe {
        if setting!(fetch_atomics) != 0 {
            atomic::and(&raw mut (*state).busy, mask);
        } else {
            let before = read_volatile(&raw const (*state).busy);
            write_volatile(&raw mut (*state).busy, before & mask);
        }
    }
}

/// Whether to wake the reader with the record that is about to be sent. A reader that is awake finds the
/// record by itself; one that sleeps is woken once, because waking is dearer than all the rest; one that rests
/// is left alone until there is much to read or something urgent.
#[inline(always)]
fn wake_flag(state: *mut CpuState, len: u64, class: Class) -> u64 {
    // SAFETY: `state` is this CPU's map value; `reader` is shared with user space, a stale value costs one
    // wake-up more or less (the reader's sleep is bounded).
    unsafe {
        let unwoken = read_volatile(&raw const (*state).unwoken) + len;
        let much = class != Class::Piece && unwoken >= u64::from(setting!(wake_bytes));
        write_volatile(&raw mut (*state).unwoken, if much { 0 } else { unwoken });
        if !matches!(class, Class::Urgent | Class::Prompt) && !much {
            return u64::from(BPF_RB_NO_WAKEUP);
        }
        let Some(reader) = READER.get_ptr_mut(0) else { return u64::from(BPF_RB_FORCE_WAKEUP) };
        let asleep = read_volatile(reader);
        let urgent = class == Class::Urgent;
        if !matches!(asleep, sleep::SLEEPS | sleep::RESTS) || (asleep == sleep::RESTS && !much && !urgent) {
            if urgent && asleep == sleep::AWAKE {
                write_volatile(reader, sleep::URGED);
            }
            return u64::from(BPF_RB_NO_WAKEUP);
        }
        write_volatile(reader, sleep::AWAKE);
        u64::from(BPF_RB_FORCE_WAKEUP)
    }
}

/// Numbers the record at `record` and sends its `len` bytes, or counts why not.
///
/// # Safety
/// `record` begins with a [`Header`], and the verifier can see that `len` bytes are readable there.
#[inline(always)]
pub(crate) unsafe fn emit(record: *mut Header, len: u64, class: Class) {
    if let Some(state) = state() {
        // SAFETY: by contract.
        unsafe { emit_on(state, record, len, class) };
    }
}

/// As [`emit`], for programs that may be moved to another CPU while they run: the record is numbered on the CPU that
/// it is sent from, and says so.
///
/// # Safety
/// As [`emit`].
#[inline(always)]
pub(crate) unsafe fn emit_anywhere(record: *mut Header, len: u64, class: Class) {
    let mut tries = 0;
    while tries < 4 {
        // SAFETY: helper without preconditions.
        let before = unsafe { bpf_get_smp_processor_id() };
        let Some(state) = state() else { return };
        // SAFETY: as above.
        let after = unsafe { bpf_get_smp_processor_id() };
        // The books between two equal answers are those of that CPU.
        if before == after {
            // SAFETY: by contract.
            unsafe {
                (*record).cpu = before;
                emit_on(state, record, len, class);
            }
            return;
        }
        tries += 1;
    }
    lose_unbuilt(Lost::Reentered);
}

/// # Safety
/// As [`emit`]; `state` are the books of the CPU that the record names.
#[inline(always)]
unsafe fn emit_on(state: *mut CpuState, record: *mut Header, len: u64, class: Class) {
    // SAFETY: by contract.
    unsafe {
        (*record).seq = next_seq(state);
        #[expect(clippy::cast_possible_truncation, reason = "records are below 32 KiB")]
        {
            (*record).len = len as u32;
        }
        if class == Class::Flood {
            let room = setting!(ring_bytes);
            let used = bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), u64::from(BPF_RB_AVAIL_DATA));
            if used > u64::from(room - (room >> 2)) {
                lose(state, Lost::Yielded);
                return;
            }
        }
        let flags = wake_flag(state, len, class);
        if bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record.cast(), len, flags) != 0 {
            lose(state, Lost::RingFull);
        }
    }
}
