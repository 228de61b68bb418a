//! A cursor over a sealed log: stored events again, in order, with what a view needs to show them.
//!
//! Live output is this cursor in follow mode, so live and replayed output cannot differ.

use std::path::Path;

use thiserror::Error;

use crate::audit::{AuditError, BatchInfo, ContentKeys, ReadOptions, Reader};
use crate::event::control::Host;
use crate::event::{Control, Event, Payload};
use crate::personal::Opener;
use crate::view::Origin;
use crate::view::json::{Kind, Kinds};

/// Why stored events cannot be shown.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An event's bytes are not an event of this version.
    #[error("read event {seq} of the log: {source}; `goaudit verify` tells whether it was changed")]
    Event {
        /// Its number in the log.
        seq: u64,
        /// What is wrong with its bytes.
        source: minicbor::decode::Error,
    },
}

/// A cursor over a log.
pub struct Cursor {
    reader: Reader,
    keys: ContentKeys,
    personal: Opener,
    host: Host,
    boot_id: String,
    begun: bool,
}

impl Cursor {
    /// Opens a log where `options` say.
    pub fn open(directory: &Path, options: ReadOptions) -> Result<Self, ReplayError> {
        Self::open_with(directory, options, ContentKeys::default())
    }

    /// As [`Self::open`], of a log whose events are encrypted.
    pub fn open_with(directory: &Path, options: ReadOptions, keys: ContentKeys) -> Result<Self, ReplayError> {
        let reader = Reader::open(directory, options)?.with_keys(keys.clone());
        let personal = Opener::new(directory, keys.clone());
        Ok(Self { reader, keys, personal, host: Host::default(), boot_id: String::new(), begun: false })
    }

    /// Hands the next batch's events to `each`; false at the (present) end of the log.
    pub fn next_batch<E: From<ReplayError>>(
        &mut self,
        mut each: impl FnMut(&Event, &Origin<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        self.next_batch_of(Kinds::ALL, |event, origin| event.map_or(Ok(()), |event| each(event, origin)))
    }

    /// Like [`Self::next_batch`], but of events of other kinds only their place is told (none): they are not decoded,
    /// except where they tell of the host.
    pub fn next_batch_of<E: From<ReplayError>>(
        &mut self,
        kinds: Kinds,
        mut each: impl FnMut(Option<&Event>, &Origin<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(batch) = self.reader.next_batch().map_err(ReplayError::from)? else { return Ok(false) };
        let info = batch.meta();
        self.boot_id = uuid(info.boot_id);
        if !std::mem::replace(&mut self.begun, true) {
            // A run begins by telling the host: only who begins in its middle has to look back.
            let told = batch.events().next().and_then(|stored| Event::decode(stored).ok());
            if told.as_ref().and_then(host_of).is_none() {
                self.host = self.host_before(info.first_seq)?;
            }
        }
        // To look for the kind costs time, too.
        let decode = |stored| {
            kinds == Kinds::ALL
                || Kind::of_stored(stored)
                    .is_none_or(|kind| kinds.contains(kind) || matches!(kind, Kind::Control))
        };
        for (seq, stored) in (info.first_seq..).zip(batch.events()) {
            let mut event = decode(stored)
                .then(|| Event::decode(stored).map_err(|source| ReplayError::Event { seq, source }))
                .transpose()?;
            if let Some(event) = &mut event {
                self.personal.open(event);
            }
            if let Some(host) = event.as_ref().and_then(host_of) {
                self.host.clone_from(host);
            }
            let origin = Origin {
                seq,
                boot_id: &self.boot_id,
                host: &self.host.name,
                machine: &self.host.machine,
                realtime_minus_boottime_ns: clock_offset(info),
            };
            let wanted = event.as_ref().filter(|event| kinds.contains(Kind::of(&event.payload)));
            each(wanted, &origin)?;
        }
        Ok(true)
    }

    /// The host as told in the current segment before an event: reading may begin in its middle.
    fn host_before(&self, first_seq: u64) -> Result<Host, ReplayError> {
        let mut host = Host::default();
        let (Some(path), Some(segment)) = (self.reader.segment_path(), self.reader.segment()) else {
            return Ok(host);
        };
        if segment.first_seq >= first_seq {
            return Ok(host);
        }
        let mut earlier =
            Reader::open_files(&[path.to_owned()], ReadOptions::default())?.with_keys(self.keys.clone());
        while let Some(batch) = earlier.next_batch()?
            && batch.meta().first_seq < first_seq
        {
            for (seq, stored) in (batch.meta().first_seq..).zip(batch.events()) {
                let event = Event::decode(stored).map_err(|source| ReplayError::Event { seq, source })?;
                if let Some(told) = host_of(&event) {
                    host.clone_from(told);
                }
            }
        }
        Ok(host)
    }

    /// Where a torn or half-written tail begins, if reading ended at one.
    pub fn tail(&self) -> Option<crate::audit::Tail> {
        self.reader.tail()
    }
}

/// The host that a control event tells about.
fn host_of(event: &Event) -> Option<&Host> {
    let Payload::Control(control) = &event.payload else { return None };
    match control.as_ref() {
        Control::Genesis(genesis) => Some(&genesis.host),
        Control::Start(start) => Some(&start.host),
        Control::Segment(host) => Some(host),
        Control::Stop(_)
        | Control::Heartbeat(_)
        | Control::Loss(_)
        | Control::ClockStep(_)
        | Control::Calibration(_)
        | Control::Policy(_)
        | Control::Read(_)
        | Control::Probe(_)
        | Control::Snapshot(_) => None,
    }
}

/// Wall time minus boot time, the same for all events of a batch.
fn clock_offset(info: &BatchInfo) -> i64 {
    let offset = i128::from(info.realtime_first_ns) - i128::from(info.boottime_first_ns);
    i64::try_from(offset).unwrap_or(0)
}

/// The usual form of a boot id.
pub fn uuid(id: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(id));
    let mut text = String::with_capacity(36);
    for (position, digit) in digits.char_indices() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn a_boot_id_reads_as_the_kernel_writes_it() {
        let id = 0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8_u128.to_be_bytes();
        assert_eq!(uuid(id), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    }
}
