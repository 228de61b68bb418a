//! Whatever is changed is found.

use std::collections::BTreeMap;

use super::*;
use crate::audit::format::{BATCH_HEADER_LEN, FRAME_HEAD_LEN, SEGMENT_HEADER_LEN};

/// A log in memory: segment number to bytes.
type Files = BTreeMap<u64, Vec<u8>>;

struct Lab {
    dir: tempfile::TempDir,
    files: Files,
    events: u64,
}

impl Lab {
    fn new(segments: u64, batches: u64, events: u64) -> Self {
        let dir = fast_dir();
        let events = sample(dir.path(), segments, batches, events).len() as u64;
        let files = directory::list_segments(dir.path()).unwrap();
        let files = files.into_iter().map(|(no, path)| (no, std::fs::read(path).unwrap())).collect();
        Self { dir, files, events }
    }

    fn verify(&self, files: &Files) -> Report {
        for (no, path) in directory::list_segments(self.dir.path()).unwrap() {
            if !files.contains_key(&no) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (no, bytes) in files {
            std::fs::write(directory::segment_path(self.dir.path(), *no), bytes).unwrap();
        }
        check(self.dir.path())
    }

    /// Verifies after a change of one segment.
    fn changed(&self, segment: u64, change: impl FnOnce(&mut Vec<u8>)) -> Report {
        let mut files = self.files.clone();
        change(files.get_mut(&segment).unwrap());
        self.verify(&files)
    }
}

/// Frames of a segment: (offset, length).
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut reader =
        frame::FrameReader::new(std::io::Cursor::new(bytes), SEGMENT_HEADER_LEN as u64, bytes.len() as u64);
    let mut found = Vec::new();
    while let frame::Step::Frame(frame) = reader.next_frame().unwrap() {
        found.push((frame.offset as usize, frame.bytes.len()));
    }
    found
}

/// Makes the checksum of a frame right again, as an attacker would.
fn fix_frame(bytes: &mut [u8], offset: usize) {
    let header = usize::from(u16::from_le_bytes(bytes[offset + 6..offset + 8].try_into().unwrap()));
    let body = u32::from_le_bytes(bytes[offset + 8..offset + 12].try_into().unwrap()) as usize;
    let crc = crc32c::crc32c(&bytes[offset + 4..offset + 12]);
    let crc = crc32c::crc32c_append(crc, &bytes[offset + 16..offset + 16 + header + body]);
    bytes[offset + 12..offset + 16].copy_from_slice(&crc.to_le_bytes());
}

