//! Personal fields, end to end: `init --personal`, `shred`; read with and without a key; opened by code that nobody here
//! wrote (filippo.io/age and Go's AES-GCM).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use goaudit_tests::age_key::{IDENTITY, RECIPIENT, STRANGER};
use goaudit_tests::go_module;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::personal::Personal;
use goaudit_user::audit::{Now, ReadOptions, Reader, Writer, WriterConfig, hex, keys};
use goaudit_user::event::{Authz, Event, Payload};
use goaudit_user::host::identity;
use goaudit_user::personal::Vault;
use serde_json::{Value, json};

/// The events of the demo, real ones, and a decision about somebody.
fn events(folder: &LogDir) -> Vec<(Now, Event)> {
    let log = folder.join("demo");
    let output = goaudit().args(["demo", "-o", "none", "-w"]).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut reader = Reader::open(&log, ReadOptions::default()).unwrap();
    let mut events = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        let info = batch.meta();
        let now = Now { realtime_ns: info.realtime_first_ns, boottime_ns: info.boottime_first_ns };
        events.extend(batch.events().map(|event| (now, Event::decode(event).unwrap())));
    }
    let (now, last) = events.last().unwrap().clone();
    let authz = Authz {
        library: "casbin".into(),
        subject_id: Some("alice@example.org".into()),
        object: Some("ledger".into()),
        decision: Some(true),
        ..Authz::default()
    };
    events.push((now, Event { payload: Payload::Authz(Box::new(authz)), source: None, ..last }));
    events
}

/// A log of these events; with personal fields of some classes encrypted, or none.
fn write(log: &Path, events: &[(Now, Event)], classes: &[&str]) {
    // `goaudit shred` goes on with it, on this host.
    let mut config =
        WriterConfig::new("example.org/goaudit/test/audit", identity::host_id(), identity::boot_id());
    config.personal = (!classes.is_empty()).then(|| Personal {
        classes: classes.iter().map(|class| (*class).to_owned()).collect(),
        recipients: vec![RECIPIENT.to_owned()],
        shred_after_days: 0,
    });
    let (mut writer, opened) = Writer::open(log, config, events[0].0).unwrap();
    let mut vault = opened.personal.as_ref().map(|personal| Vault::new(personal).unwrap());
    for (now, event) in events {
        let mut bytes = Vec::new();
        match &mut vault {
            Some(vault) => vault.seal(event, &mut writer, *now).unwrap().encode(&mut bytes),
            None => event.encode(&mut bytes),
        }
        writer.append(&bytes, event.ktime.0, false, *now).unwrap();
    }
    writer.close(events.last().unwrap().0).unwrap();
}

