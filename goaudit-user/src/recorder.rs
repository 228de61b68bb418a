//! The agent: kernel programs, the ring reader's thread, the writer's thread.
//!
//! The reader turns records into events and never waits for anybody but the writer; the writer is the only one
//! that touches the log. Who wants to see events follows the log on disk (`replay`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use goaudit_ebpf::units::Ktime;
use thiserror::Error;

use crate::audit::{self, AuditError};
use crate::event::Event;
use crate::event::control::{Counters, Genesis, Start};
use crate::filter::Filter;
use crate::host::{clock, identity};
use crate::kernel::{self, AttachReport, KernelError};
use crate::personal::{Vault, VaultError};
use crate::{correlate, event};

mod go;
mod reader;
mod sealer;
mod shed;
mod tap_file;
#[cfg(test)]
mod tests;

use go::GoWatch;
use go::book::Book;
pub use go::{GoConfig, PolicyFile};
pub use sealer::WhenFull;

/// Batches of events that may wait for the writer. When it is full the reader waits and the ring fills: one
/// place of loss, counted by the kernel side.
const HAND_OFF: usize = 16;

/// What to record and where to.
#[derive(Debug)]
pub struct Config {
    /// Directory of the log.
    pub directory: PathBuf,
    /// Name of the log in its checkpoints; used when the log is made.
    pub origin: String,
    /// Oldest an event may get before its batch is closed.
    pub batch_age: Duration,
    /// When a segment is followed by another.
    pub roll: Roll,
    /// Room on the disk that is held back.
    pub room: audit::RoomConfig,
    /// What is done when the disk is full or low.
    pub when_full: WhenFull,
    /// Kernel side.
    pub kernel: kernel::Config,
    /// Correlation.
    pub correlate: correlate::Config,
    /// Which events are stored; the others are counted.
    pub filter: Filter,
    /// Begin only if every probe is attached.
    pub strict: bool,
    /// What to probe in Go programs; none for nothing.
    pub go: Option<GoConfig>,
    /// Also write the ring's records to this file.
    pub tap: Option<PathBuf>,
    /// Command line of the agent, for the log.
    pub command: Vec<event::Text>,
}

/// When a segment of the log is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// With so many bytes.
    pub bytes: u64,
    /// When it is so old.
    pub age: Duration,
    /// With the day (UTC).
    pub day: bool,
}

impl Default for Roll {
    fn default() -> Self {
        Self { bytes: 256 << 20, age: Duration::from_hours(1), day: true }
    }
}

/// Why recording could not begin or go on.
#[derive(Debug, Error)]
pub enum RecorderError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Probes are missing, and that was not to be accepted. No log was begun.
    #[error("attach every probe, as --strict asks: {}", tell(.0))]
    Missing(Vec<AttachReport>),
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The file for the ring's records.
    #[error("write the ring's records to {}: {source}", path.display())]
    Tap {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Personal fields.
    #[error(transparent)]
    Personal(#[from] VaultError),
    /// No thread could be started.
    #[error("start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A thread of the agent ended by a panic: a bug of goaudit.
    #[error(
        "the {0} thread panicked; what was sealed before is intact. This is a bug of goaudit, please report it"
    )]
    Panicked(&'static str),
}

/// A recording that is prepared: programs are attached, the log is open, nothing is read yet.
pub struct Recorder {
    session: kernel::Session,
    writer: audit::Writer,
    opened: audit::Opened,
    config: Config,
    book: Arc<Book>,
    /// Who probes Go programs; none when nobody does, or nobody can, and why.
    go: Result<GoWatch, Option<String>>,
}

/// A recording that runs.
pub struct Running {
    stop: Arc<Stop>,
    reader: JoinHandle<Result<(), RecorderError>>,
    sealer: JoinHandle<Result<Summary, AuditError>>,
}

/// What a recording came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Events stored, control events included.
    pub events: u64,
    /// Final counters.
    pub counters: Counters,
    /// It ended because the disk is full, as [`WhenFull::Halt`] asks.
    pub halted: bool,
}

/// How the threads are told to end.
#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    reason: std::sync::Mutex<String>,
}

