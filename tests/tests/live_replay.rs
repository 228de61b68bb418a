//! The promise: what `replay` shows is, byte for byte, what `record` showed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use goaudit_tests::capture::{Capture, first_difference, replay};
use goaudit_tests::compare::{self, at};
use goaudit_tests::needs;
use serde_json::Value;

/// The lines of an output for whose event something holds.
fn only(output: &[u8], holds: impl Fn(&Value) -> bool) -> Vec<u8> {
    output
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| holds(&serde_json::from_slice(line).unwrap()))
        .collect::<Vec<_>>()
        .concat()
}

/// Asserts equality with the place of the first difference.
fn equal(shown: &[u8], replayed: &[u8], what: &str) {
    assert!(shown == replayed, "{what} differs: {}", first_difference(shown, replayed));
}

#[test]
fn one_command() {
    needs!(Root, Bpf, Btf);
    for case in ["exec-binary-junk", "prctl-table", "ptrace-session", "exit-threads", "tree"] {
        // Compared within.
        Capture::of(&[case]).assert_sound();
    }
}

#[test]
fn the_whole_host() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::host(&[], &["tree"]);
    let replayed = replay(&capture.log(), &[]);
    equal(&capture.live, &replayed, "a recording of the host");
    compare::everything(&capture);
    // And again: nothing depends on when it is replayed.
    equal(&replayed, &replay(&capture.log(), &[]), "a second replay");
}

#[test]
fn selected_while_recording() {
    needs!(Root, Bpf, Btf);
    let selections: [&[&str]; 3] = [
        &["--only", "exec"],
        &["--where", "kind == \"exit\" && exit.code == 77"],
        &["--only", "prctl,fork", "--where", "process.uid == 0"],
    ];
    for selection in selections {
        let capture = Capture::with(selection, &["exit-codes"]);
        // Filtered records are in the books, so the log verifies.
        capture.assert_sound();
        let kept: Vec<&Value> = capture.events.iter().filter(|event| event["kind"] != "control").collect();
        for event in &kept {
            let (kind, code) = (event["kind"].as_str().unwrap(), at(event, "/exit/code").as_u64());
            assert!(
                match selection {
                    [_, "exec"] => kind == "exec",
                    [_, _] => kind == "exit" && code == Some(77),
                    _ => ["prctl", "fork"].contains(&kind),
                },
                "{selection:?} let through {event}"
            );
        }
        assert!(!kept.is_empty(), "{selection:?} let nothing through");
    }
}

#[test]
fn selected_while_replaying() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::of(&["exit-codes"]);
    capture.assert_sound();
    for kind in ["exec", "fork", "exit", "control"] {
        let expected = only(&capture.live, |event| event["kind"] == kind);
        equal(&expected, &replay(&capture.log(), &["--only", kind]), kind);
    }
    let expected = only(&capture.live, |event| event["kind"] == "exit" && at(event, "/exit/code") == 77);
    assert!(!expected.is_empty());
    let expression = "kind == \"exit\" && exit.code == 77";
    equal(&expected, &replay(&capture.log(), &["--where", expression]), expression);
    let half = capture.events.len() as u64 / 2;
    let expected = only(&capture.live, |event| event["seq"].as_u64().unwrap() >= half);
    equal(&expected, &replay(&capture.log(), &["--from", &half.to_string()]), "--from");
}

#[test]
fn recording_with_a_selection_is_replaying_with_it() {
    needs!(Root, Bpf, Btf);
    // Two runs of the same case: numbers of processes and times differ, the rest must not.
    let whole = Capture::of(&["exec-plain"]);
    let selected = Capture::with(&["--only", "exec"], &["exec-plain"]);
    let argv = |output: &[u8]| -> Vec<Value> {
        goaudit_tests::capture::lines(output)
            .iter()
            .filter(|event| event["kind"] == "exec")
            // The case itself is told its folder, which differs.
            .skip(1)
            .map(|event| at(event, "/exec/argv").clone())
            .collect()
    };
    assert_eq!(argv(&replay(&whole.log(), &["--only", "exec"])), argv(&selected.live));
}

#[test]
fn two_runs_into_one_log_are_one_log() {
    needs!(Root, Bpf, Btf);
    let first = Capture::of(&["exec-plain"]);
    let log = first.log();
    let before = replay(&log, &[]);
    let folder = goaudit_tests::logdir::LogDir::new();
    let command = goaudit_tests::capture::case(&folder, &["tree"]);
    let mut record = goaudit_tests::goaudit::goaudit();
    let second =
        record.arg("record").arg("-w").arg(&log).args(["-o", "json", "--"]).args(command).output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let both = replay(&log, &[]);
    equal(&[before, second.stdout].concat(), &both, "a continued log");
    let verified = goaudit_tests::capture::verify(&log, &[]);
    assert_eq!(verified["verdict"], "ok", "{verified}");
    let seqs: Vec<u64> =
        goaudit_tests::capture::lines(&both).iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "numbers of events have gaps");
}
