//! Encryption of events at rest: a key of its own for each segment, wrapped to the age recipients that the log names.
//!
//! A content key lives in memory while its segment is written, and in the segment's header wrapped; whoever takes the disk
//! later, root of the recording host included, cannot open what was written before. Everything that proves a log is over
//! the encrypted bytes, so verifying needs no key. The cryptography is behind the feature `age`; without it logs are
//! verified all the same and what needs a key says why it cannot go on. Nothing here prints keys.

#[cfg(not(feature = "age"))]
#[path = "content/absent.rs"]
mod cipher;
#[cfg(feature = "age")]
mod cipher;
mod held;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zerocopy::IntoBytes as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::fault::Fault;
use super::format::{BatchHeader, CONTENT_KEY_LEN, Hash, MAX_WRAPPED_LEN};
use super::segment::SegmentHeader;
pub use held::HeldKeys;

/// Most recipients of a log: their wrapped key fits into every segment header.
pub const MAX_RECIPIENTS: usize = 12;
/// Bytes of a batch header that its payload is bound to: all before the hash of the payload.
const BOUND_LEN: usize = 160;
/// What a commitment to a key is a hash of, before the key.
const COMMITMENT: &[u8] = b"goaudit content key\n";
/// More than any file of identities or recipients has.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Why events cannot be encrypted or opened. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The build has no encryption.
    #[error("use encryption: this goaudit is built without it; build it with `--features age`")]
    NotBuilt,
    /// No key was given.
    #[error(
        "open the events: they are encrypted; give the age identity of one of their recipients with --content-key FILE \
         (`goaudit verify` names the recipients, and needs no key for what it proves)"
    )]
    NoKey,
    /// The keys that were given are of others.
    #[error(
        "open the events: they are encrypted to others than the identities in {}; `goaudit verify` names the recipients",
        .0.display()
    )]
    NoMatch(PathBuf),
    /// The key in the segment's header is no wrapped key.
    #[error(
        "open the events: the wrapped key in the segment's header is not good ({0}); `goaudit verify` tells whether it was changed"
    )]
    Malformed(String),
    /// A recorder's key that is no longer in memory.
    #[error(
        "open the events of segment {0}: its key is not in memory any more; read it with --content-key FILE"
    )]
    NotHeld(u64),
    /// Not an age recipient.
    #[error("encrypt to {name:?}: {what}; a recipient begins with age1 and is what `age-keygen -y` prints")]
    Recipient {
        /// What was given.
        name: String,
        /// Why not.
        what: String,
    },
    /// None, or too many.
    #[error("encrypt to {0} recipients: a log has 1 to {MAX_RECIPIENTS}")]
    Count(usize),
    /// A file of identities.
    #[error("read the identities in {}: {what}", path.display())]
    Identities {
        /// Which file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// The cipher failed.
    #[error("encrypt: {0}")]
    Cipher(String),
}

/// The key of a segment's events. Zeroed when it is dropped.
pub struct ContentKey(Zeroizing<[u8; CONTENT_KEY_LEN]>);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(..)")
    }
}

impl ContentKey {
    /// The key of these bytes, which are zeroed.
    pub fn new(bytes: &mut [u8; CONTENT_KEY_LEN]) -> Self {
        let key = Self(Zeroizing::new(*bytes));
        bytes.zeroize();
        key
    }

    /// What names the key and does not tell it: no other key has the same.
    pub fn commitment(&self) -> Hash {
        Sha256::new().chain_update(COMMITMENT).chain_update(&self.0[..]).finalize().into()
    }

    /// Encrypts a payload in place; it grows by [`super::format::TAG_LEN`]. The header must be whole but for its payload hash.
    pub fn seal(&self, header: &BatchHeader, payload: &mut Vec<u8>) -> Result<(), ContentError> {
        let (nonce, bound) = frame_of(header);
        self.seal_value(&nonce, &bound, payload)
    }

    /// Encrypts any value in place, bound to other bytes. A nonce is good for one value.
    pub fn seal_value(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<(), ContentError> {
        cipher::seal(&self.0, nonce, bound, value)
    }

    /// Opens such a value in place; false if it, its nonce or those bytes were changed, or the key is another one.
    pub fn open_value(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<bool, ContentError> {
        cipher::open(&self.0, nonce, bound, value)
    }

    /// Opens an encrypted payload in place; it shrinks by the tag.
    pub fn open(&self, header: &BatchHeader, payload: &mut Vec<u8>) -> Result<(), Fault> {
        let (nonce, bound) = frame_of(header);
        match self.open_value(&nonce, &bound, payload) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::tampered(
                "the payload does not open with the segment's content key: it, its header or the key was changed",
            )),
            Err(error) => Err(Fault::unsupported(error.to_string())),
        }
    }
}

