//! Lines about Go programs: calls, decisions, panics.

use std::fmt::Write;
use std::time::Duration;

use super::{Tone, name};
use crate::event::go::{Field, Outcome, Value};
use crate::event::{Authz, GoCall, GoExit, GoPanic, GoSignal, Process, Text};
use crate::view::text::{escape, quote};

/// Frames shown of a panic.
const FRAMES: usize = 3;

pub(super) fn call_line(body: &mut String, call: &GoCall, process: Option<&Process>) -> (Tone, &'static str) {
    name(body, process);
    body.push(' ');
    escape(body, call.function.as_bytes());
    fields(body, &call.fields);
    (ending(body, call), "go")
}

pub(super) fn authz_line(
    body: &mut String,
    authz: &Authz,
    process: Option<&Process>,
) -> (Tone, &'static str) {
    name(body, process);
    body.push(' ');
    let (word, tone) = match (authz.decision, &authz.error) {
        (Some(true), _) => ("ALLOW", Tone::Good),
        (Some(false), _) => ("DENY", Tone::Attention),
        (None, Some(_)) => ("ERROR", Tone::Alarm),
        (None, None) => ("no decision", Tone::Attention),
    };
    body.push_str(word);
    for part in [&authz.subject_id, &authz.action, &authz.object] {
        body.push(' ');
        match part {
            Some(text) => quote(body, text.as_bytes()),
            None => body.push('?'),
        }
    }
    let mut named = |label: &str, text: &Option<Text>| {
        if let Some(text) = text {
            let _ = write!(body, " {label}=");
            quote(body, text.as_bytes());
        }
    };
    named("policy", &authz.policy_id);
    named("error", &authz.error);
    named("request", &authz.request_id);
    body.push_str(" by ");
    escape(body, authz.call.probe.as_bytes());
    let ended = ending(body, &authz.call);
    (if ended == Tone::Plain { tone } else { ended }, "authz")
}

pub(super) fn panic_line(
    body: &mut String,
    panic: &GoPanic,
    process: Option<&Process>,
) -> (Tone, &'static str) {
    name(body, process);
    body.push(' ');
    match &panic.message {
        Some(message) => quote(body, message.as_bytes()),
        None => body.push('?'),
    }
    if let Some(of) = &panic.value_type {
        body.push_str(" (");
        escape(body, of.as_bytes());
        body.push(')');
    }
    let functions = panic.stack.iter().filter_map(|frame| frame.function.as_ref());
    for (at, function) in functions.take(FRAMES).enumerate() {
        body.push_str(if at == 0 { " in " } else { " < " });
        escape(body, function.as_bytes());
    }
    if panic.recovered {
        body.push_str("  recovered");
    }
    if panic.calls_unwound > 0 {
        let _ = write!(body, ", {} probed calls unwound", panic.calls_unwound);
    }
    if let Some(goroutines) = panic.goroutines.filter(|_| panic.fatal) {
        let _ = write!(body, ", {goroutines} goroutines");
    }
    if panic.fatal { (Tone::Alarm, "PANIC") } else { (Tone::Attention, "panic") }
}

pub(super) fn exit_line(body: &mut String, exit: &GoExit, process: Option<&Process>) -> (Tone, &'static str) {
    name(body, process);
    match exit.goid {
        Some(goid) => {
            let _ = write!(body, " goroutine {goid} ended itself");
        }
        None => body.push_str(" a goroutine ended itself"),
    }
    if exit.calls_unwound > 0 {
        let _ = write!(body, ", {} probed calls unwound", exit.calls_unwound);
    }
    (Tone::Quiet, "goexit")
}

pub(super) fn signal_line(
    body: &mut String,
    signal: &GoSignal,
    process: Option<&Process>,
) -> (Tone, &'static str) {
    name(body, process);
    let _ = write!(body, " got {} (code {}) while it was probed", signal.name(), signal.code);
    (Tone::Alarm, "signal")
}

/// `casbin.enforce(sub="alice", ok=true)`: the values.
fn fields(body: &mut String, fields: &[Field]) {
    body.push('(');
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            body.push_str(", ");
        }
        escape(body, field.name.as_bytes());
        body.push('=');
        match &field.value {
            Value::Nil => body.push_str("nil"),
            Value::Missing => body.push('?'),
            Value::Bool(value) => {
                let _ = write!(body, "{value}");
            }
            Value::Int(value) => {
                let _ = write!(body, "{value}");
            }
            Value::Uint(value) => {
                let _ = write!(body, "{value}");
            }
            Value::Text(text) => quote(body, text.as_bytes()),
            Value::Bytes(bytes) => quote(body, bytes),
            Value::Opaque => match &field.dynamic_type {
                Some(of) => {
                    body.push('<');
                    escape(body, of.as_bytes());
                    body.push('>');
                }
                None => body.push_str("<value>"),
            },
        }
        if let Some(total) = field.total {
            let _ = write!(body, "... of {total} bytes");
        }
    }
    body.push(')');
}

/// ` in 12.3us`, or how else it ended.
fn ending(body: &mut String, call: &GoCall) -> Tone {
    if call.outcome != Outcome::Returned {
        let _ = write!(body, "  {}", call.outcome.name().to_uppercase());
    }
    match call.latency_ns() {
        Some(ns) => {
            let _ = write!(body, " {:?}", Duration::from_nanos(ns));
        }
        None => body.push_str(" ?"),
    }
    if let Some(goid) = call.goid {
        let _ = write!(body, " g{goid}");
    }
    if call.outcome == Outcome::Returned { Tone::Plain } else { Tone::Attention }
}
