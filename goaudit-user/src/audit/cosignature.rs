//! Cosignatures of witnesses (C2SP tlog-cosignature, version 1, Ed25519).
//!
//! A witness says: at this time this was the largest tree of that log that I had seen, and each tree before it was its
//! beginning. Pure: the time comes from the caller.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::note::{
    LINE_START, Note, NoteError, PRIVATE_START, is_key_name, key_id, key_text, split_key_text,
};

/// Signature type of timestamped Ed25519 cosignatures.
const TYPE_COSIGNATURE: u8 = 4;

/// A witness's public key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key_id: [u8; 4],
    key: VerifyingKey,
}

impl WitnessKey {
    /// Parses `name+hex key id+base64 key`, the key's type being 4.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key_id, key) = split_key_text(text, TYPE_COSIGNATURE)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key("no point on the curve"))?;
        let parsed = Self::new(name, key)?;
        if parsed.key_id != key_id {
            return Err(NoteError::Key("the key id does not fit name and key: a character was changed"));
        }
        Ok(parsed)
    }

    fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Key("a name is not empty and has neither spaces nor +"));
        }
        Ok(Self { name: name.to_owned(), key_id: key_id(name, TYPE_COSIGNATURE, key.as_bytes()), key })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, as in the text form.
    pub fn id(&self) -> u32 {
        u32::from_be_bytes(self.key_id)
    }

    /// The 32 bytes of the public key.
    pub fn public_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The text form.
    pub fn text(&self) -> String {
        key_text(&self.name, TYPE_COSIGNATURE, self.key_id, self.key.as_bytes())
    }

    /// When this witness cosigned the note, in seconds since 1970: the latest, if several times. None if it did not.
    /// Every line by it must verify.
    pub fn verify(&self, note: &Note<'_>) -> Result<Option<u64>, NoteError> {
        let mut latest = None;
        for line in note.lines().iter().filter(|line| line.name == self.name && line.key_id == self.key_id) {
            let forged = || NoteError::Forged(self.name.clone());
            let (time, signature) = line.signature.split_first_chunk::<8>().ok_or_else(forged)?;
            let time = u64::from_be_bytes(*time);
            let signature = Signature::from_slice(signature).map_err(|_| forged())?;
            if i64::try_from(time).is_err() {
                return Err(forged());
            }
            self.key
                .verify_strict(message(note.text(), time).as_bytes(), &signature)
                .map_err(|_| forged())?;
            latest = latest.max(Some(time));
        }
        Ok(latest)
    }
}

/// A witness's secret key. Zeroed when dropped.
pub struct WitnessSigner {
    public: WitnessKey,
    secret: SigningKey,
}

impl WitnessSigner {
    /// The key made of 32 random bytes.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let secret = SigningKey::from_bytes(seed);
        Ok(Self { public: WitnessKey::new(name, secret.verifying_key())?, secret })
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.strip_prefix(PRIVATE_START).ok_or(NoteError::Key("not a private key"))?;
        let (name, key_id, seed) = split_key_text(rest, TYPE_COSIGNATURE)?;
        let parsed = Self::from_seed(name, &Zeroizing::new(seed))?;
        if parsed.public.key_id != key_id {
            return Err(NoteError::Key("the key id does not fit name and key: a character was changed"));
        }
        Ok(parsed)
    }

    /// The text form.
    pub fn text(&self) -> Zeroizing<String> {
        let WitnessKey { name, key_id, .. } = &self.public;
        let rest = Zeroizing::new(key_text(name, TYPE_COSIGNATURE, *key_id, self.secret.as_bytes()));
        Zeroizing::new(format!("{PRIVATE_START}{}", rest.as_str()))
    }

    /// The public half.
    pub fn public(&self) -> &WitnessKey {
        &self.public
    }

    /// The cosignature line for a checkpoint's text at a time in seconds since 1970, with its newline.
    pub fn cosign(&self, text: &str, time: u64) -> String {
        let mut bytes = self.public.key_id.to_vec();
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(&self.secret.sign(message(text, time).as_bytes()).to_bytes());
        format!("{LINE_START}{} {}\n", self.public.name, BASE64.encode(bytes))
    }
}

impl std::fmt::Debug for WitnessSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WitnessSigner").field("public", &self.public).finish_non_exhaustive()
    }
}

/// What is signed.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}
