//! Opening a log that exists: what a writer must know of it, and what a crash left behind.
//!
//! Only the end of the log is looked at. A torn tail (nothing valid follows) is set aside under `torn/` and cut
//! off; damage in the middle (something valid follows) is evidence and is never touched. What cannot be
//! continued truthfully is refused: a writer that went on with a guessed tree would sign a lie. Nothing is ever
//! thrown away.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::chain::{Chain, parse_batch_header};
use super::checkpoint::Checkpoint;
use super::directory::{checkpoint_path, open_regular, open_regular_with, read_small, sync_dir};
use super::error::AuditError;
use super::fault::{Fault, FaultKind};
use super::format::{
    BATCH_HEADER_LEN, BatchHeader, EndReason, FRAME_HEAD_LEN, FRAME_MAGIC, FrameKind, Hash, MAX_NOTE_LEN,
    SEGMENT_HEADER_LEN, SegmentEnd,
};
use super::frame::{BadFrame, Frame, FrameReader, Step};
use super::merkle::leaf_hash;
use super::note::VerifyKey;
use super::segment::SegmentHeader;
use super::torn::{self, Torn};

/// Damage in the middle of the last segment; the file is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MiddleDamage {
    /// Which segment.
    pub segment_no: u64,
    /// First bad byte.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// A log as its next writer needs it.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The log so far.
    pub chain: Chain,
    /// Number of the segment to come.
    pub next_segment_no: u64,
    /// Hash of the last segment's file.
    pub prev_seg_hash: Hash,
    /// Whether the last writer ended in order.
    pub clean: bool,
    /// Torn tails that were set aside.
    pub torn: Option<Torn>,
    /// Damage that was found and left.
    pub damage: Option<MiddleDamage>,
    /// Batches after the last checkpoint: real to the chain, but not signed when they were written.
    pub adopted_batches: u64,
    /// Wall clock of the latest event in the last batch.
    pub last_realtime_ns: Option<u64>,
}

/// Reads the end of the log in `dir`, which has these segments (by number), and sets a torn tail aside.
pub(super) fn recover(
    dir: &Path,
    segments: &[(u64, PathBuf)],
    key: &VerifyKey,
    id: [u8; 16],
) -> Result<Recovered, AuditError> {
    let refuse = |what: String| AuditError::Unrecoverable { dir: dir.to_owned(), what };
    let Some(((number, path), before)) = segments.split_last() else {
        return Ok(Recovered {
            chain: Chain::new(id),
            next_segment_no: 0,
            prev_seg_hash: [0; 32],
            clean: true,
            torn: None,
            damage: None,
            adopted_batches: 0,
            last_realtime_ns: None,
        });
    };
    let (file, size) = open_regular_with(OpenOptions::new().read(true).write(true), path)?;
    let header = match read_header(&file, size) {
        Ok(header) => header,
        Err(Problem::Io(source)) => {
            return Err(AuditError::Io { action: "read", path: path.clone(), source });
        }
        Err(Problem::Fault(fault))
            if fault.kind == FaultKind::Damaged && size <= SEGMENT_HEADER_LEN as u64 =>
        {
            // The header is durable before anything follows it: this segment was being made.
            let torn = torn::set_aside(dir, *number, &file, 0, size)?;
            std::fs::remove_file(path).map_err(AuditError::io("remove", path))?;
            sync_dir(dir)?;
            let rest = recover(dir, before, key, id)?;
            return Ok(Recovered { torn: Some(torn), clean: false, ..rest });
        }
        Err(Problem::Fault(fault)) => return Err(turn_down(dir, *number, &fault)),
    };
    if header.log_id != id || header.segment_no != *number {
        return Err(refuse(format!(
            "segment {number} is of another log or has another number than its name"
        )));
    }
    let mut chain = if header.first_batch_no() == 0 {
        Chain::new(id)
    } else {
        Chain::from_middle(id, header.frontier.clone(), header.first_seq)
    };
    let last_realtime_ns = look_back(before, key, &mut chain)?;
    let walk = Walk { key, chain, ended: None, gap: false, guess: None, open_head: None, last_realtime_ns };
    let (walk, end) = walk.run(&file, size).map_err(|problem| match problem {
        Problem::Io(source) => AuditError::Io { action: "read", path: path.clone(), source },
        Problem::Fault(fault) => turn_down(dir, *number, &fault),
    })?;
    let (mut torn, mut damage) = (None, None);
    match end {
        // An earlier attempt may have set something aside and ended before it could record that.
        WalkEnd::Whole if walk.ended.is_none() => {
            torn = torn::find(dir, number + 1, 0).or_else(|| torn::find(dir, *number, size));
        }
        WalkEnd::Whole => torn = torn::find(dir, number + 1, 0),
        WalkEnd::Torn(offset) => {
            torn = Some(torn::set_aside(dir, *number, &file, offset, size)?);
            file.set_len(offset)
                .and_then(|()| file.sync_all())
                .map_err(AuditError::io("cut the torn tail of", path))?;
        }
        WalkEnd::Damaged(bad) => {
            damage =
                Some(MiddleDamage { segment_no: *number, offset: bad.offset, what: bad.what.to_owned() });
        }
    }
    check_latest(dir, &walk.chain, key).map_err(refuse)?;
    Ok(Recovered {
        next_segment_no: number + 1,
        prev_seg_hash: hash_file(&file).map_err(AuditError::io("read", path))?,
        clean: torn.is_none() && damage.is_none() && walk.ended == Some(EndReason::Stop),
        torn,
        damage,
        adopted_batches: walk.chain.frontier.size() - walk.chain.sealed.unwrap_or(0),
        last_realtime_ns: walk.last_realtime_ns,
        chain: walk.chain,
    })
}

