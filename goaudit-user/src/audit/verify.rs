//! The verifier: reads every byte of a log and says what is proven and what is not.
//!
//! One thread walks frames, checksums and the chain; one hashes what is stored; others open payloads and hash events; their
//! results come back in order, so that a visitor sees the events of the log in order on the same pass. Fails closed: what is unknown is
//! not ok. Works on a live log: it looks at what was there when it began.

mod books;
mod content;
mod epochs;
mod hashing;
mod hmac;
mod personal;
mod pruned;
mod segment;
mod sm2;
mod state;
mod workers;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chain::Chain;
use super::checkpoint::Checkpoint;
use super::content::ContentKeys;
use super::directory::{
    DirLock, checkpoint_path, list_all, open_regular, pruned_path, read_small, segment_no,
};
use super::error::AuditError;
use super::fault::Fault;
use super::format::{Hash, MAX_NOTE_LEN};
use super::hmac::HmacKey;
use super::keys;
use super::note::VerifyKey;
use super::reader::BatchInfo;
use super::report::{Freshness, Report};
use super::sm2::Sm2Key;
use books::{Books, Property};
use content::Contents;
use epochs::EpochChain;
pub use state::{State, StateError};
use workers::Workers;

/// Most times that the list of segments is made anew because a recorder prunes them meanwhile.
const MAX_LOOKS: u32 = 20;

/// Sees each event: its batch, its index in the batch, its bytes.
pub type Visitor<'a> = dyn FnMut(&BatchInfo, usize, &[u8]) + 'a;

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The log's verification key, from outside the log. Without it the one in the log's directory is used, and
    /// the report says that it is not pinned.
    pub log_key: Option<VerifyKey>,
    /// A checkpoint (signed note) that the log must contain: proves that the log is at least that fresh.
    pub expect: Option<String>,
    /// The newest checkpoint that witnesses cosigned, or why there is none: proves that the log is at least that fresh.
    pub witnessed: Option<Witnessed>,
    /// The first key of the log's HMAC chain.
    pub hmac_key: Option<HmacKey>,
    /// A key that every checkpoint must have an SM2 line of.
    pub sm2_key: Option<Sm2Key>,
    /// Check bytes, chain and signatures only, without opening payloads. The visitor then sees nothing.
    pub bytes_only: bool,
    /// Opens encrypted payloads. Without them their bytes are checked, and the visitor sees nothing of them.
    pub content_keys: ContentKeys,
    /// Threads that open payloads; none: as many as there are CPUs.
    pub threads: Option<usize>,
    /// What an earlier verification of this log left: only what came since is read, and the log must contain the
    /// checkpoint that was the last one then.
    pub since: Option<State>,
    /// Told how far it is.
    pub progress: Option<Arc<Progress>>,
}

/// How far a verification is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes to read; 0 before that is known.
    pub total: AtomicU64,
    /// Bytes read.
    pub done: AtomicU64,
}

/// What witnesses say about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnessed {
    /// Enough of them cosigned this checkpoint: the signed note, and who and when in words.
    Cosigned {
        /// The note.
        note: String,
        /// By whom and when.
        told: String,
        /// All anchors that are checkpoints of the log: it must pass through each of them as far as it can be seen.
        others: Vec<String>,
    },
    /// They did not, or too long ago: why freshness is not proven.
    Lacking(String),
}

/// Verifies a log's directory, or the segment files given, which must follow each other.
///
/// An error means that nothing could be verified; everything that is wrong with the log itself is in the report.
pub fn verify(
    paths: &[PathBuf],
    options: &VerifyOptions,
    visitor: Option<&mut Visitor<'_>>,
) -> Result<Report, AuditError> {
    verify_since(paths, options, visitor).map(|(report, _)| report)
}

