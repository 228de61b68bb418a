//! What calls are grouped by.

use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use crate::event::{Authz, Event, GoCall, Payload, Process, Text};
use crate::view::text::JsonText;

/// What a group of calls has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Id of the probe in its profile.
    Probe,
    /// The Go function.
    Function,
    /// The policy, or rule, that decided.
    Policy,
    /// `allow`, `deny`, `error` or `none`.
    Decision,
    /// Who asked.
    Subject,
    /// What was asked for.
    Object,
    /// What was to be done with it.
    Action,
    /// The process.
    Process,
    /// The library that decided.
    Library,
}

/// There is no such word. Reads after "failed to read --by: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("calls cannot be grouped by `{0}`; they can by {words}", words = By::NAMES.map(|row| row.1).join(", "))]
pub struct UnknownBy(String);

impl By {
    /// Every word.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::Probe, "probe"),
        (Self::Function, "function"),
        (Self::Policy, "policy"),
        (Self::Decision, "decision"),
        (Self::Subject, "subject"),
        (Self::Object, "object"),
        (Self::Action, "action"),
        (Self::Process, "process"),
        (Self::Library, "library"),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

impl FromStr for By {
    type Err = UnknownBy;

    fn from_str(word: &str) -> Result<Self, UnknownBy> {
        let found = Self::NAMES.iter().find(|row| row.1 == word);
        found.map(|row| row.0).ok_or_else(|| UnknownBy(word.to_owned()))
    }
}

/// How an authorization call ended, for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow,
    /// Not allowed.
    Deny,
    /// The library reported an error.
    Error,
    /// No opinion, or it was not seen.
    None,
}

impl Decision {
    /// Every decision with its word.
    pub const NAMES: [(Self, &'static str); 4] =
        [(Self::Allow, "allow"), (Self::Deny, "deny"), (Self::Error, "error"), (Self::None, "none")];

    /// The decision of a call.
    pub const fn of(authz: &Authz) -> Self {
        match (authz.decision, &authz.error) {
            (Some(true), _) => Self::Allow,
            (Some(false), _) => Self::Deny,
            (None, Some(_)) => Self::Error,
            (None, None) => Self::None,
        }
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

/// A call of a Go function, told as `go_call` or as `authz`.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The call.
    pub call: &'a GoCall,
    /// What it means, if it is a decision.
    pub authz: Option<&'a Authz>,
    process: Option<&'a Process>,
}

impl<'a> Call<'a> {
    /// The call that an event tells of; none for other kinds.
    pub fn of(event: &'a Event) -> Option<Self> {
        let (call, authz) = match &event.payload {
            Payload::GoCall(call) => (call.as_ref(), None),
            Payload::Authz(authz) => (&authz.call, Some(authz.as_ref())),
            Payload::Exec(_)
            | Payload::Fork(_)
            | Payload::Exit(_)
            | Payload::Prctl(_)
            | Payload::Ptrace(_)
            | Payload::GoPanic(_)
            | Payload::GoExit(_)
            | Payload::GoSignal(_)
            | Payload::Control(_) => return None,
        };
        Some(Self { call, authz, process: event.process.as_ref() })
    }

    fn part(self, by: By) -> PartRef<'a> {
        let of_authz = |text: fn(&'a Authz) -> Option<&'a Text>| {
            self.authz.and_then(text).map_or(PartRef::Absent, |text| PartRef::Text(text.as_bytes()))
        };
        match by {
            By::Probe => PartRef::Text(self.call.probe.as_bytes()),
            By::Function => PartRef::Text(self.call.function.as_bytes()),
            By::Policy => of_authz(|authz| authz.policy_id.as_ref()),
            By::Subject => of_authz(|authz| authz.subject_id.as_ref()),
            By::Object => of_authz(|authz| authz.object.as_ref()),
            By::Action => of_authz(|authz| authz.action.as_ref()),
            By::Decision => self
                .authz
                .map_or(PartRef::Absent, |authz| PartRef::Text(Decision::of(authz).name().as_bytes())),
            By::Library => {
                self.authz.map_or(PartRef::Absent, |authz| PartRef::Text(authz.library.as_bytes()))
            }
            By::Process => self.process.map_or(PartRef::Absent, PartRef::Process),
        }
    }

    /// Writes what identifies its group: equal bytes, same group.
    pub(super) fn identify(self, by: &[By], across_runs: bool, out: &mut Vec<u8>) {
        out.clear();
        let text = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.push(1);
            out.extend_from_slice(&bytes.len().to_le_bytes());
            out.extend_from_slice(bytes);
        };
        for by in by {
            match self.part(*by) {
                PartRef::Absent => out.push(0),
                PartRef::Text(bytes) => text(out, bytes),
                PartRef::Process(process) => {
                    if !across_runs {
                        out.extend_from_slice(&process.tgid.to_le_bytes());
                        out.extend_from_slice(&process.start_ktime_ns.unwrap_or(0).to_le_bytes());
                    }
                    match &process.exe {
                        Some(exe) => text(out, exe.as_bytes()),
                        None => out.push(0),
                    }
                }
            }
        }
    }

    /// The key of its group.
    pub(super) fn key(self, by: &[By], across_runs: bool) -> Vec<Part> {
        by.iter().map(|by| self.part(*by).owned(across_runs)).collect()
    }
}

enum PartRef<'a> {
    Absent,
    Text(&'a [u8]),
    Process(&'a Process),
}

impl PartRef<'_> {
    fn owned(&self, across_runs: bool) -> Part {
        match self {
            Self::Absent => Part::Absent,
            Self::Text(bytes) => Part::Text((*bytes).into()),
            Self::Process(process) if across_runs => process.exe.clone().map_or(Part::Absent, Part::Text),
            Self::Process(process) => Part::Process {
                tgid: process.tgid,
                start_ktime_ns: process.start_ktime_ns,
                exe: process.exe.clone(),
            },
        }
    }
}

/// One part of a group's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The calls have no such thing, or it could not be had.
    Absent,
    /// Text.
    Text(Text),
    /// A process.
    Process {
        /// Process id.
        tgid: u32,
        /// When it started (boot time, ns).
        start_ktime_ns: Option<u64>,
        /// Its binary.
        exe: Option<Text>,
    },
}

impl Part {
    /// As it is shown to people, not yet made safe for a terminal; `-` if absent.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Absent => b"-".to_vec(),
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Process { tgid, start_ktime_ns: _, exe } => {
                let exe = exe.as_ref().map_or(&b"?"[..], |exe| exe.as_bytes());
                [tgid.to_string().as_bytes(), b" ", exe].concat()
            }
        }
    }
}

impl Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OfProcess<'a> {
            tgid: u32,
            start_ktime_ns: Option<u64>,
            exe: Option<JsonText<'a>>,
        }
        match self {
            Self::Absent => serializer.serialize_none(),
            Self::Text(text) => JsonText::from(text).serialize(serializer),
            Self::Process { tgid, start_ktime_ns, exe } => {
                let exe = exe.as_ref().map(JsonText::from);
                OfProcess { tgid: *tgid, start_ktime_ns: *start_ktime_ns, exe }.serialize(serializer)
            }
        }
    }
}
