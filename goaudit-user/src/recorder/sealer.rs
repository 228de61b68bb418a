//! The writer's thread: events to bytes, bytes into the log.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Summary;
use crate::audit::{AuditError, Writer};
use crate::event::control::Host;
use crate::event::{Control, Event, Payload};
use crate::host::clock;

/// How often batches are looked at for their age when no event comes.
const TICK: Duration = Duration::from_millis(50);

/// Owns the log.
pub(super) struct Sealer {
    writer: Writer,
    host: Host,
    buffer: Vec<u8>,
    summary: Summary,
}

impl Sealer {
    pub(super) fn new(writer: Writer, host: Host) -> Self {
        Self { writer, host, buffer: Vec::new(), summary: Summary::default() }
    }

    /// Writes until the reader hangs up, then seals and closes.
    pub(super) fn run(mut self, events: &Receiver<Vec<Event>>) -> Result<Summary, AuditError> {
        loop {
            match events.recv_timeout(TICK) {
                Ok(events) => {
                    for event in &events {
                        self.append(event)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.writer.tick(clock::now())?;
        }
        self.summary.root = self.writer.close(clock::now())?;
        Ok(self.summary)
    }

    fn append(&mut self, event: &Event) -> Result<(), AuditError> {
        let now = clock::now();
        if self.writer.begins_segment(now)? && !is_segment_context(event) {
            let context = Event::control(event.ktime, Control::Segment(self.host.clone()));
            self.write(&context, now)?;
        }
        if let Payload::Control(control) = &event.payload
            && let Control::Stop(stop) = control.as_ref()
        {
            self.summary.counters = stop.counters.clone();
        }
        self.write(event, now)
    }

    fn write(&mut self, event: &Event, now: crate::audit::Now) -> Result<(), AuditError> {
        self.buffer.clear();
        event.encode(&mut self.buffer);
        self.writer.append(&self.buffer, event.ktime.0, event.is_urgent(), now)?;
        self.summary.events += 1;
        Ok(())
    }
}

/// Whether an event already tells a reader who has only its segment about the host.
fn is_segment_context(event: &Event) -> bool {
    let Payload::Control(control) = &event.payload else { return false };
    matches!(control.as_ref(), Control::Genesis(_) | Control::Start(_) | Control::Segment(_))
}
