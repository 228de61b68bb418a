//! The JSON views of what processes do: exec, fork, exit, prctl, ptrace.

use std::borrow::Cow;
use std::collections::HashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::event::{self, ArgsTrust, Text};
use crate::hook::prctl::{self, Meaning};
use crate::hook::ptrace::request;
use crate::names::{errno, signal};
use crate::view::text::{JsonText, JsonTexts, json_key};

/// An execve or execveat.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Exec")]
pub struct ExecView<'a> {
    /// Arguments.
    pub argv: JsonTexts<'a>,
    /// How many arguments there were.
    pub argc: Option<u32>,
    /// Bytes of all arguments, terminators included.
    pub argv_bytes: Option<u64>,
    /// Whether `argv` is all of it.
    pub argv_complete: bool,
    /// Number of environment strings.
    pub envc: Option<u32>,
    /// The environment variables that the configuration asks for. Of a name that occurs twice the first value,
    /// as getenv sees it. A name that is not UTF-8 is `b64:` and its base64.
    pub env: Env<'a>,
    /// Working directory.
    pub cwd: Option<JsonText<'a>>,
    /// Path as the caller gave it.
    pub filename: Option<JsonText<'a>>,
    /// The binary that the kernel ran instead, for scripts.
    pub interpreter: Option<JsonText<'a>>,
    /// 0, or -errno.
    pub ret: i64,
    /// Name of the error.
    pub errno: Option<&'static str>,
    /// Where `argv` comes from: read from the committed mm, or from user memory that others may change.
    pub args_trust: Trust,
    /// Whether the arguments at the call's entry differ from the committed ones.
    pub args_changed: Option<bool>,
    /// The arguments at the call's entry, when they differ.
    #[serde(skip_serializing_if = "JsonTexts::is_empty")]
    pub entry_argv: JsonTexts<'a>,
    /// execveat rather than execve.
    pub execveat: bool,
    /// The thread that called, when it was not the leader.
    pub caller_tid: Option<u32>,
    /// Capability sets after the call, as `/proc/PID/status` writes them.
    pub capabilities: Option<CapabilitiesView>,
    /// Inode numbers of the namespaces, and the process id in its own pid namespace.
    pub namespaces: Option<NamespacesView>,
    /// The executed file by number.
    pub file: Option<FileView>,
    /// Binary of the process before the exec.
    pub previous_exe: Option<JsonText<'a>>,
    /// Bytes of the whole environment, terminators included.
    pub env_bytes: Option<u64>,
    /// Saved user id after the call.
    pub suid: Option<u32>,
}

/// How far `argv` can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ArgsTrust")]
pub enum Trust {
    /// What the new program got.
    Committed,
    /// User memory of the caller.
    UserRacy,
}

/// Environment variables as an object.
#[derive(Debug)]
pub struct Env<'a>(&'a [(Text, Text)]);

impl Serialize for Env<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seen = HashSet::with_capacity(self.0.len());
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0 {
            if seen.insert(name.as_bytes()) {
                map.serialize_entry(&json_key(name.as_bytes()), &JsonText::from(value))?;
            }
        }
        map.end()
    }
}

impl JsonSchema for Env<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Env".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<JsonText<'_>>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// Capability sets in hexadecimal: bit n is capability n.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Capabilities")]
pub struct CapabilitiesView {
    /// Effective.
    #[schemars(with = "String")]
    pub effective: Hex,
    /// Permitted.
    #[schemars(with = "String")]
    pub permitted: Hex,
    /// Inheritable.
    #[schemars(with = "String")]
    pub inheritable: Hex,
    /// Bounding.
    #[schemars(with = "String")]
    pub bounding: Hex,
    /// Ambient.
    #[schemars(with = "String")]
    pub ambient: Hex,
}

/// 16 hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 16];
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            let nibble = (self.0 >> (4 * at) & 0xf).to_le_bytes()[0];
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
        }
        serializer.serialize_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// Inode numbers of namespaces (as in `/proc/PID/ns`).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Namespaces")]
