//! ptrace on a running kernel: requests, targets, results, and who refused.

use goaudit_tests::ability::tell_skip;
use goaudit_tests::capture::{Capture, Shared};
use goaudit_tests::compare::{self, at, attributed, blamed};
use goaudit_tests::{needs, truth};
use serde_json::json;

/// The cases of this file, in one recording.
static CASES: Shared = Shared::new(&[
    "ptrace-session",
    "ptrace-seize",
    "ptrace-attach",
    "ptrace-thread",
    "ptrace-kill",
    "ptrace-errors",
    "ptrace-refusals",
    "ptrace-yama 1",
    "ptrace-yama 2",
]);

/// A case, recorded without loss; everything that happened is compared.
fn recorded(case: &str) -> Capture {
    compared(CASES.case(case))
}

/// Asserts that nothing was lost and everything is as the truth has it.
fn compared(capture: Capture) -> Capture {
    capture.assert_sound();
    compare::everything(&capture);
    capture
}

macro_rules! cases {
    ($($test:ident: $case:literal,)*) => {
        $(
            #[test]
            fn $test() {
                needs!(Root, Bpf, Btf);
                recorded($case);
            }
        )*
    };
}

cases! {
    everything_a_debugger_does: "ptrace-session",
    seize_and_interrupt: "ptrace-seize",
    attach_and_detach: "ptrace-attach",
    a_thread_as_target: "ptrace-thread",
    kill: "ptrace-kill",
    errors_that_are_no_refusals: "ptrace-errors",
}

#[test]
fn refusals_are_blamed_on_the_check_that_refused() {
    needs!(Root, Bpf, Btf);
    let test = "refusals_are_blamed_on_the_check_that_refused";
    let capture = recorded("ptrace-refusals");
    let _ = capture.truth.skipped(test);
    attributed(&capture);
    if !capture.sees_checks() {
        // The refusals were recorded and compared; which check refused cannot be seen here.
        tell_skip(test, "observed ptrace checks", "the log says that __ptrace_may_access is not attached");
    }
    let blamed: std::collections::BTreeSet<String> =
        blamed(&capture).iter().map(|(_, told)| truth::string(told, "refused_by")).collect();
    for check in ["credentials", "capability", "dumpable", "already_traced", "seccomp"] {
        assert!(blamed.contains(check), "the case was not refused by {check}: {blamed:?}");
    }
}

#[test]
fn the_callers_own_process_and_the_dead_are_no_targets() {
    needs!(Root, Bpf, Btf);
    attributed(&recorded("ptrace-errors"));
}

#[test]
fn a_second_traceme_is_refused() {
    needs!(Root, Bpf, Btf);
    attributed(&recorded("ptrace-session"));
}

/// One mode of Yama.
fn yama(mode: &str) {
    let capture = recorded(&format!("ptrace-yama {mode}"));
    attributed(&capture);
    for (event, told) in blamed(&capture) {
        assert_eq!(at(event, "/ptrace/errno"), &json!("EPERM"), "{told}");
    }
}

#[test]
fn yama_1_refuses_strangers() {
    needs!(Root, Bpf, Btf, Yama);
    yama("1");
}

#[test]
fn yama_2_refuses_all_without_the_capability() {
    needs!(Root, Bpf, Btf, Yama);
    yama("2");
}
