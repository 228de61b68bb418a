//! The ring reader's thread: records to events, in order, with the books kept.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use goaudit_ebpf::units::Ktime;

use super::go::book::Book;
use super::go::{self, Message, Strike, Watching};
use super::tap_file::Tap;
use super::{Config, NICE, RecorderError, Stop};
use crate::correlate::Correlator;
use crate::correlate::bounded::Bounded;
use crate::event::control::{Counters, Host, Loss, NOT_RUN, Stop as Stopped, TAKEN_AWAY};
use crate::event::{Control, Event, Payload};
use crate::filter::Filter;
use crate::host::live::LiveHost;
use crate::host::{clock, identity, processes};
use crate::kernel::{self, Session};
use crate::replay::uuid;
use crate::view::Origin;

/// Longest the ring is left alone: bounds the age of what nobody was woken for.
const IDLE: Duration = Duration::from_millis(100);
/// How often the books are written when nothing else asks for it, so that silence is provable.
const HEARTBEAT: Duration = Duration::from_mins(1);
/// How often the kernel is asked which programs it skipped: one system call for each program.
const SKIPS: Duration = Duration::from_secs(1);
/// Events handed over at once.
const HAND_OVER: usize = 1024;
/// How long events that are not urgent may gather before they are handed over: waking the writer for each one
/// would cost more than storing it.
const GATHER: Duration = Duration::from_millis(20);
/// How often the correlator is asked what has waited long enough; it looks at spans from 50 ms up.
const FLUSH: Duration = Duration::from_millis(25);
/// A change of the clock offset that is a step rather than a slew (NTP moves at most 0.5 ms a second).
const CLOCK_STEP_NS: i64 = 100_000_000;

/// Files that are remembered not to be Go programs, and for how long: a file may be replaced in its place.
const NOT_GO: usize = 4096;
const NOT_GO_FOR: Duration = Duration::from_secs(10);

/// The thread that probes Go programs, where programs are named.
const WATCHER: &str = "go_watcher";

/// What happened, if it says that a probed program's code may be broken.
fn broken(payload: &Payload) -> Option<Strike> {
    match payload {
        Payload::GoSignal(signal) => {
            let what = match signal.signal {
                4 => "got SIGILL",
                5 => "got SIGTRAP",
                7 => "got SIGBUS",
                _ => "got SIGSEGV",
            };
            // SI_USER (0), SI_QUEUE, SI_TKILL and others below: one that a process sent. The kernel lets nobody give
            // another process a signal with a code above (since 2.6.39).
            Some(Strike { what, sent: signal.code <= 0 })
        }
        // What Go makes of a fault where its own code expects none.
        Payload::GoPanic(panic) if panic.fatal => {
            let message = panic.message.as_ref()?.as_bytes();
            let thrown = panic.value_type.as_deref() == Some("runtime.throw");
            // In code that is not Go's, in stacks that do not fit, and at an address that a pointer of Go's never has.
            let faults = message.starts_with(b"unexpected signal")
                || message.starts_with(b"unexpected return pc")
                || message == b"fault";
            (thrown && faults).then_some(Strike { what: "died of a fault", sent: false })
        }
        Payload::GoPanic(_)
        | Payload::Exec(_)
        | Payload::Fork(_)
        | Payload::Exit(_)
        | Payload::Prctl(_)
        | Payload::Ptrace(_)
        | Payload::Control(_)
        | Payload::GoCall(_)
        | Payload::Authz(_)
        | Payload::GoExit(_) => None,
    }
}

