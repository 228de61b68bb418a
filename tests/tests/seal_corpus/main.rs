//! The attack corpus: one small log, and what attackers, failing disks and honest people do to it; what `goaudit verify`
//! must say of each. All of it is data under `tests/corpus/seal`, for others to test their verifiers with.
//!
//! `GOAUDIT_BLESS=1 cargo test -p goaudit-tests --test seal_corpus` makes the data anew ([`make`]): read the diff.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed unwrap, index or panic is a failed test; sizes are small"
)]

mod anchors;
mod attacker;
mod chain;
mod content;
mod make;
mod patch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use serde_json::Value;

/// Rows of the threat table of the design that the corpus must have a case of.
const THREATS: [&str; 22] = [
    "none",
    "edit",
    "delete",
    "insert",
    "reorder",
    "truncate",
    "drop-middle-segment",
    "drop-oldest-segment",
    "rollback",
    "fork",
    "replace-log",
    "reseal",
    "strip-seal",
    "unknown-algorithm",
    "clock",
    "kill",
    "bit-rot",
    "torn-write",
    "lost-key",
    "encryption",
    "all-keys-stolen",
    "anchor",
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/seal")
}

/// The corpus, made anew if that is asked for.
fn cases() -> Vec<Value> {
    let dir = corpus();
    if std::env::var_os("GOAUDIT_BLESS").is_some() {
        make::bless(&dir);
    }
    let text = std::fs::read_to_string(dir.join("cases.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["cases"].as_array().unwrap().clone()
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or_else(|| panic!("no {name}: {case}"))
}

#[test]
fn each_case_gets_its_verdict_and_exit_code() {
    let (dir, cases) = (corpus(), cases());
    let mut threats = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let name = text(case, "name");
        assert!(names.insert(name.to_owned()), "two cases are named {name}");
        threats.insert(text(case, "threat").to_owned());
        let folder = LogDir::new();
        let log = folder.join("log");
        patch::apply(&dir.join("log"), &case["changes"], &log);
        let arguments = case["arguments"].as_array().unwrap().iter().map(|argument| {
            // Files beside the log are the verifier's own.
            let argument = argument.as_str().unwrap();
            let own = dir.join(argument);
            if own.is_file() { own.display().to_string() } else { argument.to_owned() }
        });
        let mut command = goaudit();
        command.arg("verify").arg(&log).args(arguments).arg("--json").env_remove("GOAUDIT_LOG_KEY");
        if let Some(state) = case["state"].as_str() {
            // `--state` writes, too.
            let copy = folder.join("state");
            std::fs::copy(dir.join(state), &copy).unwrap();
            command.arg("--state").arg(copy);
        }
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = serde_json::from_str(&told)
            .unwrap_or_else(|_| panic!("{name}: {told}{}", String::from_utf8_lossy(&output.stderr)));
        let details: Vec<&str> = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["ok"].as_bool() == case["proven"].as_bool().or(Some(false)))
            .map(|check| check["detail"].as_str().unwrap())
            .chain(report["first_bad"]["what"].as_str())
            .collect();
        let says = text(case, "says");
        let right = report["verdict"] == case["verdict"]
            && output.status.code().map(i64::from) == case["exit"].as_i64()
            && report["freshness"] == case["freshness"]
            && details.iter().any(|detail| detail.contains(says));
        if !right {
            let told = (&report["verdict"], output.status.code(), &report["freshness"]);
            let expected = (&case["verdict"], &case["exit"], &case["freshness"]);
            wrong.push(format!("{name}: {told:?} for {expected:?}, {says:?} in {details:#?}"));
        }
        // In text as well.
        let shown = patch_free_text(&log, case, &dir);
        if right && !shown.starts_with(&text(case, "verdict").to_uppercase()) {
            wrong.push(format!("{name}, in text: {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases: {}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(threats, THREATS.iter().map(|threat| (*threat).to_owned()).collect(), "rows of the table");
}

/// The report for people.
fn patch_free_text(log: &Path, case: &Value, dir: &Path) -> String {
    let mut command = goaudit();
    command.arg("verify").arg(log).env_remove("GOAUDIT_LOG_KEY");
    for argument in case["arguments"].as_array().unwrap() {
        let argument = argument.as_str().unwrap();
        let own = dir.join(argument);
        if own.is_file() {
            command.arg(own)
        } else {
            command.arg(argument)
        };
    }
    if case["state"].is_string() {
        // Told by the first run.
        return text(case, "verdict").to_uppercase();
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn without_a_pin_it_is_said_that_there_is_none() {
    let output =
        goaudit().arg("verify").arg(corpus().join("log")).env_remove("GOAUDIT_LOG_KEY").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("NOT PROVEN  origin") && told.contains("the key is NOT pinned"), "{told}");
    // A file of several keys, as an auditor of many hosts has it, and the environment.
    for (name, value) in [("--log-key", "keys.txt"), ("", "log.vkey")] {
        let mut command = goaudit();
        command.arg("verify").arg(corpus().join("log"));
        let file = corpus().join(value);
        if name.is_empty() {
            command.env("GOAUDIT_LOG_KEY", file);
        } else {
            command.arg(name).arg(file);
        }
        let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(told.starts_with("OK") && !told.contains("NOT PROVEN  origin"), "{told}");
    }
}
