//! Retention: what is old enough gives its events up and keeps its place in the tree.
//!
//! A pruned segment is its header, then its frames without the batches of events. Each run of those is replaced by one
//! gap frame: the roots of the largest subtrees over it, and the header of its last batch. Records of the log and the
//! checkpoints that seal epochs stay, and the last checkpoint. So the tree, the chain of epoch keys and every proof of
//! another event hold. The log says what it gives up before it does ([`Prune`]), in its own last segment.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::batch::PayloadReader;
use super::chain::parse_batch_header;
use super::directory::{list_all, list_segments, open_regular, pruned_path, replace_file, sync_dir};
use super::error::AuditError;
use super::fault::Fault;
use super::format::{BatchHeader, FrameKind, Hash, SEGMENT_HEADER_LEN, flag};
use super::frame::{self, FrameReader, Step};
use super::merkle::{leaf_hash, subtree_roots};
use super::reader::read_header;
use super::record::{self, Genesis, Record};

/// Segments at the end that always stay whole: they name the epoch that a writer continues.
const STAY: usize = 1;

/// What the log says before it gives the events of its first segments up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// The last of these segments; the first is always segment 0.
    pub last_segment: u64,
    /// Events before this number are given up.
    pub next_seq: u64,
    /// Wall clock of the latest of them.
    pub newest_ns: u64,
}

/// How long the log must be kept, as its first record says; none: for ever.
pub fn retention(dir: &Path) -> Result<Option<Duration>, AuditError> {
    let keep = genesis(dir)?.retention_ns;
    Ok((keep > 0).then(|| Duration::from_nanos(keep)))
}

/// The log's first record, as it stands there.
pub(super) fn genesis(dir: &Path) -> Result<Box<Genesis>, AuditError> {
    let Some((_, path)) = list_all(dir)?.into_iter().next() else {
        return Err(AuditError::Empty(dir.to_owned()));
    };
    let (file, size) = open_regular(&path)?;
    let fault = |fault| AuditError::Segment { path: path.clone(), offset: SEGMENT_HEADER_LEN as u64, fault };
    let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
    let Step::Frame(frame) = frames.next_frame().map_err(AuditError::io("read", &path))? else {
        return Err(fault(Fault::damaged("the log's first record cannot be read")));
    };
    let header = parse_batch_header(frame.header, frame.body.len()).map_err(fault)?;
    let mut payloads = PayloadReader::new().map_err(AuditError::Compress)?;
    let records = record::open(&mut payloads, &header, frame.body).map_err(fault)?;
    match records.into_iter().next() {
        Some(Record::Genesis(genesis)) => Ok(genesis),
        _ => Err(fault(Fault::tampered("the log does not begin with its first record"))),
    }
}

/// What can be given up.
pub(super) struct Old {
    pub(super) prune: Prune,
    /// By number.
    pub(super) segments: Vec<(u64, PathBuf)>,
}

/// The whole segments before `current` whose events are all older than `keep`, and what the log is to say of them; none
/// if there are none.
pub(super) fn find(
    dir: &Path,
    current: u64,
    keep: Duration,
    realtime_ns: u64,
) -> Result<Option<Old>, AuditError> {
    let keep = u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX);
    let mut whole = list_segments(dir)?;
    whole.retain(|(number, _)| *number < current);
    whole.truncate(whole.len().saturating_sub(STAY));
    let mut prune = None;
    let mut old = Vec::new();
    let mut newest_ns = 0;
    for (number, path) in whole {
        let (file, size) = open_regular(&path)?;
        let Ok(Some(last)) = last_batch(&path, file, size) else { break };
        newest_ns = newest_ns.max(last.newest_ns);
        // Not older than the clock says, and not from its future.
        if newest_ns.checked_add(keep).is_none_or(|until| until > realtime_ns) {
            break;
        }
        prune = Some(Prune { last_segment: number, next_seq: last.next_seq, newest_ns });
        old.push((number, path));
    }
    Ok(prune.map(|prune| Old { prune, segments: old }))
}

struct LastBatch {
    newest_ns: u64,
    next_seq: u64,
}

