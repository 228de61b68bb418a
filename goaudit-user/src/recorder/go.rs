//! The thread that finds Go programs and probes them: those that run already, those that are executed later, and the
//! command that is recorded, before its first instruction.
//!
//! What is probed is the file that was opened and planned, by descriptor. A process is probed in itself: others that
//! run the same file get probes of their own. Everything that is attached, is not, or is taken away again is told as
//! an event.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use crate::event::{Control, control};
use crate::golang::Costs;
use crate::golang::profile::Profile;
use crate::golang::target::{Planned, Target};
use crate::host::{clock, processes};
use crate::kernel::go::{GoProbes, GoPrograms, Link};

pub(super) mod book;
mod budget;
mod code;
mod health;
mod order;
mod panics;
mod policy;
mod programs;
mod sniff;
mod told;

use book::{Book, Names};
use budget::Budget;
use health::Healths;
use order::{Step, Turn};
pub use policy::PolicyFile;
use policy::Registry;
pub(super) use told::no_go;
use told::{no_signals, not_attached, told};

/// What to probe in Go programs.
#[derive(Debug, Clone)]
pub struct GoConfig {
    /// The functions that are looked for.
    pub profile: Profile,
    /// Also take panics of Go programs that have none of those functions.
    pub all_panics: bool,
    /// Part of one CPU that one probe may cost before it is taken away; none for no limit.
    pub budget: Option<f64>,
    /// Files that libraries decide by.
    pub policies: Vec<PolicyFile>,
    /// Key and value of labels of the environment, which go into the hash of a decision's context.
    pub labels: Vec<(String, String)>,
}

/// What the ring's reader tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// A process runs a new program. With the time of it (boot time) if another thread than the first made the call: it
    /// took the first one's place, and what hangs on that one is gone.
    Executed(u32, Option<u64>),
    /// A process ended.
    Ended(u32),
    /// Something happened to a process that says that its code may be broken.
    Struck(u32, Strike),
    /// The recording ends.
    Stop,
}

/// What happened to a process whose code may be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strike {
    /// In words.
    pub(super) what: &'static str,
    /// Another process sent it, or the process to itself: that says nothing about the program's code.
    pub(super) sent: bool,
}

/// Messages that may wait for the thread.
pub(super) const MESSAGES: usize = 16_384;

/// The running thread, as the ring's reader holds it.
pub(super) struct Watching {
    pub(super) messages: SyncSender<Message>,
    pub(super) events: Receiver<Vec<Control>>,
    /// What is to be told before anything else.
    pub(super) first: Vec<Control>,
    /// See [`GoWatch::taken_away`].
    pub(super) taken_away: Arc<AtomicU64>,
    /// Ends with what was counted of each probe, by name.
    pub(super) thread: std::thread::JoinHandle<Vec<(String, u64)>>,
}

/// A file, by what changes when its content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// The same but for the time that also changes with the file's names and permissions: what still says that it has
    /// the same content while a process runs it, because nobody can write to it meanwhile.
    const fn content(self) -> Self {
        Self { changed: (0, 0), ..self }
    }

    /// Whether it is the same file, whatever became of its name, permissions and times.
    const fn is_same_file(self, other: Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

/// A Go program that is probed wherever it runs.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    names: Arc<Names>,
    target: Target,
    /// Index of each planned function in the kernel's tables.
    indexes: Vec<u32>,
}

/// Attached sites of one probe.
struct Attached {
    turn: Turn,
    index: u32,
    link: Link,
}

/// A process that is probed.
struct Probed {
    identity: Identity,
    attached: Vec<Attached>,
    /// It runs the program: not only prepared for it.
    running: bool,
    /// When its file was looked at (boot time).
    since: u64,
}

/// The kernel side for Go programs: loaded when the first one is found.
enum Kernel {
    Waiting(Box<GoPrograms>),
    Loaded(Box<GoProbes>),
    /// It could not be loaded, which was told.
    Unavailable,
}

impl Kernel {
    /// What is loaded.
    fn probes(&mut self) -> Option<&mut GoProbes> {
        match self {
            Self::Loaded(probes) => Some(probes),
            Self::Waiting(_) | Self::Unavailable => None,
        }
    }
}

