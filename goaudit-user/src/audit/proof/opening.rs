//! The opening: what leads from a batch's leaf to some of its events, as bytes (docs/audit-format.md section 15).

use zerocopy::IntoBytes as _;

use super::{BatchProof, EventProof, ProofError};
use crate::audit::format::{BATCH_HEADER_LEN, Hash, MAX_BATCH_EVENTS, MAX_EVENT_LEN, MAX_FRONTIER};
use crate::audit::salt::SALT_LEN;

/// What an opening begins with.
const MAGIC: [u8; 4] = *b"GAO2";
/// The same before epochs had keys.
const OLD_MAGIC: [u8; 4] = *b"GAO1";
/// A batch has at most 4096 leaves, so a path in it at most 12 hashes.
const MAX_PATH: usize = MAX_BATCH_EVENTS.ilog2() as usize;

/// Writes an opening: that of a batch, and what shows whose key the epoch's line of the checkpoint is by.
pub(super) fn encode(
    header: &[u8; BATCH_HEADER_LEN],
    events: &[EventProof],
    certificate: &BatchProof,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    batch(&mut out, header, events);
    out.extend_from_slice(&certificate.index.to_le_bytes());
    number(&mut out, certificate.path.len());
    out.extend_from_slice(certificate.path.as_bytes());
    batch(&mut out, &certificate.header, &certificate.events);
    out
}

fn batch(out: &mut Vec<u8>, header: &[u8; BATCH_HEADER_LEN], events: &[EventProof]) {
    out.extend_from_slice(header);
    number(out, events.len());
    for event in events {
        number(out, event.index as usize);
        out.extend_from_slice(&event.salt);
        number(out, event.path.len());
        out.extend_from_slice(event.path.as_bytes());
        number(out, event.event.len());
        out.extend_from_slice(&event.event);
    }
}

fn number(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

/// What an opening holds.
pub(super) struct Opening {
    pub(super) header: [u8; BATCH_HEADER_LEN],
    pub(super) events: Vec<EventProof>,
    /// The batch with the record of the epoch whose key signed the checkpoint.
    pub(super) certificate: BatchProof,
}

/// Reads an opening.
pub(super) fn decode(bytes: &[u8]) -> Result<Opening, ProofError> {
    let mut rest = Rest(bytes);
    match rest.array()? {
        MAGIC => {}
        OLD_MAGIC => {
            return Err(ProofError::Malformed("it was made by an older goaudit, before epochs had keys"));
        }
        _ => return Err(ProofError::Malformed("`extra` is not an opening of goaudit")),
    }
    let (header, events) = rest.batch()?;
    let index = u64::from_le_bytes(rest.array()?);
    let steps = rest.number()?;
    if steps > MAX_FRONTIER {
        return Err(ProofError::Malformed("the path is longer than any log's"));
    }
    let path = (0..steps).map(|_| rest.array()).collect::<Result<Vec<Hash>, _>>()?;
    let (of, records) = rest.batch()?;
    if !rest.0.is_empty() {
        return Err(ProofError::Malformed("bytes after an opening"));
    }
    Ok(Opening { header, events, certificate: BatchProof { index, path, header: of, events: records } })
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

    fn batch(&mut self) -> Result<([u8; BATCH_HEADER_LEN], Vec<EventProof>), ProofError> {
        let header = self.array()?;
        let count = self.number()?;
        if count == 0 || count > MAX_BATCH_EVENTS as usize {
            return Err(ProofError::Malformed("an opening has 1 to 4096 events"));
        }
        let mut events = Vec::new();
        for _ in 0..count {
            let event = self.event()?;
            if events.last().is_some_and(|last: &EventProof| last.index >= event.index) {
                return Err(ProofError::Malformed("the events of an opening are not in order"));
            }
            events.push(event);
        }
        Ok((header, events))
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
