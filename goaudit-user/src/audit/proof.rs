//! Proofs that events are in a sealed log, checkable with nothing but the proof and the log's verification key.
//!
//! A proof file is one C2SP tlog-proof for each batch that has an event to prove, one after another, all with the same
//! checkpoint ([`text`]); what opens the batch stands in its `extra` ([`opening`]). Pure: no files, no clock.
//! Everything that is not proven is refused; `docs/audit-format.md` section 15 is the specification.

mod opening;
mod text;

use zerocopy::FromBytes as _;

use super::chain::parse_batch_header;
use super::checkpoint::Checkpoint;
use super::fault::Fault;
use super::format::{BATCH_HEADER_LEN, BatchHeader, Hash, flag};
use super::keys;
use super::merkle::{leaf_hash, verify_inclusion};
use super::note::{Note, NoteError, VerifyKey};
use super::record::Record;
use super::salt::{SALT_LEN, event_leaf};

/// Bytes of the largest proof file that is read or made.
pub const MAX_PROOF_LEN: u64 = 256 << 20;

/// Events with all that proves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The batches that have an event to prove, ascending.
    pub batches: Vec<BatchProof>,
    /// The record of the log that names the key of the epoch whose line the checkpoint carries.
    pub certificate: BatchProof,
    /// The signed note over the log's tree.
    pub checkpoint: String,
}

/// A batch, its place in the log, and some of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchProof {
    /// Leaf index in the log's tree.
    pub index: u64,
    /// The way from the batch's leaf to the checkpoint's root.
    pub path: Vec<Hash>,
    /// The batch header: the data of the leaf.
    pub header: [u8; BATCH_HEADER_LEN],
    /// The events, ascending by index.
    pub events: Vec<EventProof>,
}

/// An event and its place in its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventProof {
    /// Leaf index in the batch's tree.
    pub index: u32,
    /// The event's salt.
    pub salt: [u8; SALT_LEN],
    /// The event as stored.
    pub event: Vec<u8>,
    /// The way from the event's leaf to the batch's root.
    pub path: Vec<Hash>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The bytes are not a proof.
    #[error("not a proof of goaudit: {0}")]
    Malformed(&'static str),
    /// The checkpoint is not signed by the key, or not one of its log.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// A batch header breaks a rule of the format.
    #[error("batch {batch}: {what}")]
    Batch {
        /// Number of the batch.
        batch: u64,
        /// What is wrong.
        what: String,
    },
    /// The epoch's line of the checkpoint is missing, or not by the key that the log names.
    #[error("the epoch's signature: {0}")]
    Epoch(String),
    /// A batch is not in the tree that was signed.
    #[error("batch {0} is not in the tree that the checkpoint signs")]
    NotInLog(u64),
    /// An event is not in its batch.
    #[error("event {seq} is not in batch {batch}")]
    NotInBatch {
        /// Number of the event.
        seq: u64,
        /// Number of the batch.
        batch: u64,
    },
}

/// What a proof proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven<'a> {
    /// The checkpoint that covers the events.
    pub checkpoint: Checkpoint,
    /// The events, ascending by number.
    pub events: Vec<ProvenEvent<'a>>,
    /// The epoch whose key signed the checkpoint, as the log's own record says.
    pub epoch: u32,
    /// Signature lines of other keys on the checkpoint: they were not checked.
    pub other_signatures: usize,
}

/// An event that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEvent<'a> {
    /// Its number.
    pub seq: u64,
    /// Its index in the batch.
    pub index: u32,
    /// Its leaf.
    pub leaf: Hash,
    /// The header of its batch.
    pub header: BatchHeader,
    /// The event as stored.
    pub event: &'a [u8],
}

