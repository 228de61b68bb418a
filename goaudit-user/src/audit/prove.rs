//! The prover: takes single events out of a log, with what proves them.
//!
//! Two passes over batch headers: the first finds the events' batches and the last checkpoint, the second hashes the
//! headers and opens those batches. Only bodies that are needed are read. Nothing that is read is trusted: the proof
//! is verified with the log's key before it is given out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::batch::{Events, PayloadReader};
use super::chain::parse_batch_header;
use super::checkpoint::Checkpoint;
use super::content::ContentKeys;
use super::directory::{list_all, open_regular};
use super::epoch;
use super::error::AuditError;
use super::fault::Fault;
use super::format::{BATCH_HEADER_LEN, BatchHeader, FrameKind, Hash, SEED_LEN, SEGMENT_HEADER_LEN, flag};
use super::frame::{FrameReader, Step};
use super::keys;
use super::merkle::{Paths, leaf_hash};
use super::note::{Note, NoteError, VerifyKey};
use super::proof::{BatchProof, EventProof, MAX_PROOF_LEN, Proof, ProofError};
use super::reader::read_header;
use super::salt::{SALT_LEN, event_leaf, fill_salts};
use super::writer::Seq;

/// Bytes read from a segment at once.
const READ_AHEAD: usize = 256 << 10;

/// Why there is no proof. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The log has no such event.
    #[error("find event {seq}: the log has {events} events, from 0 on")]
    NoSuchEvent {
        /// Its number.
        seq: Seq,
        /// Events in the log.
        events: u64,
    },
    /// The event is there, but nothing is signed over it yet.
    #[error(
        "prove event {seq}: no checkpoint covers it yet, only the first {sealed} events are sealed; a recorder seals \
         within a second: try again, or, if it was killed, record into the directory again: its first checkpoint covers \
         what was left"
    )]
    NotSealed {
        /// Its number.
        seq: Seq,
        /// Events that are sealed.
        sealed: u64,
    },
    /// The event's batch is damaged, or segments are missing.
    #[error("prove event {seq}: {what}; `goaudit verify` names all that is wrong")]
    Missing {
        /// Its number.
        seq: Seq,
        /// What is not there.
        what: String,
    },
    /// The event was given up.
    #[error(
        "prove event {seq}: it was pruned, as the log's retention allows; events from {first} on are there"
    )]
    Pruned {
        /// Its number.
        seq: Seq,
        /// The first event that is there.
        first: Seq,
    },
    /// Part of the tree cannot be known.
    #[error("hash the log: {0}; `goaudit verify` names all that is wrong")]
    Gap(String),
    /// The last checkpoint is not by the key that was given.
    #[error("use the last checkpoint: {0}; is --log-key that of this log?")]
    Checkpoint(NoteError),
    /// The log does not lead to its own checkpoint.
    #[error("prove from this log: {0}; it was changed or is damaged: `goaudit verify` names the place")]
    Inconsistent(ProofError),
    /// The proof would be larger than a proof may be.
    #[error("make a proof of {0} bytes: at most 256 MiB fit in one file; ask for fewer events at once")]
    TooLarge(u64),
}

/// Proves the events `wanted` of the log in `dir` with its last checkpoint. Without a key the one beside the log is
/// used: whoever checks the proof brings a key anyway.
pub fn prove(dir: &Path, wanted: &BTreeSet<Seq>, key: Option<&VerifyKey>) -> Result<Proof, ProveError> {
    prove_with(dir, wanted, key, &ContentKeys::default())
}

/// As [`prove`], of a log whose events are encrypted. The proof has them in clear.
pub fn prove_with(
    dir: &Path,
    wanted: &BTreeSet<Seq>,
    key: Option<&VerifyKey>,
    content: &ContentKeys,
) -> Result<Proof, ProveError> {
    let key = match key {
        Some(key) => key.clone(),
        None => keys::load_public(dir)?,
    };
    let segments = Segments::pin(dir)?;
    let found = find(&segments, wanted, &key)?;
    let checkpoint = Checkpoint::open(&found.note, &key).map_err(ProveError::Checkpoint)?;
    let proof = build(&segments, &found, &checkpoint, content)?;
    let len = proof.text().len() as u64;
    if len > MAX_PROOF_LEN {
        return Err(ProveError::TooLarge(len));
    }
    proof.verify(&key).map_err(ProveError::Inconsistent)?;
    Ok(proof)
}

