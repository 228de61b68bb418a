//! Proofs of single events: made of a log, checked without it; whatever is changed is refused.

use std::collections::BTreeSet;

use super::*;
use crate::audit::note::{SignKey, VerifyKey};
use crate::audit::proof::{Proof, ProofError};

fn key_of(dir: &Path) -> VerifyKey {
    keys::load_public(dir).unwrap()
}

fn prove_of(dir: &Path, seqs: &[u64]) -> Proof {
    prove(dir, &seqs.iter().copied().collect(), None).unwrap()
}

fn refused(bytes: &[u8], key: &VerifyKey) -> ProofError {
    match Proof::parse(bytes) {
        Err(error) => error,
        Ok(proof) => proof.verify(key).unwrap_err(),
    }
}

/// Numbers and bytes of the events that a proof file proves.
fn proven(text: &str, key: &VerifyKey) -> Vec<(u64, Vec<u8>)> {
    let proof = Proof::parse(text.as_bytes()).unwrap();
    assert_eq!(proof.text(), text, "there is one way to write it");
    let proven = proof.verify(key).unwrap();
    assert_eq!(proven.other_signatures, 0);
    proven.events.iter().map(|event| (event.seq, event.event.to_vec())).collect()
}

#[test]
fn every_event_of_a_log_of_several_segments_and_runs_is_proven() {
    let dir = fast_dir();
    let mut written = sample(dir.path(), 3, 3, 5);
    // A second run, with a batch of one event and one of many.
    let mut clock = Clock(99_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    for n in 0..70_u8 {
        writer.append(&[n], clock.0, n == 0, clock.now()).unwrap();
        written.push(vec![n]);
        clock.forward_ms(10);
    }
    writer.close(clock.now()).unwrap();
    let key = key_of(dir.path());
    for (seq, event) in (0..).zip(&written) {
        let text = prove_of(dir.path(), &[seq]).text();
        assert_eq!(proven(&text, &key), [(seq, event.clone())]);
    }
    // All in one file, and some of one batch and of several.
    let all: Vec<(u64, Vec<u8>)> = (0..).zip(written).collect();
    let every: Vec<u64> = (0..all.len() as u64).collect();
    assert_eq!(proven(&prove_of(dir.path(), &every).text(), &key), all);
    let some = [1, 2, 17, 18, 40, all.len() as u64 - 1];
    let expected: Vec<_> = some.iter().map(|seq| all[*seq as usize].clone()).collect();
    assert_eq!(proven(&prove_of(dir.path(), &some).text(), &key), expected);
}

#[test]
fn one_batch_is_one_tlog_proof() {
    let dir = fast_dir();
    sample(dir.path(), 2, 3, 4);
    let text = prove_of(dir.path(), &[5, 6]).text();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    assert!(lines.next().unwrap().starts_with("extra "));
    assert_eq!(lines.next(), Some("index 3"));
    let (_, note) = text.split_once("\n\n").unwrap();
    assert_eq!(note, std::fs::read_to_string(dir.path().join("checkpoint")).unwrap());
    assert_eq!(text.matches("c2sp.org/tlog-proof@v1").count(), 1);
    assert_eq!(prove_of(dir.path(), &[3, 4]).text().matches("c2sp.org/tlog-proof@v1").count(), 2);
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let dir = fast_dir();
    sample(dir.path(), 1, 2, 2);
    let key = key_of(dir.path());
    let text = prove_of(dir.path(), &[3]).text();
    assert!(text.len() < 2000, "a small one: {}", text.len());
    for place in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        for byte in 0..=255 {
            changed[place] = byte;
            if byte != text.as_bytes()[place] {
                refused(&changed, &key);
            }
        }
        let mut shorter = text.clone().into_bytes();
        shorter.remove(place);
        refused(&shorter, &key);
        let mut longer = text.clone().into_bytes();
        longer.insert(place, b'\n');
        refused(&longer, &key);
    }
}

