//! Opening a log that exists: what a writer must know of it, and what a crash left behind.
//!
//! Only the end of the log is looked at. A torn tail (nothing valid follows) is set aside under `torn/` and cut
//! off; damage in the middle (something valid follows) is evidence and is never touched. What cannot be
//! continued truthfully is refused: a writer that went on with a guessed tree would sign a lie.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zerocopy::FromBytes as _;

use super::chain::{Chain, parse_batch_header};
use super::checkpoint::Checkpoint;
use super::directory::{checkpoint_path, make_dir, open_regular, open_regular_with, replace_file, sync_dir};
use super::error::AuditError;
use super::fault::{Fault, FaultKind};
use super::format::{
    BATCH_HEADER_LEN, BatchHeader, EndReason, FRAME_HEAD_LEN, FRAME_MAGIC, FrameKind, Hash,
    SEGMENT_HEADER_LEN, SegmentEnd,
};
use super::frame::{BadFrame, Frame, FrameReader, Step};
use super::note::VerifyKey;
use super::segment::SegmentHeader;

/// A torn tail that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Segment that it was cut from.
    pub segment_no: u64,
    /// Where it began.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
    /// SHA-256 of it, hex.
    pub sha256: String,
    /// Where it lies now.
    pub path: PathBuf,
}

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
            let torn = set_aside(dir, *number, &file, 0, size).map_err(AuditError::io("set aside", path))?;
            std::fs::remove_file(path).map_err(AuditError::io("remove", path))?;
            sync_dir(dir)?;
            let rest = recover(dir, before, key, id)?;
            return Ok(Recovered { torn: Some(torn), clean: false, ..rest });
        }
        Err(Problem::Fault(fault)) => return Err(refuse(format!("segment {number}: {fault}"))),
    };
    if header.log_id != id || header.segment_no != *number {
        return Err(refuse(format!(
            "segment {number} is of another log or has another number than its name"
        )));
    }
    let mut chain = Chain {
        log_id: id,
        frontier: header.frontier.clone(),
        next_seq: header.first_seq,
        prev_leaf: (header.first_batch_no() == 0).then_some([0; 32]),
        instance: None,
    };
    if let Some(last) = last_batch(before)? {
        chain.prev_leaf = Some(super::merkle::leaf_hash(zerocopy::IntoBytes::as_bytes(&last)));
        chain.instance = Some(last.agent_instance.get());
    }
    let walk = Walk { key, chain, sealed: header.first_batch_no(), ended: None, gap: false };
    let (walk, end) = walk.run(&file, path, size).map_err(|problem| match problem {
        Problem::Io(source) => AuditError::Io { action: "read", path: path.clone(), source },
        Problem::Fault(fault) => refuse(format!("segment {number}: {fault}")),
    })?;
    let (mut torn, mut damage) = (None, None);
    match end {
        WalkEnd::Whole => {}
        WalkEnd::Torn(offset) => {
            torn = Some(
                set_aside(dir, *number, &file, offset, size).map_err(AuditError::io("set aside", path))?,
            );
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
        adopted_batches: walk.chain.frontier.size() - walk.sealed,
        chain: walk.chain,
    })
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
    /// Batches covered by a checkpoint.
    sealed: u64,
    ended: Option<EndReason>,
    /// Frames are missing right before the next one.
    gap: bool,
}

enum WalkEnd {
    Whole,
    Torn(u64),
    Damaged(BadFrame),
}

