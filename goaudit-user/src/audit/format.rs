//! Byte layouts of format version 1: segment header, frame head, batch header, segment end.
//!
//! Everything is little-endian and without padding; `docs/audit-format.md` is the specification, this file is
//! its Rust form. Nothing here reads or writes files, and nothing here hashes: layouts and their plain limits.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// The version of the format, as it stands in the segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormatVersion(pub u16);

impl FormatVersion {
    /// The one version that this code writes and reads.
    pub const CURRENT: Self = Self(1);
}

/// Bytes of a segment header.
pub const SEGMENT_HEADER_LEN: usize = 4096;
/// Bytes of a frame's head.
pub const FRAME_HEAD_LEN: usize = 16;
/// Bytes of a batch header: the data of one leaf of the log.
pub const BATCH_HEADER_LEN: usize = 256;
/// Bytes of a segment end's header.
pub const SEGMENT_END_LEN: usize = 64;
/// Frames begin at multiples of this.
pub const FRAME_ALIGN: usize = 8;

/// Most events in a batch.
pub const MAX_BATCH_EVENTS: u32 = 4096;
/// A batch that holds an event already is closed before its payload would grow beyond this.
pub const BATCH_RAW_LIMIT: usize = 1 << 20;
/// Bytes of the largest event.
pub const MAX_EVENT_LEN: usize = 16 << 20;
/// Bytes of the seed that a payload begins with.
pub const SEED_LEN: usize = 32;
/// Bytes of the length before each event in a payload.
pub const EVENT_LEN_LEN: usize = 4;
/// Bytes of the largest payload before compression: one largest event.
pub const MAX_RAW_LEN: usize = SEED_LEN + EVENT_LEN_LEN + MAX_EVENT_LEN;
/// Bytes of the largest stored payload: incompressible data grows a little under zstd.
pub const MAX_STORED_LEN: usize = MAX_RAW_LEN + MAX_RAW_LEN / 256 + 64;
/// Bytes of the largest signed note in a frame.
pub const MAX_NOTE_LEN: usize = 64 << 10;
/// Most perfect subtrees of a tree whose size is a u64.
pub const MAX_FRONTIER: usize = 64;

/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"GOAUDSEG";
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"GAFR";
/// First bytes of a batch header.
pub const BATCH_MAGIC: [u8; 4] = *b"GAB1";
/// First bytes of a segment end's header.
pub const SEGMENT_END_MAGIC: [u8; 4] = *b"GAE1";

/// SHA-256, in `hash_alg`.
pub const HASH_SHA256: u8 = 1;
/// Ed25519, in `sig_alg`.
pub const SIG_ED25519: u8 = 1;
/// zstd, in `comp`.
pub const COMP_ZSTD: u8 = 1;
/// No encryption, in `aead`.
pub const AEAD_NONE: u8 = 0;

/// A batch of events, in `kind` of the batch header.
pub const BATCH_KIND_EVENTS: u8 = 1;
/// A batch of the log's own records ([`super::record`]), which have no event numbers. Other kinds are reserved.
pub const BATCH_KIND_RECORDS: u8 = 2;

/// Bits of a batch header's `flags`.
pub mod flag {
    /// The payload is one zstd frame. Always set in version 1.
    pub const ZSTD: u16 = 1;
    /// Reserved: the payload is encrypted.
    pub const ENCRYPTED: u16 = 1 << 1;
    /// `hmac_tail` is in use; in batches of events only.
    pub const HMAC: u16 = 1 << 2;
    /// An urgent event closed the batch.
    pub const URGENT: u16 = 1 << 3;
    /// The first batch of a writer that opened an existing log.
    pub const AFTER_RESTART: u16 = 1 << 4;
    /// It holds the record of a new epoch: the next checkpoint seals it, and all later ones are by the new key.
    pub const NEW_EPOCH: u16 = 1 << 5;
    /// With [`NEW_EPOCH`]: the key of the epoch before is lost and cannot sign.
    pub const KEY_LOST: u16 = 1 << 6;
    /// All bits that this version can check; any other bit is refused.
    pub const KNOWN: u16 = ZSTD | HMAC | URGENT | AFTER_RESTART | NEW_EPOCH | KEY_LOST;
}

