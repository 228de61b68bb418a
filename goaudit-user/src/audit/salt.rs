//! Salted event leaves.
//!
//! Each event's leaf is hashed with 16 bytes of its own from the batch's seed, so that a proof of one event does
//! not let its reader guess the siblings. Pure.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use sha2::{Digest as _, Sha256};

use super::format::{Hash, SEED_LEN};
use super::lanes::{Message, digest, digests};

/// Bytes of a salt.
pub const SALT_LEN: usize = 16;
/// What an RFC 6962 leaf begins with.
const LEAF: u8 = 0;

/// Writes the salts of `n` events, one after another, over `salts`: the keystream of ChaCha20 (RFC 8439) with
/// the seed as key, an all-zero nonce and counter 0.
pub fn fill_salts(seed: &[u8; SEED_LEN], n: usize, salts: &mut Vec<u8>) {
    salts.clear();
    salts.resize(n * SALT_LEN, 0);
    ChaCha20::new(seed.into(), &[0; 12].into()).apply_keystream(salts);
}

/// The leaves of events, each with its salt, over `leaves`.
pub(super) fn event_leaves<'a>(
    salts: &[[u8; SALT_LEN]],
    events: impl Iterator<Item = &'a [u8]>,
    leaves: &mut Vec<Hash>,
) {
    leaves.clear();
    let (mut first, mut second) = (Message::default(), Message::default());
    let mut salted = salts.iter().zip(events);
    while let Some((salt, event)) = salted.next() {
        first.set([&[LEAF], salt, event]);
        if let Some((salt, event)) = salted.next() {
            second.set([&[LEAF], salt, event]);
            leaves.extend(digests(&first, &second));
        } else {
            leaves.push(digest(&first));
        }
    }
}

/// The leaf of an event: an RFC 6962 leaf over salt and event.
pub fn event_leaf(salt: &[u8], event: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([LEAF]);
    hasher.update(salt);
    hasher.update(event);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_leaves_are_what_each_is() {
        let salts: Vec<[u8; SALT_LEN]> = (0..9).map(|n| [n; SALT_LEN]).collect();
        let events: Vec<Vec<u8>> = (0..9).map(|n| vec![n; usize::from(n) * 30]).collect();
        for count in 0..=salts.len() {
            let mut leaves = vec![[7; 32]];
            event_leaves(&salts, events.iter().take(count).map(Vec::as_slice), &mut leaves);
            let each: Vec<Hash> =
                salts.iter().zip(&events).take(count).map(|(salt, event)| event_leaf(salt, event)).collect();
            assert_eq!(leaves, each);
        }
    }
}
