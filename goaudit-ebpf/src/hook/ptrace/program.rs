//! Programs of the ptrace hook.
//!
//! - `ptrace_enter`: `syscalls:sys_enter_ptrace`; opens an entry that the checks write into.
//! - `ptrace_exit`: `syscalls:sys_exit_ptrace`, with `bpf_task_pt_regs` (since 5.15); `ptrace_exit_raw` from
//!   raw tracepoint `sys_exit(regs, ret)` on older kernels.
//! - `ptrace_enter_relief`, `ptrace_exit_relief`: see [`crate::kernel::relief`].
//! - `check_*`: fexit programs (since 5.5), one per [`Check`]; the return value lies behind the arguments
//!   whose number the loader compares with the running kernel's BTF before it attaches.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fexit, map, raw_tracepoint, tracepoint};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{FExitContext, RawTracePointContext, TracePointContext};

use super::{CHECKS, Check, Ptrace, Target, flags};
use crate::kernel::relief::Rank;
use crate::kernel::{Class, count_unkept, emit, read, registers, relief, scope, setting, task};
use crate::units::{Tgid, Tid};
use crate::wire::{Header, Kind, Relief};

/// `CAP_SYS_PTRACE`.
const SYS_PTRACE: u64 = 19;

/// Calls that are under way, by tid.
#[map]
static PTRACE_ENTRY: HashMap<u32, Entry> = HashMap::with_max_entries(8192, 0);

/// What the checks saw.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    target: Target,
    called: u32,
    target_known: u32,
    returned: [i32; CHECKS],
    capability_ns: u32,
}

/// Forgets the call of a thread.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    // Nothing kept: nothing to remove.
    let _ = PTRACE_ENTRY.remove(tid);
}

#[tracepoint]
fn ptrace_enter(_ctx: TracePointContext) -> u32 {
    entered();
    0
}

#[tracepoint]
fn ptrace_enter_relief(_ctx: TracePointContext) -> u32 {
    entered();
    0
}

/// No check has run yet: an entry that is opened twice is as good as one.
#[inline(always)]
fn entered() {
    let (tgid, tid) = task::current_ids();
    relief::begin(Relief::PtraceExit, tid);
    if scope::contains(tgid) {
        let blank = Entry {
            target: Target {
                tgid: Tgid(0),
                tid: Tid(0),
                uids: [0; 3],
                gids: [0; 3],
                dumpable: u32::MAX,
                task_flags: 0,
            },
            called: 0,
            target_known: 0,
            returned: [0; CHECKS],
            capability_ns: 0,
        };
        if PTRACE_ENTRY.insert(tid, blank, 0).is_err() {
            count_unkept();
        }
    }
}

#[tracepoint]
fn ptrace_exit(ctx: TracePointContext) -> u32 {
    if relief::is_first(Relief::PtraceExit, task::current()) {
        ended(result(&ctx), registers::current());
    }
    0
}

#[tracepoint]
fn ptrace_exit_relief(ctx: TracePointContext) -> u32 {
    if relief::is_left(Relief::PtraceExit, task::current(), Rank::Second) {
        ended(result(&ctx), registers::current());
    }
    0
}

