//! The writer: events in, sealed segments out. One a directory.
//!
//! Events gather in a batch; a full, old or urgent batch becomes a frame; a checkpoint signs the tree; a thread of
//! its own makes that durable. Appending waits for the disk only when too much is not yet durable. The caller
//! passes time in and calls [`Writer::tick`] no later than [`Writer::deadline`].

mod config;
mod content;
mod epochs;
mod failover;
mod file;
mod keyring;
mod open;
mod personal;
mod ratchet;
mod room;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zerocopy::IntoBytes as _;

use super::batch::{BatchBuilder, BatchContext, BatchKind};
use super::chain::{Chain, Turn};
use super::checkpoint::Checkpoint;
use super::content::ContentKeys;
use super::directory::{DirLock, list_segments, make_dir};
use super::error::AuditError;
use super::format::{EndReason, FrameKind, Hash, MAX_EVENT_LEN, SEED_LEN};
use super::frame;
use super::note::SignKey;
use super::personal::Personal;
use super::prune::{self, Prune};
use super::record::{Genesis, Record};
use super::segment::SegmentHeader;
use super::sm2::Sm2Signer;
use super::sync::Syncer;
pub use config::{NewSegment, Now, Opened, OpenerFn, SeedFn, Seq, WriterConfig};
use content::{Content, SegmentKey};
use epochs::Epochs;
use failover::{ATTEMPTS, Mark, Pending};
use file::SegmentFile;
pub use file::WriteFn;
pub use personal::shreddable;
use ratchet::Ratchet;
use room::Room;
pub use room::{RoomConfig, SpaceFn};

/// How long a writer that found no room waits before it tries again.
const STALL: Duration = Duration::from_millis(250);

/// Writes a log.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state machine")]
pub struct Writer {
    dir: PathBuf,
    config: WriterConfig,
    key: SignKey,
    /// Of the SM2 lines, if checkpoints have them.
    sm2: Option<Sm2Signer>,
    epochs: Epochs,
    /// Of the HMAC chain, if the log has one.
    ratchet: Option<Ratchet>,
    segment: SegmentFile,
    /// All written batches.
    chain: Chain,
    builder: BatchBuilder,
    /// For batches of the log's own records.
    records: BatchBuilder,
    /// How events are encrypted, if they are.
    content: Option<Content>,
    /// How personal fields are, if they are.
    personal: Option<Personal>,
    instance: u32,
    /// The next batch is the first of this run, in a log that existed before.
    after_restart: bool,
    lost: (u32, u32),
    /// Since when there has been an event that no checkpoint covers (boot time).
    unsealed_since: Option<u64>,
    /// Written batches that no checkpoint covers.
    unsigned_batches: bool,
    urgent: bool,
    last_urgent: Option<u64>,
    last_note: String,
    clock_offset: i64,
    /// The segment is full or old; the next event goes to another.
    roll_due: bool,
    /// Not before that boot time is writing tried again, and the error that is told until then.
    stall: Option<(u64, AuditError)>,
    room: Room,
    /// How long the log must be kept; none: for ever, or not known.
    retention: Option<Duration>,
    syncer: Syncer,
    next_mark: u64,
    /// Frames that may not be durable, oldest first.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// The log as it stood at each sync under way, oldest first; the first one is durable.
    marks: VecDeque<Mark>,
    closed: bool,
    /// Holds the directory; dropped last.
    _lock: DirLock,
}

