//! What every record looks like on the ring, and how loss is counted.
//!
//! A record is a [`Header`], then the fixed part of its [`Kind`], then nothing or bytes whose length the
//! fixed part states. All integers are native-endian: producer and consumer share the machine.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::units::{Ktime, Tgid, Tid};

/// Version of this contract. The loader writes it into [`crate::settings::Settings`]; object and agent of
/// different versions refuse each other.
pub const ABI: u32 = 1;

/// Length of a task's name, NUL included (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// [`crate::hook::exec::Exec`]: a successful or failed execve/execveat. Ends its run of texts.
    Exec = 1,
    /// [`Text`]: a piece of a long value that belongs to the next main record of the same CPU and link.
    Text = 2,
    /// [`crate::hook::fork::Fork`]: a new process or thread.
    Fork = 3,
    /// [`crate::hook::exit::Exit`]: a process ended.
    Exit = 4,
    /// [`crate::hook::prctl::Prctl`].
    Prctl = 5,
    /// [`crate::hook::ptrace::Ptrace`].
    Ptrace = 6,
    /// [`crate::hook::go::Call`]: a Go function was entered.
    GoEnter = 7,
    /// [`crate::hook::go::Call`]: a Go function returned.
    GoReturn = 8,
    /// [`crate::hook::go::Unwind`]: a recovered panic took frames with it.
    GoUnwind = 9,
    /// [`crate::hook::go::Signal`]: a probed process got a signal that says that its code may be broken.
    GoSignal = 10,
}

impl Kind {
    /// Every kind, in numeric order.
    pub const ALL: [Self; 10] = [
        Self::Exec,
        Self::Text,
        Self::Fork,
        Self::Exit,
        Self::Prctl,
        Self::Ptrace,
        Self::GoEnter,
        Self::GoReturn,
        Self::GoUnwind,
        Self::GoSignal,
    ];
}

impl TryFrom<u16> for Kind {
    /// The unknown number.
    type Error = u16;

    fn try_from(number: u16) -> Result<Self, u16> {
        Ok(match number {
            1 => Self::Exec,
            2 => Self::Text,
            3 => Self::Fork,
            4 => Self::Exit,
            5 => Self::Prctl,
            6 => Self::Ptrace,
            7 => Self::GoEnter,
            8 => Self::GoReturn,
            9 => Self::GoUnwind,
            10 => Self::GoSignal,
            unknown => return Err(unknown),
        })
    }
}

/// Fields of the header that the program could not read: bits of [`Header::missing`].
pub mod missing {
    /// `start`: `group_leader->start_boottime`.
    pub const START: u32 = 1 << 0;
    /// `ppid`: `real_parent->tgid`.
    pub const PPID: u32 = 1 << 1;
    /// `euid`, `egid`: `cred`.
    pub const CRED: u32 = 1 << 2;
    /// `auid`: `loginuid` (not configured in this kernel, or its offset is unknown).
    pub const AUID: u32 = 1 << 3;
    /// First bit that a record may use for its own fields.
    pub const RECORD: u32 = 1 << 8;
}

/// The first 96 bytes of every record: what, when, in which order, and who did it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Length of the whole record in bytes, header included.
    pub len: u32,
    /// A [`Kind`].
    pub kind: u16,
    /// Flags of the kind; zero where a kind has none.
    pub flags: u16,
    /// Number of this record on its CPU, from 1, taken before any point where a record can be lost.
    pub seq: u64,
    /// When the program ran.
    pub ktime: Ktime,
    /// When the process (its first thread) started; with `tgid` it names a process for ever.
    pub start: Ktime,
    /// cgroup v2 id (`bpf_get_current_cgroup_id`): the inode of the cgroup's directory.
    pub cgroup: u64,
    /// CPU that ran the program: `seq` counts on it.
    pub cpu: u32,
    /// Bits of [`missing`].
    pub missing: u32,
    /// Process.
    pub tgid: Tgid,
    /// Thread.
    pub tid: Tid,
    /// Real parent's process id.
    pub ppid: Tgid,
    /// Real user id, initial user namespace.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Audit login user id; `u32::MAX` when unset.
    pub auid: u32,
    /// The thread's name, NUL-padded.
    pub comm: [u8; COMM_LEN],
}
const _: () = assert!(size_of::<Header>() == 96);

/// What a [`Text`] holds a piece of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Section {
    /// `linux_binprm.filename`: the path as the caller gave it.
    Filename = 1,
    /// `linux_binprm.interp`: the binary that really runs; differs from `Filename` for scripts.
    Interp = 2,
    /// Path of `mm->exe_file`: NUL-terminated names from the leaf up to the root of its mount tree.
    Exe = 3,
    /// Path of `fs->pwd`: the same form.
    Cwd = 4,
    /// `[arg_start, env_end)` of the committed mm: argument strings, then environment strings.
    ArgsEnv = 5,
    /// Argument strings as they stood at the system call's entry or failed exit: user memory, racy.
    UserArgs = 6,
    /// The file name argument of the system call, read from user memory: racy.
    UserFilename = 7,
}

