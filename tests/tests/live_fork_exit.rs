//! Processes and threads that begin and end, on a running kernel.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap, index or panic is a failed test")]

use std::collections::BTreeSet;

use goaudit_tests::ability::lab_kernel;
use goaudit_tests::capture::{Capture, Shared};
use goaudit_tests::compare::{self, at};
use goaudit_tests::needs;
use serde_json::{Value, json};

/// The cases of this file, in one recording.
static CASES: Shared = Shared::new(&[
    "exit-codes",
    "exit 42",
    "exit-signals",
    "exit-core",
    "exit-threads",
    "exit-leader-first",
    "pid-reuse",
    "tree",
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

#[test]
fn exit_codes() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exit-codes");
    let codes: BTreeSet<u64> =
        capture.kind("exit").filter_map(|event| at(event, "/exit/code").as_u64()).collect();
    assert_eq!(codes, [0, 1, 2, 77, 127, 128, 255].into());
}

#[test]
fn the_exit_code_of_the_recorded_command() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exit 42");
    assert_eq!(
        capture.kind("exit").map(|event| at(event, "/exit/code").clone()).collect::<Vec<_>>(),
        [json!(42)]
    );
}

#[test]
fn signals() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exit-signals");
    let names: Vec<_> =
        capture.kind("exit").filter_map(|event| at(event, "/exit/signal_name").as_str()).collect();
    for name in ["SIGKILL", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGUSR1"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[test]
fn core_dumps() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exit-core");
    if !capture.truth.skipped("core_dumps") {
        let cores =
            capture.kind("exit").filter(|event| at(event, "/exit/core_dumped") == &json!(true)).count();
        assert_eq!(cores, 2);
    }
}

#[test]
fn fifty_threads_that_end_at_once_are_one_exit() {
    needs!(Root, Bpf, Btf);
    recorded("exit-threads");
}

#[test]
fn a_leader_that_ends_before_its_threads() {
    needs!(Root, Bpf, Btf);
    recorded("exit-leader-first");
}

#[test]
fn ten_thousand_short_lived_processes() {
    needs!(Root, Bpf, Btf);
    // Emulated guests take some ten times as long.
    let count = if lab_kernel().is_some() { 1000 } else { 10_000 };
    let capture = compared(Capture::of(&["short-lived", &count.to_string()]));
    let truth: BTreeSet<(u64, String)> = capture
        .truth
        .short_lived
        .iter()
        .map(|child| (child[0].as_u64().unwrap(), child[1].to_string()))
        .collect();
    assert_eq!(truth.len(), count);
    let pids: BTreeSet<u64> = truth.iter().map(|(pid, _)| *pid).collect();
    let events: BTreeSet<(u64, String)> = capture
        .kind("exec")
        .filter_map(|event| {
            let pid = at(event, "/process/tgid").as_u64().filter(|pid| pids.contains(pid))?;
            // `q CODE INDEX`.
            Some((pid, at(event, "/exec/argv/2").as_str()?.to_owned()))
        })
        .collect();
    assert!(truth == events, "{} of {} execs", events.intersection(&truth).count(), truth.len());
}

#[test]
fn a_process_id_that_is_used_again() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("pid-reuse");
    if capture.truth.skipped("a_process_id_that_is_used_again") {
        return;
    }
    let (pid, told) = capture.truth.execs.iter().find(|(_, execs)| execs.len() == 4).unwrap();
    let events: Vec<&Value> = capture.by("exec", *pid).collect();
    for (name, distinct) in [("/process/start_ktime_ns", told.len()), ("/process/exec_id", told.len())] {
        let values: BTreeSet<String> = events.iter().map(|event| at(event, name).to_string()).collect();
        assert_eq!(values.len(), distinct, "{name} of four processes with one id: {values:?}");
    }
    // Each exit belongs to the process that began last before it.
    let exits: Vec<_> = capture.by("exit", *pid).map(|event| at(event, "/process/start_ktime_ns")).collect();
    let starts: Vec<_> = events.iter().map(|event| at(event, "/process/start_ktime_ns")).collect();
    assert_eq!(exits, starts);
}

#[test]
fn lineage_without_a_gap() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("tree");
    // From every process of the case up to the case itself, by fork events alone.
    for pid in capture.truth.pids().into_iter().filter(|pid| *pid != capture.truth.pid) {
        let mut at_pid = pid;
        for _ in 0..10 {
            let parent = capture
                .kind("fork")
                .find(|fork| {
                    at(fork, "/fork/child/tgid") == at_pid && at(fork, "/fork/thread") == &json!(false)
                })
                .unwrap_or_else(|| panic!("no parent of {at_pid}"));
            at_pid = at(parent, "/process/tgid").as_u64().unwrap();
            if at_pid == capture.truth.pid {
                break;
            }
        }
        assert_eq!(at_pid, capture.truth.pid, "{pid} does not come from the case");
    }
}
