//! Witnesses, end to end: what they cosign proves freshness, and what was cut, rolled back or forked gets no cosignature.
//! Tessera uses our witness, and we use one that is built of Tessera's packages.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_push_string,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_fixture::{Build, toolchain};
use goaudit_tests::go_module;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::anchoring::{Follower, WitnessAt};
use goaudit_user::audit::cosignature::WitnessSigner;
use goaudit_user::audit::note::SignKey;
use goaudit_user::audit::{Now, Writer, WriterConfig, keys};
use serde_json::Value;

const ORIGIN: &str = "example.org/goaudit/test/audit";

/// A server that ends with the test.
struct Server {
    child: Child,
    /// Its first line.
    told: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(command: &mut Command) -> Server {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.starts_with("http://"), "{told}");
    Server { child, told: told.trim().to_owned() }
}

fn witness(state: &Path, logs: &[&str]) -> Server {
    let mut command = goaudit();
    command.args(["witness", "--listen", "127.0.0.1:0", "--name", "example.org/w1", "--state"]).arg(state);
    for log in logs {
        command.args(["--log", log]);
    }
    start(&mut command)
}

/// Adds batches of one event to a log, each with a checkpoint of its own.
fn grow(log: &Path, batches: u64, what: &str) -> String {
    let mut time = 5_000_000_000;
    let now = |time: u64| Now { realtime_ns: 1_700_000_000_000_000_000 + time, boottime_ns: time };
    let (mut writer, _) = Writer::open(log, WriterConfig::new(ORIGIN, [7; 16], [8; 16]), now(time)).unwrap();
    for batch in 0..batches {
        writer.append(format!("{what} {batch}").as_bytes(), time, false, now(time)).unwrap();
        time += 1_001_000_000;
        writer.tick(now(time)).unwrap();
    }
    writer.close(now(time)).unwrap();
    keys::load_public(log).unwrap().text()
}

fn anchor(log: &Path, witnesses: &[&str]) -> (Option<i32>, String) {
    let mut command = goaudit();
    command.arg("anchor").arg(log);
    for witness in witnesses {
        command.args(["--witness", witness]);
    }
    ended(&command.output().unwrap())
}

fn ended(output: &Output) -> (Option<i32>, String) {
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains("panicked"), "{told}");
    (output.status.code(), told)
}

fn copy(from: &Path, to: &Path) {
    go_module::copy(from, to).unwrap();
    // What guards against copies by mistake does not hold up an attacker.
    std::fs::remove_file(to.join("place")).ok();
    // The copy of a key is one that others may read.
    assert!(Command::new("chmod").arg("-R").arg("go-rwx").arg(to).status().unwrap().success());
}

/// Verifies with a policy; exit code, freshness, and the whole report.
fn verify(log: &Path, key: &str, policy: &Path, more: &[&str]) -> (Option<i32>, String, Value) {
    let output = goaudit()
        .arg("verify")
        .arg(log)
        .args(["--json", "--log-key", key, "--witness-policy"])
        .arg(policy)
        .args(more)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report["freshness"].as_str().unwrap().to_owned(), report)
}

fn policy(file: &Path, witnesses: &[&str]) {
    let mut text = String::new();
    for (number, witness) in witnesses.iter().enumerate() {
        let (_, key) = witness.split_once('+').unwrap();
        text.push_str(&format!("witness w{number} {key}\n"));
    }
    let names: Vec<String> = (0..witnesses.len()).map(|number| format!("w{number}")).collect();
    text.push_str(&format!("group all-of-them all {}\nquorum all-of-them\n", names.join(" ")));
    std::fs::write(file, text).unwrap();
}

