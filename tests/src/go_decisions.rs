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
            policy: taken("/authz/policy_id"),
        }
    }

    /// As the event of a casbin call must be: what cannot be seen of a shape is absent.
    fn of_casbin(call: &Value) -> Self {
        let shape = text(call, "/shape");
        let asked = |pointer: &str| bytes(call, pointer).map(cut);
        let error = asked("/error");
        let policy = call.pointer("/policy").and_then(Value::as_array).map(|policy| {
            let parts: Vec<&str> = policy.iter().filter_map(Value::as_str).collect();
            parts.join(", ").into_bytes()
        });
        Self {
            function: text(call, "/functions/0").to_owned(),
            subject: asked("/subject").filter(|_| shape != "struct"),
            object: asked("/object"),
            action: asked("/action").filter(|_| shape != "short"),
            // With an error there is no decision.
            allow: call.pointer("/allow").and_then(Value::as_bool).filter(|_| error.is_none()),
            error,
            policy: policy.map(cut),
        }
    }
}

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
pub fn assert_casbin(recording: &GoRecording, truth: &Truth, name: &str) -> usize {
    let events = assert_casbin_of(recording, truth, None, name);
    assert_functions(recording, truth, name);
    events
}

/// The same for one process among others.
///
/// # Panics
/// As [`assert_casbin`].
#[track_caller]
pub fn assert_casbin_of(recording: &GoRecording, truth: &Truth, tgid: Option<u32>, name: &str) -> usize {
    let of_process = |event: &&Value| {
        tgid.is_none_or(|tgid| event.pointer("/process/tgid").is_some_and(|told| *told == tgid))
    };
    let events: Vec<&Value> = recording.all("authz").filter(of_process).collect();
    let told = by_goroutine(events.iter().copied(), "/authz/call/goid");
    let made = by_goroutine(truth.calls.iter(), "/goid");
    let goroutines = |of: &BTreeMap<u64, Vec<&Value>>| -> Vec<(u64, usize)> {
        of.iter().map(|(goid, calls)| (*goid, calls.len())).collect()
    };
    assert_eq!(goroutines(&told), goroutines(&made), "{name}: {}", recording.report());
    for (events, calls) in told.values().zip(made.values()) {
        for (event, call) in events.iter().zip(calls) {
            assert_eq!(Decision::of_event(event), Decision::of_casbin(call), "{name}:\n{event}\n{call}");
            assert_eq!(text(event, "/authz/call/outcome"), "returned", "{name}: {event}");
            let (start, latency) =
                (count(event, "/authz/call/start_ktime_ns"), count(event, "/authz/call/latency_ns"));
            let (from, taken) = (count(call, "/start_ns"), count(call, "/latency_ns"));
            assert!(start >= from, "{name}: {event}\n{call}");
            assert!(latency > 0 && latency <= taken, "{name}: {event}\n{call}");
            assert!(start + latency <= from + taken + SLACK_NS, "{name}: {event}\n{call}");
        }
    }
    events.len()
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
/// are in the books, with two records each.
fn assert_functions(recording: &GoRecording, truth: &Truth, name: &str) {
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for call in recording.calls() {
        *told.entry(text(call, "/function")).or_default() += 1;
    }
    let mut within = 0;
    let inner = truth.calls.iter().filter_map(|call| call.get("functions")?.as_array()?.get(1..));
    for function in inner.flatten().filter_map(Value::as_str) {
        *told.entry(function).or_default() += 1;
        within += 1;
    }
    let entered: BTreeMap<&str, u64> =
        truth.functions.iter().map(|(function, entered)| (function.as_str(), *entered)).collect();
    assert_eq!(told, entered, "{name}");
    let stop = recording.control("stop").last().cloned().unwrap_or_default();
    let filtered = stop.pointer("/counters/filtered").and_then(Value::as_array);
    let filtered: u64 = filtered.into_iter().flatten().filter_map(Value::as_u64).sum();
    assert_eq!(filtered, within * 2, "{name}: {stop}");
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
