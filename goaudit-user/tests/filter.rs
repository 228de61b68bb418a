//! A filter makes only the values of an event that an expression asks for, and passes over whole kinds. That is
//! held against the slow way here: every object of the JSON form made, the expression evaluated over all of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cel::objects::Key;
use cel::{Context, ExecutionError, Program, Value};
use goaudit_user::event::go::{Field, Value as GoValue};
use goaudit_user::event::{Event, Payload};
use goaudit_user::filter::{Filter, Unmatched};
use goaudit_user::view::Origin;
use goaudit_user::view::json::{EventView, Kind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "support/events.rs"]
mod events;

const ORIGIN: Origin<'_> = Origin {
    seq: 7,
    boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    host: "h",
    machine: "x86_64",
    realtime_minus_boottime_ns: 1_700_000_000_000_000_000,
};

/// Fields of every kind of event: plain ones, objects, such as can be null, and such that only some events have.
const PATHS: &[&str] = &[
    "schema",
    "seq",
    "ts",
    "ktime_ns",
    "boot_id",
    "host",
    "cpu",
    "process.tgid",
    "process.start_ktime_ns",
    "process.exec_id",
    "process.comm",
    "process.exe",
    "process.container_id",
    "process.user",
    "exec.argv",
    "exec.argc",
    "exec.argv_complete",
    "exec.env",
    "exec.env.PATH",
    "exec.env.NOTHING",
    "exec.filename",
    "exec.filename.b64",
    "exec.ret",
    "exec.args_trust",
    "exec.entry_argv",
    "exec.capabilities",
    "exec.capabilities.effective",
    "exec.namespaces.pid",
    "exec.file.inode",
    "fork.child.tgid",
    "fork.child.pid_ns",
    "fork.thread",
    "exit.code",
    "exit.signal_name",
    "prctl.option",
    "prctl.args",
    "prctl.decoded",
    "prctl.name",
    "ptrace.request",
    "ptrace.target",
    "ptrace.target.comm",
    "ptrace.denied_by",
    "go_call.latency_ns",
    "go_call.outcome",
    "go_call.fields",
    "go_call.fields.sub",
    "go_call.fields.sub.opaque",
    "go_call.field_types.sub",
    "go_call.request.trace_id",
    "authz.authz_decision",
    "authz.authz_subject_id",
    "authz.call.probe",
    "authz.call.fields.sub",
    "go_panic.fatal",
    "go_panic.type",
    "go_panic.stack",
    "go_exit.calls_unwound",
    "go_signal.signal",
    "go_signal.name",
    "control.type",
    "control.cause",
    "control.counters.lost",
    "control.host.name",
    "repeats.count",
    "missing",
    "lost_before",
];

/// What is not of the form "a field and a constant".
const OTHERS: &[&str] = &[
    "has(process.exe)",
    "has(exec.env.PATH)",
    "has(exec.env.NOTHING)",
    "has(ptrace.target)",
    "has(go_call.fields.sub)",
    "exec.argv.exists(a, a.contains('a'))",
    "exec.argv.all(a, a != exec.filename)",
    "exec.argv.exists(exec, exec == 'x')",
    "exec.argv.filter(a, size(a) > 3) != []",
    "missing.exists(m, m.field == 'x' || m.reason != 'y')",
    "size(exec.argv) > 2",
    "size(exec) > 0",
    "exec.argv[0] == exec.argv[1]",
    "exec['filename'] == exec.filename",
    "exec.env['PATH'] == '/last'",
    "'PATH' in exec.env",
    "process == null",
    "exec == null",
    "prctl.args.exists(a, a > 9u)",
    "go_panic.stack.exists(f, f.inlined)",
    "process.tgid == process.tid",
    "process.tgid + 1u > 7u",
    "process.comm.startsWith('a')",
    "ts > '2020' && ts < '2030'",
    "kind in ['exec', 'fork', 'go_call']",
    "kind.startsWith('go_')",
    "['exec', 'control'].exists(k, k == kind)",
    "kind > 3",
    "1 / 0 == 1",
    "true",
];

const CONSTANTS: &[&str] =
    &["0", "1u", "-1", "4000000000", "2.5", "'a'", "''", "'/last'", "null", "true", "[]", "[1, 'a', null]"];