/// The files of a log as they were at the beginning.
pub(super) struct Segments(Vec<(PathBuf, File, u64)>);

impl Segments {
    pub(super) fn pin(dir: &Path) -> Result<Self, ProveError> {
        let mut pinned = Vec::new();
        for (expected, (number, path)) in (0..).zip(list_all(dir)?) {
            if number != expected {
                let what = format!("segments {expected} to {} are missing", number - 1);
                return Err(ProveError::Gap(what));
            }
            let (file, size) = open_regular(&path)?;
            pinned.push((path, file, size));
        }
        if pinned.is_empty() {
            return Err(AuditError::Empty(dir.to_owned()).into());
        }
        Ok(Self(pinned))
    }

    /// Shows each batch and checkpoint to `see`, in order; bodies of batches only if `wanted` says so by their header.
    pub(super) fn walk(
        &self,
        wanted: impl Fn(&BatchHeader) -> bool,
        mut see: impl FnMut(&Path, Seen<'_>) -> Result<(), ProveError>,
    ) -> Result<(), ProveError> {
        for (path, file, size) in &self.0 {
            let io = || AuditError::io("read", path);
            let source = BufReader::with_capacity(READ_AHEAD, file);
            let mut frames = FrameReader::new(source, SEGMENT_HEADER_LEN as u64, *size);
            loop {
                let mut skipped = None;
                let step = frames.next_wanted(|kind, header| match kind {
                    FrameKind::Batch => {
                        skipped = BatchHeader::read_from_bytes(header).ok();
                        skipped.as_ref().is_none_or(&wanted)
                    }
                    FrameKind::Checkpoint | FrameKind::Gap => true,
                    FrameKind::SegmentEnd => false,
                });
                match step.map_err(io())? {
                    Step::End => break,
                    Step::Skipped => {
                        if let Some(header) = skipped {
                            see(path, Seen::Batch { header: &header, opened: None })?;
                        }
                    }
                    Step::Frame(frame) => match frame.kind {
                        FrameKind::Batch => {
                            let header = parse_batch_header(frame.header, frame.body.len())
                                .map_err(|fault| at(path, frame.offset, fault))?;
                            see(
                                path,
                                Seen::Batch { header: &header, opened: Some((frame.offset, frame.body)) },
                            )?;
                        }
                        FrameKind::Checkpoint => see(path, Seen::Checkpoint(frame.body))?,
                        FrameKind::SegmentEnd => {}
                        FrameKind::Gap => {
                            let last =
                                parse_gap(frame.header).map_err(|fault| at(path, frame.offset, fault))?;
                            see(path, Seen::Gap { roots: frame.body.as_chunks::<32>().0, last: &last })?;
                        }
                    },
                    // What follows damage may still be good; the checkpoint tells whether all is known.
                    Step::Bad(bad) => {
                        if !frames.find_next(bad.offset + 8).map_err(io())? {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a walk sees.
pub(super) enum Seen<'a> {
    Batch {
        header: &'a BatchHeader,
        opened: Option<(u64, &'a [u8])>,
    },
    Checkpoint(&'a [u8]),
    /// Pruned batches: the roots of their subtrees, and the last one of them.
    Gap {
        roots: &'a [Hash],
        last: &'a BatchHeader,
    },
}

/// What the first pass finds.
#[derive(Default)]
struct Found {
    /// The last checkpoint.
    note: Vec<u8>,
    /// Events before it.
    sealed: u64,
    /// Events in all.
    events: u64,
    /// Batches of the wanted events: number, and these events.
    batches: BTreeMap<u64, Vec<Seq>>,
    /// Events before this number were pruned.
    pruned: u64,
    /// Batch with the record that names the key of the checkpoint's epoch.
    certificate: u64,
}

fn find(segments: &Segments, wanted: &BTreeSet<Seq>, key: &VerifyKey) -> Result<Found, ProveError> {
    let mut found = Found::default();
    // The last records of epochs: epoch, and batch of its record. A checkpoint is by one of the last two.
    let mut epochs = VecDeque::from([(0, 0)]);
    segments.walk(
        |_| false,
        |_, seen| {
            match seen {
                Seen::Batch { header, .. } if header.is_records() => {
                    if header.flags.get() & flag::NEW_EPOCH != 0 {
                        epochs.truncate(2);
                        epochs.push_front((header.epoch_no.get().saturating_add(1), header.batch_no.get()));
                    }
                }
                Seen::Batch { header, .. } => {
                    let first = header.first_seq.get();
                    let end = first.saturating_add(u64::from(header.n_events.get()));
                    let events: Vec<Seq> = wanted.range(first..end).copied().collect();
                    if !events.is_empty() {
                        found.batches.insert(header.batch_no.get(), events);
                    }
                    found.events = end;
                }
                Seen::Gap { last, .. } => {
                    found.events = last.first_seq.get().saturating_add(u64::from(last.n_events.get()));
                    found.pruned = found.events;
                }
                Seen::Checkpoint(note) => {
                    found.note = note.to_vec();
                    found.sealed = found.events;
                }
            }
            Ok(())
        },
    )?;
    let there: BTreeSet<Seq> = found.batches.values().flatten().copied().collect();
    for &seq in wanted {
        if seq >= found.events {
            return Err(ProveError::NoSuchEvent { seq, events: found.events });
        }
        if seq >= found.sealed {
            return Err(ProveError::NotSealed { seq, sealed: found.sealed });
        }
        if seq < found.pruned {
            return Err(ProveError::Pruned { seq, first: found.pruned });
        }
        if !there.contains(&seq) {
            return Err(ProveError::Missing { seq, what: "its batch is damaged or missing".to_owned() });
        }
    }
    let note = Note::parse(&found.note).map_err(ProveError::Checkpoint)?;
    let epoch = note.lines().iter().find_map(|line| epoch::number_of(key.name(), line.name));
    let epoch = epoch.ok_or_else(|| {
        ProveError::Checkpoint(NoteError::Unsigned("the key of an epoch of this log".to_owned()))
    })?;
    let (_, batch) = epochs.iter().find(|(number, _)| *number == epoch).ok_or_else(|| {
        ProveError::Gap(format!(
            "the record of epoch {epoch}, whose key signed the last checkpoint, is missing"
        ))
    })?;
    found.certificate = *batch;
    Ok(found)
}

fn build(
    segments: &Segments,
    found: &Found,
    checkpoint: &Checkpoint,
    content: &ContentKeys,
) -> Result<Proof, ProveError> {
    let mut numbers: Vec<u64> = found.batches.keys().copied().collect();
    // A batch of events is none of records: the number is not there yet.
    let place = numbers.partition_point(|number| *number < found.certificate);
    numbers.insert(place, found.certificate);
    let mut paths = Paths::new(checkpoint.size, &numbers);
    let mut payloads = PayloadReader::new().map_err(AuditError::Compress)?;
    let mut batches = BTreeMap::new();
    let mut next = 0;
    // The segment whose content key is at hand.
    let mut unlocked: Option<PathBuf> = None;
    segments.walk(
        |header| {
            let number = header.batch_no.get();
            number == found.certificate || found.batches.contains_key(&number)
        },
        |path, seen| {
            let (header, opened) = match seen {
                Seen::Batch { header, opened } => (header, opened),
                Seen::Checkpoint(_) => return Ok(()),
                Seen::Gap { roots, last } => {
                    let number = last.batch_no.get();
                    if !paths.extend(number, roots) {
                        return Err(ProveError::Gap("the subtrees of pruned batches do not fit".to_owned()));
                    }
                    paths.push(leaf_hash(last.as_bytes()));
                    next = number + 1;
                    return Ok(());
                }
            };
            let number = header.batch_no.get();
            // After a failed sync a batch may be there twice.
            if number < next || number >= checkpoint.size {
                return Ok(());
            }
            if number == next + 1 {
                // One batch is damaged, and this one names its leaf.
                paths.push(header.prev_leaf);
                next += 1;
            }
            if number != next {
                return Err(ProveError::Gap(format!("batches {next} to {} are missing", number - 1)));
            }
            next += 1;
            let mut leaf_data = [0; BATCH_HEADER_LEN];
            leaf_data.copy_from_slice(header.as_bytes());
            paths.push(leaf_hash(&leaf_data));
            let first = [header.first_seq.get()];
            let seqs = match found.batches.get(&number) {
                None if number == found.certificate => Some(first.as_slice()),
                seqs => seqs.map(Vec::as_slice),
            };
            if let (Some((offset, body)), Some(seqs)) = (opened, seqs) {
                if header.is_encrypted() && unlocked.as_deref() != Some(path) {
                    let (file, size) = open_regular(path)?;
                    let key = content.key_of(&read_header(&file, size)?).map_err(AuditError::from)?;
                    payloads.use_key(Some(key));
                    unlocked = Some(path.to_owned());
                }
                let events =
                    open(&mut payloads, header, body, seqs).map_err(|fault| at(path, offset, fault))?;
                let batch = BatchProof { index: number, path: Vec::new(), header: leaf_data, events };
                batches.insert(number, batch);
            }
            Ok(())
        },
    )?;
    let (_, proofs) = paths.finish().ok_or_else(|| {
        ProveError::Gap(format!("only {next} of {} sealed batches are there", checkpoint.size))
    })?;
    // Of the certificate the caller asked for nothing by number.
    if let Some((_, seqs)) = found.batches.iter().find(|(number, _)| !batches.contains_key(number)) {
        let seq = seqs.first().copied().unwrap_or_default();
        return Err(ProveError::Missing { seq, what: "its batch is damaged".to_owned() });
    }
    for (batch, path) in batches.values_mut().zip(proofs) {
        batch.path = path;
    }
    let certificate = batches
        .remove(&found.certificate)
        .ok_or_else(|| ProveError::Gap("the record of the last epoch is missing".to_owned()))?;
    let note = std::str::from_utf8(&found.note)
        .map_err(|_| ProveError::Checkpoint(NoteError::Malformed("not UTF-8")))?;
    Ok(Proof { batches: batches.into_values().collect(), certificate, checkpoint: note.to_owned() })
}

/// Takes events out of a batch, with their paths in it.
fn open(
    payloads: &mut PayloadReader,
    header: &BatchHeader,
    body: &[u8],
    seqs: &[Seq],
) -> Result<Vec<EventProof>, Fault> {
    let mut plain = Vec::new();
    payloads.open(header, body, &mut plain)?;
    let seed =
        plain.first_chunk::<SEED_LEN>().ok_or_else(|| Fault::tampered("a payload without its seed"))?;
    let mut salts = Vec::new();
    fill_salts(seed, header.n_events.get() as usize, &mut salts);
    let first = header.first_seq.get();
    let indexes: Vec<u64> = seqs.iter().map(|seq| seq - first).collect();
    let mut paths = Paths::new(u64::from(header.n_events.get()), &indexes);
    let mut taken = Vec::new();
    for (index, (salt, event)) in
        (0_u32..).zip(salts.as_chunks::<SALT_LEN>().0.iter().zip(Events::new(&plain)))
    {
        paths.push(event_leaf(salt, event));
        if indexes.binary_search(&u64::from(index)).is_ok() {
            taken.push(EventProof { index, salt: *salt, event: event.to_vec(), path: Vec::new() });
        }
    }
    let (root, proofs) = paths.finish().ok_or_else(|| Fault::tampered("a batch without its events"))?;
    if root != header.batch_root {
        return Err(Fault::tampered("the events do not hash to the batch's root"));
    }
    for (event, path) in taken.iter_mut().zip(proofs) {
        event.path = path;
    }
    Ok(taken)
}

/// The last batch of a gap.
fn parse_gap(bytes: &[u8]) -> Result<BatchHeader, Fault> {
    BatchHeader::read_from_bytes(bytes).map_err(|_| Fault::damaged("a gap of a wrong length"))
}

fn at(path: &Path, offset: u64, fault: Fault) -> ProveError {
    AuditError::Segment { path: path.to_owned(), offset, fault }.into()
}
