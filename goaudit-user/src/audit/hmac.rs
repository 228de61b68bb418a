//! The HMAC chain of a log that has one: signature = HMAC-SHA256(signature before | event), from the first event on.
//!
//! It proves integrity to whoever holds the key, and to nobody else: who can check it can make it. So it stands beside
//! the signatures, for those whose rules ask for it. Keys are ratcheted, one step a batch and one generation a segment,
//! so that a thief cannot make the past again; the first key is given out once, when the log is made. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::format::Hash;

/// A secret of the ratchet.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// What the text of a key begins with.
const KEY_START: &str = "goaudit hmac key ";
/// Before the key in the hash that the log's first record has.
const COMMITMENT: &[u8] = b"goaudit hmac 0\n";
/// What a generation is expanded with.
const GENERATION_INFO: &[u8] = b"goaudit/v1/seg";
/// What a key is stepped with.
const STEP: &[u8] = b"goaudit/v1/step";

/// Why a text is no key of an HMAC chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the key of an HMAC chain: expected the line that `goaudit init --hmac` wrote")]
pub struct NotHmacKey;

/// The first key of a log's HMAC chain: every other one is made of it.
#[derive(Clone)]
pub struct HmacKey(Secret);

impl HmacKey {
    /// The key made of 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// Reads the text form, with or without a newline.
    pub fn parse(text: &str) -> Result<Self, NotHmacKey> {
        let encoded = text.strip_suffix('\n').unwrap_or(text).strip_prefix(KEY_START).ok_or(NotHmacKey)?;
        let bytes = Zeroizing::new(BASE64.decode(encoded).map_err(|_| NotHmacKey)?);
        let seed = bytes.as_slice().try_into().map_err(|_| NotHmacKey)?;
        Ok(Self(Zeroizing::new(seed)))
    }

    /// The text form, without a newline.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{KEY_START}{}", BASE64.encode(*self.0)))
    }

    /// What the log's first record says of it: tells a wrong key from a changed log.
    pub fn commitment(&self) -> Hash {
        Sha256::new().chain_update(COMMITMENT).chain_update(*self.0).finalize().into()
    }

    /// The secret of generation 0.
    pub(super) fn secret(&self) -> Secret {
        self.0.clone()
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HmacKey").finish_non_exhaustive()
    }
}

/// Where a batch stands in the chain; nothing of it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HmacPlace {
    /// Generation of its key.
    pub generation: u64,
    /// Batches of events before it in that generation.
    pub step: u64,
    /// The last signature before it; zeros at the beginning of the log.
    pub before: Hash,
}

/// Goes from a generation's secret to that of the next one and the generation's first key.
pub(super) fn turn(secret: &Secret) -> (Secret, Secret) {
    let mut both = Zeroizing::new([0; 64]);
    // Cannot fail: 64 bytes are two blocks, and the secret is as long as a hash.
    if let Ok(hkdf) = Hkdf::<Sha256>::from_prk(secret.as_slice()) {
        let _ = hkdf.expand(GENERATION_INFO, both.as_mut_slice());
    }
    let (mut next, mut key) = (Secret::default(), Secret::default());
    let (front, back) = both.split_at(32);
    next.copy_from_slice(front);
    key.copy_from_slice(back);
    (next, key)
}

/// The key of the next batch.
pub(super) fn step(key: &Secret) -> Secret {
    Zeroizing::new(mac(key, &[STEP]))
}

/// The signature of an event after another one.
pub(super) fn sign(key: &Secret, before: &Hash, event: &[u8]) -> Hash {
    mac(key, &[before, event])
}

fn mac(key: &Secret, parts: &[&[u8]]) -> Hash {
    // Cannot fail: HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_slice()) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The keys of a chain, for whoever has its first one; going forward is cheap.
#[derive(Clone)]
pub struct HmacSchedule {
    first: HmacKey,
    /// A generation, and its secret.
    generation: (u64, Secret),
    /// Generation and step of a key, and the key.
    key: Option<(u64, u64, Secret)>,
}

impl HmacSchedule {
    /// From the first key.
    pub fn new(first: &HmacKey) -> Self {
        Self { generation: (0, first.secret()), first: first.clone(), key: None }
    }

    /// The signatures of the events of the batch at `place`, in order.
    pub fn signatures<'e>(
        &mut self,
        place: &HmacPlace,
        events: impl Iterator<Item = &'e [u8]>,
    ) -> impl Iterator<Item = Hash> {
        let key = self.key(place.generation, place.step);
        let mut last = place.before;
        events.map(move |event| {
            last = sign(&key, &last, event);
            last
        })
    }

    fn key(&mut self, generation: u64, step: u64) -> Secret {
        let (mut at, mut key) = match self.key.take() {
            Some((known, at, key)) if known == generation && at <= step => (at, key),
            _ => (0, self.first_of(generation)),
        };
        while at < step {
            key = self::step(&key);
            at += 1;
        }
        self.key = Some((generation, step, key.clone()));
        key
    }

    /// The first key of a generation.
    fn first_of(&mut self, generation: u64) -> Secret {
        if self.generation.0 > generation {
            self.generation = (0, self.first.secret());
        }
        while self.generation.0 < generation {
            let (next, _) = turn(&self.generation.1);
            self.generation = (self.generation.0 + 1, next);
        }
        turn(&self.generation.1).1
    }
}
