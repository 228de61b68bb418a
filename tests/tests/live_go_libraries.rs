//! Decisions of services that ask other libraries than casbin: each as the service tells it itself.
//!
//! Without a choice of Go versions the newest libraries with the newest Go, stripped; with one
//! (`GOAUDIT_GO_VERSIONS`) every set of libraries that the version builds.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use goaudit_tests::go_capture::{GoRecording, count, text};
use goaudit_tests::go_decisions::assert_decisions;
use goaudit_tests::go_digests::assert_digests;
use goaudit_tests::go_fixture::{self, Build, Toolchain, VERSIONS, each_version, newest_version};
use goaudit_tests::go_service::{KINDS, Kind};
use goaudit_tests::needs;
use serde_json::Value;

/// 156 requests are all that there are; some services hand each over in several ways.
const ARGUMENTS: [&str; 5] = ["-now", "-calls", "468", "-goroutines", "3"];

/// Stripped, as services are.
fn record(toolchain: &Toolchain, kind: &Kind) -> GoRecording {
    let flags = [kind.flags, &["-ldflags=-s -w"]].concat();
    let program = toolchain.build(&kind.build().flags(&flags)).unwrap();
    GoRecording::of(&[], &program, &ARGUMENTS)
}

fn decisions_of(fixture: &str, test: &str) {
    needs!(Root, Bpf, GoUprobes);
    let chosen = std::env::var_os(VERSIONS).is_some();
    let newest = go_fixture::versions().pop().unwrap_or_default();
    each_version(test, |toolchain| {
        let fits = |kind: &&Kind| {
            kind.fixture == fixture
                && toolchain.minor() >= kind.since
                && (chosen || (kind.flags.is_empty() && toolchain.version() == newest))
        };
        for kind in KINDS.iter().filter(fits) {
            let name = format!("go {} {fixture} {}", toolchain.version(), kind.flags.concat());
            let recording = record(toolchain, kind);
            assert_eq!(recording.status.code(), Some(0), "{name}: {}", recording.told);
            let truth = recording.truth();
            let decisions = assert_decisions(&recording, &truth, &name);
            recording.assert_sound();
            assert_eq!(decisions, 3 * 468, "{name}");
            let digests = assert_digests(&recording, &[], &name);
            // Twelve subjects of which all is taken, and the contexts of twelve objects and actions.
            assert!(digests >= 24, "{name}: {digests}");
            println!("{name}: {decisions} decisions, all told");
        }
    });
}

#[test]
fn opa() {
    decisions_of("authz-opa", "opa");
}

#[test]
fn kubernetes() {
    decisions_of("authz-k8s", "kubernetes");
}

#[test]
fn cedar() {
    decisions_of("authz-cedar", "cedar");
}

#[test]
fn ladon() {
    decisions_of("authz-ladon", "ladon");
}

#[test]
fn etcd() {
    decisions_of("authz-etcd", "etcd");
}

#[test]
fn openfga() {
    decisions_of("authz-openfga", "openfga");
}

/// What OpenFGA decides in a batch is not told one by one; that there was a batch, and of how many checks, is.
#[test]
fn openfga_batches_are_calls() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("openfga_batches_are_calls", |toolchain| {
        let program = toolchain.build(&Build::of("authz-openfga").flags(&["-ldflags=-s -w"])).unwrap();
        let arguments = ["-now", "-calls", "0", "-goroutines", "1", "-batches", "6"];
        let recording = GoRecording::of(&[], &program, &arguments);
        recording.assert_sound();
        let truth = recording.truth();
        assert_eq!((recording.all("authz").count(), truth.calls.len()), (0, 6), "{}", recording.report());
        let told: Vec<&Value> = recording.all("go_call").collect();
        assert_eq!(told.len(), truth.calls.len(), "{}", recording.report());
        for (event, call) in told.into_iter().zip(&truth.calls) {
            assert_eq!(text(event, "/go_call/function"), text(call, "/functions/0"));
            assert_eq!(count(event, "/go_call/goid"), count(call, "/goid"), "{event}");
            let fields = &event["go_call"]["fields"];
            for field in ["store", "model"] {
                assert_eq!(
                    text(fields, &format!("/{field}")),
                    text(call, &format!("/extra/{field}")),
                    "{event}"
                );
            }
            assert_eq!(count(fields, "/checks").to_string(), text(call, "/extra/checks"), "{event}");
            // Of an error of the library's own the type is told.
            let failed = call.get("error_type").is_some();
            assert_eq!(fields["error"].is_null(), !failed, "{event}\n{call}");
            assert!(count(event, "/go_call/latency_ns") <= count(call, "/latency_ns"), "{event}\n{call}");
        }
        let failed = truth.calls.iter().filter(|call| call.get("error_type").is_some()).count();
        assert_eq!(failed, 2, "every third batch names a model that there is not");
    });
}