/// Owns the kernel side.
pub(super) struct Reader {
    session: Session,
    tap: Option<Tap>,
    correlator: Correlator<LiveHost>,
    filter: Filter,
    events: Vec<Event>,
    /// So many of `events` are known not to be urgent.
    looked_at: usize,
    handed_over: Instant,
    flushed: Instant,
    sender: SyncSender<Vec<Event>>,
    stop: Arc<Stop>,
    clock_offset: i64,
    /// By program: runs that were skipped when last asked, and the calls told as not seen.
    skips: BTreeMap<&'static str, (u64, u64)>,
    skips_asked: Instant,
    host: Host,
    boot_id: String,
    go: Option<Watching>,
    /// See [`go::GoWatch::taken_away`].
    taken_away: Arc<AtomicU64>,
    /// Files that were executed lately and are no Go programs, by inode and device.
    not_go: Bounded<(u64, u32, u32), Instant>,
    /// Processes that run a Go program since their last exec.
    go_processes: HashSet<u32>,
}

impl Reader {
    pub(super) fn new(
        session: Session,
        config: Config,
        sender: SyncSender<Vec<Event>>,
        stop: Arc<Stop>,
        book: Arc<Book>,
        go: Option<Watching>,
    ) -> Result<Self, RecorderError> {
        let Config { correlate, filter, tap, .. } = config;
        let tap = tap.map(Tap::create).transpose()?;
        let mut correlator = Correlator::new(correlate, LiveHost::read());
        correlator.know_go(book);
        let taken_away = go.as_ref().map(|go| Arc::clone(&go.taken_away)).unwrap_or_default();
        Ok(Self {
            session,
            tap,
            correlator,
            filter,
            events: Vec::new(),
            looked_at: 0,
            handed_over: Instant::now(),
            flushed: Instant::now(),
            sender,
            stop,
            clock_offset: clock_offset(),
            skips: BTreeMap::new(),
            skips_asked: Instant::now(),
            host: identity::host(),
            boot_id: uuid(identity::boot_id()),
            go,
            taken_away,
            not_go: Bounded::new(NOT_GO),
            go_processes: HashSet::new(),
        })
    }

    /// Reads until asked to stop; then stops the programs, reads the rest, and closes the books.
    pub(super) fn run(mut self, opening: Vec<Control>) -> Result<(), RecorderError> {
        // Of this thread alone. Not allowed without CAP_SYS_NICE: then it takes its turn like everybody.
        let _ = rustix::process::setpriority_process(None, NICE);
        for control in opening {
            self.control(control);
        }
        for control in self.go.as_mut().map(|go| std::mem::take(&mut go.first)).unwrap_or_default() {
            self.control(control);
        }
        // Before the snapshot: the first sealed events must not wait for a walk through /proc.
        if !self.hand_over() {
            return Ok(());
        }
        // Inside a pid namespace /proc has other numbers than the records: what ran before is not known.
        let found = if self.session.is_nested() { Vec::new() } else { processes::all() };
        for found in found {
            self.correlator.learn(found.snapshot.process.tgid, found.host_process());
            self.control(Control::Snapshot(found.snapshot));
        }
        let mut heartbeat = Instant::now();
        while !self.stop.asked() {
            self.drain(if self.events.is_empty() { IDLE } else { GATHER })?;
            self.flush()?;
            if heartbeat.elapsed() >= HEARTBEAT {
                heartbeat = Instant::now();
                let kernel = self.session.counters()?;
                self.tell_skips(&kernel, false);
                let counters = self.books(&kernel);
                self.control(Control::Heartbeat(counters));
            } else if self.skips_asked.elapsed() >= SKIPS {
                let kernel = self.session.counters()?;
                self.tell_skips(&kernel, false);
            }
            self.watch_clock();
            self.hear_of_go();
            if self.is_due() && !self.hand_over() {
                return Ok(());
            }
        }
        let mut health = Vec::new();
        // First the probes in Go programs: their calls end with them.
        if let Some(watching) = self.go.take() {
            let Watching { messages, events, thread, .. } = watching;
            let _ = messages.send(Message::Stop);
            while !thread.is_finished() {
                // Detaching waits for grace periods; the ring must not run full meanwhile.
                self.drain(GATHER)?;
                if self.is_due() && !self.hand_over() {
                    return Ok(());
                }
            }
            for control in events.try_iter().flatten() {
                self.control(control);
            }
            health = thread.join().unwrap_or_default();
        }
        self.session.detach_producers();
        while self.drain(Duration::ZERO)? > 0 {
            if !self.hand_over() {
                return Ok(());
            }
        }
        let kernel = self.session.counters()?;
        self.correlator.finish(now_ktime(), &kernel.per_cpu, &mut self.events);
        // What the filter leaves out of the rest must be in the books before they are closed.
        self.sift();
        if let Some(tap) = &mut self.tap {
            tap.close(&kernel.per_cpu)?;
        }
        self.tell_skips(&kernel, true);
        let mut counters = self.books(&kernel);
        counters.oddities.append(&mut health);
        let reason = self.stop.reason();
        self.control(Control::Stop(Stopped { reason, counters }));
        self.hand_over();
        Ok(())
    }

