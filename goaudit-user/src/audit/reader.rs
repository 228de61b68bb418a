//! The reader: batches and their events, in order, over the segments of a log; also while it is being written.
//!
//! It checks checksums and lengths, not seals: `verify` does that. Damage is told once, as an error, and the next
//! call goes on behind it, so that a damaged log can still be read as far as it is there.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::batch::{Events, PayloadReader};
use super::chain::parse_batch_header;
use super::content::ContentKeys;
use super::directory::{list_segments, open_regular, segment_no, segment_path};
use super::error::AuditError;
use super::fault::{Fault, FaultKind};
use super::format::{BatchHeader, FrameKind, SEGMENT_HEADER_LEN, flag};
use super::frame::{FrameReader, Step};
use super::hmac::HmacPlace;
use super::segment::SegmentHeader;
use super::writer::Seq;

/// Bytes read from a segment at once.
const READ_AHEAD: usize = 256 << 10;

/// Where to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the first event that is there.
    #[default]
    Start,
    /// With the batch that holds this event.
    Seq(Seq),
    /// With the first batch whose last event is not before this wall clock time.
    Realtime(u64),
    /// At the end: only what comes after opening. Useful with `follow`.
    End,
}

/// How to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Where to begin.
    pub from: ReadFrom,
    /// Whether more may come: `Ok(None)` then means "nothing now", not "the end".
    pub follow: bool,
}

/// What a batch's header says about its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchInfo {
    /// Segment that it is in.
    pub segment_no: u64,
    /// Where its frame begins in that segment.
    pub offset: u64,
    /// Number of the batch.
    pub batch_no: u64,
    /// Number of its first event; the others follow densely.
    pub first_seq: Seq,
    /// Events in it.
    pub events: u32,
    /// Which run of the writer made it.
    pub instance: u32,
    /// Whether it is the first batch of a run that continued an existing log.
    pub after_restart: bool,
    /// Whether an urgent event closed it.
    pub urgent: bool,
    /// Boot during which the events happened.
    pub boot_id: [u8; 16],
    /// Wall clock of the earliest event.
    pub realtime_first_ns: u64,
    /// Wall clock of the latest event.
    pub realtime_last_ns: u64,
    /// Boot time of the earliest event.
    pub boottime_first_ns: u64,
    /// Boot time of the latest event.
    pub boottime_last_ns: u64,
    /// Events that were lost since the batch before, as its header says.
    pub lost_events: u32,
    /// Why: bits of [`super::format::lost`].
    pub lost_cause: u32,
    /// Where it stands in the log's HMAC chain: told by a verification that has the chain's key.
    pub hmac: Option<HmacPlace>,
}

impl BatchInfo {
    /// Of a batch header that was found there.
    pub(super) fn new(segment_no: u64, offset: u64, header: &BatchHeader) -> Self {
        let flags = header.flags.get();
        Self {
            segment_no,
            offset,
            batch_no: header.batch_no.get(),
            first_seq: header.first_seq.get(),
            events: header.n_events.get(),
            instance: header.agent_instance.get(),
            after_restart: flags & flag::AFTER_RESTART != 0,
            urgent: flags & flag::URGENT != 0,
            boot_id: header.boot_id,
            realtime_first_ns: header.realtime_first_ns.get(),
            realtime_last_ns: header.realtime_last_ns.get(),
            boottime_first_ns: header.boottime_first_ns.get(),
            boottime_last_ns: header.boottime_last_ns.get(),
            lost_events: header.lost_events.get(),
            lost_cause: header.lost_cause.get(),
            hmac: None,
        }
    }

    /// Wall clock time of a boot time in this batch.
    pub fn realtime_of(&self, boottime_ns: u64) -> u64 {
        // Of checked headers wall clock is never before boot time.
        boottime_ns.saturating_add(self.realtime_first_ns.saturating_sub(self.boottime_first_ns))
    }
}

/// A batch with its events.
#[derive(Debug, Clone)]
pub struct Batch {
    info: BatchInfo,
    plain: Vec<u8>,
}

impl Batch {
    /// What its header says.
    pub fn meta(&self) -> &BatchInfo {
        &self.info
    }

    /// The events, in order.
    pub fn events(&self) -> Events<'_> {
        Events::new(&self.plain)
    }
}

/// Bytes after the last whole frame of a log that no writer continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Segment.
    pub segment_no: u64,
    /// Where they begin.
    pub offset: u64,
}

/// Reads a log.
pub struct Reader {
    /// Directory to look for more segments in; none for a list of files.
    dir: Option<PathBuf>,
    waiting: VecDeque<(u64, PathBuf)>,
    current: Option<Current>,
    options: ReadOptions,
    payloads: PayloadReader,
    /// Opens encrypted batches.
    keys: ContentKeys,
    tail: Option<Tail>,
    /// Batches before that one were given: a writer whose disk failed writes some of them again.
    next_batch_no: u64,
}

