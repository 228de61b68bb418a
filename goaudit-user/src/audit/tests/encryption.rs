//! Encrypted logs: who has no key verifies them, who has one reads them; whoever changes them is found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use zerocopy::FromBytes as _;

use super::*;
use crate::audit::chain::Chain;
use crate::audit::content::{ContentKey, MAX_RECIPIENTS, NamedKey};
use crate::audit::format::{BatchHeader, FrameKind, MAX_WRAPPED_LEN, SEGMENT_HEADER_LEN};
use crate::audit::frame::{self, FrameReader, Step};
use crate::audit::record::Record;
use crate::audit::segment::SegmentHeader;

/// An identity in a file, and its recipient.
pub(super) struct Person {
    file: tempfile::NamedTempFile,
    pub(super) recipient: String,
}

impl Person {
    pub(super) fn new() -> Self {
        use age::secrecy::ExposeSecret as _;
        let identity = age::x25519::Identity::generate();
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("# made by a test\n\n{}\n", identity.to_string().expose_secret());
        std::fs::write(file.path(), text).unwrap();
        Self { file, recipient: identity.to_public().to_string() }
    }

    pub(super) fn keys(&self) -> ContentKeys {
        ContentKeys::load(self.file.path()).unwrap()
    }
}

fn to(people: &[&Person]) -> Recipients {
    let names: Vec<String> = people.iter().map(|person| person.recipient.clone()).collect();
    Recipients::parse(&names).unwrap()
}

pub(super) fn encrypted(people: &[&Person]) -> WriterConfig {
    WriterConfig { encrypt_to: Some(to(people)), ..config() }
}

/// Writes a log of three segments in two runs; returns its events.
fn write(dir: &Path, people: &[&Person]) -> Vec<Vec<u8>> {
    let mut clock = Clock(5_000_000_000);
    let mut all = Vec::new();
    for run in 0..2_u64 {
        // An existing log says itself that it is encrypted.
        let config = if run == 0 { encrypted(people) } else { config() };
        let (mut writer, opened) = Writer::open(dir, config, clock.now()).unwrap();
        assert_eq!(opened.encrypted_to, to(people).names());
        for number in 0..40_u64 {
            if run == 0 && number == 20 {
                writer.seal(clock.now()).unwrap();
                writer.force_roll();
                all.push(b"segment 1".to_vec());
            }
            let event = format!("event {run}.{number} {}", "x".repeat(number as usize)).into_bytes();
            writer.append(&event, clock.0, number % 3 == 0, clock.now()).unwrap();
            all.push(event);
            clock.forward_ms(300);
            writer.tick(clock.now()).unwrap();
        }
        writer.close(clock.now()).unwrap();
        clock.forward_ms(5_000);
    }
    all
}

fn read(path: &Path, keys: ContentKeys) -> Result<Vec<Vec<u8>>, AuditError> {
    let mut reader = Reader::open(path, ReadOptions::default())?.with_keys(keys);
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        all.extend(batch.events().map(<[u8]>::to_vec));
    }
    Ok(all)
}

fn check_with(dir: &Path, keys: ContentKeys) -> (Report, u64) {
    let options = VerifyOptions { content_keys: keys, threads: Some(2), ..VerifyOptions::default() };
    let mut seen = 0;
    let report = verify(&[dir.to_owned()], &options, Some(&mut |_, _, _| seen += 1)).unwrap();
    (report, seen)
}

fn contents(report: &Report) -> &Check {
    report.checks.iter().find(|check| check.name == "contents").unwrap()
}

fn headers(dir: &Path) -> Vec<SegmentHeader> {
    let read = |path| SegmentHeader::parse(&std::fs::read(path).unwrap()[..SEGMENT_HEADER_LEN]).unwrap();
    segments(dir).iter().map(read).collect()
}

/// Frames of a segment: kind, header, body.
fn frames(path: &Path) -> Vec<(FrameKind, Vec<u8>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.len() as u64;
    let mut frames = FrameReader::new(std::io::Cursor::new(bytes), SEGMENT_HEADER_LEN as u64, end);
    let mut all = Vec::new();
    while let Step::Frame(frame) = frames.next_frame().unwrap() {
        all.push((frame.kind, frame.header.to_vec(), frame.body.to_vec()));
    }
    all
}

