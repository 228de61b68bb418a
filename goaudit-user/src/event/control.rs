//! Events about the recorder itself: what it saw, what it lost, what it could not see.

use minicbor::{Decode, Encode};

use super::{Process, Text};

/// An event that the agent makes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Control {
    /// First event of a log: its identity.
    #[n(0)]
    Genesis(#[n(0)] Genesis),
    /// The agent starts (also after a crash: then `clean` is false).
    #[n(1)]
    Start(#[n(0)] Start),
    /// The agent ends in order.
    #[n(2)]
    Stop(#[n(0)] Stop),
    /// Nothing is wrong: counters at this time.
    #[n(3)]
    Heartbeat(#[n(0)] Counters),
    /// Records that were seen and are not stored.
    #[n(4)]
    Loss(#[n(0)] Loss),
    /// The wall clock moved against boot time.
    #[n(5)]
    ClockStep(#[n(0)] ClockStep),
    /// A program of the kernel side: attached, or not and why.
    #[n(6)]
    Probe(#[n(0)] Probe),
    /// A process that ran when recording began.
    #[n(7)]
    Snapshot(#[n(0)] Snapshot),
    /// First event of every segment but the first: what a reader needs who has only this segment.
    #[n(8)]
    Segment(#[n(0)] Host),
    /// What a hit of a probe costs on this host.
    #[n(9)]
    Calibration(#[n(0)] Calibration),
    /// A file that decisions are made by: at the beginning, and whenever it changes.
    #[n(10)]
    Policy(#[n(0)] Policy),
    /// Somebody read the log.
    #[n(11)]
    Read(#[n(0)] Read),
}

/// Somebody read the log, and left a note about it that is sealed herewith; or what lies among such notes and is none.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Read {
    /// Name of the note's file. A note that is told twice (a crash came between) has the same name.
    #[n(0)]
    pub file: Text,
    /// Who read what; none if it is no note.
    #[n(1)]
    pub reader: Option<Reader>,
    /// Why it is no note.
    #[n(2)]
    pub error: Option<String>,
}

/// Who read what of a log, as its goaudit said before it read; the system vouches for `uid` alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reader {
    /// Subcommand of goaudit.
    #[n(0)]
    pub command: String,
    /// Wall clock, in nanoseconds since 1970.
    #[n(1)]
    pub at_ns: u64,
    /// Process id, in the reader's own pid namespace.
    #[n(2)]
    pub pid: u32,
    /// Effective user: also the owner of the note.
    #[n(3)]
    pub uid: u32,
    /// User that logged in, if one did.
    #[n(4)]
    pub login_uid: Option<u32>,
    /// Command line.
    #[n(5)]
    pub argv: Vec<Text>,
    /// Arguments at its end that are left out.
    #[n(6)]
    pub argv_cut: u64,
    /// First event that was asked for; none for the log's first.
    #[n(7)]
    pub from: Option<u64>,
    /// Last event that was asked for; none for the log's last.
    #[n(8)]
    pub to: Option<u64>,
    /// Events that were still to come were asked for, too.
    #[n(9)]
    pub follow: bool,
}

/// A file that a library decides by.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Policy {
    /// The library, as in `casbin`.
    #[n(0)]
    pub library: String,
    /// The file.
    #[n(1)]
    pub path: Text,
    /// SHA-256 of its content, in hex; none when it cannot be read.
    #[n(2)]
    pub sha256: Option<String>,
    /// The same before, if it was read before.
    #[n(3)]
    pub previous: Option<String>,
    /// Why it cannot be read.
    #[n(4)]
    pub error: Option<String>,
    /// Its length.
    #[n(5)]
    pub bytes: Option<u64>,
    /// When it was changed last (boot time).
    #[n(6)]
    pub changed_ktime_ns: Option<u64>,
    /// Processes with this library that began before the change: they may still decide by what was there before.
    #[n(7)]
    pub processes: Vec<u32>,
}

/// What a hit of a uprobe costs the probed program on this host, measured by the agent on itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Calibration {
    /// At an instruction that the kernel emulates.
    #[n(0)]
    pub emulated_ns: u64,
    /// At an instruction that it single-steps.
    #[n(1)]
    pub stepped_ns: u64,
    /// Of making the record, on top.
    #[n(2)]
    pub record_ns: Option<u64>,
    /// Of reading each value, on top.
    #[n(3)]
    pub value_ns: Option<u64>,
}

/// Identity of a log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Genesis {
    /// Name of the log as in its checkpoints.
    #[n(0)]
    pub origin: String,
    /// Verification key (C2SP vkey) of the log.
    #[n(1)]
    pub verification_key: String,
    /// Version of goaudit that made the log.
    #[n(2)]
    pub agent: String,
    /// The host.
    #[n(3)]
    pub host: Host,
}

/// The recording host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Host {
    /// Host name.
    #[n(0)]
    pub name: String,
    /// Kernel release, as `uname -r`.
    #[n(1)]
    pub kernel: String,
    /// Machine, as `uname -m`.
    #[n(2)]
    pub machine: String,
}

/// The agent starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Start {
    /// The host.
    #[n(0)]
    pub host: Host,
    /// Version of goaudit.
    #[n(1)]
    pub agent: String,
    /// Whether the run before ended in order (true for a new log).
    #[n(2)]
    pub clean: bool,
    /// Bytes of a torn tail that were set aside, and their SHA-256.
    #[n(3)]
    pub torn: Option<(u64, String)>,
    /// Command line of the agent.
    #[n(4)]
    pub command: Vec<Text>,
    /// Number of CPUs whose sequences count.
    #[n(5)]
    pub cpus: u32,
    /// SHA-256 of the eBPF object that was loaded.
    #[n(6)]
    pub object_sha256: String,
    /// Damage in the middle of the last segment, which is left as it is: where and what.
    #[n(7)]
    pub damage: Option<String>,
    /// Batches that the run before left without a checkpoint; the first one of this run covers them.
    #[cbor(n(8), default)]
    pub adopted_batches: u64,
    /// How far the wall clock stands before the latest event of the run before, in nanoseconds, if it does.
    #[n(9)]
    pub clock_behind_ns: Option<u64>,
}

/// The agent ends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stop {
    /// Why: `signal`, `duration`, `command ended`, ...
    #[n(0)]
    pub reason: String,
    /// Final counters, after the last record was read: the conservation law is checked against them.
    #[n(1)]
    pub counters: Counters,
}

/// The books of a run so far. For every CPU `seen = stored + lost + filtered`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Counters {
    /// For each CPU: kernel records accounted for. In [`Stop`] this is the kernel's own last sequence number.
    #[n(0)]
    pub seen: Vec<u64>,
    /// For each CPU: kernel records stored (pieces and repeats counted one by one).
    #[n(1)]
    pub stored: Vec<u64>,
    /// Kernel records lost, all CPUs, by cause: the sum of the [`Loss`] events so far.
    #[n(2)]
    pub lost: Vec<(String, u64)>,
    /// For each CPU: kernel records left out by a filter the operator asked for.
    #[n(3)]
    pub filtered: Vec<u64>,
    /// Records that could not be decoded (lost with cause `decode`, too).
    #[n(4)]
    pub undecodable: u64,
    /// Times the kernel skipped a program (recursion protection): calls nobody saw, outside `seen`. The sum of the
    /// [`Loss`] events with cause [`NOT_RUN`] so far.
    #[n(5)]
    pub not_run: u64,
    /// Texts that arrived without their main record, forgotten processes, ... by name.
    #[n(6)]
    pub oddities: Vec<(String, u64)>,
}

/// Name of an oddity: functions of Go programs whose probes were taken away before their process ended, or the recording,
/// because they cost too much or a signal said that something is wrong. Each counts once for a process.
pub const TAKEN_AWAY: &str = "probes_taken_away";

/// Cause of a [`Loss`]: the kernel skipped a program, nobody saw the call, and it has no sequence number.
pub const NOT_RUN: &str = "not_run";

/// Cause of a [`Loss`]: the disk was full, or almost.
pub const NO_SPACE: &str = "no_space";

/// Cause of a [`Loss`]: the log could not be written for a while.
pub const WRITE_ERROR: &str = "write_error";

/// Records that were seen and are not stored; with cause [`NOT_RUN`] calls that were not even seen.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Loss {
    /// CPU; none for [`NOT_RUN`], because the kernel tells only the sum, and for events that the agent itself made.
    #[n(0)]
    pub cpu: Option<u32>,
    /// Cause: a name of [`goaudit_ebpf::wire::Lost`] in snake case, or `decode` (could not be decoded), or
    /// `orphan` (pieces of a value whose main record was lost), or `unknown`, or [`NOT_RUN`], or, for records that reached
    /// the agent and not the disk, [`NO_SPACE`] or [`WRITE_ERROR`].
    #[n(1)]
    pub cause: String,
    /// How many.
    #[n(2)]
    pub count: u64,
    /// First and last sequence number between which the lost records lie; all of them are lost when `count`
    /// says so.
    #[n(3)]
    pub range: Option<(u64, u64)>,
    /// For [`NOT_RUN`]: the program that was skipped.
    #[n(4)]
    pub program: Option<String>,
}

/// The wall clock moved against boot time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ClockStep {
    /// How far, in nanoseconds; negative is back.
    #[n(0)]
    pub delta_ns: i64,
}

