//! Events of Go programs: every kind of value, outcome, decision and panic.

use goaudit_ebpf::units::Ktime;
use goaudit_user::event::go::{Field, Outcome, Value};
use goaudit_user::event::{
    Authz, Event, GoCall, GoExit, GoFrame, GoPanic, GoSignal, Missing, Payload, Piece, Process, Source,
};

fn field(name: &str, value: Value, dynamic_type: Option<&str>, total: Option<u64>) -> Field {
    Field { name: name.into(), value, dynamic_type: dynamic_type.map(Into::into), total }
}

fn text(name: &str, value: &str) -> Field {
    field(name, Value::Text(value.into()), Some("string"), None)
}

/// A call at second `at` that took `took` nanoseconds.
fn call(at: u64, took: u64, fields: Vec<Field>) -> GoCall {
    GoCall {
        probe: "casbin.enforce".into(),
        function: "github.com/casbin/casbin/v2.(*Enforcer).enforce".into(),
        module_version: Some("v2.135.0".into()),
        goid: Some(18),
        parent_goid: Some(1),
        start_ktime_ns: Some(at * 1_000_000_000 - took),
        end_ktime_ns: Some(at * 1_000_000_000),
        depth: 1_832,
        fields,
        ..GoCall::default()
    }
}

fn calls() -> Vec<(Payload, Vec<Missing>)> {
    let every = vec![
        text("sub", "alice"),
        field("path", Value::Text("/data/".repeat(40).as_str().into()), None, Some(900)),
        field("body", Value::Bytes(vec![0xff, 0xfe, 0]), None, None),
        field("ok", Value::Bool(true), None, None),
        field("delta", Value::Int(-3), None, None),
        field("count", Value::Uint(u64::MAX), None, None),
        field("err", Value::Nil, None, None),
        field("request", Value::Opaque, Some("*main.Request"), None),
        field("any", Value::Opaque, None, None),
        field("role", Value::Missing, None, None),
    ];
    let gone = vec![Missing::new("go_call.fields.role", "memory on the way to it is not there")];
    let with = |outcome, call: GoCall| GoCall { outcome, ..call };
    let ended = |outcome, call: GoCall| GoCall { end_ktime_ns: None, ..with(outcome, call) };
    let no_goid = GoCall { goid: None, parent_goid: None, nested_in: 2, ..call(6, 90, Vec::new()) };
    let unread = vec![Missing::new("go_call.goid", "the goroutine's number is not believable")];
    [
        (call(1, 12_345, every), gone),
        (with(Outcome::Panicked, call(2, 2_000_000, Vec::new())), Vec::new()),
        (with(Outcome::Goexit, call(3, 1_500, Vec::new())), Vec::new()),
        (ended(Outcome::Crashed, call(4, 10, Vec::new())), Vec::new()),
        (
            ended(Outcome::Lost, call(5, 10, Vec::new())),
            vec![Missing::new("go_call.end_ktime_ns", "its return was not seen")],
        ),
        (ended(Outcome::Open, no_goid), unread),
    ]
    .into_iter()
    .map(|(call, missing)| (Payload::GoCall(Box::new(call)), missing))
    .collect()
}

fn decisions() -> Vec<(Payload, Vec<Missing>)> {
    let authz = |at, took, decision| Authz {
        call: call(at, took, vec![text("rvals[0]", "alice")]),
        library: "casbin".into(),
        subject_id: Some("alice".into()),
        subject_type: Some("user".into()),
        object: Some("/data/1".into()),
        action: Some("read".into()),
        decision,
        ..Authz::default()
    };
    let full = Authz {
        request_id: Some("req-1".into()),
        policy_version: Some("sha256:12ab".into()),
        policy_id: Some("p, alice, /data/*, read".into()),
        context_hash: Some("ab".repeat(32)),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        span_id: Some("00f067aa0ba902b7".into()),
        trace_source: Some("traceparent".into()),
        subject_fingerprint: Some("cd".repeat(16)),
        ..authz(7, 23_400, Some(true))
    };
    let failed = Authz { error: Some("invalid request size".into()), ..authz(9, 800, None) };
    let unread = Authz { subject_id: None, object: None, ..authz(10, 4_100, None) };
    let gone = vec![
        Missing::new("authz.authz_subject_id", "the slice has no such element"),
        Missing::new("authz.authz_object", "an interface of another type"),
        Missing::new("authz.authz_decision", "the value was not kept at the entry"),
    ];
    [
        (full, Vec::new()),
        (authz(8, 19_900, Some(false)), Vec::new()),
        (failed, vec![Missing::new("authz.authz_decision", "the library reported an error")]),
        (unread, gone),
    ]
    .into_iter()
    .map(|(authz, missing)| (Payload::Authz(Box::new(authz)), missing))
    .collect()
}

