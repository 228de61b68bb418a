//! The JSON views of what Go programs did: calls, decisions, panics.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::event::go::{Field, Outcome, RequestContext, RequestSource, Value};
use crate::event::{Authz, GoCall, GoExit, GoFrame, GoPanic, GoSignal};
use crate::view::text::JsonText;

/// A call of a probed Go function.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoCall")]
pub struct GoCallView<'a> {
    /// Id of the probe in its profile.
    pub probe: &'a str,
    /// The function's name in the program.
    pub function: &'a str,
    /// Version of the module that it belongs to.
    pub module_version: Option<&'a str>,
    /// Goroutine.
    pub goid: Option<u64>,
    /// The goroutine that started it (Go 1.21+).
    pub parent_goid: Option<u64>,
    /// When the function was entered, boot time.
    pub start_ktime_ns: Option<u64>,
    /// When it ended, boot time.
    pub end_ktime_ns: Option<u64>,
    /// How long it took; null unless both ends were seen.
    pub latency_ns: Option<u64>,
    /// How it ended: returned, panicked (its frame is gone), goexit, crashed, lost (its end was not seen), open
    /// (under way when recording ended).
    #[schemars(extend("enum" = Outcome::NAMES.map(|row| row.1)))]
    pub outcome: &'static str,
    /// Bytes from its frame up to the top of the goroutine's stack: tells recursive calls apart.
    pub depth: u64,
    /// Probed calls of the same goroutine that were under way when it began.
    pub nested_in: u32,
    /// The request that its goroutine worked for; of decisions always null, they have the same in fields of their
    /// own.
    pub request: Option<RequestView<'a>>,
    /// Values by name.
    pub fields: Fields<'a>,
    /// Go type that an interface held, for the values that came out of one.
    pub field_types: FieldTypes<'a>,
    /// Whole length in bytes, for the values of which only the beginning was taken.
    pub field_lengths: FieldLengths<'a>,
}

impl<'a> GoCallView<'a> {
    /// The view of a call.
    pub fn new(call: &'a GoCall) -> Self {
        Self {
            probe: &call.probe,
            function: &call.function,
            module_version: call.module_version.as_deref(),
            goid: call.goid,
            parent_goid: call.parent_goid,
            start_ktime_ns: call.start_ktime_ns,
            end_ktime_ns: call.end_ktime_ns,
            latency_ns: call.latency_ns(),
            outcome: call.outcome.name(),
            depth: call.depth,
            nested_in: call.nested_in,
            request: call.request.as_ref().map(RequestView::new),
            fields: Fields(&call.fields),
            field_types: FieldTypes(&call.fields),
            field_lengths: FieldLengths(&call.fields),
        }
    }
}

/// A request that a service works on, by what it carries.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoRequest")]
pub struct RequestView<'a> {
    /// Its id, as in `X-Request-Id`.
    pub request_id: Option<JsonText<'a>>,
    /// Trace id, 32 hexadecimal digits.
    pub trace_id: Option<&'a str>,
    /// Span id, 16 hexadecimal digits.
    pub span_id: Option<&'a str>,
    /// How it is known: request (the goroutine serves it), parent (one that started it does), arguments (the call's
    /// own arguments say so), otel (its trace is that of the OpenTelemetry span in the call's context).
    #[schemars(extend("enum" = RequestSource::NAMES.map(|row| row.1)))]
    pub source: &'static str,
}

impl<'a> RequestView<'a> {
    fn new(request: &'a RequestContext) -> Self {
        Self {
            request_id: request.request_id.as_ref().map(JsonText::from),
            trace_id: request.trace_id.as_deref(),
            span_id: request.span_id.as_deref(),
            source: request.source.name(),
        }
    }
}

/// Values by name, as an object. A value that could not be had is null, and `missing` of the event says why; so is
/// a Go nil, without an entry there. A value whose content is not read is `{"opaque": TYPE}`.
#[derive(Debug)]
pub struct Fields<'a>(&'a [Field]);

/// Dynamic types by name of the value, for those that have one.
#[derive(Debug)]
pub struct FieldTypes<'a>(&'a [Field]);

/// Whole lengths by name of the value, for those that were cut.
#[derive(Debug)]
pub struct FieldLengths<'a>(&'a [Field]);