/// As [`verify`], with what the next verification can begin with: none unless the log is whole from its beginning and
/// nothing in it is wrong.
pub fn verify_since(
    paths: &[PathBuf],
    options: &VerifyOptions,
    visitor: Option<&mut Visitor<'_>>,
) -> Result<(Report, Option<State>), AuditError> {
    let input = Input::pin(paths)?;
    let (key, key_trouble) = find_key(&input, options);
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
        .max(1);
    std::thread::scope(|scope| {
        let mut verifier = Verifier {
            id: key.as_ref().map(keys::log_id),
            key,
            chain: None,
            epochs: EpochChain::default(),
            intact: false,
            prev_hash: None,
            watches: Vec::new(),
            books: Books::default(),
            contents: Contents::new(options.content_keys.clone()),
            opens: !options.bytes_only,
            workers: Workers::start(
                scope,
                threads,
                options.bytes_only,
                options.hmac_key.as_ref(),
                visitor.map(|visitor| visitor as _),
            )?,
            hmac_key: options.hmac_key.clone(),
            sm2: options.sm2_key.clone(),
            end: SegmentEnding::Open,
            restarts: 0,
            gaps: Vec::new(),
            walked: Vec::new(),
            resumed_at: 0,
            begun: None,
            last_head: None,
        };
        verifier.check_key(options, key_trouble);
        let resumed = verifier.begin_since(options);
        verifier.watch_latest(&input);
        let expected = verifier.watch_expected(options) | verifier.watch_witnessed(options);
        verifier.walk(&input, options.progress.as_deref())?;
        verifier.workers.finish(&mut verifier.books);
        let recipients = verifier.epochs.genesis.as_ref().map(|genesis| genesis.recipients.as_slice());
        verifier.contents.tell(recipients.unwrap_or_default(), &mut verifier.books);
        verifier.check_watches();
        verifier.check_end(&input);
        verifier.check_epochs();
        verifier.check_hmac(options);
        verifier.check_sm2(options);
        verifier.check_personal(&input);
        verifier.check_pruned();
        let state = verifier.state();
        let passes = |watch: &Watch| match watch.role {
            Role::Inside => true,
            Role::Outside => watch.seen && !watch.differs,
            Role::Older => !watch.differs,
        };
        let fresh = (expected || resumed) && verifier.watches.iter().all(passes);
        let freshness = if fresh { Freshness::Proven } else { Freshness::NotProven };
        let opened = !options.bytes_only;
        Ok((verifier.books.report(input.name, freshness, opened, verifier.restarts), state))
    })
}

/// The files of a log as they were when verification began.
struct Input {
    name: String,
    dir: Option<PathBuf>,
    /// A writer holds the directory.
    live: bool,
    /// The `checkpoint` file, read before the segments' sizes: a live log can only have grown since.
    latest: Option<Vec<u8>>,
    /// Whole directory: segments must begin with 0.
    whole: bool,
    segments: Vec<PinnedSegment>,
}

struct PinnedSegment {
    number: u64,
    path: PathBuf,
    file: File,
    size: u64,
    /// Its events are gone.
    pruned: bool,
}

impl Input {
    fn pin(paths: &[PathBuf]) -> Result<Self, AuditError> {
        let name = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        let dir = paths.first().filter(|path| path.is_dir()).cloned();
        let is_live = || dir.as_deref().is_some_and(DirLock::is_taken);
        let live_before = is_live();
        let latest =
            dir.as_deref().and_then(|dir| match read_small(&checkpoint_path(dir), MAX_NOTE_LEN as u64) {
                Ok(note) => Some(note),
                // A link or a pipe: no note, and not nothing either.
                Err(AuditError::NotAFile(_)) => Some(Vec::new()),
                Err(_) => None,
            });
        let mut looks = 1;
        let segments = loop {
            match open_all(dir.as_deref(), paths) {
                // Pruned between the list and the look at it.
                Err(AuditError::Io { source, .. })
                    if dir.is_some() && source.kind() == io::ErrorKind::NotFound && looks < MAX_LOOKS =>
                {
                    looks += 1;
                }
                opened => break opened?,
            }
        };
        if segments.is_empty() {
            return Err(AuditError::Empty(PathBuf::from(name)));
        }
        // Asked again: a writer may have begun a segment meanwhile.
        let live = live_before || is_live();
        Ok(Self { name, whole: dir.is_some(), dir, live, latest, segments })
    }
}

/// Opens the segments of a directory, or these files.
fn open_all(dir: Option<&Path>, paths: &[PathBuf]) -> Result<Vec<PinnedSegment>, AuditError> {
    let listed = match dir {
        Some(dir) => list_all(dir)?,
        None => paths.iter().map(|path| (segment_no(path).unwrap_or(0), path.clone())).collect(),
    };
    let open = |(number, path): (u64, PathBuf)| {
        let (file, size) = open_regular(&path)?;
        let pruned = dir.is_some_and(|dir| path == pruned_path(dir, number));
        Ok(PinnedSegment { number, path, file, size, pruned })
    };
    listed.into_iter().map(open).collect()
}

