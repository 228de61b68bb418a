//! Programs of the exec hook.
//!
//! - `exec_enter`: `syscalls:sys_enter_execve{,at}`; keep the caller's view of the arguments.
//! - `exec_commit`: raw tracepoint `sched_process_exec(task, old_pid, bprm)`; the new mm is in place, its
//!   stack pages are resident.
//! - `exec_exit`: `syscalls:sys_exit_execve{,at}`; failures. It needs `bpf_task_pt_regs`
//!   (since 5.15); `exec_exit_raw` does the same from raw tracepoint `sys_exit(regs, ret)` on older kernels.
//! - `exec_enter_relief`, `exec_commit_relief`, `exec_exit_relief`, `exec_commit_last` (at the ordinary tracepoint):
//!   see [`crate::kernel::relief`].
//!
//! A successful execveat ends as an execve on x86-64; successes are not taken from the exit, so it is all one.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{map, raw_tracepoint, tracepoint};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};

use super::{flags, missing};
use crate::kernel::entry::{VIEW_MAX, View, ViewHead, read_args};
use crate::kernel::relief::Rank;
use crate::kernel::scratch::{Claimed, Scratch};
use crate::kernel::{
    Class, count_unkept, diagnose, emit, lose_unbuilt, path, read, registers, relief, scope, setting, task,
    text,
};
use crate::wire::{ARGS_ENV_MAX, Header, Kind, Lost, Relief, Section};

/// What the threads that are inside an exec passed, by tid. Entries go with the commit, the failed exit or
/// the thread's end.
#[map]
static EXEC_ENTRY: HashMap<u32, View> = HashMap::with_max_entries(512, 0);

/// Forgets what a thread passed.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    // Nothing kept: nothing to remove.
    let _ = EXEC_ENTRY.remove(tid);
}

/// An argument of a system call at its entry tracepoint (`struct syscall_trace_enter`: 8 bytes of common
/// fields, the number, then the arguments from byte 16 on).
#[inline(always)]
fn entry_argument(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the verifier checks context accesses.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(2 + index)) }
}

#[tracepoint]
fn exec_enter(ctx: TracePointContext) -> u32 {
    entered(&ctx);
    0
}

#[tracepoint]
fn exec_enter_relief(ctx: TracePointContext) -> u32 {
    // What the first copy kept is as good; only if it was skipped there is nothing.
    if setting!(relief) != 0 && EXEC_ENTRY.get_ptr(task::current_ids().1).is_none() {
        entered(&ctx);
    }
    0
}

#[inline(always)]
fn entered(ctx: &TracePointContext) {
    relief::begin(Relief::ExecExit, task::current_ids().1);
    if number(ctx) == setting!(numbers.execveat) {
        remember(entry_argument(ctx, 2), flags::EXECVEAT);
    } else {
        remember(entry_argument(ctx, 1), 0);
    }
}

/// Number of the system call: one program serves both calls, so that it is verified once.
#[inline(always)]
fn number(ctx: &TracePointContext) -> u32 {
    // SAFETY: the verifier checks context accesses; the number is at byte 8.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u32>().add(2)) }
}

