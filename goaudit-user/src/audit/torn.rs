//! Torn tails: set aside under `torn/` before they are cut off, never thrown away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::directory::{make_dir, open_regular, sync_dir};
use super::error::AuditError;
use super::recover::hex;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 18;

/// A torn tail that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Segment that it was cut from.
    pub segment_no: u64,
    /// Where it began.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
    /// SHA-256 of it, hex.
    pub sha256: String,
    /// Where it lies now.
    pub path: PathBuf,
}

/// Copies bytes [offset, end) of a segment to `torn/`, durably. What was set aside there before stays.
pub(super) fn set_aside(
    dir: &Path,
    segment_no: u64,
    file: &File,
    offset: u64,
    end: u64,
) -> Result<Torn, AuditError> {
    let folder = dir.join("torn");
    make_dir(&folder)?;
    let mut attempt = 0;
    let path = loop {
        let path = folder.join(name(segment_no, offset, attempt));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(copy) => {
                let digest = copy_range(file, offset, end, &copy).and_then(|digest| {
                    copy.sync_all()?;
                    Ok(digest)
                });
                match digest {
                    Ok(sha256) => break (path, sha256),
                    Err(source) => {
                        // A part of a copy helps nobody; what it is a copy of is still there.
                        let _ = std::fs::remove_file(&path);
                        return Err(AuditError::Io { action: "write", path, source });
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            Err(source) => return Err(AuditError::Io { action: "create", path, source }),
        }
    };
    sync_dir(&folder)?;
    sync_dir(dir)?;
    let (path, sha256) = path;
    Ok(Torn { segment_no, offset, bytes: end - offset, sha256, path })
}

/// A tail that an earlier recovery cut off there, if it did: the last one that was set aside.
pub(super) fn find(dir: &Path, segment_no: u64, offset: u64) -> Option<Torn> {
    let folder = dir.join("torn");
    let mut found = None;
    for attempt in 0.. {
        let path = folder.join(name(segment_no, offset, attempt));
        let Ok((file, bytes)) = open_regular(&path) else { break };
        let Ok(sha256) = copy_range(&file, 0, bytes, io::sink()) else { break };
        found = Some(Torn { segment_no, offset, bytes, sha256, path });
    }
    found
}

/// Moves a file that cannot be used to `torn/`, under its own name and the first number that is free.
pub(super) fn move_aside(dir: &Path, path: &Path) -> Result<(), AuditError> {
    let folder = dir.join("torn");
    make_dir(&folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 0;
    let aside = loop {
        let aside = folder.join(format!("{name}.{number}"));
        if aside.symlink_metadata().is_err() {
            break aside;
        }
        number += 1;
    };
    std::fs::rename(path, &aside).map_err(AuditError::io("set aside", path))?;
    sync_dir(&folder)?;
    sync_dir(dir)
}

fn name(segment_no: u64, offset: u64, attempt: u32) -> String {
    let base = format!("seg-{segment_no:020}-{offset:020}");
    if attempt == 0 { format!("{base}.torn") } else { format!("{base}.{attempt}.torn") }
}

/// Copies and hashes a range of a file.
fn copy_range(from: &File, offset: u64, end: u64, mut to: impl io::Write) -> io::Result<String> {
    let mut source = from;
    source.seek(SeekFrom::Start(offset))?;
    let mut rest = source.take(end - offset);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let n = rest.read(&mut buffer)?;
        let read = buffer.get(..n).unwrap_or_default();
        if read.is_empty() {
            let sha256: [u8; 32] = hasher.finalize().into();
            return Ok(hex(&sha256));
        }
        hasher.update(read);
        to.write_all(read)?;
    }
}