/// The latest time in a segment and the number after its last event; none if it is not whole: damage is evidence and stays.
fn last_batch(path: &Path, file: File, size: u64) -> Result<Option<LastBatch>, AuditError> {
    let header = read_header(&file, size)?;
    let mut last = LastBatch { newest_ns: header.created_realtime_ns, next_seq: header.first_seq };
    let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
    loop {
        let step = frames.next_wanted(|kind, header| {
            if let (FrameKind::Batch, Ok(header)) = (kind, BatchHeader::read_from_bytes(header)) {
                last.newest_ns = last.newest_ns.max(header.realtime_last_ns.get());
                last.next_seq = header.first_seq.get() + header.numbered_events();
            }
            false
        });
        match step.map_err(AuditError::io("read", path))? {
            Step::Skipped | Step::Frame(_) => {}
            Step::End => return Ok(Some(last)),
            Step::Bad(_) => return Ok(None),
        }
    }
}

/// Replaces a segment by its pruned form. The log has said so, durably.
pub(super) fn replace(dir: &Path, number: u64, path: &Path) -> Result<(), AuditError> {
    let (file, size) = open_regular(path)?;
    let bytes = pruned_form(path, &file, size)?;
    let to = pruned_path(dir, number);
    replace_file(&to, &bytes, 0o600).map_err(AuditError::io("write", &to))?;
    sync_dir(&dir.join("pruned"))?;
    std::fs::remove_file(path).map_err(AuditError::io("remove", path))?;
    sync_dir(dir)
}

/// A run of batches of events.
#[derive(Default)]
struct Run {
    first: u64,
    leaves: Vec<Hash>,
    last: Option<BatchHeader>,
}

impl Run {
    fn push(&mut self, header: &BatchHeader) {
        if self.last.is_none() {
            self.first = header.batch_no.get();
        }
        self.leaves.push(leaf_hash(header.as_bytes()));
        self.last = Some(*header);
    }

    /// Writes its gap frame, if there is anything in it.
    fn end(&mut self, out: &mut Vec<u8>) {
        let Self { first, mut leaves, last } = std::mem::take(self);
        let Some(last) = last else { return };
        leaves.pop();
        let roots = subtree_roots(first, &leaves).concat();
        frame::encode(FrameKind::Gap, last.as_bytes(), &roots, out);
    }
}

fn pruned_form(path: &Path, file: &File, size: u64) -> Result<Vec<u8>, AuditError> {
    let io = || AuditError::io("read", path);
    let bad = |offset, fault| AuditError::Segment { path: path.to_owned(), offset, fault };
    let mut out = read_header(file, size)?.encode();
    let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
    let mut run = Run::default();
    let mut last_checkpoint: Option<Vec<u8>> = None;
    let mut turn = false;
    loop {
        let mut skipped = None;
        let step = frames.next_wanted(|kind, header| {
            let batch =
                (kind == FrameKind::Batch).then(|| BatchHeader::read_from_bytes(header).ok()).flatten();
            skipped = batch.filter(|batch| !batch.is_records());
            skipped.is_none()
        });
        match step.map_err(io())? {
            Step::End => break,
            Step::Skipped => {
                if let Some(header) = skipped {
                    run.push(&header);
                    last_checkpoint = None;
                }
            }
            Step::Frame(frame) => match frame.kind {
                FrameKind::Batch => {
                    let header = parse_batch_header(frame.header, frame.body.len())
                        .map_err(|fault| bad(frame.offset, fault))?;
                    run.end(&mut out);
                    frame::encode(FrameKind::Batch, frame.header, frame.body, &mut out);
                    turn |= header.flags.get() & flag::NEW_EPOCH != 0;
                    last_checkpoint = None;
                }
                FrameKind::Checkpoint if turn => {
                    frame::encode(FrameKind::Checkpoint, &[], frame.body, &mut out);
                    turn = false;
                }
                FrameKind::Checkpoint => last_checkpoint = Some(frame.body.to_vec()),
                FrameKind::SegmentEnd => {}
                FrameKind::Gap => return Err(bad(frame.offset, Fault::tampered("a gap in a whole segment"))),
            },
            Step::Bad(found) => return Err(bad(found.offset, Fault::damaged(found.what))),
        }
    }
    run.end(&mut out);
    if let Some(note) = last_checkpoint {
        frame::encode(FrameKind::Checkpoint, &[], &note, &mut out);
    }
    Ok(out)
}
