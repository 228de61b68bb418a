//! What Go programs did: calls of probed functions, decisions, panics.

use minicbor::{Decode, Encode};

use super::Text;

/// A call of a probed Go function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoCall {
    /// Id of the probe in its profile, such as `casbin.enforce`.
    #[n(0)]
    pub probe: String,
    /// The function's name in the program.
    #[n(1)]
    pub function: String,
    /// Version of the module that it belongs to, as the program's build info has it.
    #[n(2)]
    pub module_version: Option<String>,
    /// Goroutine; none when its number could not be read.
    #[n(3)]
    pub goid: Option<u64>,
    /// The goroutine that started it (Go 1.21+).
    #[n(4)]
    pub parent_goid: Option<u64>,
    /// When the function was entered (boot time); none when that was not seen.
    #[n(5)]
    pub start_ktime_ns: Option<u64>,
    /// When it ended (boot time); none while it is under way.
    #[n(6)]
    pub end_ktime_ns: Option<u64>,
    /// How it ended.
    #[n(7)]
    pub outcome: Outcome,
    /// Bytes from its frame up to the top of the goroutine's stack: tells recursive calls apart.
    #[n(8)]
    pub depth: u64,
    /// Values by name, in the profile's order.
    #[n(9)]
    pub fields: Vec<Field>,
    /// Probed calls of the same goroutine that were under way when it began.
    #[n(10)]
    pub nested_in: u32,
    /// The request that its goroutine worked for. Of decisions it is told in their own fields.
    #[n(11)]
    pub request: Option<RequestContext>,
}

/// A request that a service works on, by what it carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RequestContext {
    /// Its id, as in `X-Request-Id`.
    #[n(0)]
    pub request_id: Option<Text>,
    /// Trace id, 32 hex digits.
    #[n(1)]
    pub trace_id: Option<String>,
    /// Span id, 16 hex digits.
    #[n(2)]
    pub span_id: Option<String>,
    /// How it is known that the request is worked for.
    #[n(3)]
    pub source: RequestSource,
}

impl RequestContext {
    /// How the request is known, if anything of it is.
    pub fn known(&self) -> Option<RequestSource> {
        (self.request_id.is_some() || self.trace_id.is_some()).then_some(self.source)
    }

    /// The same, with the trace of a span.
    #[must_use]
    pub fn in_span(self, trace_id: String, span_id: String) -> Self {
        let (trace_id, span_id) = (Some(trace_id), Some(span_id));
        Self { trace_id, span_id, source: RequestSource::Otel, ..self }
    }

    /// The same, known in another way.
    #[must_use]
    pub fn by(&self, source: RequestSource) -> Self {
        Self { source, ..self.clone() }
    }
}

/// How it is known for which request a goroutine works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RequestSource {
    /// The goroutine serves it.
    #[default]
    #[n(0)]
    Request,
    /// A goroutine that started it, or one that started that, serves it.
    #[n(1)]
    Parent,
    /// The call's own arguments say so.
    #[n(2)]
    Arguments,
    /// Its trace is that of the OpenTelemetry span in the call's context.
    #[n(3)]
    Otel,
}

impl RequestSource {
    /// Every source with its name in the JSON view.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::Request, "request"),
        (Self::Parent, "parent"),
        (Self::Arguments, "arguments"),
        (Self::Otel, "otel"),
    ];

    /// Its name in the JSON view.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(source, _)| *source == self).map_or("", |(_, name)| name)
    }
}

impl GoCall {
    /// How long it took, when both ends were seen.
    pub fn latency_ns(&self) -> Option<u64> {
        self.end_ktime_ns?.checked_sub(self.start_ktime_ns?)
    }
}

/// A value that was read from a call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Field {
    /// Its name in the profile.
    #[n(0)]
    pub name: String,
    /// The value.
    #[n(1)]
    pub value: Value,
    /// The Go type that an interface held, when the value came out of one.
    #[n(2)]
    pub dynamic_type: Option<String>,
    /// Length of the whole value in bytes, when only its beginning was taken.
    #[n(3)]
    pub total: Option<u64>,
}