impl Writer {
    /// Adds an event; returns its number. An error means: this event is not in the log, count it as lost.
    ///
    /// `urgent` closes the batch at once. What could not be written yet stays in memory and is tried again by the
    /// next call; errors of that kind are told by [`Self::tick`] and, when there is no more room, here.
    pub fn append(
        &mut self,
        event: &[u8],
        boottime_ns: u64,
        urgent: bool,
        now: Now,
    ) -> Result<Seq, AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        if event.len() > MAX_EVENT_LEN {
            return Err(AuditError::EventTooLarge(event.len()));
        }
        self.collect_syncs(now)?;
        if !self.builder.fits(event.len()) {
            self.close_batch(now)?;
        }
        if self.roll_due && self.builder.is_empty() {
            self.ready(now)?;
            if let Err(error) = self.roll(now) {
                self.stall(again(&error), now);
                return Err(error);
            }
        }
        let seq = self.add(event, boottime_ns, now)?;
        self.urgent |= urgent;
        if self.is_due(now) || !self.builder.fits(0) {
            // The event is in memory and in order: what fails here is tried again, and told then.
            if let Err(error) = self.on_time(now) {
                self.stall(error, now);
            }
        }
        Ok(seq)
    }

    /// Does what is due: call it no later than [`Self::deadline`]. Tells errors of work behind earlier appends.
    pub fn tick(&mut self, now: Now) -> Result<(), AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        self.collect_syncs(now)?;
        self.room.look(now);
        let old = self.segment.age_ns(now) >= nanos(self.config.segment_age)
            || (self.config.segment_day && self.segment.is_of_another_day(now));
        if old && self.segment.batches() > 0 {
            self.roll_due = true;
        }
        self.on_time(now)?;
        // Nothing was due because the last attempt failed a moment ago: that is told, too.
        self.ready(now)
    }

    /// The boot time at which [`Self::tick`] has something to do; none while all is sealed.
    pub fn deadline(&self) -> Option<u64> {
        let sealed_by = self.unsealed_since?.saturating_add(nanos(self.config.batch_age));
        let due = if self.urgent { self.urgent_from() } else { sealed_by };
        Some(self.stall.as_ref().map_or(due, |(until, _)| due.max(*until)))
    }

    /// Looks at the clocks. A jump of the wall clock closes the batch, so that each has one offset; returns how
    /// far it jumped, in nanoseconds. Slow drift is taken up by each new batch and not told.
    pub fn clock(&mut self, now: Now) -> Result<Option<i64>, AuditError> {
        let delta = now.offset_ns() - self.clock_offset;
        self.clock_offset = now.offset_ns();
        if delta.unsigned_abs() < nanos(self.config.clock_step) {
            return Ok(None);
        }
        self.close_batch(now)?;
        Ok(Some(delta))
    }

    /// Notes that `n` events are lost, for the header of the next batch; `cause` is bits of [`super::format::lost`].
    pub fn add_lost(&mut self, n: u32, cause: u32) {
        self.lost = (self.lost.0.saturating_add(n), self.lost.1 | cause);
    }

    /// Whether the disk is low: then only what tells about that should be appended. Looks at the disk now and then.
    pub fn is_low(&mut self, now: Now) -> bool {
        self.room.look(now)
    }

    /// Number of the next event.
    pub fn next_seq(&self) -> Seq {
        self.chain.next_seq + u64::from(self.builder.len())
    }

    /// The next event begins a new segment.
    pub fn force_roll(&mut self) {
        self.roll_due = true;
    }

    /// Number of the segment that is written.
    pub fn segment_no(&self) -> u64 {
        self.segment.number()
    }

    /// Keys to read with what this writer writes, while it runs.
    pub fn content_keys(&self) -> ContentKeys {
        self.content.as_ref().map(|content| ContentKeys::held(content.held())).unwrap_or_default()
    }

    /// Bytes that are written and not yet known to be durable.
    pub fn unsynced_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Closes the batch, signs the tree and waits until that is durable.
    pub fn seal(&mut self, now: Now) -> Result<(), AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        self.stall = None;
        // A segment that took no more is left behind first.
        self.collect_syncs(now)?;
        self.close_batch(now)?;
        self.sign(now)?;
        self.wait_durable(now)
    }

    /// Seals everything and ends the segment in order. The epoch ends, too: its key is erased.
    pub fn close(mut self, now: Now) -> Result<(), AuditError> {
        let mut attempt = 1;
        loop {
            match self.finish(now) {
                // Another segment may take what this one did not.
                Err(error) if error.is_write() && !self.closed && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// One attempt at that.
    fn finish(&mut self, now: Now) -> Result<(), AuditError> {
        self.collect_syncs(now)?;
        self.seal(now)?;
        if self.epochs.is_used() && self.announce(now)? {
            self.sign_head(now)?;
            self.wait_durable(now)?;
        }
        self.end_segment(EndReason::Stop, now)?;
        if !self.segment.is_ended() {
            // The end could not be made durable; a new segment began, which has to end, too.
            self.seal(now)?;
            self.end_segment(EndReason::Stop, now)?;
        }
        self.syncer.wait_idle();
        self.room.give_up();
        // The log is whole; what may fail now is erasing the last epoch's key.
        self.epochs.settle().or_else(|_| {
            self.epochs.durable(self.next_mark);
            self.epochs.settle()
        })
    }

    /// Gives up the events of the oldest segments, if they are older than `keep` (none: than the log must be kept) and the log
    /// may be pruned at all. The log says so first, durably.
    pub fn prune(&mut self, keep: Option<Duration>, now: Now) -> Result<Option<Prune>, AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        let Some(pinned) = self.retention else { return Ok(None) };
        let keep = keep.unwrap_or_default().max(pinned);
        let Some(prune::Old { prune, segments }) =
            prune::find(&self.dir, self.segment.number(), keep, now.realtime_ns)?
        else {
            return Ok(None);
        };
        self.close_batch(now)?;
        self.seal_turn(now)?;
        self.record(&Record::Prune(prune.clone()), None, now)?;
        self.seal(now)?;
        make_dir(&self.dir.join("pruned"))?;
        for (number, path) in segments {
            prune::replace(&self.dir, number, &path)?;
        }
        Ok(Some(prune))
    }

    /// Adds an event to the batch, which it fits, or begins one.
    fn add(&mut self, event: &[u8], boottime_ns: u64, now: Now) -> Result<Seq, AuditError> {
        if self.builder.is_empty() {
            let mut seed = [0; SEED_LEN];
            (self.config.seeds)(&mut seed).map_err(AuditError::Random)?;
            self.builder.begin(&seed, now.offset_ns());
        }
        let seq = self.next_seq();
        self.builder.push(event, boottime_ns);
        self.unsealed_since.get_or_insert(now.boottime_ns);
        Ok(seq)
    }

    fn urgent_from(&self) -> u64 {
        self.last_urgent.map_or(0, |last| last.saturating_add(nanos(self.config.urgent_gap)))
    }

    fn is_due(&self, now: Now) -> bool {
        self.deadline().is_some_and(|due| now.boottime_ns >= due)
    }

    /// Seals if it is time to, or closes a batch that takes no more events.
    fn on_time(&mut self, now: Now) -> Result<(), AuditError> {
        if self.is_due(now) {
            if self.urgent {
                self.last_urgent = Some(now.boottime_ns);
            }
            self.close_batch(now)?;
            return self.sign(now);
        }
        if self.builder.fits(0) { Ok(()) } else { self.close_batch(now) }
    }

    /// Signs the checkpoint that the record of a new epoch waits for, if that failed before: no batch may come between.
    fn seal_turn(&mut self, now: Now) -> Result<(), AuditError> {
        if self.chain.turn.is_none() {
            return Ok(());
        }
        self.sign_head(now).inspect_err(|error| {
            self.stall = Some((now.boottime_ns.saturating_add(nanos(STALL)), again(error)));
        })
    }

    /// Makes a frame of the batch and writes it. On error the batch stays, to be tried again.
    fn close_batch(&mut self, now: Now) -> Result<(), AuditError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        self.ready(now)?;
        self.make_room(now)?;
        self.seal_turn(now)?;
        self.name_key(now)?;
        if let Err(error) = self.begin_generation(now) {
            self.stall(again(&error), now);
            return Err(error);
        }
        let hmac_tail = self.ratchet.as_ref().and_then(|ratchet| ratchet.tail(&self.builder));
        let context = BatchContext {
            boot_id: self.config.boot_id,
            instance: self.instance,
            urgent: self.urgent,
            after_restart: self.after_restart,
            lost_events: self.lost.0,
            lost_cause: self.lost.1,
            kind: BatchKind::Events,
            hmac_tail,
        };
        let events = self.builder.len();
        let (header, stored) = self.builder.seal(&context, &self.chain).map_err(AuditError::Compress)?;
        let mut bytes = Vec::new();
        frame::encode(FrameKind::Batch, header.as_bytes(), stored, &mut bytes);
        if let Err(error) = self.write(bytes, FrameKind::Batch, events) {
            self.stall(again(&error), now);
            return Err(error);
        }
        self.chain.push(&header);
        if let Some(ratchet) = &mut self.ratchet {
            ratchet.advance(hmac_tail);
        }
        self.builder.clear();
        self.after_restart = false;
        self.lost = (0, 0);
        self.unsigned_batches = true;
        if self.segment.len() >= self.config.segment_bytes {
            self.roll_due = true;
        }
        Ok(())
    }

    /// Writes the first record of a log.
    fn begin_log(&mut self, now: Now) -> Result<(), AuditError> {
        let Some(epoch_key) = self.epochs.public().cloned() else { return Ok(()) };
        let genesis = Genesis {
            log_key: self.key.public().clone(),
            epoch_key,
            retention_ns: nanos(self.config.retention),
            recipients: self
                .content
                .as_ref()
                .map(|content| content.recipients().names().to_vec())
                .unwrap_or_default(),
            host_id: self.config.host_id,
            agent: self.config.agent.clone(),
            hmac: self.ratchet.as_ref().and_then(Ratchet::commitment),
            sm2: self.sm2.as_ref().map(|signer| signer.public().clone()),
            personal: self.personal.clone(),
        };
        self.record(&Record::Genesis(Box::new(genesis)), None, now)
    }

    /// Writes a record of the log about itself, as a batch of its own.
    fn record(&mut self, record: &Record, turn: Option<Turn>, now: Now) -> Result<(), AuditError> {
        let mut seed = [0; SEED_LEN];
        (self.config.seeds)(&mut seed).map_err(AuditError::Random)?;
        self.records.begin(&seed, now.offset_ns());
        self.records.push(record.text().as_bytes(), now.boottime_ns);
        let context = BatchContext {
            boot_id: self.config.boot_id,
            instance: self.instance,
            urgent: false,
            after_restart: self.after_restart,
            lost_events: 0,
            lost_cause: 0,
            kind: BatchKind::Records(turn),
            hmac_tail: None,
        };
        let (header, stored) = self.records.seal(&context, &self.chain).map_err(AuditError::Compress)?;
        let mut bytes = Vec::new();
        frame::encode(FrameKind::Batch, header.as_bytes(), stored, &mut bytes);
        self.write(bytes, FrameKind::Batch, 0)?;
        self.chain.push(&header);
        self.after_restart = false;
        self.unsigned_batches = true;
        Ok(())
    }

    /// Has the log name the segment's content key, if it has not: what is not named is not encrypted with.
    fn name_key(&mut self, now: Now) -> Result<(), AuditError> {
        let Some(content) = self.content.as_ref().filter(|content| !content.named) else { return Ok(()) };
        let record = Record::ContentKey(content.name());
        if let Err(error) = self.record(&record, None, now) {
            self.stall(again(&error), now);
            return Err(error);
        }
        if let Some(content) = &mut self.content {
            content.named = true;
        }
        Ok(())
    }

    /// Writes the record of the next epoch, if its key is safe on the disk; whether it is.
    fn announce(&mut self, now: Now) -> Result<bool, AuditError> {
        if self.epochs.waits_for().is_some() {
            self.wait_durable(now)?;
        }
        if self.epochs.settle().is_err() {
            // The disk is full, perhaps: the epoch lasts until there is room for the next key.
            return Ok(false);
        }
        let (record, turn) = self.epochs.announcement();
        self.record(&record, Some(turn), now)?;
        Ok(true)
    }

    /// Signs the tree over all written batches and asks for durability.
    fn sign(&mut self, now: Now) -> Result<(), AuditError> {
        if !self.unsigned_batches {
            return Ok(());
        }
        if self.chain.turn.is_none() && self.epochs.is_due(now, self.config.epoch_age) {
            self.announce(now)?;
        }
        self.sign_head(now)
    }

    /// As [`Self::sign`], with the epochs as they are.
    fn sign_head(&mut self, now: Now) -> Result<(), AuditError> {
        let turned = match self.chain.turn {
            Some(_) => Some(self.epochs.after_next(&mut self.config.seeds)?),
            None => None,
        };
        let checkpoint = Checkpoint {
            origin: self.key.public().name().to_owned(),
            size: self.chain.frontier.size(),
            root: self.chain.frontier.root(),
        };
        let mut note = checkpoint.seal(&self.key, self.epochs.signer());
        if let Some(sm2) = &self.sm2 {
            note.push_str(&sm2.sign_line(&checkpoint.text())?);
        }
        let mut bytes = Vec::new();
        frame::encode(FrameKind::Checkpoint, &[], note.as_bytes(), &mut bytes);
        self.write(bytes, FrameKind::Checkpoint, 0)?;
        self.chain.seal();
        self.last_note = note;
        self.unsigned_batches = false;
        self.urgent = false;
        if self.builder.is_empty() {
            self.unsealed_since = None;
        }
        self.request_sync();
        self.epochs.signed(turned, self.next_mark - 1, now);
        Ok(())
    }

    /// Ends the segment and begins the next one. The batch is empty.
    fn roll(&mut self, now: Now) -> Result<(), AuditError> {
        if !self.segment.is_ended() {
            self.sign(now)?;
            self.end_segment(EndReason::Roll, now)?;
        }
        let (number, hash) = (self.segment.number() + 1, self.segment.hash());
        let next = match &self.content {
            Some(content) => Some(content.next(number, &mut self.config.seeds)?),
            None => None,
        };
        self.segment = with_room(&mut self.room, || {
            create_segment(&self.dir, &self.config, &self.chain, (number, hash), next.as_ref(), now)
        })?;
        if let (Some(content), Some(next)) = (&mut self.content, next) {
            // The batch is empty: nothing was begun with the old key.
            self.builder.encrypt(Some(Arc::clone(&next.key)));
            content.turn(next);
        }
        self.begin_marks();
        self.last_note.clear();
        if let Some(ratchet) = &mut self.ratchet {
            ratchet.end_segment();
        }
        self.roll_due = false;
        self.open_segment(now)
    }

    /// Puts the caller's first event into a segment that has just begun.
    fn open_segment(&mut self, now: Now) -> Result<(), AuditError> {
        let new = NewSegment { segment_no: self.segment.number(), now };
        let Some(opener) = &mut self.config.opener else {
            return Ok(());
        };
        let event = opener(new);
        self.add(&event, now.boottime_ns, now).map(|_| ())
    }

    /// Writes the frame that ends the segment, durably.
    fn end_segment(&mut self, reason: EndReason, now: Now) -> Result<(), AuditError> {
        let end = self.segment.end(reason, &self.chain);
        let mut bytes = Vec::new();
        frame::encode(FrameKind::SegmentEnd, end.as_bytes(), self.last_note.as_bytes(), &mut bytes);
        self.write(bytes, FrameKind::SegmentEnd, 0)?;
        self.request_sync();
        self.wait_durable(now)
    }

    /// After an error: nothing is tried before some time has passed.
    fn stall(&mut self, error: AuditError, now: Now) {
        if self.ready(now).is_ok() {
            self.stall = Some((now.boottime_ns.saturating_add(nanos(STALL)), error));
        }
    }

    /// Whether it makes sense to write: tells the last error while it does not.
    fn ready(&mut self, now: Now) -> Result<(), AuditError> {
        match &self.stall {
            Some((until, error)) if now.boottime_ns < *until => Err(again(error)),
            Some(_) | None => {
                self.stall = None;
                Ok(())
            }
        }
    }
}

