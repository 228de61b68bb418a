//! Epoch keys: each crash leaves a log that goes on in an unbroken chain; a lost key is always told; what was sealed
//! before a key was erased cannot be sealed anew.

use std::sync::{Arc, Mutex};

use super::*;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::content::NamedKey;
use crate::audit::epoch::{self, EpochKeys};
use crate::audit::fault::FaultKind;
use crate::audit::note::{Note, SignKey};
use crate::audit::personal::Personal;
use crate::audit::record::Record;

/// A copy of a log, keys and all, that stands for the directory itself at that moment: it does not know its place.
pub(super) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("keys")).unwrap();
    for folder in ["", "keys"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let entry = entry.unwrap();
            // The thread that makes things durable may be replacing a file just now.
            if entry.file_name() != "place" && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let _ = std::fs::copy(entry.path(), to.join(folder).join(entry.file_name()));
            }
        }
    }
}

fn check_name<'a>(report: &'a Report, name: &str) -> &'a Check {
    report.checks.iter().find(|check| check.name == name).unwrap()
}

/// Goes on with a log after a crash, and verifies it.
fn goes_on(dir: &Path) -> (Opened, Report) {
    let mut clock = Clock(900_000_000_000);
    let (mut writer, opened) = Writer::open(dir, config(), clock.now()).unwrap();
    for _ in 0..3 {
        writer.append(b"again", clock.0, false, clock.now()).unwrap();
        clock.forward_ms(11_000);
        writer.tick(clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    let report = check(dir);
    (opened, report)
}

fn epoch_of(dir: &Path) -> EpochKeys {
    let key = keys::load_public(dir).unwrap();
    epoch::load(dir, key.name()).unwrap().unwrap()
}

/// The notes of a segment's checkpoints, in order.
fn notes(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut notes = Vec::new();
    while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
        if frame.kind == format::FrameKind::Checkpoint {
            notes.push(String::from_utf8(frame.body.to_vec()).unwrap());
        }
    }
    notes
}

#[test]
fn every_checkpoint_has_two_lines_and_epochs_follow_each_other() {
    let dir = fast_dir();
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    for _ in 0..45 {
        clock.forward_ms(1000);
        writer.append(b"event", clock.0, true, clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    let key = keys::load_public(dir.path()).unwrap();
    let signers: Vec<u32> = notes(&segments(dir.path())[0])
        .iter()
        .map(|text| {
            let note = Note::parse(text.as_bytes()).unwrap();
            let [stable, epoch] = note.lines() else { panic!("{text}") };
            assert_eq!(stable.name, key.name());
            epoch::number_of(key.name(), epoch.name).unwrap()
        })
        .collect();
    // One at the start, one each ten seconds, one at the end, whose key has signed nothing.
    assert_eq!(signers.first(), Some(&0));
    assert!(signers.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1), "{signers:?}");
    assert_eq!((signers[1], signers.last()), (1, Some(&5)), "{signers:?}");
    assert_eq!(epoch_of(dir.path()).number, 6);
    let report = check(dir.path());
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert!(check_name(&report, "epoch_keys").detail.contains("chain of 7 keys"), "{report:#?}");
}

#[test]
fn a_clock_that_steps_back_a_day_does_not_stop_the_epochs() {
    let dir = fast_dir();
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    let mut seconds = 0;
    // Three turns; each waits for the disk, so they may come later than after thirty seconds of this clock.
    while epoch_of(dir.path()).number < 3 {
        seconds += 1;
        assert!(seconds < 1000, "no third epoch after {seconds} s");
        clock.forward_ms(1000);
        let mut now = clock.now();
        if seconds > 10 {
            now.realtime_ns -= 86_400_000_000_000;
        }
        writer.clock(now).unwrap();
        writer.append(b"event", clock.0, true, now).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Every moment at which a write to the key file or a sync of the log begins or has ended, as a copy of the directory:
/// what a kill or a power cut just then leaves.
fn moments(dir: &Path, keep: &Path) -> Vec<(&'static str, PathBuf)> {
    let list: Arc<Mutex<Vec<(&'static str, PathBuf)>>> = Arc::default();
    let take = {
        let (list, dir, keep) = (Arc::clone(&list), dir.to_owned(), keep.to_owned());
        move |what: &'static str| {
            let mut list = list.lock().unwrap();
            let copy = keep.join(list.len().to_string());
            copy_all(&dir, &copy);
            list.push((what, copy));
        }
    };
    let mut config = config();
    let (of_store, of_sync) = (take.clone(), take.clone());
    config.store_key = Arc::new(move |path, text| {
        of_store("before the key file is replaced");
        epoch::store(path, text)?;
        of_store("after the key file was replaced");
        Ok(())
    });
    config.sync = Arc::new(move |file| {
        of_sync("before a sync");
        file.sync_data()?;
        of_sync("after a sync");
        Ok(())
    });
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir, config, clock.now()).unwrap();
    for n in 0..4_u8 {
        writer.append(&[n; 30], clock.0, false, clock.now()).unwrap();
        clock.forward_ms(11_000);
        writer.tick(clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    drop(take);
    Arc::into_inner(list).map(|list| list.into_inner().unwrap()).unwrap_or_default()
}

#[test]
fn a_crash_after_any_step_leaves_an_unbroken_chain() {
    let (dir, keep) = (fast_dir(), fast_dir());
    let moments = moments(dir.path(), keep.path());
    assert!(moments.len() > 20, "{}", moments.len());
    let mut seen = std::collections::BTreeSet::new();
    for (number, (what, copy)) in moments.iter().enumerate() {
        if !copy.join("keys/log.key").exists() {
            // The keys were being made: nothing is there yet.
            continue;
        }
        let (opened, report) = goes_on(copy);
        assert_eq!(opened.key_chain_broken, None, "{number}, {what}");
        assert_eq!(report.verdict, Verdict::Ok, "{number}, {what}: {report:#?}");
        seen.insert(*what);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_crash_at_any_byte_of_the_turn_leaves_an_unbroken_chain() {
    // The end of a turn, with the key file as it is then: old key and next key.
    let (dir, keep) = (fast_dir(), fast_dir());
    let moments = moments(dir.path(), keep.path());
    let (_, copy) = moments.iter().rev().find(|(what, _)| *what == "before a sync").unwrap();
    let path = segments(copy).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut places = Vec::new();
    while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
        places.push((frame.offset as usize, frame.kind));
    }
    // From before the last record of an epoch to the end.
    let from = places.iter().rev().filter(|(_, kind)| *kind == format::FrameKind::Batch).nth(1).unwrap().0;
    let mut turns = 0;
    for cut in (from..bytes.len()).step_by(7).chain(places.iter().map(|(at, _)| *at).filter(|at| *at > from))
    {
        let this = fast_dir();
        copy_all(copy, this.path());
        // The thread that writes it may be doing so: the copy need not have it.
        let _ = std::fs::remove_file(this.path().join("checkpoint"));
        std::fs::write(this.path().join(path.file_name().unwrap()), &bytes[..cut]).unwrap();
        let (opened, report) = goes_on(this.path());
        // Cut before what the key file already certifies, the chain is broken, and that is told.
        if opened.key_chain_broken.is_some() {
            assert_eq!(report.verdict, Verdict::Damaged, "cut at {cut}: {report:#?}");
        } else {
            turns += 1;
            assert_eq!(report.verdict, Verdict::Ok, "cut at {cut}: {report:#?}");
        }
    }
    assert!(turns > 3, "{turns}");
}

#[test]
fn a_key_file_that_does_not_fit_breaks_the_chain_loudly_and_the_log_goes_on() {
    let other = fast_dir();
    let mut foreign = config();
    foreign.origin = "example.org/other".to_owned();
    Writer::open(other.path(), foreign, Clock(1).now()).unwrap().0.close(Clock(1).now()).unwrap();
    let older = fast_dir();
    sample(older.path(), 1, 1, 1);
    let cases: [(&str, Option<Vec<u8>>); 6] = [
        ("missing", None),
        ("half-written", Some(b"goaudit epoch keys\nPRIVATE+KEY+exam".to_vec())),
        ("empty", Some(Vec::new())),
        ("not text", Some(vec![0xff; 300])),
        ("of another log", Some(std::fs::read(epoch::path(other.path())).unwrap())),
        ("an older state of this log", Some(std::fs::read(epoch::path(older.path())).unwrap())),
    ];
    for (name, bytes) in cases {
        let dir = fast_dir();
        sample(dir.path(), 2, 12, 2);
        let size = check(dir.path()).size;
        let path = epoch::path(dir.path());
        std::fs::remove_file(&path).unwrap();
        if let Some(bytes) = &bytes {
            epoch::store(&path, bytes).unwrap();
        }
        let (opened, report) = goes_on(dir.path());
        assert!(opened.key_chain_broken.is_some(), "{name}");
        assert_eq!(report.verdict, Verdict::Damaged, "{name}: {report:#?}");
        let detail = &check_name(&report, "epoch_keys").detail;
        assert!(detail.contains(&format!("key chain broken at size {}", size + 2)), "{name}: {detail}");
        assert_eq!(
            path.with_extension("key.refused").exists(),
            bytes.is_some(),
            "{name}: it is kept as evidence"
        );
        // Told for ever, and no second time for the same reason.
        let (opened, report) = goes_on(dir.path());
        assert_eq!((opened.key_chain_broken, report.verdict), (None, Verdict::Damaged), "{name}");
    }
}

#[test]
fn a_crash_while_a_lost_key_is_replaced_is_told_too() {
    let dir = fast_dir();
    sample(dir.path(), 1, 2, 2);
    std::fs::remove_file(epoch::path(dir.path())).unwrap();
    let clock = Clock(900_000_000_000);
    // Opened and killed: nothing was written; then killed between the record and its checkpoint.
    drop(Writer::open(dir.path(), config(), clock.now()).unwrap());
    let (mut writer, opened) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert!(opened.key_chain_broken.is_some());
    writer.append(b"x", clock.0, false, clock.now()).unwrap();
    writer.seal(clock.now()).unwrap();
    drop(writer);
    let path = segments(dir.path()).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut last = 0;
    while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
        last = frame.offset as usize;
    }
    std::fs::write(&path, &bytes[..last]).unwrap();
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let (_, report) = goes_on(dir.path());
    assert_eq!(report.verdict, Verdict::Damaged, "{report:#?}");
    assert!(check_name(&report, "epoch_keys").detail.contains("key chain broken"), "{report:#?}");
}

#[test]
fn a_disk_that_takes_no_key_makes_the_epoch_last_and_loses_nothing() {
    let dir = fast_dir();
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut config = config();
    let flag = Arc::clone(&full);
    config.store_key = Arc::new(move |path, text| {
        if flag.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        epoch::store(path, text)
    });
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    for n in 0..60_u64 {
        full.store((20..40).contains(&n), std::sync::atomic::Ordering::SeqCst);
        clock.forward_ms(1000);
        writer.append(b"event", clock.0, false, clock.now()).unwrap();
        writer.tick(clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    let report = check(dir.path());
    assert_eq!((report.verdict, report.events), (Verdict::Ok, 60), "{report:#?}");
    let number = epoch_of(dir.path()).number;
    assert!((4..7).contains(&number), "{number}");
}

#[test]
fn erased_keys_are_nowhere_in_the_directory() {
    let dir = fast_dir();
    let seeds: Arc<Mutex<Vec<[u8; 32]>>> = Arc::default();
    let mut config = config();
    let (list, mut count) = (Arc::clone(&seeds), 0_u64);
    config.seeds = Box::new(move |seed| {
        count += 1;
        *seed = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(count.to_le_bytes()))
            .into();
        list.lock().unwrap().push(*seed);
        Ok(())
    });
    let mut clock = Clock(1_000_000_000);
    let (mut writer, opened) = Writer::open(dir.path(), config, clock.now()).unwrap();
    for _ in 0..35 {
        clock.forward_ms(1000);
        writer.append(b"event", clock.0, false, clock.now()).unwrap();
        writer.tick(clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    let mut all = Vec::new();
    for folder in ["", "keys"] {
        for entry in std::fs::read_dir(dir.path().join(folder)).unwrap() {
            if entry.as_ref().unwrap().file_type().unwrap().is_file() {
                all.push(
                    String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned(),
                );
            }
        }
    }
    let keys = epoch_of(dir.path());
    assert_eq!(keys.number, 5);
    let mut found = Vec::new();
    for seed in seeds.lock().unwrap().iter() {
        for number in 0..8 {
            let key = SignKey::from_seed(&epoch::name(&opened.origin, number), seed).unwrap();
            if all.iter().any(|text| text.contains(key.text().as_str())) {
                found.push(number);
            }
        }
    }
    assert_eq!(found, [5, 6], "the epoch's key and the next one, no other");
}

/// What a thief of all keys that lie in the directory can sign.
pub(super) fn steal(dir: &Path) -> (SignKey, EpochKeys) {
    let log = keys::load(dir).unwrap().unwrap();
    let epoch = epoch_of(dir);
    (log, epoch)
}

/// Replaces the notes of a segment's checkpoints (and of its end), as `sign` makes them from the old ones.
pub(super) fn reseal(path: &Path, sign: impl Fn(&Checkpoint) -> String) {
    let bytes = std::fs::read(path).unwrap();
    let mut out = bytes[..4096].to_vec();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut last = String::new();
    while let frame::Step::Frame(found) = frames.next_frame().unwrap() {
        let body = match found.kind {
            format::FrameKind::Batch | format::FrameKind::Gap => found.body.to_vec(),
            format::FrameKind::Checkpoint => {
                let note = Note::parse(found.body).unwrap();
                last = sign(&Checkpoint::parse_text(note.text()).unwrap());
                last.clone().into_bytes()
            }
            format::FrameKind::SegmentEnd => last.clone().into_bytes(),
        };
        frame::encode(found.kind, found.header, &body, &mut out);
    }
    std::fs::write(path, out).unwrap();
}

#[test]
fn what_was_sealed_cannot_be_sealed_anew_with_the_keys_of_later() {
    let dir = fast_dir();
    sample(dir.path(), 1, 30, 1);
    let (log, epoch) = steal(dir.path());
    let path = &segments(dir.path())[0];
    let good = std::fs::read(path).unwrap();
    let attacks: [(&str, &dyn Fn(&Checkpoint) -> String, &str); 3] = [
        ("only the log's key", &|head| head.seal(&log, None), "the line of epoch"),
        ("the newest key", &|head| head.seal(&log, Some(&epoch.key)), "sealed anew"),
        (
            "a key of its name",
            &|head| {
                let made = SignKey::from_seed(&epoch::name(log.public().name(), 0), &[3; 32]).unwrap();
                head.seal(&log, Some(&made))
            },
            "another key than that of epoch 0",
        ),
    ];
    for (name, sign, says) in attacks {
        std::fs::write(path, &good).unwrap();
        reseal(path, sign);
        let options = VerifyOptions {
            log_key: Some(log.public().clone()),
            threads: Some(1),
            ..VerifyOptions::default()
        };
        let report = verify(&[dir.path().to_owned()], &options, None).unwrap();
        assert_eq!(report.verdict, Verdict::Tampered, "{name}: {report:#?}");
        let check = check_name(&report, "epoch_keys");
        assert!(!check.ok && check.detail.contains(says), "{name}: {check:?}");
    }
}

#[test]
fn a_whole_log_made_anew_with_the_stolen_log_key_has_another_beginning() {
    let dir = fast_dir();
    sample(dir.path(), 1, 3, 1);
    let (log, _) = steal(dir.path());
    // The thief makes a log whose keys are the stolen one and one of his own for epoch 0.
    let made = fast_dir();
    let first = SignKey::from_seed(&epoch::name(log.public().name(), 0), &[3; 32]).unwrap();
    std::fs::create_dir(made.path().join("keys")).unwrap();
    epoch::store(&epoch::path(made.path()), EpochKeys::text(&first, None).as_bytes()).unwrap();
    epoch::store(&made.path().join("keys/log.key"), log.text().as_bytes()).unwrap();
    let clock = Clock(5_000_000_000);
    let (mut writer, _) = Writer::open(made.path(), config(), clock.now()).unwrap();
    writer.append(b"nothing happened", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    let options =
        VerifyOptions { log_key: Some(log.public().clone()), threads: Some(1), ..VerifyOptions::default() };
    let report = verify(&[made.path().to_owned()], &options, None).unwrap();
    assert_eq!(report.verdict, Verdict::Tampered, "{report:#?}");
    assert!(report.first_bad.unwrap().what.contains("commits to"));
}

#[test]
fn records_have_one_form_and_unknown_ones_are_refused() {
    let dir = fast_dir();
    sample(dir.path(), 1, 1, 1);
    let (log, keys) = steal(dir.path());
    let genesis = Record::Genesis(Box::new(record::Genesis {
        log_key: log.public().clone(),
        epoch_key: keys.key.public().clone(),
        retention_ns: 7,
        host_id: [0xab; 16],
        agent: "goaudit 1.2.3".to_owned(),
        recipients: Vec::new(),
        hmac: Some([0xcd; 32]),
        sm2: None,
        personal: None,
    }));
    let Record::Genesis(encrypted) = genesis.clone() else { panic!("it is one") };
    let encrypted = Record::Genesis(Box::new(record::Genesis {
        recipients: vec!["age1one".to_owned(), "age1two".to_owned()],
        personal: Some(Personal {
            classes: vec!["subject".to_owned(), "user".to_owned()],
            recipients: vec!["age1three".to_owned()],
            shred_after_days: 90,
        }),
        ..*encrypted
    }));
    let named = Record::ContentKey(NamedKey { wrapped_sha256: [0xab; 32], commitment: [0xcd; 32] });
    let epoch = Record::Epoch(Box::new(record::Epoch {
        number: 4,
        key: keys.key.public().clone(),
        lost: Some("the key file is missing".to_owned()),
    }));
    let begun = Record::Hmac(record::HmacStart::Generation(7));
    let ended = Record::Hmac(record::HmacStart::Lost("the ratchet file is missing".to_owned()));
    for record in [genesis, encrypted, named, epoch, begun, ended] {
        let text = record.text();
        assert_eq!(Record::parse(text.as_bytes()).unwrap(), record);
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
        for (from, to) in [
            ("/1 ", "/2 "),
            ("genesis", "other"),
            ("epoch\n", "later\n"),
            ("hash sha256", "hash sm3"),
            ("ed25519", "sm2"),
            ("encryption none", "encryption sm4-gcm"),
            ("encryption aes-256-gcm", "encryption sm4-gcm"),
        ] {
            if text.contains(from) {
                let error = Record::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
                assert_eq!(error.kind, FaultKind::Unsupported, "{from}: {error}");
            }
        }
        for wrong in [format!("{text}more 1\n"), text.replacen('\n', "\n\n", 1), text.trim_end().to_owned()] {
            assert!(Record::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for len in 0..text.len() {
            // Whether a key is lost the batch header says, too.
            let other = Record::parse(&text.as_bytes()[..len]).is_ok();
            assert_eq!(other, text[len..].starts_with("key-lost"), "cut to {len}");
        }
    }
}

#[test]
fn key_files_have_one_form() {
    let keys: Vec<SignKey> =
        (3..6).map(|n| SignKey::from_seed(&epoch::name("a/b", n), &[n as u8; 32]).unwrap()).collect();
    let text = EpochKeys::text(&keys[0], Some(&keys[1]));
    let parsed = EpochKeys::parse(&text, "a/b").unwrap();
    assert_eq!((parsed.number, parsed.next.is_some()), (3, true));
    assert!(EpochKeys::parse(&EpochKeys::text(&keys[0], None), "a/b").unwrap().next.is_none());
    assert!(EpochKeys::parse(&text, "a").is_err());
    assert!(EpochKeys::parse(&EpochKeys::text(&keys[0], Some(&keys[2])), "a/b").is_err());
    for len in 0..text.len() {
        assert!(EpochKeys::parse(&text[..len], "a/b").is_err(), "cut to {len}");
    }
}

#[test]
fn an_older_log_without_epoch_keys_is_told_apart() {
    let dir = fast_dir();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    let key = SignKey::from_seed("goaudit/host/audit", &[1; 32]).unwrap();
    epoch::store(&dir.path().join("keys/log.key"), key.text().as_bytes()).unwrap();
    let error = Writer::open(dir.path(), config(), Clock(1).now()).err().unwrap();
    assert!(error.to_string().contains("older goaudit"), "{error}");
    assert!(
        !epoch::has_commitment("goaudit/host/audit") && epoch::has_commitment(&epoch::origin("a", &[1; 32]))
    );
}
