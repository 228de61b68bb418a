//! Relief for a program that the kernel skips.
//!
//! Kernels that preempt programs (seen in 7.3) do not run a program on a CPU where a preempted task is inside it: for
//! a whole time slice every other task there goes unseen. So each such program has other copies of itself, attached
//! behind it, which take over exactly the calls that the first one was skipped for. What nobody took is counted
//! (skips of the first copy minus what the others took over).
//!
//! Calls that the kernel names for ever (a child's or a thread's start, a task's count of execs) are told by the copy
//! that comes first, which leaves the name: any number of copies, in any order. Two of these copies hang at ordinary
//! tracepoints, which the kernel never preempts; where somebody else watched that tracepoint before, they run before
//! the others. One that knows less than those must not stay there: [`gives_way`].
//!
//! System calls have no name. There the first copy leaves a note with the task, and the second one that finds none
//! knows that it is its turn; the entry program removes what an earlier call left. When in doubt the second copy does
//! nothing: a call that nobody took is counted, one that both took would be told twice.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap};

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

/// A call's name: when the thread that it is about started, and a count for calls that it makes several of.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Name {
    /// Never 0, or there is no name.
    pub(crate) start: u64,
    pub(crate) count: u64,
}

/// The last named call that a copy took. A name is of use for as long as one call runs, so the oldest may go. The
/// loader makes it small where nobody needs it.
#[map]
static NAMES: LruHashMap<Turn, Name> = LruHashMap::with_max_entries(16_384, 0);

/// System calls that the first copy took and the second has not looked at yet. The loader makes it small where nobody
/// needs it.
#[map]
static TURNS: HashMap<Turn, u32> = HashMap::with_max_entries(16_384, 0);

/// Calls that other copies took over.
#[map]
static RELIEVED: Array<u64> = Array::with_max_entries(Relief::ALL.len() as u32, 0);

/// What was learnt about the copies, for good; not zero: it is so.
#[map]
static LEARNT: Array<u32> = Array::with_max_entries(1 + Relief::ALL.len() as u32, 0);

/// Of [`LEARNT`]: something could not be left, so that its absence means nothing any more.
const UNNOTED: u32 = 0;

/// Of [`LEARNT`]: another copy of this program runs before the first one.
#[inline(always)]
const fn early(point: Relief) -> u32 {
    1 + point as u32
}

/// Whether the first copy is to tell this named call: nearly always.
#[inline(always)]
pub(crate) fn is_first(point: Relief, tid: u32, name: Name) -> bool {
    if setting!(relief) == 0 || take_named(point, tid, name) != Some(false) {
        return true;
    }
    // Another copy came before and counted a call that this one was not skipped for.
    count(point, -1);
    learn(early(point));
    false
}

/// Whether no other copy told this named call: then this one has to, and is counted. Without a name it does nothing.
#[inline(always)]
pub(crate) fn is_left(point: Relief, tid: u32, name: Name) -> bool {
    setting!(relief) != 0
        && !is_learnt(UNNOTED)
        && take_named(point, tid, name) == Some(true)
        && count(point, 1)
}

/// Whether a copy that knows less than the first one must leave calls to it: it was seen to run before it.
#[inline(always)]
pub(crate) fn gives_way(point: Relief) -> bool {
    is_learnt(early(point))
}

/// Leaves the name. False: it was there; none: it cannot be left.
#[inline(always)]
fn take_named(point: Relief, tid: u32, name: Name) -> Option<bool> {
    if name.start == 0 {
        return None;
    }
    let turn = Turn { tid, point: point as u32 };
    if let Some(taken) = NAMES.get_ptr(turn) {
        // SAFETY: a name is its thread's own.
        if unsafe { volatile(&*taken) } == name {
            return Some(false);
        }
    }
    if NAMES.insert(turn, name, 0).is_err() {
        doubt();
        return None;
    }
    Some(true)
}

/// The first copy runs for this system call.
#[inline(always)]
pub(crate) fn take(point: Relief, tid: u32) {
    if setting!(relief) != 0 && TURNS.insert(Turn { tid, point: point as u32 }, 0, 0).is_err() {
        doubt();
    }
}

/// Whether the first copy did not run for this system call: then the second one has to, and is counted.
#[inline(always)]
pub(crate) fn is_due(point: Relief, tid: u32) -> bool {
    if setting!(relief) == 0 {
        return false;
    }
    // What is there was the first copy's.
    if TURNS.remove(Turn { tid, point: point as u32 }).is_ok() {
        return false;
    }
    !is_learnt(UNNOTED) && count(point, 1)
}

/// A system call begins: what an earlier one left is of no meaning.
#[inline(always)]
pub(crate) fn begin(point: Relief, tid: u32) {
    if setting!(relief) != 0 {
        // Nothing left: nothing to remove.
        let _ = TURNS.remove(Turn { tid, point: point as u32 });
    }
}

/// Something could not be left.
#[inline(always)]
fn doubt() {
    learn(UNNOTED);
    count_unkept();
}

#[inline(always)]
fn learn(what: u32) {
    if let Some(learnt) = LEARNT.get_ptr_mut(what) {
        // SAFETY: a map value; every writer writes the same.
        unsafe { core::ptr::write_volatile(learnt, 1) };
    }
}

#[inline(always)]
fn is_learnt(what: u32) -> bool {
    // SAFETY: a map value.
    LEARNT.get_ptr(what).is_none_or(|learnt| unsafe { volatile(&*learnt) } != 0)
}

/// Counts calls that were taken over; whether it could.
#[inline(always)]
fn count(point: Relief, calls: i64) -> bool {
    let Some(relieved) = RELIEVED.get_ptr_mut(point as u32) else { return false };
    // SAFETY: a map value of eight bytes.
    unsafe { atomic::add(relieved, calls.cast_unsigned()) };
    true
}
