//! What one verification leaves to the next, so that only what is new has to be read.
//!
//! It is the verifier's own: whoever can change it can hide a rollback. It holds the last checkpoint that was verified,
//! through which the log must pass again, and the log's state where the segment begins that has this checkpoint.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::books::Books;
use super::epochs::EpochChain;
use super::hmac::HmacChain;
use super::{Verifier, Watch};
use crate::audit::chain::Chain;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::directory::{open_regular, replace_file, sync_dir};
use crate::audit::error::AuditError;
use crate::audit::format::Hash;
use crate::audit::keys;
use crate::audit::merkle::Frontier;
use crate::audit::note::VerifyKey;
use crate::audit::record::Record;

/// Version of the file.
const VERSION: u32 = 1;
/// More than any state has.
const MAX_LEN: u64 = 1 << 20;

/// A log as far as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// Verification key of the log.
    log_key: String,
    /// The last verified checkpoint, whole.
    checkpoint: String,
    /// Batches that it covers.
    size: u64,
    /// The segment that has it: where the next verification begins.
    segment: u64,
    /// Hash of the file of the segment before.
    prev_hash: Option<Hash>,
    frontier: Vec<Hash>,
    first_batch: u64,
    next_seq: u64,
    prev_leaf: Option<Hash>,
    sealed: Option<u64>,
    instance: Option<u32>,
    epoch: Option<u32>,
    epoch_key: Option<String>,
    genesis: String,
    turns: u64,
    #[serde(default, skip_serializing_if = "HmacChain::is_empty")]
    hmac: HmacChain,
    counts: Counts,
}

/// What the segments before came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    segments: u64,
    batches: u64,
    events: u64,
    lost: u64,
    sealed_events: u64,
    checkpoints: u64,
    restarts: u64,
}

/// Why a state is of no use. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file.
    #[error(transparent)]
    File(#[from] AuditError),
    /// Its contents.
    #[error("use the state {}: {what}; if you trust the log so far, remove the file and verify all of it again", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
}

impl State {
    /// Reads the file; none if there is none yet.
    pub fn load(path: &Path) -> Result<Option<Self>, StateError> {
        if !path.try_exists().map_err(AuditError::io("look at", path))? {
            return Ok(None);
        }
        let (file, len) = open_regular(path)?;
        let bad = |what: String| StateError::Malformed { path: path.to_owned(), what };
        if len > MAX_LEN {
            return Err(bad("it is too long".to_owned()));
        }
        let state: Self =
            serde_json::from_reader(std::io::BufReader::new(file)).map_err(|error| bad(error.to_string()))?;
        if state.version != VERSION {
            return Err(bad(format!("it is of version {}, this goaudit knows {VERSION}", state.version)));
        }
        state
            .key()
            .and_then(|key| state.resume(&key).map(|_| ()))
            .ok_or_else(|| bad("it is not whole".to_owned()))?;
        Ok(Some(state))
    }

    /// Replaces the file: whole or not at all.
    pub fn store(&self, path: &Path) -> Result<(), StateError> {
        let text = serde_json::to_string(self)
            .map_err(|error| StateError::Malformed { path: path.to_owned(), what: error.to_string() })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        replace_file(path, format!("{text}\n").as_bytes(), 0o600).map_err(AuditError::io("write", path))?;
        Ok(sync_dir(folder)?)
    }

    /// Verification key of the log.
    pub fn key(&self) -> Option<VerifyKey> {
        VerifyKey::parse(&self.log_key).ok()
    }