/// Makes the file of a new segment, durably.
fn create_segment(
    dir: &Path,
    config: &WriterConfig,
    chain: &Chain,
    (segment_no, prev_seg_hash): (u64, Hash),
    key: Option<&SegmentKey>,
    now: Now,
) -> Result<SegmentFile, AuditError> {
    let header = SegmentHeader {
        log_id: chain.log_id,
        segment_no,
        first_seq: chain.next_seq,
        host_id: config.host_id,
        boot_id: config.boot_id,
        created_realtime_ns: now.realtime_ns,
        prev_seg_hash,
        frontier: chain.frontier.clone(),
        wrapped_key: key.map(|key| key.wrapped.clone()).unwrap_or_default(),
    };
    SegmentFile::create(dir, &header, now)
}

/// What [`Writer::prune`] would give up of the log in `dir`.
pub fn prunable(dir: &Path, keep: Duration, now: Now) -> Result<Option<Prune>, AuditError> {
    // A writer would begin another segment.
    let current = list_segments(dir)?.last().map_or(0, |(number, _)| number.saturating_add(1));
    Ok(prune::find(dir, current, keep, now.realtime_ns)?.map(|old| old.prune))
}

/// Does it, and once more if there was no room and giving the ballast up made some.
fn with_room<T>(room: &mut Room, mut work: impl FnMut() -> Result<T, AuditError>) -> Result<T, AuditError> {
    match work() {
        Err(error) if error.is_full() && room.full() => work(),
        result => result,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The same error once more: io errors cannot be cloned.
fn again(error: &AuditError) -> AuditError {
    match error {
        AuditError::Io { action, path, source } => {
            let source = source.raw_os_error().map_or_else(
                || io::Error::new(source.kind(), source.to_string()),
                io::Error::from_raw_os_error,
            );
            AuditError::Io { action, path: path.clone(), source }
        }
        other => AuditError::Io {
            action: "write",
            path: PathBuf::new(),
            source: io::Error::other(other.to_string()),
        },
    }
}
