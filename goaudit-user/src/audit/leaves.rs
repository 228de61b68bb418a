//! The log's leaves in order: batch headers up to a checkpoint, for tiles and for proofs between two sizes of the log.
//!
//! Bodies are skipped unread. What is read is only believed when it leads to the checkpoint's root.

use std::path::Path;

use zerocopy::IntoBytes as _;

use super::checkpoint::Checkpoint;
use super::error::AuditError;
use super::format::{BATCH_HEADER_LEN, Hash};
use super::merkle::{Extension, Frontier, leaf_hash};
use super::note::VerifyKey;
use super::proof::ProofError;
use super::prove::{ProveError, Seen, Segments};

/// A leaf of the log.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// Number of its batch.
    pub number: u64,
    /// Its data; none if the batch is damaged and only the next one names its leaf.
    pub header: Option<&'a [u8; BATCH_HEADER_LEN]>,
    /// Its hash.
    pub hash: Hash,
}

/// The last checkpoint that is in the log's segments, with its note.
pub fn last_checkpoint(dir: &Path, key: &VerifyKey) -> Result<(Checkpoint, String), ProveError> {
    let mut note = Vec::new();
    Segments::pin(dir)?.walk(
        |_| false,
        |_, seen| {
            if let Seen::Checkpoint(body) = seen {
                note = body.to_vec();
            }
            Ok(())
        },
    )?;
    open(&note, key)
}

/// Every checkpoint in the log's segments, in order, each once; those that `key` did not sign are an error.
pub fn checkpoints(dir: &Path, key: &VerifyKey) -> Result<Vec<(Checkpoint, String)>, ProveError> {
    let mut all: Vec<(Checkpoint, String)> = Vec::new();
    Segments::pin(dir)?.walk(
        |_| false,
        |_, seen| {
            if let Seen::Checkpoint(body) = seen {
                let (checkpoint, note) = open(body, key)?;
                if all.last().is_none_or(|(last, _)| last.size < checkpoint.size) {
                    all.push((checkpoint, note));
                }
            }
            Ok(())
        },
    )?;
    Ok(all)
}

fn open(note: &[u8], key: &VerifyKey) -> Result<(Checkpoint, String), ProveError> {
    let checkpoint = Checkpoint::open(note, key).map_err(ProveError::Checkpoint)?;
    Ok((checkpoint, String::from_utf8_lossy(note).into_owned()))
}

/// Shows the leaves below the checkpoint to `see`, in order, and holds them against its root.
pub fn each_leaf(
    dir: &Path,
    checkpoint: &Checkpoint,
    mut see: impl FnMut(Leaf<'_>) -> Result<(), ProveError>,
) -> Result<(), ProveError> {
    let mut tree = Frontier::default();
    Segments::pin(dir)?.walk(
        |_| false,
        |_, seen| {
            let Seen::Batch { header, .. } = seen else { return Ok(()) };
            let number = header.batch_no.get();
            // After a failed sync a batch may be there twice.
            if number < tree.size() || number >= checkpoint.size {
                return Ok(());
            }
            if number == tree.size() + 1 {
                // One batch is damaged, and this one names its leaf.
                see(Leaf { number: tree.size(), header: None, hash: header.prev_leaf })?;
                tree.push(header.prev_leaf);
            }
            if number != tree.size() {
                return Err(ProveError::Gap(format!(
                    "batches {} to {} are missing",
                    tree.size(),
                    number - 1
                )));
            }
            let mut data = [0; BATCH_HEADER_LEN];
            data.copy_from_slice(header.as_bytes());
            let hash = leaf_hash(&data);
            see(Leaf { number, header: Some(&data), hash })?;
            tree.push(hash);
            Ok(())
        },
    )?;
    if tree.size() != checkpoint.size {
        let what = format!("only {} of {} sealed batches are there", tree.size(), checkpoint.size);
        return Err(ProveError::Gap(what));
    }
    if tree.root() != checkpoint.root {
        return Err(ProveError::Inconsistent(ProofError::NotInLog(checkpoint.size.saturating_sub(1))));
    }
    Ok(())
}

/// The proof that the log at `checkpoint` extends itself at `old` batches, and the root that it had then. For an `old` of
/// 0 the proof is empty, and nothing is read.
pub fn extension(dir: &Path, old: u64, checkpoint: &Checkpoint) -> Result<Vec<Hash>, ProveError> {
    if old == 0 {
        return Ok(Vec::new());
    }
    let mut proof = Extension::new(old, checkpoint.size).ok_or_else(|| {
        ProveError::Gap(format!(
            "it had {old} batches once, and its last checkpoint covers {}",
            checkpoint.size
        ))
    })?;
    each_leaf(dir, checkpoint, |leaf| {
        proof.push(leaf.hash);
        Ok(())
    })?;
    let (_, _, proof) = proof.finish().ok_or_else(|| ProveError::Audit(AuditError::Empty(dir.to_owned())))?;
    Ok(proof)
}
