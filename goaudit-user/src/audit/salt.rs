//! Salted event leaves.
//!
//! Each event's leaf is hashed with 16 bytes of its own from the batch's seed, so that a proof of one event does
//! not let its reader guess the siblings. Pure.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use sha2::{Digest as _, Sha256};

use super::format::{Hash, SEED_LEN};

/// Bytes of a salt.
pub const SALT_LEN: usize = 16;

/// Writes the salts of `n` events, one after another, over `salts`: the keystream of ChaCha20 (RFC 8439) with
/// the seed as key, an all-zero nonce and counter 0.
pub fn fill_salts(seed: &[u8; SEED_LEN], n: usize, salts: &mut Vec<u8>) {
    salts.clear();
    salts.resize(n * SALT_LEN, 0);
    ChaCha20::new(seed.into(), &[0; 12].into()).apply_keystream(salts);
}

/// The leaf of an event: an RFC 6962 leaf over salt and event.
pub fn event_leaf(salt: &[u8], event: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(salt);
    hasher.update(event);
    hasher.finalize().into()
}
