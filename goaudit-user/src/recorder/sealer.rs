//! The writer's thread: events to bytes, bytes into the log.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Summary;
use crate::audit::{AuditError, Writer};
use crate::event::{Control, Event, Payload};
use crate::host::clock;

/// How often batches are looked at for their age when no event comes.
const TICK: Duration = Duration::from_millis(50);

/// Owns the log.
pub(super) struct Sealer {
    writer: Writer,
    buffer: Vec<u8>,
    summary: Summary,
    /// Nothing that the kernel side saw has been stored yet.
    waiting_for_first: bool,
}

impl Sealer {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, buffer: Vec::new(), summary: Summary::default(), waiting_for_first: true }
    }

    /// Writes until the reader hangs up, then seals and closes.
    pub(super) fn run(mut self, events: &Receiver<Vec<Event>>) -> Result<Summary, AuditError> {
        loop {
            match events.recv_timeout(TICK) {
                Ok(events) => {
                    let now = clock::now();
                    for event in &events {
                        self.buffer.clear();
                        event.encode(&mut self.buffer);
                        // The first event is sealed, and so shown, at once: it tells that recording works.
                        let first = self.waiting_for_first && event.source.is_some();
                        self.waiting_for_first &= !first;
                        let urgent = first || event.is_urgent();
                        self.writer.append(&self.buffer, event.ktime.0, urgent, now)?;
                        self.note(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.writer.tick(clock::now())?;
        }
        self.writer.close(clock::now())?;
        Ok(self.summary)
    }

    /// Keeps what the summary tells.
    fn note(&mut self, event: &Event) {
        self.summary.events += 1;
        let Payload::Control(control) = &event.payload else { return };
        if let Control::Stop(stop) = control.as_ref() {
            self.summary.counters = stop.counters.clone();
        }
    }
}