/// The key to verify with, and why there is none.
fn find_key(input: &Input, options: &VerifyOptions) -> (Option<VerifyKey>, Option<String>) {
    if let Some(key) = &options.log_key {
        return (Some(key.clone()), None);
    }
    let beside = input.segments.first().and_then(|segment| segment.path.parent()).map(Path::to_owned);
    match input.dir.clone().or(beside).map(|dir| keys::load_public(&dir)) {
        Some(Ok(key)) => (Some(key), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, Some("no directory to look in".to_owned())),
    }
}

/// A tree head from elsewhere that the log must pass through.
struct Watch {
    size: u64,
    root: Hash,
    note: Vec<u8>,
    name: &'static str,
    property: Property,
    role: Role,
    seen: bool,
    /// The log has another tree there, or the note is not as it was sealed there.
    differs: bool,
}

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It lies in the log's directory: a log that does not pass through it is broken.
    Inside,
    /// It comes from outside: a log that passes through it is as fresh as it is.
    Outside,
    /// It is older than another one from outside: only what contradicts it counts.
    Older,
}

impl Watch {
    fn new(head: &Checkpoint, note: Vec<u8>, name: &'static str, property: Property) -> Self {
        let (size, root) = (head.size, head.root);
        Self { size, root, note, name, property, role: Role::Inside, seen: false, differs: false }
    }

    /// Of a checkpoint that was kept elsewhere: it proves freshness.
    fn outside(head: &Checkpoint, note: &str, name: &'static str) -> Self {
        Self { role: Role::Outside, ..Self::new(head, note.as_bytes().to_vec(), name, Property::Freshness) }
    }
}

/// How the segment walked last ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SegmentEnding {
    /// Without an end.
    Open,
    /// Another one follows.
    Rolled,
    /// The writer stopped in order.
    Stopped,
}

struct Verifier<'scope, 'v> {
    key: Option<VerifyKey>,
    id: Option<[u8; 16]>,
    hmac_key: Option<HmacKey>,
    /// The SM2 key that was given.
    sm2: Option<Sm2Key>,
    chain: Option<Chain>,
    epochs: EpochChain,
    /// The chain holds from the first segment to here.
    intact: bool,
    /// Hash of the file of the segment before, if all of it was good.
    prev_hash: Option<Hash>,
    watches: Vec<Watch>,
    books: Books,
    contents: Contents,
    /// Payloads are opened.
    opens: bool,
    workers: Workers<'scope, 'v>,
    end: SegmentEnding,
    restarts: u64,
    /// Numbers of batches before and after each run of pruned ones.
    gaps: Vec<(u64, u64)>,
    /// Pruned segments.
    walked: Vec<pruned::Walked>,
    /// The segment that an earlier verification lets this one begin with; 0 for all.
    resumed_at: u64,
    /// The state at the beginning of the segment with the last checkpoint.
    begun: Option<State>,
    /// That checkpoint's note and size.
    last_head: Option<(Vec<u8>, u64)>,
}

impl Verifier<'_, '_> {
    fn check_key(&mut self, options: &VerifyOptions, trouble: Option<String>) {
        match (&self.key, trouble) {
            (None, trouble) => {
                let why = trouble.unwrap_or_default();
                self.books.lack(
                    Property::Signatures,
                    format!("no verification key: give --log-key (from the log's directory: {why})"),
                );
            }
            (Some(key), _) if options.log_key.is_some() => {
                self.books.note(Property::Origin, format!("key {} was given", key.text()));
            }
            (Some(key), _) => self.books.unproven(
                Property::Origin,
                format!(
                    "the key is NOT pinned: {} lies beside the log, whoever replaced the log replaced it, too; give \
                     --log-key",
                    key.text()
                ),
            ),
        }
    }

    /// The `checkpoint` file: the last state that was durable.
    fn watch_latest(&mut self, input: &Input) {
        let (Some(note), Some(key)) = (&input.latest, &self.key) else {
            self.books.unproven(Property::LatestCheckpoint, "no checkpoint file to compare with".to_owned());
            return;
        };
        match Checkpoint::open(note, key) {
            Ok(latest) => {
                let name = "the checkpoint file";
                self.watches.push(Watch::new(&latest, note.clone(), name, Property::LatestCheckpoint));
            }
            Err(error) => {
                let fault = Fault::damaged(format!("the checkpoint file: {error}"));
                self.books.fault(Property::LatestCheckpoint, None, None, &fault);
            }
        }
    }