fn fix_segment(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER_LEN - 4]);
    bytes[SEGMENT_HEADER_LEN - 4..SEGMENT_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn every_byte_counts() {
    let lab = Lab::new(2, 2, 1);
    assert_eq!(lab.verify(&lab.files).verdict, Verdict::Ok);
    for (&no, bytes) in &lab.files {
        let path = directory::segment_path(lab.dir.path(), no);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, &changed).unwrap();
            let report = check(lab.dir.path());
            assert_eq!(report.verdict, Verdict::Damaged, "segment {no} byte {at}: {report:#?}");
            let bad = report.first_bad.unwrap();
            assert_eq!(bad.segment, Some(no), "byte {at}");
            assert!(bad.offset.unwrap() <= at as u64);
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn every_truncation_is_seen() {
    let lab = Lab::new(2, 2, 2);
    for (&no, bytes) in &lab.files {
        for len in 0..bytes.len() {
            let report = lab.changed(no, |bytes| bytes.truncate(len));
            assert_ne!(report.verdict, Verdict::Ok, "segment {no} cut to {len}");
        }
        let mut report = lab.changed(no, |bytes| bytes.push(0));
        assert_eq!(report.verdict, Verdict::Damaged);
        report = lab.changed(no, |bytes| bytes.extend([0; 4096]));
        assert_eq!(report.verdict, Verdict::Damaged);
    }
}

#[test]
fn removed_repeated_and_swapped_frames_are_tampering() {
    let lab = Lab::new(3, 3, 2);
    let last = *lab.files.keys().last().unwrap();
    for (&no, bytes) in &lab.files {
        let frames = frames(bytes);
        for (index, &(offset, len)) in frames.iter().enumerate() {
            let report = lab.changed(no, |bytes| drop(bytes.drain(offset..offset + len)));
            // Without its very last frame the log has no orderly end, which also a kill would do.
            let expected =
                if no == last && index + 1 == frames.len() { Verdict::Incomplete } else { Verdict::Tampered };
            assert_eq!(report.verdict, expected, "segment {no} without frame {index}: {report:#?}");
            let report = lab.changed(no, |bytes| {
                let copy = bytes[offset..offset + len].to_vec();
                bytes.splice(offset..offset, copy);
            });
            assert_eq!(report.verdict, Verdict::Tampered, "segment {no} with frame {index} twice");
            if let Some(&(_, next_len)) = frames.get(index + 1) {
                let report = lab.changed(no, |bytes| bytes[offset..offset + len + next_len].rotate_left(len));
                assert_eq!(
                    report.verdict,
                    Verdict::Tampered,
                    "segment {no}, frames {index} and the next swapped"
                );
            }
        }
    }
}

#[test]
fn removed_and_swapped_segments_are_tampering() {
    let lab = Lab::new(4, 2, 2);
    for no in 0..4 {
        let mut files = lab.files.clone();
        files.remove(&no);
        let report = lab.verify(&files);
        assert_eq!(report.verdict, Verdict::Tampered, "without segment {no}: {report:#?}");
        assert!(report.first_bad.is_some());
        for other in (0..4).filter(|other| *other != no) {
            let mut files = lab.files.clone();
            let (a, b) = (files[&no].clone(), files[&other].clone());
            files.insert(no, b);
            files.insert(other, a);
            assert_eq!(lab.verify(&files).verdict, Verdict::Tampered, "segments {no} and {other} swapped");
        }
        // Renumbered, so that no name is missing.
        let mut files = lab.files.clone();
        let last = files.remove(&3).unwrap();
        if no < 3 {
            files.insert(no, last);
            assert_eq!(lab.verify(&files).verdict, Verdict::Tampered, "segment 3 in place of {no}");
        }
    }
    let report = lab.verify(&lab.files);
    assert_eq!((report.verdict, report.events), (Verdict::Ok, lab.events));
}

#[test]
fn without_the_latest_checkpoint_file_a_cut_at_a_checkpoint_is_incomplete_and_never_ok() {
    let lab = Lab::new(1, 3, 2);
    let cuts: Vec<_> = frames(&lab.files[&0]).iter().map(|(offset, _)| *offset).collect();
    for cut in &cuts {
        assert_ne!(lab.changed(0, |bytes| bytes.truncate(*cut)).verdict, Verdict::Ok);
    }
    assert_eq!(lab.changed(0, |bytes| bytes.truncate(cuts[4])).verdict, Verdict::Tampered);
    std::fs::remove_file(lab.dir.path().join("checkpoint")).unwrap();
    for cut in cuts {
        let report = lab.changed(0, |bytes| bytes.truncate(cut));
        assert_eq!(report.verdict, Verdict::Incomplete, "{report:#?}");
        assert!(!report.checks.iter().find(|check| check.name == "clean_end").unwrap().ok);
    }
}

#[test]
fn with_a_checkpoint_from_outside_no_older_state_and_no_other_history_is_ok() {
    let lab = Lab::new(3, 3, 2);
    let dir = lab.dir.path();
    let kept = std::fs::read_to_string(dir.join("checkpoint")).unwrap();
    let options = |state: Option<State>, expect: Option<&String>| VerifyOptions {
        log_key: keys::load_public(dir).ok(),
        threads: Some(1),
        since: state,
        expect: expect.cloned(),
        ..VerifyOptions::default()
    };
    let (report, state) = verify_since(&[dir.to_owned()], &options(None, None), None).unwrap();
    assert_eq!((report.verdict, report.freshness), (Verdict::Ok, Freshness::NotProven));
    let state = state.unwrap();
    assert_eq!((state.segment(), state.size()), (2, report.size));
    let both =
        [options(None, Some(&kept)), options(Some(state.clone()), None), options(Some(state), Some(&kept))];
    let mut count = 0;
    for (&no, bytes) in &lab.files {
        for (at, _) in frames(bytes).into_iter().chain([(bytes.len(), 0)]) {
            // As it was then: what came later is not there, and the checkpoint file is the one of then.
            let mut files: Files = lab.files.range(..no).map(|(no, bytes)| (*no, bytes.clone())).collect();
            files.insert(no, bytes[..at].to_vec());
            let whole = files == lab.files;
            std::fs::remove_file(dir.join("checkpoint")).ok();
            lab.verify(&files);
            for options in &both {
                let report = verify(&[dir.to_owned()], options, None).unwrap();
                let fresh = report.freshness == Freshness::Proven;
                assert_eq!(report.verdict == Verdict::Ok && fresh, whole, "segment {no}, {at}: {report:#?}");
                // All batches are there, and only the checkpoint or the end is not: nothing that was sealed is missing.
                let complete = report.batches == state_size(&both);
                assert_eq!(report.verdict == Verdict::Tampered, !complete, "segment {no}, {at}: {report:#?}");
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

fn state_size(options: &[VerifyOptions]) -> u64 {
    options.iter().find_map(|options| options.since.as_ref()).map_or(0, State::size)
}

#[test]
fn what_was_verified_before_is_not_read_again_and_what_comes_after_is() {
    let lab = Lab::new(3, 3, 2);
    let dir = lab.dir.path();
    let path = lab.dir.path().join("state");
    let options = |since| VerifyOptions { threads: Some(1), since, ..VerifyOptions::default() };
    let (first, state) = verify_since(&[dir.to_owned()], &options(None), None).unwrap();
    state.unwrap().store(&path).unwrap();
    // The log goes on: another run, several epochs, two segments.
    let mut clock = Clock(500_000_000_000);
    let (mut writer, _) = Writer::open(dir, config(), clock.now()).unwrap();
    for n in 0..25_u8 {
        if n == 12 {
            writer.force_roll();
        }
        writer.append(&[n], clock.0, false, clock.now()).unwrap();
        clock.forward_ms(3000);
        writer.tick(clock.now()).unwrap();
    }
    writer.close(clock.now()).unwrap();
    let (whole, _) = verify_since(&[dir.to_owned()], &options(None), None).unwrap();
    let mut seen = 0;
    let mut visitor = |_: &BatchInfo, _: usize, _: &[u8]| seen += 1;
    let since = State::load(&path).unwrap();
    let (part, next) = verify_since(&[dir.to_owned()], &options(since), Some(&mut visitor)).unwrap();
    assert_eq!((part.verdict, part.freshness), (Verdict::Ok, Freshness::Proven), "{part:#?}");
    assert_eq!(
        (part.segments, part.batches, part.events, part.sealed_events, part.size, &part.root),
        (whole.segments, whole.batches, whole.events, whole.sealed_events, whole.size, &whole.root)
    );
    assert!(seen > 0 && seen < whole.events - first.events + 20, "only from the last segment on: {seen}");
    let epochs =
        |report: &Report| report.checks.iter().find(|check| check.name == "epoch_keys").unwrap().clone();
    assert_eq!(epochs(&part), epochs(&whole));
    let next = next.unwrap();
    assert_eq!(next.segment(), 4);
    // A change in what is not read again is not seen; in what is read, it is. Nothing of it becomes a state.
    let damage = |number: u64, state: &State| {
        let path = directory::segment_path(dir, number);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[5000] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let result = verify_since(&[dir.to_owned()], &options(Some(state.clone())), None).unwrap();
        std::fs::write(&path, good).unwrap();
        result
    };
    assert_eq!(damage(1, &next).0.verdict, Verdict::Ok);
    let (report, state) = damage(4, &next);
    assert_eq!((report.verdict, state), (Verdict::Damaged, None), "{report:#?}");
    // Of another log, cut short, changed, of another version.
    let other = fast_dir();
    let mut foreign = config();
    foreign.origin = "example.org/other".to_owned();
    Writer::open(other.path(), foreign, Clock(1).now()).unwrap().0.close(Clock(1).now()).unwrap();
    let report = verify(&[other.path().to_owned()], &options(Some(next.clone())), None).unwrap();
    assert_eq!(report.verdict, Verdict::Tampered, "{report:#?}");
    let text = std::fs::read_to_string(&path).unwrap();
    for bad in [
        text[..text.len() / 2].to_owned(),
        text.replace("\"version\":1", "\"version\":2"),
        String::new(),
        text.replace("goaudit-record", "goaudit-other"),
        text.replace("\"size\"", "\"sized\""),
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = State::load(&path).unwrap_err();
        assert!(error.to_string().contains("verify all of it again"), "{error}");
    }
    assert!(State::load(&dir.join("nowhere")).unwrap().is_none());
}

#[test]
fn a_changed_byte_with_a_right_checksum_is_tampering_or_unknown() {
    let lab = Lab::new(2, 2, 2);
    for (&no, bytes) in &lab.files {
        for (offset, len) in frames(bytes) {
            for at in offset..offset + len {
                if (offset + 12..offset + 16).contains(&at) {
                    continue;
                }
                let report = lab.changed(no, |bytes| {
                    bytes[at] ^= 1 << (at % 8);
                    let lengths = offset + 6..offset + 12;
                    if !lengths.contains(&at) {
                        fix_frame(bytes, offset);
                    }
                });
                // Only why the last segment ended rests on nothing but its own word.
                assert_ne!(report.verdict, Verdict::Ok, "segment {no} byte {at} of frame {offset}");
            }
        }
    }
}

#[test]
fn a_changed_segment_header_with_a_right_checksum_is_found() {
    let lab = Lab::new(3, 1, 2);
    for no in 0..3 {
        // All fields, and a sample of the zeros.
        for at in (0..256).chain((256..SEGMENT_HEADER_LEN - 4).step_by(61)) {
            // Of the newest segment, host id and time of creation rest on nothing yet.
            if no == 2 && ((56..72).contains(&at) || (88..96).contains(&at)) {
                continue;
            }
            let report = lab.changed(no, |bytes| {
                bytes[at] ^= 1 << (at % 8);
                fix_segment(bytes);
            });
            assert_ne!(report.verdict, Verdict::Ok, "segment {no} byte {at}");
        }
    }
}

#[test]
fn another_version_fails_closed_and_says_so() {
    let lab = Lab::new(1, 1, 2);
    let report = lab.changed(0, |bytes| {
        bytes[8] = 2;
        fix_segment(bytes);
    });
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(report.first_bad.unwrap().what.contains("version 2"));
    let error = Reader::open(lab.dir.path(), ReadOptions::default()).unwrap().next_batch().unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    let error = Writer::open(lab.dir.path(), config(), Clock(1).now()).err().unwrap();
    assert!(error.to_string().contains("version 2"), "{error}");
    // Reserved options: kinds of batches and frames; and what contradicts itself: records that are encrypted.
    for (at, verdict) in
        [(4, Verdict::Incomplete), (5, Verdict::Incomplete), (6, Verdict::Tampered), (116, Verdict::Tampered)]
    {
        let report = lab.changed(0, |bytes| {
            bytes[SEGMENT_HEADER_LEN + FRAME_HEAD_LEN + at] ^= 2;
            fix_frame(bytes, SEGMENT_HEADER_LEN);
        });
        assert_eq!(report.verdict, verdict, "batch header byte {at}: {report:#?}");
    }
    let report = lab.changed(0, |bytes| bytes[SEGMENT_HEADER_LEN + 4] = 3);
    assert_eq!(report.verdict, Verdict::Damaged);
}

#[test]
fn an_edited_event_is_found_and_named_even_when_all_lengths_and_sums_fit() {
    let lab = Lab::new(1, 3, 2);
    let (offset, _) = frames(&lab.files[&0])[4];
    let report = lab.changed(0, |bytes| {
        let head: format::BatchHeader = zerocopy::FromBytes::read_from_bytes(
            &bytes[offset + FRAME_HEAD_LEN..offset + FRAME_HEAD_LEN + BATCH_HEADER_LEN],
        )
        .unwrap();
        let start = offset + FRAME_HEAD_LEN + BATCH_HEADER_LEN;
        let stored = &bytes[start..start + head.stored_len.get() as usize];
        let mut plain = zstd::bulk::decompress(stored, 1 << 20).unwrap();
        let at = plain.len() - 3;
        plain[at] ^= 1;
        let edited = zstd::bulk::compress(&plain, 1).unwrap();
        assert_eq!(edited.len(), stored.len(), "the sample compresses to the same length");
        bytes[start..start + edited.len()].copy_from_slice(&edited);
        fix_frame(bytes, offset);
    });
    assert_eq!(report.verdict, Verdict::Tampered);
    let bad = report.first_bad.unwrap();
    assert_eq!(
        (bad.segment, bad.offset, bad.batch, bad.event),
        (Some(0), Some(offset as u64), Some(3), Some(2))
    );
    assert!(!report.checks.iter().find(|check| check.name == "contents").unwrap().ok);
}

#[test]
fn a_log_sealed_anew_with_another_key_needs_the_right_key_to_be_seen() {
    let dir = fast_dir();
    sample(dir.path(), 1, 2, 2);
    let key = keys::load_public(dir.path()).unwrap();
    std::fs::remove_dir_all(dir.path()).unwrap();
    let mut other = config();
    other.seeds = Box::new(|seed| {
        *seed = [99; 32];
        Ok(())
    });
    let (mut writer, _) = Writer::open(dir.path(), other, Clock(1).now()).unwrap();
    writer.append(b"nothing happened", 1, false, Clock(1).now()).unwrap();
    writer.close(Clock(1).now()).unwrap();
    let unpinned = check(dir.path());
    assert_eq!(unpinned.verdict, Verdict::Ok);
    assert!(!unpinned.checks.iter().find(|check| check.name == "origin").unwrap().ok);
    let options = VerifyOptions { log_key: Some(key), ..VerifyOptions::default() };
    assert_eq!(verify(&[dir.path().to_owned()], &options, None).unwrap().verdict, Verdict::Tampered);
}

#[test]
fn garbage_empty_and_foreign_files_are_named() {
    let dir = fast_dir();
    let error = verify(&[dir.path().to_owned()], &VerifyOptions::default(), None).unwrap_err();
    assert!(matches!(error, AuditError::Empty(_)), "{error}");
    assert!(matches!(Reader::open(dir.path(), ReadOptions::default()).err().unwrap(), AuditError::Empty(_)));
    sample(dir.path(), 1, 1, 1);
    let path = directory::segment_path(dir.path(), 0);
    for bytes in [vec![], b"hello".to_vec(), vec![0; 10_000], vec![0xff; 4096], b"GOAUDSEG".repeat(1000)] {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(check(dir.path()).verdict, Verdict::Damaged, "{} bytes", bytes.len());
        let error = Reader::open(dir.path(), ReadOptions::default()).unwrap().next_batch().unwrap_err();
        assert!(matches!(error, AuditError::Segment { offset: 0, .. }), "{error}");
    }
    // Links and pipes are not followed.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let error = verify(&[dir.path().to_owned()], &VerifyOptions::default(), None).unwrap_err();
    assert!(matches!(error, AuditError::NotAFile(_)), "{error}");
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = verify(&[dir.path().to_owned()], &VerifyOptions::default(), None).unwrap_err();
    assert!(matches!(error, AuditError::NotAFile(_)), "{error}");
}

#[test]
fn reading_goes_on_behind_damage() {
    let lab = Lab::new(2, 4, 2);
    let places = frames(&lab.files[&0]);
    // A batch in the middle of the first segment: lost, told, and the rest is read.
    let offset = places[4].0;
    lab.changed(0, |bytes| bytes[offset + 300] ^= 1);
    let mut reader = Reader::open(lab.dir.path(), ReadOptions::default()).unwrap();
    let (mut events, mut errors) = (0, Vec::new());
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => events += batch.events().count() as u64,
            Ok(None) => break,
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert_eq!((events, errors.len()), (lab.events - 2, 1), "{errors:?}");
    assert!(errors[0].contains(&format!("at byte {offset}")), "{errors:?}");
    // A length made too large at the end does not hide what follows.
    let last = frames(&lab.files[&1]);
    let offset = last[2].0;
    lab.changed(1, |bytes| bytes[offset + 10] = 1);
    let mut reader = Reader::open(lab.dir.path(), ReadOptions::default()).unwrap();
    let results: Vec<_> = std::iter::from_fn(|| reader.next_batch().transpose()).collect();
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

    #[test]
    fn several_changes_at_once_are_never_ok(
        changes in proptest::collection::vec((0_usize..1 << 20, proptest::num::u8::ANY), 1..6)
    ) {
        thread_local!(static LAB: Lab = Lab::new(2, 2, 2));
        LAB.with(|lab| {
            let mut files = lab.files.clone();
            for (at, byte) in &changes {
                let file = files.get_mut(&((at & 1) as u64)).unwrap();
                // Most of a small segment is its header's zeros: aim behind it half of the time.
                let at = if at & 2 == 0 { at >> 2 } else { SEGMENT_HEADER_LEN - 512 + (at >> 2) % 3000 };
                let at = at % file.len();
                file[at] = *byte;
            }
            let report = lab.verify(&files);
            assert_eq!(report.verdict == Verdict::Ok, files == lab.files);
        });
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..6000), keep in 0_usize..6000) {
        thread_local!(static LAB: Lab = Lab::new(1, 2, 2));
        LAB.with(|lab| {
            let keep = keep.min(lab.files[&0].len());
            let report = lab.changed(0, |file| {
                file.truncate(keep);
                file.extend(&bytes);
            });
            assert_ne!(report.verdict, Verdict::Ok);
            let mut reader = Reader::open(lab.dir.path(), ReadOptions::default()).unwrap();
            for _ in 0..100 {
                if let Ok(None) = reader.next_batch() {
                    break;
                }
            }
        });
    }
}
