//! Encrypted logs, end to end: `init --encrypt-to`, `--content-key`; and opened by code that nobody here wrote
//! (filippo.io/age and Go's AES-GCM).
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
use goaudit_user::audit::{
    ContentKeys, Now, ReadOptions, Reader, Recipients, Writer, WriterConfig, hex, keys,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Real events and when they were: boot time and wall clock.
struct Demo {
    /// The log that has them in clear.
    log: PathBuf,
    boot_id: [u8; 16],
    events: Vec<(Now, Vec<u8>)>,
}

fn demo(folder: &LogDir) -> Demo {
    let log = folder.join("plain");
    let output = goaudit().args(["demo", "-o", "none", "-w"]).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reader = Reader::open(&log, ReadOptions::default()).unwrap();
    let (mut events, mut boot_id) = (Vec::new(), [0; 16]);
    while let Some(batch) = reader.next_batch().unwrap() {
        let info = batch.meta();
        boot_id = info.boot_id;
        let now = Now { realtime_ns: info.realtime_first_ns, boottime_ns: info.boottime_first_ns };
        events.extend(batch.events().map(|event| (now, event.to_vec())));
    }
    Demo { log, boot_id, events }
}

/// The same events, encrypted, in two segments.
fn encrypt(folder: &LogDir, demo: &Demo, recipients: &[String]) -> PathBuf {
    let log = folder.join("log");
    let mut config = WriterConfig::new("example.org/goaudit/test/audit", [0; 16], demo.boot_id);
    config.encrypt_to = Some(Recipients::parse(recipients).unwrap());
    let (mut writer, _) = Writer::open(&log, config, demo.events[0].0).unwrap();
    for (number, (now, event)) in demo.events.iter().enumerate() {
        if number == demo.events.len() / 2 {
            writer.force_roll();
        }
        writer.append(event, now.boottime_ns, number % 5 == 0, *now).unwrap();
    }
    writer.close(demo.events.last().unwrap().0).unwrap();
    log
}

fn run(words: &[&str], log: &Path, more: &[&str]) -> Output {
    let output = goaudit().args(words).arg(log).args(more).env_remove("GOAUDIT_LOG_KEY").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("panicked"), "{told}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn init_names_the_recipients_and_verify_needs_no_key() {
    let folder = LogDir::new();
    let list = folder.join("recipients");
    let names =
        ["# two people", RECIPIENT, "", "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"];
    std::fs::write(&list, names.join("\n")).unwrap();
    let log = folder.join("log");
    let output = run(&["init"], &log, &["--encrypt-to", list.to_str().unwrap(), "--encrypt-to", RECIPIENT]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("events are encrypted to {RECIPIENT}, {}", names[3])), "{told}");
    let bytes = std::fs::read(log.join("seg-00000000000000000000.gal")).unwrap();
    assert_eq!(bytes[15], 1);
    assert!(bytes[136..].starts_with(b"age-encryption.org/v1\n-> X25519 "));
    let output = run(&["verify"], &log, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    for (wrong, says) in [
        ("age1nobody", "a recipient begins with age1"),
        ("ssh-ed25519 AAAA", "a recipient begins with age1"),
        ("/dev/null", "a log has 1 to 12"),
    ] {
        let output = run(&["init"], &folder.join("none"), &["--encrypt-to", wrong]);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(says), "{told}");
    }
    assert!(!folder.join("none").exists());
}

