//! The directory of a log: names of its files, its lock, and writes that survive a crash.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::error::AuditError;
use super::format::SegmentHead;

/// A verifier holds the lock for an instant to see whether a writer has it; a writer waits that long for it.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Path of a segment.
pub(super) fn segment_path(dir: &Path, segment_no: u64) -> PathBuf {
    dir.join(format!("seg-{segment_no:020}.gal"))
}

/// Number in a segment's file name; none if it is no segment's name.
pub(super) fn segment_no(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_prefix("seg-")?.strip_suffix(".gal")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// Path of the copy of the latest durable checkpoint.
pub(super) fn checkpoint_path(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

/// The segments of a directory, by number.
pub(super) fn list_segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(AuditError::io("list", dir))? {
        let path = entry.map_err(AuditError::io("list", dir))?.path();
        if let Some(number) = segment_no(&path) {
            segments.push((number, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// Whether there is a log in `dir`, or the keys of one.
pub fn has_log(dir: &Path) -> Result<bool, AuditError> {
    if !dir.try_exists().map_err(AuditError::io("look at", dir))? {
        return Ok(false);
    }
    let keys = dir.join("keys");
    Ok(!list_segments(dir)?.is_empty() || keys.try_exists().map_err(AuditError::io("look at", &keys))?)
}

/// Which log the first segment in `dir` says it is of; nothing is verified. None if it cannot be told.
pub fn log_id_of(dir: &Path) -> Result<Option<[u8; 16]>, AuditError> {
    let Some((_, path)) = list_segments(dir)?.into_iter().next() else { return Ok(None) };
    let (file, _) = open_regular(&path)?;
    let mut id = [0; 16];
    let place = std::mem::offset_of!(SegmentHead, log_id) as u64;
    Ok(file.read_exact_at(&mut id, place).ok().map(|()| id))
}

/// Path of a segment that was pruned.
pub(super) fn pruned_path(dir: &Path, segment_no: u64) -> PathBuf {
    segment_path(&dir.join("pruned"), segment_no)
}

/// The segments of a directory and the pruned ones; where one is there in both forms (a crash came between) the whole one.
pub(super) fn list_all(dir: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    // The whole ones first: one that is pruned meanwhile was in `pruned` before it went from here.
    let whole = list_segments(dir)?;
    let mut all = std::collections::BTreeMap::new();
    let pruned = dir.join("pruned");
    if pruned.is_dir() {
        all.extend(list_segments(&pruned)?);
    }
    all.extend(whole);
    Ok(all.into_iter().collect())
}

/// Opens a regular file for reading; links, pipes and devices are refused, not followed.
pub(super) fn open_regular(path: &Path) -> Result<(File, u64), AuditError> {
    open_regular_with(OpenOptions::new().read(true), path)
}

/// As [`open_regular`], with other options.
pub(super) fn open_regular_with(options: &mut OpenOptions, path: &Path) -> Result<(File, u64), AuditError> {
    let file = options.custom_flags(guard_flags()).open(path).map_err(|source| {
        if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            AuditError::NotAFile(path.to_owned())
        } else {
            AuditError::Io { action: "open", path: path.to_owned(), source }
        }
    })?;
    let metadata = file.metadata().map_err(AuditError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(AuditError::NotAFile(path.to_owned()));
    }
    Ok((file, metadata.len()))
}

/// Reads a small regular file, at most `max` bytes of it.
pub(super) fn read_small(path: &Path, max: u64) -> Result<Vec<u8>, AuditError> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).map_err(AuditError::io("read", path))?;
    Ok(bytes)
}

/// No link is followed, and opening a pipe does not wait for its other end.
fn guard_flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// Makes `dir` (0700) with its parents, if it is not there.
pub(super) fn make_dir(dir: &Path) -> Result<(), AuditError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AuditError::io("make directory", dir))
}

/// Makes renames and new names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(AuditError::io("sync directory", dir))
}

/// Replaces `path` by `bytes`: whole or not at all, also after a power cut. The directory is not synced: after a
/// power cut the old file may be there.
pub(super) fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    let _ = std::fs::remove_file(&tmp);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(guard_flags())
        .open(&tmp)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&tmp, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&tmp);
    }
    written
}

/// Holds the directory for one writer, until it is dropped.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock of `dir`.
    pub(super) fn take(dir: &Path) -> Result<Self, AuditError> {
        let path = dir.join("lock");
        let options = &mut OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let (file, _) = open_regular_with(options, &path)?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(AuditError::Locked(dir.to_owned())),
                Err(errno) => {
                    return Err(AuditError::Io { action: "lock", path, source: errno.into() });
                }
            }
        }
    }

    /// Whether a writer holds the lock of `dir` now.
    pub(super) fn is_taken(dir: &Path) -> bool {
        let Ok((file, _)) = open_regular(&dir.join("lock")) else {
            return false;
        };
        matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
    }
}
