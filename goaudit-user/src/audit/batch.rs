//! Batches: events become a payload, a payload becomes leaves and a stored body; and back.
//!
//! payload = seed (32 bytes), then for each event its length (u32) and its bytes. One buffer holds it all while
//! a batch grows; leaves are hashed from that buffer. Pure.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zerocopy::little_endian::{U16, U32, U64};
use zstd::bulk::{Compressor, Decompressor};

use super::chain::{Chain, Turn};
use super::content::ContentKey;
use super::fault::Fault;
use super::format::{
    BATCH_KIND_EVENTS, BATCH_KIND_RECORDS, BATCH_MAGIC, BATCH_RAW_LIMIT, BatchHeader, EVENT_LEN_LEN,
    HASH_SHA256, Hash, MAX_BATCH_EVENTS, SEED_LEN, TAG_LEN, flag,
};
use super::merkle::root_in_place;
use super::salt::{event_leaves, fill_salts};

/// zstd level: 1 is as dense as 3 on event data and the fastest that is.
const ZSTD_LEVEL: i32 = 1;

/// A batch that grows.
pub struct BatchBuilder {
    plain: Vec<u8>,
    events: u32,
    first_boottime: u64,
    last_boottime: u64,
    /// Wall clock minus boot time, one for the whole batch.
    offset_ns: i64,
    salts: Vec<u8>,
    leaves: Vec<Hash>,
    compressor: Compressor<'static>,
    stored: Vec<u8>,
    content: Option<Encryption>,
}

/// How payloads are encrypted.
struct Encryption {
    key: Arc<ContentKey>,
    /// The batch that was encrypted last, and which attempt that was: no nonce is used twice with a key.
    last: Option<(u64, u32)>,
}

impl Encryption {
    /// Which attempt the next one is at this batch.
    fn attempt(&mut self, batch_no: u64) -> std::io::Result<u32> {
        let attempt = match self.last {
            Some((last, attempt)) if last == batch_no => attempt.checked_add(1),
            Some((last, _)) if last > batch_no => None,
            Some(_) | None => Some(0),
        };
        let attempt = attempt.ok_or_else(|| std::io::Error::other("the content key is used up"))?;
        self.last = Some((batch_no, attempt));
        Ok(attempt)
    }
}

/// What the writer knows about a batch, beside its events and the chain.
#[derive(Debug, Clone, Copy)]
pub struct BatchContext {
    /// Boot during which the events happened.
    pub boot_id: [u8; 16],
    /// Which run of a writer.
    pub instance: u32,
    /// Whether an urgent event closes it.
    pub urgent: bool,
    /// Whether it is the first of this run, in a log that existed before.
    pub after_restart: bool,
    /// Events lost since the batch before.
    pub lost_events: u32,
    /// Why.
    pub lost_cause: u32,
    /// What it holds.
    pub kind: BatchKind,
    /// Last signature of its events in the HMAC chain, if the log has one.
    pub hmac_tail: Option<Hash>,
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// Events.
    Events,
    /// The log's own records; among them that of a new epoch or not.
    Records(Option<Turn>),
}

impl BatchBuilder {
    /// An empty one; fails only when zstd finds no memory.
    pub fn new() -> std::io::Result<Self> {
        let mut compressor = Compressor::new(ZSTD_LEVEL)?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
        Ok(Self {
            plain: Vec::with_capacity(BATCH_RAW_LIMIT),
            events: 0,
            first_boottime: 0,
            last_boottime: 0,
            offset_ns: 0,
            salts: Vec::new(),
            leaves: Vec::new(),
            compressor,
            stored: Vec::new(),
            content: None,
        })
    }

    /// Encrypts the batches from the next one on with this key, which was never used before, or not at all.
    pub fn encrypt(&mut self, key: Option<Arc<ContentKey>>) {
        self.content = key.map(|key| Encryption { key, last: None });
    }

    /// Events in it.
    pub fn len(&self) -> u32 {
        self.events
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Its events, in order.
    pub fn events(&self) -> Events<'_> {
        Events::new(&self.plain)
    }