#[test]
fn who_has_the_key_sees_what_everybody_sees_of_a_log_in_clear() {
    let folder = LogDir::new();
    let demo = demo(&folder);
    let log = encrypt(&folder, &demo, &[RECIPIENT.to_owned()]);
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (key, stranger) = (write("key", IDENTITY), write("stranger", STRANGER));
    let with_key = ["--content-key", &key];

    let lines = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let json = ["-o", "json"];
    let shown = lines(run(&["replay"], &log, &[&json[..], &with_key].concat()));
    assert_eq!(shown, lines(run(&["replay"], &demo.log, &json)));
    let half = demo.events.len() / 2;
    assert_eq!(shown.len(), demo.events.len());
    // From within a segment.
    let from = (half - 2).to_string();
    let rest = lines(run(&["replay"], &log, &[&json[..], &with_key, &["--from", &from]].concat()));
    assert_eq!(rest, shown[half - 2..]);

    let file = folder.join("proof");
    let proof = file.to_str().unwrap();
    let vkey = keys::load_public(&log).unwrap().text();
    let output = run(&["prove"], &log, &[&["3", "9", "-o", proof][..], &with_key].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = goaudit().args(["verify", "--proof", proof, "--log-key", &vkey]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let package = folder.join("case.zip");
    let output = run(&["evidence"], &log, &[&["-o", package.to_str().unwrap()][..], &with_key].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = run(&["hist"], &log, &with_key);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // Only headers are in there: no key is asked for.
    let tiles = folder.join("tiles");
    let output = run(&["export", "tiles"], &log, &["-o", tiles.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    // Without it, and with that of somebody else.
    let nothing = folder.join("nothing");
    let nothing = nothing.to_str().unwrap();
    let uses: [(&[&str], &[&str]); 4] = [
        (&["replay"], &["-o", "json"]),
        (&["hist"], &[]),
        (&["prove"], &["3", "-o", nothing]),
        (&["evidence"], &["-o", nothing]),
    ];
    for (words, more) in uses {
        for (given, says) in [
            (
                &[][..],
                "they are encrypted; give the age identity of one of their recipients with --content-key FILE",
            ),
            (&["--content-key", &stranger][..], "they are encrypted to others than the identities in"),
        ] {
            let output = run(words, &log, &[more, given].concat());
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words:?}: {told}");
            assert!(told.contains(says), "{words:?}: {told}");
            assert!(!text(&output.stdout).contains("schema"), "{words:?}");
        }
        let output = run(words, &log, &[more, &["--content-key", "/nowhere/key"]].concat());
        let told = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && told.contains("read the identities in /nowhere/key"),
            "{told}"
        );
    }
    assert!(!Path::new(nothing).exists());
}

#[test]
fn verify_tells_what_it_could_not_open() {
    let folder = LogDir::new();
    let demo = demo(&folder);
    let log = encrypt(&folder, &demo, &[RECIPIENT.to_owned()]);
    let (key, stranger) = (folder.join("key"), folder.join("stranger"));
    std::fs::write(&key, IDENTITY).unwrap();
    std::fs::write(&stranger, STRANGER).unwrap();
    let report = |more: &[&str]| {
        let output = run(&["verify"], &log, &[more, &["--json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let unproven: Vec<String> = checks
            .iter()
            .filter(|check| check["ok"] == false)
            .map(|check| check["name"].as_str().unwrap().to_owned())
            .collect();
        let contents = checks.iter().find(|check| check["name"] == "contents").unwrap()["detail"].clone();
        (output.status.code(), report["unopened_events"].as_u64().unwrap(), unproven, text_of(&contents))
    };
    let count = demo.events.len() as u64;
    let vkey = keys::load_public(&log).unwrap().text();
    let pin = ["--log-key", &vkey];
    let (code, unopened, unproven, contents) = report(&pin);
    assert_eq!((code, unopened), (Some(0), count));
    assert_eq!(unproven, ["contents", "freshness", "conservation", "no_loss", "clock_steps"]);
    assert!(contents.contains(&format!("encrypted to {RECIPIENT}")), "{contents}");
    let (code, unopened, unproven, _) =
        report(&[&pin[..], &["--content-key", key.to_str().unwrap()]].concat());
    assert_eq!((code, unopened, unproven), (Some(0), 0, vec!["freshness".to_owned()]));
    let (code, unopened, _, contents) =
        report(&[&pin[..], &["--content-key", stranger.to_str().unwrap()]].concat());
    assert_eq!((code, unopened), (Some(4), count));
    assert!(contents.contains("they are encrypted to others than"), "{contents}");
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn go_opens_what_we_encrypt() {
    let Some(program) = go_module::program("go_opens_what_we_encrypt", "age") else { return };
    let go = |words: &[&str], files: &[PathBuf]| {
        let output = Command::new(&program).args(words).args(files).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let folder = LogDir::new();
    let demo = demo(&folder);
    // Its keys, and one of ours beside it.
    let identity = folder.join("identity");
    let recipient = go(&["keygen"], std::slice::from_ref(&identity)).trim().to_owned();
    let log = encrypt(&folder, &demo, &[RECIPIENT.to_owned(), recipient]);
    let segments = [0, 1].map(|number| log.join(format!("seg-{number:020}.gal")));
    let told = go(&["open"], &[&[identity.clone()][..], &segments].concat());
    let ours = folder.join("ours");
    std::fs::write(&ours, IDENTITY).unwrap();
    assert_eq!(told, go(&["open"], &[&[ours][..], &segments].concat()), "both recipients find the same");

    let (mut commitments, mut opened) = (Vec::new(), Vec::new());
    for line in told.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["key", commitment] => commitments.push(commitment.to_owned()),
            ["batch", _, payload] => {
                let plain = zstd::bulk::decompress(&unhex(payload), 1 << 20).unwrap();
                // docs/audit-format.md, section 5: a seed of 32 bytes, then lengths and events.
                let mut rest = &plain[32..];
                while let Some((len, more)) = rest.split_first_chunk::<4>() {
                    let (event, more) = more.split_at(u32::from_le_bytes(*len) as usize);
                    opened.push(event.to_vec());
                    rest = more;
                }
            }
            _ => unreachable!("{line}"),
        }
    }
    assert_eq!(opened, demo.events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>());
    // The log committed to these keys, in records that everybody can read.
    let mut named = Vec::new();
    for segment in &segments {
        let bytes = std::fs::read(segment).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let begin = 136 + 32 * word(128);
        let wrapped = hex(&Sha256::digest(&bytes[begin..begin + word(132)]));
        let mut at = 4096;
        while at < bytes.len() {
            let (header, body) = (usize::from(bytes[at + 6]) | usize::from(bytes[at + 7]) << 8, word(at + 8));
            if bytes[at + 4] == 1 && bytes[at + 16 + 5] == 2 {
                let plain =
                    zstd::bulk::decompress(&bytes[at + 16 + header..at + 16 + header + body], 1 << 20);
                let record = text(&plain.unwrap()[36..]);
                if let Some(lines) = record.strip_prefix("goaudit-record/1 content-key\n") {
                    assert!(
                        lines.starts_with(&format!("wrapped-sha256 {wrapped}\nkey-commitment ")),
                        "{lines}"
                    );
                    named.push(lines.trim().rsplit_once(' ').unwrap().1.to_owned());
                }
            }
            at += (16 + header + body + 4).next_multiple_of(8);
        }
    }
    assert_eq!(named, commitments);
    // And the other way: its identity opens our reader.
    let mut reader = Reader::open(&log, ReadOptions::default()).unwrap();
    assert!(reader.next_batch().is_err());
    let mut reader =
        Reader::open(&log, ReadOptions::default()).unwrap().with_keys(ContentKeys::load(&identity).unwrap());
    let mut count = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        count += batch.events().count();
    }
    assert_eq!(count, demo.events.len());
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
