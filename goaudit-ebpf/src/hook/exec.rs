//! execve and execveat: successes from the committed mm at `sched_process_exec`, failures from the
//! system call's exit.
//!
//! The pieces of long values ([`crate::wire::Text`]) come first, the [`Exec`] record that they belong to last.

#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
pub(crate) use program::forget;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::Header;

/// Bits of `header.flags`.
pub mod flags {
    /// The call failed: no mm was committed, arguments are the user's (racy) and `ret` is negative.
    pub const FAILED: u16 = 1 << 0;
    /// The view at the system call's entry was taken: `UserArgs` holds it, with `user_argc`.
    pub const ENTRY_SEEN: u16 = 1 << 1;
    /// `UserArgs` is not complete: more arguments than a program reads, or one did not fit.
    pub const USER_ARGS_CUT: u16 = 1 << 2;
    /// `UserArgs` is not complete: user memory was not resident at entry.
    pub const USER_ARGS_FAULT: u16 = 1 << 3;
    /// execveat rather than execve.
    pub const EXECVEAT: u16 = 1 << 4;
}

/// Bits of `header.missing` beyond the common ones.
pub mod missing {
    use crate::wire::missing::RECORD;
    /// `argc`, `envc`: `linux_binprm`.
    pub const BPRM: u32 = RECORD;
    /// `arg_bytes`, `env_bytes` and the `ArgsEnv` text: `mm`.
    pub const MM: u32 = RECORD << 1;
    /// Capability sets.
    pub const CAPS: u32 = RECORD << 2;
    /// Namespace ids and `ns_tgid`.
    pub const NAMESPACES: u32 = RECORD << 3;
    /// `session`.
    pub const SESSION: u32 = RECORD << 4;
    /// `exe_inode`, `exe_device` and the `Exe` text.
    pub const EXE: u32 = RECORD << 5;
    /// The `Cwd` text.
    pub const CWD: u32 = RECORD << 6;
}

/// Capability sets of a process, in the kernel's bit order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Capabilities {
    /// `cap_effective`.
    pub effective: u64,
    /// `cap_permitted`.
    pub permitted: u64,
    /// `cap_inheritable`.
    pub inheritable: u64,
    /// `cap_bset`.
    pub bounding: u64,
    /// `cap_ambient`.
    pub ambient: u64,
}

/// Inode numbers of a process's namespaces (as in `/proc/PID/ns`); 0 when unknown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Namespaces {
    /// User namespace of the credentials.
    pub user: u32,
    /// Pid namespace the process lives in.
    pub pid: u32,
    /// Mount namespace.
    pub mnt: u32,
    /// Network namespace.
    pub net: u32,
    /// UTS namespace.
    pub uts: u32,
    /// IPC namespace.
    pub ipc: u32,
    /// cgroup namespace.
    pub cgroup: u32,
    /// Process id inside its own pid namespace.
    pub tgid: u32,
}

/// An execve or execveat.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exec {
    /// Common head; `flags` are those of [`flags`], `missing` has bits of [`missing`].
    pub header: Header,
    /// Equal to the `link` of this record's texts.
    pub link: u64,
    /// 0, or -errno of a failed call.
    pub ret: i64,
    /// Inode of the executed file.
    pub exe_inode: u64,
    /// Credentials after the exec.
    pub capabilities: Capabilities,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Device of the executed file (`s_dev`, kernel encoding).
    pub exe_device: u32,
    /// Number of arguments that the kernel committed (`bprm->argc`).
    pub argc: u32,
    /// Number of environment strings (`bprm->envc`).
    pub envc: u32,
    /// Bytes of all arguments, terminators included.
    pub arg_bytes: u32,
    /// Bytes of the whole environment, terminators included.
    pub env_bytes: u32,
    /// Number of arguments in `UserArgs`.
    pub user_argc: u32,
    /// How many [`crate::wire::Text`] records were tried for this record: fewer arrive when some are lost.
    pub texts: u32,
    /// The calling thread before the exec; differs from `header.tid` when a thread that was not the leader called.
    pub old_tid: u32,
    /// Audit session id; `u32::MAX` when unset.
    pub session: u32,
    /// Saved user id after the exec.
    pub suid: u32,
}
const _: () = assert!(size_of::<Exec>() == 96 + 24 + 40 + 32 + 40);