#[inline(always)]
fn remember(argv: u64, call: u16) {
    let (tgid, tid) = task::current_ids();
    if !scope::contains(tgid) {
        return;
    }
    let Some(claimed) = Claimed::take() else {
        count_unkept();
        return;
    };
    let scratch = claimed.scratch;
    // SAFETY: the buffer is ours; a view and a string behind it fit into `data`.
    unsafe {
        let view = (&raw mut (*scratch).data).cast::<View>();
        let head = read_args(scratch, (&raw mut (*view).data).cast(), argv);
        (*view).head = ViewHead { flags: head.flags | u32::from(call), ..head };
        if EXEC_ENTRY.insert(tid, &*view, 0).is_err() {
            count_unkept();
        }
    }
    claimed.release();
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec_commit(ctx: RawTracePointContext) -> i32 {
    if relief::is_first(Relief::ExecCommit, task::current()) {
        committed(ctx.arg(1), File::Bprm(ctx.arg(2)));
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec_commit_relief(ctx: RawTracePointContext) -> i32 {
    if relief::is_left(Relief::ExecCommit, task::current(), Rank::Second) {
        committed(ctx.arg(1), File::Bprm(ctx.arg(2)));
    }
    0
}

#[tracepoint(category = "sched", name = "sched_process_exec")]
fn exec_commit_last(ctx: TracePointContext) -> u32 {
    // Without the `linux_binprm` it knows less.
    if relief::gives_way(Relief::ExecCommit) {
        return 0;
    }
    let record = ctx.as_ptr() as u64;
    let Some(old_tid) = read::kernel::<u32>(record, setting!(offsets.exec_record_old_tid)) else { return 0 };
    let Some(place) = read::kernel::<u32>(record, setting!(offsets.exec_record_filename)) else { return 0 };
    if relief::is_left(Relief::ExecCommit, task::current(), Rank::Third) {
        // Lower half of a record's string: where in the record it is.
        committed(old_tid, File::Name(record.wrapping_add(u64::from(place & 0xffff))));
    }
    0
}

/// What the tracepoint tells of the executed file.
#[derive(Clone, Copy)]
enum File {
    /// Address of the `linux_binprm`.
    Bprm(u64),
    /// Address of the file's name alone.
    Name(u64),
}

#[inline(always)]
fn committed(old_tid: u32, file: File) {
    let (tgid, _) = task::current_ids();
    if !scope::contains(tgid) {
        return;
    }
    diagnose!("exec of process {} by thread {}", tgid, old_tid);
    match Claimed::take() {
        Some(claimed) => {
            // SAFETY: the buffer is claimed.
            unsafe { commit(claimed.scratch, file, old_tid) };
            claimed.release();
        }
        None => lose_unbuilt(Lost::Reentered),
    }
}

/// # Safety
/// `scratch` is claimed.
#[inline(always)]
unsafe fn commit(scratch: *mut Scratch, file: File, old_tid: u32) {
    // SAFETY: by contract.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        task::fill(&raw mut (*exec).header, Kind::Exec, 0);
        text::begin(scratch);
        read::put(&raw mut (*exec).ret, 0);
        read::put(&raw mut (*exec).old_tid, old_tid);
        let mut absent = 0;

        match file {
            File::Bprm(bprm) => names(scratch, bprm, &mut absent),
            File::Name(name) => {
                absent |= missing::BPRM;
                read::put(&raw mut (*exec).argc, 0);
                read::put(&raw mut (*exec).envc, 0);
                text::send_kernel_string(scratch, Section::Filename, name);
            }
        }
        let current = task::current();
        paths(scratch, current, &mut absent);
        memory(scratch, current, &mut absent);
        entry_view(scratch, old_tid);
        credentials(scratch, current, &mut absent);

        (*exec).header.missing |= absent;
        emit(exec.cast::<Header>(), size_of::<super::Exec>() as u64, Class::Prompt);
    }
}

/// File name, interpreter and counts of `bprm`.
#[inline(always)]
unsafe fn names(scratch: *mut Scratch, bprm: u64, absent: &mut u32) {
    // SAFETY: `scratch` is claimed, by contract of `commit`.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        let argc = read::kernel::<u32>(bprm, setting!(offsets.bprm_argc));
        let envc = read::kernel::<u32>(bprm, setting!(offsets.bprm_envc));
        if argc.is_none() || envc.is_none() {
            *absent |= missing::BPRM;
        }
        read::put(&raw mut (*exec).argc, argc.unwrap_or(0));
        read::put(&raw mut (*exec).envc, envc.unwrap_or(0));
        match read::pointer(bprm, setting!(offsets.bprm_filename)) {
            Some(filename) => {
                text::send_kernel_string(scratch, Section::Filename, filename);
                // The same pointer unless an interpreter was put in.
                match read::pointer(bprm, setting!(offsets.bprm_interp)) {
                    Some(interp) if interp != filename => {
                        text::send_kernel_string(scratch, Section::Interp, interp);
                    }
                    Some(_) => {}
                    None => *absent |= missing::BPRM,
                }
            }
            None => *absent |= missing::BPRM,
        }
    }
}

/// The executed file and the working directory.
#[inline(always)]
unsafe fn paths(scratch: *mut Scratch, current: u64, absent: &mut u32) {
    // SAFETY: `scratch` is claimed, by contract of `commit`.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        read::put(&raw mut (*exec).exe_inode, 0);
        read::put(&raw mut (*exec).exe_device, 0);
        let file = read::pointer(current, setting!(offsets.task_mm))
            .and_then(|mm| read::pointer(mm, setting!(offsets.mm_exe_file)));
        let mut found = false;
        if let Some(file) = file {
            if let Some(inode) = read::pointer(file, setting!(offsets.file_inode)) {
                let number = read::kernel::<u64>(inode, setting!(offsets.inode_ino));
                let device = read::pointer(inode, setting!(offsets.inode_sb))
                    .and_then(|sb| read::kernel::<u32>(sb, setting!(offsets.super_block_dev)));
                if let (Some(number), Some(device)) = (number, device) {
                    read::put(&raw mut (*exec).exe_inode, number);
                    read::put(&raw mut (*exec).exe_device, device);
                    found = true;
                }
            }
            let offset = setting!(offsets.file_path);
            let at = file + u64::from(offset);
            found &= offset != crate::settings::ABSENT && path::send(scratch, Section::Exe, at);
        }
        if !found {
            *absent |= missing::EXE;
        }
        if !working_directory(scratch, current) {
            *absent |= missing::CWD;
        }
    }
}

