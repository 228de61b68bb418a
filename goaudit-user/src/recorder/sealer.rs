//! The writer's thread: events to bytes, bytes into the log; and what is done when the disk has no room for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::shed::{Books, Trouble, is_control};
use super::{Stop, Summary};
use crate::audit::{AuditError, Now, Writer};
use crate::event::{Control, Event, Payload};
use crate::host::clock;
use crate::personal::Vault;
use crate::reads::Spool;

/// How often the disk and what failed are looked at when no event comes.
const TICK: Duration = Duration::from_millis(50);
/// What is overdue because it cannot be written does not make the thread spin.
const LEAST_WAIT: Duration = Duration::from_micros(200);
/// How often the log is told of what is not stored, while that lasts.
const TELL: Duration = Duration::from_secs(10);
/// How often notes of who read the log are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long writing may fail, for another reason than a full disk, before recording ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// Why a recording ended that was to end with a full disk.
const DISK_FULL: &str = "disk full";

/// What is done when the disk is full or low. What is lost is counted and told in the log in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Events are left out and counted until there is room again.
    #[default]
    Drop,
    /// The log waits for room; once its queues are full the kernel side leaves events out and counts them. Programs are
    /// never held up.
    Block,
    /// The recording ends in order.
    Halt,
}

/// Owns the log.
pub(super) struct Sealer {
    writer: Writer,
    when_full: WhenFull,
    stop: Arc<Stop>,
    buffer: Vec<u8>,
    summary: Summary,
    /// Nothing that the kernel side saw has been stored yet.
    waiting_for_first: bool,
    shed: Books,
    told: Option<Instant>,
    /// The segment at whose beginning old ones were pruned.
    pruned_at: Option<u64>,
    was_low: bool,
    failing: Option<Instant>,
    /// Notes of who read the log.
    spool: Spool,
    looked: Option<Instant>,
    /// Encrypts personal fields, if the log asks for it.
    vault: Option<Vault>,
}

impl Sealer {
    pub(super) fn new(
        writer: Writer,
        vault: Option<Vault>,
        directory: &Path,
        when_full: WhenFull,
        stop: Arc<Stop>,
    ) -> Self {
        Self {
            writer,
            when_full,
            stop,
            buffer: Vec::new(),
            summary: Summary::default(),
            waiting_for_first: true,
            shed: Books::default(),
            told: None,
            pruned_at: None,
            was_low: false,
            failing: None,
            spool: Spool::new(directory),
            looked: None,
            vault,
        }
    }

