//! The opening: what leads from a batch's leaf to some of its events, as bytes (docs/audit-format.md section 15).

use zerocopy::IntoBytes as _;

use super::{EventProof, ProofError};
use crate::audit::format::{BATCH_HEADER_LEN, Hash, MAX_BATCH_EVENTS, MAX_EVENT_LEN};
use crate::audit::salt::SALT_LEN;

/// What an opening begins with.
const MAGIC: [u8; 4] = *b"GAO1";
/// A batch has at most 4096 leaves, so a path in it at most 12 hashes.
const MAX_PATH: usize = MAX_BATCH_EVENTS.ilog2() as usize;

/// Writes an opening.
pub(super) fn encode(header: &[u8; BATCH_HEADER_LEN], events: &[EventProof]) -> Vec<u8> {
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, n: usize| {
        out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
    };
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(header);
    number(&mut out, events.len());
    for event in events {
        number(&mut out, event.index as usize);
        out.extend_from_slice(&event.salt);
        number(&mut out, event.path.len());
        out.extend_from_slice(event.path.as_bytes());
        number(&mut out, event.event.len());
        out.extend_from_slice(&event.event);
    }
    out
}

/// Reads an opening: header and events.
pub(super) fn decode(bytes: &[u8]) -> Result<([u8; BATCH_HEADER_LEN], Vec<EventProof>), ProofError> {
    let mut rest = Rest(bytes);
    if rest.array()? != MAGIC {
        return Err(ProofError::Malformed("`extra` is not an opening of goaudit"));
    }
    let header = rest.array()?;
    let count = rest.number()?;
    if count == 0 || count > MAX_BATCH_EVENTS as usize {
        return Err(ProofError::Malformed("an opening has 1 to 4096 events"));
    }
    let mut events = Vec::new();
    for _ in 0..count {
        let event = rest.event()?;
        if events.last().is_some_and(|last: &EventProof| last.index >= event.index) {
            return Err(ProofError::Malformed("the events of an opening are not in order"));
        }
        events.push(event);
    }
    if !rest.0.is_empty() {
        return Err(ProofError::Malformed("bytes after an opening"));
    }
    Ok((header, events))
}

/// The bytes not yet read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ProofError> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or(ProofError::Malformed("an opening ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProofError> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(ProofError::Malformed("an opening ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<usize, ProofError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn event(&mut self) -> Result<EventProof, ProofError> {
        let index = u32::from_le_bytes(self.array()?);
        let salt: [u8; SALT_LEN] = self.array()?;
        let steps = self.number()?;
        if steps > MAX_PATH {
            return Err(ProofError::Malformed("a path in a batch has at most 12 hashes"));
        }
        let path = (0..steps).map(|_| self.array()).collect::<Result<Vec<Hash>, _>>()?;
        let len = self.number()?;
        if len > MAX_EVENT_LEN {
            return Err(ProofError::Malformed("an event has at most 16 MiB"));
        }
        Ok(EventProof { index, salt, event: self.take(len)?.to_vec(), path })
    }
}
