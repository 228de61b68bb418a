//! Program of the fork hook: raw tracepoint `sched_process_fork(parent, child)`. The parent is current, the
//! child has not run yet. `fork_relief`: see [`crate::kernel::relief`].

use core::mem::MaybeUninit;

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use super::{Fork, flags, missing};
use crate::kernel::relief::Rank;
use crate::kernel::{Class, emit, read, relief, scope, setting, task};
use crate::units::{Ktime, Tgid, Tid};
use crate::wire::{Header, Kind, Relief};

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn fork(ctx: RawTracePointContext) -> i32 {
    let child = ctx.arg(1);
    if relief::is_first(Relief::Fork, child) {
        try_fork(child);
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn fork_relief(ctx: RawTracePointContext) -> i32 {
    let child = ctx.arg(1);
    if relief::is_left(Relief::Fork, child, Rank::Second) {
        try_fork(child);
    }
    0
}

#[inline(always)]
fn try_fork(child: u64) {
    let (tgid, _) = task::current_ids();
    let child_tgid = read::kernel::<u32>(child, setting!(offsets.task_tgid)).unwrap_or(0);
    let thread = child_tgid == tgid;
    if !thread {
        scope::inherit(tgid, child_tgid);
    }
    if setting!(kinds) & (1 << Kind::Fork as u32) == 0 || !scope::contains(tgid) {
        return;
    }
    let mut record = MaybeUninit::<Fork>::uninit();
    let record = record.as_mut_ptr();
    // SAFETY: our own record; every field is written before it is sent.
    unsafe {
        task::fill(&raw mut (*record).header, Kind::Fork, if thread { flags::THREAD } else { 0 });
        (*record).child_start = Ktime(task::process_start(child).unwrap_or(0));
        (*record).child_tgid = Tgid(child_tgid);
        (*record).child_tid = Tid(read::kernel::<u32>(child, setting!(offsets.task_pid)).unwrap_or(0));
        match task::namespace_id(child) {
            Some((tid, namespace)) => {
                (*record).child_ns_tid = tid;
                (*record).child_pid_ns = namespace;
            }
            None => {
                (*record).child_ns_tid = 0;
                (*record).child_pid_ns = 0;
                (*record).header.missing |= missing::NAMESPACES;
            }
        }
        emit(record.cast::<Header>(), size_of::<Fork>() as u64, Class::Normal);
    }
}
