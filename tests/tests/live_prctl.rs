//! prctl on a running kernel: every option by name, arguments, result, value before and after.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use goaudit_tests::capture::{Capture, Shared};
use goaudit_tests::compare::{self, at, cut, same};
use goaudit_tests::needs;
use serde_json::{Value, json};

/// The cases of this file, in one recording.
static CASES: Shared = Shared::new(&[
    "prctl-table",
    "prctl-unprivileged",
    "prctl-name",
    "prctl-values",
    "prctl-seccomp-strict",
    "prctl-seccomp-filter",
    "prctl-mm",
    "prctl-denied-by-seccomp",
    "prctl-killed-by-seccomp",
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

/// A storm has a recording of its own, with a ring that takes all of it even if the reader is slow: what happens when
/// it does not is told by `live_loss.rs`.
fn storm(words: &[&str]) -> Capture {
    compared(Capture::with(&["--ring", "64MiB"], words))
}

#[test]
fn every_option_right_and_wrong() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-table");
    assert!(capture.kind("prctl").count() > 100);
}

#[test]
fn options_without_the_privilege() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-unprivileged");
    let refused: Vec<_> = capture
        .kind("prctl")
        .filter(|event| at(event, "/prctl/errno") == "EPERM")
        .map(|event| at(event, "/prctl/name").clone())
        .collect();
    assert!(refused.contains(&json!("PR_CAPBSET_DROP")), "{refused:?}");
    assert!(capture.kind("prctl").all(|event| at(event, "/process/uid") == 1000), "uid");
}

#[test]
fn a_name_by_a_disguised_option_number() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-table");
    // The kernel looks at 32 bits; so must who watches.
    let disguised: Vec<&Value> = capture
        .kind("prctl")
        .filter(|event| {
            at(event, "/prctl/option").as_u64().is_some_and(|option| option > u64::from(u32::MAX))
        })
        .collect();
    assert_eq!(disguised.len(), 2, "{disguised:?}");
    same(disguised[0], "/prctl/name", &json!("PR_SET_DUMPABLE"), "a disguised option");
    same(disguised[0], "/prctl/decoded/new", &json!("SUID_DUMP_USER"), "a disguised option");
    same(disguised[1], "/prctl/name", &json!("PR_GET_DUMPABLE"), "a disguised option");
}

#[test]
fn names_before_and_after() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-name");
    let mut compared = 0;
    for ((pid, tid), told) in &capture.truth.prctls {
        let events = capture.by("prctl", *pid).filter(|event| at(event, "/process/tid") == *tid);
        // Two equal calls in a row may be one event.
        let events = events.flat_map(|event| {
            let count = at(event, "/repeats/count").as_u64().unwrap_or(1);
            std::iter::repeat_n(event, usize::try_from(count).unwrap())
        });
        for (event, told) in events.zip(told) {
            same(event, "/prctl/decoded/old", &told["old_name"], "PR_SET_NAME");
            same(event, "/prctl/decoded/new", &told["new_name"], "PR_SET_NAME");
            same(event, "/process/comm", &told["new_name"], "PR_SET_NAME");
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
}

/// A value as the event's words have it.
fn word(option: u64, value: &Value) -> Value {
    let number = value.as_u64().unwrap();
    match option {
        // PR_SET_DUMPABLE.
        4 => {
            json!(["SUID_DUMP_DISABLE", "SUID_DUMP_USER", "SUID_DUMP_ROOT"][usize::try_from(number).unwrap()])
        }
        // Truth values: subreaper, no_new_privs.
        36 | 38 => json!(number != 0),
        // PR_SET_PDEATHSIG.
        1 if number == 15 => json!("SIGTERM"),
        _ => json!(number),
    }
}

#[test]
fn values_before_and_after() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-values");
    let mut compared = 0;
    for ((pid, _), told) in &capture.truth.prctls {
        let events: Vec<&Value> = capture.by("prctl", *pid).collect();
        let calls: Vec<&Value> = events
            .iter()
            .flat_map(|event| {
                let count = at(event, "/repeats/count").as_u64().unwrap_or(1);
                std::iter::repeat_n(*event, usize::try_from(count).unwrap())
            })
            .collect();
        for (event, told) in calls.iter().zip(told) {
            let Some(option) = told["option"].as_u64().filter(|_| told.get("new").is_some()) else {
                continue;
            };
            match option {
                // The bounding set as a whole, of which the case asks one bit; securebits as flags; keepcaps is one
                // of them: what is told must have changed exactly when the value did.
                8 | 24 | 28 => {
                    let (old, new) = (at(event, "/prctl/decoded/old"), at(event, "/prctl/decoded/new"));
                    assert!(!old.is_null() && !new.is_null(), "no old and new: {}", cut(event));
                    assert_eq!(old == new, told["old"] == told["new"], "{}\n{told}", cut(event));
                }
                1 | 4 | 29 | 36 | 38 => {
                    same(event, "/prctl/decoded/old", &word(option, &told["old"]), "the value before");
                    same(event, "/prctl/decoded/new", &word(option, &told["new"]), "the value after");
                }
                // The kernel keeps these where no program looks.
                _ => continue,
            }
            compared += 1;
        }
    }
    assert!(compared >= 18, "only {compared} changes were compared");
}

