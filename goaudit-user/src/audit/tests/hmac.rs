//! The HMAC chain: it follows from its key over runs, segments, crashes and failed disks, and from no other key; what is
//! taken from it is missed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::epochs::copy_all;
use super::*;
use crate::audit::hmac::{HmacKey, HmacSchedule};

pub(super) fn key() -> HmacKey {
    HmacKey::from_seed([77; 32])
}

fn with_chain() -> WriterConfig {
    let mut config = config();
    config.hmac = Some(key());
    config
}

/// Writes a run of a log: some batches a segment.
fn run(dir: &Path, config: WriterConfig, from: u64, segments: u64) {
    let mut clock = Clock(from);
    let (mut writer, _) = Writer::open(dir, config, clock.now()).unwrap();
    fill(&mut writer, &mut clock, segments);
    writer.close(clock.now()).unwrap();
}

fn fill(writer: &mut Writer, clock: &mut Clock, segments: u64) {
    for segment in 0..segments {
        if segment > 0 {
            writer.force_roll();
        }
        for batch in 0..4 {
            for event in 0..3 {
                let bytes = format!("event {segment}.{batch}.{event}");
                writer.append(bytes.as_bytes(), clock.0, false, clock.now()).unwrap();
            }
            clock.forward_ms(4_000);
            writer.tick(clock.now()).unwrap();
        }
    }
}

fn check_with(dir: &Path, key: Option<HmacKey>) -> Report {
    let options = VerifyOptions { threads: Some(3), hmac_key: key, ..VerifyOptions::default() };
    verify(&[dir.to_owned()], &options, None).unwrap()
}

fn row(report: &Report) -> Option<&Check> {
    report.checks.iter().find(|check| check.name == "hmac_chain")
}

/// Verdict, and whether the chain is proven to whoever has the key.
pub(super) fn proven(dir: &Path) -> (Verdict, bool) {
    let report = check_with(dir, Some(key()));
    let row = row(&report).unwrap();
    assert_eq!(row.detail.contains("follow from the key"), row.ok, "{row:?}");
    (report.verdict, row.ok)
}

#[test]
fn the_chain_follows_from_its_key_over_runs_and_segments_and_from_no_other_key() {
    let dir = fast_dir();
    run(dir.path(), with_chain(), 1_000_000_000, 3);
    run(dir.path(), config(), 900_000_000_000, 2);
    assert_eq!(proven(dir.path()), (Verdict::Ok, true));
    // Without the key it is said that it is not proven; with another one that nothing was checked.
    let report = check_with(dir.path(), None);
    assert_eq!(report.verdict, Verdict::Ok);
    assert!(row(&report).is_some_and(|row| !row.ok && row.detail.contains("--hmac-key")), "{report:#?}");
    let report = check_with(dir.path(), Some(HmacKey::from_seed([78; 32])));
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(row(&report).is_some_and(|row| !row.ok && row.detail.contains("is not the one of this log")));
    // A log without one says nothing of it, unless it is asked for.
    let plain = fast_dir();
    sample(plain.path(), 2, 2, 2);
    assert_eq!(row(&check_with(plain.path(), None)), None);
    let report = check_with(plain.path(), Some(key()));
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(row(&report).is_some_and(|row| row.detail.contains("has no HMAC chain")));
}

#[cfg(feature = "age")]
#[test]
fn a_chain_over_encrypted_events_needs_both_keys() {
    use super::encryption::{Person, encrypted};
    let (dir, person) = (fast_dir(), Person::new());
    let both = WriterConfig { hmac: Some(key()), ..encrypted(&[&person]) };
    run(dir.path(), both, 1_000_000_000, 3);
    // An existing log says itself that it has both.
    run(dir.path(), config(), 900_000_000_000, 2);
    let judged = |content_keys: ContentKeys, hmac_key: Option<HmacKey>| {
        let options = VerifyOptions { threads: Some(2), content_keys, hmac_key, ..VerifyOptions::default() };
        let report = verify(&[dir.path().to_owned()], &options, None).unwrap();
        let row = row(&report).unwrap().clone();
        (report.verdict, row.ok, row.detail)
    };
    let (verdict, ok, detail) = judged(person.keys(), Some(key()));
    assert_eq!((verdict, ok), (Verdict::Ok, true), "{detail}");
    let (verdict, ok, detail) = judged(ContentKeys::default(), Some(key()));
    assert_eq!((verdict, ok), (Verdict::Incomplete, false));
    assert!(detail.contains("give their --content-key, too"), "{detail}");
    let (verdict, ok, detail) = judged(person.keys(), None);
    assert_eq!((verdict, ok), (Verdict::Ok, false));
    assert!(detail.contains("give --hmac-key"), "{detail}");
    let (verdict, ok, _) = judged(person.keys(), Some(HmacKey::from_seed([78; 32])));
    assert_eq!((verdict, ok), (Verdict::Incomplete, false));
}

