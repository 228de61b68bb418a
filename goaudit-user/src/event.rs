//! The event: what one thing that happened looks like, decoded and owned.
//!
//! An event is self-contained: it carries the process it is about, so that one event alone can be shown to
//! somebody and still says who did what. Its CBOR form (RFC 8949, integer keys) is what the log stores,
//! hashes and seals; JSON and terminal lines are views of it, the same live and replayed. Unknown CBOR keys
//! are skipped and new fields are optional, so that old logs and new readers understand each other.

use std::borrow::Cow;

use goaudit_ebpf::units::Ktime;
use minicbor::{Decode, Encode};

pub mod control;
pub mod go;
pub mod text;

pub use control::Control;
pub use go::{Authz, GoCall, GoExit, GoFrame, GoPanic, GoSignal};
pub use text::Text;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Event {
    /// When it happened (boot time).
    #[cbor(n(0), with = "cbor_units::ktime")]
    pub ktime: Ktime,
    /// Where its kernel records came from; none for events that the agent itself makes.
    #[n(1)]
    pub source: Option<Source>,
    /// The process that did it; none for events that the agent itself makes.
    #[n(2)]
    pub process: Option<Process>,
    /// What happened.
    #[n(3)]
    pub payload: Payload,
    /// Fields that could not be had, and why: missing never looks like empty.
    #[n(4)]
    pub missing: Vec<Missing>,
    /// Personal fields that are stored encrypted ([`crate::personal`]); none if there are none, or they are opened.
    #[n(5)]
    pub sealed: Option<Vec<Sealed>>,
}

/// Personal fields of one class, encrypted. They are not in their places.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Sealed {
    /// Name of the key.
    #[n(0)]
    pub key: String,
    /// Number of the value among those of its key.
    #[n(1)]
    pub number: u64,
    /// Which fields, as [`crate::personal`] numbers them.
    #[n(2)]
    pub places: Vec<u32>,
    /// Their values, encrypted.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// The kernel records behind an event: the ground of the conservation law `seen = stored + lost`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Source {
    /// CPU whose sequence counts.
    #[n(0)]
    pub cpu: u32,
    /// Number of the first record.
    #[n(1)]
    pub first: u64,
    /// How many records of that CPU, from `first` on, the event stands for: pieces of a long value, or
    /// repeats. Zero for a record that came so late that it had been counted as lost.
    #[n(2)]
    pub records: u64,
    /// Records of that CPU lost right before `first`.
    #[n(3)]
    pub lost_before: u64,
    /// For identical repeats told as one event: how many calls and when the last one was.
    #[n(4)]
    pub repeats: Option<Repeats>,
    /// Further records behind the same event, such as a call's return on another CPU.
    #[cbor(n(5), default)]
    pub more: Vec<Piece>,
}

impl Source {
    /// All records behind the event, CPU by CPU. Whoever counts records counts these.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let Self { cpu, first, records, lost_before, repeats: _, more } = self;
        let main = Piece { cpu: *cpu, first: *first, records: *records, lost_before: *lost_before };
        std::iter::once(main).chain(more.iter().copied())
    }

    /// Records lost right before those behind the event.
    pub fn lost_before(&self) -> u64 {
        self.pieces().fold(0, |sum, piece| sum.saturating_add(piece.lost_before))
    }
}

/// Records of one CPU behind an event that stands for records of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Piece {
    /// CPU whose sequence counts.
    #[n(0)]
    pub cpu: u32,
    /// Number of the first record.
    #[n(1)]
    pub first: u64,
    /// How many, from `first` on; zero for one that had been counted as lost.
    #[n(2)]
    pub records: u64,
    /// Records of that CPU lost right before `first`.
    #[n(3)]
    pub lost_before: u64,
}

/// Identical calls in a row of one thread, told as one event.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Repeats {
    /// Calls, the first included.
    #[n(0)]
    pub count: u64,
    /// Time of the last one.
    #[cbor(n(1), with = "cbor_units::ktime")]
    pub last: Ktime,
}

/// A field that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Missing {
    /// Its JSON path, such as `process.auid`.
    #[n(0)]
    pub field: Cow<'static, str>,
    /// Why, in a few words.
    #[n(1)]
    pub reason: Cow<'static, str>,
}

