//! prctl: arguments and result at the system call's exit; for options that set something also the value
//! before and after, as the kernel keeps it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::{COMM_LEN, Header};

/// Bits of `header.flags`.
pub mod flags {
    /// `old` and `old_comm` were taken at entry: a [`Change`](super::Change) follows.
    pub const CHANGE: u16 = 1 << 0;
    /// `Change::old` is valid.
    pub const OLD: u16 = 1 << 1;
    /// `Change::new` is valid.
    pub const NEW: u16 = 1 << 2;
}

/// A prctl call. With [`flags::CHANGE`] a [`Change`] follows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Prctl {
    /// Common head.
    pub header: Header,
    /// option, arg2, arg3, arg4, arg5 as passed.
    pub args: [u64; 5],
    /// Result: 0 or a value, or -errno.
    pub ret: i64,
}
const _: () = assert!(size_of::<Prctl>() == 96 + 48);

/// What a setting prctl changed, read from kernel memory before and after the call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Change {
    /// Value before; meaning by option (`dumpable`, `no_new_privs` bit, seccomp mode, ...).
    pub old: u64,
    /// Value after.
    pub new: u64,
    /// The thread's name before the call (the header has the one after).
    pub old_comm: [u8; COMM_LEN],
}
const _: () = assert!(size_of::<Change>() == 32);