fn expression() -> impl Strategy<Value = String> {
    let compared = (select(PATHS), select(&["==", "!=", "<", ">=", "in"][..]), select(CONSTANTS))
        .prop_map(|(path, how, constant)| format!("{path} {how} {constant}"));
    let of_kind = select(&Kind::ALL[..]).prop_map(|kind| format!("kind == '{}'", kind.name()));
    let part = prop_oneof![4 => compared, 2 => select(OTHERS).prop_map(str::to_owned), 2 => of_kind];
    part.prop_recursive(3, 12, 3, |part| {
        prop_oneof![
            3 => (part.clone(), part.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            2 => (part.clone(), part.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            1 => part.clone().prop_map(|a| format!("!({a})")),
            1 => (part.clone(), part.clone(), part).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

/// An event that has what the expressions name, each name twice: the first value of an environment counts, the last
/// one of a call.
fn named(mut event: Event, value: GoValue) -> Event {
    let sub = |value| Field { name: "sub".into(), value, dynamic_type: Some("t".into()), total: None };
    let two = [sub(GoValue::Opaque), sub(value)];
    match &mut event.payload {
        Payload::Exec(exec) => {
            exec.env.extend([("PATH".into(), "/first".into()), ("PATH".into(), "/last".into())]);
        }
        Payload::GoCall(call) => call.fields.extend(two),
        Payload::Authz(authz) => authz.call.fields.extend(two),
        Payload::Fork(_)
        | Payload::Exit(_)
        | Payload::Prctl(_)
        | Payload::Ptrace(_)
        | Payload::Control(_)
        | Payload::GoPanic(_)
        | Payload::GoExit(_)
        | Payload::GoSignal(_) => {}
    }
    event
}

/// The slow way.
fn slowly(program: &Program, event: &Event) -> (bool, Unmatched) {
    let Value::Map(objects) = cel::to_value(EventView::new(event, &ORIGIN)).unwrap() else {
        unreachable!("an event is an object")
    };
    let mut context = Context::default();
    for (name, value) in objects.map.iter() {
        let Key::String(name) = name else { unreachable!("its fields have names") };
        // An event without a process has no field of that name for an expression.
        if name.as_str() != "process" || *value != Value::Null {
            context.add_variable_from_value(name.as_str(), value.clone());
        }
    }
    let (absent, mistyped) = match program.execute(&context) {
        Ok(Value::Bool(truth)) => return (truth, Unmatched::default()),
        Err(ExecutionError::UndeclaredReference(_) | ExecutionError::NoSuchKey(_)) => (1, 0),
        Ok(_) | Err(_) => (0, 1),
    };
    (false, Unmatched { absent, mistyped })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_lazy_way_is_the_slow_way(
        expression in expression(),
        events in vec(events::event(), 5),
        value in select(vec![GoValue::Nil, GoValue::Opaque, GoValue::Uint(1), GoValue::Text("a".into())]),
    ) {
        let program = Program::compile(&expression).unwrap();
        let mut filter = Filter::new(None, Some(&expression)).unwrap();
        let mut expected = Unmatched::default();
        for event in events {
            let event = named(event, value.clone());
            let (passes, unmatched) = slowly(&program, &event);
            expected.absent += unmatched.absent;
            expected.mistyped += unmatched.mistyped;
            prop_assert_eq!(filter.matches(&event, &ORIGIN), passes, "{}", expression);
            prop_assert_eq!(filter.unmatched(), expected, "{}", expression);
            if !filter.kinds().contains(Kind::of(&event.payload)) {
                prop_assert_eq!((passes, unmatched), (false, Unmatched::default()), "{}: passed over", expression);
            }
        }
    }
}

#[test]
fn kinds_are_known_before_the_first_event() {
    let kinds = |only: Option<&str>, expression: &str| -> Vec<&str> {
        let kinds = Filter::new(only, Some(expression)).unwrap().kinds();
        Kind::ALL.into_iter().filter(|kind| kinds.contains(*kind)).map(Kind::name).collect()
    };
    assert_eq!(kinds(None, "kind == 'exec' && exec.ret == 0"), ["exec"]);
    assert_eq!(kinds(None, "process.uid == 0 && (exec.ret == 0 && 'fork' == kind)"), ["fork"]);
    assert_eq!(kinds(Some("exec,exit"), "kind in ['exec', 'fork'] && true"), ["exec"]);
    assert_eq!(
        kinds(None, "kind.startsWith('go_') && kind != 'go_exit'"),
        ["go_call", "go_panic", "go_signal"]
    );
    assert_eq!(kinds(Some("go"), "kind == 'exec'"), [""; 0]);
    // Whichever side is true decides; what cannot be said for sure leaves all.
    for undecided in ["kind == 'exec' || process.uid == 0", "exec.ret == 0", "kind > 3 && cpu == 1"] {
        assert_eq!(kinds(None, undecided).len(), Kind::ALL.len(), "{undecided}");
    }
}
