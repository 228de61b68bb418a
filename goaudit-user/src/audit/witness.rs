//! A witness (C2SP tlog-witness): cosigns a log's checkpoint if it extends the last one that it cosigned, and no other.
//!
//! What it knows of a log is one file, the last checkpoint with its own cosignature, replaced before the answer is given.
//! HTTP is not here: a request's body comes in, a status and a body go out. The time comes from the caller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::checkpoint::Checkpoint;
use super::cosignature::WitnessSigner;
use super::directory::{DirLock, make_dir, open_regular, replace_file, sync_dir};
use super::error::AuditError;
use super::format::Hash;
use super::merkle::verify_consistency;
use super::note::{Note, NoteError, SignatureLine, VerifyKey};
use super::recover::hex;

/// More lines of a proof than any two sizes need.
pub const MAX_PROOF_LINES: usize = 63;
/// Bytes of the longest request: a proof, and a checkpoint with many signatures.
pub const MAX_REQUEST: usize = 64 << 10;
/// Content type of an answer that tells a size.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// Lines of further keys of a log, such as that of its epoch, which are kept with its checkpoint.
const MAX_OWN_LINES: usize = 4;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Size of the last checkpoint that the witness cosigned, as the client knows it.
    pub old: u64,
    /// Proof from there to the checkpoint.
    pub proof: Vec<Hash>,
    /// The checkpoint: a signed note.
    pub note: String,
}

impl Request {
    /// Reads a request's body; none if it is not of the form.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let (first, mut rest) = text.split_once('\n')?;
        let old = first.strip_prefix("old ")?;
        if !old.bytes().all(|byte| byte.is_ascii_digit()) || (old.starts_with('0') && old != "0") {
            return None;
        }
        let old = old.parse().ok()?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if proof.len() == MAX_PROOF_LINES {
                return None;
            }
            proof.push(Hash::try_from(BASE64.decode(line).ok()?).ok()?);
        }
        Some(Self { old, proof, note: rest.to_owned() })
    }

    /// The body.
    pub fn text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    fn told(status: u16, why: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{why}\n") }
    }

    fn size(size: u64) -> Self {
        Self { status: 409, content_type: SIZE_TYPE, body: format!("{size}\n") }
    }
}

/// A witness, with what it knows.
#[derive(Debug)]
pub struct Witness {
    signer: WitnessSigner,
    dir: PathBuf,
    logs: BTreeMap<String, Known>,
    _lock: DirLock,
}

/// A log that a witness follows.
#[derive(Debug)]
struct Known {
    key: VerifyKey,
    /// The last checkpoint that was cosigned.
    last: Option<Checkpoint>,
}

impl Witness {
    /// Opens the state in `dir`, making it if it is not there, for these logs. Only one witness may use it at a time.
    pub fn open(dir: &Path, signer: WitnessSigner, logs: Vec<VerifyKey>) -> Result<Self, AuditError> {
        make_dir(&dir.join("logs"))?;
        let lock = DirLock::take(dir)?;
        let mut known = BTreeMap::new();
        for key in logs {
            let path = state_path(dir, key.name());
            let last = read_state(&path, &key, &signer)?;
            known.insert(key.name().to_owned(), Known { key, last });
        }
        Ok(Self { signer, dir: dir.to_owned(), logs: known, _lock: lock })
    }

    /// The public key.
    pub fn key(&self) -> &super::cosignature::WitnessKey {
        self.signer.public()
    }

    /// Size of the last checkpoint of a log that was cosigned; none if the log is not followed.
    pub fn size(&self, origin: &str) -> Option<u64> {
        self.logs.get(origin).map(|known| known.last.as_ref().map_or(0, |last| last.size))
    }