/// Nonce of a batch, and the part of its header that the payload is bound to.
fn frame_of(header: &BatchHeader) -> ([u8; 12], [u8; BOUND_LEN]) {
    let mut nonce = [0; 12];
    let (attempt, number) = nonce.split_at_mut(4);
    attempt.copy_from_slice(&header.attempt.get().to_be_bytes());
    number.copy_from_slice(&header.batch_no.get().to_be_bytes());
    let mut bound = [0; BOUND_LEN];
    bound.iter_mut().zip(header.as_bytes()).for_each(|(to, from)| *to = *from);
    (nonce, bound)
}

/// What the log says of a key before it is used, in a record of its own: of a segment's content key, or one of personal fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// Hash of the wrapped key, as it stands in the segment's header or in its file.
    pub wrapped_sha256: Hash,
    /// [`ContentKey::commitment`].
    pub commitment: Hash,
}

impl NamedKey {
    /// Names a key that is wrapped so.
    pub(super) fn new(key: &ContentKey, wrapped: &[u8]) -> Self {
        Self { wrapped_sha256: Sha256::digest(wrapped).into(), commitment: key.commitment() }
    }
}

/// To whom a log is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients(Vec<String>);

impl Recipients {
    /// These age recipients (X25519), each once.
    pub fn parse(names: &[String]) -> Result<Self, ContentError> {
        let mut known: Vec<String> = Vec::new();
        for name in names {
            cipher::check_recipient(name)?;
            if !known.contains(name) {
                known.push(name.clone());
            }
        }
        if known.is_empty() || known.len() > MAX_RECIPIENTS {
            return Err(ContentError::Count(known.len()));
        }
        Ok(Self(known))
    }

    /// Their names, as given.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The key as only they can open it: an age file.
    pub fn wrap(&self, key: &ContentKey) -> Result<Vec<u8>, ContentError> {
        let wrapped = cipher::wrap(&self.0, &key.0)?;
        if wrapped.len() > MAX_WRAPPED_LEN {
            return Err(ContentError::Count(self.0.len()));
        }
        Ok(wrapped)
    }
}

/// Keys to read encrypted events with: none, those of an age identity file, or those that a running writer holds.
#[derive(Clone, Default)]
pub struct ContentKeys(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    None,
    Identities(Arc<(PathBuf, cipher::Identities)>),
    Held {
        keys: HeldKeys,
        /// Keeps the writer from forgetting keys.
        _follower: Option<Arc<()>>,
    },
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::None => "ContentKeys(none)",
            Source::Identities(_) => "ContentKeys(identities)",
            Source::Held { .. } => "ContentKeys(held)",
        })
    }
}

impl ContentKeys {
    /// The identities in a file as `age-keygen` writes it.
    pub fn load(path: &Path) -> Result<Self, ContentError> {
        let bad = |what: String| ContentError::Identities { path: path.to_owned(), what };
        let len = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
        if len > MAX_FILE_LEN {
            return Err(bad("it is too long".to_owned()));
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(|error| bad(error.to_string()))?);
        let identities = cipher::identities(&text).map_err(|error| match error {
            ContentError::Malformed(what) => bad(what),
            other => other,
        })?;
        Ok(Self(Source::Identities(Arc::new((path.to_owned(), identities)))))
    }

    /// What a running writer holds; as long as this is there it holds what was not read yet.
    pub(super) fn held(keys: &HeldKeys) -> Self {
        Self(Source::Held { keys: keys.clone(), _follower: Some(keys.follow()) })
    }

    /// The same without keeping a running writer from forgetting keys.
    #[must_use]
    pub fn passing(&self) -> Self {
        match &self.0 {
            Source::Held { keys, .. } => Self(Source::Held { keys: keys.clone(), _follower: None }),
            Source::None | Source::Identities(_) => self.clone(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Source::None)
    }

    /// The key of the segment with this header.
    pub fn key_of(&self, segment: &SegmentHeader) -> Result<Arc<ContentKey>, ContentError> {
        match &self.0 {
            Source::None => Err(ContentError::NoKey),
            Source::Held { keys, .. } => {
                keys.take(segment.segment_no).ok_or(ContentError::NotHeld(segment.segment_no))
            }
            Source::Identities(_) => self.unwrap(&segment.wrapped_key),
        }
    }

    /// The key in an age file. A running writer's keys are of segments only: it opens none.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Arc<ContentKey>, ContentError> {
        let Source::Identities(source) = &self.0 else { return Err(ContentError::NoKey) };
        let (path, identities) = source.as_ref();
        identities.unwrap(wrapped)?.map(Arc::new).ok_or_else(|| ContentError::NoMatch(path.clone()))
    }
}

/// Recipients in a file: one a line, empty lines and those that begin with `#` left out.
pub fn recipients_in(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}
