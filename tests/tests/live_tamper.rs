//! A log that was touched says so: every byte of every segment counts.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::path::{Path, PathBuf};

use goaudit_tests::ability::lab_kernel;
use goaudit_tests::capture::{Capture, segments, verify};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_user::audit::{self, Verdict, VerifyOptions};
use serde_json::Value;

/// A copy of a log that may be touched.
fn copy(log: &Path, to: &Path) -> PathBuf {
    let to = to.join("copy");
    let status = std::process::Command::new("cp").arg("-r").arg(log).arg(&to).status().unwrap();
    assert!(status.success());
    to
}

/// The verdict after something was done to the only segment.
fn after(log: &Path, touch: impl FnOnce(&mut Vec<u8>)) -> Value {
    let folder = LogDir::new();
    let copy = copy(log, folder.path());
    let segment = segments(&copy).pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    touch(&mut bytes);
    std::fs::write(&segment, bytes).unwrap();
    verify(&copy, &[])
}

#[test]
fn any_flipped_byte_is_found_and_its_place_named() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::of(&["nothing"]);
    capture.assert_sound();
    let segment = segments(&capture.log()).pop().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    // Head and tail byte by byte (magic, lengths, padding, signatures), the rest densely; another bit each time.
    let places: Vec<usize> =
        (0..bytes.len()).filter(|at| *at < 160 || *at + 160 > bytes.len() || at % 61 == 0).collect();
    let folder = LogDir::new();
    let copy = copy(&capture.log(), folder.path());
    let touched = segments(&copy).pop().unwrap();
    for at in &places {
        let mut flipped = bytes.clone();
        flipped[*at] ^= 1 << (at % 8);
        std::fs::write(&touched, flipped).unwrap();
        let verified = verify(&copy, &[]);
        assert_eq!(verified["code"], 3, "byte {at} of {name}: {verified}");
        let verdict = verified["verdict"].as_str().unwrap();
        assert!(["tampered", "damaged"].contains(&verdict), "byte {at}: {verified}");
        let bad = &verified["first_bad"];
        assert!(bad["segment"].is_number() || bad["segment"].is_string(), "byte {at}: no place: {verified}");
        assert!(bad["what"].as_str().is_some_and(|what| !what.is_empty()), "byte {at}: {verified}");
        if let Some(offset) = bad["offset"].as_u64() {
            assert!(offset <= *at as u64, "byte {at} is named after its place, at {offset}: {verified}");
        }
    }
    std::fs::write(&touched, &bytes).unwrap();
    assert_eq!(verify(&copy, &[])["verdict"], "ok", "the restored log");
    println!("{} of {} bytes flipped", places.len(), bytes.len());
}

#[test]
fn every_single_byte_counts() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::with(&["--only", "exit"], &["nothing"]);
    capture.assert_sound();
    let folder = LogDir::new();
    let copy = copy(&capture.log(), folder.path());
    let touched = segments(&copy).pop().unwrap();
    let bytes = std::fs::read(&touched).unwrap();
    // An emulated guest takes a while for each.
    let step = if lab_kernel().is_some() { 97 } else { 1 };
    for at in (0..bytes.len()).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x80 >> (at % 8);
        std::fs::write(&touched, flipped).unwrap();
        // The verifier of `goaudit verify` itself, without starting it for each byte.
        let report = audit::verify(std::slice::from_ref(&copy), &VerifyOptions::default(), None).unwrap();
        assert!(matches!(report.verdict, Verdict::Tampered | Verdict::Damaged), "byte {at}: {report:?}");
        let bad = report.first_bad.unwrap_or_else(|| panic!("byte {at}: no place"));
        assert!(bad.segment.is_some() && !bad.what.is_empty(), "byte {at}: {bad:?}");
    }
}

#[test]
fn a_shortened_segment_is_not_ok() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::of(&["exec-plain"]);
    let len = std::fs::metadata(segments(&capture.log()).pop().unwrap()).unwrap().len();
    let len = usize::try_from(len).unwrap();
    for keep in [0, 1, 7, 8, 63, 64, 100, len / 4, len / 2, len * 3 / 4, len - 64, len - 8, len - 1] {
        let verified = after(&capture.log(), |bytes| bytes.truncate(keep));
        // The checkpoint beside the log says that there was more.
        assert_ne!(verified["verdict"], "ok", "{keep} of {len} bytes: {verified}");
        assert_eq!(verified["code"], 3, "{keep} of {len} bytes: {verified}");
    }
}

#[test]
fn a_lengthened_segment_is_not_ok() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::of(&["nothing"]);
    for more in [1, 8, 64, 4096] {
        for byte in [0, 0xff] {
            let verified = after(&capture.log(), |bytes| bytes.resize(bytes.len() + more, byte));
            assert_ne!(verified["verdict"], "ok", "{more} bytes {byte:#x} at the end: {verified}");
        }
    }
}

#[test]
fn a_touched_log_is_not_replayed_in_silence() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::of(&["exec-plain"]);
    let recorded: Vec<&[u8]> = capture.live.split_inclusive(|byte| *byte == b'\n').collect();
    let folder = LogDir::new();
    let copy = copy(&capture.log(), folder.path());
    let segment = segments(&copy).pop().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    // Batches, checkpoints, heads and padding; an emulated guest takes a while for each.
    let places = if lab_kernel().is_some() { 4 } else { 40 };
    let mut most = 0;
    for at in (0..places).map(|place| (2 * place + 1) * bytes.len() / (2 * places)) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&segment, flipped).unwrap();
        let output = goaudit().arg("replay").arg(&copy).args(["-o", "json"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        // A length of the last frame that was changed looks like a frame that is being written.
        let expected = if told.contains("the log ends within a frame") { 4 } else { 3 };
        assert_eq!(output.status.code(), Some(expected), "byte {at}: {told}");
        assert!(told.contains("byte ") && !told.contains("panicked"), "byte {at}: {told}");
        // What is not damaged is shown as it was recorded, also what comes behind the damage.
        let shown: Vec<&[u8]> = output.stdout.split_inclusive(|byte| *byte == b'\n').collect();
        let before = shown.iter().zip(&recorded).take_while(|(shown, recorded)| shown == recorded).count();
        assert!(recorded.ends_with(&shown[before..]), "byte {at}: something else than was recorded: {told}");
        most = most.max(shown.len());
    }
    if lab_kernel().is_none() {
        assert_eq!(most, recorded.len(), "damage to a frame without events hides none");
    }
    println!("{places} places, {} events", recorded.len());
}

#[test]
fn the_key_of_another_log_is_refused() {
    needs!(Root, Bpf, Btf);
    let (one, other) = (Capture::of(&["nothing"]), Capture::of(&["nothing"]));
    let key = |capture: &Capture| {
        capture.told.lines().find_map(|line| line.split_once(": verification key ")).unwrap().1.to_owned()
    };
    let pinned = verify(&one.log(), &["--log-key", &key(&one)]);
    assert_eq!(pinned["verdict"], "ok", "{pinned}");
    let check = pinned["checks"].as_array().unwrap().iter().find(|check| check["name"] == "origin").unwrap();
    assert_eq!(check["ok"], true, "{pinned}");
    if key(&one) != key(&other) {
        let refused = verify(&one.log(), &["--log-key", &key(&other)]);
        assert_eq!(refused["code"], 3, "{refused}");
    }
}
