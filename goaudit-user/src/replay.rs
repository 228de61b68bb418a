//! A cursor over a sealed log: stored events again, in order, with what a view needs to show them.
//!
//! Live output is this cursor in follow mode, so live and replayed output cannot differ.

use std::path::Path;

use goaudit_ebpf::units::Ktime;
use thiserror::Error;

use crate::audit::{AuditError, Batch, ReadOptions, Reader};
use crate::event::{Control, Event, Payload};
use crate::view::Origin;

/// Why stored events cannot be shown.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An event's bytes are not an event of this version; `verify` tells whether they were changed.
    #[error("read event {seq} of the log: {source}; `goaudit verify` tells whether it was changed")]
    Event {
        /// Its number in the log.
        seq: u64,
        /// What is wrong with its bytes.
        source: minicbor::decode::Error,
    },
}

/// A stored event with its place and time.
#[derive(Debug)]
pub struct Stored<'a> {
    /// Where and when it was recorded.
    pub origin: &'a Origin,
    /// The event.
    pub event: Event,
}

/// A cursor over a log.
#[derive(Debug)]
pub struct Cursor {
    reader: Reader,
    origin: Origin,
}

impl Cursor {
    /// Opens a log at its beginning, or where `options` say.
    pub fn open(directory: &Path, options: ReadOptions) -> Result<Self, ReplayError> {
        Ok(Self { reader: Reader::open(directory, options)?, origin: Origin::default() })
    }

    /// Hands the next batch's events to `each`; false at the (present) end of the log.
    pub fn next<E: From<ReplayError>>(
        &mut self,
        each: &mut impl FnMut(Stored<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(batch) = self.reader.next_batch().map_err(ReplayError::from)? else { return Ok(false) };
        self.enter(&batch);
        let first = batch.meta().first_seq;
        for (seq, stored) in (first..).zip(batch.events()) {
            let event = Event::decode(stored).map_err(|source| ReplayError::Event { seq, source })?;
            self.learn(&event);
            self.origin.seq = seq;
            self.origin.realtime_ns = wall_time(&batch, event.ktime);
            each(Stored { origin: &self.origin, event })?;
        }
        Ok(true)
    }

    /// What the batch's header says of all its events.
    fn enter(&mut self, batch: &Batch) {
        self.origin.boot_id = batch.meta().boot_id;
    }

    /// What control events say of the events after them.
    fn learn(&mut self, event: &Event) {
        let Payload::Control(control) = &event.payload else { return };
        let host = match control.as_ref() {
            Control::Genesis(genesis) => &genesis.host,
            Control::Start(start) => &start.host,
            Control::Segment(host) => host,
            Control::Stop(_)
            | Control::Heartbeat(_)
            | Control::Loss(_)
            | Control::ClockStep(_)
            | Control::Probe(_)
            | Control::Snapshot(_) => return,
        };
        self.origin.host.clone_from(&host.name);
    }
}

/// Boot time to wall time by the batch's own clock offset.
fn wall_time(batch: &Batch, ktime: Ktime) -> u64 {
    let meta = batch.meta();
    meta.realtime_first.wrapping_add(ktime.0.wrapping_sub(meta.boottime_first))
}
