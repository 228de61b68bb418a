//! What compliance rules ask for beside the signatures, checked by openssl: the HMAC chain, SM2 lines, SM3 sums.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use goaudit_ebpf::units::Ktime;
use goaudit_tests::ability::tell_skip;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::hex;
use goaudit_user::audit::note::Note;
use goaudit_user::audit::sm2::{Sm2Key, USER_ID};
use goaudit_user::audit::{Now, Writer, WriterConfig};
use goaudit_user::event::control::{Calibration, Counters, Start, Stop};
use goaudit_user::event::{Control, Event};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What openssl writes when it reads `input`; none if it does not know how.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // It need not read what it does not want.
    let _ = child.stdin.take()?.write_all(input);
    let output = child.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

/// A log made by `init` with these options; real events, and a second run.
fn log(folder: &LogDir, options: &[&str]) -> PathBuf {
    let log = folder.join("log");
    let (code, _, told) = run(goaudit().arg("init").args(options).arg(&log));
    assert_eq!(code, Some(0), "{told}");
    // The demo's host is another one.
    std::fs::remove_file(log.join("place")).unwrap();
    let (code, _, told) = run(goaudit().args(["demo", "-o", "none", "-w"]).arg(&log));
    assert_eq!(code, Some(0), "{told}");
    second_run(&log);
    log
}

/// One more run, of two segments.
fn second_run(log: &Path) {
    let mut now = Now { realtime_ns: 1_800_000_000_000_000_000, boottime_ns: 1_000_000_000 };
    let config = WriterConfig::new("unused", [0; 16], [8; 16]);
    let (mut writer, _) = Writer::open(log, config, now).unwrap();
    let calibration = Calibration { emulated_ns: 1, stepped_ns: 1, record_ns: None, value_ns: None };
    let events = [
        Control::Start(Start { clean: true, ..Start::default() }),
        Control::Calibration(calibration),
        Control::Stop(Stop { reason: "the end".to_owned(), counters: Counters::default() }),
    ];
    for event in events {
        let mut bytes = Vec::new();
        Event::control(Ktime(now.boottime_ns), event).encode(&mut bytes);
        writer.append(&bytes, now.boottime_ns, true, now).unwrap();
        writer.force_roll();
        now.boottime_ns += 1_000_000_000;
        now.realtime_ns += 1_000_000_000;
    }
    writer.close(now).unwrap();
}

fn hmac(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key = format!("hexkey:{}", hex(key));
    openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"], data)
}

/// The secret of the next generation and the first key of this one.
fn turn(secret: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = format!("hexkey:{}", hex(secret));
    let mut arguments = vec!["kdf", "-keylen", "64", "-binary"];
    for option in ["digest:SHA256", "mode:EXPAND_ONLY", &key, "info:goaudit/v1/seg"] {
        arguments.extend(["-kdfopt", option]);
    }
    arguments.push("HKDF");
    let both = openssl(&arguments, b"")?;
    Some((both[..32].to_vec(), both[32..].to_vec()))
}