pub struct NamespacesView {
    /// User namespace.
    pub user: u32,
    /// Pid namespace.
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
    /// Process id inside the pid namespace.
    pub tgid: u32,
}

/// A file by number.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "File")]
pub struct FileView {
    /// Inode number.
    pub inode: u64,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
}

impl<'a> ExecView<'a> {
    /// The view of an exec.
    pub fn new(exec: &'a event::Exec) -> Self {
        Self {
            argv: JsonTexts(&exec.argv),
            argc: exec.argc,
            argv_bytes: exec.argv_bytes,
            argv_complete: exec.argv_complete,
            envc: exec.envc,
            env: Env(&exec.env),
            cwd: exec.cwd.as_ref().map(JsonText::from),
            filename: exec.filename.as_ref().map(JsonText::from),
            interpreter: exec.interpreter.as_ref().map(JsonText::from),
            ret: exec.ret,
            errno: errno::of_result(exec.ret),
            args_trust: match exec.args_trust {
                ArgsTrust::Committed => Trust::Committed,
                ArgsTrust::UserRacy => Trust::UserRacy,
            },
            args_changed: exec.args_changed,
            entry_argv: JsonTexts(&exec.entry_argv),
            execveat: exec.at,
            caller_tid: exec.caller_tid,
            capabilities: exec.capabilities.map(|sets| {
                let event::Capabilities { effective, permitted, inheritable, bounding, ambient } = sets;
                CapabilitiesView {
                    effective: Hex(effective),
                    permitted: Hex(permitted),
                    inheritable: Hex(inheritable),
                    bounding: Hex(bounding),
                    ambient: Hex(ambient),
                }
            }),
            namespaces: exec.namespaces.map(|namespaces| {
                let event::Namespaces { user, pid, mnt, net, uts, ipc, cgroup, tgid } = namespaces;
                NamespacesView { user, pid, mnt, net, uts, ipc, cgroup, tgid }
            }),
            file: exec.file.map(|event::FileId { inode, major, minor }| FileView { inode, major, minor }),
            previous_exe: exec.previous_exe.as_ref().map(JsonText::from),
            env_bytes: exec.env_bytes,
            suid: exec.suid,
        }
    }
}

/// A new process or thread; `process` is the parent.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Fork")]
pub struct ForkView {
    /// The child.
    pub child: ChildView,
    /// Whether the child is a thread of the same process.
    pub thread: bool,
}

/// A child process or thread.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Child")]
pub struct ChildView {
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// When its process started (boot time).
    pub start_ktime_ns: Option<u64>,
    /// Thread id inside its own pid namespace.
    pub ns_tid: Option<u32>,
    /// Its pid namespace.
    pub pid_ns: Option<u32>,
}

impl ForkView {
    /// The view of a fork.
    pub const fn new(fork: &event::Fork) -> Self {
        let child = ChildView {
            tgid: fork.child_tgid,
            tid: fork.child_tid,
            start_ktime_ns: fork.child_start_ktime_ns,
            ns_tid: fork.child_ns_tid,
            pid_ns: fork.child_pid_ns,
        };
        Self { child, thread: fork.thread }
    }
}

/// The end of a process.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Exit")]
pub struct ExitView {
    /// Exit code, when it ended by itself.
    pub code: Option<u32>,
    /// Signal that ended it.
    pub signal: Option<u32>,
    /// Name of that signal.
    pub signal_name: Option<String>,
    /// Whether a core was dumped.
    pub core_dumped: bool,
    /// How long it lived.
    pub lifetime_ns: Option<u64>,
}

impl ExitView {
    /// The view of an exit.
    pub fn new(exit: &event::Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            signal_name: exit.signal.and_then(|number| signal::name(number.into())),
            core_dumped: exit.core_dumped,
            lifetime_ns: exit.lifetime_ns,
        }
    }
}

