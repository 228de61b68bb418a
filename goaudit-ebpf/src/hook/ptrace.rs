//! ptrace: request, target and result at the system call's exit; on kernels with fexit also which security
//! check refused.
//!
//! The checks are observed (their return values), never re-implemented: the kernel's rules change between
//! versions.

#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
pub(crate) use program::forget;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::units::{Tgid, Tid};
use crate::wire::Header;

/// `PTRACE_TRACEME`.
pub const TRACEME: u64 = 0;
/// `PTRACE_ATTACH`.
pub const ATTACH: u64 = 16;
/// `PTRACE_SEIZE`.
pub const SEIZE: u64 = 0x4206;

/// Whether a request makes the caller a tracer (or its parent one): worth attention, and sealing at once.
pub const fn takes_hold(request: u64) -> bool {
    matches!(request, TRACEME | ATTACH | SEIZE)
}

/// Bits of `header.flags`.
pub mod flags {
    /// The entry of the call was seen. An exit without entry means that seccomp (or the tracer of the
    /// caller) stopped the call before the kernel looked at it.
    pub const ENTERED: u16 = 1 << 0;
    /// `target` is valid: a check function was given the target task.
    pub const TARGET: u16 = 1 << 1;
    /// `capability_ns` is not the caller's own user namespace.
    pub const FOREIGN_USER_NS: u16 = 1 << 2;
}

/// A kernel function whose return value tells who refused. Bit number in [`Ptrace::called`] and index into
/// [`Ptrace::returned`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Check {
    /// `__ptrace_may_access`: the whole access decision.
    MayAccess = 0,
    /// `security_ptrace_access_check`: all security modules together; reached only when user ids and
    /// dumpability (or CAP_SYS_PTRACE) let the caller pass.
    SecurityAccess = 1,
    /// `security_ptrace_traceme`.
    SecurityTraceme = 2,
    /// `cap_ptrace_access_check`: the target has capabilities that the caller lacks.
    CapAccess = 3,
    /// `yama_ptrace_access_check`.
    Yama = 4,
    /// `yama_ptrace_traceme`.
    YamaTraceme = 5,
    /// `apparmor_ptrace_access_check`.
    Apparmor = 6,
    /// `selinux_ptrace_access_check`.
    Selinux = 7,
    /// `bpf_lsm_ptrace_access_check`.
    BpfLsm = 8,
    /// `cap_capable` for CAP_SYS_PTRACE: the first call that was refused, or the last one.
    CapCapable = 9,
    /// `ptrace_attach`: the whole attach.
    Attach = 10,
}

/// Number of [`Check`]s.
pub const CHECKS: usize = 11;

/// What is known of the target, read while a check function held it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Target {
    /// Process id, initial pid namespace.
    pub tgid: Tgid,
    /// Thread id, initial pid namespace.
    pub tid: Tid,
    /// Real, effective, saved user id.
    pub uids: [u32; 3],
    /// Real, effective, saved group id.
    pub gids: [u32; 3],
    /// Who may dump and trace it (0 nobody, 1 its owner, 2 root only), `u32::MAX` when unknown.
    pub dumpable: u32,
    /// `task->flags` (PF_KTHREAD is 0x0020_0000).
    pub task_flags: u32,
}

/// A ptrace call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ptrace {
    /// Common head.
    pub header: Header,
    /// request, pid (in the caller's pid namespace), addr, data as passed.
    pub args: [u64; 4],
    /// Result, or -errno.
    pub ret: i64,
    /// The target as a check saw it; valid with [`flags::TARGET`].
    pub target: Target,
    /// Caller's saved and file-system ids: suid, fsuid, sgid, fsgid.
    pub caller_ids: [u32; 4],
    /// Bit n: [`Check`] n ran.
    pub called: u32,
    /// What each check that ran returned.
    pub returned: [i32; CHECKS],
    /// Bit n: the agent observes [`Check`] n at all (attached). Unset bits are "unknown", not "did not run".
    pub observed: u32,
    /// User namespace the capability was asked in, as inode number; 0 when unknown.
    pub capability_ns: u32,
}
const _: () = assert!(size_of::<Ptrace>() == 96 + 40 + 40 + 16 + 4 + 44 + 8);
