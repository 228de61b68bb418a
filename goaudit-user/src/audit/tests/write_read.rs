//! What is written is what is read, and verifies.

use super::*;

#[test]
fn events_come_back_in_order_over_segments_and_verify_ok() {
    let dir = fast_dir();
    let written = sample(dir.path(), 3, 3, 5);
    assert_eq!(read_all(dir.path()), written);
    let mut seen = Vec::new();
    let mut visitor = |info: &BatchInfo, index: usize, event: &[u8]| {
        assert_eq!(info.first_seq + index as u64, seen.len() as u64);
        seen.push(event.to_vec());
    };
    let options = VerifyOptions { threads: Some(3), ..VerifyOptions::default() };
    let report = verify(&[dir.path().to_owned()], &options, Some(&mut visitor)).unwrap();
    assert_eq!(seen, written);
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!((report.segments, report.events, report.unsealed_events), (3, written.len() as u64, 0));
    assert_eq!(report.freshness, Freshness::NotProven);
    assert!(report.checks.iter().all(|check| check.ok || ["freshness", "origin"].contains(&check.name)));
}

#[test]
fn a_log_goes_on_in_a_new_segment() {
    let dir = fast_dir();
    let mut written = sample(dir.path(), 1, 1, 3);
    let clock = Clock(99_000_000_000);
    let (mut writer, opened) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert!(!opened.new_log && opened.clean && opened.torn.is_none());
    assert_eq!((opened.segment_no, opened.next_seq), (1, 3));
    assert_eq!(writer.append(b"more", clock.0, true, clock.now()).unwrap(), 3);
    written.push(b"more".to_vec());
    writer.close(clock.now()).unwrap();
    assert_eq!(read_all(dir.path()), written);
    let report = check(dir.path());
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
}

