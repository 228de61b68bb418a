//! Filters as an operator writes them, against events of every kind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use goaudit_ebpf::units::Ktime;

use super::*;
use crate::event::go::{Field, Value as GoValue};
use crate::event::{Authz, Exec, Exit, GoCall, GoExit, GoPanic, GoSignal, Process, Source};

fn exec() -> Event {
    let process = Process { uid: 1000, comm: "curl".into(), ..Process::default() };
    let exec = Exec { argv: vec!["curl".into(), "-s".into(), "http://x/".into()], ..Exec::default() };
    Event {
        ktime: Ktime(5),
        source: Some(Source {
            cpu: 1,
            first: 9,
            records: 2,
            lost_before: 0,
            repeats: None,
            more: Vec::new(),
        }),
        process: Some(process),
        payload: Payload::Exec(Box::new(exec)),
        missing: Vec::new(),
        sealed: None,
    }
}

fn passes(only: Option<&str>, expression: Option<&str>) -> bool {
    Filter::new(only, expression).unwrap().matches(&exec(), &Origin::default())
}

fn refused(expression: &str) -> String {
    Filter::new(None, Some(expression)).unwrap_err().to_string()
}

#[test]
fn kinds_and_expressions() {
    assert!(passes(None, None));
    assert!(passes(Some("ptrace, exec"), None));
    assert!(!passes(Some("ptrace"), None));
    for yes in [
        "kind == 'exec'",
        "process.uid == 1000 && exec.ret == 0",
        "process.uid > 999 && process.uid < 1001 && process.uid != 0",
        "process.uid in [1, 1000]",
        "exec.argv.exists(a, a.startsWith('http'))",
        "exec.argv[1] == '-s' && size(exec.argv) == 3",
        "process.exe == null",
        "exec.argv_complete == false",
        "!exec.argv_complete",
        "has(process.comm)",
        "kind == 'ptrace' ? ptrace.ret == 0 : true",
        "lost_before == 0 && cpu == 1",
        "ktime_ns == 5",
    ] {
        assert!(passes(None, Some(yes)), "{yes}");
    }
    for no in ["kind == 'fork'", "process.uid == 0", "exec.argv.all(a, a == 'curl')", "process.auid == 0"] {
        assert!(!passes(None, Some(no)), "{no}");
    }
}

#[test]
fn an_absent_field_is_false_and_counted() {
    let mut filter = Filter::new(None, Some("ptrace.ret == 0")).unwrap();
    assert!(!filter.matches(&exec(), &Origin::default()));
    assert_eq!(filter.unmatched(), Unmatched { absent: 1, mistyped: 0 });
    let mut env = Filter::new(None, Some("exec.env.GOROOT == '/x'")).unwrap();
    assert!(!env.matches(&exec(), &Origin::default()));
    assert_eq!(env.unmatched().absent, 1);
    let mut mistyped = Filter::new(None, Some("process.uid > 'a'")).unwrap();
    assert!(!mistyped.matches(&exec(), &Origin::default()));
    assert_eq!(mistyped.unmatched(), Unmatched { absent: 0, mistyped: 1 });
    let either = "ptrace.ret == 0 || process.uid == 1000";
    assert!(passes(None, Some(either)), "the other side decides");
}

#[test]
fn mistakes_are_found_before_the_first_event() {
    assert_eq!(
        refused("kind == 'exec' && proces.uid == 0"),
        "no field `proces` in an event (column 19); did you mean `process`?"
    );
    assert_eq!(refused("process.pid == 1"), "no field `pid` in process (column 9); did you mean `tgid`?");
    assert!(
        refused("exec.zzzzzzzz == 1").contains("it has argc, args_changed"),
        "{}",
        refused("exec.zzzzzzzz == 1")
    );
    assert!(refused("ptrace.target.exee == ''").contains("did you mean `exe`"));
    assert!(refused("control.couse == 'x'").contains("did you mean `cause`"));
    assert!(refused("kind == ").starts_with("the expression is wrong at column"));
    assert_eq!(
        refused("process.uid"),
        "the expression gives the field `process.uid`, not true or false; compare it with something"
    );
    assert!(refused("1 + 1").contains("a sum"));
    assert!(refused("exec").contains("not true or false"));
    let unknown = Filter::new(Some("exec,exce"), None).unwrap_err().to_string();
    assert_eq!(
        unknown,
        "there is no kind `exce`; kinds are exec, fork, exit, prctl, ptrace, go_call, authz, go_panic, go_exit, go_signal, \
         control; `go` stands for all kinds that tell of Go programs"
    );
}