#[test]
fn a_cut_file_is_refused_and_so_is_a_longer_one() {
    let dir = fast_dir();
    sample(dir.path(), 1, 3, 2);
    let key = key_of(dir.path());
    let text = prove_of(dir.path(), &[2, 5]).text();
    let whole = text.find("\nc2sp.org").unwrap() + 1;
    for len in 0..text.len() {
        if len == whole {
            // The first of two tlog-proofs is a proof of its own.
            assert_eq!(proven(&text[..len], &key).len(), 1);
        } else {
            refused(&text.as_bytes()[..len], &key);
        }
    }
    for more in ["\n", "x", "c2sp.org/tlog-proof@v1\n"] {
        refused(format!("{text}{more}").as_bytes(), &key);
    }
    // The same batch again, or in another order.
    let (first, second) = text.split_at(whole);
    for other in [format!("{first}{first}"), format!("{second}{first}"), format!("{first}{second}{second}")] {
        assert!(matches!(
            refused(other.as_bytes(), &key),
            ProofError::Malformed("the batches are not in order")
        ));
    }
}

#[test]
fn parts_of_other_proofs_do_not_fit() {
    let dir = fast_dir();
    sample(dir.path(), 2, 3, 4);
    let key = key_of(dir.path());
    let good = prove_of(dir.path(), &[0, 1, 9, 10]);
    good.verify(&key).unwrap();
    let changes: [(&str, fn(&mut Proof)); 10] = [
        ("events swapped within a batch", |proof| {
            let [a, b] = proof.batches[0].events.as_mut_slice() else { panic!() };
            std::mem::swap(&mut a.event, &mut b.event);
        }),
        ("leaves swapped within a batch", |proof| {
            let [a, b] = proof.batches[0].events.as_mut_slice() else { panic!() };
            std::mem::swap(&mut a.index, &mut b.index);
        }),
        ("events swapped between batches", |proof| {
            let [a, b] = proof.batches.as_mut_slice() else { panic!() };
            std::mem::swap(&mut a.events, &mut b.events);
        }),
        ("headers swapped", |proof| {
            let [a, b] = proof.batches.as_mut_slice() else { panic!() };
            std::mem::swap(&mut a.header, &mut b.header);
        }),
        ("places in the log swapped", |proof| {
            let [a, b] = proof.batches.as_mut_slice() else { panic!() };
            std::mem::swap(&mut a.index, &mut b.index);
        }),
        ("another salt", |proof| proof.batches[0].events[0].salt = [0; 16]),
        ("a byte moved from the event to the salt", |proof| {
            let event = &mut proof.batches[0].events[0];
            let first = event.event.remove(0);
            event.salt.rotate_left(1);
            event.salt[15] = first;
        }),
        ("a longer path", |proof| proof.batches[0].path.push([0; 32])),
        ("a shorter path", |proof| {
            proof.batches[0].events[0].path.pop();
        }),
        ("an event more at the end", |proof| {
            let mut event = proof.batches[1].events[1].clone();
            event.index += 1;
            proof.batches[1].events.push(event);
        }),
    ];
    for (what, change) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert_ne!(changed, good, "{what}");
        refused(changed.text().as_bytes(), &key);
        changed.verify(&key).map(|proven| panic!("{what} proves {proven:?}")).unwrap_err();
    }
}

#[test]
fn another_logs_key_or_checkpoint_proves_nothing() {
    let dir = fast_dir();
    sample(dir.path(), 1, 2, 3);
    let key = key_of(dir.path());
    let proof = prove_of(dir.path(), &[4]);
    let stranger = SignKey::from_seed(key.name(), &[9; 32]).unwrap();
    let unsigned = |error| matches!(error, ProofError::Checkpoint(note::NoteError::Unsigned(_)));
    assert!(unsigned(refused(proof.text().as_bytes(), stranger.public())));
    let renamed = SignKey::from_seed("example.org/other", &[9; 32]).unwrap();
    assert!(unsigned(refused(proof.text().as_bytes(), renamed.public())));
    // The tree signed by a stranger, then asked for with the stranger's key: the batch names its log.
    let checkpoint = checkpoint::Checkpoint::open(proof.checkpoint.as_bytes(), &key).unwrap();
    let resigned = Proof { checkpoint: checkpoint.sign(&stranger), ..proof.clone() };
    assert!(unsigned(refused(resigned.text().as_bytes(), &key)));
    let error = refused(resigned.text().as_bytes(), stranger.public());
    assert!(error.to_string().contains("another log"), "{error}");
    // An older checkpoint of the same log does not cover it: the key is the same here, as seeds are counted.
    let other = fast_dir();
    sample(other.path(), 1, 3, 3);
    let later = prove_of(other.path(), &[8]);
    assert_eq!(key_of(other.path()), key);
    let mixed = Proof { checkpoint: proof.checkpoint, ..later };
    assert_eq!(refused(mixed.text().as_bytes(), &key), ProofError::NotInLog(2));
    // Lines of witnesses do not harm, and are not counted as checked.
    let witness = SignKey::from_seed("witness.example", &[3; 32]).unwrap();
    let mut cosigned = prove_of(dir.path(), &[4]);
    let note = note::Note::parse(cosigned.checkpoint.as_bytes()).unwrap();
    let line = witness.sign_line(note.text());
    cosigned.checkpoint.push_str(&line);
    assert_eq!(cosigned.verify(&key).unwrap().other_signatures, 1);
}