#[inline(always)]
fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks context accesses; the result is at byte 16.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<i64>().add(2)) }
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn ptrace_exit_raw(ctx: RawTracePointContext) -> i32 {
    if registers::number(&ctx) == setting!(numbers.ptrace) && !registers::is_compat() {
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
    let mut record = MaybeUninit::<Ptrace>::zeroed();
    let record = record.as_mut_ptr();
    // SAFETY: our own record, zeroed.
    unsafe {
        task::fill(&raw mut (*record).header, Kind::Ptrace, 0);
        let args = registers::arguments(regs).unwrap_or([u64::MAX, 0, 0, 0, 0]);
        (*record).args = [args[0], args[1], args[2], args[3]];
        (*record).ret = ret;
        (*record).observed = setting!(ptrace_checks);
        (*record).target.dumpable = u32::MAX;
        if let Some([_, _, suid, sgid, _, _, fsuid, fsgid]) = task::ids(task::current()) {
            (*record).caller_ids = [suid, fsuid, sgid, fsgid];
        }
        if let Some(entry) = PTRACE_ENTRY.get_ptr(tid) {
            let mut bits = flags::ENTERED;
            (*record).called = (*entry).called;
            (*record).returned = (*entry).returned;
            (*record).capability_ns = (*entry).capability_ns;
            if (*entry).target_known != 0 {
                (*record).target = (*entry).target;
                bits |= flags::TARGET;
            }
            if (*entry).capability_ns != 0 && own_user_ns().is_some_and(|own| own != (*entry).capability_ns) {
                bits |= flags::FOREIGN_USER_NS;
            }
            (*record).header.flags = bits;
            forget(tid);
        }
        // A debugger at work makes thousands of calls a second; only what is sealed at once is urgent.
        let urgent = ret < 0 || super::takes_hold(args[0]);
        let class = if urgent { Class::Urgent } else { Class::Prompt };
        emit(record.cast::<Header>(), size_of::<Ptrace>() as u64, class);
    }
}

/// Inode number of the caller's user namespace. Read now: `unshare` changes it without an exec.
#[inline(always)]
fn own_user_ns() -> Option<u32> {
    let cred = read::pointer(task::current(), setting!(offsets.task_cred))?;
    let user_ns = read::pointer(cred, setting!(offsets.cred_user_ns))?;
    read::kernel::<u32>(user_ns, setting!(offsets.user_ns_inum))
}

/// The entry of the ptrace call that this thread is in, if it is in one.
#[inline(always)]
fn entry() -> Option<*mut Entry> {
    let (_, tid) = task::current_ids();
    PTRACE_ENTRY.get_ptr_mut(tid)
}

/// Notes what `check` returned.
#[inline(always)]
unsafe fn note(entry: *mut Entry, check: Check, returned: i32) {
    // SAFETY: an entry belongs to the thread that is in the call; `check` is below CHECKS.
    unsafe {
        (*entry).called |= 1 << check as u32;
        (&raw mut (*entry).returned).cast::<i32>().add(check as usize).write(returned);
    }
}

/// Notes who the target is.
#[inline(always)]
unsafe fn note_target(entry: *mut Entry, target: u64) {
    // SAFETY: an entry belongs to the thread that is in the call.
    unsafe {
        if (*entry).target_known != 0 {
            return;
        }
        (*entry).target_known = 1;
        let noted = &raw mut (*entry).target;
        (*noted).tgid = Tgid(read::kernel::<u32>(target, setting!(offsets.task_tgid)).unwrap_or(0));
        (*noted).tid = Tid(read::kernel::<u32>(target, setting!(offsets.task_pid)).unwrap_or(0));
        if let Some([uid, gid, suid, sgid, euid, egid, _, _]) = task::ids(target) {
            (*noted).uids = [uid, euid, suid];
            (*noted).gids = [gid, egid, sgid];
        }
        (*noted).dumpable = task::dumpable(target).unwrap_or(u32::MAX);
        (*noted).task_flags = read::kernel::<u32>(target, setting!(offsets.task_flags)).unwrap_or(0);
    }
}

/// A check whose first argument is the target task and whose return value is argument `$position`.
macro_rules! target_check {
    ($name:ident, $function:literal, $check:ident, $position:literal) => {
        #[fexit(function = $function)]
        fn $name(ctx: FExitContext) -> i32 {
            if let Some(entry) = entry() {
                // SAFETY: `entry` is this thread's.
                unsafe {
                    note_target(entry, ctx.arg::<u64>(0));
                    note(entry, Check::$check, ctx.arg::<i32>($position));
                }
            }
            0
        }
    };
}

target_check!(check_may_access, "__ptrace_may_access", MayAccess, 2);
target_check!(check_security_access, "security_ptrace_access_check", SecurityAccess, 2);
target_check!(check_cap_access, "cap_ptrace_access_check", CapAccess, 2);
target_check!(check_yama, "yama_ptrace_access_check", Yama, 2);
target_check!(check_apparmor, "apparmor_ptrace_access_check", Apparmor, 2);
target_check!(check_selinux, "selinux_ptrace_access_check", Selinux, 2);
target_check!(check_bpf_lsm, "bpf_lsm_ptrace_access_check", BpfLsm, 2);
target_check!(check_attach, "ptrace_attach", Attach, 4);

/// PTRACE_TRACEME: the argument is the parent that would trace.
macro_rules! traceme_check {
    ($name:ident, $function:literal, $check:ident) => {
        #[fexit(function = $function)]
        fn $name(ctx: FExitContext) -> i32 {
            if let Some(entry) = entry() {
                // SAFETY: `entry` is this thread's.
                unsafe {
                    note_target(entry, task::current());
                    note(entry, Check::$check, ctx.arg::<i32>(1));
                }
            }
            0
        }
    };
}

traceme_check!(check_security_traceme, "security_ptrace_traceme", SecurityTraceme);
traceme_check!(check_yama_traceme, "yama_ptrace_traceme", YamaTraceme);

/// `cap_capable(cred, user_ns, cap, opts)`: kept is the first refusal, else the last answer.
#[fexit(function = "cap_capable")]
fn check_cap_capable(ctx: FExitContext) -> i32 {
    if ctx.arg::<u64>(2) & 0xffff_ffff != SYS_PTRACE {
        return 0;
    }
    let Some(entry) = entry() else { return 0 };
    // SAFETY: `entry` is this thread's.
    unsafe {
        let check = Check::CapCapable as usize;
        let refused = (*entry).called & (1 << check) != 0
            && (&raw const (*entry).returned).cast::<i32>().add(check).read() != 0;
        if !refused {
            (*entry).capability_ns =
                read::kernel::<u32>(ctx.arg::<u64>(1), setting!(offsets.user_ns_inum)).unwrap_or(0);
            note(entry, Check::CapCapable, ctx.arg::<i32>(4));
        }
    }
    0
}