impl Recorder {
    /// Attaches the programs and opens the log. Nothing is lost from here on: the ring holds what is seen.
    pub fn prepare(config: Config) -> Result<Self, RecorderError> {
        let wanted = kernel::Config { go: config.go.is_some(), ..config.kernel.clone() };
        let mut session = prompt(|| kernel::Session::start(&wanted))?;
        let missing: Vec<_> = session.reports().iter().filter(|report| !report.attached).cloned().collect();
        if config.strict && !missing.is_empty() {
            return Err(RecorderError::Missing(missing));
        }
        let mut log = audit::WriterConfig::new(&config.origin, identity::host_id(), identity::boot_id());
        log.batch_age = config.batch_age;
        Roll { bytes: log.segment_bytes, age: log.segment_age, day: log.segment_day } = config.roll;
        log.room = config.room;
        log.opener = Some(segment_opener());
        let (writer, opened) = audit::Writer::open(&config.directory, log, clock::now())?;
        let labels = config.go.as_ref().map(|go| go.labels.clone()).unwrap_or_default();
        let book = Arc::new(Book::new(labels));
        let go = match &config.go {
            Some(go) => session
                .take_go()
                .map(|programs| GoWatch::new(programs, go.clone(), Arc::clone(&book)))
                .map_err(Some),
            None => Err(None),
        };
        Ok(Self { session, writer, opened, config, book, go })
    }

    /// What is attached, and what is not and why.
    pub fn reports(&self) -> &[AttachReport] {
        self.session.reports()
    }

    /// Number of the first event of this run.
    pub fn first_seq(&self) -> u64 {
        self.opened.next_seq
    }

    /// What was found in the log that the run before left, in words.
    pub fn found(&self) -> Vec<String> {
        found(&self.opened)
    }

    /// Keys to read what is recorded with, if it is encrypted.
    pub fn content_keys(&self) -> audit::ContentKeys {
        self.writer.content_keys()
    }

    /// What was found when the log was opened, or that it is new; its verification key.
    pub fn opened(&self) -> &audit::Opened {
        &self.opened
    }

    /// Puts a process and its future descendants into the scope of the recording.
    pub fn scope_add(&mut self, tgid: u32) -> Result<(), RecorderError> {
        Ok(self.session.scope_add(tgid)?)
    }

    /// Probes a process that is about to run the Go program at `path`, before its first instruction.
    pub fn probe_before_main(&mut self, tgid: u32, path: &std::path::Path) {
        if let Ok(go) = &mut self.go {
            go.prepare(tgid, path);
        }
    }

    /// Whether this process runs inside a pid namespace: see [`kernel::Session::is_nested`].
    pub fn is_nested(&self) -> bool {
        self.session.is_nested()
    }

    /// Probes a process that runs already.
    pub fn probe_running(&mut self, tgid: u32) {
        if let Ok(go) = &mut self.go {
            go.executed(tgid, None);
        }
    }

    /// Why no Go program can be probed on this host, when that was wanted.
    pub fn no_go(&self) -> Option<&str> {
        self.go.as_ref().err()?.as_deref()
    }

    /// Starts the threads.
    pub fn run(self) -> Result<Running, RecorderError> {
        let Self { session, writer, opened, config, book, go } = self;
        let (sender, receiver): (SyncSender<Vec<Event>>, Receiver<Vec<Event>>) = sync_channel(HAND_OFF);
        let mut opening = opening(&config, &opened, &session);
        if let Err(Some(reason)) = &go {
            opening.push(event::Control::Probe(go::no_go(reason)));
        }
        let stop = Arc::new(Stop::default());
        let vault = writer.personal().map(Vault::new).transpose()?;
        let sealer =
            sealer::Sealer::new(writer, vault, &config.directory, config.when_full, Arc::clone(&stop));
        let sealer = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || sealer.run(&receiver))
            .map_err(RecorderError::Thread)?;
        let scan = !config.kernel.scoped;
        let watch = go.ok().map(|watch| watching(watch, scan)).transpose()?;
        let reader = reader::Reader::new(session, config, sender, Arc::clone(&stop), book, watch)?;
        let reader = std::thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || reader.run(opening))
            .map_err(RecorderError::Thread)?;
        Ok(Running { stop, reader, sealer })
    }
}

impl Running {
    /// Whether a thread ended by itself, that is, failed.
    pub fn failed(&self) -> bool {
        self.reader.is_finished() || self.sealer.is_finished()
    }

    /// Stops the programs, reads what is left on the ring, seals, and says what it came to.
    pub fn stop(self, reason: &str) -> Result<Summary, RecorderError> {
        self.stop.ask(reason);
        // The reader first: its end closes the channel, which ends the writer.
        let read = self.reader.join().map_err(|_| RecorderError::Panicked("ring"))?;
        let summary = self.sealer.join().map_err(|_| RecorderError::Panicked("log"))??;
        read?;
        Ok(summary)
    }
}

impl Stop {
    fn ask(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.asked.store(true, Ordering::Release);
    }

    fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    fn reason(&self) -> String {
        self.reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Priority of what must not wait on a busy host: the start, during which nothing is seen yet, and the ring's reader,
/// which must come before what it watches, or the ring runs full within 0.1 s of a storm. Both need little.
/// (auditd's own default is -4.)
const NICE: i32 = -10;

/// Does `work` with that priority, in this thread and those that it starts. Without CAP_SYS_NICE it takes its turn like
/// everybody.
fn prompt<T>(work: impl FnOnce() -> T) -> T {
    use rustix::process::{getpriority_process, setpriority_process};
    // Of the calling thread alone, not of the process.
    let before = getpriority_process(None).ok().filter(|_| setpriority_process(None, NICE).is_ok());
    let result = work();
    if let Some(before) = before {
        // Giving priority back is always allowed.
        let _ = setpriority_process(None, before);
    }
    result
}

/// Makes the first event of every segment but a run's first: what a reader needs who has only that segment.
fn segment_opener() -> audit::OpenerFn {
    let host = identity::host();
    Box::new(move |segment| {
        let event = Event::control(Ktime(segment.now.boottime_ns), event::Control::Segment(host.clone()));
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        bytes
    })
}

/// The first events of a run: identity of a new log, the start, what is attached.
fn opening(config: &Config, opened: &audit::Opened, session: &kernel::Session) -> Vec<event::Control> {
    use event::Control;
    let host = identity::host();
    let agent = env!("CARGO_PKG_VERSION").to_owned();
    let mut controls = Vec::new();
    if opened.new_log {
        controls.push(Control::Genesis(Genesis {
            origin: opened.origin.clone(),
            verification_key: opened.vkey.clone(),
            agent: agent.clone(),
            host: host.clone(),
        }));
    }
    controls.push(Control::Start(Start {
        host,
        agent,
        clean: opened.clean,
        torn: opened.torn.as_ref().map(|torn| (torn.bytes, torn.sha256.clone())),
        command: config.command.clone(),
        cpus: u32::try_from(session.counters().map_or(0, |counters| counters.per_cpu.len())).unwrap_or(0),
        object_sha256: session.object_sha256(),
        damage: opened.damage.as_ref().map(damage),
        adopted_batches: opened.adopted_batches,
        clock_behind_ns: opened.clock_behind_ns,
    }));
    controls.extend(session.reports().iter().map(|report| Control::Probe(probe(report))));
    controls
}

fn damage(damage: &audit::MiddleDamage) -> String {
    let audit::MiddleDamage { segment_no, offset, what } = damage;
    format!("segment {segment_no} at byte {offset}: {what}")
}

/// What the run before left, for whoever starts this one.
fn found(opened: &audit::Opened) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(audit::Torn { segment_no, offset, bytes, path, .. }) = &opened.torn {
        found.push(format!(
            "{bytes} torn bytes at byte {offset} of segment {segment_no} are set aside in {}",
            path.display()
        ));
    }
    if let Some(middle) = &opened.damage {
        found.push(format!("damage in {} is left as it is; `goaudit verify` tells more", damage(middle)));
    }
    if let Some(behind) = opened.clock_behind_ns {
        found.push(format!(
            "the wall clock stands {:.3} s before the log's last event: it was set back, or is wrong now",
            Duration::from_nanos(behind).as_secs_f64()
        ));
    }
    found
}

/// Starts the thread that probes Go programs.
fn watching(mut watch: GoWatch, scan: bool) -> Result<go::Watching, RecorderError> {
    let (messages, inbox) = sync_channel(go::MESSAGES);
    let (outbox, events) = channel();
    let first = watch.take_told();
    let taken_away = watch.taken_away();
    let thread = std::thread::Builder::new()
        .name("go".to_owned())
        .spawn(move || watch.run(&inbox, &outbox, scan))
        .map_err(RecorderError::Thread)?;
    Ok(go::Watching { messages, events, first, taken_away, thread })
}

/// A line of the attach report, for the log.
fn probe(report: &AttachReport) -> event::control::Probe {
    event::control::Probe {
        hook: report.hook.name().to_owned(),
        program: report.program.to_owned(),
        attach_point: report.attach_point.clone(),
        attached: report.attached,
        reason: report.reason.clone(),
        not_seen: report.not_seen.map(str::to_owned),
        entry_stepped: None,
    }
}

/// What is missing, in a line.
fn tell(missing: &[AttachReport]) -> String {
    let told: Vec<String> = missing
        .iter()
        .map(|report| {
            format!("{} ({})", report.program, report.reason.as_deref().unwrap_or("unknown reason"))
        })
        .collect();
    told.join("; ")
}
