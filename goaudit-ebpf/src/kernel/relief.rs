//! Relief for a program that the kernel skips.
//!
//! Kernels that preempt programs (seen in 7.3) do not run a program on a CPU where a preempted task is inside it: for
//! a whole time slice every other task there goes unseen. So each such program has other copies of itself, attached
//! behind it, which take over exactly the calls that the first one was skipped for. What nobody took is counted
//! (skips of the first copy minus what the others took over).
//!
//! The copy that comes first tells the call and leaves a mark with the thread; the others find it and do nothing. So
//! there can be any number of copies, in any order. Two of them hang at ordinary tracepoints, which the kernel never
//! preempts; where somebody else watched that tracepoint before, they run before the others. One that knows less than
//! those must not stay there: [`gives_way`].
//!
//! A mark says who left it and for what: the kernel has names for forks, execs and ends that no other call has (a
//! thread's start, a task's count of execs). System calls have none, so the entry program removes what an earlier call
//! left. Should that fail, a call may be told as lost, but never be told twice or be lost without a word: a copy that
//! finds its own mark knows that it is an earlier call's, and any other mark is of a call that is counted.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};

use super::read::volatile;
use super::{atomic, count_unkept, read, setting, task};
use crate::wire::Relief;

/// Which program, for which thread.
#[derive(Clone, Copy)]
#[repr(C)]
struct Turn {
    tid: u32,
    point: u32,
}

/// A call's name, as far as it has one: when the thread that it is about started, and how many programs that one
/// executed (a thread that executes a program takes over the start of its process's first thread, which ends).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Name {
    start: u64,
    execs: u64,
}

/// The thread `task`, and what names its present. For a system call that is nothing, and is not looked for: several
/// copies ask at each.
#[inline(always)]
fn named(point: Relief, task: u64) -> Option<(u32, Name)> {
    if point.is_system_call() {
        return Some((task::current_ids().1, Name { start: 0, execs: 0 }));
    }
    let tid = read::kernel::<u32>(task, setting!(offsets.task_pid))?;
    let execs = read::kernel::<u32>(task, setting!(offsets.task_self_exec_id))?;
    let start = read::kernel::<u64>(task, setting!(offsets.task_start_boottime))?;
    Some((tid, Name { start, execs: execs.into() }))
}

/// Which copy of a program this is, in the order in which they are attached.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Rank {
    First = 0,
    Second = 1,
    Third = 2,
    Fourth = 3,
}

/// A call that was told, and by whom.
#[derive(Clone, Copy)]
#[repr(C)]
struct Mark {
    name: Name,
    by: u64,
}

/// Calls that a copy told and others have not looked at yet. When it is full, the oldest goes. The loader makes it small
/// where nobody needs it.
#[map]
static MARKS: LruHashMap<Turn, Mark> = LruHashMap::with_max_entries(16_384, 0);

/// Calls that other copies took over.
#[map]
static RELIEVED: Array<u64> = Array::with_max_entries(Relief::ALL.len() as u32, 0);

/// What was learnt about the copies, for good; not zero: it is so.
#[map]
static LEARNT: Array<u32> = Array::with_max_entries(1 + Relief::ALL.len() as u32, 0);

/// Of [`LEARNT`]: a mark could not be left, so that its absence means nothing any more.
const UNMARKED: u32 = 0;

/// Of [`LEARNT`]: another copy of this program runs before the first one.
#[inline(always)]
const fn early(point: Relief) -> u32 {
    1 + point as u32
}

/// Whether the first copy is to tell the call that is about `task`: nearly always.
#[inline(always)]
pub(crate) fn is_first(point: Relief, task: u64) -> bool {
    if setting!(relief) == 0 || mark(point, task, Rank::First) != Some(false) {
        return true;
    }
    // Another copy came before and counted a call that this one was not skipped for.
    count(point, -1);
    learn(early(point));
    false
}

/// Whether no other copy told the call that is about `task`: then this one has to, and is counted.
#[inline(always)]
pub(crate) fn is_left(point: Relief, task: u64, rank: Rank) -> bool {
    setting!(relief) != 0 && !is_learnt(UNMARKED) && mark(point, task, rank) == Some(true) && count(point, 1)
}

/// Whether a copy that knows less than the first one must leave calls to it: it was seen to run before it.
#[inline(always)]
pub(crate) fn gives_way(point: Relief) -> bool {
    is_learnt(early(point))
}

/// Leaves a mark. False: another copy has; none: it cannot be left.
#[inline(always)]
fn mark(point: Relief, task: u64, rank: Rank) -> Option<bool> {
    let (tid, name) = named(point, task)?;
    let turn = Turn { tid, point: point as u32 };
    if let Some(found) = MARKS.get_ptr(turn) {
        // SAFETY: a mark is its thread's own.
        let found = unsafe { volatile(&*found) };
        if found.name == name && found.by != rank as u64 {
            // Behind the last one nobody looks for it.
            if rank as u64 + 1 == point.copies() {
                // It is there: it was just read.
                let _ = MARKS.remove(turn);
            }
            return Some(false);
        }
    }
    if MARKS.insert(turn, Mark { name, by: rank as u64 }, 0).is_err() {
        doubt();
        return None;
    }
    Some(true)
}

/// A system call begins: what an earlier one left is of no meaning.
#[inline(always)]
pub(crate) fn begin(point: Relief, tid: u32) {
    if setting!(relief) != 0 {
        // Nothing left: nothing to remove.
        let _ = MARKS.remove(Turn { tid, point: point as u32 });
    }
}

/// A mark could not be left.
#[inline(always)]
fn doubt() {
    learn(UNMARKED);
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
