//! The ring reader's thread: records to events, in order, with the books kept.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use goaudit_ebpf::units::Ktime;

use super::{Config, Stop};
use crate::correlate::Correlator;
use crate::event::{Control, Event};
use crate::filter::Filter;
use crate::host::live::LiveHost;
use crate::host::{clock, processes};
use crate::kernel::{KernelError, Session};

/// Longest the ring is left alone: bounds the age of what nobody was woken for.
const IDLE: Duration = Duration::from_millis(100);
/// How often the books are written when nothing else asks for it, so that silence is provable.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Events handed over at once.
const HAND_OVER: usize = 1024;
/// A change of the clock offset that is a step rather than a slew (NTP moves at most 0.5 ms a second).
const CLOCK_STEP_NS: i64 = 100_000_000;

/// Owns the kernel side.
pub(super) struct Reader {
    session: Session,
    correlator: Correlator<LiveHost>,
    filter: Filter,
    events: Vec<Event>,
    sender: SyncSender<Vec<Event>>,
    stop: Arc<Stop>,
    clock_offset: i64,
}

impl Reader {
    pub(super) fn new(session: Session, config: Config, sender: SyncSender<Vec<Event>>, stop: Arc<Stop>) -> Self {
        let Config { correlate, filter, .. } = config;
        let correlator = Correlator::new(correlate, LiveHost::read());
        Self { session, correlator, filter, events: Vec::new(), sender, stop, clock_offset: clock_offset() }
    }

    /// Reads until asked to stop; then stops the programs, reads the rest, and closes the books.
    pub(super) fn run(mut self, opening: Vec<Control>) -> Result<(), KernelError> {
        for control in opening {
            self.control(control);
        }
        // Before the snapshot: the first sealed events must not wait for a walk through /proc.
        if !self.hand_over() {
            return Ok(());
        }
        for snapshot in processes::all() {
            self.correlator.learn(&snapshot);
            self.control(Control::Snapshot(snapshot));
        }
        let mut heartbeat = Instant::now();
        while !self.stop.asked() {
            self.drain(IDLE)?;
            self.flush()?;
            if heartbeat.elapsed() >= HEARTBEAT {
                heartbeat = Instant::now();
                let counters = self.counters()?;
                self.control(Control::Heartbeat(counters));
            }
            self.watch_clock();
            if !self.hand_over() {
                return Ok(());
            }
        }
        self.session.detach_producers();
        while self.drain(Duration::ZERO)? > 0 {
            if !self.hand_over() {
                return Ok(());
            }
        }
        self.flush()?;
        let counters = self.counters()?;
        let reason = self.stop.reason();
        self.control(Control::Stop(crate::event::control::Stop { reason, counters }));
        self.hand_over();
        Ok(())
    }

    /// Turns what is on the ring into events; returns how many records there were.
    fn drain(&mut self, timeout: Duration) -> Result<usize, KernelError> {
        let Self { session, correlator, events, .. } = self;
        session.drain(timeout, HAND_OVER, &mut |record| correlator.push(record, events))
    }

    /// Ends what waits in the correlator and tells of loss.
    fn flush(&mut self) -> Result<(), KernelError> {
        let counters = self.session.counters()?;
        self.correlator.flush(now_ktime(), &counters.per_cpu, &mut self.events);
        Ok(())
    }

    fn counters(&mut self) -> Result<crate::event::control::Counters, KernelError> {
        let counters = self.session.counters()?;
        Ok(self.correlator.books(&counters.per_cpu, counters.not_run))
    }

    fn control(&mut self, control: Control) {
        self.events.push(Event::control(now_ktime(), control));
    }

    fn watch_clock(&mut self) {
        let offset = clock_offset();
        let delta_ns = offset.saturating_sub(self.clock_offset);
        self.clock_offset = offset;
        if delta_ns.abs() >= CLOCK_STEP_NS {
            self.control(Control::ClockStep(crate::event::control::ClockStep { delta_ns }));
        }
    }

    /// Hands what the filter lets through to the writer; false when the writer is gone.
    fn hand_over(&mut self) -> bool {
        if self.events.is_empty() {
            return true;
        }
        let mut events = std::mem::take(&mut self.events);
        if self.filter.is_active() {
            let Self { filter, correlator, .. } = self;
            events.retain(|event| filter.admits(event) || { correlator.filtered(event); false });
        }
        self.sender.send(events).is_ok()
    }
}

fn now_ktime() -> Ktime {
    Ktime(clock::now().boottime_ns)
}

/// Wall time minus boot time.
fn clock_offset() -> i64 {
    let now = clock::now();
    i64::try_from(i128::from(now.realtime_ns) - i128::from(now.boottime_ns)).unwrap_or(i64::MAX)
}
