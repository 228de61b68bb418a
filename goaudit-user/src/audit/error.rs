//! What can go wrong when a log is written or read, with cause and fix.

use std::io;
use std::path::{Path, PathBuf};

use super::content::ContentError;
use super::fault::Fault;
use super::note::NoteError;

/// Why the log could not be written or read. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An operation on a file failed.
    #[error("{action} {}: {source}{}", path.display(), fix(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Data may not have reached the disk, and a second attempt would not tell.
    #[error(
        "sync {}: {source}; the disk or its connection fails: look at the kernel log and record to another disk \
         (what was sealed before is not affected)", path.display()
    )]
    Sync {
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another writer holds the directory.
    #[error("another goaudit writes to {}: stop that one, or give this one a directory of its own", .0.display())]
    Locked(PathBuf),
    /// No segments there.
    #[error("no segments (seg-*.gal) in {}: is it the directory that `goaudit record -w` was given?", .0.display())]
    Empty(PathBuf),
    /// Not a regular file.
    #[error("{} is not a regular file: links and special files are not followed", .0.display())]
    NotAFile(PathBuf),
    /// Somebody else could change it.
    #[error("use {}: {what}", path.display())]
    NotOurs {
        /// Which directory.
        path: PathBuf,
        /// Why not, and what helps.
        what: String,
    },
    /// The directory is a copy.
    #[error(
        "continue the log in {}: {what}, and two logs that go on from one state would seal two histories with one key; \
         record into a new directory. If this is the only one left (a restored backup, a moved disk), remove the file \
         `place` in it: the events since the copy was made are missing then, and `goaudit verify --expect` says so",
        dir.display()
    )]
    Copied {
        /// The log's directory.
        dir: PathBuf,
        /// How that shows.
        what: &'static str,
    },
    /// Another version or an option that this build does not know.
    #[error("continue the log in {}: {what}; use the goaudit that wrote it, or record into a new directory", dir.display())]
    Foreign {
        /// The log's directory.
        dir: PathBuf,
        /// What is not known.
        what: String,
    },
    /// A segment that cannot be read at one place.
    #[error("segment {} at byte {offset}: {fault}", path.display())]
    Segment {
        /// Which segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        fault: Fault,
    },
    /// The log cannot be continued.
    #[error(
        "continue the log in {}: {what}; keep the directory as evidence (`goaudit verify` names the place) and \
         record into a new one", dir.display()
    )]
    Unrecoverable {
        /// The log's directory.
        dir: PathBuf,
        /// Why not.
        what: String,
    },
    /// A key file cannot be used.
    #[error("use the key {}: {what}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// A key or a note that was given is not good.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// An event is larger than the format allows.
    #[error("store an event of {0} bytes: the format allows 16 MiB")]
    EventTooLarge(usize),
    /// The kernel gives no random bytes.
    #[error("get random bytes: {0}")]
    Random(io::Error),
    /// zstd found no memory or failed.
    #[error("compress a batch: {0}")]
    Compress(io::Error),
    /// Encryption.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The writer had given up before.
    #[error("write: the writer gave up after an earlier error; open it again")]
    Closed,
}

impl AuditError {
    /// Makes an error of `action` on `path`, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What helps, by the kind of error.
fn fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there or give another directory: what is sealed is safe, and recording goes on by itself \
             once there is room"
        }
        io::ErrorKind::FileTooLarge => "; raise the file size limit (ulimit -f) of the recorder",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only: give another directory",
        io::ErrorKind::PermissionDenied => "; run as the user who owns the log, or give another directory",
        io::ErrorKind::NotFound => "; check the path",
        _ => "",
    }
}