    /// Turns what is on the ring into events; returns how many records there were.
    fn drain(&mut self, timeout: Duration) -> Result<usize, RecorderError> {
        let before = self.events.len();
        let Self { session, tap, correlator, events, .. } = self;
        let mut tapped = Ok(());
        let count = session.drain_some(timeout, HAND_OVER, &mut |record| {
            if let Some(tap) = tap
                && tapped.is_ok()
            {
                tapped = tap.record(record);
            }
            correlator.push(record, events);
        })?;
        tapped?;
        self.tell_go(before);
        Ok(count)
    }

    /// Tells who probes Go programs of new Go programs and of their ends, among the events from `from` on. Of what
    /// is no Go program nothing is told: waking a thread for each exec would cost more than recording it. Processes
    /// that ran before are swept by that thread itself.
    fn tell_go(&mut self, from: usize) {
        let missed = self.tell_watcher(from);
        if missed > 0 {
            // Each may be a program of which nothing will be seen.
            let (_, told) = self.skips.entry(WATCHER).or_default();
            *told = told.saturating_add(missed);
            self.control(Control::Loss(Loss {
                cpu: None,
                cause: NOT_RUN.to_owned(),
                count: missed,
                range: None,
                program: Some(WATCHER.to_owned()),
            }));
        }
    }

    /// See [`Self::tell_go`]; gives the number of messages that there was no room for.
    fn tell_watcher(&mut self, from: usize) -> u64 {
        let mut missed = 0;
        let Some(go) = &self.go else { return missed };
        for event in self.events.get(from..).unwrap_or_default() {
            let Some(process) = &event.process else { continue };
            if let Some(strike) = broken(&event.payload) {
                missed += u64::from(!go::send(&go.messages, Message::Struck(process.tgid, strike)));
                continue;
            }
            if let Payload::Exec(exec) = &event.payload
                && exec.ret == 0
            {
                let file = exec.file.map(|file| (file.inode, file.major, file.minor));
                let lately = file.and_then(|file| self.not_go.get(file));
                let look = lately.is_none_or(|at| at.elapsed() > NOT_GO_FOR);
                // Of one that is gone already nothing is known: its file is looked at again.
                let found = if look { go::runs_go(process.tgid) } else { Some(false) };
                if let (true, Some(false), Some(file)) = (look, found, file) {
                    self.not_go.insert(file, Instant::now());
                }
                if found == Some(true) {
                    self.go_processes.insert(process.tgid);
                    let taken_over = exec.caller_tid.map(|_| event.ktime.0);
                    let message = Message::Executed(process.tgid, taken_over);
                    missed += u64::from(!go::send(&go.messages, message));
                    continue;
                }
            } else if !matches!(event.payload, Payload::Exit(_)) {
                continue;
            }
            // It ended, or what it runs now is no Go program.
            if self.go_processes.remove(&process.tgid) {
                missed += u64::from(!go::send(&go.messages, Message::Ended(process.tgid)));
            }
        }
        missed
    }

    /// Takes what the thread that probes Go programs has to tell.
    fn hear_of_go(&mut self) {
        let told: Vec<Control> = self.go.iter().flat_map(|go| go.events.try_iter()).flatten().collect();
        for control in told {
            self.control(control);
        }
    }