#[test]
fn what_cannot_be_proven_is_said_with_its_fix() {
    let dir = fast_dir();
    let mut clock = Clock(5_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    writer.append(b"sealed", clock.0, false, clock.now()).unwrap();
    clock.forward_ms(1001);
    writer.tick(clock.now()).unwrap();
    let key = key_of(dir.path());
    // A live log.
    assert_eq!(proven(&prove_of(dir.path(), &[0]).text(), &key), [(0, b"sealed".to_vec())]);
    let fails = |seq: u64| prove(dir.path(), &BTreeSet::from([seq]), None).unwrap_err();
    let error = fails(1);
    assert!(matches!(error, ProveError::NoSuchEvent { seq: 1, events: 1 }), "{error}");
    writer.close(clock.now()).unwrap();
    // The checkpoint that covers the last batch is lost, as after a kill.
    sample(dir.path(), 0, 0, 0);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    writer.append(b"left behind", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    let path = segments(dir.path()).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut checkpoint_at = None;
    while let frame::Step::Frame(found) = frames.next_frame().unwrap() {
        if found.kind == format::FrameKind::Checkpoint {
            checkpoint_at = Some(found.offset as usize);
        }
    }
    std::fs::write(&path, &bytes[..checkpoint_at.unwrap()]).unwrap();
    let error = fails(1);
    assert!(matches!(error, ProveError::NotSealed { seq: 1, sealed: 1 }), "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
    prove_of(dir.path(), &[0]);
    // The next run's checkpoint covers it.
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    writer.append(b"next run", clock.0, true, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    assert_eq!(proven(&prove_of(dir.path(), &[1]).text(), &key), [(1, b"left behind".to_vec())]);
    let nowhere = prove(&dir.path().join("nowhere"), &BTreeSet::from([0]), Some(&key)).unwrap_err();
    assert!(matches!(nowhere, ProveError::Audit(AuditError::Io { .. })), "{nowhere}");
}

#[test]
fn damage_elsewhere_does_not_prevent_a_proof_and_no_lie_is_proven() {
    let dir = fast_dir();
    let written = sample(dir.path(), 1, 4, 3);
    let key = key_of(dir.path());
    let path = segments(dir.path()).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut places = Vec::new();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    while let frame::Step::Frame(found) = frames.next_frame().unwrap() {
        if found.kind == format::FrameKind::Batch && found.header[5] == format::BATCH_KIND_EVENTS {
            places.push((found.offset as usize, found.bytes.len()));
        }
    }
    assert_eq!(places.len(), 4);
    // Any byte of the second batch: its own events are lost, the others can be proven, or the tree is not known.
    let (offset, len) = places[1];
    for place in offset..offset + len {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let own = prove(dir.path(), &BTreeSet::from([4]), Some(&key)).unwrap_err();
        assert!(!matches!(own, ProveError::NotSealed { .. }), "byte {place}: {own}");
        match prove(dir.path(), &BTreeSet::from([1, 10]), Some(&key)) {
            Ok(proof) => {
                let expected: Vec<_> = [1, 10].iter().map(|n| (*n, written[*n as usize].clone())).collect();
                assert_eq!(proven(&proof.text(), &key), expected);
            }
            // The unread header of a skipped batch was changed.
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        ProveError::Inconsistent(_) | ProveError::Gap(_) | ProveError::Missing { .. }
                    ),
                    "byte {place}: {error}"
                );
                assert!((offset + 16..offset + 272).contains(&place), "byte {place}: {error}");
            }
        }
    }
    // A segment taken out.
    std::fs::write(&path, &bytes).unwrap();
    let many = fast_dir();
    sample(many.path(), 3, 1, 1);
    std::fs::remove_file(&segments(many.path())[1]).unwrap();
    let error = prove(many.path(), &BTreeSet::from([0]), None).unwrap_err();
    assert!(error.to_string().contains("segments 1 to 1 are missing"), "{error}");
}
