//! What somebody with root and a good understanding of the format can do to a log: everything but sign with keys that are
//! erased.

use goaudit_user::audit::batch::{BatchBuilder, BatchContext, BatchKind, Events, PayloadReader};
use goaudit_user::audit::chain::Chain;
use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::epoch::{self, EpochKeys};
use goaudit_user::audit::format::{
    BatchHeader, FRAME_HEAD_LEN, FrameKind, SEED_LEN, SEGMENT_HEADER_LEN, SegmentEnd, flag,
};
use goaudit_user::audit::frame::{self, FrameReader, Step};
use goaudit_user::audit::note::{Note, SignKey};
use goaudit_user::audit::segment::SegmentHeader;
use sha2::{Digest as _, Sha256};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::patch::Files;

/// A frame in parts.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) kind: FrameKind,
    pub(crate) header: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A segment in parts.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) parts: Vec<Part>,
}

pub(crate) fn name(number: u64) -> String {
    format!("seg-{number:020}.gal")
}

/// Takes the segments of a log apart.
pub(crate) fn apart(files: &Files) -> Vec<Segment> {
    files
        .iter()
        .filter(|(name, _)| name.starts_with("seg-"))
        .map(|(_, bytes)| Segment {
            header: SegmentHeader::parse(&bytes[..SEGMENT_HEADER_LEN]).unwrap(),
            parts: parts(bytes),
        })
        .collect()
}

fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut frames =
        FrameReader::new(std::io::Cursor::new(bytes), SEGMENT_HEADER_LEN as u64, bytes.len() as u64);
    let mut parts = Vec::new();
    while let Step::Frame(frame) = frames.next_frame().unwrap() {
        parts.push(Part { kind: frame.kind, header: frame.header.to_vec(), body: frame.body.to_vec() });
    }
    parts
}

/// Where the frames of a segment begin.
pub(crate) fn places(bytes: &[u8]) -> Vec<(FrameKind, usize)> {
    let mut at = SEGMENT_HEADER_LEN;
    parts(bytes)
        .iter()
        .map(|part| {
            let place = at;
            at += goaudit_user::audit::format::frame_len(part.header.len(), part.body.len());
            (part.kind, place)
        })
        .collect()
}

impl Segment {
    /// The file, with right checksums.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.encode();
        for part in &self.parts {
            frame::encode(part.kind, &part.header, &part.body, &mut bytes);
        }
        bytes
    }
}

/// Puts segments back in place of those that are there.
pub(crate) fn together(segments: &[Segment], files: &Files) -> Files {
    let mut files: Files = files.clone();
    files.retain(|name, _| !name.starts_with("seg-"));
    files.extend(segments.iter().map(|segment| (name(segment.header.segment_no), segment.bytes())));
    files
}

impl Part {
    pub(crate) fn is_events(&self) -> bool {
        self.kind == FrameKind::Batch && !self.batch().is_records()
    }

    pub(crate) fn batch(&self) -> BatchHeader {
        BatchHeader::read_from_bytes(&self.header).unwrap()
    }

    pub(crate) fn set_batch(&mut self, batch: &BatchHeader) {
        self.header = batch.as_bytes().to_vec();
    }