/// Replaces a segment, with right checksums.
fn replace(path: &Path, header: &SegmentHeader, frames: &[(FrameKind, Vec<u8>, Vec<u8>)]) {
    let mut bytes = header.encode();
    for (kind, header, body) in frames {
        frame::encode(*kind, header, body, &mut bytes);
    }
    std::fs::write(path, bytes).unwrap();
}

fn batch(header: &[u8]) -> BatchHeader {
    BatchHeader::read_from_bytes(header).unwrap()
}

#[test]
fn every_recipient_reads_and_nobody_else() {
    let dir = fast_dir();
    let (one, two, stranger) = (Person::new(), Person::new(), Person::new());
    let events = write(dir.path(), &[&one, &two]);
    for person in [&one, &two] {
        assert_eq!(read(dir.path(), person.keys()).unwrap(), events);
    }
    let error = read(dir.path(), ContentKeys::default()).unwrap_err().to_string();
    assert!(error.contains("they are encrypted; give the age identity"), "{error}");
    let error = read(dir.path(), stranger.keys()).unwrap_err().to_string();
    assert!(error.contains("encrypted to others than the identities in"), "{error}");
    // A key of its own for each segment, and only wrapped.
    let headers = headers(dir.path());
    assert_eq!(headers.len(), 3);
    let keys = one.keys();
    let commitments: BTreeSet<_> =
        headers.iter().map(|header| keys.key_of(header).unwrap().commitment()).collect();
    assert_eq!(commitments.len(), 3);
    let genesis = genesis(dir.path()).unwrap();
    assert_eq!(genesis.recipients, [one.recipient.clone(), two.recipient.clone()]);
    for path in segments(dir.path()) {
        for (kind, header, body) in frames(&path) {
            if kind == FrameKind::Batch && !batch(&header).is_records() {
                assert!(batch(&header).is_encrypted());
                assert!(zstd::bulk::decompress(&body, 1 << 20).is_err(), "a payload in clear");
            }
        }
    }
}

#[test]
fn what_needs_no_key_is_proven_without() {
    let dir = fast_dir();
    let (person, stranger) = (Person::new(), Person::new());
    let events = write(dir.path(), &[&person]).len() as u64;
    let (report, seen) = check_with(dir.path(), ContentKeys::default());
    assert_eq!((report.verdict, seen, report.unopened_events), (Verdict::Ok, 0, events), "{report:#?}");
    assert_eq!((report.events, report.sealed_events), (events, events));
    let check = contents(&report);
    let told = format!("batches are encrypted to {} and were not opened", person.recipient);
    assert!(!check.ok && check.detail.contains(&told), "{}", check.detail);
    let (report, seen) = check_with(dir.path(), person.keys());
    assert_eq!((report.verdict, seen, report.unopened_events), (Verdict::Ok, events, 0));
    assert!(contents(&report).ok);
    let (report, seen) = check_with(dir.path(), stranger.keys());
    assert_eq!((report.verdict, seen, report.unopened_events), (Verdict::Incomplete, 0, events));
    assert!(contents(&report).detail.contains("encrypted to others"), "{}", contents(&report).detail);
    // Going on from an earlier verification, the log's key records before it count.
    let options = || VerifyOptions { content_keys: person.keys(), ..VerifyOptions::default() };
    let (_, state) = verify_since(&[dir.path().to_owned()], &options(), None).unwrap();
    let options = VerifyOptions { since: state, ..options() };
    assert!(options.since.as_ref().unwrap().segment() > 0);
    let (report, state) = verify_since(&[dir.path().to_owned()], &options, None).unwrap();
    assert_eq!((report.verdict, report.unopened_events), (Verdict::Ok, 0));
    let file = tempfile::NamedTempFile::new().unwrap();
    state.as_ref().unwrap().store(file.path()).unwrap();
    assert_eq!(State::load(file.path()).unwrap(), state);
}

#[test]
fn events_are_proven_in_clear() {
    let dir = fast_dir();
    let person = Person::new();
    let events = write(dir.path(), &[&person]);
    let key = keys::load_public(dir.path()).unwrap();
    let wanted = BTreeSet::from([0, 25, 70]);
    let proof = prove_with(dir.path(), &wanted, Some(&key), &person.keys()).unwrap();
    let proven: Vec<_> =
        proof.batches.iter().flat_map(|batch| &batch.events).map(|event| event.event.clone()).collect();
    assert_eq!(proven, wanted.iter().map(|seq| events[*seq as usize].clone()).collect::<Vec<_>>());
    proof.verify(&key).unwrap();
    let error = prove(dir.path(), &wanted, Some(&key)).unwrap_err().to_string();
    assert!(error.contains("--content-key"), "{error}");
}