impl Proof {
    /// Checks all of it with the log's key: every byte counts, and only signature lines of other keys are left out.
    pub fn verify(&self, key: &VerifyKey) -> Result<Proven<'_>, ProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        let note = Note::parse(self.checkpoint.as_bytes())?;
        let log_id = keys::log_id(key);
        let (epoch, epoch_key) = self.certified(&checkpoint, key, &log_id)?;
        note.verify(&epoch_key).map_err(|error| ProofError::Epoch(error.to_string()))?;
        let own = note.lines().iter().filter(|line| key.is_signer(line) || epoch_key.is_signer(line)).count();
        let mut events = Vec::new();
        for batch in &self.batches {
            let header = batch.verify(&checkpoint, &log_id)?;
            let bad = |what: &str| ProofError::Batch { batch: batch.index, what: what.to_owned() };
            if header.is_records() {
                return Err(bad("it holds no events"));
            }
            if header.epoch_no.get() > epoch {
                return Err(bad("it is of a later epoch than the checkpoint"));
            }
            for event in &batch.events {
                events.push(event.verify(&header)?);
            }
        }
        Ok(Proven { checkpoint, events, epoch, other_signatures: note.lines().len() - own })
    }

    /// The epoch's key that the log itself names, in the tree that the checkpoint signs.
    fn certified(
        &self,
        checkpoint: &Checkpoint,
        key: &VerifyKey,
        log_id: &[u8; 16],
    ) -> Result<(u32, VerifyKey), ProofError> {
        let bad = |what: &str| ProofError::Epoch(what.to_owned());
        let header = self.certificate.verify(checkpoint, log_id)?;
        let [event] = self.certificate.events.as_slice() else {
            return Err(bad("one record names the key"));
        };
        event.verify(&header)?;
        if !header.is_records() {
            return Err(bad("the certificate is no record of the log"));
        }
        let fault = |fault: Fault| ProofError::Epoch(fault.to_string());
        let flags = header.flags.get();
        match Record::parse(&event.event).map_err(fault)? {
            Record::Genesis(genesis) if header.batch_no.get() == 0 => {
                genesis.check(log_id, Some(key)).map_err(fault)?;
                Ok((0, genesis.epoch_key))
            }
            Record::Epoch(epoch) if flags & flag::NEW_EPOCH != 0 => {
                epoch.check(header.epoch_no.get(), key.name(), flags & flag::KEY_LOST != 0).map_err(fault)?;
                // The checkpoint that seals the record is by the key before.
                if checkpoint.size <= header.batch_no.get().saturating_add(1) {
                    return Err(bad("its key signs only checkpoints after the one that seals its record"));
                }
                Ok((epoch.number, epoch.key))
            }
            Record::Genesis(_)
            | Record::Epoch(_)
            | Record::Prune(_)
            | Record::Hmac(_)
            | Record::ContentKey(_)
            | Record::PersonalKey(_)
            | Record::PersonalShred(_) => Err(bad("the record stands where none belongs")),
        }
    }
}

impl BatchProof {
    fn verify(&self, checkpoint: &Checkpoint, log_id: &[u8; 16]) -> Result<BatchHeader, ProofError> {
        let batch = self.index;
        let bad = |what: String| ProofError::Batch { batch, what };
        let leaf = leaf_hash(&self.header);
        if !verify_inclusion(&leaf, batch, checkpoint.size, &self.path, &checkpoint.root) {
            return Err(ProofError::NotInLog(batch));
        }
        // The payload is not here: its length is what the header says.
        let stored_len =
            BatchHeader::read_from_bytes(&self.header).map_or(0, |header| header.stored_len.get());
        let header =
            parse_batch_header(&self.header, stored_len as usize).map_err(|fault| bad(fault.to_string()))?;
        if header.batch_no.get() != batch {
            return Err(bad(format!("its header is that of batch {}", header.batch_no.get())));
        }
        if header.log_id != *log_id {
            return Err(bad("it is of another log".to_owned()));
        }
        Ok(header)
    }
}

impl EventProof {
    fn verify(&self, header: &BatchHeader) -> Result<ProvenEvent<'_>, ProofError> {
        let seq = header.first_seq.get().saturating_add(u64::from(self.index));
        let leaf = event_leaf(&self.salt, &self.event);
        let n = u64::from(header.n_events.get());
        if !verify_inclusion(&leaf, u64::from(self.index), n, &self.path, &header.batch_root) {
            return Err(ProofError::NotInBatch { seq, batch: header.batch_no.get() });
        }
        Ok(ProvenEvent { seq, index: self.index, leaf, header: *header, event: &self.event })
    }
}

impl ProvenEvent<'_> {
    /// Wall clock minus boot time in the event's batch, in nanoseconds.
    pub fn realtime_minus_boottime_ns(&self) -> i64 {
        let offset =
            i128::from(self.header.realtime_first_ns.get()) - i128::from(self.header.boottime_first_ns.get());
        i64::try_from(offset).unwrap_or(0)
    }
}
