//! Program of the exit hook: raw tracepoint `sched_process_exit(task, group_dead)`.
//!
//! It runs for every thread. Since 6.16 the kernel says which thread was the last one. Before, the count of
//! live threads says it, but when several threads die at once they can all see it at zero: the first to take
//! the process's key is the one. `exit_relief`, at the ordinary tracepoint: see [`crate::kernel::relief`].

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::{map, raw_tracepoint, tracepoint};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};

use super::Exit;
use crate::hook::{exec, prctl, ptrace};
use crate::kernel::relief::Rank;
use crate::kernel::{Class, emit, read, relief, scope, setting, task};
use crate::wire::{Header, Kind, Relief};

/// `SIGNAL_GROUP_EXIT` of `signal_struct.flags`.
const GROUP_EXIT: u32 = 4;

/// A process, for ever.
#[derive(Clone, Copy)]
#[repr(C)]
struct Key {
    start: u64,
    tgid: u64,
}

/// Processes whose end was told. The threads that race for an entry do so within microseconds.
#[map]
static ENDED: LruHashMap<Key, u8> = LruHashMap::with_max_entries(1024, 0);

#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn exit(ctx: RawTracePointContext) -> i32 {
    if relief::is_first(Relief::Exit, task::current()) {
        try_exit(if setting!(exit_group_dead) != 0 { ctx.arg(1) } else { 2 });
    }
    0
}

#[tracepoint(category = "sched", name = "sched_process_exit")]
fn exit_relief(ctx: TracePointContext) -> u32 {
    // Kernels that need relief say it in the record; without it, it is not guessed who else was told to be the last.
    let Some(last) = read::kernel::<u8>(ctx.as_ptr() as u64, setting!(offsets.exit_record_group_dead)) else {
        return 0;
    };
    if relief::is_left(Relief::Exit, task::current(), Rank::Second) {
        try_exit(last.into());
    }
    0
}

/// `last`: 0 no, 1 yes, 2 the kernel does not say.
#[inline(always)]
fn try_exit(last: u64) {
    let (tgid, tid) = task::current_ids();
    // A thread that was killed inside a system call leaves no entry behind.
    exec::forget(tid);
    prctl::forget(tid);
    ptrace::forget(tid);
    for point in [Relief::ExecExit, Relief::PrctlExit, Relief::PtraceExit] {
        relief::begin(point, tid);
    }
    if last & 3 == 0 {
        return;
    }
    let current = task::current();
    let Some(signal) = read::pointer(current, setting!(offsets.task_signal)) else { return };
    if last & 3 == 2 && !is_last(current, signal, tgid) {
        return;
    }
    let recorded = scope::contains(tgid);
    scope::forget(tgid);
    if setting!(kinds) & (1 << Kind::Exit as u32) == 0 || !recorded {
        return;
    }
    let mut record = MaybeUninit::<Exit>::uninit();
    let record = record.as_mut_ptr();
    // SAFETY: our own record; every field is written before it is sent.
    unsafe {
        task::fill(&raw mut (*record).header, Kind::Exit, 0);
        (*record).status = status(current, signal);
        (*record).reserved = 0;
        emit(record.cast::<Header>(), size_of::<Exit>() as u64, Class::Normal);
    }
}

#[inline(always)]
fn is_last(current: u64, signal: u64, tgid: u32) -> bool {
    if read::kernel::<u32>(signal, setting!(offsets.signal_live)) != Some(0) {
        return false;
    }
    let key = Key { start: task::process_start(current).unwrap_or(0), tgid: u64::from(tgid) };
    ENDED.insert(key, 1u8, u64::from(BPF_NOEXIST)).is_ok()
}

/// The status that `wait` will report.
#[inline(always)]
fn status(current: u64, signal: u64) -> u32 {
    if let Some(flags) = read::kernel::<u32>(signal, setting!(offsets.signal_flags))
        && flags & GROUP_EXIT != 0
    {
        return read::kernel::<u32>(signal, setting!(offsets.signal_group_exit_code)).unwrap_or(0);
    }
    read::pointer(current, setting!(offsets.task_group_leader))
        .and_then(|leader| read::kernel::<u32>(leader, setting!(offsets.task_exit_code)))
        .unwrap_or(0)
}