struct Current {
    segment_no: u64,
    path: PathBuf,
    header: SegmentHeader,
    frames: FrameReader<BufReader<File>>,
    /// Where damage that was told begins: look for the next frame behind it.
    damaged_at: Option<u64>,
    /// Its content key is at hand.
    unlocked: bool,
}

/// What one look at the current segment gave.
enum Look {
    Batch(Box<Batch>),
    Nothing,
    CutShort(u64),
}

impl Reader {
    /// Opens a log's directory, or one segment file.
    pub fn open(path: &Path, options: ReadOptions) -> Result<Self, AuditError> {
        if path.is_dir() {
            let segments = list_segments(path)?;
            if segments.is_empty() && !options.follow {
                return Err(AuditError::Empty(path.to_owned()));
            }
            Self::with(Some(path.to_owned()), segments, options)
        } else {
            Self::open_files(std::slice::from_ref(&path.to_owned()), options)
        }
    }

    /// Opens these segment files, to be read in this order.
    pub fn open_files(paths: &[PathBuf], options: ReadOptions) -> Result<Self, AuditError> {
        let segments = paths.iter().map(|path| (segment_no(path).unwrap_or(0), path.clone())).collect();
        Self::with(None, segments, options)
    }

    fn with(
        dir: Option<PathBuf>,
        segments: Vec<(u64, PathBuf)>,
        options: ReadOptions,
    ) -> Result<Self, AuditError> {
        let mut reader = Self {
            dir,
            waiting: segments.into(),
            current: None,
            options,
            payloads: PayloadReader::new().map_err(AuditError::Compress)?,
            keys: ContentKeys::default(),
            tail: None,
            next_batch_no: 0,
        };
        match options.from {
            ReadFrom::Start | ReadFrom::Realtime(_) => {}
            ReadFrom::Seq(seq) => reader.skip_segments(seq),
            ReadFrom::End => reader.skip_to_end()?,
        }
        Ok(reader)
    }

    /// Reads encrypted events with these keys.
    #[must_use]
    pub fn with_keys(mut self, keys: ContentKeys) -> Self {
        self.keys = keys;
        self
    }

