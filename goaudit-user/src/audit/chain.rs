//! The chain of batch headers: what the next batch of a log must say about the ones before it.
//!
//! The writer, the recovery and the verifier use the same rules, so that none can accept what another refuses.

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::fault::Fault;
use super::format::{
    BATCH_KIND_EVENTS, BATCH_KIND_RECORDS, BATCH_MAGIC, BatchHeader, EVENT_LEN_LEN, HASH_SHA256, Hash,
    MAX_BATCH_EVENTS, MAX_RAW_LEN, SEED_LEN, flag,
};
use super::merkle::{Frontier, leaf_hash};

/// The log so far, as far as the next batch depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Which log.
    pub log_id: [u8; 16],
    /// The tree over all batches.
    pub frontier: Frontier,
    /// Number of the next event.
    pub next_seq: u64,
    /// Leaf hash of the last batch; none if it is not at hand (a log read from its middle).
    pub prev_leaf: Option<Hash>,
    /// Batches that the last checkpoint covers; none as above.
    pub sealed: Option<u64>,
    /// Run of the writer that made the last batch; none as above, or in an empty log.
    pub instance: Option<u32>,
    /// Epoch of the next batch; none as above.
    pub epoch: Option<u32>,
    /// The last batch announces an epoch: only a checkpoint may follow.
    pub turn: Option<Turn>,
}

/// How one epoch goes over into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The key of the old epoch signs the checkpoint that seals the new one's record.
    Announced,
    /// The key of the old epoch is lost: only the log's key signs it.
    KeyLost,
}

impl Turn {
    /// What a batch header says.
    fn of(header: &BatchHeader) -> Option<Self> {
        let flags = header.flags.get();
        let lost = flags & flag::KEY_LOST != 0;
        (flags & flag::NEW_EPOCH != 0).then_some(if lost { Self::KeyLost } else { Self::Announced })
    }
}

impl Chain {
    /// An empty log.
    pub fn new(log_id: [u8; 16]) -> Self {
        Self {
            log_id,
            frontier: Frontier::default(),
            next_seq: 0,
            prev_leaf: Some([0; 32]),
            sealed: Some(0),
            instance: None,
            epoch: Some(0),
            turn: None,
        }
    }

    /// A log of which only the tree and the number of the next event are known.
    pub fn from_middle(log_id: [u8; 16], frontier: Frontier, next_seq: u64) -> Self {
        Self {
            log_id,
            frontier,
            next_seq,
            prev_leaf: None,
            sealed: None,
            instance: None,
            epoch: None,
            turn: None,
        }
    }

    /// Checks that `header` is the next batch, without taking it in.
    pub fn check(&self, header: &BatchHeader) -> Result<(), Fault> {
        if header.log_id != self.log_id {
            return Err(Fault::tampered("a batch of another log"));
        }
        let expected = self.frontier.size();
        if header.batch_no.get() != expected {
            let found = header.batch_no.get();
            return Err(Fault::tampered(format!("batch {found} where batch {expected} belongs")));
        }
        if header.first_seq.get() != self.next_seq {
            let (found, expected) = (header.first_seq.get(), self.next_seq);
            return Err(Fault::tampered(format!("event {found} where event {expected} belongs")));
        }
        if self.prev_leaf.is_some_and(|leaf| leaf != header.prev_leaf) {
            return Err(Fault::tampered("the batch does not name the batch before it"));
        }
        if self.sealed.is_some_and(|sealed| sealed != header.sealed_before.get()) {
            return Err(Fault::tampered(format!(
                "a checkpoint was taken out or put in: the batch was written after one of size {}",
                header.sealed_before.get()
            )));
        }
        let turn = Turn::of(header);
        if self.turn.is_some() && turn != Some(Turn::KeyLost) {
            return Err(Fault::tampered(
                "a batch follows the record of a new epoch before the checkpoint that seals it",
            ));
        }
        if self.epoch.is_some_and(|epoch| epoch != header.epoch_no.get()) {
            let (found, expected) = (header.epoch_no.get(), self.epoch.unwrap_or_default());
            return Err(Fault::tampered(format!("a batch of epoch {found} in epoch {expected}")));
        }
        let restarted = header.flags.get() & flag::AFTER_RESTART != 0;
        let follows = self.instance.is_none_or(|last| {
            header.agent_instance.get() == if restarted { last.wrapping_add(1) } else { last }
        });
        if !follows {
            return Err(Fault::tampered("the batch names a wrong run of the agent"));
        }
        Ok(())
    }

