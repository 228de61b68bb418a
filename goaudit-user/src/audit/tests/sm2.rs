//! SM2 lines: on every checkpoint of a log that has them, and found when one is not.

use super::*;
use crate::audit::note::{Note, NoteError};
use crate::audit::sm2::{Sm2Key, Sm2Signer};

fn with_sm2() -> WriterConfig {
    let mut config = config();
    config.sm2 = true;
    config
}

fn made(dir: &Path) -> Opened {
    let mut clock = Clock(1_000_000_000);
    let (mut writer, opened) = Writer::open(dir, with_sm2(), clock.now()).unwrap();
    for _ in 0..4 {
        writer.append(b"event", clock.0, true, clock.now()).unwrap();
        clock.forward_ms(11_000);
        writer.tick(clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    opened
}

fn check_with(dir: &Path, key: &str) -> Report {
    let options = VerifyOptions { sm2_key: Some(Sm2Key::parse(key).unwrap()), ..VerifyOptions::default() };
    verify(&[dir.to_owned()], &options, None).unwrap()
}

fn row(report: &Report) -> Option<&Check> {
    report.checks.iter().find(|check| check.name == "sm2")
}

#[test]
fn every_checkpoint_has_a_line_and_it_is_demanded() {
    let dir = fast_dir();
    let opened = made(dir.path());
    let key = opened.sm2_key.unwrap();
    for report in [check(dir.path()), check_with(dir.path(), &key)] {
        assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
        assert!(row(&report).is_some_and(|row| row.ok && row.detail.contains("every checkpoint")));
    }
    // The next run goes on with it.
    let clock = Clock(900_000_000_000);
    let (mut writer, again) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert_eq!(again.sm2_key.as_deref(), Some(key.as_str()));
    writer.append(b"again", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    assert_eq!(check_with(dir.path(), &key).verdict, Verdict::Ok);
    // Another key was demanded.
    let other = Sm2Signer::from_seed(Sm2Key::parse(&key).unwrap().name(), &[9; 32]).unwrap();
    let report = check_with(dir.path(), &other.public().text());
    assert_eq!(report.verdict, Verdict::Tampered, "{report:#?}");
    // Of a log that has none a line is demanded in vain.
    let plain = fast_dir();
    sample(plain.path(), 1, 1, 1);
    assert_eq!(row(&check(plain.path())), None);
    let report = check_with(plain.path(), &key);
    assert_eq!(report.verdict, Verdict::Tampered);
    assert!(report.first_bad.unwrap().what.contains("no signature by"));
}

#[test]
fn a_line_that_was_taken_away_or_changed_is_found() {
    for (what, says) in [("taken away", "no signature by"), ("changed", "does not verify")] {
        let dir = fast_dir();
        made(dir.path());
        let path = segments(dir.path()).remove(0);
        let bytes = std::fs::read(&path).unwrap();
        let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
        let mut out = bytes[..4096].to_vec();
        let mut done = false;
        while let frame::Step::Frame(part) = frames.next_frame().unwrap() {
            let mut body = part.body.to_vec();
            if part.kind == format::FrameKind::Checkpoint && !std::mem::replace(&mut done, true) {
                let note = String::from_utf8(body).unwrap();
                let at = note.trim_end().rfind('\n').unwrap() + 1;
                let (head, line) = note.split_at(at);
                assert!(line.contains("/sm2 "), "{line}");
                let line = if what == "changed" {
                    // The text's signature by the same key, of another text.
                    let key = keys::load_sm2(dir.path(), line.split(' ').nth(1).unwrap()).unwrap().unwrap();
                    key.sign_line("another text\n").unwrap()
                } else {
                    String::new()
                };
                body = format!("{head}{line}").into_bytes();
            }
            frame::encode(part.kind, part.header, &body, &mut out);
        }
        std::fs::write(&path, out).unwrap();
        let report = check(dir.path());
        assert_eq!(report.verdict, Verdict::Tampered, "{what}: {report:#?}");
        assert!(row(&report).is_some_and(|row| !row.ok && row.detail.contains(says)), "{what}: {report:#?}");
    }
}

#[test]
fn a_log_with_sm2_lines_does_not_go_on_without_their_key() {
    for what in ["missing", "another"] {
        let dir = fast_dir();
        made(dir.path());
        let path = dir.path().join("keys/sm2.key");
        let name = {
            let text = std::fs::read_to_string(dir.path().join("keys/sm2.vkey")).unwrap();
            Sm2Key::parse(text.trim_end()).unwrap().name().to_owned()
        };
        if what == "missing" {
            std::fs::remove_file(&path).unwrap();
        } else {
            let other = Sm2Signer::from_seed(&name, &[9; 32]).unwrap();
            std::fs::write(&path, format!("{}\n", other.text().as_str())).unwrap();
        }
        let error = Writer::open(dir.path(), config(), Clock(900_000_000_000).now()).err().unwrap();
        assert!(error.to_string().contains("SM2 key"), "{what}: {error}");
    }
}

#[test]
fn keys_and_lines_are_read_as_they_are_written_and_nothing_else_is() {
    let signer = Sm2Signer::from_seed("example.org/log/sm2", &[5; 32]).unwrap();
    let again = Sm2Signer::parse(&signer.text()).unwrap();
    assert_eq!(again.public(), signer.public());
    assert_eq!(&Sm2Key::parse(&signer.public().text()).unwrap(), signer.public());
    assert_eq!(signer.public().public_bytes()[0], 4, "an uncompressed point");
    let text = signer.public().text();
    for bad in [text.replace("/sm2+", "/sm3+"), text.replace('+', "-"), format!("{text}A"), String::new()] {
        assert!(Sm2Key::parse(&bad).is_err(), "{bad}");
    }
    let note = format!("text\n\n{}", signer.sign_line("text\n").unwrap());
    let parsed = Note::parse(note.as_bytes()).unwrap();
    signer.public().verify(&parsed).unwrap();
    // Every other form of the same two numbers is refused, and every changed bit.
    let line = &parsed.lines()[0];
    let verify = |signature: &[u8]| {
        let line = note::SignatureLine { signature: signature.to_vec(), ..line.clone() };
        let note = format!("text\n\n{}", line.text());
        signer.public().verify(&Note::parse(note.as_bytes()).unwrap())
    };
    verify(&line.signature).unwrap();
    let forged = Err(NoteError::Forged("example.org/log/sm2".to_owned()));
    for bit in 0..line.signature.len() * 8 {
        let mut changed = line.signature.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify(&changed), forged, "bit {bit}");
    }
    for cut in 1..line.signature.len() {
        assert_eq!(verify(&line.signature[..cut]), forged, "{cut} bytes");
    }
    assert_eq!(verify(&[&line.signature[..], &[0]].concat()), forged);
}
