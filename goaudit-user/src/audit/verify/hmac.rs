//! The HMAC chain of a log: where each batch stands in it, and what it proves to whoever has its key.

use serde::{Deserialize, Serialize};

use super::books::Property;
use super::{Verifier, VerifyOptions};
use crate::audit::fault::Fault;
use crate::audit::format::{BatchHeader, Hash, flag};
use crate::audit::hmac::HmacPlace;
use crate::audit::record::{Genesis, HmacStart};

/// The chain, as far as the log was walked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HmacChain {
    /// Generation and step of the next batch's key; none before the first, and after damage.
    at: Option<(u64, u64)>,
    /// The generation that began last.
    last: Option<u64>,
    /// The last signature; none at the beginning, and after damage.
    tail: Option<Hash>,
    /// The walk went on behind damage: what is before the next generation is not known.
    torn: bool,
    /// Why the log has no chain from some batch on.
    lost: Option<String>,
    /// Batches that could not be checked, because what comes before them is not known.
    #[serde(skip)]
    unknown: u64,
    /// Events that could be.
    #[serde(skip)]
    events: u64,
}

impl HmacChain {
    /// Whether there is nothing to tell of it.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What follows cannot be tied to what came before.
    pub(super) fn forget(&mut self) {
        (self.at, self.tail, self.torn) = (None, None, true);
    }

    /// Takes in what the log says of its chain.
    pub(super) fn start(&mut self, start: HmacStart, genesis: Option<&Genesis>) -> Result<(), Fault> {
        if genesis.is_some_and(|genesis| genesis.hmac.is_none()) || self.lost.is_some() {
            return Err(Fault::tampered("an HMAC chain begins in a log that has none"));
        }
        match start {
            HmacStart::Generation(next) => {
                if self.last.is_some_and(|last| next <= last) {
                    return Err(Fault::tampered("a generation of HMAC keys is used a second time"));
                }
                (self.at, self.last) = (Some((next, 0)), Some(next));
            }
            HmacStart::Lost(why) => (self.at, self.lost) = (None, Some(why)),
        }
        Ok(())
    }

    /// Takes in a batch of events that fits the log's chain; where it stands in this one, if that is known.
    pub(super) fn batch(
        &mut self,
        header: &BatchHeader,
        genesis: Option<&Genesis>,
    ) -> Result<Option<HmacPlace>, Fault> {
        let signed = header.flags.get() & flag::HMAC != 0;
        let wanted = genesis.map(|genesis| genesis.hmac.is_some() && self.lost.is_none());
        match (wanted, signed) {
            (Some(true), false) => return Err(Fault::tampered("the HMAC of a batch was taken away")),
            (Some(false), true) => return Err(Fault::tampered("an HMAC in a log that has no HMAC chain")),
            (_, false) => return Ok(None),
            (_, true) => {}
        }
        let before = self.tail.replace(header.hmac_tail).or((!self.torn).then_some([0; 32]));
        let Some((generation, step)) = self.at else {
            if !self.torn {
                return Err(Fault::tampered(
                    "a batch with an HMAC, but the log names no generation of its key",
                ));
            }
            self.unknown += 1;
            return Ok(None);
        };
        self.at = Some((generation, step.saturating_add(1)));
        let Some(before) = before else {
            self.unknown += 1;
            return Ok(None);
        };
        self.events += u64::from(header.n_events.get());
        Ok(Some(HmacPlace { generation, step, before }))
    }

    /// Takes in batches of events that were pruned.
    pub(super) fn skip(&mut self, batches: u64, last: &BatchHeader) {
        if let Some((_, step)) = &mut self.at {
            *step = step.saturating_add(batches);
        }
        self.tail = Some(last.hmac_tail);
    }
}

impl Verifier<'_, '_> {
    /// Whether the chain can be checked: its key is here.
    pub(super) fn has_hmac_key(&self) -> bool {
        match (&self.hmac_key, &self.epochs.genesis) {
            (Some(key), Some(genesis)) => genesis.hmac == Some(key.commitment()),
            _ => false,
        }
    }

    /// What the HMAC chain proves.
    pub(super) fn check_hmac(&mut self, options: &VerifyOptions) {
        let pinned = self.epochs.genesis.as_ref().map(|genesis| genesis.hmac.is_some());
        let chain = &self.epochs.hmac;
        let (unknown, events, lost) = (chain.unknown, chain.events, chain.lost.clone());
        if let Some(why) = lost {
            let what =
                format!("the HMAC chain ends: {why}; events after that are signed, but not in the chain");
            self.books.fault(Property::HmacChain, None, None, &Fault::damaged(what));
        }
        let lack = match (&self.hmac_key, pinned) {
            (None, Some(false)) => return,
            (None, None) if unknown == 0 => return,
            (None, _) => {
                let what = "not proven: only whoever has its key can check it; give --hmac-key";
                self.books.unproven(Property::HmacChain, what.to_owned());
                return;
            }
            (Some(_), None) => {
                "the log is not read from its beginning, so whether the key is its own is not known"
                    .to_owned()
            }
            (Some(_), Some(false)) => "a key was given, but the log has no HMAC chain".to_owned(),
            (Some(_), Some(true)) if !self.has_hmac_key() => {
                "the key is not the one of this log's HMAC chain: nothing was checked with it".to_owned()
            }
            (Some(_), Some(true)) if unknown > 0 => {
                format!("{unknown} batches could not be checked, because what comes before them is not known")
            }
            (Some(_), Some(true)) if options.bytes_only => "not proven: payloads were not opened".to_owned(),
            (Some(_), Some(true)) => {
                let what = format!(
                    "the signatures of {events} events follow from the key: proven to whoever holds it, who could also \
                     make them"
                );
                self.books.note(Property::HmacChain, what);
                return;
            }
        };
        self.books.lack(Property::HmacChain, lack);
    }
}