#[test]
fn signatures_of_events_lead_from_batch_to_batch() {
    let dir = fast_dir();
    run(dir.path(), with_chain(), 1_000_000_000, 2);
    let mut places = Vec::new();
    let mut events: Vec<Vec<u8>> = Vec::new();
    let mut visit = |info: &BatchInfo, index: usize, event: &[u8]| {
        if index == 0 {
            places.push((info.hmac.unwrap(), info.events as usize));
        }
        events.push(event.to_vec());
    };
    let options = VerifyOptions { hmac_key: Some(key()), ..VerifyOptions::default() };
    verify(&[dir.path().to_owned()], &options, Some(&mut visit)).unwrap();
    let mut rest = events.iter().map(Vec::as_slice);
    let (mut schedule, mut last) = (HmacSchedule::new(&key()), [0; 32]);
    for (place, count) in &places {
        assert_eq!(place.before, last, "{place:?}");
        last = schedule.signatures(place, rest.by_ref().take(*count)).last().unwrap();
    }
    let turns: Vec<(u64, u64)> = places.iter().map(|(place, _)| (place.generation, place.step)).collect();
    assert_eq!(turns, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]);
    // Backwards, too: whoever asks for one batch gets it.
    let (place, count) = places[1];
    let again = schedule.signatures(&place, events.iter().map(Vec::as_slice).skip(3).take(count)).last();
    assert_eq!(again, Some(places[2].0.before));
}

#[test]
fn a_crash_at_any_step_leaves_a_chain_that_goes_on() {
    let (dir, keep) = (fast_dir(), fast_dir());
    let count = Arc::new(Mutex::new(0_usize));
    let take = {
        let (count, dir, keep) = (Arc::clone(&count), dir.path().to_owned(), keep.path().to_owned());
        move || {
            let mut count = count.lock().unwrap();
            copy_all(&dir, &keep.join(count.to_string()));
            *count += 1;
        }
    };
    let mut config = with_chain();
    let (of_store, of_sync) = (take.clone(), take);
    config.store_key = Arc::new(move |path, text| {
        of_store();
        epoch::store(path, text)?;
        of_store();
        Ok(())
    });
    config.sync = Arc::new(move |file| {
        of_sync();
        file.sync_data()
    });
    run(dir.path(), config, 1_000_000_000, 3);
    let mut gone_on = 0;
    for number in 0..*count.lock().unwrap() {
        let copy = keep.path().join(number.to_string());
        if !copy.join("keys/log.key").exists() || !copy.join("keys/hmac.key").exists() {
            // Nothing of the chain is there yet.
            continue;
        }
        run(&copy, super::config(), 900_000_000_000, 1);
        assert_eq!(proven(&copy), (Verdict::Ok, true), "{number}");
        gone_on += 1;
    }
    assert!(gone_on > 20, "{gone_on}");
}