#[test]
fn who_changes_something_is_found() {
    let dir = fast_dir();
    let (person, thief) = (Person::new(), Person::new());
    write(dir.path(), &[&person]);
    let paths = segments(dir.path());
    let (headers, last) = (headers(dir.path()), paths.last().unwrap());
    let whole = std::fs::read(last).unwrap();
    let header = headers.last().unwrap();
    let parts = frames(last);
    let is_found = |what: &str, says: &str, keys: ContentKeys| {
        let (report, _) = check_with(dir.path(), keys);
        assert_eq!(report.verdict, Verdict::Tampered, "{what}: {report:#?}");
        let bad = &report.first_bad.as_ref().unwrap().what;
        assert!(bad.contains(says), "{what}: {bad}");
    };
    let place = parts
        .iter()
        .position(|(kind, header, _)| *kind == FrameKind::Batch && batch(header).is_encrypted())
        .unwrap();
    let named = parts.iter().position(|(kind, ..)| *kind == FrameKind::Batch).unwrap();
    assert!(batch(&parts[named].1).is_records());

    // The wrapped key of the newest segment, which no later segment's hash covers: another key, the key of the segment
    // before, the same key for somebody else.
    let same = person.keys().key_of(header).unwrap();
    let wrapped = [
        to(&[&thief]).wrap(&ContentKey::new(&mut [9; 32])).unwrap(),
        headers[1].wrapped_key.clone(),
        to(&[&person, &thief]).wrap(&same).unwrap(),
    ];
    for wrapped_key in wrapped {
        replace(last, &SegmentHeader { wrapped_key, ..header.clone() }, &parts);
        is_found("swapped", "not the one that the log named: it was swapped", ContentKeys::default());
    }
    // No key at all.
    replace(last, &SegmentHeader { wrapped_key: Vec::new(), ..header.clone() }, &parts);
    is_found("no key", "says otherwise about encryption", ContentKeys::default());
    // Ciphertext, and ciphertext with its hash.
    let mut changed = parts.clone();
    changed[place].2[3] ^= 1;
    replace(last, header, &changed);
    is_found("ciphertext", "does not hash to what its header says", ContentKeys::default());
    let mut of = batch(&changed[place].1);
    of.payload_hash =
        sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), &changed[place].2)).into();
    changed[place].1 = zerocopy::IntoBytes::as_bytes(&of).to_vec();
    replace(last, header, &changed);
    is_found("ciphertext and hash", "does not open with the segment's content key", person.keys());
    is_found("ciphertext and hash", "does not name the batch before it", ContentKeys::default());
    // The record of the key, as it was and with another commitment.
    let mut changed = parts.clone();
    let text = zstd::bulk::decompress(&changed[named].2, 1 << 16).unwrap();
    assert!(text.windows(14).any(|window| window == b"key-commitment"));
    let flipped: Vec<u8> = text[..text.len() - 2].iter().copied().chain(*b"0\n").collect();
    assert_ne!(flipped, text);
    let mut of = batch(&changed[named].1);
    changed[named].2 = zstd::bulk::compress(&flipped, 1).unwrap();
    of.stored_len = (changed[named].2.len() as u32).into();
    of.payload_hash =
        sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), &changed[named].2)).into();
    changed[named].1 = zerocopy::IntoBytes::as_bytes(&of).to_vec();
    replace(last, header, &changed);
    is_found("commitment", "do not hash to the batch's root", ContentKeys::default());
    // The record taken out.
    let mut changed = parts.clone();
    changed.remove(named);
    replace(last, header, &changed);
    is_found("no record", "batch ", ContentKeys::default());
    std::fs::write(last, whole).unwrap();
    assert_eq!(check_with(dir.path(), person.keys()).0.verdict, Verdict::Ok);
}

