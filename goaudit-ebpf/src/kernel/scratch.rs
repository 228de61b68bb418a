//! Per-CPU memory for what does not fit the stack of 512 bytes.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

use super::{claim, release};
use crate::hook::exec::Exec;
use crate::wire::{TEXT_MAX, Text};

/// Longest string that is read in one go behind a position within [`TEXT_MAX`].
pub(crate) const STRING_MAX: usize = 4096;

/// Buffers of a CPU: one in use, others for programs that preempt it. The loader makes it one where nothing
/// preempts.
const BUFFERS: u32 = 4;

/// One buffer; below the 32 KiB that a per-CPU value may have.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record under construction.
    pub(crate) exec: Exec,
    /// How far a loop has come. Kept in memory, not in a register: the verifier forgets what it knew of the
    /// value, so that every round of a loop looks alike to it and is verified once.
    cursor: u64,
    /// Number of the system call, in memory for the same reason.
    pub(crate) number: u32,
    /// Rounds of a loop, in memory for the same reason ([`super::rounds`]).
    pub(super) round: u32,
    /// Head of a piece; its bytes follow in `data`.
    pub(crate) text: Text,
    /// Bytes of the piece, and room to read a whole string behind any position in it.
    pub(crate) data: [u8; TEXT_MAX + STRING_MAX],
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(BUFFERS, 0);

/// A claimed buffer. It must be given back by [`Claimed::release`]; no destructor, because the compiler would
/// put it into a function of its own, and kernels before 6.x verify programs with calls far more slowly.
#[derive(Clone, Copy)]
pub(crate) struct Claimed {
    index: u32,
    /// The buffer.
    pub(crate) scratch: *mut Scratch,
}

impl Claimed {
    /// Takes a buffer; none when all are in use.
    #[inline(always)]
    pub(crate) fn take() -> Option<Self> {
        let index = claim(BUFFERS)?;
        match SCRATCH.get_ptr_mut(index) {
            Some(scratch) => Some(Self { index, scratch }),
            None => {
                release(index);
                None
            }
        }
    }

    /// Gives it back.
    #[inline(always)]
    pub(crate) fn release(self) {
        release(self.index);
    }
}

/// Reads the cursor.
///
/// # Safety
/// `scratch` is claimed.
#[inline(always)]
pub(crate) unsafe fn cursor(scratch: *mut Scratch) -> u64 {
    // SAFETY: by contract.
    unsafe { core::ptr::read_volatile(&raw const (*scratch).cursor) }
}

/// Moves the cursor.
///
/// # Safety
/// `scratch` is claimed.
#[inline(always)]
pub(crate) unsafe fn set_cursor(scratch: *mut Scratch, cursor: u64) {
    // SAFETY: by contract.
    unsafe { core::ptr::write_volatile(&raw mut (*scratch).cursor, cursor) }
}
