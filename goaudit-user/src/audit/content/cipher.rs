//! The cryptography of encrypted events: AES-256-GCM for payloads, age for keys. Nothing of it is made here.

use std::io::{Read as _, Write as _};

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use zeroize::Zeroizing;

use super::{ContentError, ContentKey};
use crate::audit::format::CONTENT_KEY_LEN;

/// Secret keys of recipients.
pub(super) struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// The key in an age file; none if it is encrypted to others.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<Option<ContentKey>, ContentError> {
        let malformed = |error: &dyn std::fmt::Display| ContentError::Malformed(error.to_string());
        let decryptor = age::Decryptor::new_buffered(wrapped).map_err(|error| malformed(&error))?;
        let identities = self.0.iter().map(|identity| identity.as_ref() as &dyn age::Identity);
        let mut plain = match decryptor.decrypt(identities) {
            Ok(plain) => plain,
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(error) => return Err(malformed(&error)),
        };
        let mut key = Zeroizing::new([0; CONTENT_KEY_LEN]);
        plain.read_exact(&mut key[..]).map_err(|error| malformed(&error))?;
        if plain.read(&mut [0]).map_err(|error| malformed(&error))? > 0 {
            return Err(malformed(&"it is longer than a key"));
        }
        Ok(Some(ContentKey::new(&mut key)))
    }
}

/// Reads identities: lines, as `age-keygen` writes them.
pub(super) fn identities(text: &[u8]) -> Result<Identities, ContentError> {
    let file = age::IdentityFile::from_buffer(text).map_err(|error| {
        let hint = if text.starts_with(b"age-encryption.org/") || text.starts_with(b"-----BEGIN AGE") {
            "; it is itself encrypted: decrypt it first, such as with `age -d`"
        } else {
            "; lines that begin with AGE-SECRET-KEY-1 are identities"
        };
        ContentError::Malformed(format!("{error}{hint}"))
    })?;
    let identities = file.into_identities().map_err(|error| ContentError::Malformed(error.to_string()))?;
    if identities.is_empty() {
        return Err(ContentError::Malformed("there is none; `age-keygen` makes one".to_owned()));
    }
    Ok(Identities(identities))
}

fn recipient(name: &str) -> Result<age::x25519::Recipient, ContentError> {
    name.parse()
        .map_err(|what: &str| ContentError::Recipient { name: name.to_owned(), what: what.to_owned() })
}

pub(super) fn check_recipient(name: &str) -> Result<(), ContentError> {
    recipient(name).map(|_| ())
}

/// Encrypts a content key to recipients.
pub(super) fn wrap(names: &[String], key: &[u8; CONTENT_KEY_LEN]) -> Result<Vec<u8>, ContentError> {
    let recipients = names.iter().map(|name| recipient(name)).collect::<Result<Vec<_>, _>>()?;
    let failed = |error: &dyn std::fmt::Display| ContentError::Cipher(error.to_string());
    let encryptor = age::Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn age::Recipient))
        .map_err(|error| failed(&error))?;
    let mut wrapped = Vec::new();
    let mut writer = encryptor.wrap_output(&mut wrapped).map_err(|error| failed(&error))?;
    writer.write_all(key).and_then(|()| writer.finish().map(|_| ())).map_err(|error| failed(&error))?;
    Ok(wrapped)
}

/// Encrypts in place and appends the tag.
pub(super) fn seal(
    key: &[u8; CONTENT_KEY_LEN],
    nonce: &[u8; 12],
    bound: &[u8],
    payload: &mut Vec<u8>,
) -> Result<(), ContentError> {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
        .encrypt_in_place(&Nonce::from(*nonce), bound, payload)
        .map_err(|error| ContentError::Cipher(error.to_string()))
}

/// Opens in place; false if key, nonce, bound bytes and payload do not fit each other.
#[expect(clippy::unnecessary_wraps, reason = "a build without encryption fails here")]
pub(super) fn open(
    key: &[u8; CONTENT_KEY_LEN],
    nonce: &[u8; 12],
    bound: &[u8],
    payload: &mut Vec<u8>,
) -> Result<bool, ContentError> {
    Ok(Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
        .decrypt_in_place(&Nonce::from(*nonce), bound, payload)
        .is_ok())
}