impl TryFrom<u16> for Section {
    /// The unknown number.
    type Error = u16;

    fn try_from(number: u16) -> Result<Self, u16> {
        Ok(match number {
            1 => Self::Filename,
            2 => Self::Interp,
            3 => Self::Exe,
            4 => Self::Cwd,
            5 => Self::ArgsEnv,
            6 => Self::UserArgs,
            7 => Self::UserFilename,
            unknown => return Err(unknown),
        })
    }
}

/// Flags of a [`Text`].
pub mod text {
    /// The kernel could not read some of the bytes (not resident, or unmapped): the value ends here.
    pub const FAULT: u16 = 1 << 0;
    /// The value is longer than what a program may send: it ends here, `total` states its length if known.
    pub const CUT: u16 = 1 << 1;
    /// Of a path: its last name is no longer in its directory.
    pub const DELETED: u16 = 1 << 2;
}

/// A piece of a long value; `len` bytes follow.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Text {
    /// Common head; `flags` are those of [`text`].
    pub header: Header,
    /// Ties the pieces to their main record: equal on both, unique on the CPU.
    pub link: u64,
    /// A [`Section`].
    pub section: u16,
    /// Zero.
    pub reserved: u16,
    /// Position of the first byte within the value.
    pub offset: u32,
    /// Length of the whole value, or 0 when the kernel cannot tell.
    pub total: u32,
    /// Bytes that follow.
    pub len: u32,
}
const _: () = assert!(size_of::<Text>() == 120);

/// Longest piece of a [`Text`]: with its head it fits the per-CPU scratch (32 KiB limit of a per-CPU value).
pub const TEXT_MAX: usize = 24 * 1024;

/// Longest `ArgsEnv` that is sent whole; 3 MiB, more than the kernel's
/// default limit for argv and env together (2 MiB; 6 MiB at most, with a larger stack limit).
pub const ARGS_ENV_MAX: usize = 128 * TEXT_MAX;

/// What the map `READER` says of the reader.
pub mod reader {
    /// It looks at the ring, or is about to.
    pub const AWAKE: u32 = 0;
    /// It sleeps until something prompt, urgent or much comes.
    pub const SLEEPS: u32 = 1;
    /// It sleeps for a moment, and only something urgent or much should wake it.
    pub const RESTS: u32 = 2;
    /// It was awake when something urgent came: it must look again before it rests.
    pub const URGED: u32 = 3;
}

/// Why a record that was seen is not on the ring. Index into [`CpuState::lost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Lost {
    /// The ring had no room.
    RingFull = 0,
    /// A flood-prone record gave way: the ring was three quarters full and the rest is kept for rare kinds.
    Yielded = 1,
    /// Another program was interrupted on this CPU while it held the scratch buffer.
    Reentered = 2,
    /// A map that the record needs was full.
    MapFull = 3,
}

impl Lost {
    /// Every cause, by index.
    pub const ALL: [Self; 4] = [Self::RingFull, Self::Yielded, Self::Reentered, Self::MapFull];
}

/// The programs that have other copies of themselves behind them, for calls that the kernel skips the first one of.
/// Index into the map `RELIEVED`: how many calls those took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Relief {
    /// `exec_commit`
    ExecCommit = 0,
    /// `exec_exit`
    ExecExit = 1,
    /// `fork`
    Fork = 2,
    /// `exit`
    Exit = 3,
    /// `prctl_exit`
    PrctlExit = 4,
    /// `ptrace_exit`
    PtraceExit = 5,
}

impl Relief {
    /// Every one, by index.
    pub const ALL: [Self; 6] =
        [Self::ExecCommit, Self::ExecExit, Self::Fork, Self::Exit, Self::PrctlExit, Self::PtraceExit];

    /// Programs that can tell such a call, the first one included.
    pub const fn copies(self) -> u64 {
        match self {
            Self::PrctlExit => 4,
            Self::ExecCommit => 3,
            Self::ExecExit | Self::Fork | Self::Exit | Self::PtraceExit => 2,
        }
    }

    /// Whether it is about a system call, which has no name that tells it from the thread's others.
    pub const fn is_system_call(self) -> bool {
        matches!(self, Self::ExecExit | Self::PrctlExit | Self::PtraceExit)
    }
}

/// Number of [`Lost`] causes.
pub const LOST_CAUSES: usize = Lost::ALL.len();

/// Value of the per-CPU map `CPU_STATE` (one entry): the conservation law of this CPU.
/// `seq` = records on the ring + sum of `lost`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuState {
    /// Last number given to a record.
    pub seq: u64,
    /// Records seen but not sent, by [`Lost`].
    pub lost: [u64; LOST_CAUSES],
    /// What was seen at a system call's entry, or a process to follow, and could not be kept: its map was
    /// full. No record is lost by that, but a later one knows less (or the process is not in scope).
    pub unkept: u64,
    /// Bit n is set while a program uses scratch buffer n of this CPU.
    pub busy: u64,
    /// Bytes sent since this CPU last looked whether the reader must be woken for their sake.
    pub unwoken: u64,
}
const _: () = assert!(size_of::<CpuState>() == 64);
