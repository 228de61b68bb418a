//! The segment header: identity, place in the log, and the tree as it was when the segment began.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::fault::Fault;
use super::format::{
    AEAD_AES_256_GCM, AEAD_NONE, COMP_ZSTD, FormatVersion, HASH_SHA256, Hash, MAX_FRONTIER, MAX_WRAPPED_LEN,
    SEGMENT_HEADER_LEN, SEGMENT_MAGIC, SIG_ED25519, SegmentHead,
};
use super::merkle::Frontier;

/// Bytes before the checksum.
const CHECKED_LEN: usize = SEGMENT_HEADER_LEN - 4;

/// A segment header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which log.
    pub log_id: [u8; 16],
    /// Number of the segment.
    pub segment_no: u64,
    /// Number of the first event in it.
    pub first_seq: u64,
    /// Which machine: a keyed hash, or zero.
    pub host_id: [u8; 16],
    /// Boot during which it was made.
    pub boot_id: [u8; 16],
    /// When it was made, wall clock.
    pub created_realtime_ns: u64,
    /// SHA-256 of the whole file of the segment before.
    pub prev_seg_hash: Hash,
    /// The tree over all batches before this segment.
    pub frontier: Frontier,
    /// The key of its events, wrapped (an age file); empty if they are not encrypted. At most [`MAX_WRAPPED_LEN`] bytes.
    pub wrapped_key: Vec<u8>,
}

impl SegmentHeader {
    /// Number of the first batch in it.
    pub fn first_batch_no(&self) -> u64 {
        self.frontier.size()
    }

    /// The stored form: [`SEGMENT_HEADER_LEN`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let head = SegmentHead {
            magic: SEGMENT_MAGIC,
            version: U16::new(FormatVersion::CURRENT.0),
            header_len: U16::new(4096),
            hash_alg: HASH_SHA256,
            sig_alg: SIG_ED25519,
            comp: COMP_ZSTD,
            aead: if self.wrapped_key.is_empty() { AEAD_NONE } else { AEAD_AES_256_GCM },
            log_id: self.log_id,
            segment_no: U64::new(self.segment_no),
            first_batch_no: U64::new(self.frontier.size()),
            first_seq: U64::new(self.first_seq),
            host_id: self.host_id,
            boot_id: self.boot_id,
            created_realtime_ns: U64::new(self.created_realtime_ns),
            prev_seg_hash: self.prev_seg_hash,
            frontier_count: U32::new(self.frontier.size().count_ones()),
            wrapped_len: U32::new(u32::try_from(self.wrapped_key.len()).unwrap_or(u32::MAX)),
        };
        let mut out = head.as_bytes().to_vec();
        out.extend(self.frontier.roots().iter().flatten());
        out.extend(&self.wrapped_key);
        out.resize(CHECKED_LEN, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the stored form. The checksum is checked first: what fails after it was written that way.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let bytes: &[u8; SEGMENT_HEADER_LEN] =
            bytes.try_into().map_err(|_| Fault::damaged("the file ends within the segment header"))?;
        let (checked, crc) = bytes.split_at(CHECKED_LEN);
        let (head, rest) = SegmentHead::read_from_prefix(checked)
            .map_err(|_| Fault::damaged("the segment header is too short"))?;
        if head.magic != SEGMENT_MAGIC {
            return Err(Fault::damaged("not a goaudit segment: the file begins with other bytes"));
        }
        if crc32c::crc32c(checked).to_le_bytes() != *crc {
            return Err(Fault::damaged("checksum of the segment header does not match"));
        }
        check_constants(&head)?;
        let count = head.frontier_count.get() as usize;
        let (roots, rest) = rest
            .split_at_checked(count.min(MAX_FRONTIER + 1) * 32)
            .ok_or_else(|| Fault::tampered("the frontier is too long"))?;
        let wrapped_len = head.wrapped_len.get() as usize;
        if wrapped_len > MAX_WRAPPED_LEN || (wrapped_len == 0) != (head.aead == AEAD_NONE) {
            return Err(Fault::tampered(
                "the length of the wrapped content key does not fit the segment header",
            ));
        }
        let (wrapped_key, zeros) = rest
            .split_at_checked(wrapped_len)
            .ok_or_else(|| Fault::tampered("the wrapped content key is too long"))?;
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(Fault::tampered("unused bytes of the segment header are not zero"));
        }
        let roots = roots.as_chunks::<32>().0.to_vec();
        let frontier = Frontier::from_parts(head.first_batch_no.get(), roots)
            .ok_or_else(|| Fault::tampered("the frontier does not fit the number of batches"))?;
        Ok(Self {
            log_id: head.log_id,
            segment_no: head.segment_no.get(),
            first_seq: head.first_seq.get(),
            host_id: head.host_id,
            boot_id: head.boot_id,
            created_realtime_ns: head.created_realtime_ns.get(),
            prev_seg_hash: head.prev_seg_hash,
            frontier,
            wrapped_key: wrapped_key.to_vec(),
        })
    }
}

fn check_constants(head: &SegmentHead) -> Result<(), Fault> {
    let version = head.version.get();
    if version != FormatVersion::CURRENT.0 {
        return Err(Fault::unsupported(format!(
            "segment of format version {version}; this goaudit reads version {}",
            FormatVersion::CURRENT.0
        )));
    }
    if usize::from(head.header_len.get()) != SEGMENT_HEADER_LEN {
        return Err(Fault::tampered("length echo of the segment header does not match"));
    }
    for (name, found, known) in [
        ("hash", head.hash_alg, HASH_SHA256),
        ("signature", head.sig_alg, SIG_ED25519),
        ("compression", head.comp, COMP_ZSTD),
        ("encryption", head.aead, if head.aead == AEAD_AES_256_GCM { AEAD_AES_256_GCM } else { AEAD_NONE }),
    ] {
        if found != known {
            return Err(Fault::unsupported(format!("{name} algorithm {found} is not known to this goaudit")));
        }
    }
    Ok(())
}