#[test]
fn a_failed_sync_moves_the_chain_into_another_segment() {
    let dir = fast_dir();
    let fails = Arc::new(AtomicBool::new(false));
    let mut config = with_chain();
    let flag = Arc::clone(&fails);
    config.sync = Arc::new(move |file| {
        if flag.swap(false, Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    });
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    fill(&mut writer, &mut clock, 2);
    fails.store(true, Ordering::SeqCst);
    fill(&mut writer, &mut clock, 1);
    writer.seal(clock.now()).unwrap();
    fill(&mut writer, &mut clock, 2);
    writer.close(clock.now()).unwrap();
    assert!(segments(dir.path()).len() > 3, "it did move");
    assert_eq!(proven(dir.path()), (Verdict::Ok, true));
}

#[test]
fn a_disk_that_takes_no_ratchet_file_delays_the_chain_and_breaks_nothing() {
    let dir = fast_dir();
    let full = Arc::new(AtomicBool::new(false));
    let mut config = with_chain();
    let flag = Arc::clone(&full);
    config.store_key = Arc::new(move |path, text| {
        if flag.load(Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        epoch::store(path, text)
    });
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    fill(&mut writer, &mut clock, 1);
    writer.seal(clock.now()).unwrap();
    full.store(true, Ordering::SeqCst);
    writer.force_roll();
    writer.append(b"waits", clock.0, false, clock.now()).unwrap();
    clock.forward_ms(1_001);
    let error = writer.tick(clock.now()).unwrap_err();
    assert!(error.to_string().contains("hmac.key"), "{error}");
    full.store(false, Ordering::SeqCst);
    clock.forward_ms(1_001);
    writer.tick(clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    assert_eq!(proven(dir.path()), (Verdict::Ok, true));
    assert!(read_all(dir.path()).contains(&b"waits".to_vec()));
}

#[test]
fn a_ratchet_file_that_is_lost_or_older_ends_the_chain_loudly_and_the_log_goes_on() {
    for case in ["missing", "cut short", "older"] {
        let dir = fast_dir();
        run(dir.path(), with_chain(), 1_000_000_000, 2);
        let file = dir.path().join("keys/hmac.key");
        let before = std::fs::read(&file).unwrap();
        run(dir.path(), config(), 500_000_000_000, 1);
        assert_ne!(std::fs::read(&file).unwrap(), before);
        match case {
            "missing" => std::fs::remove_file(&file).unwrap(),
            "cut short" => std::fs::write(&file, &before[..before.len() / 2]).unwrap(),
            _ => std::fs::write(&file, &before).unwrap(),
        }
        let events = check(dir.path()).events;
        // Told for ever, whatever goes on.
        for round in 0..2 {
            run(dir.path(), config(), 900_000_000_000 + round * 100_000_000_000, 1);
            for key in [None, Some(key())] {
                let report = check_with(dir.path(), key);
                assert_eq!(report.verdict, Verdict::Damaged, "{case}: {report:#?}");
                let row = row(&report).unwrap();
                assert!(!row.ok && row.detail.contains("the HMAC chain ends"), "{case}: {row:?}");
            }
        }
        assert!(check(dir.path()).events > events, "{case}");
    }
}

#[test]
fn a_verification_goes_on_in_the_chain_where_the_last_one_ended() {
    let dir = fast_dir();
    run(dir.path(), with_chain(), 1_000_000_000, 3);
    let mut options = VerifyOptions { hmac_key: Some(key()), ..VerifyOptions::default() };
    let (_, state) = verify_since(&[dir.path().to_owned()], &options, None).unwrap();
    let file = dir.path().join("state");
    state.unwrap().store(&file).unwrap();
    run(dir.path(), config(), 900_000_000_000, 2);
    options.since = State::load(&file).unwrap();
    assert!(options.since.as_ref().unwrap().segment() > 0);
    let report = verify(&[dir.path().to_owned()], &options, None).unwrap();
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert!(row(&report).is_some_and(|row| row.ok), "{report:#?}");
}

#[test]
fn a_pruned_log_keeps_its_chain() {
    let dir = fast_dir();
    let mut clock = Clock(1_000_000_000);
    let mut config = with_chain();
    config.retention = Duration::from_hours(24);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    fill(&mut writer, &mut clock, 4);
    clock.forward_ms(3 * 86_400_000);
    assert!(writer.prune(None, clock.now()).unwrap().is_some());
    fill(&mut writer, &mut clock, 2);
    writer.close(clock.now()).unwrap();
    assert_eq!(proven(dir.path()), (Verdict::Ok, true));
}

#[test]
fn a_segment_by_itself_proves_nothing_of_the_chain() {
    let dir = fast_dir();
    run(dir.path(), with_chain(), 1_000_000_000, 3);
    let options = VerifyOptions { hmac_key: Some(key()), ..VerifyOptions::default() };
    let report = verify(&segments(dir.path())[1..], &options, None).unwrap();
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(row(&report).is_some_and(|row| !row.ok && row.detail.contains("not read from its beginning")));
}

#[test]
fn the_text_of_a_key_is_read_as_it_is_written_and_nothing_else_is() {
    let text = key().text();
    assert_eq!(HmacKey::parse(&text).unwrap().commitment(), key().commitment());
    assert!(HmacKey::parse(&format!("{}\n", text.as_str())).is_ok());
    for bad in ["", "goaudit hmac key", "goaudit hmac key AAAA", &text[1..], &format!("{} ", text.as_str())] {
        assert!(HmacKey::parse(bad).is_err(), "{bad:?}");
    }
}
