//! Relief for a program that the kernel skips.
//!
//! Kernels that preempt programs (seen in 7.3) do not run a program on a CPU where a preempted task is inside it: for
//! a whole time slice every other task there goes unseen. So each such program has a second copy, attached behind
//! it, which takes over exactly the calls that the first one was skipped for. The first one leaves a note with the
//! task; the second one that finds none knows that it is its turn. When in doubt it does nothing: a call that
//! nobody took is counted (skips of the first copy minus what the second took over), one that both took would be
//! told twice.
//!
//! A note is bound to its call by an `id` where the kernel has one (a child's start time, a task's exec count);
//! for system calls the entry program removes what an earlier call left.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};

use super::read::volatile;
use super::{atomic, count_unkept, setting};
use crate::wire::Relief;

/// Which program, for which thread.
#[derive(Clone, Copy)]
#[repr(C)]
struct Turn {
    tid: u32,
    point: u32,
}

/// Calls that the first copy took and the second has not looked at yet. The loader makes it small where nobody
/// needs it.
#[map]
static TURNS: HashMap<Turn, u64> = HashMap::with_max_entries(16_384, 0);

/// Calls that second copies took over.
#[map]
static RELIEVED: Array<u64> = Array::with_max_entries(Relief::ALL.len() as u32, 0);

/// Not zero: a note could not be left, so that its absence means nothing any more.
#[map]
static UNNOTED: Array<u32> = Array::with_max_entries(1, 0);

/// The first copy runs for this call.
#[inline(always)]
pub(crate) fn take(point: Relief, tid: u32, id: u64) {
    if setting!(relief) == 0 {
        return;
    }
    if TURNS.insert(Turn { tid, point: point as u32 }, id, 0).is_err() {
        if let Some(unnoted) = UNNOTED.get_ptr_mut(0) {
            // SAFETY: a map value; every writer writes the same.
            unsafe { core::ptr::write_volatile(unnoted, 1) };
        }
        count_unkept();
    }
}

/// Whether the first copy did not run for this call: then the second one has to, and is counted.
#[inline(always)]
pub(crate) fn is_due(point: Relief, tid: u32, id: u64) -> bool {
    if setting!(relief) == 0 {
        return false;
    }
    let turn = Turn { tid, point: point as u32 };
    if let Some(noted) = TURNS.get_ptr(turn) {
        // SAFETY: a note is its thread's own.
        let same = unsafe { volatile(&*noted) } == id;
        let _ = TURNS.remove(turn);
        if same {
            return false;
        }
    }
    let Some(unnoted) = UNNOTED.get_ptr(0) else { return false };
    // SAFETY: a map value.
    if unsafe { volatile(&*unnoted) } != 0 {
        return false;
    }
    let Some(relieved) = RELIEVED.get_ptr_mut(point as u32) else { return false };
    // SAFETY: a map value of eight bytes.
    unsafe { atomic::increment(relieved) };
    true
}

/// A system call begins: what an earlier one left is of no meaning.
#[inline(always)]
pub(crate) fn begin(point: Relief, tid: u32) {
    if setting!(relief) != 0 {
        // Nothing left: nothing to remove.
        let _ = TURNS.remove(Turn { tid, point: point as u32 });
    }
}