/// Bits of a batch header's `lost_cause`: why `lost_events` are not in the log.
pub mod lost {
    /// The kernel's ring buffer was full.
    pub const RING: u32 = 1;
    /// A queue of the agent was full.
    pub const QUEUE: u32 = 1 << 1;
    /// The disk was full.
    pub const NO_SPACE: u32 = 1 << 2;
    /// Writing or syncing failed.
    pub const IO: u32 = 1 << 3;
    /// A rate limit asked for by the operator.
    pub const THROTTLE: u32 = 1 << 4;
    /// Records that could not be decoded.
    pub const DECODE: u32 = 1 << 5;
}

/// What a frame holds. Zero is no kind, so that zero-filled space never parses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Header: [`BatchHeader`]; body: the stored payload.
    Batch,
    /// Body: a signed note.
    Checkpoint,
    /// Header: [`SegmentEnd`]; body: the last checkpoint's signed note, or nothing.
    SegmentEnd,
    /// In a pruned segment only. Header: [`BatchHeader`] of the last batch that is gone; body: the subtree roots of those
    /// before it.
    Gap,
}

impl FrameKind {
    /// The byte in the frame head.
    pub fn code(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Checkpoint => 2,
            // 3 is reserved for anchors (cosignatures, timestamps).
            Self::SegmentEnd => 4,
            Self::Gap => 5,
        }
    }

    /// The kind of a frame head's byte; none for reserved and unknown ones.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Batch, Self::Checkpoint, Self::SegmentEnd, Self::Gap]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    /// The length that the frame's header must have.
    pub fn header_len(self) -> usize {
        match self {
            Self::Batch | Self::Gap => BATCH_HEADER_LEN,
            Self::Checkpoint => 0,
            Self::SegmentEnd => SEGMENT_END_LEN,
        }
    }

    /// The largest body.
    pub fn max_body_len(self) -> usize {
        match self {
            Self::Batch => MAX_STORED_LEN,
            Self::Checkpoint | Self::SegmentEnd => MAX_NOTE_LEN,
            Self::Gap => 2 * MAX_FRONTIER * size_of::<Hash>(),
        }
    }
}

/// Bytes of a whole frame, padding and length echo included. A multiple of [`FRAME_ALIGN`].
pub fn frame_len(header_len: usize, body_len: usize) -> usize {
    (FRAME_HEAD_LEN + header_len + body_len + 4).next_multiple_of(FRAME_ALIGN)
}

/// The fixed part of a segment header; the frontier and the wrapped key follow, then zeros, then the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SegmentHead {
    /// [`SEGMENT_MAGIC`].
    pub magic: [u8; 8],
    /// [`FormatVersion`].
    pub version: U16,
    /// [`SEGMENT_HEADER_LEN`].
    pub header_len: U16,
    /// [`HASH_SHA256`].
    pub hash_alg: u8,
    /// [`SIG_ED25519`].
    pub sig_alg: u8,
    /// [`COMP_ZSTD`].
    pub comp: u8,
    /// [`AEAD_NONE`].
    pub aead: u8,
    /// First half of SHA-256(origin, newline, verification key text).
    pub log_id: [u8; 16],
    /// Number of the segment, from 0, dense.
    pub segment_no: U64,
    /// Number of the first batch in it: batches before it.
    pub first_batch_no: U64,
    /// Number of the first event in it: events before it.
    pub first_seq: U64,
    /// Who recorded: a keyed hash of the machine id, or zero.
    pub host_id: [u8; 16],
    /// Boot during which the segment was made.
    pub boot_id: [u8; 16],
    /// When it was made, wall clock.
    pub created_realtime_ns: U64,
    /// SHA-256 of the whole file of the segment before; zero in segment 0.
    pub prev_seg_hash: Hash,
    /// Hashes in the frontier.
    pub frontier_count: U32,
    /// Reserved for the wrapped content key: 0.
    pub dek_len: U32,
}

