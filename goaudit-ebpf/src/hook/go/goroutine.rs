//! Which goroutine runs, and where in its stack: from registers and the runtime's own structures.
//!
//! Registers are those of Go's internal calling convention (cmd/compile/abi-internal.md): the goroutine is in
//! R14 on amd64 and in R28 on arm64 at every function's entry and return. In code without Go's convention it may
//! hold anything, so it is believed only if the stack pointer lies in its stack.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::programs::ProbeContext;

use super::{REGISTERS, RuntimeLayout, flags};
use crate::kernel::read;
use crate::settings::ABSENT;

/// Positions in `struct pt_regs`, in words.
#[cfg(bpf_target_arch = "x86_64")]
mod place {
    /// rax rbx rcx rdi rsi r8 r9 r10 r11; the rest stands for no register.
    pub(super) const INTEGERS: [usize; super::REGISTERS] =
        [10, 5, 11, 14, 13, 9, 8, 7, 6, 10, 10, 10, 10, 10, 10, 10];
    /// r14
    pub(super) const GOROUTINE: usize = 1;
    /// rsp
    pub(super) const STACK: usize = 19;
    /// rip
    pub(super) const SITE: usize = 16;
    /// rbp
    pub(super) const FRAME: usize = 4;
    /// eflags
    pub(super) const STATUS: usize = 18;

    /// `jbe`: carry or zero flag.
    pub(super) const fn taken(status: u64) -> bool {
        status & (1 << 0 | 1 << 6) != 0
    }
}
#[cfg(bpf_target_arch = "aarch64")]
mod place {
    pub(super) const INTEGERS: [usize; super::REGISTERS] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    pub(super) const GOROUTINE: usize = 28;
    pub(super) const STACK: usize = 31;
    pub(super) const SITE: usize = 32;
    pub(super) const FRAME: usize = 29;
    /// pstate
    pub(super) const STATUS: usize = 33;
    /// x30
    pub(super) const LINK: usize = 30;

    /// `bls`: carry clear or zero set.
    pub(super) const fn taken(status: u64) -> bool {
        status & 1 << 29 == 0 || status & 1 << 30 != 0
    }
}

/// A register by its position; the verifier wants constants.
#[inline(always)]
fn register(ctx: &ProbeContext, position: usize) -> u64 {
    // SAFETY: the verifier checks context accesses.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(position)) }
}

/// Whether the conditional jump at this site, the stack check's, is going to be taken.
#[inline(always)]
pub(super) fn jumps(ctx: &ProbeContext) -> bool {
    place::taken(register(ctx, place::STATUS))
}

