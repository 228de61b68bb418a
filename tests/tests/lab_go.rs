//! Go programs on the lab's kernels: a service that the host built, and what older kernels say.

use std::path::Path;

use goaudit_tests::ability::{Ability, tell_skip};
use goaudit_tests::go_capture::{GoRecording, text};
use goaudit_tests::go_decisions::assert_decisions;
use goaudit_tests::needs;

/// The service.
const SERVICE: &str = "/lab/go/authz-casbin";

#[test]
fn every_decision_of_a_stripped_service_is_told() {
    needs!(Lab, GoUprobes);
    if !Path::new(SERVICE).exists() {
        tell_skip(
            "every_decision_of_a_stripped_service_is_told",
            "go",
            "the host that made this guest had no Go",
        );
        return;
    }
    let arguments = ["-now", "-calls", "156", "-goroutines", "4"];
    let recording = GoRecording::of(&[], Path::new(SERVICE), &arguments);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    let decisions = assert_decisions(&recording, &recording.truth(), "lab");
    recording.assert_sound();
    assert!(decisions >= 4 * 156, "{decisions}");
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