impl Missing {
    /// A field and the reason, both usually literals.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Who did it. Text fields are bytes: names and paths need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Process {
    /// Process id, initial pid namespace.
    #[n(0)]
    pub tgid: u32,
    /// Thread id.
    #[n(1)]
    pub tid: u32,
    /// When the process started (boot time, ns); with `tgid` and the boot id it is unique.
    #[n(2)]
    pub start_ktime_ns: Option<u64>,
    /// Parent process id.
    #[n(3)]
    pub ppid: Option<u32>,
    /// Thread name.
    #[n(4)]
    pub comm: Text,
    /// Path of the running binary, in the process's own mount namespace.
    #[n(5)]
    pub exe: Option<Text>,
    /// Real user id.
    #[n(6)]
    pub uid: u32,
    /// Real group id.
    #[n(7)]
    pub gid: u32,
    /// Effective user id.
    #[n(8)]
    pub euid: Option<u32>,
    /// Effective group id.
    #[n(9)]
    pub egid: Option<u32>,
    /// Audit login user id.
    #[n(10)]
    pub auid: Option<u32>,
    /// Audit session id.
    #[n(11)]
    pub session: Option<u32>,
    /// cgroup v2 id.
    #[n(12)]
    pub cgroup_id: u64,
    /// cgroup path.
    #[n(13)]
    pub cgroup: Option<Text>,
    /// Container id found in the cgroup path (64 hex digits).
    #[n(14)]
    pub container_id: Option<String>,
    /// Inode of the pid namespace.
    #[n(15)]
    pub pid_ns: Option<u32>,
    /// Name of the real user on the recording host at that time.
    #[n(16)]
    pub user: Option<Text>,
    /// When the running program was executed (boot time, ns); none when that was before recording began.
    #[n(17)]
    pub exec_ktime_ns: Option<u64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Payload {
    /// execve or execveat.
    #[n(0)]
    Exec(#[n(0)] Box<Exec>),
    /// A new process or thread.
    #[n(1)]
    Fork(#[n(0)] Fork),
    /// The end of a process.
    #[n(2)]
    Exit(#[n(0)] Exit),
    /// prctl.
    #[n(3)]
    Prctl(#[n(0)] Prctl),
    /// ptrace.
    #[n(4)]
    Ptrace(#[n(0)] Box<Ptrace>),
    /// About the recorder itself.
    #[n(5)]
    Control(#[n(0)] Box<Control>),
    /// A call of a probed Go function.
    #[n(6)]
    GoCall(#[n(0)] Box<GoCall>),
    /// An authorization decision.
    #[n(7)]
    Authz(#[n(0)] Box<Authz>),
    /// A Go panic.
    #[n(8)]
    GoPanic(#[n(0)] Box<GoPanic>),
    /// A goroutine that ended itself.
    #[n(9)]
    GoExit(#[n(0)] GoExit),
    /// A probed Go program got a signal that it should not get.
    #[n(10)]
    GoSignal(#[n(0)] GoSignal),
}

/// An execve or execveat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exec {
    /// Arguments, as committed (or, for a failed call, as the user memory held them).
    #[n(0)]
    pub argv: Vec<Text>,
    /// How many arguments there were.
    #[n(1)]
    pub argc: Option<u32>,
    /// Bytes of all arguments, terminators included.
    #[n(2)]
    pub argv_bytes: Option<u64>,
    /// Whether `argv` is all of it.
    #[n(3)]
    pub argv_complete: bool,
    /// Number of environment strings.
    #[n(4)]
    pub envc: Option<u32>,
    /// The environment variables that the configuration asks for: name and value.
    #[n(5)]
    pub env: Vec<(Text, Text)>,
    /// Working directory.
    #[n(6)]
    pub cwd: Option<Text>,
    /// Path as the caller gave it.
    #[n(7)]
    pub filename: Option<Text>,
    /// The interpreter that the kernel ran instead, for scripts.
    #[n(8)]
    pub interpreter: Option<Text>,
    /// 0, or -errno.
    #[n(9)]
    pub ret: i64,
    /// Where `argv` comes from.
    #[n(10)]
    pub args_trust: ArgsTrust,
    /// Whether the arguments at the call's entry differ from the committed ones; none when that was not seen.
    #[n(11)]
    pub args_changed: Option<bool>,
    /// The arguments at the call's entry, kept when they differ.
    #[n(12)]
    pub entry_argv: Vec<Text>,
    /// execveat rather than execve.
    #[n(13)]
    pub at: bool,
    /// The thread that called, when it was not the leader.
    #[n(14)]
    pub caller_tid: Option<u32>,
    /// Capability sets after the call.
    #[n(15)]
    pub capabilities: Option<Capabilities>,
    /// Namespaces.
    #[n(16)]
    pub namespaces: Option<Namespaces>,
    /// Inode and device number of the executed file.
    #[n(17)]
    pub file: Option<FileId>,
    /// Binary of the process before the exec.
    #[n(18)]
    pub previous_exe: Option<Text>,
    /// Bytes of the whole environment, terminators included.
    #[n(19)]
    pub env_bytes: Option<u64>,
    /// Saved user id after the call.
    #[n(20)]
    pub suid: Option<u32>,
}

/// How far `argv` can be trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ArgsTrust {
    /// Read from the committed mm: what the new program got.
    #[default]
    #[n(0)]
    Committed,
    /// Read from user memory of the caller: another thread may have changed it.
    #[n(1)]
    UserRacy,
}

/// Capability sets, bit n = capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Capabilities {
    /// Effective.
    #[n(0)]
    pub effective: u64,
    /// Permitted.
    #[n(1)]
    pub permitted: u64,
    /// Inheritable.
    #[n(2)]
    pub inheritable: u64,
    /// Bounding.
    #[n(3)]
    pub bounding: u64,
    /// Ambient.
    #[n(4)]
    pub ambient: u64,
}

/// Inode numbers of namespaces, and the process id in its own pid namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Namespaces {
    /// User namespace.
    #[n(0)]
    pub user: u32,
    /// Pid namespace.
    #[n(1)]
    pub pid: u32,
    /// Mount namespace.
    #[n(2)]
    pub mnt: u32,
    /// Network namespace.
    #[n(3)]
    pub net: u32,
    /// UTS namespace.
    #[n(4)]
    pub uts: u32,
    /// IPC namespace.
    #[n(5)]
    pub ipc: u32,
    /// cgroup namespace.
    #[n(6)]
    pub cgroup: u32,
    /// Process id inside the pid namespace.
    #[n(7)]
    pub tgid: u32,
}

/// A file by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FileId {
    /// Inode number.
    #[n(0)]
    pub inode: u64,
    /// Major device number.
    #[n(1)]
    pub major: u32,
    /// Minor device number.
    #[n(2)]
    pub minor: u32,
}

/// A new process or thread.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Fork {
    /// Child's process id.
    #[n(0)]
    pub child_tgid: u32,
    /// Child's thread id.
    #[n(1)]
    pub child_tid: u32,
    /// When the child's process started.
    #[n(2)]
    pub child_start_ktime_ns: Option<u64>,
    /// Whether the child is a thread of the same process.
    #[n(3)]
    pub thread: bool,
    /// Child's thread id inside its own pid namespace.
    #[n(4)]
    pub child_ns_tid: Option<u32>,
    /// Child's pid namespace.
    #[n(5)]
    pub child_pid_ns: Option<u32>,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exit {
    /// Exit code, when it ended by itself.
    #[n(0)]
    pub code: Option<u32>,
    /// Signal that ended it.
    #[n(1)]
    pub signal: Option<u32>,
    /// Whether a core was dumped.
    #[n(2)]
    pub core_dumped: bool,
    /// How long it lived.
    #[n(3)]
    pub lifetime_ns: Option<u64>,
}

/// A prctl call; names and decoded arguments are derived for the views.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Prctl {
    /// Option number.
    #[n(0)]
    pub option: u64,
    /// arg2 to arg5.
    #[n(1)]
    pub args: [u64; 4],
    /// Result, or -errno.
    #[n(2)]
    pub ret: i64,
    /// Value before the call, for options that set one.
    #[n(3)]
    pub old: Option<u64>,
    /// Value after the call.
    #[n(4)]
    pub new: Option<u64>,
    /// Thread name before and after, for `PR_SET_NAME`.
    #[n(5)]
    pub renamed: Option<(Text, Text)>,
}

/// A ptrace call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ptrace {
    /// Request number.
    #[n(0)]
    pub request: u64,
    /// pid argument, in the caller's pid namespace.
    #[n(1)]
    pub pid: i32,
    /// addr argument.
    #[n(2)]
    pub addr: u64,
    /// data argument.
    #[n(3)]
    pub data: u64,
    /// Result, or -errno.
    #[n(4)]
    pub ret: i64,
    /// The traced task.
    #[n(5)]
    pub target: Option<Target>,
    /// Who refused: a name of events.md's list.
    #[n(6)]
    pub denied_by: Option<String>,
    /// What that rests on.
    #[n(7)]
    pub denied_detail: Option<String>,
}

/// The traced task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Target {
    /// Process id.
    #[n(0)]
    pub tgid: Option<u32>,
    /// Thread id.
    #[n(1)]
    pub tid: Option<u32>,
    /// Thread name.
    #[n(2)]
    pub comm: Option<Text>,
    /// Binary.
    #[n(3)]
    pub exe: Option<Text>,
    /// Real user id.
    #[n(4)]
    pub uid: Option<u32>,
    /// When its process started.
    #[n(5)]
    pub start_ktime_ns: Option<u64>,
}

impl Event {
    /// An event that the agent makes.
    pub fn control(ktime: Ktime, control: Control) -> Self {
        Self {
            ktime,
            source: None,
            process: None,
            payload: Payload::Control(Box::new(control)),
            missing: Vec::new(),
            sealed: None,
        }
    }

    /// Whether it must not wait to be sealed: what an attacker would want to take back before it is on disk.
    pub fn is_urgent(&self) -> bool {
        match &self.payload {
            Payload::Ptrace(call) => call.ret < 0 || crate::hook::ptrace::request::takes_hold(call.request),
            Payload::Exec(exec) => exec.args_changed == Some(true),
            Payload::Control(control) => matches!(control.as_ref(), Control::Genesis(_) | Control::Loss(_)),
            Payload::Authz(authz) => authz.decision == Some(false),
            Payload::GoPanic(panic) => panic.fatal,
            Payload::GoSignal(_) => true,
            Payload::Fork(_)
            | Payload::Exit(_)
            | Payload::Prctl(_)
            | Payload::GoCall(_)
            | Payload::GoExit(_) => false,
        }
    }

    /// The stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Err(error) = minicbor::encode(self, out) {
            unreachable!("a Vec takes every byte and no encoder of ours fails: {error}");
        }
    }

    /// Number of the payload's variant in a stored form, without decoding the rest; none if this is not the usual form.
    pub fn stored_payload(stored: &[u8]) -> Option<u32> {
        /// Of [`Self::payload`].
        const KEY: u32 = 3;
        let mut decoder = minicbor::Decoder::new(stored);
        for _ in 0..decoder.map().ok()?? {
            if decoder.u32().ok()? == KEY {
                decoder.array().ok()??;
                return decoder.u32().ok();
            }
            decoder.skip().ok()?;
        }
        None
    }

    /// Reads the stored form; the error says at which byte and why.
    pub fn decode(stored: &[u8]) -> Result<Self, minicbor::decode::Error> {
        minicbor::decode(stored)
    }
}

/// CBOR forms of the unit types.
mod cbor_units {
    pub(super) mod ktime {
        use goaudit_ebpf::units::Ktime;
        use minicbor::decode::Error;
        use minicbor::encode::Write;
        use minicbor::{Decoder, Encoder};

        #[expect(clippy::trivially_copy_pass_by_ref, reason = "the derive passes references")]
        pub(crate) fn encode<C, W: Write>(
            ktime: &Ktime,
            e: &mut Encoder<W>,
            _: &mut C,
        ) -> Result<(), minicbor::encode::Error<W::Error>> {
            e.u64(ktime.0).map(|_| ())
        }

        pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Ktime, Error> {
            d.u64().map(Ktime)
        }
    }
}
