//! How the writer encrypts events: to whom, and with which key in the segment that is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{SeedFn, WriterConfig};
use crate::audit::content::{ContentKey, HeldKeys, NamedKey, Recipients};
use crate::audit::directory::open_regular;
use crate::audit::error::AuditError;
use crate::audit::format::CONTENT_KEY_LEN;
use crate::audit::prune;
use crate::audit::reader::read_header;

/// Encryption of a log.
pub(super) struct Content {
    recipients: Recipients,
    current: SegmentKey,
    /// The log has named the key: batches may be encrypted with it.
    pub(super) named: bool,
    held: HeldKeys,
}

/// The key of a segment, wrapped and not.
pub(super) struct SegmentKey {
    pub(super) key: Arc<ContentKey>,
    pub(super) wrapped: Vec<u8>,
}

impl Content {
    /// For the segment that a writer begins with; none if the log is not encrypted. What was asked for counts for a new log
    /// only: an existing one says itself.
    pub(super) fn open(
        dir: &Path,
        segments: &[(u64, PathBuf)],
        number: u64,
        config: &mut WriterConfig,
    ) -> Result<Option<Self>, AuditError> {
        let asked = config.encrypt_to.take();
        let Some(recipients) = recipients(dir, segments, asked)? else { return Ok(None) };
        let held = HeldKeys::default();
        let current = segment_key(&recipients, &mut config.seeds)?;
        held.put(number, &current.key);
        Ok(Some(Self { recipients, current, named: false, held }))
    }

    pub(super) fn recipients(&self) -> &Recipients {
        &self.recipients
    }

    pub(super) fn held(&self) -> &HeldKeys {
        &self.held
    }

    pub(super) fn current(&self) -> &SegmentKey {
        &self.current
    }

    /// A key for a segment to come.
    pub(super) fn next(&self, number: u64, seeds: &mut SeedFn) -> Result<SegmentKey, AuditError> {
        let next = segment_key(&self.recipients, seeds)?;
        self.held.put(number, &next.key);
        Ok(next)
    }

    /// That segment is there.
    pub(super) fn turn(&mut self, next: SegmentKey) {
        self.current = next;
        self.named = false;
    }

    /// A segment takes over the batches of one that could not be made durable, and its key with them.
    pub(super) fn take_over(&self, number: u64) {
        self.held.put(number, &self.current.key);
    }

    /// What the log says of the key.
    pub(super) fn name(&self) -> NamedKey {
        NamedKey::new(&self.current.key, &self.current.wrapped)
    }
}

fn segment_key(recipients: &Recipients, seeds: &mut SeedFn) -> Result<SegmentKey, AuditError> {
    let (key, wrapped) = fresh(recipients, seeds)?;
    Ok(SegmentKey { key: Arc::new(key), wrapped })
}

/// A new key, and the same wrapped.
pub(super) fn fresh(
    recipients: &Recipients,
    seeds: &mut SeedFn,
) -> Result<(ContentKey, Vec<u8>), AuditError> {
    let mut bytes = [0; CONTENT_KEY_LEN];
    seeds(&mut bytes).map_err(AuditError::Random)?;
    let key = ContentKey::new(&mut bytes);
    let wrapped = recipients.wrap(&key)?;
    Ok((key, wrapped))
}

/// To whom the log is encrypted: an existing log's first record says so.
fn recipients(
    dir: &Path,
    segments: &[(u64, PathBuf)],
    asked: Option<Recipients>,
) -> Result<Option<Recipients>, AuditError> {
    let Some((_, last)) = segments.last() else { return Ok(asked) };
    match prune::genesis(dir) {
        Ok(genesis) if genesis.recipients.is_empty() => Ok(None),
        Ok(genesis) => Ok(Some(Recipients::parse(&genesis.recipients)?)),
        Err(error) => {
            let header = open_regular(last).and_then(|(file, size)| read_header(&file, size));
            if header.is_err() || header.is_ok_and(|header| header.wrapped_key.is_empty()) {
                // Recovery judges it.
                return Ok(if segments.len() == 1 { asked } else { None });
            }
            let what = format!(
                "its events are encrypted, and its beginning, which says to whom, cannot be read ({error})"
            );
            Err(AuditError::Unrecoverable { dir: dir.to_owned(), what })
        }
    }
}