/// Copies what the steps may read.
///
/// # Safety
/// `to` is writable.
#[inline(always)]
pub(super) unsafe fn registers(ctx: &ProbeContext, to: *mut [u64; REGISTERS]) {
    let to = to.cast::<u64>();
    macro_rules! copy {
        ($($n:literal)*) => {
            // SAFETY: by contract.
            unsafe { $(read::put(to.add($n), register(ctx, place::INTEGERS[$n]));)* }
        };
    }
    copy!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// The stack pointer.
#[inline(always)]
pub(super) fn stack_pointer(ctx: &ProbeContext) -> u64 {
    register(ctx, place::STACK)
}

/// The address of the site itself.
#[inline(always)]
pub(super) fn site(ctx: &ProbeContext) -> u64 {
    register(ctx, place::SITE)
}

/// The frame pointer.
#[inline(always)]
pub(super) fn frame_pointer(ctx: &ProbeContext) -> u64 {
    register(ctx, place::FRAME)
}

/// Where a function that has just been entered will return to.
#[inline(always)]
#[cfg(bpf_target_arch = "x86_64")]
pub(super) fn return_address(ctx: &ProbeContext) -> u64 {
    read::user::<u64>(stack_pointer(ctx)).unwrap_or(0)
}

/// Where a function that has just been entered will return to.
#[inline(always)]
#[cfg(bpf_target_arch = "aarch64")]
pub(super) fn return_address(ctx: &ProbeContext) -> u64 {
    register(ctx, place::LINK)
}

/// A goroutine as far as it could be read.
#[derive(Clone, Copy)]
pub(super) struct Goroutine {
    pub(super) g: u64,
    pub(super) goid: u64,
    pub(super) low: u64,
    pub(super) high: u64,
    /// Bits of [`flags`].
    pub(super) believed: u16,
}

/// Goroutine ids are counted up from 1; more than this nobody starts.
const GOID_MAX: u64 = 1 << 40;

/// The first words of `runtime.g`: what is read of it lies there in every version that is known.
pub(super) const WINDOW: usize = 36;

/// The goroutine whose function runs. On the system stack (`g0`) it is the one that the thread works for.
///
/// # Safety
/// As [`at`].
#[inline(always)]
pub(super) unsafe fn running(
    ctx: &ProbeContext,
    layout: &RuntimeLayout,
    window: *mut [u64; WINDOW],
) -> Goroutine {
    // SAFETY: by contract.
    unsafe { at(register(ctx, place::GOROUTINE), stack_pointer(ctx), layout, window) }
}

/// The goroutine at `g`, which is (or will go on) at stack pointer `sp`. One copy of all that is wanted of it: a call for
/// each word costs more than all the words.
///
/// # Safety
/// `window` is writable memory of a map.
#[inline(always)]
pub(super) unsafe fn at(g: u64, sp: u64, layout: &RuntimeLayout, window: *mut [u64; WINDOW]) -> Goroutine {
    let mut found = Goroutine { g, goid: 0, low: 0, high: 0, believed: 0 };
    // SAFETY: by contract; the helper checks the other address, and leaves zeros where it is wrong.
    if unsafe { bpf_probe_read_user(window.cast(), size_of_val(&*window) as u32, g as *const _) } != 0 {
        return found;
    }
    // `g.stack` is the first field in every version: lo, hi.
    // SAFETY: by contract.
    let [low, high, ..] = unsafe { &*window };
    found.low = read::volatile(low);
    found.high = read::volatile(high);
    if found.low < sp && sp <= found.high {
        found.believed |= flags::STACK;
    }
    // SAFETY: by contract.
    let goid = unsafe { word(g, layout.goid, window) };
    if goid != 0 && goid < GOID_MAX {
        found.goid = goid;
        found.believed |= flags::GOID;
    }
    found
}

/// The word at `g + offset`; 0 when there is none.
///
/// # Safety
/// `window` holds the first words of `g`, or zeros.
#[inline(always)]
pub(super) unsafe fn word(g: u64, offset: u32, window: *const [u64; WINDOW]) -> u64 {
    let index = u64::from(offset / 8);
    if offset % 8 == 0 && index < WINDOW as u64 {
        let index = read::bound::<{ WINDOW as i32 - 1 }>(index);
        // SAFETY: by contract; bounded.
        return unsafe { core::ptr::read_volatile(window.cast::<u64>().add(index as usize)) };
    }
    far(g, offset)
}

/// Whether the thread that runs `g` says so itself.
///
/// # Safety
/// As [`word`].
#[inline(always)]
pub(super) unsafe fn is_current(g: u64, layout: &RuntimeLayout, window: *const [u64; WINDOW]) -> bool {
    if layout.m == ABSENT || layout.curg == ABSENT {
        return false;
    }
    // SAFETY: by contract.
    let m = unsafe { word(g, layout.m, window) };
    read::user::<u64>(m + u64::from(layout.curg)) == Some(g)
}

/// The word at `base + offset`; 0 when there is none.
#[inline(always)]
pub(super) fn far(base: u64, offset: u32) -> u64 {
    if offset == ABSENT {
        return 0;
    }
    read::user::<u64>(base + u64::from(offset)).unwrap_or(0)
}