    /// Goes on from an earlier verification; whether there is one that can be gone on from.
    fn begin_since(&mut self, options: &VerifyOptions) -> bool {
        let Some(state) = &options.since else { return false };
        if self.resume(state) {
            if self.resumed_at > 0 {
                let (segment, size) = (self.resumed_at, state.size());
                self.books.note(
                    Property::Structure,
                    format!(
                        "every byte from segment {segment} on is accounted for; what is before was verified before, as \
                         far as size {size}"
                    ),
                );
            }
            return true;
        }
        let fault = Fault::tampered("the state of an earlier verification is of another log, or the log is");
        self.books.fault(Property::Freshness, None, None, &fault);
        false
    }

    /// The checkpoint from outside; whether there is a good one.
    fn watch_expected(&mut self, options: &VerifyOptions) -> bool {
        let Some(note) = &options.expect else {
            if options.since.is_some() {
                // What was verified before is expected again.
                return false;
            }
            if options.witnessed.is_some() {
                return false;
            }
            self.books.unproven(
                Property::Freshness,
                "not proven: an older copy of the whole directory would look the same; give --expect a checkpoint \
                 kept elsewhere, or a --witness-policy"
                    .to_owned(),
            );
            return false;
        };
        self.watch_outside(note, "the expected checkpoint").is_some()
    }

    /// The checkpoint that witnesses cosigned; whether there is a good one.
    fn watch_witnessed(&mut self, options: &VerifyOptions) -> bool {
        let (note, told, others) = match &options.witnessed {
            None => return false,
            Some(Witnessed::Lacking(why)) => {
                self.books.lack(Property::Freshness, why.clone());
                return false;
            }
            Some(Witnessed::Cosigned { note, told, others }) => (note, told, others),
        };
        for other in others {
            let opened = self.key.as_ref().map(|key| Checkpoint::open(other.as_bytes(), key));
            if let Some(Ok(head)) = opened {
                let watch = Watch::outside(&head, other, "a cosigned checkpoint");
                self.watches.push(Watch { role: Role::Older, ..watch });
            }
        }
        let Some(size) = self.watch_outside(note, "the cosigned checkpoint") else { return false };
        let what = format!("the log contains the checkpoint (size {size}) that {told}");
        self.books.note(Property::Freshness, what);
        true
    }

    /// Watches for a checkpoint that was kept elsewhere; its size, if it is a good one.
    fn watch_outside(&mut self, note: &str, name: &'static str) -> Option<u64> {
        match self.key.as_ref().map(|key| Checkpoint::open(note.as_bytes(), key)) {
            Some(Ok(head)) => {
                self.watches.push(Watch::outside(&head, note, name));
                return Some(head.size);
            }
            Some(Err(error)) => {
                self.books.lack(Property::Freshness, format!("{name} is not one of this log: {error}"));
            }
            None => {
                self.books.lack(Property::Freshness, "without a key no checkpoint can be checked".to_owned());
            }
        }
        None
    }