/// See the module.
pub(super) struct GoWatch {
    kernel: Kernel,
    /// It was measured what a hit costs, or tried to.
    calibrated: bool,
    book: Arc<Book>,
    config: GoConfig,
    /// Programs by content; none for one that is no Go program, or has nothing to probe.
    programs: HashMap<Identity, Option<Arc<Known>>>,
    /// Since when no process runs a program.
    unused: HashMap<Identity, Instant>,
    /// Processes of programs whose functions have no room yet.
    crowded: HashMap<Identity, HashSet<u32>>,
    processes: HashMap<u32, Probed>,
    /// Processes that have ended lately, for what is told of them afterwards.
    ended: VecDeque<(u32, Identity)>,
    /// Programs that are not probed any more, by content, and why.
    struck: HashMap<Identity, String>,
    budget: Budget,
    registry: Registry,
    /// Functions whose probes were taken away from a process that goes on.
    taken_away: Arc<AtomicU64>,
    /// Of probes that have left the kernel's tables.
    health: Healths,
    /// What is to be told before the threads run.
    told: Vec<Control>,
}

/// Programs that are remembered; beyond it those without probes are forgotten, which costs a second look at each.
const PROGRAMS_MAX: usize = 8192;
/// Processes that have ended that are remembered.
const ENDED_MAX: usize = 64;
/// How often costs are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Descriptors that are closed side by side: each waits for the kernel's grace period.
const CLOSERS: usize = 32;

impl GoWatch {
    pub(super) fn new(programs: GoPrograms, config: GoConfig, book: Arc<Book>) -> Self {
        let budget = Budget::new(config.budget);
        let registry = Registry::new(&config.policies);
        let mut watch = Self {
            kernel: Kernel::Waiting(Box::new(programs)),
            calibrated: false,
            book,
            config,
            programs: HashMap::new(),
            unused: HashMap::new(),
            crowded: HashMap::new(),
            processes: HashMap::new(),
            ended: VecDeque::new(),
            struck: HashMap::new(),
            budget,
            registry,
            taken_away: Arc::default(),
            health: Healths::default(),
            told: Vec::new(),
        };
        watch.look_at_policies();
        watch
    }

    /// Looks whether a file that a library decides by has changed.
    fn look_at_policies(&mut self) {
        let changed = self.registry.look();
        if changed.is_empty() {
            return;
        }
        self.book.set_policies(self.registry.versions());
        for mut policy in changed {
            if policy.previous.is_some() {
                policy.processes = self.deciding_by(&policy.library);
            }
            self.told.push(Control::Policy(policy));
        }
    }

    /// Processes that a library is probed in.
    fn deciding_by(&self, library: &str) -> Vec<u32> {
        let has = |probed: &Probed| {
            let known = self.programs.get(&probed.identity).and_then(Option::as_ref);
            known.is_some_and(|known| known.target.has_library(library))
        };
        let mut all: Vec<u32> =
            self.processes.iter().filter(|(_, probed)| has(probed)).map(|(tgid, _)| *tgid).collect();
        all.sort_unstable();
        all
    }

    /// The kernel side, loaded if it is not yet; none, which is told once, if it cannot be.
    fn load(&mut self) -> Option<&mut GoProbes> {
        match std::mem::replace(&mut self.kernel, Kernel::Unavailable) {
            Kernel::Waiting(programs) => match programs.load() {
                Ok(probes) => {
                    self.told.extend(probes.no_signals().map(no_signals));
                    self.kernel = Kernel::Loaded(Box::new(probes));
                }
                Err(reason) => self.told.push(Control::Probe(no_go(&reason))),
            },
            as_it_was @ (Kernel::Loaded(_) | Kernel::Unavailable) => self.kernel = as_it_was,
        }
        self.kernel.probes()
    }

    /// Measures, once, what a hit costs here. Not measurable is no reason not to probe; then there is no budget.
    fn calibrate(&mut self) {
        let Some(probes) = self.kernel.probes().filter(|_| !self.calibrated) else { return };
        let costs = probes.site_costs();
        self.calibrated = true;
        let Some(costs) = costs else { return };
        let Costs { emulated_ns, stepped_ns, record_ns, value_ns } = costs;
        self.budget.calibrated(Some(costs));
        self.told.push(Control::Calibration(control::Calibration {
            emulated_ns,
            stepped_ns,
            record_ns: Some(record_ns),
            value_ns: Some(value_ns),
        }));
    }

