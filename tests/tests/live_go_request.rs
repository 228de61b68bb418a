//! What is told of a service while it serves requests has the requests' ids: decisions, calls and panics; HTTP/1, HTTP/2
//! and gRPC; on the goroutine of the request, on those that it starts, and on no other.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use goaudit_tests::go_capture::{GoRecording, text};
use goaudit_tests::go_decisions::assert_decisions_of;
use goaudit_tests::go_fixture::{Build, these_versions};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// Go with the old map layout, with the first Swiss maps, and the newest.
const VERSIONS: [&str; 3] = ["1.21.13", "1.24.11", "1.27.3"];

/// A function of the service's own, called once for each request.
const PROFILE: &str = r#"
[[probe]]
id = "service.serve"
kind = "call"
module = "goaudit.test/request"
package = "main"
function = "(*request).serve"
signature = "func(r *request)"
"#;

const ARGUMENTS: [&str; 5] = ["-now", "-calls", "80", "-goroutines", "2"];
const REQUESTS: usize = 2 * 80;

#[test]
fn what_is_told_while_a_request_is_served_has_its_ids() {
    needs!(Root, Bpf, GoUprobes);
    these_versions("what_is_told_while_a_request_is_served_has_its_ids", &VERSIONS, |toolchain| {
        if toolchain.minor() < 21 {
            println!("go {}: gRPC wants 1.21", toolchain.version());
            return;
        }
        let mut builds = vec![("gRPC 1.67", vec!["-ldflags=-s -w"])];
        if toolchain.minor() >= 25 {
            builds.push(("gRPC 1.83", vec!["-ldflags=-s -w", "-modfile=new.mod"]));
            builds.push(("position independent", vec!["-ldflags=-s -w", "-buildmode=pie"]));
        }
        for (name, flags) in builds {
            let name = format!("go {} {name}", toolchain.version());
            let program = toolchain.build(&Build::of("request").flags(&flags)).unwrap();
            let folder = LogDir::new();
            let profile = folder.join("own.toml");
            fs::write(&profile, PROFILE).unwrap();
            let options = ["--profile", profile.to_str().unwrap()];
            let recording = GoRecording::of(&options, &program, &ARGUMENTS);
            assert_eq!(recording.status.code(), Some(0), "{name}: {}", recording.told);
            let truth = recording.truth();
            let decisions = assert_decisions_of(&recording, &truth, None, &name);
            recording.assert_sound();
            assert_every_way_was_taken(&truth.calls, &name);
            assert_calls(&recording, &truth.calls, &name);
            assert_panics(&recording, &truth.calls, &name);
            println!("{name}: {decisions} decisions with the ids of their requests");
        }
    });
}

fn extra<'a>(call: &'a Value, key: &str) -> &'a str {
    call.get("extra").and_then(|extra| extra.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// The service asked in every way: else nothing would be tested.
fn assert_every_way_was_taken(calls: &[Value], name: &str) {
    let sources: BTreeSet<&str> = calls.iter().map(|call| extra(call, "trace_source")).collect();
    assert_eq!(sources, BTreeSet::from(["", "parent", "request"]), "{name}");
    let shapes: BTreeSet<&str> = calls.iter().map(|call| text(call, "/shape")).collect();
    assert_eq!(shapes.len(), 10, "{name}: {shapes:?}");
    let without_trace = calls.iter().any(|call| extra(call, "trace_id").is_empty());
    assert!(without_trace && calls.iter().any(|call| !extra(call, "trace_id").is_empty()), "{name}");
}

/// Each request's call of the service's own function has the request's ids, once.
fn assert_calls(recording: &GoRecording, calls: &[Value], name: &str) {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let mut served = 0;
    for event in recording.all("go_call") {
        assert_eq!(text(event, "/go_call/probe"), "service.serve", "{name}: {event}");
        assert_eq!(text(event, "/go_call/request/source"), "request", "{name}: {event}");
        *told.entry(text(event, "/go_call/request/trace_id").to_owned()).or_default() += 1;
        served += 1;
    }
    assert_eq!(served, REQUESTS, "{name}");
    for call in calls.iter().filter(|call| !extra(call, "trace_id").is_empty()) {
        assert_eq!(told.get(extra(call, "trace_id")), Some(&1), "{name}: {call}");
    }
}

/// Handlers that panic do so in their request.
fn assert_panics(recording: &GoRecording, calls: &[Value], name: &str) {
    let panicked: BTreeSet<&str> = calls
        .iter()
        .filter(|call| text(call, "/shape") == "panic")
        .map(|call| extra(call, "trace_id"))
        .collect();
    let told: BTreeSet<&str> = recording
        .all("go_panic")
        .map(|event| {
            assert_eq!(text(event, "/go_panic/request/source"), "request", "{name}: {event}");
            text(event, "/go_panic/request/trace_id")
        })
        .collect();
    assert_eq!(told, panicked, "{name}");
    assert!(!told.is_empty(), "{name}");
}
