//! fork, vfork, clone, clone3: seen at `sched_process_fork`, in the parent's context.

#[cfg(target_arch = "bpf")]
mod program;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::units::{Ktime, Tgid, Tid};
use crate::wire::Header;

/// Bits of `header.flags`.
pub mod flags {
    /// The child is a thread of the same process.
    pub const THREAD: u16 = 1 << 0;
}

/// Bits of `header.missing` beyond the common ones.
pub mod missing {
    use crate::wire::missing::RECORD;
    /// `child_ns_tid`, `child_pid_ns`.
    pub const NAMESPACES: u32 = RECORD;
}

/// A new process or thread; the header describes the parent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fork {
    /// Common head.
    pub header: Header,
    /// When the child's process started (for a thread: when its process did).
    pub child_start: Ktime,
    /// Child's process id.
    pub child_tgid: Tgid,
    /// Child's thread id.
    pub child_tid: Tid,
    /// Child's thread id inside its own pid namespace.
    pub child_ns_tid: u32,
    /// Child's pid namespace.
    pub child_pid_ns: u32,
}
const _: () = assert!(size_of::<Fork>() == 96 + 24);
