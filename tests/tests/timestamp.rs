//! Time stamps (RFC 3161) end to end, with an authority made of openssl: it accepts what we store, and we find what does not fit.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use goaudit_tests::ability::tell_skip;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::{Now, Writer, WriterConfig, keys};
use goaudit_user::http::{Reply, Server};
use serde_json::Value;

fn openssl(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).current_dir(dir).output().unwrap()
}

/// Makes an authority in `dir`: a root, and a certificate that may only stamp times.
fn authority(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let config = "[tsa]\ndefault_tsa = t\n[t]\nserial = serial\ncrypto_device = builtin\nsigner_cert = tsa.pem\n\
                  signer_key = tsa.key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n\
                  digests = sha256\naccuracy = secs:1\nordering = no\ness_cert_id_alg = sha256\n\
                  [ext]\nextendedKeyUsage = critical,timeStamping\n";
    std::fs::write(dir.join("tsa.cnf"), config).unwrap();
    std::fs::write(dir.join("serial"), "01\n").unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let root = [
        &["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root", "-days", "2"][..],
        &key,
    ];
    let csr = [&["req", "-new", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=authority"][..], &key];
    let sign = [
        "x509",
        "-req",
        "-in",
        "tsa.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-out",
        "tsa.pem",
        "-extfile",
        "tsa.cnf",
        "-extensions",
        "ext",
    ];
    for arguments in [root.concat(), csr.concat(), sign.to_vec()] {
        let output = openssl(dir, &arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What an authority does with a query.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers it.
    Honest,
    /// Gives the first answer again.
    Replays,
    /// Answers a status.
    Status(u16),
    /// Answers something else.
    Talks,
}

/// An authority's URL.
fn serve(dir: &Path, manner: Manner) -> String {
    let server = Server::bind("127.0.0.1:0", 1 << 16).unwrap();
    let url = format!("http://{}/tsr", server.address().unwrap());
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        server.run(move |method, _, query| {
            let ok = |body| Reply { status: 200, content_type: "application/timestamp-reply", body };
            let first = dir.join("first.tsr");
            match manner {
                Manner::Status(status) => return Reply::status(status),
                Manner::Talks => return ok(b"good afternoon".to_vec()),
                Manner::Replays if first.exists() => return ok(std::fs::read(first).unwrap()),
                Manner::Replays | Manner::Honest => {}
            }
            assert_eq!(method, "POST");
            std::fs::write(dir.join("query.tsq"), query).unwrap();
            let arguments =
                ["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "answer.tsr"];
            let output = openssl(&dir, &arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::copy(dir.join("answer.tsr"), &first).unwrap();
            ok(std::fs::read(dir.join("answer.tsr")).unwrap())
        })
    });
    url
}

/// A log of three batches more, the last of which is so many seconds ahead of the clock; its key.
fn grow(log: &Path, ahead_s: u64) -> String {
    let real = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let mut time = 5_000_000_000;
    let now = |time: u64| Now {
        realtime_ns: real - 60_000_000_000 + ahead_s * 1_000_000_000 + time,
        boottime_ns: time,
    };
    let config = WriterConfig::new("example.org/goaudit/test/audit", [7; 16], [8; 16]);
    let (mut writer, _) = Writer::open(log, config, now(time)).unwrap();
    for batch in 0..3 {
        writer.append(format!("event {batch} {ahead_s}").as_bytes(), time, false, now(time)).unwrap();
        time += 1_001_000_000;
        writer.tick(now(time)).unwrap();
    }
    writer.close(now(time)).unwrap();
    keys::load_public(log).unwrap().text()
}

fn anchor(log: &Path, url: &str) -> (Option<i32>, String) {
    let output = goaudit().arg("anchor").arg(log).args(["--tsa", url]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Exit code of `verify`, and what it says of time stamps.
fn verify(log: &Path, key: &str) -> (Option<i32>, String) {
    let output = goaudit().arg("verify").arg(log).args(["--json", "--log-key", key]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let checks = report["checks"].as_array().unwrap();
    let told = checks.iter().find(|check| check["name"] == "timestamps");
    assert!(told.is_none_or(|check| check["ok"] == false), "a signature that was not checked proves nothing");
    (output.status.code(), told.map(|check| check["detail"].to_string()).unwrap_or_default())
}

/// The only file in a log's anchors with an ending.
fn only(log: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<_> = std::fs::read_dir(log.join("anchors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop().unwrap()
}

fn has_openssl(test: &str) -> bool {
    let there =
        Command::new("openssl").args(["ts", "-help"]).output().is_ok_and(|output| output.status.success());
    if !there {
        tell_skip(test, "openssl with ts", "it did not start, or knows no `ts`");
    }
    there
}

#[test]
fn openssl_accepts_what_we_store_and_verify_finds_what_does_not_fit() {
    if !has_openssl("openssl_accepts_what_we_store_and_verify_finds_what_does_not_fit") {
        return;
    }
    let folder = LogDir::new();
    let (log, tsa) = (folder.join("log"), folder.join("tsa"));
    authority(&tsa);
    let key = grow(&log, 0);
    let (code, before) = verify(&log, &key);
    assert!(before.is_empty(), "{before}");
    let url = serve(&tsa, Manner::Honest);
    let (ended, told) = anchor(&log, &url);
    assert!(ended == Some(0) && told.contains("stamped"), "{told}");
    let (answer, note) = (only(&log, "tsr"), only(&log, "note"));
    let by_openssl = |note: &Path| {
        let (note, answer) = (note.display().to_string(), answer.display().to_string());
        openssl(&tsa, &["ts", "-verify", "-data", &note, "-in", &answer, "-CAfile", "ca.pem"])
    };
    let output = by_openssl(&note);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&note).unwrap(), std::fs::read(log.join("checkpoint")).unwrap());
    // 4 at best: the events of these logs are not goaudit's.
    assert_eq!(code, Some(4));
    let (good, told) = verify(&log, &key);
    assert!(good == code && told.contains("fit the log"), "{told}");
    // The log goes on, and the stamp still fits.
    let early = std::fs::read(&answer).unwrap();
    grow(&log, 0);
    assert_eq!(verify(&log, &key).0, code);
    // Another checkpoint beside the answer: neither openssl nor we take it.
    let kept = std::fs::read(&note).unwrap();
    std::fs::copy(log.join("checkpoint"), &note).unwrap();
    assert!(!by_openssl(&note).status.success());
    let (found, told) = verify(&log, &key);
    assert!(found == Some(4) && told.contains("not of the checkpoint beside it"), "{told}");
    std::fs::write(&note, &kept).unwrap();
    // A change of any part of the answer that we read.
    for place in (0..early.len()).step_by(37) {
        let mut changed = early.clone();
        changed[place] ^= 1;
        std::fs::write(&answer, &changed).unwrap();
        let output = verify(&log, &key);
        assert_eq!(output.0, Some(4), "byte {place}: {}", output.1);
        assert!(!by_openssl(&note).status.success(), "openssl takes a change of byte {place}");
    }
    std::fs::write(&answer, &early[..early.len() / 2]).unwrap();
    assert_eq!(verify(&log, &key).0, Some(4));
    std::fs::write(&answer, &early).unwrap();
    std::fs::remove_file(&note).unwrap();
    assert_eq!(verify(&log, &key).0, Some(4));
}

#[test]
fn a_log_that_does_not_fit_its_stamps_is_found() {
    if !has_openssl("a_log_that_does_not_fit_its_stamps_is_found") {
        return;
    }
    let folder = LogDir::new();
    let (log, tsa) = (folder.join("log"), folder.join("tsa"));
    authority(&tsa);
    let url = serve(&tsa, Manner::Honest);
    let key = grow(&log, 0);
    let early = folder.join("early");
    goaudit_tests::go_module::copy(&log, &early).unwrap();
    // What guards against copies by mistake does not hold up an attacker.
    std::fs::remove_file(early.join("place")).ok();
    assert!(Command::new("chmod").arg("-R").arg("go-rwx").arg(&early).status().unwrap().success());
    grow(&log, 0);
    assert_eq!(anchor(&log, &url).0, Some(0));
    // An older copy that somebody gave the newer anchors, and one that went another way.
    goaudit_tests::go_module::copy(&log.join("anchors"), &early.join("anchors")).unwrap();
    let (code, told) = verify(&early, &key);
    assert!(code == Some(3) && told.contains("missing at the end"), "{told}");
    grow(&early, 1);
    grow(&early, 2);
    let (code, told) = verify(&early, &key);
    assert!(code == Some(3) && told.contains("history was replaced"), "{told}");
    // A recorder whose clock was an hour ahead.
    let ahead = folder.join("ahead");
    let key = grow(&ahead, 3600);
    assert_eq!(anchor(&ahead, &url).0, Some(0));
    let (code, told) = verify(&ahead, &key);
    assert!(code == Some(4) && told.contains("clock was ahead"), "{told}");
}

#[test]
fn bad_answers_are_refused_and_not_stored() {
    if !has_openssl("bad_answers_are_refused_and_not_stored") {
        return;
    }
    let folder = LogDir::new();
    let (log, tsa) = (folder.join("log"), folder.join("tsa"));
    authority(&tsa);
    grow(&log, 0);
    let replays = serve(&tsa, Manner::Replays);
    assert_eq!(anchor(&log, &replays).0, Some(0));
    std::fs::remove_dir_all(log.join("anchors")).unwrap();
    for (url, named) in [
        (replays, "nonce"),
        (serve(&tsa, Manner::Status(503)), "503"),
        (serve(&tsa, Manner::Talks), "read a time stamp"),
        ("http://127.0.0.1:1/".to_owned(), "ask http://127.0.0.1:1/"),
    ] {
        let (code, told) = anchor(&log, &url);
        assert!(code == Some(1) && told.contains(named), "{url}: {told}");
    }
    assert!(!log.join("anchors").exists());
    assert_eq!(anchor(&log, "tsa.example.org").0, Some(2));
}
