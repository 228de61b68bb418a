//! Compares the decisions that goaudit tells of a service with those that the service tells itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::go_capture::{GoRecording, count, text};
use crate::go_service::Truth;

/// Bytes of a text that are taken; the rest is cut off.
const TAKEN: usize = 256;

/// What a decision says, by whichever side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    function: String,
    subject: Option<Vec<u8>>,
    object: Option<Vec<u8>>,
    action: Option<Vec<u8>>,
    allow: Option<bool>,
    error: Option<Vec<u8>>,
    policy: Option<Vec<u8>>,
}

/// A text of an event, which is base64 where it is not UTF-8.
fn bytes(value: &Value, pointer: &str) -> Option<Vec<u8>> {
    let value = value.pointer(pointer)?;
    let encoded = value.get("b64").and_then(Value::as_str);
    let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    decoded.or_else(|| value.as_str().map(|text| text.as_bytes().to_vec()))
}

/// The same, of which only the beginning is taken.
fn cut(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(TAKEN);
    text
}

impl Decision {
    fn of_event(event: &Value) -> Self {
        let taken = |pointer: &str| bytes(event, pointer).map(cut);
        Self {
            function: text(event, "/authz/call/function").to_owned(),
            subject: taken("/authz/authz_subject_id"),
            object: taken("/authz/authz_object"),
            action: taken("/authz/authz_action"),
            allow: event.pointer("/authz/authz_decision").and_then(Value::as_bool),
            error: taken("/authz/authz_error"),
            // A library that has no reason to tell may tell an empty one.
            policy: taken("/authz/policy_id").filter(|policy| !policy.is_empty()),
        }
    }

    /// As the event of a call must be: what cannot be seen of it is absent.
    fn of_call(call: &Value) -> Self {
        let asked = |pointer: &str| bytes(call, pointer).map(cut);
        let decision = Self {
            function: text(call, "/functions/0").to_owned(),
            subject: asked("/subject"),
            object: asked("/object"),
            action: asked("/action"),
            allow: call.pointer("/allow").and_then(Value::as_bool),
            error: expected_error(call).map(cut),
            policy: asked("/policy_id"),
        };
        // With an error there is no decision, unless the library says it by one, or decides all the same.
        let undecided = decision.error.is_some();
        match text(call, "/call").split('.').next() {
            Some("casbin") => {
                let shape = text(call, "/shape");
                let policy = call.pointer("/policy").and_then(Value::as_array).map(|policy| {
                    let parts: Vec<&str> = policy.iter().filter_map(Value::as_str).collect();
                    parts.join(", ").into_bytes()
                });
                Self {
                    subject: decision.subject.filter(|_| shape != "struct"),
                    action: decision.action.filter(|_| shape != "short"),
                    allow: decision.allow.filter(|_| !undecided),
                    policy: policy.map(cut),
                    ..decision
                }
            }
            Some("opa") => {
                let query = match text(call, "/shape") {
                    "object" => "data.authz.decision",
                    "undefined" => "data.authz.opinion",
                    _ => "data.authz.allow",
                };
                let policy = decision.policy.or_else(|| Some(query.as_bytes().to_vec()));
                Self { allow: decision.allow.filter(|_| !undecided), policy, ..decision }
            }
            Some("k8s") => {
                let mut object = decision.object;
                if let Some(resource) = call.pointer("/extra/resource").and_then(Value::as_str) {
                    let path = [text(call, "/extra/namespace"), resource, text(call, "/object")];
                    object = Some(path.join("/").into_bytes());
                }
                Self { object, allow: decision.allow.filter(|_| !undecided), ..decision }
            }
            // etcd asks for the right to write before it deletes.
            Some("etcd") if decision.action.as_deref() == Some(b"delete") => {
                Self { action: Some(b"write".to_vec()), ..decision }
            }
            Some("etcd") if decision.action.as_deref() == Some(b"admin") => Self { object: None, ..decision },
            _ => decision,
        }
    }
}

/// Types of errors whose text is told; of others, the type.
const TEXTS: [&str; 3] = ["*errors.errorString", "*fmt.wrapError", "*errors.fundamental"];

