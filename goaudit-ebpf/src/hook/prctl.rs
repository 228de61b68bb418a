//! prctl: arguments and result at the system call's exit; for options that set something also the value
//! before and after, as the kernel keeps it.

#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
pub(crate) use program::forget;

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

/// Options whose old and new value are told.
pub mod option {
    /// PR_SET_PDEATHSIG
    pub const PDEATHSIG: u32 = 1;
    /// PR_SET_DUMPABLE
    pub const DUMPABLE: u32 = 4;
    /// PR_SET_KEEPCAPS: a bit of the securebits
    pub const KEEPCAPS: u32 = 8;
    /// PR_SET_NAME: the value is the thread's name
    pub const NAME: u32 = 15;
    /// PR_SET_SECCOMP
    pub const SECCOMP: u32 = 22;
    /// PR_CAPBSET_DROP
    pub const CAPBSET_DROP: u32 = 24;
    /// PR_SET_SECUREBITS
    pub const SECUREBITS: u32 = 28;
    /// PR_SET_TIMERSLACK
    pub const TIMERSLACK: u32 = 29;
    /// PR_SET_CHILD_SUBREAPER
    pub const CHILD_SUBREAPER: u32 = 36;
    /// PR_SET_NO_NEW_PRIVS
    pub const NO_NEW_PRIVS: u32 = 38;
    /// PR_CAP_AMBIENT
    pub const CAP_AMBIENT: u32 = 47;

    /// All of them, as a bit set.
    const SETS: u64 = 1 << PDEATHSIG
        | 1 << DUMPABLE
        | 1 << KEEPCAPS
        | 1 << NAME
        | 1 << SECCOMP
        | 1 << CAPBSET_DROP
        | 1 << SECUREBITS
        | 1 << TIMERSLACK
        | 1 << CHILD_SUBREAPER
        | 1 << NO_NEW_PRIVS
        | 1 << CAP_AMBIENT;

    /// Whether the option sets something whose value is told. The kernel takes the option as an int.
    pub const fn sets(option: u64) -> bool {
        let option = option & 0xffff_ffff;
        option < 64 && SETS & (1 << option) != 0
    }
}
