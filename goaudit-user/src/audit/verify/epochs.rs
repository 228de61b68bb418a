//! Which epoch's key must have signed a checkpoint, from what the log's own records say.

use super::hmac::HmacChain;
use super::personal::PersonalKeys;
use crate::audit::batch::PayloadReader;
use crate::audit::chain::Turn;
use crate::audit::content::NamedKey;
use crate::audit::epoch;
use crate::audit::fault::Fault;
use crate::audit::format::{BatchHeader, flag};
use crate::audit::note::{Note, NoteError, VerifyKey};
use crate::audit::prune::Prune;
use crate::audit::record::{self, Genesis, Record};

/// The chain of epoch keys, as far as the log was walked.
#[derive(Default)]
pub(super) struct EpochChain {
    /// The key of the epoch; none where the log was not walked from its beginning, or after damage.
    pub(super) key: Option<VerifyKey>,
    /// The key that the last record announced, until a checkpoint seals it.
    next: Option<VerifyKey>,
    /// Why the key before is lost, as that record says.
    lost: Option<String>,
    payloads: Option<PayloadReader>,
    /// The log's HMAC chain.
    pub(super) hmac: HmacChain,
    /// What the log said of keys of personal fields.
    pub(super) personal: PersonalKeys,
    /// What the log said that it gives up, and when.
    pub(super) prunes: Vec<(u64, Prune)>,
    /// The content key that the log named last.
    pub(super) content_key: Option<NamedKey>,
    /// What the log's first record said.
    pub(super) genesis: Option<Genesis>,
    /// Epochs that were walked through.
    pub(super) turns: u64,
    /// Checkpoints whose epoch line could not be checked, because the epoch's key is not known.
    pub(super) unknown: u64,
}

impl EpochChain {
    /// As it was where a verification before ended.
    pub(super) fn resumed(key: Option<VerifyKey>, genesis: Genesis, turns: u64, hmac: HmacChain) -> Self {
        Self { key, genesis: Some(genesis), turns, hmac, ..Self::default() }
    }

    /// Forgets the keys: what follows cannot be tied to what came before.
    pub(super) fn forget(&mut self) {
        (self.key, self.next, self.lost, self.content_key) = (None, None, None, None);
        self.hmac.forget();
    }

    /// Takes in a batch that fits the chain.
    pub(super) fn batch(
        &mut self,
        header: &BatchHeader,
        stored: &[u8],
        log_key: Option<&VerifyKey>,
    ) -> Result<(), Fault> {
        let first = header.batch_no.get() == 0;
        if !header.is_records() {
            return if first { Err(no_genesis(log_key)) } else { Ok(()) };
        }
        let payloads = match &mut self.payloads {
            Some(payloads) => payloads,
            none => none.insert(PayloadReader::new().map_err(|error| Fault::unsupported(error.to_string()))?),
        };
        let mut announces = false;
        for (index, record) in record::open(payloads, header, stored)?.into_iter().enumerate() {
            match record {
                Record::Genesis(genesis) => {
                    if !first || index > 0 {
                        return Err(Fault::tampered("a second beginning within the log"));
                    }
                    genesis.check(&header.log_id, log_key)?;
                    self.key = Some(genesis.epoch_key.clone());
                    self.genesis = Some(*genesis);
                }
                Record::ContentKey(_)
                | Record::Hmac(_)
                | Record::PersonalKey(_)
                | Record::PersonalShred(_)
                    if first =>
                {
                    return Err(Fault::tampered("a record where none belongs"));
                }
                Record::ContentKey(named) => self.content_key = Some(named),
                Record::PersonalKey(named) => self.personal.named(named, self.genesis.as_ref())?,
                Record::PersonalShred(ids) => self.personal.shredded(ids, self.genesis.as_ref())?,
                Record::Hmac(start) => self.hmac.start(start, self.genesis.as_ref())?,
                Record::Prune(prune) => self.prunes.push((header.realtime_last_ns.get(), prune)),
                Record::Epoch(_) if first || announces => {
                    return Err(Fault::tampered("the record of an epoch where none belongs"));
                }
                Record::Epoch(epoch) => {
                    announces = true;
                    let origin = match (log_key, &self.genesis) {
                        (Some(key), _) => key.name().to_owned(),
                        (None, Some(genesis)) => genesis.log_key.name().to_owned(),
                        (None, None) => {
                            epoch.key.name().rsplit_once("/e/").map_or("", |(name, _)| name).to_owned()
                        }
                    };
                    let lost = header.flags.get() & flag::KEY_LOST != 0;
                    epoch.check(header.epoch_no.get(), &origin, lost)?;
                    self.lost = epoch.lost;
                    self.next = Some(epoch.key);
                }
            }
        }
        if announces != (header.flags.get() & flag::NEW_EPOCH != 0) {
            return Err(Fault::tampered("the record of an epoch contradicts the header of its batch"));
        }
        if first && self.genesis.is_none() {
            return Err(no_genesis(log_key));
        }
        Ok(())
    }

    /// Checks the epoch's line of a checkpoint that fits the chain, and goes over to the next epoch if it seals one.
    /// `Ok(Some(why))`: there is none, because the key was lost.
    pub(super) fn checkpoint(
        &mut self,
        note: &[u8],
        log_key: &VerifyKey,
        turn: Option<Turn>,
    ) -> Result<Option<String>, Fault> {
        let mut broken = None;
        match (&self.key, turn) {
            (_, Some(Turn::KeyLost)) => broken = Some(self.lost.take().unwrap_or_default()),
            (Some(key), _) => check_line(note, key, log_key)?,
            (None, _) => self.unknown += 1,
        }
        if turn.is_some() {
            self.key = self.next.take();
            self.turns += 1;
        }
        Ok(broken)
    }
}

/// Checks that `key`, an epoch's, signed the note; says which epoch did if another one did.
pub(super) fn check_line(note: &[u8], key: &VerifyKey, log_key: &VerifyKey) -> Result<(), Fault> {
    let bad = |error: NoteError| Fault::tampered(error.to_string());
    let note = Note::parse(note).map_err(bad)?;
    let Err(error) = note.verify(key) else { return Ok(()) };
    let wanted = epoch::number_of(log_key.name(), key.name()).unwrap_or_default();
    let found = note.lines().iter().find_map(|line| epoch::number_of(log_key.name(), line.name));
    Err(match (error, found) {
        (NoteError::Unsigned(_), None) => Fault::tampered(format!(
            "the line of epoch {wanted} was taken from the checkpoint, or never there: only the log's key signed it"
        )),
        (NoteError::Unsigned(_), Some(found)) if found == wanted => Fault::tampered(format!(
            "the checkpoint is by another key than that of epoch {wanted} of this log"
        )),
        (NoteError::Unsigned(_), Some(found)) => Fault::tampered(format!(
            "sealed anew: the key of epoch {wanted} must have signed this checkpoint, that of epoch {found} did"
        )),
        (error, _) => bad(error),
    })
}

/// The first batch is not the log's first record.
fn no_genesis(log_key: Option<&VerifyKey>) -> Fault {
    if log_key.is_some_and(|key| epoch::has_commitment(key.name())) {
        Fault::tampered("the log does not begin with its first record: its beginning was replaced")
    } else {
        Fault::unsupported(
            "the log has no epoch keys: it was made by an older goaudit; verify it with that one, and record into a \
             new directory",
        )
    }
}
