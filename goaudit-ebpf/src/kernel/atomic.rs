//! Atomic instructions. `core` has none for this target, so they are written out.

/// Adds one at `to` (`BPF_XADD`: every kernel).
///
/// # Safety
/// `to` is writable kernel memory that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn increment(to: *mut u64) {
    // SAFETY: by contract.
    unsafe { add(to, 1) };
}

/// Adds `amount` at `to`, wrapping (`BPF_XADD`: every kernel).
///
/// # Safety
/// As [`increment`].
#[inline(always)]
pub(crate) unsafe fn add(to: *mut u64, amount: u64) {
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({to} + 0) += {amount}",
            to = in(reg) to,
            amount = in(reg) amount,
            options(nostack)
        );
    }
}

/// Adds one at `to` and gives the old value (since 5.12).
///
/// # Safety
/// As [`increment`].
#[inline(always)]
pub(crate) unsafe fn fetch_increment(to: *mut u64) -> u64 {
    let mut value = 1u64;
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({to} + 0), {value})",
            to = in(reg) to,
            value = inout(reg) value,
            options(nostack)
        );
    }
    value
}

/// Sets `bits` at `to` and gives the old value (since 5.12).
///
/// # Safety
/// As [`increment`].
#[inline(always)]
pub(crate) unsafe fn fetch_or(to: *mut u64, bits: u64) -> u64 {
    let mut value = bits;
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_or((u64 *)({to} + 0), {value})",
            to = in(reg) to,
            value = inout(reg) value,
            options(nostack)
        );
    }
    value
}

/// Clears all but `bits` at `to` (since 5.12).
///
/// # Safety
/// As [`increment`].
#[inline(always)]
pub(crate) unsafe fn and(to: *mut u64, bits: u64) {
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({to} + 0) &= {bits}",
            to = in(reg) to,
            bits = in(reg) bits,
            options(nostack)
        );
    }
}