#[test]
fn openssl_computes_the_same_hmac_chain() {
    if turn(&[1; 32]).is_none() || hmac(&[1; 32], b"").is_none() {
        return tell_skip(
            "openssl_computes_the_same_hmac_chain",
            "openssl 3",
            "it did not start, or knows no HKDF",
        );
    }
    let folder = LogDir::new();
    let key = folder.join("hmac.key");
    let log = log(&folder, &["--hmac", key.to_str().unwrap()]);
    let export = |key: &Path| run(goaudit().args(["export", "hmac"]).arg(&log).arg("--hmac-key").arg(key));
    let (code, lines, told) = export(&key);
    assert_eq!(code, Some(0), "{told}");
    let text = std::fs::read_to_string(&key).unwrap();
    let mut secret = BASE64.decode(text.trim_end().rsplit(' ').next().unwrap()).unwrap();
    // Everything anew, from the first key and the events.
    let (mut generation, mut step, mut steps) = (0, 0, 0);
    let (mut next, mut batch_key) = turn(&secret).unwrap();
    let mut last = vec![0; 32];
    let mut count = 0;
    for (number, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["seq"], number);
        while line["generation"].as_u64().unwrap() > generation {
            secret = next;
            (next, batch_key) = turn(&secret).unwrap();
            (generation, step) = (generation + 1, 0);
        }
        while line["step"].as_u64().unwrap() > step {
            batch_key = hmac(&batch_key, b"goaudit/v1/step").unwrap();
            step += 1;
            steps += 1;
        }
        last.extend(BASE64.decode(line["event"].as_str().unwrap()).unwrap());
        last = hmac(&batch_key, &last).unwrap();
        assert_eq!(line["signature"].as_str().unwrap(), hex(&last), "event {number}");
        count += 1;
    }
    assert!(count > 20 && generation > 2 && steps > 0, "{count} {generation} {steps}");
    // The log verifies with the key; without it, that is said.
    let verify = |options: &[&str]| run(goaudit().arg("verify").arg(&log).args(options));
    let (code, out, _) = verify(&["--hmac-key", key.to_str().unwrap()]);
    assert!(
        code == Some(0)
            && out.contains(&format!("proven      hmac_chain             the signatures of {count} events")),
        "{out}"
    );
    let (code, out, _) = verify(&[]);
    assert!(code == Some(0) && out.contains("NOT PROVEN  hmac_chain"), "{out}");
    // Another key: nothing is checked with it, and nothing exported.
    let other = folder.join("other.key");
    std::fs::write(&other, format!("goaudit hmac key {}\n", BASE64.encode([5; 32]))).unwrap();
    let (code, out, _) = verify(&["--hmac-key", other.to_str().unwrap()]);
    assert!(code == Some(4) && out.contains("not the one of this log's HMAC chain"), "{out}");
    let (code, lines, told) = export(&other);
    assert!(code == Some(4) && lines.is_empty() && told.contains("not the one of this log's"), "{told}");
    std::fs::write(&other, "no key").unwrap();
    let (code, _, told) = verify(&["--hmac-key", other.to_str().unwrap()]);
    assert!(code == Some(2) && told.contains("goaudit init --hmac"), "{told}");
}

#[test]
fn the_key_of_a_chain_is_written_once_and_never_over_something() {
    let folder = LogDir::new();
    let key = folder.join("hmac.key");
    std::fs::write(&key, "mine").unwrap();
    let init = || run(goaudit().args(["init", "--hmac"]).arg(&key).arg(folder.join("log")));
    let (code, _, told) = init();
    assert!(code == Some(1) && told.contains("hmac.key"), "{told}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "mine");
    std::fs::remove_file(&key).unwrap();
    let (code, _, told) = init();
    assert!(code == Some(0) && told.contains("carry it off this host"), "{told}");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // No second key for a log that is there.
    let text = std::fs::read_to_string(&key).unwrap();
    assert_eq!(init().0, Some(1));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), text);
}

/// A public key as openssl reads it: the fixed beginning of an SM2 key (RFC 5480 form), then the point.
fn pem(point: &[u8]) -> String {
    let begin = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x81,
        0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, 0x03, 0x42, 0x00,
    ];
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64.encode([&begin, point].concat())
    )
}

const SM2_OPTIONS: [&str; 5] = ["-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678"];

/// A fresh SM2 key of openssl's in a file; none if it knows none.
fn openssl_key(folder: &LogDir) -> Option<PathBuf> {
    let path = folder.join("sm2.pem");
    openssl(&["genpkey", "-algorithm", "SM2", "-out", path.to_str()?], b"")?;
    Some(path)
}

