//! Checkpoints: the log's signed tree head, byte for byte a C2SP tlog-checkpoint of three lines.
//!
//! No extension lines: time stands in batch headers, where it is hashed. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::format::Hash;
use super::note::{Note, NoteError, SignKey, VerifyKey};

/// A tree head: what a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Leaves: batches.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The note's text.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// The signed note, with one signature line.
    pub fn sign(&self, key: &SignKey) -> String {
        key.sign(&self.text())
    }

    /// The signed note as it stands in a log: the line of the log's key, then that of the epoch's key. Only where the
    /// key of an epoch is lost is there no second line.
    pub fn seal(&self, log: &SignKey, epoch: Option<&SignKey>) -> String {
        let text = self.text();
        let mut note = log.sign(&text);
        note.extend(epoch.map(|key| key.sign_line(&text)));
        note
    }

    /// Reads a note's text. Extension lines are refused: this format has none.
    pub fn parse_text(text: &str) -> Result<Self, NoteError> {
        let bad = |what| NoteError::Malformed(what);
        let text = text.strip_suffix('\n').ok_or(bad("checkpoint without a last newline"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(bad("a checkpoint has three lines"));
        };
        if origin.is_empty() {
            return Err(bad("checkpoint without an origin"));
        }
        if size.is_empty()
            || !size.bytes().all(|b| b.is_ascii_digit())
            || (size.starts_with('0') && size != "0")
        {
            return Err(bad("checkpoint size"));
        }
        let size = size.parse().map_err(|_| bad("checkpoint size"))?;
        let root = BASE64.decode(root).map_err(|_| bad("checkpoint root"))?;
        let root = Hash::try_from(root).map_err(|_| bad("checkpoint root"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Reads a signed note whose text is a checkpoint, signed by `key` in the name of the log.
    pub fn open(note: &[u8], key: &VerifyKey) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        note.verify(key)?;
        let checkpoint = Self::parse_text(note.text())?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Malformed("the checkpoint is of another log"));
        }
        Ok(checkpoint)
    }
}