    /// Writes until the reader hangs up, then seals and closes.
    pub(super) fn run(mut self, events: &Receiver<Vec<Event>>) -> Result<Summary, AuditError> {
        loop {
            match events.recv_timeout(self.patience()) {
                Ok(events) => {
                    let now = clock::now();
                    for event in events {
                        self.take(event, now)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = clock::now();
            let ticked = self.writer.tick(now);
            self.bear(ticked)?;
            let low = self.writer.is_low(now);
            self.prune(low, now)?;
            if !low {
                self.readers(now)?;
            }
            if self.shed.is_due() && (!low || self.told.is_none_or(|told| told.elapsed() >= TELL)) {
                self.tell(now)?;
            }
        }
        self.writer.close(clock::now())?;
        Ok(self.summary)
    }

    /// How long it may wait for events: until something has to be sealed.
    fn patience(&self) -> Duration {
        let now = clock::now().boottime_ns;
        let left = self.writer.deadline().map(|due| Duration::from_nanos(due.saturating_sub(now)));
        left.map_or(TICK, |left| left.clamp(LEAST_WAIT, TICK))
    }

    /// Gives up what need not be kept any longer, and destroys the keys of personal fields that must not be: with each
    /// segment, and when the disk gets low.
    fn prune(&mut self, low: bool, now: Now) -> Result<(), AuditError> {
        let segment = Some(self.writer.segment_no());
        let due = self.pruned_at != segment || (low && !self.was_low);
        self.was_low = low;
        if !due {
            return Ok(());
        }
        self.pruned_at = segment;
        if let Some(vault) = &mut self.vault
            && let Err(error) = vault.shred(&mut self.writer, now)
        {
            self.bear(Err(error))?;
        }
        match self.writer.prune(None, now) {
            Err(error @ (AuditError::Closed | AuditError::Sync { .. })) => Err(error),
            // What could not be pruned stays until the next segment; a damaged one for ever: `verify` tells of it.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Seals what readers of the log say of themselves, now and then. A run begins with other events.
    fn readers(&mut self, now: Now) -> Result<(), AuditError> {
        if self.summary.events == 0 || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        for read in self.spool.find() {
            let event =
                Event::control(goaudit_ebpf::units::Ktime(now.boottime_ns), Control::Read(read.clone()));
            match self.append(&event, now) {
                Ok(()) => self.spool.told(&read),
                // It stays where it is, for the next look.
                Err(error) if Trouble::of(&error).is_some() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.spool.has_told() {
            return Ok(());
        }
        let sealed = self.writer.seal(now);
        if sealed.is_ok() {
            self.spool.sealed();
        }
        self.bear(sealed)
    }

    /// Stores an event, or counts it as lost.
    fn take(&mut self, mut event: Event, now: Now) -> Result<(), AuditError> {
        if let Some(counters) = counters(&mut event) {
            self.tell(now)?;
            self.shed.settle(counters);
            if self.shed.is_due() {
                // Books that say more than the log tells would look like a lie.
                self.keep_summary(&event);
                return Ok(());
            }
        }
        let mut now = now;
        loop {
            if !is_control(&event) && self.writer.is_low(now) {
                if !self.may_wait() {
                    return self.leave_out(&event, Trouble::NoSpace, now);
                }
            } else {
                let Err(error) = self.append(&event, now) else { return Ok(()) };
                match Trouble::of(&error) {
                    Some(Trouble::NoSpace) if self.may_wait() => {}
                    Some(trouble) => return self.leave_out(&event, trouble, now),
                    None => return Err(error),
                }
            }
            std::thread::sleep(TICK);
            now = clock::now();
            let ticked = self.writer.tick(now);
            self.bear(ticked)?;
        }
    }

    /// Whether room is waited for.
    fn may_wait(&self) -> bool {
        self.when_full == WhenFull::Block && !self.stop.asked()
    }

    fn append(&mut self, event: &Event, now: Now) -> Result<(), AuditError> {
        self.buffer.clear();
        match &mut self.vault {
            Some(vault) => vault.seal(event, &mut self.writer, now)?.encode(&mut self.buffer),
            None => event.encode(&mut self.buffer),
        }
        // The first event is sealed, and so shown, at once: it tells that recording works.
        let first = self.waiting_for_first && event.source.is_some();
        self.waiting_for_first &= !first;
        let urgent = first || event.is_urgent();
        self.writer.append(&self.buffer, event.ktime.0, urgent, now)?;
        self.summary.events += 1;
        self.keep_summary(event);
        Ok(())
    }

    /// Counts an event that is not stored; the first one is told at once.
    fn leave_out(&mut self, event: &Event, trouble: Trouble, now: Now) -> Result<(), AuditError> {
        self.shed.count(event, trouble);
        self.writer.add_lost(1, trouble.bit());
        match self.when_full {
            WhenFull::Halt if trouble == Trouble::NoSpace => {
                if !self.summary.halted {
                    self.summary.halted = true;
                    self.stop.ask(DISK_FULL);
                }
            }
            WhenFull::Halt | WhenFull::Drop | WhenFull::Block => {}
        }
        if self.told.is_none() { self.tell(now) } else { Ok(()) }
    }

    /// Tells the log what is not in it, if it can be told.
    fn tell(&mut self, now: Now) -> Result<(), AuditError> {
        while let Some(loss) = self.shed.untold() {
            self.told = Some(Instant::now());
            let event =
                Event::control(goaudit_ebpf::units::Ktime(now.boottime_ns), Control::Loss(loss.clone()));
            match self.append(&event, now) {
                Ok(()) => self.shed.told(&loss),
                Err(error) if Trouble::of(&error).is_some() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bears what may pass; tells what does not.
    fn bear(&mut self, result: Result<(), AuditError>) -> Result<(), AuditError> {
        let Err(error) = result else {
            self.failing = None;
            return Ok(());
        };
        match Trouble::of(&error) {
            Some(Trouble::NoSpace) => Ok(()),
            Some(Trouble::WriteError) => {
                let since = *self.failing.get_or_insert_with(Instant::now);
                if since.elapsed() < PATIENCE { Ok(()) } else { Err(error) }
            }
            None => Err(error),
        }
    }

    /// Keeps what the summary tells.
    fn keep_summary(&mut self, event: &Event) {
        let Payload::Control(control) = &event.payload else { return };
        if let Control::Stop(stop) = control.as_ref() {
            self.summary.counters = stop.counters.clone();
        }
    }
}

/// The books in an event.
fn counters(event: &mut Event) -> Option<&mut crate::event::control::Counters> {
    let Payload::Control(control) = &mut event.payload else { return None };
    match control.as_mut() {
        Control::Stop(stop) => Some(&mut stop.counters),
        Control::Heartbeat(counters) => Some(counters),
        Control::Genesis(_)
        | Control::Start(_)
        | Control::Loss(_)
        | Control::ClockStep(_)
        | Control::Probe(_)
        | Control::Snapshot(_)
        | Control::Segment(_)
        | Control::Calibration(_)
        | Control::Policy(_)
        | Control::Read(_) => None,
    }
}