#[test]
fn openssl_verifies_our_sm2_lines_and_we_verify_its() {
    let test = "openssl_verifies_our_sm2_lines_and_we_verify_its";
    let folder = LogDir::new();
    let Some(theirs) = openssl_key(&folder) else {
        return tell_skip(test, "openssl with SM2", "it did not start, or makes no such key");
    };
    assert_eq!(USER_ID, "1234567812345678");
    let log = log(&folder, &["--sm2"]);
    let vkey = std::fs::read_to_string(log.join("keys/sm2.vkey")).unwrap();
    let key = Sm2Key::parse(vkey.trim_end()).unwrap();
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap();
    let note = Note::parse(note.as_bytes()).unwrap();
    let line = note.lines().iter().find(|line| key.is_signer(line)).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let verifies = |text: &str| {
        std::fs::write(path("text"), text).unwrap();
        let (public, text, signature) = (path("ours.pem"), path("text"), path("ours.der"));
        let mut arguments = vec!["pkeyutl", "-verify", "-pubin", "-inkey", &public, "-in", &text];
        arguments.extend(["-sigfile", &signature]);
        arguments.extend(SM2_OPTIONS);
        openssl(&arguments, b"").is_some()
    };
    std::fs::write(path("ours.pem"), pem(key.public_bytes())).unwrap();
    std::fs::write(path("ours.der"), &line.signature).unwrap();
    assert!(verifies(note.text()));
    assert!(!verifies(&note.text().replacen('\n', " \n", 1)), "it does not take everything");
    // Theirs: the key in our text form, put together here.
    let der = openssl(&["pkey", "-in", theirs.to_str().unwrap(), "-pubout", "-outform", "DER"], b"").unwrap();
    let typed = [b"\xffgoaudit/sm2-sm3".as_slice(), &der[der.len() - 65..]].concat();
    let id = Sha256::digest([b"example.org/theirs\n".as_slice(), &typed].concat());
    let key =
        Sm2Key::parse(&format!("example.org/theirs+{}+{}", hex(&id[..4]), BASE64.encode(&typed))).unwrap();
    let (secret, text, signature) = (theirs.display().to_string(), path("text"), path("theirs.der"));
    std::fs::write(&text, note.text()).unwrap();
    let mut arguments = vec!["pkeyutl", "-sign", "-inkey", &secret, "-in", &text, "-out", &signature];
    arguments.extend(SM2_OPTIONS);
    assert!(openssl(&arguments, b"").is_some());
    let line = [&id[..4], &std::fs::read(signature).unwrap()].concat();
    let signed = |text: &str| format!("{text}\n\u{2014} example.org/theirs {}\n", BASE64.encode(&line));
    let good = signed(note.text());
    key.verify(&Note::parse(good.as_bytes()).unwrap()).unwrap();
    let other = signed("another text\n");
    assert!(key.verify(&Note::parse(other.as_bytes()).unwrap()).is_err());
    // The whole log, with the key given and without.
    for options in [&["--sm2-key", vkey.trim_end()][..], &[]] {
        let (code, out, _) = run(goaudit().arg("verify").arg(&log).args(options));
        assert!(code == Some(0) && out.contains("proven      sm2 "), "{out}");
    }
    let file = folder.join("other.vkey");
    std::fs::write(&file, format!("{}\n", key.text())).unwrap();
    let (code, out, _) = run(goaudit().arg("verify").arg(&log).arg("--sm2-key").arg(&file));
    assert!(code == Some(3) && out.contains("no signature by example.org/theirs"), "{out}");
    let (code, _, told) = run(goaudit().arg("verify").arg(&log).args(["--sm2-key", "nonsense"]));
    assert!(code == Some(2) && told.contains("neither a file nor an SM2 verification key"), "{told}");
}

#[test]
fn openssl_computes_the_sm3_sums_of_a_package() {
    let test = "openssl_computes_the_sm3_sums_of_a_package";
    // The standard's own example (GB/T 32905, A.1).
    let sum =
        |data: &[u8]| openssl(&["dgst", "-sm3", "-r"], data).map(|told| String::from_utf8(told).unwrap());
    match sum(b"abc") {
        Some(told) => {
            assert!(
                told.starts_with("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
                "{told}"
            );
        }
        None => return tell_skip(test, "openssl with SM3", "it did not start, or has no such sum"),
    }
    let folder = LogDir::new();
    let log = log(&folder, &["--sm2"]);
    let package = folder.join("case.zip");
    let (code, _, told) = run(goaudit().arg("evidence").arg(&log).arg("-o").arg(&package));
    assert_eq!(code, Some(0), "{told}");
    let at = folder.join("at");
    let script = "import sys, zipfile\nzipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    match Command::new("python3").args(["-c", script]).args([&package, &at]).output() {
        Ok(output) => assert!(output.status.success()),
        Err(error) => return tell_skip(test, "python3", &error.to_string()),
    }
    let sums = std::fs::read_to_string(at.join("SM3SUMS")).unwrap();
    let (mut names, mut sha256) = (Vec::new(), Vec::new());
    for line in sums.lines() {
        let (told, name) = line.split_once("  ").unwrap();
        assert!(sum(&std::fs::read(at.join(name)).unwrap()).unwrap().starts_with(told), "{name}");
        names.push(name.to_owned());
    }
    for line in std::fs::read_to_string(at.join("SHA256SUMS")).unwrap().lines() {
        sha256.push(line.split_once("  ").unwrap().1.to_owned());
    }
    assert!(names.len() > 5 && names == sha256, "{names:?} {sha256:?}");
    // The secret key is never in it.
    let secret = std::fs::read(log.join("keys/sm2.key")).unwrap();
    let bytes = std::fs::read(&package).unwrap();
    assert!(!bytes.windows(secret.len() - 1).any(|window| window == &secret[..secret.len() - 1]));
}
