//! Programs of the prctl hook.
//!
//! - `prctl_enter`: `syscalls:sys_enter_prctl`; keeps the old value, only for options that set something.
//! - `prctl_exit`: `syscalls:sys_exit_prctl`, with `bpf_task_pt_regs` (since 5.15); `prctl_exit_raw` from raw
//!   tracepoint `sys_exit(regs, ret)` on older kernels.
//! - `prctl_enter_relief`, `prctl_exit_relief`, `..._3`, `..._4`: see [`crate::kernel::relief`]. To keep a value twice does
//!   no harm.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::macros::{map, raw_tracepoint, tracepoint};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};

use super::{Change, Prctl, flags, option};
use crate::kernel::relief::Rank;
use crate::kernel::{Class, count_unkept, emit, read, registers, relief, scope, setting, task};
use crate::wire::{COMM_LEN, Header, Kind, Relief};

/// Values before the calls that are under way, by tid.
#[map]
static PRCTL_ENTRY: HashMap<u32, Before> = HashMap::with_max_entries(4096, 0);

#[derive(Clone, Copy)]
#[repr(C)]
struct Before {
    option: u64,
    old: u64,
    known: u64,
    comm: [u8; COMM_LEN],
}

/// Forgets the old value of a thread.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    // Nothing kept: nothing to remove.
    let _ = PRCTL_ENTRY.remove(tid);
}

/// A record with everything that can follow it.
#[repr(C)]
struct Full {
    prctl: Prctl,
    change: Change,
}

#[tracepoint]
fn prctl_enter(ctx: TracePointContext) -> u32 {
    entered(&ctx);
    0
}

#[tracepoint]
fn prctl_enter_relief(ctx: TracePointContext) -> u32 {
    entered(&ctx);
    0
}

#[inline(always)]
fn entered(ctx: &TracePointContext) {
    relief::begin(Relief::PrctlExit, task::current_ids().1);
    // SAFETY: the verifier checks context accesses; the first argument is at byte 16.
    let option = unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(2)) };
    if option::sets(option) {
        remember(option);
    }
}

#[inline(always)]
fn remember(option: u64) {
    let (tgid, tid) = task::current_ids();
    if !scope::contains(tgid) {
        return;
    }
    let value = value_of(option);
    let mut before =
        Before { option, old: value.unwrap_or(0), known: u64::from(value.is_some()), comm: [0; COMM_LEN] };
    // SAFETY: the buffer is as long as stated.
    unsafe {
        bpf_get_current_comm((&raw mut before.comm).cast(), COMM_LEN as u32);
    }
    if PRCTL_ENTRY.insert(tid, before, 0).is_err() {
        count_unkept();
    }
}

/// What the kernel keeps for `option` of the current task.
#[inline(always)]
fn value_of(option: u64) -> Option<u64> {
    let current = task::current();
    let cred = |offset: u32| -> Option<u64> {
        let cred = read::pointer(current, setting!(offsets.task_cred))?;
        read::kernel::<u64>(cred, offset)
    };
    #[expect(clippy::cast_possible_truncation, reason = "option numbers are small")]
    match option as u32 {
        option::PDEATHSIG => {
            read::kernel::<u32>(current, setting!(offsets.task_pdeath_signal)).map(u64::from)
        }
        option::DUMPABLE => task::dumpable(current).map(u64::from),
        option::KEEPCAPS | option::SECUREBITS => {
            cred(setting!(offsets.cred_securebits)).map(|bits| bits & 0xffff_ffff)
        }
        option::SECCOMP => read::kernel::<u32>(current, setting!(offsets.task_seccomp_mode)).map(u64::from),
        option::CAPBSET_DROP => cred(setting!(offsets.cred_cap_bset)),
        option::CAP_AMBIENT => cred(setting!(offsets.cred_cap_ambient)),
        option::TIMERSLACK => read::kernel::<u64>(current, setting!(offsets.task_timer_slack_ns)),
        option::CHILD_SUBREAPER => {
            let signal = read::pointer(current, setting!(offsets.task_signal))?;
            let word = read::kernel::<u32>(signal, setting!(signal_subreaper.offset))?;
            Some(u64::from(word & setting!(signal_subreaper.mask) != 0))
        }
        // PFA_NO_NEW_PRIVS is bit 0 of the atomic flags.
        option::NO_NEW_PRIVS => {
            read::kernel::<u64>(current, setting!(offsets.task_atomic_flags)).map(|flags| flags & 1)
        }
        _ => None,
    }
}

#[tracepoint]
fn prctl_exit(ctx: TracePointContext) -> u32 {
    if relief::is_first(Relief::PrctlExit, task::current()) {
        ended(result(&ctx), registers::current());
    }
    0
}

/// Copies for calls that the kernel skipped [`prctl_exit`] for: see [`crate::kernel::relief`].
macro_rules! relief {
    ($($name:ident $rank:ident)*) => {$(
        #[tracepoint]
        fn $name(ctx: TracePointContext) -> u32 {
            if relief::is_left(Relief::PrctlExit, task::current(), Rank::$rank) {
                ended(result(&ctx), registers::current());
            }
            0
        }
    )*};
}
relief! {
    prctl_exit_relief Second
    prctl_exit_relief_3 Third
    prctl_exit_relief_4 Fourth
}

#[inline(always)]
fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks context accesses; the result is at byte 16.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<i64>().add(2)) }
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn prctl_exit_raw(ctx: RawTracePointContext) -> i32 {
    if registers::number(&ctx) == setting!(numbers.prctl) && !registers::is_compat() {
        ended(ctx.arg(1), ctx.arg(0));
    }
    0
}

#[inline(always)]
fn ended(ret: i64, regs: u64) {
    let (tgid, tid) = task::current_ids();
    if !scope::contains(tgid) {
        return;
    }
    let mut full = MaybeUninit::<Full>::uninit();
    let full = full.as_mut_ptr();
    // SAFETY: our own record; every field that is sent is written before.
    unsafe {
        let record = &raw mut (*full).prctl;
        task::fill(&raw mut (*record).header, Kind::Prctl, 0);
        let args = registers::arguments(regs).unwrap_or([u64::MAX, 0, 0, 0, 0]);
        (*record).args = args;
        (*record).ret = ret;
        if option::sets(args[0])
            && let Some(before) = PRCTL_ENTRY.get_ptr(tid)
        {
            let mut bits = flags::CHANGE;
            let change = &raw mut (*full).change;
            (*change).old = (*before).old;
            (*change).old_comm = (*before).comm;
            if (*before).known != 0 {
                bits |= flags::OLD;
            }
            match value_of(args[0]) {
                Some(new) => {
                    (*change).new = new;
                    bits |= flags::NEW;
                }
                None => (*change).new = 0,
            }
            (*record).header.flags = bits;
            forget(tid);
            emit(full.cast::<Header>(), size_of::<Full>() as u64, Class::Flood);
            return;
        }
        emit(full.cast::<Header>(), size_of::<Prctl>() as u64, Class::Flood);
    }
}