#[test]
fn a_second_writer_is_refused() {
    let dir = fast_dir();
    let clock = Clock(1);
    let (_first, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    let error = Writer::open(dir.path(), config(), clock.now()).err().unwrap();
    assert!(matches!(error, AuditError::Locked(_)), "{error}");
    assert!(error.to_string().contains("another goaudit writes"), "{error}");
}

#[test]
fn a_live_log_verifies_and_is_followed() {
    let dir = fast_dir();
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    let options = ReadOptions { follow: true, ..ReadOptions::default() };
    let mut reader = Reader::open(dir.path(), options).unwrap();
    assert!(reader.next_batch().unwrap().is_none());
    for n in 0..10_u8 {
        if n == 5 {
            writer.force_roll();
        }
        clock.forward_ms(10);
        writer.append(&[n], clock.0, true, clock.now()).unwrap();
        writer.seal(clock.now()).unwrap();
        let batch = reader.next_batch().unwrap().unwrap();
        let mut events: Vec<_> = batch.events().map(<[u8]>::to_vec).collect();
        if n == 5 {
            assert_eq!(events.remove(0), b"segment 1");
        }
        assert_eq!(events, [vec![n]]);
        assert_eq!(batch.meta().realtime_of(clock.0), clock.now().realtime_ns);
        assert!(reader.next_batch().unwrap().is_none());
        let report = check(dir.path());
        assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    }
    // A frame that is half there is neither damage nor an event.
    let path = segments(dir.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut half = whole.clone();
    half.extend_from_slice(&whole[4096..4096 + 100]);
    std::fs::write(&path, &half).unwrap();
    assert!(reader.next_batch().unwrap().is_none());
    assert_eq!(check(dir.path()).verdict, Verdict::Ok);
}

#[test]
fn reading_begins_where_it_is_asked_to() {
    let dir = fast_dir();
    let written = sample(dir.path(), 3, 4, 5);
    for seq in [0, 1, 5, 20, 21, 44, written.len() as u64 - 1] {
        let mut reader =
            Reader::open(dir.path(), ReadOptions { from: ReadFrom::Seq(seq), follow: false }).unwrap();
        let batch = reader.next_batch().unwrap().unwrap();
        let meta = batch.meta();
        assert!(meta.first_seq <= seq && seq < meta.first_seq + u64::from(meta.events), "{seq}: {meta:?}");
        let index = usize::try_from(seq - meta.first_seq).unwrap();
        assert_eq!(batch.events().nth(index).unwrap(), written[usize::try_from(seq).unwrap()]);
        let time = meta.realtime_last_ns;
        let mut by_time =
            Reader::open(dir.path(), ReadOptions { from: ReadFrom::Realtime(time), follow: false }).unwrap();
        assert_eq!(by_time.next_batch().unwrap().unwrap().meta(), meta);
    }
    let mut reader =
        Reader::open(dir.path(), ReadOptions { from: ReadFrom::Seq(1 << 40), follow: false }).unwrap();
    assert!(reader.next_batch().unwrap().is_none());
}

#[test]
fn large_events_are_stored_whole_and_larger_ones_refused() {
    let dir = fast_dir();
    let clock = Clock(1);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    let large: Vec<u8> = (0..format::MAX_EVENT_LEN).map(|n| ((n * 2_654_435_761) >> 13) as u8).collect();
    for event in [&b"small"[..], &large, b"", &large[..3 << 20], b"last"] {
        writer.append(event, 1, false, clock.now()).unwrap();
    }
    let error = writer.append(&vec![0; format::MAX_EVENT_LEN + 1], 1, false, clock.now()).unwrap_err();
    assert!(matches!(error, AuditError::EventTooLarge(_)));
    writer.close(clock.now()).unwrap();
    let read = read_all(dir.path());
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [5, 16 << 20, 0, 3 << 20, 4]);
    assert!(read[1] == large);
    assert_eq!(check(dir.path()).verdict, Verdict::Ok);
}

#[test]
fn a_clock_step_closes_the_batch_and_each_batch_has_one_offset() {
    let dir = fast_dir();
    let (mut writer, _) = Writer::open(dir.path(), config(), Clock(1000).now()).unwrap();
    writer.append(b"before", 1000, false, Clock(1000).now()).unwrap();
    assert_eq!(writer.clock(Clock(2000).now()).unwrap(), None);
    let mut stepped = Clock(3000).now();
    stepped.realtime_ns -= 86_400_000_000_000;
    assert_eq!(writer.clock(stepped).unwrap(), Some(-86_400_000_000_000));
    writer.append(b"after", 3000, false, stepped).unwrap();
    writer.close(stepped).unwrap();
    let mut reader = Reader::open(dir.path(), ReadOptions::default()).unwrap();
    let (first, second) = (reader.next_batch().unwrap().unwrap(), reader.next_batch().unwrap().unwrap());
    assert_eq!(first.meta().realtime_of(1000), Clock(1000).now().realtime_ns);
    assert_eq!(second.meta().realtime_of(3000), stepped.realtime_ns);
    assert_eq!(check(dir.path()).verdict, Verdict::Ok);
}

#[test]
fn lost_events_and_urgency_stand_in_the_header() {
    let dir = fast_dir();
    let clock = Clock(1000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    writer.add_lost(3, format::lost::RING);
    writer.add_lost(4, format::lost::NO_SPACE);
    writer.append(b"one", 1000, true, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    let mut reader = Reader::open(dir.path(), ReadOptions::default()).unwrap();
    let batch = reader.next_batch().unwrap().unwrap();
    assert_eq!(
        (batch.meta().lost_events, batch.meta().lost_cause),
        (7, format::lost::RING | format::lost::NO_SPACE)
    );
    assert!(batch.meta().urgent);
    assert_eq!(check(dir.path()).lost, 7);
}

#[test]
fn the_deadline_says_when_to_tick() {
    let dir = fast_dir();
    let mut clock = Clock(10_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert_eq!(writer.deadline(), None);
    writer.append(b"one", clock.0, false, clock.now()).unwrap();
    assert_eq!(writer.deadline(), Some(11_000_000_000));
    clock.forward_ms(1000);
    writer.tick(clock.now()).unwrap();
    assert_eq!(writer.deadline(), None);
    // Urgent: at once; the next one right after it waits for the gap.
    writer.append(b"two", clock.0, true, clock.now()).unwrap();
    assert_eq!(writer.deadline(), None);
    writer.append(b"three", clock.0, true, clock.now()).unwrap();
    assert_eq!(writer.deadline(), Some(clock.0 + 2_000_000));
}

#[test]
fn expected_checkpoints_prove_freshness_and_find_rollback() {
    let dir = fast_dir();
    sample(dir.path(), 2, 2, 3);
    let kept = std::fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    let key = keys::load_public(dir.path()).unwrap();
    let options =
        VerifyOptions { expect: Some(kept.clone()), log_key: Some(key), ..VerifyOptions::default() };
    let report = verify(&[dir.path().to_owned()], &options, None).unwrap();
    assert_eq!((report.verdict, report.freshness), (Verdict::Ok, Freshness::Proven), "{report:#?}");
    assert!(report.checks.iter().all(|check| check.ok), "{report:#?}");
    // The same log, an older state.
    let older = fast_dir();
    sample(older.path(), 1, 2, 3);
    let report = verify(&[older.path().to_owned()], &options, None).unwrap();
    assert_eq!((report.verdict, report.freshness), (Verdict::Tampered, Freshness::NotProven), "{report:#?}");
    // Another log's key.
    let other = note::SignKey::from_seed("example.org/goaudit/test/audit", &[9; 32]).unwrap();
    let options = VerifyOptions { log_key: Some(other.public().clone()), ..VerifyOptions::default() };
    assert_eq!(verify(&[dir.path().to_owned()], &options, None).unwrap().verdict, Verdict::Tampered);
}

#[test]
fn the_key_is_private_and_readable_by_stock_tools() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = fast_dir();
    sample(dir.path(), 1, 1, 1);
    let path = dir.path().join("keys/log.key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let vkey = std::fs::read_to_string(dir.path().join("keys/log.vkey")).unwrap();
    let verifier = signed_note::StandardVerifier::new(vkey.trim()).unwrap();
    let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = std::fs::read(dir.path().join("checkpoint")).unwrap();
    let (verified, unknown) = signed_note::Note::from_bytes(&note).unwrap().verify(&list).unwrap();
    // The other line is by the epoch's key, which is an Ed25519 key of its own name.
    assert_eq!((verified.len(), unknown.len()), (1, 1));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Writer::open(dir.path(), config(), Clock(1).now()).err().unwrap();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}
