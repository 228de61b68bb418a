//! Signed notes as C2SP signed-note defines them: text, an empty line, signature lines.
//!
//! The same bytes that Go's `golang.org/x/mod/sumdb/note` writes and reads, so that stock tools check our
//! checkpoints. Only Ed25519 (signature type 0x01) is verified; lines of unknown keys are ignored, as C2SP
//! demands. Pure: no files, no clock, no randomness.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Signature type of Ed25519 in key ids and key texts.
const TYPE_ED25519: u8 = 1;
/// More signatures than any log has; Go's note package refuses more than that, too.
const MAX_SIGNATURES: usize = 100;
/// Bytes of the largest note that is parsed.
const MAX_NOTE: usize = 1_000_000;
/// What a signature line begins with: an em dash and a space.
pub(super) const LINE_START: &str = "\u{2014} ";
/// What a private key's text begins with, as in Go's note package.
pub(super) const PRIVATE_START: &str = "PRIVATE+KEY+";

/// Why a note or a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are not a note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// The text is not a key.
    #[error("not a key: {0}")]
    Key(&'static str),
    /// No line is by that key.
    #[error("no signature by {0}")]
    Unsigned(String),
    /// A line by that key does not verify.
    #[error("a signature by {0} does not verify")]
    Forged(String),
}