/// What is told of a call's error.
fn expected_error(call: &Value) -> Option<Vec<u8>> {
    let error = bytes(call, "/error")?;
    let of = text(call, "/error_type");
    // Where errors are no Go errors they have no type.
    Some(if of.is_empty() || TEXTS.contains(&of) { error } else { of.as_bytes().to_vec() })
}

/// What a truth's `extra` says of golden fields, and where events have it; empty is not to be known.
const GOLDEN: [(&str, &str); 6] = [
    ("request_id", "/authz/authz_request_id"),
    ("trace_id", "/authz/trace_id"),
    ("span_id", "/authz/span_id"),
    ("trace_source", "/authz/trace_source"),
    ("fingerprint", "/authz/subject_fingerprint"),
    ("policy_version", "/authz/authz_policy_version"),
];

/// By goroutine, in order.
fn by_goroutine<'a>(values: impl Iterator<Item = &'a Value>, goid: &str) -> BTreeMap<u64, Vec<&'a Value>> {
    let mut goroutines: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for value in values {
        goroutines.entry(count(value, goid)).or_default().push(value);
    }
    goroutines
}

/// Checks that the recording's decisions are those of the service: each once, in the order of their goroutine, with
/// the same values, and within the time that the service saw from outside. Returns how many.
///
/// # Panics
/// When they are not.
#[track_caller]
pub fn assert_decisions(recording: &GoRecording, truth: &Truth, name: &str) -> usize {
    let events = assert_decisions_of(recording, truth, None, name);
    assert_functions(recording, truth, name);
    events
}

/// The same for one process among others.
///
/// # Panics
/// As [`assert_decisions`].
#[track_caller]
pub fn assert_decisions_of(recording: &GoRecording, truth: &Truth, tgid: Option<u32>, name: &str) -> usize {
    let of_process = |event: &&Value| {
        tgid.is_none_or(|tgid| event.pointer("/process/tgid").is_some_and(|told| *told == tgid))
    };
    let events: Vec<&Value> = recording.all("authz").filter(of_process).collect();
    let told = by_goroutine(events.iter().copied(), "/authz/call/goid");
    let mut made = by_goroutine(truth.calls.iter(), "/goid");
    for calls in made.values_mut() {
        // Several workers may have been served on one goroutine.
        calls.sort_by_key(|call| count(call, "/start_ns"));
    }
    let goroutines = |of: &BTreeMap<u64, Vec<&Value>>| -> Vec<(u64, usize)> {
        of.iter().map(|(goid, calls)| (*goid, calls.len())).collect()
    };
    assert_eq!(goroutines(&told), goroutines(&made), "{name}: {}", recording.report());
    let mut moved = 0;
    for (events, calls) in told.values().zip(made.values()) {
        for (event, call) in events.iter().zip(calls) {
            let (mut of_event, mut of_call) = (Decision::of_event(event), Decision::of_call(call));
            moved += usize::from(leave_out_moved(event, [&mut of_event, &mut of_call]));
            assert_eq!(of_event, of_call, "{name}:\n{event}\n{call}");
            let panicked = call.get("panicked").is_some();
            let outcome = if panicked { "panicked" } else { "returned" };
            assert_eq!(text(event, "/authz/call/outcome"), outcome, "{name}: {event}");
            if let Some(of) = call.get("subject_type") {
                assert_eq!(event.pointer("/authz/authz_subject_type"), Some(of), "{name}: {event}");
            }
            for (key, pointer) in GOLDEN {
                if let Some(value) = call.get("extra").and_then(|extra| extra.get(key)) {
                    let value = value.as_str().filter(|value| !value.is_empty());
                    let told = event.pointer(pointer).and_then(Value::as_str);
                    assert_eq!(told, value, "{name}: {key} of {event}\n{call}");
                    let reason = event.get("missing").and_then(Value::as_array).into_iter().flatten();
                    let field = pointer.trim_start_matches('/').replace('/', ".");
                    let reasons = reason.filter(|missing| text(missing, "/field") == field).count();
                    assert_eq!(reasons, usize::from(told.is_none()), "{name}: {event}");
                }
            }
            for (field, value) in call.get("extra").and_then(Value::as_object).into_iter().flatten() {
                if GOLDEN.iter().any(|(key, _)| key == field) {
                    continue;
                }
                let told = event.pointer("/authz/call/fields").and_then(|fields| fields.get(field));
                assert_eq!(told, Some(value), "{name}: {field} of {event}");
            }
            let (start, latency) =
                (count(event, "/authz/call/start_ktime_ns"), count(event, "/authz/call/latency_ns"));
            let (from, taken) = (count(call, "/start_ns"), count(call, "/latency_ns"));
            assert!(start >= from, "{name}: {event}\n{call}");
            assert!(latency > 0 && latency <= taken, "{name}: {event}\n{call}");
            assert!(start + latency <= from + taken + SLACK_NS, "{name}: {event}\n{call}");
        }
    }
    assert!(moved <= 1 + events.len() / 100, "{name}: {moved} of {} could not be read", events.len());
    events.len()
}