    /// Wall clock minus boot time.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Begins a batch with this seed and clock offset; what was in it is forgotten.
    pub fn begin(&mut self, seed: &[u8; SEED_LEN], offset_ns: i64) {
        self.plain.clear();
        self.plain.shrink_to(BATCH_RAW_LIMIT * 2);
        self.plain.extend_from_slice(seed);
        self.events = 0;
        self.offset_ns = offset_ns;
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.events = 0;
    }

    /// Whether an event of `len` bytes still belongs into it.
    pub fn fits(&self, len: usize) -> bool {
        self.events == 0
            || (self.events < MAX_BATCH_EVENTS && self.plain.len() + EVENT_LEN_LEN + len <= BATCH_RAW_LIMIT)
    }

    /// Adds an event that fits.
    pub fn push(&mut self, event: &[u8], boottime_ns: u64) {
        if self.events == 0 {
            (self.first_boottime, self.last_boottime) = (boottime_ns, boottime_ns);
        }
        self.first_boottime = self.first_boottime.min(boottime_ns);
        self.last_boottime = self.last_boottime.max(boottime_ns);
        self.plain.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.plain.extend_from_slice(event);
        self.events += 1;
    }

    /// Hashes and compresses it: the header that makes it the next batch of `chain`, and the stored payload.
    /// It stays as it is, so that sealing can be tried again.
    pub fn seal(&mut self, context: &BatchContext, chain: &Chain) -> std::io::Result<(BatchHeader, &[u8])> {
        if let Some(seed) = self.plain.first_chunk::<SEED_LEN>() {
            fill_salts(seed, self.events as usize, &mut self.salts);
        }
        event_leaves(self.salts.as_chunks().0, Events::new(&self.plain), &mut self.leaves);
        let batch_root = root_in_place(&mut self.leaves);
        let bound = zstd::zstd_safe::compress_bound(self.plain.len());
        self.stored.clear();
        self.stored.reserve(bound);
        self.compressor.compress_to_buffer(&self.plain, &mut self.stored)?;
        let realtime = |boottime: u64| U64::new(boottime.saturating_add_signed(self.offset_ns));
        let mut flags = flag::ZSTD;
        if context.urgent {
            flags |= flag::URGENT;
        }
        if context.after_restart {
            flags |= flag::AFTER_RESTART;
        }
        if context.hmac_tail.is_some() {
            flags |= flag::HMAC;
        }
        let kind = match context.kind {
            BatchKind::Events => BATCH_KIND_EVENTS,
            BatchKind::Records(turn) => {
                flags |= match turn {
                    None => 0,
                    Some(Turn::Announced) => flag::NEW_EPOCH,
                    Some(Turn::KeyLost) => flag::NEW_EPOCH | flag::KEY_LOST,
                };
                BATCH_KIND_RECORDS
            }
        };
        let mut stored_len = self.stored.len();
        let mut attempt = 0;
        if let Some(content) = &mut self.content {
            flags |= flag::ENCRYPTED;
            stored_len += TAG_LEN;
            attempt = content.attempt(chain.frontier.size())?;
        }
        let mut header = BatchHeader {
            magic: BATCH_MAGIC,
            hash_alg: HASH_SHA256,
            kind,
            flags: U16::new(flags),
            batch_no: U64::new(chain.frontier.size()),
            first_seq: U64::new(chain.next_seq),
            n_events: U32::new(self.events),
            agent_instance: U32::new(context.instance),
            log_id: chain.log_id,
            boot_id: context.boot_id,
            realtime_first_ns: realtime(self.first_boottime),
            realtime_last_ns: realtime(self.last_boottime),
            boottime_first_ns: U64::new(self.first_boottime),
            boottime_last_ns: U64::new(self.last_boottime),
            lost_events: U32::new(context.lost_events),
            lost_cause: U32::new(context.lost_cause),
            raw_len: U32::new(u32::try_from(self.plain.len()).unwrap_or(u32::MAX)),
            stored_len: U32::new(u32::try_from(stored_len).unwrap_or(u32::MAX)),
            epoch_no: U32::new(chain.epoch.unwrap_or(0)),
            attempt: U32::new(attempt),
            sealed_before: U64::new(chain.sealed.unwrap_or(0)),
            batch_root,
            payload_hash: [0; 32],
            prev_leaf: chain.prev_leaf.unwrap_or_default(),
            hmac_tail: context.hmac_tail.unwrap_or_default(),
        };
        if let Some(content) = &self.content {
            content.key.seal(&header, &mut self.stored).map_err(std::io::Error::other)?;
        }
        header.payload_hash = Sha256::digest(&self.stored).into();
        Ok((header, &self.stored))
    }
}

