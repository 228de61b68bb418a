//! Arguments of the system call that is ending.
//!
//! On x86-64 the registers still hold them at `sys_exit`, on aarch64 all but the first, which `orig_x0`
//! keeps. Where they are is told by [`crate::settings::Registers`].

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use aya_ebpf::programs::RawTracePointContext;

use super::{read, setting};
use crate::settings::{ABSENT, REGISTER_WINDOW};

const WORDS: usize = REGISTER_WINDOW / 8;

/// `struct pt_regs` of the current task (`bpf_task_pt_regs`, since 5.15): a program that calls this does not
/// load on older kernels.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: helpers without preconditions.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
}

/// The five arguments; none if they cannot be read.
#[inline(always)]
pub(crate) fn arguments(regs: u64) -> Option<[u64; 5]> {
    let first = read::kernel::<u64>(regs, setting!(registers.first))?;
    let window_at = setting!(registers.window);
    if window_at == ABSENT {
        return None;
    }
    let mut window = MaybeUninit::<[u64; WORDS]>::uninit();
    let from = regs.wrapping_add(u64::from(window_at)) as *const _;
    #[expect(clippy::cast_possible_truncation, reason = "64")]
    // SAFETY: the helper checks the address; the array is used only if it was written.
    let window = unsafe {
        if bpf_probe_read_kernel(window.as_mut_ptr().cast(), REGISTER_WINDOW as u32, from) != 0 {
            return None;
        }
        window.assume_init()
    };
    let word = |position: u32| {
        let position = position as usize & (WORDS - 1);
        // SAFETY: masked.
        unsafe { core::ptr::read_volatile(window.as_ptr().add(position)) }
    };
    Some([
        first,
        word(setting!(registers.rest[0])),
        word(setting!(registers.rest[1])),
        word(setting!(registers.rest[2])),
        word(setting!(registers.rest[3])),
    ])
}

/// Number of the system call that is ending, at raw tracepoint `sys_exit(regs, ret)`.
#[inline(always)]
pub(crate) fn number(ctx: &RawTracePointContext) -> u32 {
    read::kernel::<u32>(ctx.arg(0), setting!(registers.number)).unwrap_or(ABSENT - 1)
}

/// Whether the current task is inside a 32-bit system call, whose numbers mean other calls.
#[inline(always)]
pub(crate) fn is_compat() -> bool {
    // SAFETY: helper without preconditions.
    let task = unsafe { bpf_get_current_task() };
    match read::kernel::<u32>(task, setting!(task_compat.offset)) {
        Some(word) => word & setting!(task_compat.mask) != 0,
        None => false,
    }
}