    /// The next batch. `Ok(None)`: the end, or, when following, nothing more for now (ask again a little later).
    ///
    /// After an error the next call goes on behind the damage.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, AuditError> {
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            // Known before the end is looked for: if another segment is there, this one gets no more frames.
            let last = self.waiting.is_empty();
            let look = self.look()?;
            if let Look::Batch(batch) = look {
                return Ok(Some(*batch));
            }
            if last {
                if self.find_more()? {
                    continue;
                }
                if let (Look::CutShort(offset), false, Some(current)) =
                    (look, self.options.follow, &self.current)
                {
                    self.tail = Some(Tail { segment_no: current.segment_no, offset });
                }
                return Ok(None);
            }
            let left = self.current.take();
            if let (Look::CutShort(offset), Some(current)) = (look, left) {
                let fault = Fault::damaged("the segment ends within a frame");
                return Err(AuditError::Segment { path: current.path, offset, fault });
            }
        }
    }

    /// After the end: bytes of an unfinished frame that were left out.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Header of the segment that the last batch came from.
    pub fn segment(&self) -> Option<&SegmentHeader> {
        self.current.as_ref().map(|current| &current.header)
    }

    /// File that the last batch came from.
    pub fn segment_path(&self) -> Option<&Path> {
        self.current.as_ref().map(|current| current.path.as_path())
    }

    /// Leaves out the segments that end before `seq`, as their headers tell.
    fn skip_segments(&mut self, seq: Seq) {
        while let Some((_, second)) = self.waiting.get(1) {
            let begins = open_regular(second).ok().and_then(|(file, size)| read_header(&file, size).ok());
            if begins.is_none_or(|header| header.first_seq > seq) {
                break;
            }
            self.waiting.pop_front();
        }
    }

    fn skip_to_end(&mut self) -> Result<(), AuditError> {
        while self.waiting.len() > 1 {
            self.waiting.pop_front();
        }
        if self.open_next()?
            && let Some(current) = &mut self.current
        {
            let frames = &mut current.frames;
            let path = &current.path;
            while matches!(
                frames.next_wanted(|_, _| false).map_err(AuditError::io("read", path))?,
                Step::Frame(_) | Step::Skipped
            ) {}
        }
        Ok(())
    }

    /// When following: looks for segments that were made meanwhile; whether there is one.
    fn find_more(&mut self) -> Result<bool, AuditError> {
        if let (true, true, Some(dir)) = (self.options.follow, self.waiting.is_empty(), &self.dir) {
            match &self.current {
                None => self.waiting = list_segments(dir)?.into(),
                Some(current) => {
                    let number = current.segment_no.saturating_add(1);
                    let path = segment_path(dir, number);
                    if path.try_exists().map_err(AuditError::io("look for", &path))? {
                        self.waiting.push_back((number, path));
                    }
                }
            }
        }
        Ok(!self.waiting.is_empty())
    }

    /// Opens the next segment; false if there is none (yet).
    fn open_next(&mut self) -> Result<bool, AuditError> {
        self.find_more()?;
        let Some((segment_no, path)) = self.waiting.pop_front() else {
            return Ok(false);
        };
        let (file, size) = open_regular(&path)?;
        let header = match read_header(&file, size) {
            Ok(header) => header,
            Err(AuditError::Segment { fault, .. })
                if self.options.follow
                    && fault.kind == FaultKind::Damaged
                    && size <= SEGMENT_HEADER_LEN as u64 =>
            {
                // It is being made.
                self.waiting.push_front((segment_no, path));
                return Ok(false);
            }
            Err(AuditError::Segment { offset, fault, .. }) => {
                return Err(AuditError::Segment { path, offset, fault });
            }
            Err(error) => return Err(error),
        };
        let source = BufReader::with_capacity(READ_AHEAD, file);
        let frames = FrameReader::new(source, SEGMENT_HEADER_LEN as u64, size);
        self.current = Some(Current {
            segment_no: header.segment_no,
            path,
            header,
            frames,
            damaged_at: None,
            unlocked: false,
        });
        Ok(true)
    }

    /// Looks for the next batch in the current segment.
    fn look(&mut self) -> Result<Look, AuditError> {
        let Some(current) = &mut self.current else {
            return Ok(Look::Nothing);
        };
        let path = &current.path;
        let io = || AuditError::io("read", path);
        let fault = |offset, fault| AuditError::Segment { path: path.clone(), offset, fault };
        if self.options.follow {
            let size = current.frames.source().get_ref().metadata().map_err(io())?.len();
            current.frames.set_end(size);
        }
        if let Some(bad) = current.damaged_at.take()
            && !current.frames.find_next(bad + 8).map_err(io())?
        {
            current.frames.skip_all();
        }
        let from = self.options.from;
        loop {
            // Frames without events are read for their checksums only: damage to them is damage, too.
            let step = current
                .frames
                .next_wanted(|kind, header| !has_events(kind, header) || is_wanted(from, header));
            match step.map_err(io())? {
                Step::Skipped => {}
                Step::End => return Ok(Look::Nothing),
                Step::Frame(frame) if !has_events(frame.kind, frame.header) => {}
                Step::Frame(frame) => {
                    let offset = frame.offset;
                    let header = parse_batch_header(frame.header, frame.body.len())
                        .map_err(|error| fault(offset, error))?;
                    if header.batch_no.get() < self.next_batch_no {
                        continue;
                    }
                    self.next_batch_no = header.batch_no.get().saturating_add(1);
                    if header.is_encrypted() && !current.unlocked {
                        self.payloads.use_key(Some(self.keys.key_of(&current.header)?));
                        current.unlocked = true;
                    }
                    let mut plain = Vec::new();
                    self.payloads
                        .open(&header, frame.body, &mut plain)
                        .map_err(|error| fault(offset, error))?;
                    let info = BatchInfo::new(current.segment_no, offset, &header);
                    return Ok(Look::Batch(Box::new(Batch { info, plain })));
                }
                Step::Bad(bad) => {
                    // A frame cut short at the live end is one that is being written; but a length that was
                    // changed looks the same, and then frames follow.
                    let hides = !bad.cut_short
                        || (!self.options.follow && {
                            let found = current.frames.find_next(bad.offset + 8).map_err(io())?;
                            current.frames.go_to(bad.offset);
                            found
                        });
                    if !hides {
                        return Ok(Look::CutShort(bad.offset));
                    }
                    current.damaged_at = Some(bad.offset);
                    return Err(fault(bad.offset, Fault::damaged(bad.what)));
                }
            }
        }
    }
}

/// Whether a frame is a batch of events, and not what the log says of itself for those who verify it.
fn has_events(kind: FrameKind, header: &[u8]) -> bool {
    let header = <BatchHeader as zerocopy::FromBytes>::read_from_bytes(header);
    kind == FrameKind::Batch && header.map_or(true, |header| !header.is_records())
}

/// Whether a batch has something that was asked for; its header is not yet checked.
fn is_wanted(from: ReadFrom, header: &[u8]) -> bool {
    let Ok(header) = <BatchHeader as zerocopy::FromBytes>::read_from_bytes(header) else {
        return true;
    };
    match from {
        ReadFrom::Start | ReadFrom::End => true,
        ReadFrom::Seq(seq) => header.first_seq.get().saturating_add(u64::from(header.n_events.get())) > seq,
        ReadFrom::Realtime(time) => header.realtime_last_ns.get() >= time,
    }
}

/// Reads and checks a segment header.
pub(super) fn read_header(file: &File, size: u64) -> Result<SegmentHeader, AuditError> {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER_LEN);
    file.take(size.min(SEGMENT_HEADER_LEN as u64))
        .read_to_end(&mut bytes)
        .map_err(AuditError::io("read", Path::new("segment header")))?;
    SegmentHeader::parse(&bytes).map_err(|fault| AuditError::Segment {
        path: PathBuf::new(),
        offset: 0,
        fault,
    })
}