    /// Answers `add-checkpoint` at a time in seconds since 1970. What could not be stored is not answered.
    pub fn add_checkpoint(&mut self, body: &[u8], time: u64) -> Result<Answer, AuditError> {
        let Some(request) = Request::parse(body) else {
            return Ok(Answer::told(400, "not an add-checkpoint request"));
        };
        let Ok(note) = Note::parse(request.note.as_bytes()) else {
            return Ok(Answer::told(400, "not a signed note"));
        };
        let origin = note.text().split('\n').next().unwrap_or_default();
        let Some(known) = self.logs.get_mut(origin) else {
            return Ok(Answer::told(404, "this log is not known here"));
        };
        let new = match Checkpoint::open(request.note.as_bytes(), &known.key) {
            Ok(new) => new,
            Err(NoteError::Unsigned(_) | NoteError::Forged(_)) => {
                return Ok(Answer::told(403, "not signed by the log's key"));
            }
            Err(NoteError::Malformed(_) | NoteError::Key(_)) => {
                return Ok(Answer::told(400, "not a checkpoint"));
            }
        };
        if request.old > new.size {
            return Ok(Answer::told(400, "the old size is larger than the checkpoint's"));
        }
        let last_size = known.last.as_ref().map_or(0, |last| last.size);
        if request.old != last_size {
            return Ok(Answer::size(last_size));
        }
        if let Some(last) = known.last.as_ref().filter(|last| last.size == new.size)
            && last.root != new.root
        {
            return Ok(Answer::size(last_size));
        }
        let extends = match &known.last {
            Some(last) if last.size > 0 => {
                verify_consistency(last.size, &last.root, new.size, &new.root, &request.proof)
            }
            Some(_) | None => request.proof.is_empty(),
        };
        if !extends {
            return Ok(Answer::told(
                422,
                "the proof does not lead from the last cosigned checkpoint to this one",
            ));
        }
        let line = self.signer.cosign(note.text(), time);
        // Few lines are kept, and only of the log: others could make the file one that this witness itself does not read.
        let below = format!("{origin}/");
        let first = note.lines().iter().find(|line| known.key.is_signer(line)).into_iter();
        let more = note.lines().iter().filter(|line| line.name.starts_with(&below)).take(MAX_OWN_LINES);
        let own: String = first.chain(more).map(SignatureLine::text).collect();
        let state = format!("{}\n{own}{line}", note.text());
        let path = state_path(&self.dir, origin);
        let logs = self.dir.join("logs");
        // Durable before anybody has the cosignature.
        replace_file(&path, state.as_bytes(), 0o600).map_err(AuditError::io("write", &path))?;
        sync_dir(&logs)?;
        known.last = Some(new);
        Ok(Answer { status: 200, content_type: "text/plain; charset=utf-8", body: line })
    }
}

/// Where the state of a log is: origins are no file names.
fn state_path(dir: &Path, origin: &str) -> PathBuf {
    dir.join("logs").join(format!("{}.checkpoint", hex(&Sha256::digest(origin))))
}

/// The last cosigned checkpoint. A file that this witness did not write is refused: forgetting would allow a fork.
fn read_state(
    path: &Path,
    key: &VerifyKey,
    signer: &WitnessSigner,
) -> Result<Option<Checkpoint>, AuditError> {
    if !path.try_exists().map_err(AuditError::io("look at", path))? {
        return Ok(None);
    }
    let (mut file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(AuditError::io("read", path))?;
    let bad = |what: String| AuditError::Key {
        path: path.to_owned(),
        what: format!(
            "{what}; put back the file, or name another --state and tell who relies on this witness"
        ),
    };
    let last = Checkpoint::open(&bytes, key).map_err(|error| bad(error.to_string()))?;
    let note = Note::parse(&bytes).map_err(|error| bad(error.to_string()))?;
    match signer.public().verify(&note) {
        Ok(Some(_)) => Ok(Some(last)),
        Ok(None) => Err(bad("this witness's cosignature is not on it".to_owned())),
        Err(error) => Err(bad(error.to_string())),
    }
}