    /// Makes the batch anew with other events: roots, hashes and lengths are right again.
    pub(crate) fn with_events(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Self {
        let old = self.batch();
        let mut plain = Vec::new();
        PayloadReader::new().unwrap().open(&old, &self.body, &mut plain).unwrap();
        let mut events: Vec<Vec<u8>> = Events::new(&plain).map(<[u8]>::to_vec).collect();
        change(&mut events);
        let offset = old.realtime_first_ns.get().cast_signed() - old.boottime_first_ns.get().cast_signed();
        let mut builder = BatchBuilder::new().unwrap();
        builder.begin(plain.first_chunk::<SEED_LEN>().unwrap(), offset);
        for (number, event) in events.iter().enumerate() {
            let time = if number == 0 { old.boottime_first_ns } else { old.boottime_last_ns };
            builder.push(event, time.get());
        }
        let flags = old.flags.get();
        let context = BatchContext {
            boot_id: old.boot_id,
            instance: old.agent_instance.get(),
            urgent: flags & flag::URGENT != 0,
            after_restart: flags & flag::AFTER_RESTART != 0,
            lost_events: old.lost_events.get(),
            lost_cause: old.lost_cause.get(),
            kind: BatchKind::Events,
            hmac_tail: (flags & flag::HMAC != 0).then_some(old.hmac_tail),
        };
        let mut chain = Chain::new(old.log_id);
        chain.epoch = Some(old.epoch_no.get());
        let (header, body) = builder.seal(&context, &chain).unwrap();
        let header = BatchHeader {
            batch_no: old.batch_no,
            first_seq: old.first_seq,
            prev_leaf: old.prev_leaf,
            sealed_before: old.sealed_before,
            ..header
        };
        Self { kind: self.kind, header: header.as_bytes().to_vec(), body: body.to_vec() }
    }
}

/// Numbers and chains everything anew from the first batch on; `sign` makes the checkpoints' notes.
pub(crate) fn rechain(segments: &mut [Segment], mut sign: impl FnMut(&Checkpoint) -> String) -> String {
    let mut chain = Chain::new(segments[0].header.log_id);
    let mut before = [0; 32];
    let mut note = String::new();
    for segment in segments {
        segment.header.frontier = chain.frontier.clone();
        segment.header.first_seq = chain.next_seq;
        segment.header.prev_seg_hash = before;
        let (mut batches, first) = (0, chain.next_seq);
        note.clear();
        for part in &mut segment.parts {
            match part.kind {
                FrameKind::Batch => {
                    let batch = BatchHeader {
                        batch_no: U64::new(chain.frontier.size()),
                        first_seq: U64::new(chain.next_seq),
                        prev_leaf: chain.prev_leaf.unwrap(),
                        sealed_before: U64::new(chain.sealed.unwrap()),
                        log_id: chain.log_id,
                        ..part.batch()
                    };
                    part.set_batch(&batch);
                    chain.push(&batch);
                    batches += 1;
                }
                FrameKind::Checkpoint => {
                    let old = Note::parse(&part.body).unwrap().text().to_owned();
                    let origin = Checkpoint::parse_text(&old).unwrap().origin;
                    let head =
                        Checkpoint { origin, size: chain.frontier.size(), root: chain.frontier.root() };
                    note = sign(&head);
                    part.body = note.clone().into_bytes();
                    chain.seal();
                }
                FrameKind::Gap => panic!("the log of the corpus is not pruned"),
                FrameKind::SegmentEnd => {
                    let end = SegmentEnd {
                        batches: U64::new(batches),
                        events: U64::new(chain.next_seq - first),
                        next_batch_no: U64::new(chain.frontier.size()),
                        next_seq: U64::new(chain.next_seq),
                        ..SegmentEnd::read_from_bytes(&part.header).unwrap()
                    };
                    part.header = end.as_bytes().to_vec();
                    part.body = note.clone().into_bytes();
                }
            }
        }
        before = Sha256::digest(segment.bytes()).into();
    }
    note
}

/// All secret keys that lie in a log's directory.
pub(crate) struct Stolen {
    pub(crate) log: SignKey,
    pub(crate) epoch: EpochKeys,
}

impl Stolen {
    pub(crate) fn from(files: &Files) -> Self {
        let text = |name: &str| std::str::from_utf8(&files[name]).unwrap().to_owned();
        let log = SignKey::parse(text("keys/log.key").trim()).unwrap();
        let epoch = EpochKeys::parse(&text("keys/epoch.key"), log.public().name()).unwrap();
        Self { log, epoch }
    }

    /// With the log's key and the newest epoch's.
    pub(crate) fn newest(&self) -> impl Fn(&Checkpoint) -> String + '_ {
        |head| head.seal(&self.log, Some(&self.epoch.key))
    }

    /// With the log's key alone.
    pub(crate) fn log_only(&self) -> impl Fn(&Checkpoint) -> String + '_ {
        |head| head.seal(&self.log, None)
    }

    /// With the log's key and one of the attacker's that has the name of epoch 0's.
    pub(crate) fn made_up(&self) -> impl Fn(&Checkpoint) -> String + '_ {
        let key = SignKey::from_seed(&epoch::name(self.log.public().name(), 0), &[66; 32]).unwrap();
        move |head| head.seal(&self.log, Some(&key))
    }
}

/// Changes bytes of a frame and makes its checksum right.
pub(crate) fn change_frame(segment: &mut [u8], place: usize, change: impl FnOnce(&mut [u8])) {
    let header = usize::from(u16::from_le_bytes([segment[place + 6], segment[place + 7]]));
    let body = u32::from_le_bytes(segment[place + 8..place + 12].try_into().unwrap()) as usize;
    let frame = &mut segment[place..place + FRAME_HEAD_LEN + header + body];
    change(&mut frame[FRAME_HEAD_LEN..]);
    let sum = crc32c(frame[4..12].iter().chain(&frame[FRAME_HEAD_LEN..]));
    frame[12..16].copy_from_slice(&U32::new(sum).to_bytes());
}

/// Changes bytes of a segment header and makes its checksum right.
pub(crate) fn change_segment_header(segment: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(&mut segment[..SEGMENT_HEADER_LEN - 4]);
    let sum = crc32c(segment[..SEGMENT_HEADER_LEN - 4].iter());
    segment[SEGMENT_HEADER_LEN - 4..SEGMENT_HEADER_LEN].copy_from_slice(&U32::new(sum).to_bytes());
}

/// CRC-32C (RFC 3720), bit by bit: an implementation of its own.
fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(!0_u32, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
        sum
    })
}
