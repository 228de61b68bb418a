//! ptrace on a running kernel: requests, targets, results, and who refused.
#![expect(clippy::unwrap_used, reason = "a failed unwrap, index or panic is a failed test")]

use goaudit_tests::ability::tell_skip;
use goaudit_tests::capture::Capture;
use goaudit_tests::compare::{self, at, cut};
use goaudit_tests::{needs, truth};
use serde_json::{Value, json};

fn recorded(words: &[&str]) -> Capture {
    let capture = Capture::of(words);
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
                recorded(&[$case]);
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

/// Every call whose refusal the truth blames on somebody, with its event.
fn blamed(capture: &Capture) -> Vec<(&Value, &Value)> {
    let mut pairs = Vec::new();
    for ((pid, tid), told) in &capture.truth.ptraces {
        let events: Vec<&Value> =
            capture.by("ptrace", *pid).filter(|event| at(event, "/process/tid") == *tid).collect();
        assert_eq!(events.len(), told.len());
        pairs.extend(events.into_iter().zip(told).filter(|(_, told)| !told["refused_by"].is_null()));
    }
    assert!(!pairs.is_empty(), "the case was refused nowhere");
    pairs
}

/// Where the checks are observed each refusal is blamed on the right one; where not it says that it does not
/// know, and why. A seccomp filter shows in any case: the kernel never enters the call.
fn attributed(capture: &Capture) {
    let observed = capture.sees_checks();
    for (event, told) in blamed(capture) {
        let (by, detail) = (at(event, "/ptrace/denied_by"), at(event, "/ptrace/denied_detail"));
        assert!(
            detail.as_str().is_some_and(|detail| !detail.is_empty()),
            "a refusal without a reason: {}",
            cut(event)
        );
        let truth = &told["refused_by"];
        if observed || truth == "seccomp" {
            // The kernel's checks do not tell an ending task from one that is traced.
            let accepted: &[&str] = match truth.as_str().unwrap() {
                "ended" => &["already_traced", "unknown"],
                other => &[other],
            };
            assert!(
                accepted.iter().any(|accepted| by == accepted),
                "refused by {truth}, told as {by} ({detail})\nin {}\ntruth {told}",
                cut(event)
            );
        } else {
            assert_eq!(by, "unknown", "nothing was observed, so nothing can be blamed: {}", cut(event));
        }
    }
}

#[test]
fn refusals_are_blamed_on_the_check_that_refused() {
    needs!(Root, Bpf, Btf);
    let test = "refusals_are_blamed_on_the_check_that_refused";
    let capture = recorded(&["ptrace-refusals"]);
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
    attributed(&recorded(&["ptrace-errors"]));
}

#[test]
fn a_second_traceme_is_refused() {
    needs!(Root, Bpf, Btf);
    attributed(&recorded(&["ptrace-session"]));
}

/// One mode of Yama.
fn yama(mode: &str) {
    let capture = recorded(&["ptrace-yama", mode]);
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

/// The last test of this file by name: mode 3 stays until the machine starts again.
#[test]
fn zz_yama_3_refuses_everybody() {
    needs!(Root, Bpf, Btf, Yama, Lab);
    yama("3");
}
