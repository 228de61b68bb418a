//! What the loader tells the programs before they are loaded: kernel struct offsets, scope, toggles.
//!
//! Rust eBPF has no CO-RE, so no kernel layout is compiled in: user space resolves every offset from the
//! running kernel's BTF and writes this read-only global. An offset that this kernel does not have is
//! [`ABSENT`]; the program then marks exactly the fields that need it as missing.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// This kernel has no such field (or its BTF does not say).
pub const ABSENT: u32 = u32::MAX;

/// Declares [`Offsets`] and the table that resolves it, so that a field and its kernel name cannot part.
macro_rules! offsets {
    ($($field:ident: $structure:literal . $member:literal,)*) => {
        /// Byte offsets of kernel struct members; [`ABSENT`] where there is none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct Offsets {
            $(#[doc = concat!("`", $structure, ".", $member, "`")] pub $field: u32,)*
        }

        /// Name of each offset, its kernel struct and the member's path in it (dots step into nested
        /// members, anonymous ones are transparent), in the order of the fields.
        pub const OFFSETS: &[(&str, &str, &str)] = &[$((stringify!($field), $structure, $member),)*];

        impl Offsets {
            /// All absent.
            pub const NONE: Self = Self { $($field: ABSENT,)* };
        }
    };
}

offsets! {
    task_group_leader: "task_struct"."group_leader",
    task_real_parent: "task_struct"."real_parent",
    task_tgid: "task_struct"."tgid",
    task_pid: "task_struct"."pid",
    task_start_boottime: "task_struct"."start_boottime",
    task_cred: "task_struct"."cred",
    task_mm: "task_struct"."mm",
    task_fs: "task_struct"."fs",
    task_nsproxy: "task_struct"."nsproxy",
    task_thread_pid: "task_struct"."thread_pid",
    task_signal: "task_struct"."signal",
    task_flags: "task_struct"."flags",
    task_exit_code: "task_struct"."exit_code",
    task_loginuid: "task_struct"."loginuid",
    task_sessionid: "task_struct"."sessionid",
    task_atomic_flags: "task_struct"."atomic_flags",
    task_seccomp_mode: "task_struct"."seccomp.mode",
    task_pdeath_signal: "task_struct"."pdeath_signal",
    task_timer_slack_ns: "task_struct"."timer_slack_ns",
    task_comm: "task_struct"."comm",
    task_self_exec_id: "task_struct"."self_exec_id",
    cred_uid: "cred"."uid",
    cred_securebits: "cred"."securebits",
    cred_cap_inheritable: "cred"."cap_inheritable",
    cred_cap_permitted: "cred"."cap_permitted",
    cred_cap_effective: "cred"."cap_effective",
    cred_cap_bset: "cred"."cap_bset",
    cred_cap_ambient: "cred"."cap_ambient",
    cred_user_ns: "cred"."user_ns",
    signal_live: "signal_struct"."live",
    signal_flags: "signal_struct"."flags",
    signal_group_exit_code: "signal_struct"."group_exit_code",
    mm_arg_start: "mm_struct"."arg_start",
    mm_arg_end: "mm_struct"."arg_end",
    mm_env_start: "mm_struct"."env_start",
    mm_env_end: "mm_struct"."env_end",
    mm_exe_file: "mm_struct"."exe_file",
    mm_flags: "mm_struct"."flags",
    task_exec_state: "task_struct"."exec_state",
    exec_state_dumpable: "task_exec_state"."dumpable",
    bprm_argc: "linux_binprm"."argc",
    bprm_envc: "linux_binprm"."envc",
    bprm_filename: "linux_binprm"."filename",
    bprm_interp: "linux_binprm"."interp",
    file_path: "file"."f_path",
    file_inode: "file"."f_inode",
    inode_ino: "inode"."i_ino",
    inode_sb: "inode"."i_sb",
    super_block_dev: "super_block"."s_dev",
    fs_pwd: "fs_struct"."pwd",
    path_mnt: "path"."mnt",
    path_dentry: "path"."dentry",
    dentry_parent: "dentry"."d_parent",
    dentry_name: "dentry"."d_name.name",
    dentry_hash: "dentry"."d_hash.pprev",
    vfsmount_root: "vfsmount"."mnt_root",
    mount_mnt: "mount"."mnt",
    mount_parent: "mount"."mnt_parent",
    mount_mountpoint: "mount"."mnt_mountpoint",
    nsproxy_uts: "nsproxy"."uts_ns",
    nsproxy_ipc: "nsproxy"."ipc_ns",
    nsproxy_mnt: "nsproxy"."mnt_ns",
    nsproxy_net: "nsproxy"."net_ns",
    nsproxy_cgroup: "nsproxy"."cgroup_ns",
    user_ns_inum: "user_namespace"."ns.inum",
    pid_ns_inum: "pid_namespace"."ns.inum",
    mnt_ns_inum: "mnt_namespace"."ns.inum",
    net_ns_inum: "net"."ns.inum",
    uts_ns_inum: "uts_namespace"."ns.inum",
    ipc_ns_inum: "ipc_namespace"."ns.inum",
    cgroup_ns_inum: "cgroup_namespace"."ns.inum",
    pid_level: "pid"."level",
    pid_numbers: "pid"."numbers",
    upid_nr: "upid"."nr",
    upid_ns: "upid"."ns",
    exit_record_group_dead: "trace_event_raw_sched_process_exit"."group_dead",
    exec_record_old_tid: "trace_event_raw_sched_process_exec"."old_pid",
    exec_record_filename: "trace_event_raw_sched_process_exec"."__data_loc_filename",
}

