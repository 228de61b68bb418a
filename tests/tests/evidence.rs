//! Evidence packages: the same bytes again, and checked by tools that nobody here wrote.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_fixture::{Build, toolchain};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::note::SignKey;
use goaudit_user::audit::{Now, Writer, WriterConfig, hex, keys};
use serde_json::Value;

/// A log of real events; its key.
fn demo(folder: &LogDir) -> (PathBuf, String) {
    let log = folder.join("log");
    let output = goaudit().args(["demo", "-o", "none", "-w"]).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = keys::load_public(&log).unwrap().text();
    (log, key)
}

fn pack(log: &Path, arguments: &[&str], to: &Path) -> (Option<i32>, String) {
    let output = goaudit().arg("evidence").arg(log).args(arguments).arg("-o").arg(to).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("panicked"), "{told}");
    (output.status.code(), told)
}

/// Python's own zip reader takes a package apart.
fn unpack(test: &str, package: &Path, to: &Path) -> bool {
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                  for i in z.infolist(): assert i.date_time == (1980, 1, 1, 0, 0, 0), i\nz.extractall(sys.argv[2])";
    match Command::new("python3").args(["-c", script]).args([package, to]).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            tell_skip(test, "python3", &error.to_string());
            false
        }
    }
}

fn sums(at: &Path) -> Output {
    Command::new("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(at).output().unwrap()
}

/// What the README of a package says about its proofs.
fn by_hand(at: &Path, key: &str) -> Output {
    let commands = "for proof in proofs/*.tlog-proof; do mkdir -p checked && \
                    (cd checked && PROOF=../$proof bash ../check.sh) || exit 3; done";
    let readme = std::fs::read_to_string(at.join("README.md")).unwrap();
    assert!(readme.contains("PROOF=../$proof") && readme.contains("bash ../check.sh"));
    Command::new("bash").args(["-c", commands]).env("KEY", key).current_dir(at).output().unwrap()
}

#[test]
fn a_package_is_the_same_bytes_again_and_stands_by_itself() {
    let test = "a_package_is_the_same_bytes_again_and_stands_by_itself";
    let folder = LogDir::new();
    let (log, key) = demo(&folder);
    // What others said goes with it; the secret key never does.
    std::fs::create_dir(log.join("anchors")).unwrap();
    std::fs::write(log.join("anchors/00000000000000000001-01020304.note"), "a note\n").unwrap();
    let (first, second) = (folder.join("first.zip"), folder.join("second.zip"));
    for package in [&first, &second] {
        let (code, told) = pack(&log, &[], package);
        assert_eq!(code, Some(0), "{told}");
    }
    let bytes = std::fs::read(&first).unwrap();
    assert_eq!(bytes, std::fs::read(&second).unwrap());
    let secret = std::fs::read(log.join("keys/log.key")).unwrap();
    assert!(!bytes.windows(secret.len() - 1).any(|window| window == &secret[..secret.len() - 1]));
    std::fs::remove_dir_all(&log).unwrap();
    let at = folder.join("at");
    if let Ok(output) = Command::new("unzip").arg("-t").arg(&first).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    if !unpack(test, &first, &at) {
        return;
    }
    let output = sums(&at);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The sums are of all files, and the manifest tells of all but itself and them.
    let listed = String::from_utf8(output.stdout).unwrap().lines().count();
    let manifest: Value = serde_json::from_slice(&std::fs::read(at.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len() + 1, listed);
    assert_eq!((manifest["scope"].as_str(), manifest["log_key"].as_str()), (Some("log"), Some(&*key)));
    assert_eq!(manifest["configs"][0]["command"][1], "demo");
    assert_eq!(manifest["tool"]["sha256"].as_str().unwrap().len(), 64);
    assert!(at.join("log/anchors/00000000000000000001-01020304.note").exists());
    let report = std::fs::read_to_string(at.join("attach-report.jsonl")).unwrap();
    assert!(report.lines().count() >= 2 && !at.join("events.jsonl").exists());
    // goaudit, and the page's commands.
    let output = goaudit().arg("verify").arg(at.join("log")).args(["--log-key", &key]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let output = by_hand(&at, &key);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("PROVEN").count(), 1);
    // A change of a file is found by its sum.
    let path = at.join("log/checkpoint");
    let mut changed = std::fs::read(&path).unwrap();
    changed[5] ^= 1;
    std::fs::write(&path, changed).unwrap();
    assert!(!sums(&at).status.success());
}

#[test]
fn single_events_are_proven_in_their_package() {
    let test = "single_events_are_proven_in_their_package";
    let folder = LogDir::new();
    let (log, key) = demo(&folder);
    let package = folder.join("case.zip");
    let (code, told) = pack(&log, &["3", "7-9"], &package);
    assert_eq!(code, Some(0), "{told}");
    let at = folder.join("at");
    if !unpack(test, &package, &at) {
        return;
    }
    assert!(sums(&at).status.success());
    assert!(!at.join("log").read_dir().unwrap().any(|entry| entry.unwrap().path().extension().is_some()));
    let manifest: Value = serde_json::from_slice(&std::fs::read(at.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["events"].to_string(), "[[3,3],[7,9]]");
    let events = std::fs::read_to_string(at.join("events.jsonl")).unwrap();
    let numbers: Vec<u64> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 7, 8, 9]);
    let output = by_hand(&at, &key);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("PROVEN").count(), 4);
    let name = key.split('+').next().unwrap();
    let stranger = SignKey::from_seed(name, &[9; 32]).unwrap().public().text();
    assert!(!by_hand(&at, &stranger).status.success());
    // Go's note and tlog packages on the same proofs.
    match toolchain("1.26.8") {
        Ok(go) => {
            let tlog = go.build(&Build::of("tlog")).unwrap();
            let mut proven = 0;
            for entry in at.join("proofs").read_dir().unwrap() {
                let path = entry.unwrap().path();
                let output = Command::new(&tlog).arg("check").arg(&path).arg(&key).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                for line in String::from_utf8(output.stdout).unwrap().lines() {
                    let (seq, bytes) = line.split_once(' ').unwrap();
                    let by_hand = std::fs::read(at.join(format!("checked/event.{seq}"))).unwrap();
                    assert_eq!(bytes, hex(&by_hand));
                    proven += 1;
                }
                assert!(
                    !Command::new(&tlog)
                        .arg("check")
                        .arg(&path)
                        .arg(&stranger)
                        .output()
                        .unwrap()
                        .status
                        .success()
                );
            }
            assert_eq!(proven, 4);
        }
        Err(why) => tell_skip(test, "go toolchain 1.26.8", &why),
    }
    // By time: the whole span has all, and a span of nothing none.
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    let time = first["ts"].as_str().unwrap();
    let (code, told) = pack(&log, &["--from", time, "--to", time], &folder.join("one.zip"));
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = pack(&log, &["--to", "1971-01-01T00:00:00Z"], &folder.join("none.zip"));
    assert!(code == Some(1) && told.contains("no event"), "{told}");
}

