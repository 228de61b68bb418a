//! Whether encrypted batches are under the content keys that the log named, and opening them with keys that were given.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Verifier;
use super::books::{Books, Property};
use super::segment::Here;
use crate::audit::content::{ContentKey, ContentKeys, NamedKey};
use crate::audit::fault::Fault;
use crate::audit::format::{BatchHeader, Hash};
use crate::audit::segment::SegmentHeader;

/// The content key of the segment that is walked.
#[derive(Default)]
pub(super) struct Lock {
    header: Option<SegmentHeader>,
    wrapped_sha256: Hash,
    /// It was looked for.
    tried: bool,
    /// None if it is not to be had.
    key: Option<Arc<ContentKey>>,
}

impl Lock {
    pub(super) fn of(header: &SegmentHeader) -> Self {
        let encrypted = !header.wrapped_key.is_empty();
        Self {
            wrapped_sha256: Sha256::digest(&header.wrapped_key).into(),
            header: encrypted.then(|| header.clone()),
            tried: false,
            key: None,
        }
    }
}

/// What was not opened.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) keys: ContentKeys,
    /// Batches.
    closed: u64,
    /// Why the keys that were given do not open them.
    why: Option<String>,
}

impl Contents {
    pub(super) fn new(keys: ContentKeys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// What that proves.
    pub(super) fn tell(&self, recipients: &[String], books: &mut Books) {
        if self.closed == 0 {
            return;
        }
        let to = match recipients {
            [] => String::new(),
            names => format!(" to {}", names.join(", ")),
        };
        let what = format!(
            "{} batches are encrypted{to} and were not opened: their bytes are those that were sealed; ",
            self.closed
        );
        match &self.why {
            Some(why) => books.lack(Property::Contents, format!("{what}failed to {why}")),
            None => books
                .unproven(Property::Contents, what + "give --content-key to look at the events themselves"),
        }
    }
}

impl Verifier<'_, '_> {
    /// The key to open a batch of events with: none if it is not encrypted or no key is at hand.
    pub(super) fn content_key(
        &mut self,
        here: &mut Here,
        batch: &BatchHeader,
        opens: bool,
    ) -> Result<Option<Arc<ContentKey>>, Fault> {
        if let Some(genesis) = &self.epochs.genesis
            && batch.is_encrypted() == genesis.recipients.is_empty()
        {
            return Err(Fault::tampered(
                "the log's first record says otherwise about encryption than the batch",
            ));
        }
        let Lock { header, wrapped_sha256, tried, key } = &mut here.lock;
        let Some(header) = header.as_ref().filter(|_| batch.is_encrypted()) else {
            return if header.is_none() && !batch.is_encrypted() {
                Ok(None)
            } else {
                Err(Fault::tampered("the segment's header says otherwise about encryption than the batch"))
            };
        };
        let named = self.epochs.content_key.as_ref();
        match named {
            Some(named) if named.wrapped_sha256 != *wrapped_sha256 => {
                return Err(Fault::tampered(
                    "the wrapped content key in the segment's header is not the one that the log named: it was swapped",
                ));
            }
            None if self.intact => {
                return Err(Fault::tampered(
                    "a batch is encrypted with a content key that the log did not name",
                ));
            }
            Some(_) | None => {}
        }
        if opens && !self.contents.keys.is_empty() && !std::mem::replace(tried, true) {
            let found = match self.contents.keys.key_of(header) {
                Ok(found) => Some(found),
                Err(error) => {
                    self.contents.why.get_or_insert_with(|| error.to_string());
                    None
                }
            };
            if let (Some(found), Some(NamedKey { commitment, .. })) = (&found, named)
                && found.commitment() != *commitment
            {
                return Err(Fault::tampered(
                    "the segment's content key is not the one that the log committed to",
                ));
            }
            *key = found;
        }
        let found = key.clone();
        if opens && found.is_none() {
            self.contents.closed += 1;
            self.books.unopened += batch.numbered_events();
        }
        Ok(found)
    }
}