    /// Probes a process that has not begun to run the program at `path`.
    pub(super) fn prepare(&mut self, tgid: u32, path: &Path) {
        let since = clock::now().boottime_ns;
        if let Ok(file) = File::open(path) {
            self.look_at(tgid, &file, path, since, true);
        }
    }

    /// Takes what is to be told first.
    pub(super) fn take_told(&mut self) -> Vec<Control> {
        std::mem::take(&mut self.told)
    }

    /// How many functions lost their probes before their process ended, or the recording: each counts once for a process.
    pub(super) fn taken_away(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken_away)
    }

    /// Watches until told to stop. `scan`: look at the processes that run already. Returns what was counted of each probe.
    pub(super) fn run(
        mut self,
        messages: &Receiver<Message>,
        events: &Sender<Vec<Control>>,
        scan: bool,
    ) -> Vec<(String, u64)> {
        if scan {
            for tgid in processes::tgids() {
                self.executed(tgid, None);
                if !self.tell(events) {
                    return Vec::new();
                }
            }
        }
        self.calibrate();
        // Before anything else: a command may have ended by now.
        if !self.tell(events) {
            return Vec::new();
        }
        let mut looked = Instant::now();
        loop {
            match messages.recv_timeout(LOOK.saturating_sub(looked.elapsed())) {
                Ok(Message::Executed(tgid, taken_over)) => self.executed(tgid, taken_over),
                Ok(Message::Ended(tgid)) => self.ended(tgid),
                Ok(Message::Struck(tgid, strike)) => self.struck(tgid, strike),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.calibrate();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.keep_budget();
                self.sweep();
                self.make_room();
                self.look_at_policies();
            }
            if !self.tell(events) {
                break;
            }
        }
        let all: Vec<u32> = self.processes.keys().copied().collect();
        let links = all.into_iter().filter_map(|tgid| self.processes.remove(&tgid));
        detach(links.flat_map(|probed| probed.attached).collect());
        self.tell(events);
        for known in std::mem::take(&mut self.programs).into_values().flatten() {
            self.keep_health(&known);
        }
        self.health.named()
    }

    /// Adds up what the kernel side counted of a program's probes.
    fn keep_health(&mut self, known: &Known) {
        let Some(probes) = self.kernel.probes() else { return };
        for (planned, index) in known.target.planned.iter().zip(&known.indexes) {
            if let Ok(counted) = probes.health(*index) {
                self.health.add(&planned.id, &counted);
            }
        }
    }

    /// Hands over what is to be told; false when nobody takes it.
    fn tell(&mut self, events: &Sender<Vec<Control>>) -> bool {
        self.told.is_empty() || events.send(std::mem::take(&mut self.told)).is_ok()
    }

    /// A process runs a program; `taken_over` as in [`Message::Executed`].
    pub(super) fn executed(&mut self, tgid: u32, taken_over: Option<u64>) {
        let since = clock::now().boottime_ns;
        let link = PathBuf::from(format!("/proc/{tgid}/exe"));
        let Ok(file) = File::open(&link) else { return };
        let path = std::fs::read_link(&link).unwrap_or(link);
        let Ok(identity) = Identity::of(&file) else { return };
        if let Some(probed) = self.processes.get_mut(&tgid) {
            // Prepared before it ran, or runs it once more: probes are in the process, and stay.
            let gone = taken_over.is_some_and(|at| at > probed.since);
            if probed.identity.content() == identity.content() && !gone {
                probed.running = true;
                return;
            }
            self.ended(tgid);
        }
        self.look_at(tgid, &file, &path, since, false);
    }

    fn ended(&mut self, tgid: u32) {
        if let Some(probed) = self.processes.remove(&tgid) {
            detach(probed.attached);
            if let Some(probes) = self.kernel.probes() {
                probes.forget(tgid);
            }
            if self.ended.len() >= ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back((tgid, probed.identity));
        }
    }

    /// Takes probes away because of what happened to a process. If the processor or the runtime found its code broken, all
    /// probes of every process of that program, which is never probed again. If somebody sent it a signal, its own alone:
    /// who may signal one process must not make us blind for those of others.
    fn struck(&mut self, tgid: u32, Strike { what, sent }: Strike) {
        let running = self.processes.get(&tgid).map(|probed| probed.identity);
        if sent {
            let Some(identity) = running else { return };
            self.take_away(tgid);
            let reason = format!(
                "process {tgid} {what}, which was sent by a process (not made by its code): its own probes were taken \
                 away, other processes of this program keep theirs"
            );
            self.told.push(not_attached("all", &self.path(identity), reason, control::Probe::FROM_NOW_ON));
            return;
        }
        let ended = || self.ended.iter().rev().find(|(of, _)| *of == tgid).map(|(_, identity)| *identity);
        let Some(identity) = running.or_else(ended) else { return };
        let content = identity.content();
        if self.struck.contains_key(&content) {
            return;
        }
        let same = self.processes.iter().filter(|(_, probed)| probed.identity.content() == content);
        let all: Vec<u32> = same.map(|(tgid, _)| *tgid).collect();
        for tgid in &all {
            self.take_away(*tgid);
        }
        let reason = format!("process {tgid} of this program {what} while it was probed");
        let told = format!("{reason}: its probes were taken away from {} of its processes", all.len());
        self.told.push(not_attached("all", &self.path(identity), told, control::Probe::FROM_NOW_ON));
        self.struck.insert(content, reason);
    }

    /// Takes all probes of a process away, although it goes on.
    fn take_away(&mut self, tgid: u32) {
        if let Some(probed) = self.processes.get(&tgid) {
            let functions: HashSet<u32> = probed.attached.iter().map(|one| one.index).collect();
            self.count_taken_away(functions.len());
        }
        self.ended(tgid);
    }

    fn count_taken_away(&self, functions: usize) {
        self.taken_away.fetch_add(u64::try_from(functions).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Where a known program was found.
    fn path(&self, identity: Identity) -> PathBuf {
        let known = self.programs.get(&identity).and_then(Option::as_ref);
        known.map(|known| known.path.clone()).unwrap_or_default()
    }

    /// Ends what has ended, or runs another program, without our being told: messages do not wait for ever, and of
    /// processes that ran before nobody tells. A file that was renamed, deleted or made somebody else's still runs.
    fn sweep(&mut self) {
        let gone = |(tgid, probed): (&u32, &Probed)| {
            let file = File::open(format!("/proc/{tgid}/exe"));
            let now = file.and_then(|file| Identity::of(&file)).ok();
            let there = now.is_some_and(|now| !probed.running || now.is_same_file(probed.identity));
            (!there).then_some(*tgid)
        };
        let all: Vec<u32> = self.processes.iter().filter_map(gone).collect();
        for tgid in all {
            self.ended(tgid);
        }
    }

    /// Probes a process if its program is a Go program with something to probe. `since`: a time before its file was
    /// opened.
    fn look_at(&mut self, tgid: u32, file: &File, path: &Path, since: u64, before_main: bool) {
        let Ok(identity) = Identity::of(file) else { return };
        if let Some(waiting) = self.crowded.get_mut(&identity) {
            // That was told, and planning it again is not free.
            waiting.insert(tgid);
            return;
        }
        if !self.programs.contains_key(&identity) {
            if self.programs.len() >= PROGRAMS_MAX {
                self.programs.retain(|_, known| known.is_some());
            }
            let Some(target) = self.plan(file, path) else {
                self.programs.insert(identity, None);
                return;
            };
            let Some(known) = self.know(file, path, target) else {
                self.crowded.insert(identity, HashSet::from([tgid]));
                return;
            };
            self.programs.insert(identity, Some(Arc::new(known)));
        }
        let Some(Some(known)) = self.programs.get(&identity).cloned() else { return };
        if before_main && known.target.only_running {
            self.told.push(not_attached(
                "all",
                &known.path,
                "a static position-independent program moves itself when it starts: it is probed once it runs".to_owned(),
                "calls at its start",
            ));
            return;
        }
        if let Some(reason) = self.struck.get(&identity.content()) {
            let reason = format!("{reason}: it is not probed again in this recording");
            self.told.push(not_attached("all", &known.path, reason, "its calls"));
            return;
        }
        let attached = self.attach(tgid, &known, before_main);
        self.processes.insert(tgid, Probed { identity, attached, running: !before_main, since });
    }

    /// Attaches everything that is planned, in the order of [`order::attaching`].
    fn attach(&mut self, tgid: u32, known: &Known, before_main: bool) -> Vec<Attached> {
        let mut attached = Vec::new();
        let Some(probes) = self.kernel.probes() else { return attached };
        let planned = || known.target.planned.iter().zip(known.indexes.iter().copied());
        let memory = code::Memory::of(tgid, known.names.file());
        let check = |(planned, index): (&Planned, u32)| {
            let changed = code::check(&planned.code, known.names.file(), memory.as_ref()).err()?;
            Some((index, changed))
        };
        let mut failed: HashMap<u32, String> = planned().filter_map(check).collect();
        if let Err(error) = probes.watch_signals(tgid) {
            let what = "whether a signal says that it is broken";
            self.told.push(not_attached("go_signal", &known.path, error.to_string(), what));
        }
        for (_, index) in planned().filter(|(_, index)| self.budget.is_spent(*index)) {
            failed.insert(index, "it cost more than it may (--probe-budget) in a process before".to_owned());
        }
        for Step { turn, site, index, offsets } in order::attaching(planned()) {
            if failed.contains_key(&index) {
                continue;
            }
            match probes.attach(site, index, known.names.file().as_fd(), &offsets, Some(tgid)) {
                Ok(link) => attached.push(Attached { turn, index, link }),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                    detach(attached);
                    self.told.push(not_attached(
                        "all",
                        &known.path,
                        format!("process {tgid} ended before its probes were there"),
                        "what it did",
                    ));
                    return Vec::new();
                }
                Err(error) => {
                    failed.insert(index, error.to_string());
                }
            }
        }
        // Nothing is left half attached.
        let (kept, half): (Vec<_>, Vec<_>) =
            attached.into_iter().partition(|attached| !failed.contains_key(&attached.index));
        detach(half);
        for (planned, index) in planned() {
            let reason = failed.get(&index).cloned();
            self.told.push(Control::Probe(told(planned, known, tgid, reason, before_main)));
        }
        kept
    }

    /// Takes away what costs more than it may.
    fn keep_budget(&mut self) {
        let indexes: std::collections::BTreeSet<u32> =
            self.processes.values().flat_map(|probed| probed.attached.iter().map(|one| one.index)).collect();
        for index in indexes {
            let Some(Ok(health)) = self.kernel.probes().map(|probes| probes.health(index)) else { continue };
            let Some(part) = self.budget.overrun(index, &health) else { continue };
            let mut gone = Vec::new();
            let mut processes = 0;
            for probed in self.processes.values_mut() {
                let attached = std::mem::take(&mut probed.attached);
                let (over, kept): (Vec<_>, Vec<_>) = attached.into_iter().partition(|one| one.index == index);
                probed.attached = kept;
                processes += usize::from(!over.is_empty());
                gone.extend(over);
            }
            detach(gone);
            self.count_taken_away(processes);
            let (id, path) = self.name(index);
            self.told.push(not_attached(
                &id,
                &path,
                format!(
                    "it cost {:.1} % of a CPU and may cost {:.1} % (--probe-budget): taken away",
                    part * 100.0,
                    self.config.budget.unwrap_or_default() * 100.0
                ),
                control::Probe::FROM_NOW_ON,
            ));
        }
    }

    fn name(&self, index: u32) -> (String, PathBuf) {
        let of = |known: &Known| {
            let at = known.indexes.iter().position(|other| *other == index)?;
            Some((known.target.planned.get(at)?.id.clone(), known.path.clone()))
        };
        self.programs.values().flatten().find_map(|known| of(known)).unwrap_or_default()
    }
}

/// Detaches, in the order of [`order::detaching`]. Closing waits for a grace period of the kernel each time, so many are
/// closed at once.
fn detach(attached: Vec<Attached>) {
    for group in order::detaching(attached, |one| one.turn) {
        let mut links: Vec<Link> = group.into_iter().map(|one| one.link).collect();
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(CLOSERS));
            std::thread::scope(|scope| {
                for link in some {
                    scope.spawn(move || drop(link));
                }
            });
        }
    }
}

/// Sends without waiting: false when the watcher is so far behind that there is no room. One that has ended needs no
/// messages.
pub(super) fn send(messages: &SyncSender<Message>, message: Message) -> bool {
    !matches!(messages.try_send(message), Err(TrySendError::Full(_)))
}

/// A quick look whether a process runs what may be a Go program; none when it is gone already.
pub(super) fn runs_go(tgid: u32) -> Option<bool> {
    File::open(format!("/proc/{tgid}/exe")).ok().map(|file| sniff::is_go(&file))
}
