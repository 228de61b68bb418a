//! Opening a log: recovery, keys, and a new segment, whatever the run before left.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::super::batch::BatchBuilder;
use super::super::directory::{DirLock, checkpoint_path, list_segments, make_dir};
use super::super::error::AuditError;
use super::super::recover::recover;
use super::super::sync::Syncer;
use super::super::{guard, keys, place, prune};
use super::content::Content;
use super::epochs::Epochs;
use super::failover::Mark;
use super::keyring::{log_key, sm2_key};
use super::ratchet::Ratchet;
use super::room::Room;
use super::{Now, Opened, Writer, WriterConfig, create_segment, nanos, personal, with_room};

impl Writer {
    /// Opens the log in `dir`, or begins one; always with a new segment. The caller puts the first event into it.
    pub fn open(dir: &Path, mut config: WriterConfig, now: Now) -> Result<(Self, Opened), AuditError> {
        make_dir(dir)?;
        guard::check(dir)?;
        let lock = DirLock::take(dir)?;
        let segments = list_segments(dir)?;
        place::check(dir, &config.host_id, segments.is_empty())?;
        let key = log_key(dir, segments.is_empty(), &mut config)?;
        let sm2 = sm2_key(dir, &key, segments.is_empty())?;
        let mut recovered = recover(dir, &segments, key.public(), keys::log_id(key.public()))?;
        // Recovery may have removed a segment that had only been begun.
        let epochs = Epochs::open(
            dir,
            &list_segments(dir)?,
            key.public().name(),
            &mut recovered.chain,
            &config.store_key,
            &mut config.seeds,
        )?;
        let content = Content::open(dir, &segments, recovered.next_segment_no, &mut config)?;
        let personal = personal::open(dir, &segments, config.personal.take())?;
        let ratchet = Ratchet::open(
            dir,
            &list_segments(dir)?,
            recovered.chain.frontier.size() == 0,
            config.hmac.as_ref(),
            &config.store_key,
        )?;
        let mut room = Room::begin(dir, config.room, Arc::clone(&config.space));
        let key_of_segment = content.as_ref().map(Content::current);
        let place = (recovered.next_segment_no, recovered.prev_seg_hash);
        let segment = with_room(&mut room, || {
            create_segment(dir, &config, &recovered.chain, place, key_of_segment, now)
        })?;
        let mut builder = BatchBuilder::new().map_err(AuditError::Compress)?;
        builder.encrypt(key_of_segment.map(|current| Arc::clone(&current.key)));
        let opened = Opened {
            new_log: segments.is_empty(),
            clean: recovered.clean,
            torn: recovered.torn,
            damage: recovered.damage,
            adopted_batches: recovered.adopted_batches,
            clock_behind_ns: recovered
                .last_realtime_ns
                .and_then(|last| last.checked_sub(now.realtime_ns))
                .filter(|behind| *behind >= nanos(config.clock_step)),
            key_chain_broken: epochs.lost().map(str::to_owned),
            origin: key.public().name().to_owned(),
            vkey: key.public().text(),
            sm2_key: sm2.as_ref().map(|signer| signer.public().text()),
            segment_no: recovered.next_segment_no,
            next_seq: recovered.chain.next_seq,
            encrypted_to: content
                .as_ref()
                .map(|content| content.recipients().names().to_vec())
                .unwrap_or_default(),
            personal: personal.clone(),
        };
        let syncer = Syncer::start(Arc::clone(&config.sync), checkpoint_path(dir))
            .map_err(AuditError::io("start the sync thread for", dir))?;
        let mark = Mark::new(0, &segment, &recovered.chain);
        let mut writer = Self {
            dir: dir.to_owned(),
            key,
            sm2,
            epochs,
            ratchet,
            segment,
            builder,
            records: BatchBuilder::new().map_err(AuditError::Compress)?,
            content,
            personal,
            instance: recovered.chain.instance.map_or(0, |last| last.wrapping_add(1)),
            after_restart: !opened.new_log,
            chain: recovered.chain,
            lost: (0, 0),
            unsealed_since: None,
            // Batches that a crash left without a checkpoint get one with the first batch of this run.
            unsigned_batches: false,
            urgent: false,
            last_urgent: None,
            last_note: String::new(),
            clock_offset: now.offset_ns(),
            roll_due: false,
            stall: None,
            room,
            retention: None,
            syncer,
            next_mark: 1,
            pending: VecDeque::new(),
            pending_bytes: 0,
            marks: VecDeque::from([mark]),
            closed: false,
            config,
            _lock: lock,
        };
        writer.begin(opened.new_log, now)?;
        Ok((writer, opened))
    }

    /// What a log needs before its first event of this run.
    fn begin(&mut self, new_log: bool, now: Now) -> Result<(), AuditError> {
        if self.chain.frontier.size() == 0 {
            self.retention = Some(self.config.retention).filter(|keep| !keep.is_zero());
            self.begin_log(now)?;
        } else if self.chain.turn.is_some() {
            // The last run ended between the record of an epoch and the checkpoint that seals it.
            if !self.epochs.can_seal(&self.chain) {
                self.announce(now)?;
            }
            self.sign_head(now)?;
        }
        if !new_log && self.retention.is_none() {
            // Of a log whose beginning cannot be read nothing is given up.
            self.retention = prune::retention(&self.dir).ok().flatten();
        }
        Ok(())
    }
}