/// Bits of [`Settings::toggles`].
pub mod toggle {
    /// Only processes in the map `SCOPE` (and their descendants) are recorded.
    pub const SCOPED: u32 = 1 << 0;
    /// The agent's own descendants are left out, too (its own process always is).
    pub const SKIP_DESCENDANTS: u32 = 1 << 1;
}

/// Where the arguments of a system call are in `struct pt_regs` at its exit. The first one is apart because
/// on aarch64 the result has overwritten it (`orig_x0` keeps it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Registers {
    /// Offset of the first argument.
    pub first: u32,
    /// Offset of a window of [`REGISTER_WINDOW`] bytes that holds the other arguments.
    pub window: u32,
    /// Offset of the system call's number.
    pub number: u32,
    /// Arguments two to five: position in the window, in registers of eight bytes.
    pub rest: [u32; 4],
}

/// Bytes of the window of [`Registers`].
pub const REGISTER_WINDOW: usize = 64;

/// A bit (or several) in kernel memory: a 32-bit word and a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bit {
    /// Offset of the word in its struct; [`ABSENT`] where there is none.
    pub offset: u32,
    /// The bits.
    pub mask: u32,
}

/// Numbers of the native system calls, for programs on the tracepoint of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyscallNumbers {
    /// execve
    pub execve: u32,
    /// execveat
    pub execveat: u32,
    /// prctl
    pub prctl: u32,
    /// ptrace
    pub ptrace: u32,
}

/// The read-only global `SETTINGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// [`crate::wire::ABI`] of the loader.
    pub abi: u32,
    /// Process id of the agent, initial pid namespace; never recorded.
    pub own_tgid: u32,
    /// Bits of [`toggle`].
    pub toggles: u32,
    /// Size of the ring in bytes.
    pub ring_bytes: u32,
    /// The reader is woken at the latest after this many bytes of a CPU.
    pub wake_bytes: u32,
    /// Size of one `struct upid`: `pid.numbers` is an array of them.
    pub upid_size: u32,
    /// Bits by [`crate::hook::ptrace::Check`]: which check functions are observed.
    pub ptrace_checks: u32,
    /// Whether this kernel takes atomic instructions that return the old value (since 5.12). Where it does
    /// not, tracepoints run with preemption off and plain loads and stores do.
    pub fetch_atomics: u32,
    /// Whether this kernel has the instruction `may_goto` (since 6.9), so that loops need not be followed round by
    /// round when programs are verified.
    pub may_goto: u32,
    /// Whether `sched_process_exit` says itself that the last thread ends (argument `group_dead`, since 6.16).
    pub exit_group_dead: u32,
    /// Bits by [`crate::wire::Kind`]: which records are wanted.
    pub kinds: u32,
    /// Whether this kernel preempts programs and then skips them for others on that CPU: other copies stand by
    /// ([`crate::wire::Relief`]).
    pub relief: u32,
    /// Whether this kernel gives programs the current task as a pointer with a type (since 5.11), whose members are
    /// read without a helper's call.
    pub typed_tasks: u32,
    /// Arguments of a system call.
    pub registers: Registers,
    /// In `task_struct`: the task is inside a 32-bit system call.
    pub task_compat: Bit,
    /// In `signal_struct`: `is_child_subreaper`.
    pub signal_subreaper: Bit,
    /// System call numbers.
    pub numbers: SyscallNumbers,
    /// Kernel struct offsets.
    pub offsets: Offsets,
}

impl Bit {
    /// No such bit.
    pub const NONE: Self = Self { offset: ABSENT, mask: 0 };
}

impl Settings {
    /// What the object holds before the loader writes: nothing known, nothing recorded by mistake (the ABI of
    /// zero belongs to no loader).
    pub const UNSET: Self = Self {
        abi: 0,
        own_tgid: u32::MAX,
        toggles: 0,
        ring_bytes: 0,
        wake_bytes: 1,
        upid_size: ABSENT,
        ptrace_checks: 0,
        fetch_atomics: 0,
        may_goto: 0,
        exit_group_dead: 0,
        kinds: u32::MAX,
        relief: 0,
        typed_tasks: 0,
        registers: Registers { first: ABSENT, window: ABSENT, number: ABSENT, rest: [0; 4] },
        task_compat: Bit::NONE,
        signal_subreaper: Bit::NONE,
        numbers: SyscallNumbers { execve: ABSENT, execveat: ABSENT, prctl: ABSENT, ptrace: ABSENT },
        offsets: Offsets::NONE,
    };
}