fn ends() -> Vec<(Payload, Vec<Missing>)> {
    let frame = |address, function: &str, line| GoFrame {
        address,
        function: Some(function.into()),
        file: Some("/src/shop/main.go".into()),
        line: Some(line),
        inlined: line == 31,
    };
    let fatal = GoPanic {
        goid: Some(18),
        value_type: Some("runtime.boundsError".into()),
        message: Some("index out of range [3] with length 3".into()),
        fatal: true,
        stack: vec![
            frame(0x47_a1b2, "main.(*Cart).total", 31),
            frame(0x47_a300, "main.checkout", 58),
            GoFrame { address: 0x7fff_0000, ..GoFrame::default() },
            frame(0x47_0011, "main.main", 12),
        ],
        calls_unwound: 1,
        parent_goid: Some(1),
        goroutines: Some(412),
        heap_alloc_bytes: Some(73_400_320),
        traceback: Some(
            "panic: runtime error: index out of range [3] with length 3\n\ngoroutine 18 [running]:\n".into(),
        ),
        traceback_lost_bytes: 96,
        ..GoPanic::default()
    };
    let recovered = GoPanic {
        goid: Some(19),
        value_type: Some("string".into()),
        message: Some("line\u{1b}[2J\nbreak".into()),
        recovered: true,
        ..GoPanic::default()
    };
    let typed = GoPanic { value_type: Some("*shop.Refused".into()), recovered: true, ..GoPanic::default() };
    let gone = vec![
        Missing::new("go_panic.message", "values of that type are not read"),
        Missing::new("go_panic.goid", "the goroutine's number is not believable"),
    ];
    vec![
        (Payload::GoPanic(Box::new(fatal)), Vec::new()),
        (Payload::GoPanic(Box::new(recovered)), Vec::new()),
        (Payload::GoPanic(Box::new(typed)), gone),
        (Payload::GoExit(GoExit { goid: Some(20), calls_unwound: 2 }), Vec::new()),
        (Payload::GoSignal(GoSignal { signal: 5, code: 0x80, handled: true }), Vec::new()),
        (Payload::GoExit(GoExit::default()), vec![Missing::new("go_exit.goid", "not believable")]),
    ]
}

/// One event a second; each call's return is on another CPU than its entry, after two lost records.
pub(crate) fn all() -> Vec<Event> {
    let process = Process {
        tgid: 400,
        tid: 403,
        comm: "shop".into(),
        exe: Some("/srv/shop".into()),
        start_ktime_ns: Some(100_000_000),
        uid: 1000,
        user: Some("alice".into()),
        ..Process::default()
    };
    [calls(), decisions(), ends()]
        .into_iter()
        .flatten()
        .zip(1..)
        .map(|((payload, missing), second)| {
            let two = matches!(payload, Payload::GoCall(_) | Payload::Authz(_));
            let other = Piece { cpu: 1, first: second * 3, records: 1, lost_before: 2 };
            Event {
                ktime: Ktime(second * 1_000_000_000),
                source: Some(Source {
                    cpu: 0,
                    first: second,
                    records: 1,
                    lost_before: 0,
                    repeats: None,
                    more: if two { vec![other] } else { Vec::new() },
                }),
                process: Some(process.clone()),
                payload,
                missing,
                sealed: None,
            }
        })
        .collect()
}