fn run(words: &[&str], log: &Path, more: &[&str]) -> Output {
    let output = goaudit().args(words).arg(log).args(more).env_remove("GOAUDIT_LOG_KEY").output().unwrap();
    let told = text(&output.stderr);
    assert!(!told.contains("panicked"), "{told}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn replayed(log: &Path, more: &[&str]) -> Vec<Value> {
    let output = run(&["replay"], log, &[&["-o", "json"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A file with this text.
fn file(folder: &LogDir, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What is said of a field that is not there.
fn why<'a>(event: &'a Value, field: &str) -> &'a str {
    let missing = event["missing"].as_array().unwrap();
    missing
        .iter()
        .find(|missing| missing["field"] == field)
        .map_or("", |found| found["reason"].as_str().unwrap())
}

#[test]
fn who_has_no_key_sees_everything_else() {
    let folder = LogDir::new();
    let events = events(&folder);
    let (log, plain) = (folder.join("log"), folder.join("plain"));
    write(&log, &events, &["subject", "arguments", "user"]);
    write(&plain, &events, &[]);
    let (key, stranger) = (file(&folder, "key", IDENTITY), file(&folder, "stranger", STRANGER));

    let clear = replayed(&plain, &[]);
    assert_eq!(replayed(&log, &["--content-key", &key]), clear, "the key's holder sees all of it");
    let mut arguments = 0;
    for (given, says) in
        [(&[][..], "give --content-key"), (&["--content-key", &stranger], "encrypted to others")]
    {
        for (event, clear) in replayed(&log, given).iter().zip(&clear) {
            for field in ["seq", "ts", "kind", "lost_before", "prctl", "ptrace", "control"] {
                assert_eq!(event[field], clear[field]);
            }
            if event["kind"] == "exec" {
                assert_eq!(event["exec"]["argv"], json!([]));
                assert_eq!(event["exec"]["file"], clear["exec"]["file"]);
                assert!(why(event, "exec.argv").contains(says), "{event}");
                arguments += 1;
            }
            if event["kind"] == "authz" {
                assert_eq!(event["authz"]["authz_subject_id"], json!(null));
                assert_eq!(event["authz"]["authz_object"], "ledger");
                assert!(why(event, "authz.authz_subject_id").starts_with("personal (subject-"), "{event}");
            }
        }
    }
    assert!(arguments > 4, "{arguments}");
    // The same in all views.
    let subject = |more: &[&str]| text(&run(&["hist"], &log, &[&["--by", "subject"], more].concat()).stdout);
    assert!(!subject(&[]).contains("alice"));
    let chosen = ["--where", "authz.authz_subject_id == 'alice@example.org'"];
    assert_eq!(replayed(&log, &chosen).len(), 0);
    assert_eq!(replayed(&log, &[&chosen[..], &["--content-key", &key]].concat()).len(), 1);
    let shown = text(&run(&["replay"], &log, &[]).stdout);
    assert!(!shown.contains("alice"), "{shown}");
    // Nothing of it in the files.
    let bytes = std::fs::read(log.join("seg-00000000000000000000.gal")).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"alice"));
}

#[test]
fn what_is_destroyed_is_gone_and_the_log_stays_proven() {
    let folder = LogDir::new();
    let events = events(&folder);
    let log = folder.join("log");
    write(&log, &events, &["subject", "arguments"]);
    let key = file(&folder, "key", IDENTITY);
    let with_key = ["--content-key", &key];
    let vkey = keys::load_public(&log).unwrap().text();
    let authz = events.len() - 1;
    let prove = |name: &str| {
        let path = folder.join(name);
        let output = run(&["prove"], &log, &[&authz.to_string(), "-o", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        path
    };
    let proven = |path: &Path| {
        let output =
            goaudit().args(["verify", "--json", "--log-key", &vkey, "--proof"]).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        assert!(!text(&output.stdout).contains("alice"));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["events"][0]["event"].clone()
    };
    let before = prove("before");
    let shown = proven(&before);
    assert!(why(&shown, "authz.authz_subject_id").ends_with("encrypted"), "{shown}");

    let told = |output: &Output| text(&output.stderr);
    let dry = run(&["shred"], &log, &["--older-than", "0", "--class", "subject", "--dry-run"]);
    assert!(told(&dry).contains("would be destroyed: subject-"), "{}", told(&dry));
    assert_eq!(replayed(&log, &with_key)[authz]["authz"]["authz_subject_id"], "alice@example.org");
    let none = run(&["shred"], &log, &["--older-than", "300000"]);
    assert!(told(&none).contains("nothing is old enough"), "{}", told(&none));
    let done = run(&["shred"], &log, &["--older-than", "0", "--class", "subject"]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    assert!(
        told(&done).contains("destroyed: subject-") && !told(&done).contains("arguments-"),
        "{}",
        told(&done)
    );

    let left = replayed(&log, &with_key);
    assert_eq!(left[authz]["authz"]["authz_subject_id"], json!(null));
    assert!(
        why(&left[authz], "authz.authz_subject_id").ends_with("its key was destroyed"),
        "{}",
        left[authz]
    );
    let exec = left.iter().find(|event| event["kind"] == "exec").unwrap();
    assert!(!exec["exec"]["argv"].as_array().unwrap().is_empty(), "{exec}");
    proven(&before);
    proven(&prove("after"));
    let output = run(&["verify"], &log, &["--log-key", &vkey]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.contains("names 2 keys of personal fields, and destroyed 1"), "{report}");
}

#[test]
fn init_says_what_it_encrypts_and_refuses_what_it_cannot() {
    let folder = LogDir::new();
    let log = folder.join("log");
    let output = run(
        &["init"],
        &log,
        &["--personal", "user,subject,user", "--personal-to", RECIPIENT, "--shred-after", "90"],
    );
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let says = format!(
        "personal fields (subject, user) are encrypted to {RECIPIENT}, and their keys destroyed after 90 days"
    );
    assert!(told.contains(&says), "{told}");
    let none = folder.join("none");
    for (words, says) in [
        (
            &["--personal", "shoes", "--personal-to", RECIPIENT][..],
            "there is no such class; there are subject (who asked",
        ),
        (&["--personal", "subject"], "--personal-to RECIPIENT"),
        (&["--personal", "subject", "--personal-to", "age1nobody"], "a recipient begins with age1"),
        (&["--personal-to", RECIPIENT], "--personal"),
        (&["--shred-after", "3"], "--personal"),
    ] {
        let output = run(&["init"], &none, words);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(says), "{words:?}: {told}");
        assert!(!none.exists());
    }
    let plain = folder.join("plain");
    assert_eq!(run(&["init"], &plain, &[]).status.code(), Some(0));
    let output = run(&["shred"], &plain, &["--older-than", "1"]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("it has none"), "{told}");
    assert_eq!(run(&["shred"], &folder.join("nowhere"), &["--older-than", "1"]).status.code(), Some(1));
}

#[test]
fn go_opens_the_values() {
    let Some(program) = go_module::program("go_opens_the_values", "age") else { return };
    let folder = LogDir::new();
    let events = events(&folder);
    let log = folder.join("log");
    write(&log, &events, &["subject"]);
    let key = file(&folder, "key", IDENTITY);
    let mut reader = Reader::open(&log, ReadOptions::default()).unwrap();
    let mut opened = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        for event in batch.events().map(|event| Event::decode(event).unwrap()) {
            for sealed in event.sealed.iter().flatten() {
                let wrapped: PathBuf = log.join(format!("personal/{}.age", sealed.key));
                let places: Vec<String> = sealed.places.iter().map(ToString::to_string).collect();
                let output = Command::new(&program)
                    .args(["value", &key])
                    .arg(wrapped)
                    .args([&sealed.key, &sealed.number.to_string(), &event.ktime.0.to_string()])
                    .args([&places.join(","), &hex(&sealed.bytes)])
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                opened.push((places, text(&output.stdout).trim().to_owned()));
            }
        }
    }
    // A CBOR byte string of 17 bytes (docs/audit-format.md, section 26).
    let subject = format!("51{}", hex(b"alice@example.org"));
    assert_eq!(opened, [(vec!["0".to_owned()], subject)]);
}