impl Walk<'_> {
    fn run(mut self, file: &File, path: &Path, size: u64) -> Result<(Self, WalkEnd), Problem> {
        let _ = path;
        let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
        let mut first_bad: Option<BadFrame> = None;
        loop {
            let bad = match frames.next_frame()? {
                Step::End => break,
                Step::Skipped => continue,
                Step::Frame(frame) => {
                    self.take(&frame)?;
                    continue;
                }
                Step::Bad(bad) => bad,
            };
            let torn = (bad.cut_short && self.is_next_batch(file, bad.offset)?)
                || !frames.find_next(bad.offset + 8)?;
            if torn {
                let end = match first_bad {
                    // After damage nothing of the file is touched, not even its tail.
                    Some(damage) => WalkEnd::Damaged(damage),
                    None => WalkEnd::Torn(bad.offset),
                };
                return Ok((self, end));
            }
            first_bad.get_or_insert(bad);
            self.gap = true;
        }
        let end = first_bad.map_or(WalkEnd::Whole, WalkEnd::Damaged);
        Ok((self, end))
    }

    /// Whether the frame that does not fit into the file is the batch that belongs there. Then it is torn, whatever
    /// its bytes look like: an event may hold bytes that look like a frame.
    fn is_next_batch(&self, file: &File, offset: u64) -> io::Result<bool> {
        let mut bytes = [0; FRAME_HEAD_LEN + BATCH_HEADER_LEN];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        let (head, header) = bytes.split_at(FRAME_HEAD_LEN);
        let header = BatchHeader::read_from_bytes(header).ok();
        Ok(head.starts_with(&FRAME_MAGIC)
            && self.chain.prev_leaf.is_some()
            && header.is_some_and(|header| self.chain.check(&header).is_ok()))
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if self.ended.is_some() {
            return Err(Fault::tampered("frames follow the segment's end"));
        }
        match frame.kind {
            FrameKind::Batch => {
                let header = parse_batch_header(frame.header, frame.body.len())?;
                if self.gap && header.batch_no.get() == self.chain.frontier.size() + 1 {
                    // One batch is gone, but the next one names its leaf: the tree is still known.
                    self.chain.frontier.push(header.prev_leaf);
                    self.chain.next_seq = header.first_seq.get();
                    self.chain.prev_leaf = Some(header.prev_leaf);
                    self.chain.instance = None;
                }
                self.chain.check(&header)?;
                self.chain.push(&header);
            }
            FrameKind::Checkpoint => {
                let checkpoint = Checkpoint::open(frame.body, self.key).map_err(|error| {
                    Fault::tampered(format!("checkpoint at byte {}: {error}", frame.offset))
                })?;
                if checkpoint.size != self.chain.frontier.size()
                    || checkpoint.root != self.chain.frontier.root()
                {
                    return Err(Fault::tampered(format!(
                        "the checkpoint at byte {} (size {}) does not fit the {} batches before it",
                        frame.offset,
                        checkpoint.size,
                        self.chain.frontier.size()
                    )));
                }
                self.sealed = checkpoint.size;
            }
            FrameKind::SegmentEnd => {
                let end = SegmentEnd::read_from_bytes(frame.header)
                    .map_err(|_| Fault::damaged("segment end of a wrong length"))?;
                self.ended = EndReason::from_code(end.reason.get());
                if self.ended.is_none() {
                    return Err(Fault::unsupported("segment end with an unknown reason"));
                }
            }
        }
        self.gap = false;
        Ok(())
    }
}

/// The last batch header in these segments, looking from the newest.
fn last_batch(segments: &[(u64, PathBuf)]) -> Result<Option<BatchHeader>, AuditError> {
    for (_, path) in segments.iter().rev() {
        let (file, size) = open_regular(path)?;
        let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
        let mut last = None;
        loop {
            let step = frames.next_wanted(|kind, header| {
                if kind == FrameKind::Batch {
                    last = BatchHeader::read_from_bytes(header).ok();
                }
                false
            });
            match step.map_err(AuditError::io("read", path))? {
                Step::Frame(_) | Step::Skipped => {}
                Step::End => break,
                Step::Bad(bad) => {
                    if !frames.find_next(bad.offset + 8).map_err(AuditError::io("read", path))? {
                        break;
                    }
                }
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Refuses a log that ends before its own latest durable checkpoint.
fn check_latest(dir: &Path, chain: &Chain, key: &VerifyKey) -> Result<(), String> {
    let Ok(note) = std::fs::read(checkpoint_path(dir)) else {
        return Ok(());
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

/// Copies bytes [offset, end) of a segment to `torn/`, durably.
fn set_aside(dir: &Path, segment_no: u64, file: &File, offset: u64, end: u64) -> io::Result<Torn> {
    let folder = dir.join("torn");
    make_dir(&folder).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    (&mut &*file).seek(SeekFrom::Start(offset))?;
    file.take(end - offset).read_to_end(&mut bytes)?;
    let path = folder.join(format!("seg-{segment_no:020}-{offset:020}.torn"));
    replace_file(&path, &bytes, 0o600)?;
    sync_dir(&folder).and_then(|()| sync_dir(dir)).map_err(io::Error::other)?;
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    Ok(Torn { segment_no, offset, bytes: bytes.len() as u64, sha256: hex(&sha256), path })
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
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