#[test]
fn strict_seccomp() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-seccomp-strict");
    let event = capture.kind("prctl").next().unwrap();
    same(event, "/prctl/name", &json!("PR_SET_SECCOMP"), "strict seccomp");
    same(event, "/prctl/decoded/mode", &json!("SECCOMP_MODE_STRICT"), "strict seccomp");
    same(event, "/prctl/decoded/old", &json!("SECCOMP_MODE_DISABLED"), "strict seccomp");
    same(event, "/prctl/decoded/new", &json!("SECCOMP_MODE_STRICT"), "strict seccomp");
}

#[test]
fn a_seccomp_filter() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-seccomp-filter");
    let installs: Vec<&Value> =
        capture.kind("prctl").filter(|event| at(event, "/prctl/name") == "PR_SET_SECCOMP").collect();
    same(installs[0], "/prctl/errno", &json!("EACCES"), "a filter without no_new_privs");
    same(installs[0], "/prctl/decoded/new", &json!("SECCOMP_MODE_DISABLED"), "a filter without no_new_privs");
    same(installs[1], "/prctl/ret", &json!(0), "a filter");
    same(installs[1], "/prctl/decoded/mode", &json!("SECCOMP_MODE_FILTER"), "a filter");
    same(installs[1], "/prctl/decoded/new", &json!("SECCOMP_MODE_FILTER"), "a filter");
}

#[test]
fn memory_areas() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-mm");
    let whats: Vec<_> = capture.kind("prctl").map(|event| at(event, "/prctl/decoded/what").clone()).collect();
    assert!(
        whats.contains(&json!("PR_SET_MM_ARG_START")) && whats.contains(&json!("PR_SET_MM_EXE_FILE")),
        "{whats:?}"
    );
}

#[test]
fn a_call_that_seccomp_refuses() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-denied-by-seccomp");
    let refused = capture.kind("prctl").filter(|event| at(event, "/prctl/errno") == "ENODEV").count();
    assert_eq!(refused, 2);
}

#[test]
fn a_call_that_ends_the_process() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("prctl-killed-by-seccomp");
    let filter = capture.kind("prctl").find(|event| at(event, "/prctl/name") == "PR_SET_SECCOMP").unwrap();
    same(filter, "/prctl/ret", &json!(0), "the filter");
    let pid = at(filter, "/process/tgid").as_u64().unwrap();
    // The call that the filter answered with death never came to its exit: the last prctl is the filter's own.
    assert_eq!(capture.by("prctl", pid).count(), 2);
    let exit = capture.by("exit", pid).next().unwrap();
    same(exit, "/exit/signal_name", &json!("SIGSYS"), "a filter that kills");
}

#[test]
fn a_storm_of_identical_calls_is_counted_exactly() {
    needs!(Root, Bpf, Btf);
    let capture = storm(&["prctl-storm", "20000"]);
    assert_eq!(compare::storms(&capture), [(20_000, 20_000)]);
    // How many calls an event stands for depends on the machine's speed; that one stands for many does not.
    let told_together = capture.kind("prctl").any(|event| at(event, "/repeats/count").as_u64() > Some(1));
    assert!(told_together, "no event stands for more than one of 20,000 identical calls");
}

#[test]
fn a_storm_of_alternating_calls_is_counted_exactly() {
    needs!(Root, Bpf, Btf);
    let capture = storm(&["prctl-storm-alternating", "10000"]);
    assert_eq!(compare::storms(&capture), [(10_000, 10_000), (10_000, 10_000)]);
}
