//! How much of each segment belongs to a copy of a log: all of it, but of the segment that is being written only what is sealed.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::directory::{DirLock, list_segments, open_regular};
use super::error::AuditError;
use super::format::{FrameKind, SEGMENT_HEADER_LEN};
use super::frame::{FrameReader, Step};

/// Bytes read from a segment at once.
const READ_AHEAD: usize = 256 << 10;

/// A file, open, and how many of its bytes count.
#[derive(Debug)]
pub struct Extent {
    /// Where it is.
    pub path: PathBuf,
    /// The file.
    pub file: File,
    /// Bytes from its beginning.
    pub len: u64,
}

/// The segments of the log in `dir`, in order.
pub fn segments(dir: &Path) -> Result<Vec<Extent>, AuditError> {
    // Asked first: a writer that comes later only adds segments.
    let live = DirLock::is_taken(dir);
    let mut extents = Vec::new();
    for (_, path) in list_segments(dir)? {
        let (file, len) = open_regular(&path)?;
        extents.push(Extent { path, file, len });
    }
    if extents.is_empty() {
        return Err(AuditError::Empty(dir.to_owned()));
    }
    if let Some(last) = extents.last_mut().filter(|_| live) {
        last.len = sealed_len(last)?;
    }
    Ok(extents)
}

/// Bytes up to the end of the last checkpoint, or of the header if there is none yet.
fn sealed_len(segment: &Extent) -> Result<u64, AuditError> {
    let begin = SEGMENT_HEADER_LEN as u64;
    let mut sealed = begin.min(segment.len);
    let mut frames =
        FrameReader::new(BufReader::with_capacity(READ_AHEAD, &segment.file), begin, segment.len);
    loop {
        let mut kind = None;
        let step = frames
            .next_wanted(|found, _| {
                kind = Some(found);
                false
            })
            .map_err(AuditError::io("read", &segment.path))?;
        match step {
            Step::End | Step::Bad(_) => return Ok(sealed),
            Step::Skipped | Step::Frame(_) => match kind {
                Some(FrameKind::Checkpoint | FrameKind::SegmentEnd) => sealed = frames.offset(),
                Some(FrameKind::Batch | FrameKind::Gap) | None => {}
            },
        }
    }
}

/// The other files that make up a log's evidence, in a fixed order: the public key, anchors, what recovery cut off, what
/// retention kept. Links and the like are left out; the secret key never is one of them.
pub fn others(dir: &Path) -> Result<Vec<Extent>, AuditError> {
    let mut extents = Vec::new();
    let mut add = |path: PathBuf| -> Result<(), AuditError> {
        match open_regular(&path) {
            Ok((file, len)) => extents.push(Extent { path, file, len }),
            Err(AuditError::NotAFile(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    };
    let key = dir.join("keys/log.vkey");
    if key.try_exists().map_err(AuditError::io("look at", &key))? {
        add(key)?;
    }
    for folder in ["anchors", "pruned", "torn"].map(|name| dir.join(name)) {
        if !folder.try_exists().map_err(AuditError::io("look at", &folder))? {
            continue;
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(AuditError::io("list", &folder))? {
            let path = entry.map_err(AuditError::io("list", &folder))?.path();
            if path.extension().is_none_or(|extension| extension != "tmp") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.into_iter().try_for_each(&mut add)?;
    }
    Ok(extents)
}
