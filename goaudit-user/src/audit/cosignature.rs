//! Cosignatures of witnesses (C2SP tlog-cosignature, version 1, Ed25519).
//!
//! A witness says: at this time this was the largest tree of that log that I had seen, and each tree before it was its
//! beginning. Pure: the time comes from the caller.

use ed25519_dalek::Signature;

use super::note::{Note, NoteError, PublicKey, SecretKey};

/// Signature type of timestamped Ed25519 cosignatures.
const TYPE_COSIGNATURE: u8 = 4;

/// A witness's public key with its name.
pub type WitnessKey = PublicKey<TYPE_COSIGNATURE>;

/// A witness's secret key.
pub type WitnessSigner = SecretKey<TYPE_COSIGNATURE>;

impl WitnessKey {
    /// When this witness cosigned the note, in seconds since 1970: the latest, if several times. None if it did not.
    /// Every line by it must verify.
    pub fn verify(&self, note: &Note<'_>) -> Result<Option<u64>, NoteError> {
        let mut latest = None;
        for line in note.lines().iter().filter(|line| self.is_signer(line)) {
            let forged = || NoteError::Forged(self.name().to_owned());
            let (time, signature) = line.signature.split_first_chunk::<8>().ok_or_else(forged)?;
            let time = u64::from_be_bytes(*time);
            let signature = Signature::from_slice(signature).map_err(|_| forged())?;
            if i64::try_from(time).is_err() {
                return Err(forged());
            }
            if !self.signed(message(note.text(), time).as_bytes(), &signature) {
                return Err(forged());
            }
            latest = latest.max(Some(time));
        }
        Ok(latest)
    }
}

impl WitnessSigner {
    /// The cosignature line for a checkpoint's text at a time in seconds since 1970, with its newline.
    pub fn cosign(&self, text: &str, time: u64) -> String {
        self.line(&time.to_be_bytes(), message(text, time).as_bytes())
    }
}

/// What is signed.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}