#[test]
fn names_of_macros_are_no_fields() {
    assert!(Filter::new(None, Some("missing.exists(m, m.field == 'process.auid')")).is_ok());
    assert!(refused("missing.exists(m, n.field == '')").contains("no field `n`"));
}

#[test]
fn the_recorder_counts_what_it_leaves_out() {
    let mut correlator = Correlator::new(crate::correlate::Config::default(), crate::correlate::host::NoHost);
    let exit = Exit { code: Some(0), signal: None, core_dumped: false, lifetime_ns: None };
    let mut events = vec![exec(), Event { payload: Payload::Exit(exit), ..exec() }];
    let mut filter = Filter::new(Some("exec"), None).unwrap();
    filter.retain(&mut events, &Origin::default(), &mut correlator);
    assert_eq!(events, [exec()]);
}

fn decision() -> Event {
    let field = |name: &str, value| Field {
        name: name.into(),
        value,
        dynamic_type: Some("string".into()),
        total: None,
    };
    let call = GoCall {
        probe: "casbin.enforce".into(),
        start_ktime_ns: Some(1_000),
        end_ktime_ns: Some(9_000),
        fields: vec![field("sub", GoValue::Text("alice".into())), field("rvals", GoValue::Opaque)],
        ..GoCall::default()
    };
    let authz = Authz {
        call,
        library: "casbin".into(),
        subject_id: Some("alice".into()),
        decision: Some(false),
        ..Authz::default()
    };
    Event { payload: Payload::Authz(Box::new(authz)), ..exec() }
}

#[test]
fn fields_of_go_events() {
    let call = Event {
        payload: Payload::GoCall(Box::new(match decision().payload {
            Payload::Authz(authz) => authz.call,
            _other => GoCall::default(),
        })),
        ..exec()
    };
    let panic = GoPanic { fatal: true, message: Some("boom".into()), ..GoPanic::default() };
    let panic = Event { payload: Payload::GoPanic(Box::new(panic)), ..exec() };
    let exit = Event { payload: Payload::GoExit(GoExit { goid: Some(7), calls_unwound: 2 }), ..exec() };
    let signal = GoSignal { signal: 4, code: 2, handled: false };
    let signal = Event { payload: Payload::GoSignal(signal), ..exec() };
    for (event, condition) in [
        (&decision(), "authz.authz_decision == false && authz.authz_subject_id == 'alice'"),
        (&decision(), "authz.decision_latency_ns == 8000 && authz.call.latency_ns > 7999"),
        (&decision(), "authz.library == 'casbin' && authz.policy_id == null"),
        (&decision(), "authz.call.fields.sub == 'alice' && authz.call.field_types.sub == 'string'"),
        (&decision(), "authz.call.fields.rvals.opaque == 'string'"),
        (&call, "kind == 'go_call' && go_call.probe.startsWith('casbin.') && go_call.outcome == 'returned'"),
        (&panic, "go_panic.fatal && go_panic.message == 'boom'"),
        (&exit, "go_exit.goid == 7 && go_exit.calls_unwound > 1"),
        (&signal, "go_signal.name == 'SIGILL' && !go_signal.handled"),
    ] {
        assert!(
            Filter::new(None, Some(condition)).unwrap().matches(event, &Origin::default()),
            "{condition}"
        );
    }
    assert!(refused("authz.decision == true").contains("did you mean `authz_decision`"));
    assert!(refused("go_call.latency > 1").contains("did you mean `latency_ns`"));
    assert!(refused("authz.call.prob == ''").contains("did you mean `probe`"));

    let only =
        |word: &str, event: &Event| Filter::new(Some(word), None).unwrap().matches(event, &Origin::default());
    for (event, kind) in
        [(&call, "go_call"), (&decision(), "authz"), (&panic, "go_panic"), (&exit, "go_exit")]
    {
        assert!(only("go", event) && only(kind, event) && only(&format!("exec,{kind}"), event));
        assert!(!only("exec", event));
    }
    assert!(!only("authz", &call));
    assert!(!only("go", &exec()));
}

#[test]
fn every_hook_is_a_word() {
    for hook in crate::hook::HOOKS {
        assert!(Filter::new(Some(hook.name), None).is_ok(), "{}", hook.name);
    }
    for kind in Kind::ALL {
        let hook = kind.hook();
        assert!(hook.is_none_or(|name| crate::hook::HOOKS.iter().any(|hook| hook.name == name)));
    }
}
