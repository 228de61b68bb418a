//! Go programs on the lab's kernels: a service that the host built, and what older kernels say.

#![expect(clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use goaudit_tests::ability::{Ability, tell_skip};
use goaudit_tests::go_capture::{GoRecording, text};
use goaudit_tests::go_cases;
use goaudit_tests::go_decisions::assert_decisions;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;

/// A stripped program that the host built; none, which is told, if it could not.
fn program(name: &str, test: &str) -> Option<PathBuf> {
    let program = Path::new("/lab/go").join(name);
    if !program.exists() {
        tell_skip(test, "go", "the host that made this guest had no Go");
        return None;
    }
    Some(program)
}

#[test]
fn every_decision_of_a_stripped_service_is_told() {
    needs!(Lab, GoUprobes);
    let Some(service) = program("authz-casbin", "every_decision_of_a_stripped_service_is_told") else {
        return;
    };
    let arguments = ["-now", "-calls", "156", "-goroutines", "4"];
    let recording = GoRecording::of(&[], &service, &arguments);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    let decisions = assert_decisions(&recording, &recording.truth(), "lab");
    recording.assert_sound();
    assert!(decisions >= 4 * 156, "{decisions}");
}

/// Recursion, panics, `Goexit`, stacks that move, goroutines that change threads, generic functions, very many
/// goroutines: on each way of attaching.
#[test]
fn every_call_ends_as_it_really_ended() {
    needs!(Lab, GoUprobes);
    let Some(cases) = program("runtime-cases", "every_call_ends_as_it_really_ended") else { return };
    let folder = LogDir::new();
    let profile = go_cases::profile(&folder);
    // Emulated, the probes take more of a processor than they may by default.
    let options = ["--probe-budget", "10000", "--profile", &profile];
    let arguments = ["-now", "-calls", "2", "-goroutines", "2", "-many", "1000"];
    let recording = GoRecording::of(&options, &cases, &arguments);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    let (told, truth) = (go_cases::told(recording.calls()), go_cases::truth(&recording.truth()));
    assert_eq!(told, truth, "{}", recording.report());
    recording.assert_sound();
    assert!(truth.values().sum::<u64>() > 1000, "{truth:?}");
    // And a panic that ends the program.
    let arguments = ["-now", "-case", "none", "-fatal", "panic"];
    let recording = GoRecording::of(&options, &cases, &arguments);
    let fatal: Vec<_> =
        recording.all("go_panic").filter(|event| event["go_panic"]["fatal"] == true).collect();
    assert_eq!(fatal.len(), 1, "{}", recording.report());
    assert!(text(fatal[0], "/go_panic/traceback").contains("goroutine "), "{}", fatal[0]);
}

#[test]
fn a_kernel_that_is_too_old_says_what_it_takes() {
    needs!(Lab);
    let recording = GoRecording::of(&[], Path::new("/bin/true"), &[]);
    let about = |words: &str| recording.probes().any(|probe| text(probe, "/reason").contains(words));
    if Ability::GoUprobes.check().is_ok() {
        assert!(!about("5.15"), "{}", recording.report());
        return;
    }
    let refused = recording.probes().find(|probe| text(probe, "/reason").contains("5.15"));
    assert!(refused.is_some_and(|probe| probe["attached"] == false), "{}", recording.report());
    // Everything else is recorded all the same.
    assert!(recording.all("exec").count() > 0, "{}", recording.report());
}