#[test]
fn a_log_that_is_written_is_packed_up_to_its_last_checkpoint() {
    let test = "a_log_that_is_written_is_packed_up_to_its_last_checkpoint";
    let folder = LogDir::new();
    let log = folder.join("log");
    let now = |time: u64| Now { realtime_ns: 1_700_000_000_000_000_000 + time, boottime_ns: time };
    let config = WriterConfig::new("example.org/goaudit/test/audit", [7; 16], [8; 16]);
    let (mut writer, _) = Writer::open(&log, config, now(5)).unwrap();
    for batch in 1..4 {
        writer.append(b"event", batch * 2_000_000_000, false, now(batch * 2_000_000_000)).unwrap();
        writer.tick(now(batch * 2_000_000_000 + 1_100_000_000)).unwrap();
    }
    let key = keys::load_public(&log).unwrap().text();
    let package = folder.join("live.zip");
    let (code, told) = pack(&log, &[], &package);
    assert_eq!(code, Some(0), "{told}");
    writer.close(now(60_000_000_000)).unwrap();
    let at = folder.join("at");
    if !unpack(test, &package, &at) {
        return;
    }
    assert!(sums(&at).status.success());
    let output =
        goaudit().arg("verify").arg(at.join("log")).args(["--json", "--log-key", &key]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "incomplete", "whole frames, and no orderly end: {report}");
    assert_eq!(report["unsealed_events"], 0, "{report}");
    assert!(report["sealed_events"].as_u64().unwrap() >= 1, "{report}");
}

#[test]
fn what_cannot_be_packed_is_named_and_leaves_nothing_behind() {
    let folder = LogDir::new();
    let (log, key) = demo(&folder);
    let package = folder.join("case.zip");
    let name = key.split('+').next().unwrap();
    let stranger = SignKey::from_seed(name, &[9; 32]).unwrap().public().text();
    for (arguments, code, named) in [
        (&["999999"][..], 1, "the log has"),
        (&["7-3"], 2, "from the smaller"),
        (&["0-70000"], 2, "65536"),
        (&["3", "--from", "2026-01-01T00:00:00Z"], 2, "--from"),
        (&["--from", "yesterday"], 2, "yesterday"),
        (&["--log-key", &stranger], 3, "no signature by"),
    ] {
        let (ended, told) = pack(&log, arguments, &package);
        assert!(ended == Some(code) && told.contains(named), "{arguments:?}: {ended:?} {told}");
        assert!(!package.exists() && !folder.join("case.zip.part").exists(), "{arguments:?}");
    }
    assert_eq!(pack(&folder.join("nowhere"), &[], &package).0, Some(1));
    assert_eq!(pack(&log, &[], &folder.join("no/such/folder.zip")).0, Some(1));
}
