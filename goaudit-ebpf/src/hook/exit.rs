//! The end of a process: `sched_process_exit` of its last thread.

#[cfg(target_arch = "bpf")]
mod program;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::Header;

/// The end of a process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exit {
    /// Common head; `tid` is the thread that ended last.
    pub header: Header,
    /// As `wait` reports it: exit code in bits 8..16, signal in bits 0..7, core dump in bit 7.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Exit>() == 96 + 8);
