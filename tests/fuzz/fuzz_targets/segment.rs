//! A segment file of any bytes: reader and verifier neither panic nor take memory without bound, and agree that what is
//! not signed is not ok.
//!
//! The first byte chooses: the file is the rest as it is, or the rest is cut into frames whose checksums are made
//! right, so that the fuzzer gets behind them.
#![no_main]

use std::cell::OnceCell;
use std::path::PathBuf;

use goaudit_user::audit::format::{FrameKind, SEGMENT_HEADER_LEN};
use goaudit_user::audit::merkle::Frontier;
use goaudit_user::audit::note::SignKey;
use goaudit_user::audit::segment::SegmentHeader;
use goaudit_user::audit::{ReadOptions, Reader, Verdict, VerifyOptions, frame, keys, verify};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let key = SignKey::from_seed("example.org/fuzz", &[7; 32]).unwrap();
    let mut file = Vec::new();
    if mode & 1 == 1 {
        file.extend(header(&key));
    }
    if mode & 2 == 2 {
        frames(data, &mut file);
    } else {
        file.extend_from_slice(data);
    }
    let path = write(&file);
    if let Ok(mut reader) = Reader::open(&path, ReadOptions::default()) {
        // Damage is told and passed; each step passes at least eight bytes.
        for _ in 0..file.len() / 8 + 2 {
            match reader.next_batch() {
                Ok(Some(batch)) => assert_eq!(batch.events().count(), batch.meta().events as usize),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    }
    for bytes_only in [false, true] {
        let options = VerifyOptions {
            log_key: Some(key.public().clone()),
            threads: Some(1),
            bytes_only,
            ..VerifyOptions::default()
        };
        let mut events = 0_u64;
        let mut visitor = |_: &_, _: usize, _: &[u8]| events += 1;
        let report = verify(&[path.clone()], &options, Some(&mut visitor)).unwrap();
        // The fuzzer has no key.
        assert!(report.sealed_events == 0 || report.verdict != Verdict::Ok);
        assert!(events <= report.events);
    }
});

/// A good header of segment 0.
fn header(key: &SignKey) -> Vec<u8> {
    SegmentHeader {
        log_id: keys::log_id(key.public()),
        segment_no: 0,
        first_seq: 0,
        host_id: [0; 16],
        boot_id: [0; 16],
        created_realtime_ns: 0,
        prev_seg_hash: [0; 32],
        frontier: Frontier::default(),
        wrapped_key: Vec::new(),
    }
    .encode()
}

/// Frames with right checksums: each a byte of kind, two of body length, header, body.
fn frames(mut data: &[u8], file: &mut Vec<u8>) {
    while let Some(([kind, a, b], rest)) = data.split_first_chunk::<3>() {
        let kind = [FrameKind::Batch, FrameKind::Checkpoint, FrameKind::SegmentEnd][usize::from(kind % 3)];
        let Some((header, rest)) = rest.split_at_checked(kind.header_len()) else { break };
        let len = usize::from(u16::from_le_bytes([*a, *b])).min(rest.len());
        let (body, rest) = rest.split_at(len);
        frame::encode(kind, header, body, file);
        data = rest;
    }
    assert_eq!(SEGMENT_HEADER_LEN % 8, 0);
}

fn write(bytes: &[u8]) -> PathBuf {
    DIR.with(|dir| {
        let dir =
            dir.get_or_init(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());
        let path = dir.path().join(format!("seg-{:020}.gal", 0));
        std::fs::write(&path, bytes).unwrap();
        path
    })
}
