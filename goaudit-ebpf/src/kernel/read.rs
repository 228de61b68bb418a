//! Reading memory whose layout is known only at run time.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use zerocopy::FromBytes;

use crate::settings::ABSENT;

/// The `T` at `base + offset` in kernel memory; none when the offset is absent or memory is not there.
#[inline(always)]
pub(crate) fn kernel<T: FromBytes>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    let from = base.wrapping_add(u64::from(offset)) as *const _;
    // SAFETY: the helper checks the address; the value is used only if it was written.
    unsafe {
        #[expect(clippy::cast_possible_truncation, reason = "small fixed-size types")]
        let size = size_of::<T>() as u32;
        (bpf_probe_read_kernel(value.as_mut_ptr().cast(), size, from) == 0).then(|| value.assume_init())
    }
}

/// The pointer at `base + offset` in kernel memory; none when it is null, too.
#[inline(always)]
pub(crate) fn pointer(base: u64, offset: u32) -> Option<u64> {
    match kernel::<u64>(base, offset) {
        Some(0) | None => None,
        pointer => pointer,
    }
}

/// The pointer at `base + offset` in kernel memory; null when it is not there.
#[inline(always)]
pub(crate) fn pointer_or_null(base: u64, offset: u32) -> u64 {
    let mut pointer = 0;
    // SAFETY: our own variable.
    unsafe { copy(&raw mut pointer, base, offset, 0) };
    pointer
}

/// Copies the `T` at `base + offset` in kernel memory to `to`; where it is not there, `otherwise`. Whether it is.
///
/// # Safety
/// `to` is writable.
#[inline(always)]
pub(crate) unsafe fn copy<T: FromBytes>(to: *mut T, base: u64, offset: u32, otherwise: T) -> bool {
    // SAFETY: by contract; the helper checks the other address.
    unsafe {
        #[expect(clippy::cast_possible_truncation, reason = "small fixed-size types")]
        let size = size_of::<T>() as u32;
        let from = base.wrapping_add(u64::from(offset)) as *const _;
        if offset != ABSENT && bpf_probe_read_kernel(to.cast(), size, from) == 0 {
            return true;
        }
        put(to, otherwise);
    }
    false
}

/// The `T` at `base + offset`, where `base` is a pointer that the verifier knows the kernel type of (`typed`: see
/// [`crate::settings::Settings::typed_tasks`]): a load like any other, without a helper's call. `T` is the type of a
/// member, or of a word of it. Memory that is not there reads as zeros, and so does a member that is absent.
#[inline(always)]
pub(crate) fn typed<T: FromBytes + Copy + Default>(base: u64, offset: u32) -> T {
    if offset == ABSENT {
        return T::default();
    }
    // SAFETY: the verifier checks the type, and the kernel handles faults.
    unsafe { core::ptr::read_volatile((base + u64::from(offset)) as *const T) }
}

/// The `T` at `address` in the current task's memory.
#[inline(always)]
pub(crate) fn user<T: FromBytes>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `kernel`.
    unsafe {
        #[expect(clippy::cast_possible_truncation, reason = "small fixed-size types")]
        let size = size_of::<T>() as u32;
        (bpf_probe_read_user(value.as_mut_ptr().cast(), size, address as *const _) == 0)
            .then(|| value.assume_init())
    }
}

/// `n`, at most `MAX`, in a way that the verifier sees and the compiler cannot fold away or move: clamped,
/// not masked, so that a value of `MAX + 1` does not become 0.
#[inline(always)]
pub(crate) fn bound<const MAX: i32>(mut n: u64) -> u64 {
    // SAFETY: pure arithmetic on one register.
    unsafe {
        core::arch::asm!(
            "if {n} <= {max} goto +1",
            "{n} = {max}",
            n = inout(reg) n,
            max = const MAX,
            options(pure, nomem, nostack)
        );
    }
    n
}

/// Writes `value` to `to` as a store of its own: rows of zero stores would become a call of `memset`, and a
/// program with calls is verified far more slowly before 6.x.
///
/// # Safety
/// `to` is writable.
#[inline(always)]
pub(crate) unsafe fn put<T>(to: *mut T, value: T) {
    // SAFETY: by contract.
    unsafe { core::ptr::write_volatile(to, value) }
}

/// The value at `from`, read each time: the loader, user space or another CPU may have changed it behind the
/// compiler's back.
#[inline(always)]
pub(crate) fn volatile<T: Copy>(from: &T) -> T {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::read_volatile(from) }
}