/// The header of a batch: the data of one leaf of the log's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BatchHeader {
    /// [`BATCH_MAGIC`].
    pub magic: [u8; 4],
    /// [`HASH_SHA256`].
    pub hash_alg: u8,
    /// [`BATCH_KIND_EVENTS`] or [`BATCH_KIND_RECORDS`].
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: U16,
    /// Number of the batch: its leaf index.
    pub batch_no: U64,
    /// Number of its first event.
    pub first_seq: U64,
    /// Events (or records) in it, 1 to [`MAX_BATCH_EVENTS`].
    pub n_events: U32,
    /// Which run of a writer made it, from 0.
    pub agent_instance: U32,
    /// As in the segment header.
    pub log_id: [u8; 16],
    /// Boot during which the events happened.
    pub boot_id: [u8; 16],
    /// Wall clock of `boottime_first`: boot time plus the batch's one clock offset.
    pub realtime_first_ns: U64,
    /// Wall clock of `boottime_last`.
    pub realtime_last_ns: U64,
    /// Earliest boot time of an event in it.
    pub boottime_first_ns: U64,
    /// Latest boot time of an event in it.
    pub boottime_last_ns: U64,
    /// Events that were lost since the batch before.
    pub lost_events: U32,
    /// Why: bits of [`lost`].
    pub lost_cause: U32,
    /// Bytes of the payload before compression.
    pub raw_len: U32,
    /// Bytes of the payload as stored: the frame's body.
    pub stored_len: U32,
    /// The epoch whose key signs the checkpoint that covers this batch.
    pub epoch_no: U32,
    /// Reserved for content keys: 0.
    pub dek_id: U32,
    /// Batches that the last checkpoint before this batch covers: so that no checkpoint can be taken out.
    pub sealed_before: U64,
    /// Root of the tree over the leaves of its events.
    pub batch_root: Hash,
    /// SHA-256 of the stored payload.
    pub payload_hash: Hash,
    /// Leaf hash of the batch before; zero in batch 0.
    pub prev_leaf: Hash,
    /// Last signature of its events in the log's HMAC chain ([`super::hmac`]); zero without one.
    pub hmac_tail: Hash,
}

impl BatchHeader {
    /// Numbers of events that it takes up: records have none.
    pub fn numbered_events(&self) -> u64 {
        if self.kind == BATCH_KIND_EVENTS { u64::from(self.n_events.get()) } else { 0 }
    }

    /// Whether it holds the log's own records.
    pub fn is_records(&self) -> bool {
        self.kind == BATCH_KIND_RECORDS
    }
}

/// The header of the frame that ends a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SegmentEnd {
    /// [`SEGMENT_END_MAGIC`].
    pub magic: [u8; 4],
    /// Why it ended: a code of [`EndReason`].
    pub reason: U32,
    /// As in the segment header.
    pub segment_no: U64,
    /// Batches in the segment.
    pub batches: U64,
    /// Events in the segment.
    pub events: U64,
    /// Number of the batch to come: size of the tree.
    pub next_batch_no: U64,
    /// Number of the event to come.
    pub next_seq: U64,
    /// Zero.
    pub reserved: [u8; 16],
}

/// Why a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It was full or old enough; another one follows.
    Roll,
    /// The writer ended in order.
    Stop,
}

impl EndReason {
    /// The number in [`SegmentEnd`].
    pub fn code(self) -> u32 {
        match self {
            Self::Roll => 1,
            Self::Stop => 2,
        }
    }

    /// The reason behind a number.
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::Roll, Self::Stop].into_iter().find(|reason| reason.code() == code)
    }
}

const _: () = {
    assert!(size_of::<SegmentHead>() == 136);
    assert!(size_of::<BatchHeader>() == BATCH_HEADER_LEN);
    assert!(size_of::<SegmentEnd>() == SEGMENT_END_LEN);
    assert!(size_of::<SegmentHead>() + MAX_FRONTIER * 32 + 4 <= SEGMENT_HEADER_LEN);
};
