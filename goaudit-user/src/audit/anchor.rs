//! Anchors: what others said about checkpoints of a log, kept beside it in `anchors/`.
//!
//! A cosigned checkpoint is a signed note like any other, so stock tools read it. Nothing here is trusted because of where
//! it lies: cosignatures verify with the witnesses' keys, which come from outside.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::cosignature::WitnessKey;
use super::directory::{make_dir, open_regular, replace_file, sync_dir};
use super::error::AuditError;
use super::note::{Note, NoteError, SignatureLine, VerifyKey};
use super::policy::{Policy, Quorum};

/// Ending of the names of cosigned checkpoints.
const COSIGNED: &str = "cosigned";
/// Bytes of the largest anchor that is read.
const MAX_ANCHOR: u64 = 1 << 20;
/// Of the cosigned checkpoints of a witness, those of one hour are replaced by the next.
const KEPT_EVERY_S: u64 = 3600;

/// Where a log's anchors are.
pub fn directory(log: &Path) -> PathBuf {
    log.join("anchors")
}

/// A checkpoint with cosignatures, from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The whole note.
    pub note: String,
}

/// Stores the lines of a witness for a checkpoint of the log in `log`, and makes them durable. Lines of others are left out;
/// none by the witness, or one that does not verify, is an error. Returns the file and the time that the witness told.
pub fn store_cosigned(
    log: &Path,
    note: &str,
    size: u64,
    lines: &str,
    witness: &WitnessKey,
) -> Result<(PathBuf, u64), AuditError> {
    let whole = format!("{note}{lines}");
    let parsed = Note::parse(whole.as_bytes())?;
    let time = witness.verify(&parsed)?.ok_or_else(|| NoteError::Unsigned(witness.name().to_owned()))?;
    let given = Note::parse(lines_only(note, lines).as_bytes())?
        .lines()
        .iter()
        .filter(|line| line.name == witness.name() && u32::from_be_bytes(line.key_id) == witness.id())
        .map(SignatureLine::text)
        .collect::<String>();
    let anchors = directory(log);
    make_dir(&anchors)?;
    let path = anchors.join(format!("{size:020}-{:08x}.{COSIGNED}", witness.id()));
    replace_file(&path, format!("{note}{given}").as_bytes(), 0o600)
        .map_err(AuditError::io("write", &path))?;
    sync_dir(&anchors)?;
    thin(&anchors, &path, time, witness)?;
    Ok((path, time))
}

/// The note's text with nothing but these lines.
fn lines_only(note: &str, lines: &str) -> String {
    let text = note.split_inclusive('\n').take_while(|line| *line != "\n").collect::<String>();
    format!("{text}\n{lines}")
}

/// Takes away older ones of the same witness and hour: a recorder that asks every minute would fill the directory.
fn thin(anchors: &Path, newest: &Path, time: u64, witness: &WitnessKey) -> Result<(), AuditError> {
    let ending = format!("-{:08x}.{COSIGNED}", witness.id());
    for path in files(anchors, COSIGNED)? {
        let same = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&ending));
        if !same || path == newest {
            continue;
        }
        // What cannot be read is evidence of something, and stays.
        let Ok(bytes) = read(&path) else { continue };
        let told = Note::parse(&bytes).ok().and_then(|note| witness.verify(&note).ok().flatten());
        if told.is_some_and(|told| told / KEPT_EVERY_S == time / KEPT_EVERY_S && told <= time) {
            std::fs::remove_file(&path).map_err(AuditError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The files in `anchors` with an ending, in the order of their names, which is that of sizes. None if there is no such
/// directory.
pub(super) fn files(anchors: &Path, ending: &str) -> Result<Vec<PathBuf>, AuditError> {
    if !anchors.try_exists().map_err(AuditError::io("look at", anchors))? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(anchors).map_err(AuditError::io("list", anchors))? {
        let path = entry.map_err(AuditError::io("list", anchors))?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads an anchor's file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuditError> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_ANCHOR).read_to_end(&mut bytes).map_err(AuditError::io("read", path))?;
    Ok(bytes)
}

/// What a witness last cosigned, by the anchors in `log`: the size; 0 if it never did.
pub fn last_size(log: &Path, key: &VerifyKey, witness: &WitnessKey) -> Result<u64, AuditError> {
    let mut last = 0;
    for path in files(&directory(log), COSIGNED)? {
        let bytes = read(&path)?;
        let cosigned = Note::parse(&bytes).and_then(|note| witness.verify(&note));
        if let (Ok(Some(_)), Ok(checkpoint)) = (cosigned, Checkpoint::open(&bytes, key)) {
            last = last.max(checkpoint.size);
        }
    }
    Ok(last)
}

/// What a policy finds among anchors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The newest checkpoint that enough witnesses cosigned.
    pub newest: Cosigned,
    /// By whom and when.
    pub quorum: Quorum,
    /// The whole notes of all anchors that are checkpoints of the log, whoever cosigned them: the log must pass through each
    /// of them, and each must have the line of its epoch.
    pub notes: Vec<String>,
}

/// The newest checkpoint that enough witnesses cosigned, by a policy, among the log's anchors and `more` files. Anchors of
/// the same checkpoint count together.
pub fn newest_cosigned(
    log: &Path,
    more: &[PathBuf],
    key: &VerifyKey,
    policy: &Policy,
) -> Result<Result<Found, String>, AuditError> {
    if !policy.covers(key) {
        return Ok(Err(format!("the policy is about other logs than {}", key.name())));
    }
    let mut all: Vec<Cosigned> = Vec::new();
    let mut notes = Vec::new();
    let mut trouble = None;
    let mut paths = files(&directory(log), COSIGNED)?;
    paths.extend_from_slice(more);
    for path in &paths {
        let bytes = read(path)?;
        let opened = Checkpoint::open(&bytes, key)
            .and_then(|checkpoint| Note::parse(&bytes).map(|note| (checkpoint, note)));
        let (checkpoint, note) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                trouble.get_or_insert(format!("{}: {error}", path.display()));
                continue;
            }
        };
        notes.push(String::from_utf8_lossy(&bytes).into_owned());
        match all.iter_mut().find(|cosigned| cosigned.checkpoint == checkpoint) {
            Some(cosigned) => {
                for line in note.lines().iter().filter(|line| !key.is_signer(line)).map(SignatureLine::text) {
                    if !cosigned.note.contains(&line) {
                        cosigned.note.push_str(&line);
                    }
                }
            }
            None => {
                all.push(Cosigned { checkpoint, note: String::from_utf8_lossy(&bytes).into_owned() });
            }
        }
    }
    let mut best: Option<(Cosigned, Quorum)> = None;
    for cosigned in all {
        let judged = Note::parse(cosigned.note.as_bytes()).and_then(|note| policy.judge(&note));
        match judged {
            Ok(quorum) if quorum.met => {
                if best.as_ref().is_none_or(|(best, _)| best.checkpoint.size < cosigned.checkpoint.size) {
                    best = Some((cosigned, quorum));
                }
            }
            Ok(_) => {}
            Err(error) => {
                trouble.get_or_insert(format!("size {}: {error}", cosigned.checkpoint.size));
            }
        }
    }
    Ok(match (best, trouble) {
        (Some((newest, quorum)), _) => Ok(Found { newest, quorum, notes }),
        (None, Some(trouble)) => Err(format!("no checkpoint is cosigned as the policy demands ({trouble})")),
        (None, None) => Err("no checkpoint is cosigned as the policy demands".to_owned()),
    })
}