#[test]
fn a_payload_belongs_to_its_header_and_its_key() {
    let dir = fast_dir();
    let person = Person::new();
    write(dir.path(), &[&person]);
    let path = &segments(dir.path())[0];
    let key = person.keys().key_of(&headers(dir.path())[0]).unwrap();
    let encrypted: Vec<_> = frames(path)
        .into_iter()
        .filter(|(kind, header, _)| *kind == FrameKind::Batch && batch(header).is_encrypted())
        .collect();
    let (_, header, body) = &encrypted[0];
    let header = batch(header);
    let opens =
        |header: &BatchHeader, key: &ContentKey, body: &[u8]| key.open(header, &mut body.to_vec()).is_ok();
    assert!(opens(&header, &key, body));
    assert!(!opens(&batch(&encrypted[1].1), &key, body));
    assert!(!opens(&header, &ContentKey::new(&mut [1; 32]), body));
    assert!(!opens(&header, &key, &body[1..]) && !opens(&header, &key, &[]));
    // Every byte of the header up to the hash of the payload.
    let bytes = zerocopy::IntoBytes::as_bytes(&header).to_vec();
    for at in 0..256 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(opens(&batch(&changed), &key, body), at >= 160, "at {at}");
    }
}

#[test]
fn no_nonce_is_used_twice_with_a_key() {
    let dir = fast_dir();
    let person = Person::new();
    let mut clock = Clock(5_000_000_000);
    let mut config = encrypted(&[&person]);
    // Of four writes two find no room. What was tried is seen here, also what did not get there.
    let calls = Arc::new(AtomicU32::new(0));
    let tried = Arc::new(Mutex::new(BTreeMap::new()));
    let (count, all) = (Arc::clone(&calls), Arc::clone(&tried));
    config.write = Arc::new(move |mut file, bytes| {
        if bytes[4] == FrameKind::Batch.code() && batch(&bytes[16..272]).is_encrypted() {
            let of = batch(&bytes[16..272]);
            let nonce = (of.batch_no.get(), of.attempt.get());
            let before = all.lock().unwrap().insert(nonce, bytes.to_vec());
            assert!(before.is_none_or(|before| before == bytes), "one nonce for two payloads");
        }
        if count.fetch_add(1, Ordering::Relaxed) % 4 > 1 {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        std::io::Write::write_all(&mut file, bytes)
    });
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    let mut written = Vec::new();
    for number in 0..60_u64 {
        let event = format!("event {number}").into_bytes();
        if writer.append(&event, clock.0, number % 2 == 0, clock.now()).is_ok() {
            written.push(event);
        }
        clock.forward_ms(400);
        let _ = writer.tick(clock.now());
    }
    for _ in 0..20 {
        clock.forward_ms(400);
        let _ = writer.tick(clock.now());
    }
    drop(writer);
    let tried = tried.lock().unwrap();
    let again = tried.keys().filter(|(_, attempt)| *attempt > 0).count();
    assert!(again > 3, "{:?}", tried.keys());
    assert_eq!(read(dir.path(), person.keys()).unwrap(), written);
    let (report, _) = check_with(dir.path(), person.keys());
    assert_eq!((report.verdict, report.unopened_events), (Verdict::Incomplete, 0), "{report:#?}");
}

#[test]
fn a_failed_sync_takes_the_key_along() {
    let dir = fast_dir();
    let person = Person::new();
    let mut clock = Clock(5_000_000_000);
    let mut config = encrypted(&[&person]);
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    config.sync = Arc::new(move |file| {
        if count.fetch_add(1, Ordering::Relaxed) == 2 {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    });
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    // Somebody follows from the beginning.
    let options = ReadOptions { follow: true, ..ReadOptions::default() };
    let mut reader = Reader::open(dir.path(), options).unwrap().with_keys(writer.content_keys());
    let mut live = Vec::new();
    let mut written = Vec::new();
    for number in 0..24_u64 {
        if number == 18 {
            writer.force_roll();
        }
        let event = format!("event {number}").into_bytes();
        writer.append(&event, clock.0, false, clock.now()).unwrap();
        written.push(event);
        clock.forward_ms(400);
        let _ = writer.tick(clock.now());
        if number % 3 == 2 {
            writer.seal(clock.now()).unwrap();
        }
        if number % 7 == 6 {
            while let Some(batch) = reader.next_batch().unwrap() {
                live.extend(batch.events().map(<[u8]>::to_vec));
            }
        }
    }
    writer.close(clock.now()).unwrap();
    while let Some(batch) = reader.next_batch().unwrap() {
        live.extend(batch.events().map(<[u8]>::to_vec));
    }
    let headers = headers(dir.path());
    assert_eq!(headers.len(), 3);
    assert_eq!(headers[0].wrapped_key, headers[1].wrapped_key);
    assert_ne!(headers[1].wrapped_key, headers[2].wrapped_key);
    let all = read(dir.path(), person.keys()).unwrap();
    assert_eq!(live, all);
    let told: Vec<_> = all.iter().filter(|event| event.starts_with(b"event")).cloned().collect();
    assert_eq!(told, written);
    let (report, _) = check_with(dir.path(), person.keys());
    assert_eq!((report.verdict, report.unopened_events), (Verdict::Ok, 0), "{report:#?}");
}

#[test]
fn an_encrypted_log_is_not_continued_in_clear() {
    let dir = fast_dir();
    let person = Person::new();
    write(dir.path(), &[&person]);
    let first = &segments(dir.path())[0];
    let mut bytes = std::fs::read(first).unwrap();
    bytes[SEGMENT_HEADER_LEN + 300] ^= 1;
    std::fs::write(first, bytes).unwrap();
    let error = Writer::open(dir.path(), config(), Clock(1 << 50).now()).err().unwrap().to_string();
    assert!(error.contains("which says to whom, cannot be read"), "{error}");
}

#[test]
fn the_largest_wrapped_key_fits_the_largest_header() {
    let people: Vec<Person> = (0..=MAX_RECIPIENTS).map(|_| Person::new()).collect();
    let all: Vec<&Person> = people.iter().collect();
    let key = ContentKey::new(&mut [5; 32]);
    for _ in 0..200 {
        assert!(to(&all[1..]).wrap(&key).unwrap().len() <= MAX_WRAPPED_LEN);
    }
    let names: Vec<String> = people.iter().map(|person| person.recipient.clone()).collect();
    let error = Recipients::parse(&names).unwrap_err().to_string();
    assert!(error.contains("a log has 1 to 12"), "{error}");
    assert!(Recipients::parse(&[]).is_err());
    // One that is named twice is one.
    assert_eq!(to(&[all[0], all[0]]).names().len(), 1);
    let error = Recipients::parse(&["age1nobody".to_owned()]).unwrap_err().to_string();
    assert!(error.starts_with("encrypt to \"age1nobody\""), "{error}");
    // As a segment header with as many roots as there can be.
    let mut frontier = Chain::new([0; 16]).frontier;
    (0..8191_u64).for_each(|n| frontier.push([n as u8; 32]));
    let header = SegmentHeader {
        log_id: [1; 16],
        segment_no: 1,
        first_seq: 1,
        host_id: [0; 16],
        boot_id: [0; 16],
        created_realtime_ns: 1,
        prev_seg_hash: [0; 32],
        frontier,
        wrapped_key: vec![7; MAX_WRAPPED_LEN],
    };
    let bytes = header.encode();
    assert_eq!(SegmentHeader::parse(&bytes).unwrap(), header);
    assert_eq!((bytes[15], bytes.len()), (1, SEGMENT_HEADER_LEN));
    for change in [|header: &mut [u8]| header[15] = 0, |header: &mut [u8]| header[132..136].fill(0)] {
        let mut changed = bytes.clone();
        change(&mut changed);
        let sum = crc32c::crc32c(&changed[..SEGMENT_HEADER_LEN - 4]);
        changed[SEGMENT_HEADER_LEN - 4..].copy_from_slice(&sum.to_le_bytes());
        assert!(SegmentHeader::parse(&changed).is_err());
    }
}

#[test]
fn bad_identity_files_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let load = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        ContentKeys::load(file.path()).unwrap_err().to_string()
    };
    for (text, says) in [
        ("", "there is none"),
        ("# only a comment\n", "there is none"),
        ("age1nothing\n", "AGE-SECRET-KEY-1"),
        ("age-encryption.org/v1\n-> scrypt x 18\n", "it is itself encrypted"),
        (&"#".repeat(2 << 20), "too long"),
    ] {
        let error = load(text);
        assert!(error.starts_with("read the identities in /") && error.contains(says), "{error}");
    }
    assert!(ContentKeys::load(Path::new("/nowhere/key")).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn records_of_keys_have_one_form() {
    let record = Record::ContentKey(NamedKey { wrapped_sha256: [0x12; 32], commitment: [0xef; 32] });
    let text = format!(
        "goaudit-record/1 content-key\nwrapped-sha256 {}\nkey-commitment {}\n",
        "12".repeat(32),
        "ef".repeat(32)
    );
    assert_eq!(record.text(), text);
    assert_eq!(Record::parse(text.as_bytes()).unwrap(), record);
    for wrong in [text.to_uppercase(), text.replace("ef", "eF"), text.replace("12\n", "\n"), text + "\n"] {
        assert!(Record::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