/// A kernel that moves pages (to make huge ones of small ones, or the reverse) takes them away for a moment, and
/// probes do not wait for memory. An event says so of each value that it cost; those are not compared. Returns whether
/// there are any.
fn leave_out_moved(event: &Value, decisions: [&mut Decision; 2]) -> bool {
    const NOT_THERE: &str = "memory on the way was not there";
    let missing = event.get("missing").and_then(Value::as_array).into_iter().flatten();
    let moved = missing.filter(|missing| text(missing, "/reason").contains(NOT_THERE));
    let fields: Vec<&str> = moved.map(|missing| text(missing, "/field")).collect();
    for decision in decisions {
        for field in &fields {
            match *field {
                "authz.authz_subject_id" => decision.subject = None,
                "authz.authz_object" => decision.object = None,
                "authz.authz_action" => decision.action = None,
                "authz.authz_decision" => decision.allow = None,
                "authz.authz_error" => decision.error = None,
                "authz.policy_id" => decision.policy = None,
                _ => {}
            }
        }
    }
    !fields.is_empty()
}

/// Checks that nothing is told of a process.
///
/// # Panics
/// When something is.
#[track_caller]
pub fn assert_nothing_of(recording: &GoRecording, tgid: u32) {
    let told = recording.events.iter().find(|event| {
        event.pointer("/process/tgid").is_some_and(|told| *told == tgid)
            && crate::go_capture::call(event).is_some()
    });
    assert!(told.is_none(), "{told:?}");
}

/// The service reads its two clocks one after the other, with less than this between.
pub const SLACK_NS: u64 = 50_000;

/// Every function was entered as often as it is told, but for the calls that are a part of another decision; those
/// are in the books, each with the records of its entry and return.
fn assert_functions(recording: &GoRecording, truth: &Truth, name: &str) {
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for call in recording.calls() {
        *told.entry(text(call, "/function")).or_default() += 1;
    }
    let mut records = 0;
    for call in &truth.calls {
        let functions = call.get("functions").and_then(Value::as_array);
        let inner = functions.and_then(|functions| functions.get(1..)).into_iter().flatten();
        for function in inner.filter_map(Value::as_str) {
            *told.entry(function).or_default() += 1;
            // Of a call that a panic took away there is no return.
            records += if call.get("panicked").is_some() { 1 } else { 2 };
        }
    }
    let entered: BTreeMap<&str, u64> =
        truth.functions.iter().map(|(function, entered)| (function.as_str(), *entered)).collect();
    assert_eq!(told, entered, "{name}");
    let stop = recording.control("stop").last().cloned().unwrap_or_default();
    let filtered = stop.pointer("/counters/filtered").and_then(Value::as_array);
    let filtered: u64 = filtered.into_iter().flatten().filter_map(Value::as_u64).sum();
    assert_eq!(filtered, records, "{name}: {stop}");
}

/// What a service decided, without what differs from run to run: goroutines, times, and stacks in messages.
#[must_use]
pub fn decided(truth: &Truth) -> Vec<String> {
    let decided = |call: &Value| {
        let error = text(call, "/error").lines().next().unwrap_or_default();
        let values = ["via", "functions", "worker", "seq", "subject", "object", "action", "allow", "policy"]
            .map(|key| call.get(key).unwrap_or(&Value::Null).to_string());
        format!("{} {error}", values.join(" "))
    };
    truth.calls.iter().map(decided).collect()
}