/// The log cannot be continued because of what stands in a segment.
fn turn_down(dir: &Path, number: u64, fault: &Fault) -> AuditError {
    let (dir, what) = (dir.to_owned(), format!("segment {number}: {fault}"));
    match fault.kind {
        FaultKind::Unsupported => AuditError::Foreign { dir, what },
        FaultKind::Tampered | FaultKind::Damaged => AuditError::Unrecoverable { dir, what },
    }
}

enum Problem {
    Io(io::Error),
    Fault(Fault),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn read_header(file: &File, size: u64) -> Result<SegmentHeader, Problem> {
    let mut bytes = Vec::new();
    (&mut &*file).seek(SeekFrom::Start(0))?;
    file.take(size.min(SEGMENT_HEADER_LEN as u64)).read_to_end(&mut bytes)?;
    Ok(SegmentHeader::parse(&bytes)?)
}

/// The walk over the last segment.
struct Walk<'a> {
    key: &'a VerifyKey,
    chain: Chain,

    ended: Option<EndReason>,
    /// Frames are missing right before the next batch.
    gap: bool,
    /// What may be the header of the batch that is missing there: believed only if a checkpoint proves it.
    guess: Option<BatchHeader>,
    /// A checkpoint that came while the tree before it was not known.
    open_head: Option<Checkpoint>,
    /// Wall clock of the latest event in the last batch.
    last_realtime_ns: Option<u64>,
}

enum WalkEnd {
    Whole,
    Torn(u64),
    Damaged(BadFrame),
}

impl Walk<'_> {
    fn run(mut self, file: &File, size: u64) -> Result<(Self, WalkEnd), Problem> {
        let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
        let mut first_bad: Option<BadFrame> = None;
        let end = loop {
            let bad = match frames.next_frame()? {
                Step::End => break first_bad.map_or(WalkEnd::Whole, WalkEnd::Damaged),
                Step::Skipped => continue,
                Step::Frame(frame) => {
                    self.take(&frame)?;
                    continue;
                }
                Step::Bad(bad) => bad,
            };
            let next_batch = self.next_batch(file, bad.offset)?;
            // The batch that belongs here, cut short, is torn, whatever its bytes look like: an event may hold
            // bytes that look like a frame.
            let torn = bad.cut_short && next_batch.is_some() && self.chain.prev_leaf.is_some();
            if torn || !frames.find_next(bad.offset + 8)? {
                // After damage nothing of the file is touched, not even its tail.
                break first_bad.map_or(WalkEnd::Torn(bad.offset), WalkEnd::Damaged);
            }
            first_bad.get_or_insert(bad);
            self.gap = true;
            self.guess = next_batch;
        };
        if let Some(head) = self.open_head.take() {
            // The last batch is damaged, its checkpoint is not.
            if let Some(header) = self.guess.take() {
                self.chain.push(&header);
            }
            self.chain.check_head(head.size, &head.root)?;
            self.chain.seal();
        }
        Ok((self, end))
    }

    /// The header of the next batch, if that is what seems to stand at `offset`. Its frame is not good.
    fn next_batch(&self, file: &File, offset: u64) -> io::Result<Option<BatchHeader>> {
        let mut bytes = [0; FRAME_HEAD_LEN + BATCH_HEADER_LEN];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let (head, header) = bytes.split_at(FRAME_HEAD_LEN);
        let header = BatchHeader::read_from_bytes(header).ok();
        Ok(header.filter(|header| head.starts_with(&FRAME_MAGIC) && self.chain.check(header).is_ok()))
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if self.ended.is_some() {
            return Err(Fault::tampered("frames follow the segment's end"));
        }
        match frame.kind {
            FrameKind::Batch => {
                let header = parse_batch_header(frame.header, frame.body.len())?;
                if self.gap {
                    self.close_gap(&header)?;
                }
                self.chain.check(&header)?;
                self.chain.push(&header);
                self.last_realtime_ns = Some(header.realtime_last_ns.get());
            }
            FrameKind::Checkpoint => {
                let head = Checkpoint::open(frame.body, self.key).map_err(|error| {
                    Fault::tampered(format!("checkpoint at byte {}: {error}", frame.offset))
                })?;
                if self.gap && head.size > self.chain.frontier.size() {
                    self.open_head = Some(head);
                } else {
                    self.chain.check_head(head.size, &head.root)?;
                    self.chain.seal();
                }
            }
            FrameKind::Gap => return Err(Fault::tampered("a gap in a segment that was not pruned")),
            FrameKind::SegmentEnd => {
                let end = SegmentEnd::read_from_bytes(frame.header)
                    .map_err(|_| Fault::damaged("segment end of a wrong length"))?;
                self.ended = EndReason::from_code(end.reason.get());
                if self.ended.is_none() {
                    return Err(Fault::unsupported("segment end with an unknown reason"));
                }
            }
        }
        Ok(())
    }

    /// Finds the tree again behind damage, from the batch that follows it.
    fn close_gap(&mut self, header: &BatchHeader) -> Result<(), Fault> {
        if header.batch_no.get() == self.chain.frontier.size() + 1 {
            // One batch is gone, but the next one names its leaf: the tree is still known.
            self.chain.frontier.push(header.prev_leaf);
            self.chain.next_seq = header.first_seq.get();
            self.chain.prev_leaf = Some(header.prev_leaf);
            self.chain.instance = None;
            self.chain.epoch = Some(header.epoch_no.get());
            self.chain.turn = None;
        }
        if let Some(head) = self.open_head.take() {
            self.chain.check_head(head.size, &head.root)?;
        }
        // A checkpoint may be among what is gone; the batch names the last one before it.
        self.chain.sealed = Some(header.sealed_before.get());
        self.gap = false;
        self.guess = None;
        Ok(())
    }
}