/// A prctl call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Prctl")]
pub struct PrctlView<'a> {
    /// Option number, as passed.
    pub option: u64,
    /// Name of the option; null for one that Linux does not have.
    pub name: Option<&'static str>,
    /// arg2 to arg5, as passed.
    pub args: [u64; 4],
    /// Arguments by name, `old` and `new` value where the kernel keeps one, `result` where it is a value.
    pub decoded: Decoded<'a>,
    /// 0 or a value, or -errno.
    pub ret: i64,
    /// Name of the error.
    pub errno: Option<&'static str>,
}

impl<'a> PrctlView<'a> {
    /// The view of a prctl.
    pub fn new(call: &'a event::Prctl) -> Self {
        Self {
            option: call.option,
            name: prctl::option(call.option).map(|row| row.name),
            args: call.args,
            decoded: Decoded(call),
            ret: call.ret,
            errno: errno::of_result(call.ret),
        }
    }
}

/// The words of a prctl as an object.
#[derive(Debug)]
pub struct Decoded<'a>(&'a event::Prctl);

impl Serialize for Decoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words = prctl::decoded(self.0);
        let mut map = serializer.serialize_map(Some(words.len()))?;
        for (name, meaning) in &words {
            match meaning {
                Meaning::Number(number) => map.serialize_entry(name, number)?,
                Meaning::Unsigned(number) => map.serialize_entry(name, number)?,
                Meaning::Name(text) => map.serialize_entry(name, text)?,
                Meaning::Flags(flags) => map.serialize_entry(name, flags)?,
                Meaning::Bool(truth) => map.serialize_entry(name, truth)?,
                Meaning::Text(text) => map.serialize_entry(name, &JsonText::from(text))?,
            }
        }
        map.end()
    }
}

impl JsonSchema for Decoded<'_> {
    fn schema_name() -> Cow<'static, str> {
        "PrctlDecoded".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<JsonText<'_>>();
        json_schema!({
            "description": "By option: see docs/events.md.",
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    { "type": "integer" },
                    { "type": "boolean" },
                    { "type": "array", "items": { "type": "string" } },
                    text
                ]
            }
        })
    }
}

/// A ptrace call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Ptrace")]
pub struct PtraceView<'a> {
    /// Request number.
    pub request: u64,
    /// Name of the request on the recording machine; null if it has none.
    pub name: Option<&'static str>,
    /// The traced task.
    pub target: Option<TargetView<'a>>,
    /// addr argument.
    pub addr: u64,
    /// data argument.
    pub data: u64,
    /// Result, or -errno.
    pub ret: i64,
    /// Name of the error.
    pub errno: Option<&'static str>,
    /// Who refused; null if nobody did.
    #[schemars(regex(
        pattern = r"^(user_ns|capability|credentials|dumpable|yama|lsm:[a-z]+|seccomp|kernel_thread|same_process|already_traced|unknown)$"
    ))]
    pub denied_by: Option<&'a str>,
    /// What that rests on, or why it is not known.
    pub denied_detail: Option<&'a str>,
    /// pid argument, in the caller's pid namespace.
    pub pid: i32,
}

/// The traced task.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Target")]
pub struct TargetView<'a> {
    /// Process id.
    pub tgid: Option<u32>,
    /// Thread id.
    pub tid: Option<u32>,
    /// Thread name.
    pub comm: Option<JsonText<'a>>,
    /// Binary.
    pub exe: Option<JsonText<'a>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// When its process started (boot time).
    pub start_ktime_ns: Option<u64>,
}

impl<'a> PtraceView<'a> {
    /// The view of a ptrace on a machine.
    pub fn new(call: &'a event::Ptrace, machine: &str) -> Self {
        Self {
            request: call.request,
            name: request::name(call.request, machine),
            target: call.target.as_ref().map(|target| TargetView {
                tgid: target.tgid,
                tid: target.tid,
                comm: target.comm.as_ref().map(JsonText::from),
                exe: target.exe.as_ref().map(JsonText::from),
                uid: target.uid,
                start_ktime_ns: target.start_ktime_ns,
            }),
            addr: call.addr,
            data: call.data,
            ret: call.ret,
            errno: errno::of_result(call.ret),
            denied_by: call.denied_by.as_deref(),
            denied_detail: call.denied_detail.as_deref(),
            pid: call.pid,
        }
    }
}
