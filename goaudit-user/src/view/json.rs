//! The JSON view: one line an event, with the fields, names and order of docs/events.md.
//!
//! Written straight from the stored event into the buffer, no trees in between. The same structs give the JSON
//! Schema and what `--where` sees.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Origin;
use super::time::Rfc3339;
use crate::event::{Event, Missing, Payload, Source};

pub mod calls;
pub mod control;
pub mod go;
pub mod kind;
pub mod process;

use calls::{ExecView, ExitView, ForkView, PrctlView, PtraceView};
use control::ControlView;
use go::{AuthzView, GoCallView, GoExitView, GoPanicView, GoSignalView};
pub use kind::{Kind, Kinds};
use process::ProcessView;

/// Name and version of the form.
pub const SCHEMA: &str = "goaudit.event/1";

/// Appends the event as one line of JSON, line feed included.
pub fn write(out: &mut Vec<u8>, event: &Event, origin: &Origin<'_>) {
    let view = EventView::new(event, origin);
    if let Err(error) = serde_json::to_writer(&mut *out, &view) {
        unreachable!("a Vec takes every byte and every key is a string: {error}");
    }
    out.push(b'\n');
}

/// An event of goaudit: who did what, when, and what could not be seen.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct EventView<'a> {
    /// Name and version of this form.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// Position in the log.
    pub seq: u64,
    /// Wall time, RFC 3339 in UTC with nanoseconds.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub ts: Rfc3339,
    /// Time since boot in nanoseconds, suspend included.
    pub ktime_ns: u64,
    /// Boot of the recording host.
    pub boot_id: Option<&'a str>,
    /// Name of the recording host.
    pub host: Option<&'a str>,
    /// What happened; the object of that name holds the details.
    pub kind: Kind,
    /// CPU that it happened on; null for events that the agent itself makes.
    pub cpu: Option<u32>,
    /// The process that did it; null for events that the agent itself makes.
    pub process: Option<ProcessView<'a>>,
    /// For kind `exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecView<'a>>,
    /// For kind `fork`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkView>,
    /// For kind `exit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitView>,
    /// For kind `prctl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prctl: Option<PrctlView<'a>>,
    /// For kind `ptrace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ptrace: Option<PtraceView<'a>>,
    /// For kind `go_call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_call: Option<GoCallView<'a>>,
    /// For kind `authz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authz: Option<AuthzView<'a>>,
    /// For kind `go_panic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_panic: Option<GoPanicView<'a>>,
    /// For kind `go_exit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_exit: Option<GoExitView>,
    /// For kind `go_signal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_signal: Option<GoSignalView>,
    /// For kind `control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlView<'a>>,
    /// Identical calls in a row, told as this one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<RepeatsView>,
    /// Fields that could not be had, and why.
    #[schemars(with = "Vec<MissingView<'_>>")]
    pub missing: MissingList<'a>,
    /// Kernel records lost right before this event (before any of the records behind it), on their CPUs.
    pub lost_before: u64,
}

/// A field that could not be had.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Missing")]
pub struct MissingView<'a> {
    /// Its path, such as `process.auid`.
    pub field: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// All fields that could not be had.
#[derive(Debug, Clone, Copy)]
pub struct MissingList<'a>(&'a [Missing]);

impl Serialize for MissingList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|Missing { field, reason }| MissingView { field, reason }))
    }
}

/// Identical calls in a row.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Repeats")]
pub struct RepeatsView {
    /// How many, the first included.
    pub count: u64,
    /// Time of the last one, boot time.
    pub last_ktime_ns: u64,
}

/// None for a name that is not known.
const fn known(name: &str) -> Option<&str> {
    if name.is_empty() { None } else { Some(name) }
}

impl<'a> EventView<'a> {
    /// The view of an event.
    pub fn new(event: &'a Event, origin: &Origin<'a>) -> Self {
        let Event { ktime, source, process, payload, missing, sealed: _ } = event;
        let mut view = Self {
            schema: SCHEMA,
            seq: origin.seq,
            ts: Rfc3339(origin.wall_ns(*ktime)),
            ktime_ns: ktime.0,
            boot_id: known(origin.boot_id),
            host: known(origin.host),
            kind: Kind::of(payload),
            cpu: source.as_ref().map(|source| source.cpu),
            process: process.as_ref().map(|process| ProcessView::new(process, origin.boot_id)),
            exec: None,
            fork: None,
            exit: None,
            prctl: None,
            ptrace: None,
            go_call: None,
            authz: None,
            go_panic: None,
            go_exit: None,
            go_signal: None,
            control: None,
            repeats: source
                .as_ref()
                .and_then(|source| source.repeats.as_ref())
                .map(|repeats| RepeatsView { count: repeats.count, last_ktime_ns: repeats.last.0 }),
            missing: MissingList(missing),
            lost_before: source.as_ref().map_or(0, Source::lost_before),
        };
        match payload {
            Payload::Exec(exec) => view.exec = Some(ExecView::new(exec)),
            Payload::Fork(fork) => view.fork = Some(ForkView::new(fork)),
            Payload::Exit(exit) => view.exit = Some(ExitView::new(exit)),
            Payload::Prctl(prctl) => view.prctl = Some(PrctlView::new(prctl)),
            Payload::Ptrace(ptrace) => view.ptrace = Some(PtraceView::new(ptrace, origin.machine)),
            Payload::GoCall(call) => view.go_call = Some(GoCallView::new(call)),
            Payload::Authz(authz) => view.authz = Some(AuthzView::new(authz)),
            Payload::GoPanic(panic) => view.go_panic = Some(GoPanicView::new(panic)),
            Payload::GoExit(exit) => view.go_exit = Some(GoExitView::new(exit)),
            Payload::GoSignal(signal) => view.go_signal = Some(GoSignalView::new(signal)),
            Payload::Control(control) => view.control = Some(ControlView::new(control, origin.boot_id)),
        }
        view
    }
}
