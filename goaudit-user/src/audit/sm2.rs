//! SM2 signature lines on checkpoints (GB/T 32918, with SM3), for those whose rules ask for Chinese commercial cryptography.
//!
//! They stand beside the Ed25519 lines, as C2SP signed-note lets signatures of other types, and prove the same. The key
//! is named by the log's first record. Texts of keys are read by every goaudit; signing and verifying need the feature
//! `gm`. The crates behind it are pure Rust and, as far as is known, not audited or certified. Pure.

#[cfg(feature = "gm")]
#[path = "sm2/gm.rs"]
mod curve;
#[cfg(not(feature = "gm"))]
#[path = "sm2/none.rs"]
mod curve;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::note::{LINE_START, Note, NoteError, PRIVATE_START, SignatureLine, is_key_name};

/// Whether this goaudit can sign and verify.
pub const BUILT: bool = cfg!(feature = "gm");
/// The signer's identity that signatures are made with: what GM/T 0009 says for those who have none.
pub const USER_ID: &str = "1234567812345678";
/// The signature type in key ids and texts: 0xff, then our name of it, as C2SP signed-note has it.
const TYPE: &[u8] = b"\xffgoaudit/sm2-sm3";
/// Bytes of a public key: an uncompressed point.
const POINT: usize = 65;

/// Name of the SM2 key of the log of this origin.
pub fn name(origin: &str) -> String {
    format!("{origin}/sm2")
}

/// A public SM2 key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sm2Key {
    name: String,
    key_id: [u8; 4],
    point: [u8; POINT],
}

impl Sm2Key {
    /// Parses `name+hex key id+base64 key`, as keys of other types are written.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, bytes) = split(text)?;
        let point = bytes.as_slice().try_into().map_err(|_| NoteError::Key("an SM2 key has 65 bytes"))?;
        let parsed = Self::new(name, point)?;
        if parsed.key_id == id { Ok(parsed) } else { Err(WRONG_ID) }
    }

    fn new(name: &str, point: [u8; POINT]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Key("a name is not empty and has neither spaces nor +"));
        }
        let hash: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update(b"\n")
            .chain_update(TYPE)
            .chain_update(point)
            .finalize()
            .into();
        let [a, b, c, d, ..] = hash;
        Ok(Self { name: name.to_owned(), key_id: [a, b, c, d], point })
    }

    /// The text form.
    pub fn text(&self) -> String {
        text(&self.name, self.key_id, &self.point).as_str().to_owned()
    }

    /// Its name: origin, `/sm2`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The uncompressed point: 0x04, x, y.
    pub fn public_bytes(&self) -> &[u8; 65] {
        &self.point
    }

    /// Whether a signature line says that it is by this key.
    pub fn is_signer(&self, line: &SignatureLine<'_>) -> bool {
        line.name == self.name && line.key_id == self.key_id
    }

    /// Checks that this key signed the text: at least one line is by it, and every line by it verifies.
    pub fn verify(&self, note: &Note<'_>) -> Result<(), NoteError> {
        let mut signed = false;
        for line in note.lines().iter().filter(|line| self.is_signer(line)) {
            if !curve::verifies(&self.point, note.text().as_bytes(), &line.signature)? {
                return Err(NoteError::Forged(self.name.clone()));
            }
            signed = true;
        }
        if signed { Ok(()) } else { Err(NoteError::Unsigned(self.name.clone())) }
    }
}

/// A secret SM2 key with its name.
pub struct Sm2Signer {
    public: Sm2Key,
    secret: curve::Secret,
}

impl Sm2Signer {
    /// The key made of 32 random bytes.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new(*seed);
        loop {
            // One in 2^32 is no key.
            if let Some(secret) = curve::Secret::new(&seed)? {
                return Ok(Self { public: Sm2Key::new(name, secret.point())?, secret });
            }
            *seed = Sha256::digest(*seed).into();
        }
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.strip_prefix(PRIVATE_START).ok_or(NoteError::Key("not a private key"))?;
        let (name, id, bytes) = split(rest)?;
        let scalar =
            bytes.as_slice().try_into().map_err(|_| NoteError::Key("a secret SM2 key has 32 bytes"))?;
        let secret =
            curve::Secret::new(&Zeroizing::new(scalar))?.ok_or(NoteError::Key("the number is no SM2 key"))?;
        let public = Sm2Key::new(name, secret.point())?;
        if public.key_id == id { Ok(Self { public, secret }) } else { Err(WRONG_ID) }
    }

    /// The text form.
    pub fn text(&self) -> Zeroizing<String> {
        let rest = text(&self.public.name, self.public.key_id, &*self.secret.bytes());
        Zeroizing::new(format!("{PRIVATE_START}{}", rest.as_str()))
    }

    /// The public half.
    pub fn public(&self) -> &Sm2Key {
        &self.public
    }

    /// The signature line for `text`, with its newline. The signature is in DER (GM/T 0009), as stock tools take it.
    pub fn sign_line(&self, text: &str) -> Result<String, NoteError> {
        let mut bytes = self.public.key_id.to_vec();
        bytes.extend(self.secret.sign(text.as_bytes())?);
        Ok(format!("{LINE_START}{} {}\n", self.public.name, BASE64.encode(bytes)))
    }
}

const WRONG_ID: NoteError = NoteError::Key("the key id does not fit name and key: a character was changed");

/// A key's text: of a public or, without its beginning, of a secret one.
fn text(name: &str, key_id: [u8; 4], key: &[u8]) -> Zeroizing<String> {
    let typed = Zeroizing::new([TYPE, key].concat());
    let encoded = Zeroizing::new(BASE64.encode(typed.as_slice()));
    Zeroizing::new(format!("{name}+{:08x}+{}", u32::from_be_bytes(key_id), encoded.as_str()))
}

/// Name, id and bytes of a key.
type KeyParts<'a> = (&'a str, [u8; 4], Zeroizing<Vec<u8>>);

/// Takes a key's text apart.
fn split(text: &str) -> Result<KeyParts<'_>, NoteError> {
    let shape = NoteError::Key("expected name+key id+key");
    let Some((name, (id, key))) =
        text.split_once('+').and_then(|(name, rest)| Some((name, rest.split_once('+')?)))
    else {
        return Err(shape);
    };
    if id.len() != 8 || !id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Err(NoteError::Key("the key id is eight hex digits"));
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| shape)?;
    let typed = Zeroizing::new(BASE64.decode(key).map_err(|_| NoteError::Key("not base64"))?);
    let bytes = typed.strip_prefix(TYPE).ok_or(NoteError::Key("it is no SM2 key of a log"))?;
    Ok((name, id.to_be_bytes(), Zeroizing::new(bytes.to_vec())))
}