/// The only anchors of a log, newest last.
fn anchors(log: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(log.join("anchors")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn cosignatures_prove_freshness_and_a_log_that_was_changed_gets_none() {
    let folder = LogDir::new();
    let (log, state, rules) = (folder.join("log"), folder.join("state"), folder.join("policy"));
    let key = grow(&log, 4, "event");
    let mut server = witness(&state, &[&key]);
    policy(&rules, &[&server.told]);
    let (code, fresh, report) = verify(&log, &key, &rules, &[]);
    assert_eq!((code, fresh.as_str()), (Some(4), "not_proven"), "nobody cosigned: {report}");
    let (code, told) = anchor(&log, &[&server.told]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("example.org/w1 cosigned") && anchors(&log).len() == 1, "{told}");
    let (code, fresh, report) = verify(&log, &key, &rules, &[]);
    // 4 at best: the events of this log are not goaudit's.
    assert_eq!((code, fresh.as_str()), (Some(4), "proven"), "{report}");
    let early = folder.join("early");
    copy(&log, &early);
    // The log goes on, and the witness with it, also after it was started again; one anchor an hour is kept.
    grow(&log, 9, "more");
    drop(server);
    server = witness(&state, &[&key]);
    policy(&rules, &[&server.told]);
    let (code, told) = anchor(&log, &[&server.told]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(anchors(&log).len(), 1);
    assert_eq!(verify(&log, &key, &rules, &["--max-age", "1h"]).1, "proven");
    std::thread::sleep(Duration::from_millis(1100));
    let (code, fresh, report) = verify(&log, &key, &rules, &["--max-age", "0s"]);
    assert_eq!((code, fresh.as_str()), (Some(4), "not_proven"), "{report}");
    // Rolled back: by itself the copy looks fresh as of its own anchor; with what was kept elsewhere, or asking the
    // witness, it does not.
    assert_eq!(verify(&early, &key, &rules, &[]).1, "proven");
    let kept = anchors(&log).pop().unwrap().display().to_string();
    let (code, fresh, report) = verify(&early, &key, &rules, &["--anchor", &kept]);
    assert_eq!((code, fresh.as_str()), (Some(3), "not_proven"), "{report}");
    assert!(report.to_string().contains("missing at the end"), "{report}");
    let (code, told) = anchor(&early, &[&server.told]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("rolled back"), "{told}");
    // Forked: the copy goes on with a history of its own, longer than what the witness has seen.
    grow(&early, 30, "other");
    let (code, told) = anchor(&early, &[&server.told]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("another history"), "{told}");
    let (code, fresh, report) = verify(&early, &key, &rules, &["--anchor", &kept]);
    assert_eq!((code, fresh.as_str()), (Some(3), "not_proven"), "{report}");
    assert!(report.to_string().contains("history was replaced"), "{report}");
    // The good log is not concerned.
    assert_eq!(anchor(&log, &[&server.told]).0, Some(0));
    // Two witnesses are demanded, and one is there.
    let stranger = WitnessSigner::from_seed("example.org/w2", &[5; 32]).unwrap();
    policy(&rules, &[&server.told, &format!("http://127.0.0.1:1+{}", stranger.public().text())]);
    assert_eq!(verify(&log, &key, &rules, &[]).1, "not_proven");
    // A changed anchor proves nothing.
    policy(&rules, &[&server.told]);
    let path = anchors(&log).pop().unwrap();
    let good = std::fs::read(&path).unwrap();
    for place in (0..good.len()).step_by(7) {
        let mut changed = good.clone();
        changed[place] ^= 1;
        std::fs::write(&path, changed).unwrap();
        let (code, fresh, _) = verify(&log, &key, &rules, &[]);
        assert!(fresh == "not_proven" && code != Some(0), "byte {place}");
    }
}

#[test]
fn the_verdict_is_ok_only_with_the_cosignatures_that_are_demanded() {
    let folder = LogDir::new();
    let (log, rules) = (folder.join("log"), folder.join("policy"));
    let output = goaudit().args(["demo", "-o", "none", "-w"]).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = keys::load_public(&log).unwrap().text();
    let server = witness(&folder.join("state"), &[&key]);
    policy(&rules, &[&server.told]);
    let (code, fresh, report) = verify(&log, &key, &rules, &[]);
    assert_eq!((code, fresh.as_str()), (Some(4), "not_proven"), "{report}");
    assert_eq!(anchor(&log, &[&server.told]).0, Some(0));
    let (code, fresh, report) = verify(&log, &key, &rules, &["--max-age", "1h"]);
    assert_eq!((code, fresh.as_str()), (Some(0), "proven"), "{report}");
    std::fs::write(&rules, "quorum none\n").unwrap();
    assert_eq!(verify(&log, &key, &rules, &[]).0, Some(4), "a policy that demands nothing proves nothing");
    let mut bad = goaudit();
    bad.arg("verify").arg(&log).args(["--log-key", &key, "--witness-policy"]).arg(log.join("checkpoint"));
    assert_eq!(bad.output().unwrap().status.code(), Some(2));
}

#[test]
fn mistakes_are_named() {
    let folder = LogDir::new();
    let log = folder.join("log");
    let key = grow(&log, 1, "event");
    let stranger = SignKey::from_seed("example.org/other", &[9; 32]).unwrap().public().text();
    let server = witness(&folder.join("state"), &[&stranger]);
    let (code, told) = anchor(&log, &[&server.told]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("404") && told.contains("log.vkey"), "{told}");
    let nobody = format!("http://127.0.0.1:1+{}", server.told.split_once('+').unwrap().1);
    assert_eq!(anchor(&log, &[&nobody]).0, Some(1));
    for wrong in ["http://x", "ftp://x+a+b+c", "nonsense"] {
        assert_eq!(anchor(&log, &[wrong]).0, Some(2), "{wrong}");
    }
    let run = |arguments: &[&str]| ended(&goaudit().args(arguments).output().unwrap());
    let state = folder.join("new").display().to_string();
    let (code, told) = run(&["witness", "--state", &state, "--log", &key]);
    assert!(code == Some(2) && told.contains("--name"), "{told}");
    let used = folder.join("state").display().to_string();
    let (code, told) = run(&["witness", "--state", &used, "--log", &key, "--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && told.contains("another goaudit"), "{told}");
    drop(server);
    let (code, told) = run(&["witness", "--state", &used, "--log", &key, "--name", "other"]);
    assert!(code == Some(2) && told.contains("example.org/w1"), "{told}");
    let (code, told) = run(&["witness", "--state", &used, "--log", &key, "--listen", "256.0.0.1:0"]);
    assert!(code == Some(1) && told.contains("listen"), "{told}");
}

#[test]
fn a_log_that_is_written_is_cosigned_and_never_waits() {
    let folder = LogDir::new();
    let log = folder.join("log");
    let key = grow(&log, 1, "event");
    let server = witness(&folder.join("state"), &[&key]);
    // One that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, vkey) = server.told.split_once('+').unwrap();
    let witnesses = [server.told.clone(), format!("http://{}+{vkey}", silent.local_addr().unwrap())]
        .map(|text| WitnessAt::parse(&text).unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let follower = Follower::start(
        &log,
        witnesses.to_vec(),
        Duration::from_millis(50),
        Box::new(move |witness, result| {
            tell.send((witness.url.clone(), result.map(|anchored| anchored.size))).ok();
        }),
    )
    .unwrap();
    // Written while the silent one is waited for.
    grow(&log, 5, "more");
    let (_, first) = told.recv().unwrap();
    assert!(first.unwrap() >= 1);
    follower.finish();
    let all: Vec<_> = told.iter().collect();
    assert!(all.iter().any(|(_, result)| matches!(result, Ok(size) if *size >= 6)), "{all:?}");
    assert!(all.iter().any(|(url, result)| *url == witnesses[1].url && result.is_err()), "{all:?}");
    let rules = folder.join("policy");
    policy(&rules, &[&server.told]);
    assert_eq!(verify(&log, &key, &rules, &[]).1, "proven");
}

fn tessera(test: &str) -> Option<PathBuf> {
    let toolchain = toolchain("1.26.8").map_err(|why| tell_skip(test, "go toolchain 1.26.8", &why)).ok()?;
    go_module::fetch(&toolchain, "tessera")
        .map_err(|why| tell_skip(test, "the Go module proxy", &format!("{why:#}")))
        .ok()?;
    Some(toolchain.build(&Build::of("tessera")).unwrap())
}

#[test]
fn tessera_takes_our_witness_and_our_cosignatures() {
    let Some(tessera) = tessera("tessera_takes_our_witness_and_our_cosignatures") else { return };
    let folder = LogDir::new();
    let theirs = SignKey::from_seed("example.org/tessera", &[6; 32]).unwrap();
    let (log, dir, rules) = (folder.join("log"), folder.join("tessera"), folder.join("policy"));
    let key = grow(&log, 3, "event");
    let server = witness(&folder.join("state"), &[&key, &theirs.public().text()]);
    let (url, wkey) = server.told.split_once('+').unwrap();
    std::fs::write(&rules, format!("witness w {wkey} {url}\nquorum w\n")).unwrap();
    // Twice: the second run must prove that it extends the first.
    for leaves in [&["one", "two"][..], &["three", "four", "five"]] {
        let output = Command::new(&tessera)
            .arg("witnessed")
            .args([&dir, &rules])
            .args(leaves)
            .env("LOG_PRIVATE_KEY", theirs.text().as_str())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let cosigned = |file: &Path, key: &str, wkey: &str| {
        Command::new(&tessera).arg("cosigned").arg(file).args([key, wkey]).output().unwrap()
    };
    let output = cosigned(&dir.join("checkpoint"), &theirs.public().text(), wkey);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(anchor(&log, &[&server.told]).0, Some(0));
    let file = anchors(&log).pop().unwrap();
    let output = cosigned(&file, &key, wkey);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let time: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(time > 1_700_000_000);
    let stranger = WitnessSigner::from_seed("example.org/w1", &[9; 32]).unwrap().public().text();
    assert!(!cosigned(&file, &key, &stranger).status.success());
}

#[test]
fn a_witness_of_other_peoples_code_cosigns_our_logs() {
    let Some(tessera) = tessera("a_witness_of_other_peoples_code_cosigns_our_logs") else { return };
    let folder = LogDir::new();
    let (log, rules) = (folder.join("log"), folder.join("policy"));
    let key = grow(&log, 3, "event");
    let signer = WitnessSigner::from_seed("example.net/theirs", &[4; 32]).unwrap();
    let mut command = Command::new(&tessera);
    command.args(["witness", "127.0.0.1:0", &key]).env("WITNESS_PRIVATE_KEY", signer.text().as_str());
    let server = start(&mut command);
    let at = format!("{}+{}", server.told, signer.public().text());
    policy(&rules, &[&at]);
    let early = folder.join("early");
    copy(&log, &early);
    for more in 0..3 {
        let (code, told) = anchor(&log, &[&at]);
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(verify(&log, &key, &rules, &[]).1, "proven");
        // Without its own anchors the log learns from the witness where it was.
        if more == 1 {
            std::fs::remove_dir_all(log.join("anchors")).unwrap();
        }
        grow(&log, 2 + more, "more");
    }
    grow(&early, 20, "other");
    let (code, told) = anchor(&early, &[&at]);
    assert!(code == Some(3) && told.contains("another history"), "{told}");
}