/// A program of the kernel side.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Probe {
    /// The hook that it serves.
    #[n(0)]
    pub hook: String,
    /// Program name.
    #[n(1)]
    pub program: String,
    /// Where it hangs, such as `raw_tracepoint/sched_process_exec`.
    #[n(2)]
    pub attach_point: String,
    /// Whether it is attached.
    #[n(3)]
    pub attached: bool,
    /// If not: why.
    #[n(4)]
    pub reason: Option<String>,
    /// If not: what is not seen because of it.
    #[n(5)]
    pub not_seen: Option<String>,
    /// Of a Go function: whether the instruction at its entry is single-stepped rather than emulated, which
    /// decides what a hit costs ([`Calibration`]).
    #[n(6)]
    pub entry_stepped: Option<bool>,
}

impl Probe {
    /// What is not seen because of a probe that was taken away while it was needed, and of no other.
    pub const FROM_NOW_ON: &str = "its calls from now on";

    /// Whether it tells that a probe was taken away: calls after that are missing.
    pub fn is_removal(&self) -> bool {
        !self.attached && self.not_seen.as_deref() == Some(Self::FROM_NOW_ON)
    }
}

/// A process that ran when recording began.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// The process.
    #[n(0)]
    pub process: Process,
    /// Its arguments, as `/proc` shows them (the process can change those).
    #[n(1)]
    pub argv: Vec<Text>,
}
