//! What can be put right in a log without its secret key and without losing a byte.
//!
//! A torn tail is set aside and cut off, as the next writer would do it, and a `checkpoint` file that is missing or torn is
//! written again from the last checkpoint in the segments. Everything else stays as it is: it is evidence.

use std::io::BufReader;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::directory::{
    DirLock, checkpoint_path, list_segments, open_regular, read_small, replace_file, sync_dir,
};
use super::error::AuditError;
use super::format::{FrameKind, MAX_NOTE_LEN, SEGMENT_HEADER_LEN};
use super::frame::{FrameReader, Step};
use super::note::VerifyKey;
use super::recover::{MiddleDamage, recover};
use super::torn::{self, Torn};
use super::{guard, keys};

/// What a repair did, and what it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// A torn tail that lies under `torn/` now.
    pub torn: Option<Torn>,
    /// Damage that was found and not touched.
    pub damage: Option<MiddleDamage>,
    /// The `checkpoint` file was written again, with this size.
    pub checkpoint: Option<u64>,
}

/// Repairs the log in `dir`, which no writer may hold. Without a key the one beside the log is used.
pub fn repair(dir: &Path, key: Option<&VerifyKey>) -> Result<Repaired, AuditError> {
    guard::check(dir)?;
    let key = match key {
        Some(key) => key.clone(),
        None => keys::load_public(dir)?,
    };
    let segments = list_segments(dir)?;
    if segments.is_empty() {
        return Err(AuditError::Empty(dir.to_owned()));
    }
    let _lock = DirLock::take(dir)?;
    let recovered = recover(dir, &segments, &key, keys::log_id(&key))?;
    let path = checkpoint_path(dir);
    let kept = read_small(&path, MAX_NOTE_LEN as u64).ok();
    let mut checkpoint = None;
    if kept.is_none_or(|note| Checkpoint::open(&note, &key).is_err())
        && let Some((size, note)) = last_checkpoint(dir, &key)?
    {
        // The torn one is evidence, too.
        if path.symlink_metadata().is_ok() {
            torn::move_aside(dir, &path)?;
        }
        replace_file(&path, &note, 0o644).map_err(AuditError::io("write", &path))?;
        sync_dir(dir)?;
        checkpoint = Some(size);
    }
    Ok(Repaired { torn: recovered.torn, damage: recovered.damage, checkpoint })
}

/// The last checkpoint that stands in the segments.
fn last_checkpoint(dir: &Path, key: &VerifyKey) -> Result<Option<(u64, Vec<u8>)>, AuditError> {
    for (_, path) in list_segments(dir)?.iter().rev() {
        let (file, size) = open_regular(path)?;
        let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
        let mut last = None;
        loop {
            match frames
                .next_wanted(|kind, _| kind == FrameKind::Checkpoint)
                .map_err(AuditError::io("read", path))?
            {
                Step::Frame(frame) => {
                    if let Ok(checkpoint) = Checkpoint::open(frame.body, key) {
                        last = Some((checkpoint.size, frame.body.to_vec()));
                    }
                }
                Step::Skipped => {}
                Step::End => break,
                Step::Bad(bad) => {
                    if !frames.find_next(bad.offset + 8).map_err(AuditError::io("read", path))? {
                        break;
                    }
                }
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}