#[inline(always)]
unsafe fn working_directory(scratch: *mut Scratch, current: u64) -> bool {
    let offset = setting!(offsets.fs_pwd);
    if offset == crate::settings::ABSENT {
        return false;
    }
    match read::pointer(current, setting!(offsets.task_fs)) {
        // SAFETY: `scratch` is claimed, by contract of the callers.
        Some(fs) => unsafe { path::send(scratch, Section::Cwd, fs + u64::from(offset)) },
        None => false,
    }
}

/// Arguments and environment of the new mm. The kernel lays them out in a row.
#[inline(always)]
unsafe fn memory(scratch: *mut Scratch, current: u64, absent: &mut u32) {
    // SAFETY: `scratch` is claimed, by contract of `commit`.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        read::put(&raw mut (*exec).arg_bytes, 0);
        read::put(&raw mut (*exec).env_bytes, 0);
        let Some(mm) = read::pointer(current, setting!(offsets.task_mm)) else {
            *absent |= missing::MM;
            return;
        };
        let (Some(arg_start), Some(arg_end), Some(env_start), Some(env_end)) = (
            read::kernel::<u64>(mm, setting!(offsets.mm_arg_start)),
            read::kernel::<u64>(mm, setting!(offsets.mm_arg_end)),
            read::kernel::<u64>(mm, setting!(offsets.mm_env_start)),
            read::kernel::<u64>(mm, setting!(offsets.mm_env_end)),
        ) else {
            *absent |= missing::MM;
            return;
        };
        #[expect(clippy::cast_possible_truncation, reason = "the kernel's limit is 6 MiB")]
        {
            read::put(&raw mut (*exec).arg_bytes, arg_end.wrapping_sub(arg_start) as u32);
            read::put(&raw mut (*exec).env_bytes, env_end.wrapping_sub(env_start) as u32);
        }
        let total = env_end.wrapping_sub(arg_start);
        // Not what execve makes: do not read what is something else.
        if arg_end != env_start || total > ARGS_ENV_MAX as u64 * 4 {
            *absent |= missing::MM;
            return;
        }
        text::send_user_range(scratch, Section::ArgsEnv, arg_start, total);
    }
}

/// What the caller passed, for user space to compare with what was committed.
#[inline(always)]
unsafe fn entry_view(scratch: *mut Scratch, tid: u32) {
    // SAFETY: `scratch` is claimed, by contract of `commit`; the view is ours until it is removed.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        read::put(&raw mut (*exec).user_argc, 0);
        let Some(view) = EXEC_ENTRY.get_ptr(tid) else { return };
        let head = (*view).head;
        let len = read::bound::<{ VIEW_MAX as i32 }>(u64::from(head.bytes));
        let copied = aya_ebpf::helpers::generated::bpf_probe_read_kernel(
            (&raw mut (*scratch).data).cast(),
            len as u32,
            (&raw const (*view).data).cast(),
        );
        read::put(&raw mut (*exec).user_argc, head.argc);
        (*exec).header.flags |= flags::ENTRY_SEEN | head.flags as u16;
        if copied == 0 {
            text::send(scratch, Section::UserArgs, 0, 0, head.bytes, u64::from(head.bytes));
        }
        forget(tid);
    }
}