/// A Go value.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Value {
    /// A nil pointer, interface, slice or map.
    #[n(0)]
    Nil,
    /// A truth value.
    #[n(1)]
    Bool(#[n(0)] bool),
    /// A signed integer.
    #[n(2)]
    Int(#[n(0)] i64),
    /// An unsigned integer.
    #[n(3)]
    Uint(#[n(0)] u64),
    /// A string.
    #[n(4)]
    Text(#[n(0)] Text),
    /// Bytes.
    #[n(5)]
    Bytes(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A value whose content is not read: only that it is there.
    #[n(6)]
    Opaque,
    /// It could not be had: the event's list of missing fields says why.
    #[n(7)]
    Missing,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// It returned.
    #[default]
    #[n(0)]
    Returned,
    /// A panic that was recovered in a caller took its frame away.
    #[n(1)]
    Panicked,
    /// `runtime.Goexit` ended its goroutine.
    #[n(2)]
    Goexit,
    /// The process ended, or ran another program, while it was under way.
    #[n(3)]
    Crashed,
    /// Its end was not seen: records were lost, or too many calls were under way.
    #[n(4)]
    Lost,
    /// It was under way when recording (or the probe) ended.
    #[n(5)]
    Open,
}

impl Outcome {
    /// Every outcome with its name in the JSON view.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Returned, "returned"),
        (Self::Panicked, "panicked"),
        (Self::Goexit, "goexit"),
        (Self::Crashed, "crashed"),
        (Self::Lost, "lost"),
        (Self::Open, "open"),
    ];

    /// Its name in the JSON view.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }
}

/// An authorization decision: a call, and what it means. What could not be had is none, with the reason in
/// the event's list of missing fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Authz {
    /// The call itself.
    #[n(0)]
    pub call: GoCall,
    /// The library that decided, as in `casbin`.
    #[n(1)]
    pub library: String,
    /// Request id of the service, when the request carried one.
    #[n(2)]
    pub request_id: Option<Text>,
    /// Who asked.
    #[n(3)]
    pub subject_id: Option<Text>,
    /// What kind of subject: `user`, `service_account`, a Cedar entity type ...
    #[n(4)]
    pub subject_type: Option<Text>,
    /// What was asked for.
    #[n(5)]
    pub object: Option<Text>,
    /// What was to be done with it.
    #[n(6)]
    pub action: Option<Text>,
    /// Version of the policy.
    #[n(7)]
    pub policy_version: Option<Text>,
    /// The policy, or rule, that decided.
    #[n(8)]
    pub policy_id: Option<Text>,
    /// Allowed or not; none when the library reported an error or gave no opinion.
    #[n(9)]
    pub decision: Option<bool>,
    /// What the library reported as an error: its text when it is of a known type, else the type's name.
    #[n(10)]
    pub error: Option<Text>,
    /// SHA-256 over policy version, object, action and labels (docs/events.md), in hex.
    #[n(11)]
    pub context_hash: Option<String>,
    /// Trace id of the request, 32 hex digits.
    #[n(12)]
    pub trace_id: Option<String>,
    /// Span id, 16 hex digits.
    #[n(13)]
    pub span_id: Option<String>,
    /// Where the trace id comes from.
    #[n(14)]
    pub trace_source: Option<String>,
    /// SHA-256 fingerprint of the subject, 32 hex digits.
    #[n(15)]
    pub subject_fingerprint: Option<String>,
}

/// A Go panic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoPanic {
    /// Goroutine.
    #[n(0)]
    pub goid: Option<u64>,
    /// Type of the panic's value, as in `runtime.boundsError`.
    #[n(1)]
    pub value_type: Option<String>,
    /// The message, when the value is a string or an error of a known type.
    #[n(2)]
    pub message: Option<Text>,
    /// It was recovered.
    #[n(3)]
    pub recovered: bool,
    /// It ended the process.
    #[n(4)]
    pub fatal: bool,
    /// Where it happened, innermost first.
    #[n(5)]
    pub stack: Vec<GoFrame>,
    /// Probed calls that it took away.
    #[n(6)]
    pub calls_unwound: u64,
    /// The goroutine that started it (Go 1.21+).
    #[n(7)]
    pub parent_goid: Option<u64>,
    /// Goroutines that the process had, as `runtime.NumGoroutine` counts them.
    #[n(8)]
    pub goroutines: Option<u64>,
    /// Bytes of the heap that the runtime counts as live: what the last collection left and what was allocated since.
    #[n(9)]
    pub heap_alloc_bytes: Option<u64>,
    /// What the runtime wrote to standard error about it, as the dying thread wrote it.
    #[n(10)]
    pub traceback: Option<Text>,
    /// Bytes of that which are not in `traceback`: lost on the way, or more than is kept.
    #[n(11)]
    pub traceback_lost_bytes: u64,
    /// The request that its goroutine worked for.
    #[n(12)]
    pub request: Option<RequestContext>,
}

/// A frame of a Go stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoFrame {
    /// Return address.
    #[n(0)]
    pub address: u64,
    /// Function; none when the address is not Go code of the program.
    #[n(1)]
    pub function: Option<String>,
    /// Source file, as recorded in the program.
    #[n(2)]
    pub file: Option<Text>,
    /// Line.
    #[n(3)]
    pub line: Option<u32>,
    /// The function was inlined into that of the next frame.
    #[n(4)]
    pub inlined: bool,
}

/// A signal that says that a program's code may not be what it was, while it was probed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoSignal {
    /// Its number.
    #[n(0)]
    pub signal: u32,
    /// Where it comes from (`si_code`).
    #[n(1)]
    pub code: i32,
    /// Whether the process has a handler for it.
    #[n(2)]
    pub handled: bool,
}

impl GoSignal {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self.signal {
            4 => "SIGILL",
            5 => "SIGTRAP",
            7 => "SIGBUS",
            11 => "SIGSEGV",
            _ => "a signal",
        }
    }
}

/// A goroutine that ended itself (`runtime.Goexit`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoExit {
    /// Goroutine.
    #[n(0)]
    pub goid: Option<u64>,
    /// Probed calls that it took away.
    #[n(1)]
    pub calls_unwound: u64,
}