    /// Ends what has waited long enough in the correlator and tells of loss.
    fn flush(&mut self) -> Result<(), RecorderError> {
        if self.flushed.elapsed() < FLUSH {
            return Ok(());
        }
        self.flushed = Instant::now();
        let per_cpu = self.session.cpu_states()?;
        self.correlator.flush(now_ktime(), &per_cpu, &mut self.events);
        Ok(())
    }

    /// Whether the writer should have what has gathered: enough, old enough, or urgent.
    fn is_due(&mut self) -> bool {
        let new = self.events.get(self.looked_at..).unwrap_or_default();
        let urgent = new.iter().any(Event::is_urgent);
        self.looked_at = self.events.len();
        urgent || self.events.len() >= HAND_OVER || self.handed_over.elapsed() >= GATHER
    }

    /// Tells of the calls that nobody saw, because the kernel skipped a program. A skip may yet be made good by the
    /// program's other copies, so while programs run, only those count that were there when this was asked last.
    fn tell_skips(&mut self, kernel: &kernel::Counters, last: bool) {
        self.skips_asked = Instant::now();
        for (program, now) in &kernel.skips {
            let (before, told) = self.skips.get(program).copied().unwrap_or_default();
            let skipped = if last { now.skipped } else { before };
            let not_run = kernel::Skips { skipped, ..*now }.not_run();
            self.skips.insert(program, (now.skipped, told.max(not_run)));
            if not_run > told {
                self.control(Control::Loss(Loss {
                    cpu: None,
                    cause: NOT_RUN.to_owned(),
                    count: not_run.saturating_sub(told),
                    range: None,
                    program: Some((*program).to_owned()),
                }));
            }
        }
    }

    /// The books, with the skips that were told.
    fn books(&self, kernel: &kernel::Counters) -> Counters {
        let not_run = self.skips.values().fold(0, |sum: u64, (_, told)| sum.saturating_add(*told));
        let mut books = Counters { not_run, ..self.correlator.counters() };
        let unkept: u64 = kernel.per_cpu.iter().map(|cpu| cpu.unkept).sum();
        if unkept > 0 {
            books.oddities.push(("kernel_map_full".to_owned(), unkept));
        }
        let taken_away = self.taken_away.load(Ordering::Relaxed);
        if taken_away > 0 {
            books.oddities.push((TAKEN_AWAY.to_owned(), taken_away));
        }
        for (program, skips) in &kernel.skips {
            for (what, count) in [("skipped", skips.skipped), ("relieved", skips.relieved)] {
                if count > 0 {
                    books.oddities.push((format!("{program}_{what}"), count));
                }
            }
        }
        books
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

    /// Takes out what the filter does not admit; its records stay in the books.
    fn sift(&mut self) {
        let origin = Origin {
            host: &self.host.name,
            machine: &self.host.machine,
            boot_id: &self.boot_id,
            seq: 0,
            realtime_minus_boottime_ns: self.clock_offset,
        };
        self.filter.retain(&mut self.events, &origin, &mut self.correlator);
    }

    /// Hands what the filter lets through to the writer; false when the writer is gone.
    fn hand_over(&mut self) -> bool {
        self.sift();
        self.looked_at = 0;
        self.handed_over = Instant::now();
        if self.events.is_empty() {
            return true;
        }
        self.sender.send(std::mem::take(&mut self.events)).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::GoSignal;

    #[test]
    fn only_what_the_processor_found_strikes_a_whole_program() {
        let sent = |code| {
            let signal = GoSignal { signal: 5, code, handled: true };
            broken(&Payload::GoSignal(signal)).map(|strike| (strike.what, strike.sent))
        };
        // SI_USER, SI_QUEUE, SI_TKILL; TRAP_BRKPT, ILL_ILLOPN, SI_KERNEL.
        for code in [0, -1, -6] {
            assert_eq!(sent(code), Some(("got SIGTRAP", true)), "{code}");
        }
        for code in [1, 2, 0x80] {
            assert_eq!(sent(code), Some(("got SIGTRAP", false)), "{code}");
        }
    }
}