    /// Batches that the last verified checkpoint covers.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The segment that the next verification begins with.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// The chain at the beginning of that segment, and the checkpoint; none if they do not fit each other.
    fn resume(&self, key: &VerifyKey) -> Option<(Chain, EpochChain, Checkpoint)> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key).ok()?;
        let Ok(Record::Genesis(genesis)) = Record::parse(self.genesis.as_bytes()) else { return None };
        let epoch_key = match &self.epoch_key {
            Some(text) => Some(VerifyKey::parse(text).ok()?),
            None => None,
        };
        let chain = Chain {
            log_id: keys::log_id(key),
            frontier: Frontier::from_parts(self.first_batch, self.frontier.clone())?,
            next_seq: self.next_seq,
            prev_leaf: self.prev_leaf,
            sealed: self.sealed,
            instance: self.instance,
            epoch: self.epoch,
            turn: None,
        };
        let fits = checkpoint.size == self.size && self.first_batch <= self.size && genesis.log_key == *key;
        // Segment 0 begins with nothing, and its first batch brings the first key.
        (fits && (self.segment == 0 || epoch_key.is_some())).then(|| {
            (chain, EpochChain::resumed(epoch_key, *genesis, self.turns, self.hmac.clone()), checkpoint)
        })
    }
}

impl Verifier<'_, '_> {
    /// Goes on where the verification before ended; false if that was of another log.
    pub(super) fn resume(&mut self, state: &State) -> bool {
        let Some(key) = self.key.clone() else { return false };
        if state.key().as_ref() != Some(&key) {
            return false;
        }
        let Some((chain, epochs, checkpoint)) = state.resume(&key) else { return false };
        self.watches.push(Watch::outside(&checkpoint, &state.checkpoint, "the last verified checkpoint"));
        if state.segment == 0 {
            return true;
        }
        let Counts { segments, batches, events, lost, sealed_events, checkpoints, restarts } = state.counts;
        let books = &mut self.books;
        (books.segments, books.batches, books.checkpoints) = (segments, batches, checkpoints);
        (books.events, books.sealed_events, books.lost) = (events, sealed_events, lost);
        self.restarts = restarts;
        self.prev_hash = state.prev_hash;
        (self.chain, self.epochs, self.intact) = (Some(chain), epochs, true);
        self.resumed_at = state.segment;
        true
    }

    /// The state at the beginning of segment `segment`, should its last checkpoint be the last one verified.
    pub(super) fn remember(&self, segment: u64) -> Option<State> {
        let key = self.key.as_ref()?;
        let whole = segment == 0 || self.intact;
        let chain = match (&self.chain, segment) {
            (Some(chain), _) => chain.clone(),
            (None, 0) => Chain::new(keys::log_id(key)),
            (None, _) => return None,
        };
        // A record that announces an epoch is sealed in the next segment only after a crash: begin before it.
        if !whole || chain.turn.is_some() {
            return None;
        }
        let Books { segments, batches, events, lost, sealed_events, checkpoints, .. } = self.books;
        Some(State {
            version: VERSION,
            log_key: key.text(),
            checkpoint: String::new(),
            size: 0,
            segment,
            prev_hash: self.prev_hash,
            frontier: chain.frontier.roots().to_vec(),
            first_batch: chain.frontier.size(),
            next_seq: chain.next_seq,
            prev_leaf: chain.prev_leaf,
            sealed: chain.sealed,
            instance: chain.instance,
            epoch: chain.epoch,
            epoch_key: self.epochs.key.as_ref().map(VerifyKey::text),
            genesis: String::new(),
            turns: self.epochs.turns,
            hmac: self.epochs.hmac.clone(),
            counts: Counts {
                segments,
                batches,
                events,
                lost,
                sealed_events,
                checkpoints,
                restarts: self.restarts,
            },
        })
    }

    /// What the next verification begins with: only of a log in which nothing is wrong.
    pub(super) fn state(&mut self) -> Option<State> {
        let genesis = self.epochs.genesis.clone()?;
        let (note, size) = self.last_head.take()?;
        if self.books.has_fault() || !self.intact {
            return None;
        }
        let mut state = self.begun.take()?;
        state.checkpoint = String::from_utf8(note).ok()?;
        state.size = size;
        state.genesis = Record::Genesis(Box::new(genesis)).text();
        Some(state)
    }
}