    fn walk(&mut self, input: &Input, progress: Option<&Progress>) -> Result<(), AuditError> {
        let read = |segment: &&PinnedSegment| segment.number >= self.resumed_at;
        let total: u64 = input.segments.iter().filter(read).map(|segment| segment.size).sum();
        if let Some(progress) = progress {
            progress.total.store(total, Ordering::Relaxed);
        }
        let mut expected = if input.whole { Some(0) } else { None };
        let last = input.segments.len().saturating_sub(1);
        for (index, segment) in input.segments.iter().enumerate() {
            if let Some(missing) = expected.filter(|expected| *expected != segment.number) {
                let what = format!("segments {missing} to {} are missing", segment.number.saturating_sub(1));
                let fault = Fault::tampered(what);
                self.books.fault(Property::Segments, Some((missing, 0)), None, &fault);
                self.prev_hash = None;
                self.intact = false;
                self.chain = None;
                self.epochs.forget();
            }
            expected = Some(segment.number.saturating_add(1));
            if segment.number < self.resumed_at {
                continue;
            }
            let begun = self.remember(segment.number);
            let before = self.last_head.take();
            if segment.pruned {
                self.pruned(segment)?;
            } else {
                self.segment(segment, input.live && index == last, index == last)?;
            }
            if self.last_head.is_some() {
                self.begun = begun.or(self.begun.take());
            } else {
                self.last_head = before;
            }
            if let Some(progress) = progress {
                progress.done.fetch_add(segment.size, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Compares the tree, as it stands now, with the heads that it must pass through.
    fn pass_watches(&mut self, segment: u64, offset: u64) {
        let Some(chain) = &self.chain else { return };
        for watch in &mut self.watches {
            if watch.size != chain.frontier.size() || watch.seen {
                continue;
            }
            watch.seen = true;
            if watch.root != chain.frontier.root() {
                watch.differs = true;
                let fault = Fault::tampered(format!(
                    "the first {} batches are not those of {}: history was replaced",
                    watch.size, watch.name
                ));
                self.books.fault(watch.property, Some((segment, offset)), None, &fault);
            }
        }
    }

    /// Checks the epoch's line of the heads that the log passes through where `key` signs.
    fn check_watch_lines(&mut self, size: u64, key: &VerifyKey, segment: u64, offset: u64) {
        let Some(log_key) = &self.key else { return };
        for watch in self.watches.iter_mut().filter(|watch| watch.size == size) {
            if let Err(fault) = epochs::check_line(&watch.note, key, log_key) {
                watch.differs = true;
                let fault = Fault { what: format!("{}: {}", watch.name, fault.what), ..fault };
                self.books.fault(watch.property, Some((segment, offset)), None, &fault);
            }
        }
    }

    /// What the chain of epoch keys proves.
    fn check_epochs(&mut self) {
        let EpochChain { genesis, turns, unknown, .. } = &self.epochs;
        let begun = genesis.is_some();
        let (turns, unknown) = (*turns, *unknown);
        if self.key.is_none() {
            self.books
                .lack(Property::EpochKeys, "without the log's key no epoch key can be checked".to_owned());
        } else if unknown > 0 || !begun {
            self.books.lack(
                Property::EpochKeys,
                format!(
                    "the keys of the first epochs are not known, because the log is not read from its beginning or is \
                     broken: {unknown} checkpoints rest on the log's key alone"
                ),
            );
        } else {
            self.books.note(
                Property::EpochKeys,
                format!(
                    "every checkpoint is signed by the key of its epoch, in an unbroken chain of {} keys; who steals the \
                     keys later cannot make it again",
                    turns + 1
                ),
            );
        }
    }

    fn check_watches(&mut self) {
        let size = self.chain.as_ref().map_or(0, |chain| chain.frontier.size());
        for watch in &self.watches {
            if watch.seen {
                if watch.role == Role::Older {
                    continue;
                }
                let detail = format!("the log contains {} (size {})", watch.name, watch.size);
                self.books.note(watch.property, detail);
            } else if watch.size > size && self.intact {
                let fault = Fault::tampered(format!(
                    "sealed batches are missing at the end: {size} are there, {} has {}",
                    watch.name, watch.size
                ));
                self.books.fault(watch.property, None, None, &fault);
            } else if watch.role == Role::Older {
                // Perhaps in what was pruned.
            } else if self.gaps.iter().any(|(before, after)| *before < watch.size && watch.size < *after) {
                let what = format!(
                    "not provable, pruned: {} has size {}, and the batches around it were given up; keep a newer one",
                    watch.name, watch.size
                );
                self.books.lack(watch.property, what);
            } else {
                self.books.lack(watch.property, format!("{} could not be compared", watch.name));
            }
        }
    }

    fn check_end(&mut self, input: &Input) {
        match self.end {
            SegmentEnding::Stopped => {
                self.books.note(Property::CleanEnd, "the last writer ended in order".to_owned());
            }
            SegmentEnding::Rolled | SegmentEnding::Open if input.live => {
                self.books.note(Property::CleanEnd, "the log is being written".to_owned());
            }
            SegmentEnding::Rolled => self.books.lack(
                Property::CleanEnd,
                "the last segment says that another one follows: it is missing, or the writer was killed"
                    .to_owned(),
            ),
            SegmentEnding::Open => self.books.lack(
                Property::CleanEnd,
                "no orderly end: the writer was killed, or the end was cut off".to_owned(),
            ),
        }
    }
}
