//! Whole-log tests: what is written is read and verified; whatever is changed is found.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::type_complexity,
    reason = "tests fail by panicking, and their numbers are small"
)]

use std::path::{Path, PathBuf};

use super::*;

mod attack;
mod crash;
#[cfg(feature = "age")]
mod encryption;
mod epochs;
mod foreign;
mod hmac;
mod layout;
mod notes;
#[cfg(feature = "age")]
mod personal;
mod proofs;
mod property;
mod retention;
#[cfg(feature = "gm")]
mod sm2;
mod tiles;
mod trees;
mod witnesses;
mod write_read;

/// A clock that the test moves.
#[derive(Clone, Copy)]
pub(super) struct Clock(pub(super) u64);

impl Clock {
    pub(super) fn now(self) -> Now {
        Now { realtime_ns: 1_700_000_000_000_000_000 + self.0, boottime_ns: self.0 }
    }

    pub(super) fn forward_ms(&mut self, ms: u64) {
        self.0 += ms * 1_000_000;
    }
}

/// A directory in memory where the host has one: these tests sync a lot.
pub(super) fn fast_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A configuration whose seeds are counted, not random.
pub(super) fn config() -> WriterConfig {
    let mut config = WriterConfig::new("example.org/goaudit/test/audit", [7; 16], [8; 16]);
    let mut count = 0_u64;
    config.seeds = Box::new(move |seed| {
        count += 1;
        *seed = [0; 32];
        seed[..8].copy_from_slice(&count.to_le_bytes());
        Ok(())
    });
    config.opener = Some(Box::new(|new| format!("segment {}", new.segment_no).into_bytes()));
    config
}

/// Writes a log of several segments; returns its events.
pub(super) fn sample(dir: &Path, segments: u64, batches: u64, events: u64) -> Vec<Vec<u8>> {
    let mut clock = Clock(5_000_000_000);
    let mut all = Vec::new();
    let (mut writer, _) = Writer::open(dir, config(), clock.now()).unwrap();
    for segment in 0..segments {
        if segment > 0 {
            writer.force_roll();
            all.push(format!("segment {segment}").into_bytes());
        }
        for batch in 0..batches {
            for event in 0..events {
                let bytes = format!("event {segment}.{batch}.{event} {}", "x".repeat((event * 7) as usize))
                    .into_bytes();
                clock.forward_ms(1);
                writer.append(&bytes, clock.0, false, clock.now()).unwrap();
                all.push(bytes);
            }
            clock.forward_ms(1001);
            writer.tick(clock.now()).unwrap();
        }
    }
    writer.close(clock.now()).unwrap();
    all
}

pub(super) fn read_all(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = Reader::open(path, ReadOptions::default()).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        assert_eq!(batch.meta().first_seq, all.len() as u64);
        all.extend(batch.events().map(<[u8]>::to_vec));
    }
    all
}

pub(super) fn check(dir: &Path) -> Report {
    verify(&[dir.to_owned()], &VerifyOptions { threads: Some(1), ..VerifyOptions::default() }, None).unwrap()
}

pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    directory::list_segments(dir).unwrap().into_iter().map(|(_, path)| path).collect()
}