/// The events of a checked payload, in order.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// The events of `plain`; if it is malformed they end there, so check it first ([`open_payload`] does).
    pub fn new(plain: &'a [u8]) -> Self {
        Self { rest: plain.get(SEED_LEN..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.rest.split_first_chunk::<EVENT_LEN_LEN>()?;
        let (event, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        Some(event)
    }
}

/// Opens stored payloads and checks them; keeps its buffers.
pub struct PayloadReader {
    decompressor: Decompressor<'static>,
    salts: Vec<u8>,
    leaves: Vec<Hash>,
    key: Option<Arc<ContentKey>>,
    opened: Vec<u8>,
}

impl PayloadReader {
    /// A new one; fails only when zstd finds no memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            salts: Vec::new(),
            leaves: Vec::new(),
            key: None,
            opened: Vec::new(),
        })
    }

    /// Opens encrypted payloads with this key from now on.
    pub fn use_key(&mut self, key: Option<Arc<ContentKey>>) {
        self.key = key;
    }

    /// Decrypts `stored` if it is encrypted, decompresses it over `plain` and checks lengths and the number of events. `header` has passed
    /// [`super::chain::parse_batch_header`], so that no more memory is taken than one largest batch needs.
    pub fn open(&mut self, header: &BatchHeader, stored: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        if header.is_encrypted() {
            let key = self.key.as_ref().ok_or_else(|| Fault::unsupported("the payload is encrypted"))?;
            let mut opened = std::mem::take(&mut self.opened);
            opened.clear();
            opened.extend_from_slice(stored);
            let result = key.open(header, &mut opened);
            let result = result.and_then(|()| self.decompress(header, &opened, plain));
            self.opened = opened;
            return result;
        }
        self.decompress(header, stored, plain)
    }

    fn decompress(&mut self, header: &BatchHeader, stored: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        let raw_len = header.raw_len.get() as usize;
        let declared = zstd::zstd_safe::get_frame_content_size(stored).ok().flatten();
        if declared != Some(raw_len as u64) {
            return Err(Fault::tampered("the payload is not one zstd frame of the length in its header"));
        }
        plain.clear();
        plain.reserve(raw_len);
        match self.decompressor.decompress_to_buffer(stored, plain) {
            Ok(len) if len == raw_len => {}
            Ok(_) | Err(_) => return Err(Fault::tampered("the payload does not decompress to its length")),
        }
        let mut events = Events::new(plain);
        let found = events.by_ref().count();
        if !events.rest.is_empty() {
            return Err(Fault::tampered("the lengths of the events do not fill the payload"));
        }
        if found != header.n_events.get() as usize {
            return Err(Fault::tampered(format!(
                "the payload holds {found} events, its header says {}",
                header.n_events.get()
            )));
        }
        Ok(())
    }

    /// Checks that `plain`, which [`Self::open`] made, hashes to the root in the header.
    pub fn check_root(&mut self, header: &BatchHeader, plain: &[u8]) -> Result<(), Fault> {
        let seed =
            plain.first_chunk::<SEED_LEN>().ok_or_else(|| Fault::tampered("a payload without its seed"))?;
        fill_salts(seed, header.n_events.get() as usize, &mut self.salts);
        event_leaves(self.salts.as_chunks().0, Events::new(plain), &mut self.leaves);
        if root_in_place(&mut self.leaves) != header.batch_root {
            return Err(Fault::tampered("the events do not hash to the batch's root"));
        }
        Ok(())
    }
}