/// Capabilities, namespaces, session, saved user id.
#[inline(always)]
unsafe fn credentials(scratch: *mut Scratch, current: u64, absent: &mut u32) {
    // SAFETY: `scratch` is claimed, by contract of the callers.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        let cred = read::pointer(current, setting!(offsets.task_cred)).unwrap_or(0);
        match task::capabilities(cred) {
            Some(sets) => (*exec).capabilities = sets,
            None => {
                let sets = (&raw mut (*exec).capabilities).cast::<u64>();
                let mut set = 0;
                while set < 5 {
                    read::put(sets.add(set), 0);
                    set += 1;
                }
                *absent |= missing::CAPS;
            }
        }
        (*exec).suid = match read::kernel::<task::Ids>(cred, setting!(offsets.cred_uid)) {
            Some(ids) => ids[2],
            None => u32::MAX,
        };
        if !task::namespaces(current, cred, &raw mut (*exec).namespaces) {
            *absent |= missing::NAMESPACES;
        }
        (*exec).session = match read::kernel::<u32>(current, setting!(offsets.task_sessionid)) {
            Some(session) => session,
            None => {
                *absent |= missing::SESSION;
                u32::MAX
            }
        };
    }
}

/// Result of a system call at its exit tracepoint (`struct syscall_trace_exit`: byte 16).
#[inline(always)]
fn exit_result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks context accesses.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<i64>().add(2)) }
}

#[tracepoint]
fn exec_exit(ctx: TracePointContext) -> u32 {
    if relief::is_first(Relief::ExecExit, task::current()) {
        ended(&ctx);
    }
    0
}

#[tracepoint]
fn exec_exit_relief(ctx: TracePointContext) -> u32 {
    if relief::is_left(Relief::ExecExit, task::current(), Rank::Second) {
        ended(&ctx);
    }
    0
}

#[inline(always)]
fn ended(ctx: &TracePointContext) {
    let ret = exit_result(ctx);
    if ret < 0 {
        failed(ret, registers::current(), number(ctx));
    }
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn exec_exit_raw(ctx: RawTracePointContext) -> i32 {
    let number = registers::number(&ctx);
    if number != setting!(numbers.execve) && number != setting!(numbers.execveat) {
        return 0;
    }
    let ret: i64 = ctx.arg(1);
    if ret < 0 && !registers::is_compat() {
        failed(ret, ctx.arg(0), number);
    }
    0
}

#[inline(always)]
fn failed(ret: i64, regs: u64, number: u32) {
    let (tgid, tid) = task::current_ids();
    if !scope::contains(tgid) {
        return;
    }
    forget(tid);
    match Claimed::take() {
        Some(claimed) => {
            // SAFETY: the buffer is claimed.
            unsafe { send_failed(claimed.scratch, ret, regs, number, tid) };
            claimed.release();
        }
        None => lose_unbuilt(Lost::Reentered),
    }
}

/// # Safety
/// `scratch` is claimed.
#[inline(always)]
unsafe fn send_failed(scratch: *mut Scratch, ret: i64, regs: u64, number: u32, tid: u32) {
    // SAFETY: by contract.
    unsafe {
        let exec = &raw mut (*scratch).exec;
        task::fill(&raw mut (*exec).header, Kind::Exec, flags::FAILED);
        read::put(&raw mut (*scratch).number, number);
        text::begin(scratch);
        read::put(&raw mut (*exec).ret, ret);
        read::put(&raw mut (*exec).old_tid, tid);
        read::put(&raw mut (*exec).argc, 0);
        read::put(&raw mut (*exec).envc, 0);
        read::put(&raw mut (*exec).arg_bytes, 0);
        read::put(&raw mut (*exec).env_bytes, 0);
        read::put(&raw mut (*exec).exe_inode, 0);
        read::put(&raw mut (*exec).exe_device, 0);
        read::put(&raw mut (*exec).user_argc, 0);
        let mut absent = missing::BPRM | missing::MM | missing::EXE;
        let current = task::current();
        if !working_directory(scratch, current) {
            absent |= missing::CWD;
        }
        if let Some(arguments) = registers::arguments(regs) {
            // From memory, so that the verifier does not follow both calls separately from the start.
            let at = core::ptr::read_volatile(&raw const (*scratch).number) == setting!(numbers.execveat);
            if at {
                (*exec).header.flags |= flags::EXECVEAT;
            }
            let (filename, argv) =
                if at { (arguments[1], arguments[2]) } else { (arguments[0], arguments[1]) };
            text::send_user_string(scratch, Section::UserFilename, filename);
            let head = read_args(scratch, (&raw mut (*scratch).data).cast(), argv);
            read::put(&raw mut (*exec).user_argc, head.argc);
            (*exec).header.flags |= head.flags as u16;
            text::send(scratch, Section::UserArgs, 0, 0, head.bytes, u64::from(head.bytes));
        }
        credentials(scratch, current, &mut absent);
        (*exec).header.missing |= absent;
        emit(exec.cast::<Header>(), size_of::<super::Exec>() as u64, Class::Prompt);
    }
}
