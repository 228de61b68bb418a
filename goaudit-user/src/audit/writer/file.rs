//! The segment that is written: its file, how long it is, what it hashes to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zerocopy::FromZeros as _;
use zerocopy::little_endian::{U32, U64};

use super::Now;
use crate::audit::chain::Chain;
use crate::audit::day::Day;
use crate::audit::directory::{segment_path, sync_dir};
use crate::audit::error::AuditError;
use crate::audit::format::{EndReason, Hash, SEGMENT_END_MAGIC, SegmentEnd};
use crate::audit::segment::SegmentHeader;

/// How a frame is written; replaced in tests that need it to fail.
pub type WriteFn = Arc<dyn Fn(&File, &[u8]) -> io::Result<()> + Send + Sync>;

/// An open segment.
pub(super) struct SegmentFile {
    path: PathBuf,
    file: Arc<File>,
    number: u64,
    len: u64,
    hasher: Sha256,
    batches: u64,
    events: u64,
    created_boottime_ns: u64,
    /// Day (UTC) since 1970.
    created_day: Day,
    ended: bool,
    /// A write went wrong: nothing more may be written here.
    broken: bool,
}

impl SegmentFile {
    /// Makes it: header, then both file and directory entry durable, before any frame.
    pub(super) fn create(dir: &Path, header: &SegmentHeader, now: Now) -> Result<Self, AuditError> {
        let path = segment_path(dir, header.segment_no);
        let bytes = header.encode();
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(AuditError::io("create", &path))?;
        let written = file
            .write_all(&bytes)
            .and_then(|()| file.sync_all())
            .map_err(AuditError::io("create", &path))
            .and_then(|()| sync_dir(dir));
        if let Err(error) = written {
            // Nothing of value is in it; without it the next attempt can use the name.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let mut hasher = Sha256::new();
        hasher.update(&bytes);
        Ok(Self {
            path,
            file: Arc::new(file),
            number: header.segment_no,
            len: bytes.len() as u64,
            hasher,
            batches: 0,
            events: 0,
            created_boottime_ns: now.boottime_ns,
            created_day: Day::of(now.realtime_ns),
            ended: false,
            broken: false,
        })
    }

    /// Appends a frame: whole, or not at all. After another error than "no room" nothing more is written here: what the
    /// file then holds is not known well enough.
    pub(super) fn append(&mut self, frame: &[u8], write: &WriteFn) -> Result<(), AuditError> {
        let fail = |source| AuditError::Io { action: "write", path: self.path.clone(), source };
        if self.broken {
            return Err(fail(io::Error::other("an earlier write to this segment failed")));
        }
        if let Err(source) = write(&self.file, frame) {
            let error = fail(source);
            self.broken = self.file.set_len(self.len).is_err() || !error.is_full();
            return Err(error);
        }
        self.hasher.update(frame);
        self.len += frame.len() as u64;
        Ok(())
    }

    /// Counts a batch that was appended.
    pub(super) fn count_batch(&mut self, events: u32) {
        self.batches += 1;
        self.events += u64::from(events);
    }

    /// The header of the frame that ends it.
    pub(super) fn end(&self, reason: EndReason, chain: &Chain) -> SegmentEnd {
        SegmentEnd {
            magic: SEGMENT_END_MAGIC,
            reason: U32::new(reason.code()),
            segment_no: U64::new(self.number),
            batches: U64::new(self.batches),
            events: U64::new(self.events),
            next_batch_no: U64::new(chain.frontier.size()),
            next_seq: U64::new(chain.next_seq),
            ..SegmentEnd::new_zeroed()
        }
    }

    /// Notes that its end is written.
    pub(super) fn set_ended(&mut self) {
        self.ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Nothing more may be written here.
    pub(super) fn set_broken(&mut self) {
        self.broken = true;
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn hasher(&self) -> Sha256 {
        self.hasher.clone()
    }

    /// Hash of the whole file so far.
    pub(super) fn hash(&self) -> Hash {
        self.hasher.clone().finalize().into()
    }

    /// Whether the wall clock shows another day than when it was made. Not within its first minute: a clock that goes to and
    /// fro over midnight must not make a segment each time.
    pub(super) fn is_of_another_day(&self, now: Now) -> bool {
        Day::of(now.realtime_ns) != self.created_day && self.age_ns(now) >= 60_000_000_000
    }

    pub(super) fn age_ns(&self, now: Now) -> u64 {
        now.boottime_ns.saturating_sub(self.created_boottime_ns)
    }
}
