//! How a writer works, what it is given, and what it finds when it begins.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::WriteFn;
use super::room::{self, RoomConfig, SpaceFn};
use crate::audit::content::Recipients;
use crate::audit::epoch::{self, StoreFn};
use crate::audit::format::SEED_LEN;
use crate::audit::hmac::HmacKey;
use crate::audit::personal::Personal;
use crate::audit::recover::MiddleDamage;
use crate::audit::sync::SyncFn;
use crate::audit::torn::Torn;

/// Number of an event in its log, from 0, dense.
pub type Seq = u64;

/// The two clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, nanoseconds since 1970.
    pub realtime_ns: u64,
    /// Boot time (CLOCK_BOOTTIME), nanoseconds.
    pub boottime_ns: u64,
}

impl Now {
    /// Wall clock minus boot time. Not negative: a host whose clock says less than its uptime is in 1970.
    pub fn offset_ns(self) -> i64 {
        i64::try_from(self.realtime_ns.saturating_sub(self.boottime_ns)).unwrap_or(i64::MAX)
    }
}

/// Source of the random seeds.
pub type SeedFn = Box<dyn FnMut(&mut [u8; SEED_LEN]) -> io::Result<()> + Send>;
/// Makes the first event of a segment that begins while the writer runs.
pub type OpenerFn = Box<dyn FnMut(NewSegment) -> Vec<u8> + Send>;

/// A segment that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSegment {
    /// Its number.
    pub segment_no: u64,
    /// When: the boot time of its first event.
    pub now: Now,
}

/// How a writer works.
pub struct WriterConfig {
    /// What a new log is called: no spaces, no `+`. Its origin is that and a commitment to its first epoch's key
    /// ([`epoch::origin`]). An existing log keeps its name.
    pub origin: String,
    /// Which machine: a keyed hash, or zero.
    pub host_id: [u8; 16],
    /// This boot.
    pub boot_id: [u8; 16],
    /// How long an event may wait for its checkpoint.
    pub batch_age: Duration,
    /// Shortest time between two checkpoints that urgent events ask for.
    pub urgent_gap: Duration,
    /// A segment of that many bytes is followed by another.
    pub segment_bytes: u64,
    /// A segment that old is followed by another.
    pub segment_age: Duration,
    /// A segment ends with its day (UTC).
    pub segment_day: bool,
    /// Room on the disk that is held back.
    pub room: RoomConfig,
    /// A smaller jump of the wall clock is not told as a step.
    pub clock_step: Duration,
    /// Most bytes that may be written and not yet durable.
    pub max_unsynced: usize,
    /// Random seeds: for the log's key and for each batch.
    pub seeds: SeedFn,
    /// First event of every segment but the one that [`Writer::open`] makes.
    pub opener: Option<OpenerFn>,
    /// How data is made durable.
    pub sync: SyncFn,
    /// How frames are written.
    pub write: WriteFn,
    /// How much is free on the disk.
    pub space: SpaceFn,
    /// What makes the log, for its first record: name, version, build.
    pub agent: String,
    /// How long events of a new log must be kept; zero is for ever.
    pub retention: Duration,
    /// To whom the events of a new log are encrypted; none: they are not.
    pub encrypt_to: Option<Recipients>,
    /// How personal fields of a new log are encrypted; none: they are not.
    pub personal: Option<Personal>,
    /// An epoch that has lasted that long is followed by another, with a key of its own.
    pub epoch_age: Duration,
    /// First key of a new log's HMAC chain; none: it has none.
    pub hmac: Option<HmacKey>,
    /// Whether a new log's checkpoints have SM2 lines, too (feature `gm`).
    pub sm2: bool,
    /// How the file with the epoch's keys is replaced, and that of the HMAC chain.
    pub store_key: StoreFn,
}

impl WriterConfig {
    /// The defaults: 1 s, 256 MiB, 1 h, each day, epochs of 10 s, no ballast, seeds from the kernel, fdatasync.
    pub fn new(origin: impl Into<String>, host_id: [u8; 16], boot_id: [u8; 16]) -> Self {
        Self {
            origin: origin.into(),
            host_id,
            boot_id,
            batch_age: Duration::from_secs(1),
            urgent_gap: Duration::from_millis(2),
            segment_bytes: 256 << 20,
            segment_age: Duration::from_hours(1),
            segment_day: true,
            room: RoomConfig::default(),
            clock_step: Duration::from_millis(10),
            max_unsynced: 64 << 20,
            seeds: Box::new(|seed| getrandom::fill(seed).map_err(io::Error::other)),
            opener: None,
            sync: Arc::new(std::fs::File::sync_data),
            write: Arc::new(|mut file, bytes| io::Write::write_all(&mut file, bytes)),
            space: Arc::new(room::free),
            agent: concat!("goaudit ", env!("CARGO_PKG_VERSION")).to_owned(),
            retention: Duration::ZERO,
            encrypt_to: None,
            personal: None,
            epoch_age: Duration::from_secs(10),
            hmac: None,
            sm2: false,
            store_key: Arc::new(epoch::store),
        }
    }
}

/// What [`Writer::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The log begins now.
    pub new_log: bool,
    /// The last writer ended in order (true for a new log).
    pub clean: bool,
    /// A torn tail that was set aside.
    pub torn: Option<Torn>,
    /// Damage in the middle of the last segment, left as it is.
    pub damage: Option<MiddleDamage>,
    /// Batches of the last run that no checkpoint covered.
    pub adopted_batches: u64,
    /// How far the wall clock stands before the latest event of the last batch: it was set back since.
    pub clock_behind_ns: Option<u64>,
    /// Why the chain of epoch keys is broken here, if it is: `verify` will always tell.
    pub key_chain_broken: Option<String>,
    /// Name of the log: that of its key.
    pub origin: String,
    /// Verification key.
    pub vkey: String,
    /// Verification key of the SM2 lines, if checkpoints have them.
    pub sm2_key: Option<String>,
    /// Number of the segment that begins.
    pub segment_no: u64,
    /// Number of the next event.
    pub next_seq: Seq,
    /// To whom events are encrypted; nobody: they are not.
    pub encrypted_to: Vec<String>,
    /// How personal fields are encrypted; none if they are not.
    pub personal: Option<Personal>,
}
