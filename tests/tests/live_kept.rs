//! A log that is written for long: witnesses cosign it meanwhile, and what is old enough is given up.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap or panic is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use goaudit_tests::capture::{Agent, replay, segments, until, verify};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_user::audit::{Writer, WriterConfig, keys};
use goaudit_user::host::{clock, identity};
use serde_json::Value;

/// A witness that ends with the test.
struct Witness(Child);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn work() {
    assert!(Command::new("true").status().unwrap().success());
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn check<'a>(verified: &'a Value, name: &str) -> &'a Value {
    let checks = verified.get("checks").and_then(Value::as_array).into_iter().flatten();
    let found = checks.into_iter().find(|check| check.get("name").is_some_and(|found| found == name));
    found.unwrap_or_else(|| panic!("no {name}: {verified}"))
}

/// Nothing is wrong with the log. That nothing was lost is not promised: the whole host is recorded, whatever runs on it.
fn assert_sealed(verified: &Value) {
    for name in
        ["structure", "segments", "chain", "contents", "signatures", "epoch_keys", "retention", "clean_end"]
    {
        assert!(check(verified, name).get("ok").is_some_and(|ok| ok == true), "{name}: {verified}");
    }
    assert_ne!(verified.get("code").and_then(Value::as_u64), Some(3), "{verified}");
}

/// The recording ended in order.
fn assert_ended(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{told}");
    told
}

#[test]
fn a_running_witness_cosigns_what_is_recorded() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let output = goaudit().arg("init").arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = keys::load_public(&log).unwrap().text();
    let mut command = goaudit();
    command.args([
        "witness",
        "--listen",
        "127.0.0.1:0",
        "--name",
        "example.org/w1",
        "--log",
        &key,
        "--state",
    ]);
    let mut witness = Witness(command.arg(folder.join("state")).stdout(Stdio::piped()).spawn().unwrap());
    let mut told = String::new();
    BufReader::new(witness.0.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let at = told.trim();
    let agent = Agent::start(&log, &["--witness", at, "--witness-every", "100ms"]);
    work();
    until("a cosignature while recording", || files(&log.join("anchors")) > 0);
    work();
    let said = assert_ended(&agent.interrupt());
    assert!(said.contains("example.org/w1 cosigns the log"), "{said}");
    // Asked once more at the end: the whole log is cosigned.
    let rules = folder.join("policy");
    std::fs::write(&rules, format!("witness w {}\nquorum w\n", at.split_once('+').unwrap().1)).unwrap();
    let rules = rules.display().to_string();
    let verified = verify(&log, &["--log-key", &key, "--witness-policy", &rules, "--max-age", "1h"]);
    assert_sealed(&verified);
    assert_eq!(verified.get("freshness").and_then(Value::as_str), Some("proven"), "{verified}");
    let size = verified.get("size").and_then(Value::as_u64).unwrap();
    let detail = check(&verified, "freshness").get("detail").unwrap().to_string();
    // What comes after the last anchor is the end of the epoch alone.
    let cosigned = detail.split_once("(size ").unwrap().1.split_once(')').unwrap().0.parse::<u64>().unwrap();
    assert!(cosigned <= size && cosigned + 1 >= size, "{detail} of {size}");
}

#[test]
fn what_is_old_enough_is_pruned_while_recording_goes_on() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    // As `init --keep`, but for a second instead of days.
    let mut config = WriterConfig::new("example.org/kept", identity::host_id(), identity::boot_id());
    config.retention = Duration::from_secs(1);
    let (writer, _) = Writer::open(&log, config, clock::now()).unwrap();
    writer.close(clock::now()).unwrap();
    let agent = Agent::start(&log, &["--roll-age", "1s"]);
    until("three pruned segments", || {
        work();
        files(&log.join("pruned")) >= 3
    });
    let whole = segments(&log).len();
    // A log that is being written and pruned verifies, too.
    assert_sealed(&verify(&log, &[]));
    work();
    assert_ended(&agent.interrupt());
    let verified = verify(&log, &[]);
    assert_sealed(&verified);
    let retention = check(&verified, "retention");
    assert!(
        retention.get("detail").unwrap().to_string().contains("were pruned as the log said"),
        "{retention}"
    );
    assert!(whole >= 2 && !replay(&log, &[]).is_empty());
}