    /// Checks that a checkpoint may follow, without taking it in; signatures are checked elsewhere.
    pub fn check_head(&self, size: u64, root: &Hash) -> Result<(), Fault> {
        let expected = self.frontier.size();
        if size != expected {
            return Err(Fault::tampered(format!("a checkpoint of size {size} after {expected} batches")));
        }
        if self.sealed.is_some_and(|sealed| sealed >= size) {
            return Err(Fault::tampered(format!("a second checkpoint of size {size}")));
        }
        if *root != self.frontier.root() {
            return Err(Fault::tampered("the batches do not hash to the checkpoint's root"));
        }
        Ok(())
    }

    /// Takes in a checkpoint over all batches so far.
    pub fn seal(&mut self) {
        self.sealed = Some(self.frontier.size());
        self.turn = None;
    }

    /// Takes a batch in; returns its leaf.
    pub fn push(&mut self, header: &BatchHeader) -> Hash {
        let leaf = leaf_hash(header.as_bytes());
        self.frontier.push(leaf);
        self.next_seq = self.next_seq.saturating_add(header.numbered_events());
        self.prev_leaf = Some(leaf);
        self.take_run(header);
        leaf
    }

    /// Takes in batches that were pruned, by the roots of their subtrees and the header of the last one. Whether they were
    /// there the next checkpoint proves.
    pub fn skip(&mut self, roots: &[Hash], last: &BatchHeader) -> Result<(), Fault> {
        if last.log_id != self.log_id {
            return Err(Fault::tampered("a pruned batch of another log"));
        }
        if self.turn.is_some() || last.is_records() || last.first_seq.get() < self.next_seq {
            return Err(Fault::tampered("pruned batches do not fit the log before them"));
        }
        if last.batch_no.get() < self.frontier.size() || !self.frontier.extend(last.batch_no.get(), roots) {
            return Err(Fault::tampered("the subtrees of pruned batches do not fit their numbers"));
        }
        self.next_seq = last.first_seq.get();
        self.push(last);
        // Checkpoints were pruned, too.
        self.sealed = None;
        Ok(())
    }

    /// Takes over from the last batch what it tells of its run and its epoch.
    pub fn take_run(&mut self, header: &BatchHeader) {
        self.instance = Some(header.agent_instance.get());
        self.turn = Turn::of(header);
        self.epoch = Some(header.epoch_no.get().saturating_add(u32::from(self.turn.is_some())));
    }
}

/// Reads a batch header and checks all that can be checked without the batches before it.
pub fn parse_batch_header(bytes: &[u8], body_len: usize) -> Result<BatchHeader, Fault> {
    let header =
        BatchHeader::read_from_bytes(bytes).map_err(|_| Fault::damaged("batch header of a wrong length"))?;
    if header.magic != BATCH_MAGIC {
        return Err(Fault::tampered("magic of a batch header is wrong"));
    }
    if header.hash_alg != HASH_SHA256 {
        return Err(Fault::unsupported(format!("batch with hash algorithm {}", header.hash_alg)));
    }
    if header.kind != BATCH_KIND_EVENTS && header.kind != BATCH_KIND_RECORDS {
        return Err(Fault::unsupported(format!("batch of kind {}", header.kind)));
    }
    let flags = header.flags.get();
    if flags & !flag::KNOWN != 0 || flags & flag::ZSTD == 0 {
        return Err(Fault::unsupported(format!("batch with flags {flags:#x} (encryption is not known yet)")));
    }
    if header.dek_id.get() != 0 {
        return Err(Fault::unsupported("batch with content keys, which are not known yet"));
    }
    let signed = flags & flag::HMAC != 0;
    if (signed && header.is_records()) || (!signed && header.hmac_tail != [0; 32]) {
        return Err(Fault::tampered("the HMAC of a batch contradicts its kind or its flags"));
    }
    let new_epoch = flags & flag::NEW_EPOCH != 0;
    if (new_epoch && !header.is_records()) || (!new_epoch && flags & flag::KEY_LOST != 0) {
        return Err(Fault::tampered("the flags of a batch contradict its kind"));
    }
    if header.sealed_before.get() > header.batch_no.get() {
        return Err(Fault::tampered("the batch names a checkpoint that comes after it"));
    }
    let n = header.n_events.get();
    if n == 0 || n > MAX_BATCH_EVENTS {
        return Err(Fault::tampered(format!("batch of {n} events")));
    }
    let raw = header.raw_len.get() as usize;
    if raw > MAX_RAW_LEN || raw < SEED_LEN + n as usize * EVENT_LEN_LEN {
        return Err(Fault::tampered(format!("batch of {raw} bytes for {n} events")));
    }
    if header.stored_len.get() as usize != body_len {
        return Err(Fault::tampered("stored length of a batch does not match its frame"));
    }
    let boot = header.boottime_last_ns.get().checked_sub(header.boottime_first_ns.get());
    let real = header.realtime_last_ns.get().checked_sub(header.realtime_first_ns.get());
    if boot.is_none() || boot != real {
        return Err(Fault::tampered("the times of a batch do not fit each other"));
    }
    Ok(header)
}
