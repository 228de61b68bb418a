//! What is written and not yet durable, and what happens when it cannot be made durable.
//!
//! A failed fsync is never tried again on the same file: the kernel may have dropped the data and would report
//! success. The segment is cut back to what is known to be durable, and the frames since then, which are still in
//! memory, are written to a new one, byte for byte: batches keep their numbers, so nothing is signed twice.

use sha2::{Digest as _, Sha256};
use std::io;

use super::content::Content;
use super::file::SegmentFile;
use super::{Now, Writer, create_segment, with_room};
use crate::audit::chain::Chain;
use crate::audit::error::AuditError;
use crate::audit::format::FrameKind;

/// Segments that are tried, one after another, before the writer gives up.
pub(super) const ATTEMPTS: u32 = 4;

/// A frame that may not be durable.
pub(super) struct Pending {
    kind: FrameKind,
    events: u32,
    bytes: Vec<u8>,
    /// Where it ends in its segment.
    end: u64,
}

/// The log as it stood when a sync was asked for.
pub(super) struct Mark {
    number: u64,
    len: u64,
    hasher: Sha256,
    chain: Chain,
}

impl Mark {
    pub(super) fn new(number: u64, segment: &SegmentFile, chain: &Chain) -> Self {
        Self { number, len: segment.len(), hasher: segment.hasher(), chain: chain.clone() }
    }
}

impl Writer {
    /// Writes a frame and keeps it until it is durable.
    pub(super) fn write(&mut self, bytes: Vec<u8>, kind: FrameKind, events: u32) -> Result<(), AuditError> {
        let Self { room, segment, config, .. } = self;
        with_room(room, || segment.append(&bytes, &config.write))?;
        match kind {
            FrameKind::Batch => self.segment.count_batch(events),
            FrameKind::SegmentEnd => self.segment.set_ended(),
            FrameKind::Checkpoint | FrameKind::Gap => {}
        }
        self.pending_bytes += bytes.len();
        self.pending.push_back(Pending { kind, events, bytes, end: self.segment.len() });
        Ok(())
    }

    /// Asks the sync thread for everything written so far. The tree up to here is signed.
    pub(super) fn request_sync(&mut self) {
        let number = self.next_mark;
        self.next_mark += 1;
        self.marks.push_back(Mark::new(number, &self.segment, &self.chain));
        self.syncer.request(self.segment.file(), number, self.last_note.clone());
    }

    /// Forgets what has become durable meanwhile; goes over to a new segment if syncing failed.
    pub(super) fn collect_syncs(&mut self, now: Now) -> Result<(), AuditError> {
        match self.syncer.poll() {
            Ok(done) => {
                self.forget_durable(done);
                if self.segment.is_broken() { self.fail_over(now) } else { Ok(()) }
            }
            Err(source) => {
                let error = AuditError::Sync { path: self.segment.path().to_owned(), source };
                // The batches are safe in the new segment, or this is the error that tells they are not.
                self.fail_over(now).map_err(|_| error)
            }
        }
    }

    /// Waits until the last request is durable.
    pub(super) fn wait_durable(&mut self, now: Now) -> Result<(), AuditError> {
        if !self.segment.is_broken() {
            self.syncer.wait_for(self.next_mark - 1);
        }
        self.collect_syncs(now)
    }

    /// Waits until there is room for a batch among the bytes that are not durable.
    pub(super) fn make_room(&mut self, now: Now) -> Result<(), AuditError> {
        if self.pending_bytes < self.config.max_unsynced / 2 {
            return Ok(());
        }
        // Half full: ask early. Full: wait.
        if self.marks.len() <= 1 {
            self.sign(now)?;
        }
        if self.pending_bytes >= self.config.max_unsynced {
            self.sign(now)?;
            self.wait_durable(now)?;
        }
        Ok(())
    }

    /// A new segment: everything before is durable.
    pub(super) fn begin_marks(&mut self) {
        self.marks.clear();
        self.marks.push_back(Mark::new(self.next_mark - 1, &self.segment, &self.chain));
        self.pending.clear();
        self.pending_bytes = 0;
        self.syncer.durable(self.next_mark - 1);
        self.epochs.durable(self.next_mark - 1);
    }

    fn forget_durable(&mut self, done: u64) {
        self.epochs.durable(done);
        while self.marks.get(1).is_some_and(|mark| mark.number <= done) {
            self.marks.pop_front();
        }
        let durable = self.marks.front().map_or(0, |mark| mark.len);
        while self.pending.front().is_some_and(|frame| frame.end <= durable) {
            if let Some(frame) = self.pending.pop_front() {
                self.pending_bytes -= frame.bytes.len();
            }
        }
    }

    /// Leaves the segment behind, cut back to what is durable, and writes the rest to a new one; to a third one if that
    /// fails, too.
    fn fail_over(&mut self, now: Now) -> Result<(), AuditError> {
        let mut attempt = 1;
        loop {
            self.syncer.reset();
            match self.move_on(now) {
                Ok(()) => break,
                Err(error) if error.is_full() => {
                    // Nothing is lost and nothing was begun: the next call tries again.
                    self.segment.set_broken();
                    return Err(error);
                }
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => {
                    self.closed = true;
                    return Err(error);
                }
            }
        }
        self.roll_due = false;
        if self.builder.is_empty() { self.open_segment(now) } else { Ok(()) }
    }

    /// One attempt at that. What is not durable stays in memory until it is.
    fn move_on(&mut self, now: Now) -> Result<(), AuditError> {
        let durable = self.marks.front().ok_or(AuditError::Closed)?;
        // Whether this reaches the disk cannot be known; `verify` tells if it did not.
        let _ = self.segment.file().set_len(durable.len);
        let (hash, chain) = (durable.hasher.clone().finalize().into(), durable.chain.clone());
        let number = self.segment.number() + 1;
        // Batches keep their bytes, so they keep their content key.
        if let Some(content) = &self.content {
            content.take_over(number);
        }
        let Self { room, dir, config, content, .. } = self;
        let key = content.as_ref().map(Content::current);
        self.segment = with_room(room, || create_segment(dir, config, &chain, (number, hash), key, now))?;
        self.marks.clear();
        self.marks.push_back(Mark::new(self.next_mark - 1, &self.segment, &chain));
        let Self { room, segment, config, pending, .. } = self;
        for Pending { kind, events, bytes, end: _ } in pending.iter() {
            match kind {
                FrameKind::Batch | FrameKind::Checkpoint => {
                    with_room(room, || segment.append(bytes, &config.write))?;
                }
                // The end of the segment that failed.
                FrameKind::SegmentEnd | FrameKind::Gap => continue,
            }
            if *kind == FrameKind::Batch {
                segment.count_batch(*events);
            }
        }
        if !pending.iter().any(|frame| frame.kind == FrameKind::Checkpoint) {
            // The last checkpoint stays behind: the new segment's end has none of its own to repeat.
            self.last_note.clear();
        }
        (config.sync)(&segment.file())
            .map_err(|source: io::Error| AuditError::Sync { path: segment.path().to_owned(), source })?;
        self.begin_marks();
        Ok(())
    }
}