/// An object with one entry for each field that has one.
fn object<S: Serializer, V: Serialize>(
    serializer: S,
    fields: &[Field],
    value: impl Fn(&Field) -> Option<V>,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for field in fields {
        if let Some(value) = value(field) {
            map.serialize_entry(&field.name, &value)?;
        }
    }
    map.end()
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for field in self.0 {
            map.serialize_entry(&field.name, &FieldView(field))?;
        }
        map.end()
    }
}

impl Serialize for FieldTypes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object(serializer, self.0, |field| field.dynamic_type.clone())
    }
}

impl Serialize for FieldLengths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object(serializer, self.0, |field| field.total)
    }
}

struct FieldView<'a>(&'a Field);

impl Serialize for FieldView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.value {
            Value::Nil | Value::Missing => serializer.serialize_none(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Uint(value) => serializer.serialize_u64(*value),
            Value::Text(text) => JsonText::from(text).serialize(serializer),
            Value::Bytes(bytes) => JsonText(bytes).serialize(serializer),
            Value::Opaque => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("opaque", &self.0.dynamic_type)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for Fields<'_> {
    fn schema_name() -> Cow<'static, str> {
        "GoFields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<JsonText<'_>>();
        json_schema!({
            "description": "Values by name. Null: a Go nil, or not to be had (then `missing` says why).",
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    text,
                    { "type": "boolean" },
                    { "type": "integer" },
                    { "type": "null" },
                    {
                        "description": "A value that is there and whose content is not read: its Go type.",
                        "type": "object",
                        "properties": { "opaque": { "type": ["string", "null"] } },
                        "required": ["opaque"],
                        "additionalProperties": false
                    }
                ]
            }
        })
    }
}

impl JsonSchema for FieldTypes<'_> {
    fn schema_name() -> Cow<'static, str> {
        "GoFieldTypes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

impl JsonSchema for FieldLengths<'_> {
    fn schema_name() -> Cow<'static, str> {
        "GoFieldLengths".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } })
    }
}

/// An authorization decision.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Authz")]
pub struct AuthzView<'a> {
    /// Request id of the service.
    pub authz_request_id: Option<JsonText<'a>>,
    /// Who asked.
    pub authz_subject_id: Option<JsonText<'a>>,
    /// What kind of subject.
    pub authz_subject_type: Option<JsonText<'a>>,
    /// What was asked for.
    pub authz_object: Option<JsonText<'a>>,
    /// What was to be done with it.
    pub authz_action: Option<JsonText<'a>>,
    /// Version of the policy.
    pub authz_policy_version: Option<JsonText<'a>>,
    /// The policy, or rule, that decided.
    pub policy_id: Option<JsonText<'a>>,
    /// Allowed or not; null when the library reported an error or gave no opinion.
    pub authz_decision: Option<bool>,
    /// What the library reported as an error.
    pub authz_error: Option<JsonText<'a>>,
    /// When the decision began, boot time.
    pub authz_eval_start_ns: Option<u64>,
    /// When it was made, boot time.
    pub authz_eval_end_ns: Option<u64>,
    /// How long it took.
    pub decision_latency_ns: Option<u64>,
    /// SHA-256 over policy version, object, action and labels, in hex.
    pub authz_context_hash: Option<&'a str>,
    /// Trace id of the request.
    pub trace_id: Option<&'a str>,
    /// Span id.
    pub span_id: Option<&'a str>,
    /// Where the trace id comes from.
    pub trace_source: Option<&'a str>,
    /// SHA-256 fingerprint of the subject, 32 hex digits.
    pub subject_fingerprint: Option<&'a str>,
    /// The library that decided.
    pub library: &'a str,
    /// The call that made the decision.
    pub call: GoCallView<'a>,
}

impl<'a> AuthzView<'a> {
    /// The view of a decision.
    pub fn new(authz: &'a Authz) -> Self {
        Self {
            authz_request_id: authz.request_id.as_ref().map(JsonText::from),
            authz_subject_id: authz.subject_id.as_ref().map(JsonText::from),
            authz_subject_type: authz.subject_type.as_ref().map(JsonText::from),
            authz_object: authz.object.as_ref().map(JsonText::from),
            authz_action: authz.action.as_ref().map(JsonText::from),
            authz_policy_version: authz.policy_version.as_ref().map(JsonText::from),
            policy_id: authz.policy_id.as_ref().map(JsonText::from),
            authz_decision: authz.decision,
            authz_error: authz.error.as_ref().map(JsonText::from),
            authz_eval_start_ns: authz.call.start_ktime_ns,
            authz_eval_end_ns: authz.call.end_ktime_ns,
            decision_latency_ns: authz.call.latency_ns(),
            authz_context_hash: authz.context_hash.as_deref(),
            trace_id: authz.trace_id.as_deref(),
            span_id: authz.span_id.as_deref(),
            trace_source: authz.trace_source.as_deref(),
            subject_fingerprint: authz.subject_fingerprint.as_deref(),
            library: &authz.library,
            call: GoCallView::new(&authz.call),
        }
    }
}