/// Takes from the segments before what the last one's header does not tell: the last batch and checkpoint. Looks
/// from the newest, only as far as needed. Returns the wall clock of the latest event in the last batch.
fn look_back(
    segments: &[(u64, PathBuf)],
    key: &VerifyKey,
    chain: &mut Chain,
) -> Result<Option<u64>, AuditError> {
    let (mut batch_known, mut sealed_known) = (None, false);
    for (_, path) in segments.iter().rev() {
        let (file, size) = open_regular(path)?;
        let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
        let (mut batch, mut sealed) = (None, None);
        loop {
            let step = frames.next_wanted(|kind, header| {
                if kind == FrameKind::Batch {
                    batch = BatchHeader::read_from_bytes(header).ok();
                }
                kind == FrameKind::Checkpoint
            });
            match step.map_err(AuditError::io("read", path))? {
                Step::Frame(frame) => {
                    sealed =
                        Checkpoint::open(frame.body, key).map_or(sealed, |checkpoint| Some(checkpoint.size));
                }
                Step::Skipped => {}
                Step::End => break,
                Step::Bad(bad) => {
                    if !frames.find_next(bad.offset + 8).map_err(AuditError::io("read", path))? {
                        break;
                    }
                }
            }
        }
        if let (None, Some(last)) = (batch_known, batch) {
            batch_known = Some(last.realtime_last_ns.get());
            chain.prev_leaf = Some(leaf_hash(last.as_bytes()));
            chain.take_run(&last);
        }
        if let (false, Some(size)) = (sealed_known, sealed) {
            sealed_known = true;
            chain.sealed = Some(size);
        }
        if batch_known.is_some() && sealed_known {
            break;
        }
    }
    // The checkpoint that seals the last batch may stand in a later segment than that.
    chain.turn = chain.turn.filter(|_| chain.sealed != Some(chain.frontier.size()));
    Ok(batch_known)
}

/// Refuses a log that ends before its own latest durable checkpoint.
fn check_latest(dir: &Path, chain: &Chain, key: &VerifyKey) -> Result<(), String> {
    let note = match read_small(&checkpoint_path(dir), MAX_NOTE_LEN as u64) {
        Ok(note) => note,
        Err(AuditError::NotAFile(path)) => {
            return Err(format!("{} is a link or no file: it could hide a cut", path.display()));
        }
        Err(_) => return Ok(()),
    };
    // A torn or foreign file says nothing about the log; `verify` tells about it.
    let Ok(latest) = Checkpoint::open(&note, key) else {
        return Ok(());
    };
    let size = chain.frontier.size();
    if latest.size > size {
        return Err(format!("sealed batches are missing: {size} are there, {} were durable", latest.size));
    }
    if latest.size == size && latest.root != chain.frontier.root() {
        return Err("the batches are not those of the latest checkpoint".to_owned());
    }
    Ok(())
}

fn hash_file(file: &File) -> io::Result<Hash> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    (&mut &*file).seek(SeekFrom::Start(0))?;
    loop {
        let n = (&mut &*file).read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