/// A parsed note; its signatures are not verified by parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    text: &'a str,
    lines: Vec<SignatureLine<'a>>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine<'a> {
    /// Name of the key.
    pub name: &'a str,
    /// First four bytes of the key's hash.
    pub key_id: [u8; 4],
    /// The signature, in the form of its type.
    pub signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Parses `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Malformed("too long"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        if whole.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Malformed("control character"));
        }
        let (head, tail) =
            whole.rsplit_once("\n\n").ok_or(NoteError::Malformed("no empty line before signatures"))?;
        let text = whole.get(..=head.len()).ok_or(NoteError::Malformed("no text"))?;
        let tail = tail.strip_suffix('\n').ok_or(NoteError::Malformed("no newline at the end"))?;
        let mut lines = Vec::new();
        for line in tail.split('\n') {
            if lines.len() >= MAX_SIGNATURES {
                return Err(NoteError::Malformed("too many signatures"));
            }
            lines.push(SignatureLine::parse(line)?);
        }
        Ok(Self { text, lines })
    }

    /// The signed text, its last newline included.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The signature lines.
    pub fn lines(&self) -> &[SignatureLine<'a>] {
        &self.lines
    }

    /// Checks that `key` signed the text: at least one line is by it, and every line by it verifies.
    pub fn verify(&self, key: &VerifyKey) -> Result<(), NoteError> {
        let mut signed = false;
        for line in self.lines.iter().filter(|line| key.is_signer(line)) {
            let forged = || NoteError::Forged(key.name.clone());
            let signature = Signature::from_slice(&line.signature).map_err(|_| forged())?;
            key.key.verify_strict(self.text.as_bytes(), &signature).map_err(|_| forged())?;
            signed = true;
        }
        if signed { Ok(()) } else { Err(NoteError::Unsigned(key.name.clone())) }
    }
}

impl<'a> SignatureLine<'a> {
    /// The line as it stands in a note, with its newline.
    pub fn text(&self) -> String {
        let bytes = [&self.key_id[..], &self.signature].concat();
        format!("{LINE_START}{} {}\n", self.name, BASE64.encode(bytes))
    }

    fn parse(line: &'a str) -> Result<Self, NoteError> {
        let bad = || NoteError::Malformed("signature line");
        let (name, encoded) =
            line.strip_prefix(LINE_START).and_then(|rest| rest.split_once(' ')).ok_or_else(bad)?;
        if !is_key_name(name) {
            return Err(bad());
        }
        let decoded = BASE64.decode(encoded).map_err(|_| bad())?;
        let (key_id, signature) = decoded.split_first_chunk::<4>().ok_or_else(bad)?;
        if signature.is_empty() {
            return Err(bad());
        }
        Ok(Self { name, key_id: *key_id, signature: signature.to_vec() })
    }
}

/// A public key with its name, of a signature type: the C2SP "vkey".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey<const TYPE: u8> {
    name: String,
    key_id: [u8; 4],
    key: VerifyingKey,
}

/// The public key of a log or of an epoch: signs notes.
pub type VerifyKey = PublicKey<TYPE_ED25519>;

impl<const TYPE: u8> PublicKey<TYPE> {
    /// Parses `name+hex key id+base64 key`, the key being of this type.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key_id, key) = split_key_text(text, TYPE)?;
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
        Ok(Self { name: name.to_owned(), key_id: key_id(name, TYPE, key.as_bytes()), key })
    }

    /// Name of the key: the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, as in the text form.
    pub fn id(&self) -> u32 {
        u32::from_be_bytes(self.key_id)
    }

    /// Whether it made a signature of these bytes.
    pub(super) fn signed(&self, message: &[u8], signature: &Signature) -> bool {
        self.key.verify_strict(message, signature).is_ok()
    }

    /// The 32 bytes of the public key.
    pub fn public_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether a signature line says that it is by this key.
    pub fn is_signer(&self, line: &SignatureLine<'_>) -> bool {
        line.name == self.name && line.key_id == self.key_id
    }

    /// The text form.
    pub fn text(&self) -> String {
        key_text(&self.name, TYPE, self.key_id, self.key.as_bytes())
    }
}

/// A private key with its name, of a signature type. Zeroed when dropped.
pub struct SecretKey<const TYPE: u8> {
    public: PublicKey<TYPE>,
    secret: SigningKey,
}

/// The private key of a log or of an epoch.
pub type SignKey = SecretKey<TYPE_ED25519>;

impl<const TYPE: u8> SecretKey<TYPE> {
    /// The key made of 32 random bytes.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let secret = SigningKey::from_bytes(seed);
        Ok(Self { public: PublicKey::new(name, secret.verifying_key())?, secret })
    }

    /// Parses the text form that Go's note package uses.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.strip_prefix(PRIVATE_START).ok_or(NoteError::Key("not a private key"))?;
        let (name, key_id, seed) = split_key_text(rest, TYPE)?;
        let parsed = Self::from_seed(name, &Zeroizing::new(seed))?;
        if parsed.public.key_id != key_id {
            return Err(NoteError::Key("the key id does not fit name and key: a character was changed"));
        }
        Ok(parsed)
    }

    /// The text form.
    pub fn text(&self) -> Zeroizing<String> {
        let rest =
            Zeroizing::new(key_text(&self.public.name, TYPE, self.public.key_id, self.secret.as_bytes()));
        Zeroizing::new(format!("{PRIVATE_START}{}", rest.as_str()))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey<TYPE> {
        &self.public
    }

    /// A signature line, with its newline: key id, what the signature type puts before the signature, the signature.
    pub(super) fn line(&self, before: &[u8], message: &[u8]) -> String {
        let mut bytes = self.public.key_id.to_vec();
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(&self.secret.sign(message).to_bytes());
        format!("{LINE_START}{} {}\n", self.public.name, BASE64.encode(bytes))
    }
}

impl SignKey {
    /// The signature line for `text`, with its newline.
    pub fn sign_line(&self, text: &str) -> String {
        self.line(&[], text.as_bytes())
    }

    /// The whole note: `text` (which ends in a newline), an empty line, the signature line.
    pub fn sign(&self, text: &str) -> String {
        format!("{text}\n{}", self.sign_line(text))
    }
}

impl<const TYPE: u8> std::fmt::Debug for SecretKey<TYPE> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Whether a key may have this name: not empty, no Unicode space, no plus.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// Id of a key of a signature type.
fn key_id(name: &str, kind: u8, public: &[u8; 32]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', kind]);
    hasher.update(public);
    let hash: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// A key's text: of a public or, without its beginning, of a secret one.
fn key_text(name: &str, kind: u8, key_id: [u8; 4], key: &[u8; 32]) -> String {
    let mut typed = Zeroizing::new([kind; 33]);
    if let Some(rest) = typed.last_chunk_mut::<32>() {
        *rest = *key;
    }
    format!("{name}+{:08x}+{}", u32::from_be_bytes(key_id), BASE64.encode(*typed))
}

/// Name, id and bytes of a key of a signature type.
fn split_key_text(text: &str, kind: u8) -> Result<(&str, [u8; 4], [u8; 32]), NoteError> {
    let shape = || NoteError::Key("expected name+key id+key");
    let (name, rest) = text.split_once('+').ok_or_else(shape)?;
    let (id, key) = rest.split_once('+').ok_or_else(shape)?;
    if id.len() != 8 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NoteError::Key("the key id is eight hex digits"));
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| shape())?;
    let typed = Zeroizing::new(BASE64.decode(key).map_err(|_| NoteError::Key("not base64"))?);
    let Some((_, key)) = typed.split_first().filter(|(found, _)| **found == kind) else {
        return Err(NoteError::Key(if kind == TYPE_ED25519 {
            "only Ed25519 keys (type 1) are known"
        } else {
            "a witness's key has type 4 (Ed25519 cosignatures)"
        }));
    };
    let key = key.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
    Ok((name, id.to_be_bytes(), key))
}
