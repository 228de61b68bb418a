//! Who else could change a log's directory: links that somebody else laid and owners that are not us are refused.
//!
//! Within a directory that only we may write, nobody can swap a file under us; so it is enough to look at the
//! directory itself and at the ones in it, and to follow no link among their files ([`super::directory`]).

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::AuditError;

/// Directories in a log's directory.
const SUBDIRECTORIES: [&str; 5] = ["keys", "torn", "pruned", "anchors", "reads"];
/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Refuses `dir` if somebody else than this process' user (or root) could change what is in it.
pub(super) fn check(dir: &Path) -> Result<(), AuditError> {
    let link = std::fs::symlink_metadata(dir).map_err(AuditError::io("look at", dir))?;
    if link.is_symlink() && !is_ours(link.uid()) {
        return refuse(dir, format!("it is a link that user {} laid: name the directory itself", link.uid()));
    }
    check_owner(dir)?;
    for name in SUBDIRECTORIES {
        let path = dir.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => check_owner(&path)?,
            Ok(_) => {
                return refuse(
                    &path,
                    "it is a link or a file where a directory belongs: take it away".into(),
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(AuditError::io("look at", &path)(source)),
        }
    }
    Ok(())
}

fn check_owner(dir: &Path) -> Result<(), AuditError> {
    let found = std::fs::metadata(dir).map_err(AuditError::io("look at", dir))?;
    if !is_ours(found.uid()) {
        return refuse(
            dir,
            format!(
                "it belongs to user {}, who could change the log: chown it, or name a directory that is not there yet",
                found.uid()
            ),
        );
    }
    let mode = found.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return refuse(dir, format!("others may write into it (mode {mode:o}): chmod go-w, or name another"));
    }
    Ok(())
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn refuse(path: &Path, what: String) -> Result<(), AuditError> {
    Err(AuditError::NotOurs { path: path.to_owned(), what })
}