/// A Go panic.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoPanic")]
pub struct GoPanicView<'a> {
    /// Type of the panic's value.
    #[serde(rename = "type")]
    pub value_type: Option<&'a str>,
    /// Its message, when the value is a string or an error of a known type; at most 512 bytes.
    pub message: Option<JsonText<'a>>,
    /// It was recovered.
    pub recovered: bool,
    /// It ended the process.
    pub fatal: bool,
    /// Goroutine.
    pub goid: Option<u64>,
    /// The goroutine that started it (Go 1.21+).
    pub parent_goid: Option<u64>,
    /// Probed calls that it took away.
    pub calls_unwound: u64,
    /// The request that its goroutine worked for.
    pub request: Option<RequestView<'a>>,
    /// Where it happened, innermost first, at most 64 return addresses; inlined calls are frames of their own.
    pub stack: Vec<GoFrameView<'a>>,
    /// Goroutines that the process had, as `runtime.NumGoroutine` counts them.
    pub goroutines: Option<u64>,
    /// Bytes of the heap that the runtime counts as live: what the last collection left and what was allocated since.
    pub heap_alloc_bytes: Option<u64>,
    /// What the runtime wrote to standard error about a fatal one, wherever that leads.
    pub traceback: Option<JsonText<'a>>,
    /// Bytes of that which are not in `traceback`: lost on the way, or more than is kept (8 MiB).
    pub traceback_lost_bytes: u64,
}

/// A frame of a Go stack.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoFrame")]
pub struct GoFrameView<'a> {
    /// Return address in hexadecimal; of an inlined call that of the function that it was inlined into.
    pub address: String,
    /// Function.
    pub function: Option<&'a str>,
    /// It was inlined into the function of the next frame.
    pub inlined: bool,
    /// Source file, as recorded in the program.
    pub file: Option<JsonText<'a>>,
    /// Line.
    pub line: Option<u32>,
}

impl<'a> GoFrameView<'a> {
    fn new(frame: &'a GoFrame) -> Self {
        Self {
            address: format!("{:#x}", frame.address),
            function: frame.function.as_deref(),
            inlined: frame.inlined,
            file: frame.file.as_ref().map(JsonText::from),
            line: frame.line,
        }
    }
}

impl<'a> GoPanicView<'a> {
    /// The view of a panic.
    pub fn new(panic: &'a GoPanic) -> Self {
        Self {
            value_type: panic.value_type.as_deref(),
            message: panic.message.as_ref().map(JsonText::from),
            recovered: panic.recovered,
            fatal: panic.fatal,
            goid: panic.goid,
            parent_goid: panic.parent_goid,
            calls_unwound: panic.calls_unwound,
            request: panic.request.as_ref().map(RequestView::new),
            stack: panic.stack.iter().map(GoFrameView::new).collect(),
            goroutines: panic.goroutines,
            heap_alloc_bytes: panic.heap_alloc_bytes,
            traceback: panic.traceback.as_ref().map(JsonText::from),
            traceback_lost_bytes: panic.traceback_lost_bytes,
        }
    }
}

/// A goroutine that ended itself.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoExit")]
pub struct GoExitView {
    /// Goroutine.
    pub goid: Option<u64>,
    /// Probed calls that it took away.
    pub calls_unwound: u64,
}

impl GoExitView {
    /// The view of such an end.
    pub const fn new(exit: &GoExit) -> Self {
        Self { goid: exit.goid, calls_unwound: exit.calls_unwound }
    }
}

/// A probed Go program got a signal that says that its code may not be what it was. All probes of its file are taken
/// away.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GoSignal")]
pub struct GoSignalView {
    /// Its number.
    pub signal: u32,
    /// Its name.
    pub name: &'static str,
    /// Where it comes from (`si_code`): above zero from the kernel, else from a process.
    pub code: i32,
    /// Whether the process has a handler for it.
    pub handled: bool,
}

impl GoSignalView {
    /// The view of such a signal.
    pub const fn new(signal: &GoSignal) -> Self {
        Self { signal: signal.signal, name: signal.name(), code: signal.code, handled: signal.handled }
    }
}
