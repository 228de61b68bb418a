//! Asks others to vouch for a log's checkpoint, over the network, and keeps what they say beside the log.
//!
//! It follows the log on disk, like a reader: whoever does not answer delays nobody who records.

mod follower;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::cosignature::WitnessKey;
use crate::audit::note::{NoteError, VerifyKey};
use crate::audit::timestamp::{self, QUERY_TYPE, Stamp, StampError};
use crate::audit::witness::{Request, SIZE_TYPE};
use crate::audit::{AuditError, ProveError, anchor, leaves};
use crate::http::{self, HttpError};

pub use follower::{Follower, Tell};

/// How often a witness may tell another size before we give up: it serves others meanwhile.
const ATTEMPTS: usize = 3;

/// A witness and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessAt {
    /// What its URLs begin with.
    pub url: String,
    /// Its key.
    pub key: WitnessKey,
}

impl WitnessAt {
    /// Reads `URL+VKEY`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (url, key) = text
            .split_once('+')
            .ok_or(NoteError::Key("expected URL+VKEY, such as http://127.0.0.1:7380+name+1a2b3c4d+BA..."))?;
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(NoteError::Key("a witness's URL begins with http:// or https://"));
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key: WitnessKey::parse(key)? })
    }
}

/// Why there is no anchor. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The log.
    #[error(transparent)]
    Log(#[from] ProveError),
    /// What was to be stored, or what is there.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The other side was not reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A time stamp authority's answer is not good.
    #[error("{error} ({url})")]
    Stamp {
        /// Whom we asked.
        url: String,
        /// What is wrong with it.
        error: StampError,
    },
    /// The other side has seen more of this log than there is.
    #[error(
        "anchor at {url}: it has seen {seen} batches of this log, and only {size} are here: the log was cut or rolled \
         back; keep the directory as evidence"
    )]
    RolledBack {
        /// Whom we asked.
        url: String,
        /// Batches that it has seen.
        seen: u64,
        /// Batches that are sealed here.
        size: u64,
    },
    /// The other side has seen another history.
    #[error(
        "anchor at {url}: it has seen another history of this log ({what}): one of them was forged; keep the directory \
         as evidence"
    )]
    Forked {
        /// Whom we asked.
        url: String,
        /// What it said.
        what: String,
    },
    /// The other side says no.
    #[error("anchor at {url}: it answered {status} {what}{}", hint(*.status))]
    Refused {
        /// Whom we asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        what: String,
    },
}

/// What helps against an answer.
fn hint(status: u16) -> &'static str {
    match status {
        404 => "; does it know this log? give its operator keys/log.vkey",
        403 => "; does it have this log's key? give its operator keys/log.vkey",
        _ => "",
    }
}

/// An anchor that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// Batches that the checkpoint covers.
    pub size: u64,
    /// When, in seconds since 1970, as the other side says.
    pub time: u64,
    /// Where it is kept.
    pub file: PathBuf,
}

/// Has a witness cosign the last checkpoint of the log in `log`, and stores the cosignature.
pub fn cosign(
    log: &Path,
    key: &VerifyKey,
    witness: &WitnessAt,
    patience: Duration,
) -> Result<Anchored, AnchorError> {
    let url = format!("{}/add-checkpoint", witness.url);
    let (checkpoint, note) = leaves::last_checkpoint(log, key)?;
    let mut old = anchor::last_size(log, key, &witness.key)?;
    for _ in 0..ATTEMPTS {
        if old > checkpoint.size {
            return Err(AnchorError::RolledBack { url, seen: old, size: checkpoint.size });
        }
        let proof =
            if old == checkpoint.size { Vec::new() } else { leaves::extension(log, old, &checkpoint)? };
        let request = Request { old, proof, note: note.clone() };
        let answer = http::post(&url, "text/plain; charset=utf-8", request.text().as_bytes(), patience)?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let what = || body.trim().chars().take(200).collect::<String>();
        match answer.status {
            200 => {
                let (file, time) = anchor::store_cosigned(log, &note, checkpoint.size, &body, &witness.key)?;
                return Ok(Anchored { size: checkpoint.size, time, file });
            }
            409 if answer.content_type == SIZE_TYPE => {
                let seen = body.strip_suffix('\n').and_then(|size| size.parse().ok());
                match seen {
                    // It is where we said, and says no: the roots differ.
                    Some(seen) if seen == old => {
                        return Err(AnchorError::Forked {
                            url,
                            what: format!("other batches before number {seen}"),
                        });
                    }
                    Some(seen) => old = seen,
                    None => return Err(AnchorError::Refused { url, status: 409, what: what() }),
                }
            }
            409 | 422 => return Err(AnchorError::Forked { url, what: what() }),
            status => return Err(AnchorError::Refused { url, status, what: what() }),
        }
    }
    Err(AnchorError::Refused {
        url,
        status: 409,
        what: "again and again: somebody else submits this log".to_owned(),
    })
}

/// Has a time stamp authority (RFC 3161, over HTTP) stamp the last checkpoint of the log in `log`, and stores its answer.
/// `random` is fresh.
pub fn timestamp(
    log: &Path,
    key: &VerifyKey,
    url: &str,
    patience: Duration,
    random: [u8; 8],
) -> Result<Anchored, AnchorError> {
    let bad = |error| AnchorError::Stamp { url: url.to_owned(), error };
    let (checkpoint, note) = leaves::last_checkpoint(log, key)?;
    let query = timestamp::query(note.as_bytes(), random).map_err(bad)?;
    let answer = http::post(url, QUERY_TYPE, &query, patience)?;
    if answer.status != 200 {
        let what = String::from_utf8_lossy(&answer.body).trim().chars().take(200).collect();
        return Err(AnchorError::Refused { url: url.to_owned(), status: answer.status, what });
    }
    let stamp = Stamp::parse(&answer.body).map_err(bad)?;
    stamp.answers(note.as_bytes(), random).map_err(bad)?;
    let file = timestamp::store(log, &note, checkpoint.size, &answer.body)?;
    Ok(Anchored { size: checkpoint.size, time: stamp.time, file })
}
