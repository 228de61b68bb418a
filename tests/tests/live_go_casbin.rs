//! Decisions of casbin services, as goaudit tells them and as the services tell them themselves: with each Go version,
//! however the program was linked.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

use goaudit_tests::go_capture::GoRecording;
use goaudit_tests::go_decisions::{assert_decisions, decided};
use goaudit_tests::go_fixture::{self, Build, each_version};
use goaudit_tests::go_service::Truth;
use goaudit_tests::needs;

/// How programs are linked: those first are tested with every version.
fn builds() -> [(&'static str, Build<'static>); 4] {
    let plain = Build::of("authz-casbin");
    [
        ("stripped", plain.flags(&["-ldflags=-s -w"])),
        ("plain", plain),
        ("position independent", plain.flags(&["-buildmode=pie"])),
        ("external", plain.cgo().flags(&["-ldflags=-linkmode=external"])),
    ]
}

/// What the program tells without goaudit.
fn alone(program: &std::path::Path, arguments: &[&str]) -> Truth {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success());
    let told = String::from_utf8(output.stdout).unwrap();
    Truth::take(&mut told.lines().skip(1).map(|line| Ok(line.to_owned()))).unwrap()
}

#[test]
fn every_decision_is_told_as_the_service_tells_it() {
    needs!(Root, Bpf, GoUprobes);
    let newest = go_fixture::versions().pop().unwrap_or_default();
    // 156 requests are all that there are.
    let arguments = ["-now", "-calls", "156", "-goroutines", "4"];
    each_version("every_decision_is_told_as_the_service_tells_it", |toolchain| {
        let wanted = if go_fixture::all() || toolchain.version() == newest { 4 } else { 1 };
        for (name, build) in builds().into_iter().take(wanted) {
            let name = format!("go {} {name}", toolchain.version());
            let program = toolchain.build(&build).unwrap();
            let recording = GoRecording::of(&[], &program, &arguments);
            assert_eq!(recording.status.code(), Some(0), "{name}: {}", recording.told);
            assert!(!recording.told.contains("the command ended with"), "{name}: {}", recording.told);
            let truth = recording.truth();
            let decisions = assert_decisions(&recording, &truth, &name);
            recording.assert_sound();
            assert!(decisions >= 4 * 156, "{name}: {decisions}");
            assert_eq!(decided(&truth), decided(&alone(&program, &arguments)), "{name}");
            println!("{name}: {decisions} decisions, all told");
        }
    });
}
