//! Decisions of services that ask other libraries than casbin: each as the service tells it itself.
//!
//! Without a choice of Go versions the newest libraries with the newest Go, stripped; with one
//! (`GOAUDIT_GO_VERSIONS`) every set of libraries that the version builds.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use goaudit_tests::go_capture::GoRecording;
use goaudit_tests::go_decisions::assert_decisions;
use goaudit_tests::go_digests::assert_digests;
use goaudit_tests::go_fixture::{self, Toolchain, VERSIONS, each_version};
use goaudit_tests::go_service::{KINDS, Kind};
use goaudit_tests::needs;

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
