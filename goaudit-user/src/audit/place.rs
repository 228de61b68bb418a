//! Where a log was made: so that a copy of its directory is not continued by mistake.
//!
//! Two writers that go on from one state would seal two histories with one key and the same numbers. The file `place`
//! names host and directory; it guards against mistakes, not against an attacker, who can rewrite it. What it cannot
//! see is a whole disk that went back: a checkpoint kept elsewhere shows that.

use std::fmt::Write as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::directory::{read_small, replace_file, sync_dir};
use super::error::AuditError;
use super::recover::hex;

const NAME: &str = "place";
const MAX_LEN: u64 = 512;

/// Refuses a directory that is a copy of the one in which the log was made; notes the place of a new log.
pub(super) fn check(dir: &Path, host_id: &[u8; 16], new_log: bool) -> Result<(), AuditError> {
    let path = dir.join(NAME);
    let here = describe(dir, host_id)?;
    let noted = match read_small(&path, MAX_LEN) {
        Ok(noted) if !new_log => String::from_utf8_lossy(&noted).into_owned(),
        Ok(_) => String::new(),
        Err(AuditError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if noted.is_empty() {
        replace_file(&path, here.as_bytes(), 0o600).map_err(AuditError::io("write", &path))?;
        return sync_dir(dir);
    }
    if noted == here {
        return Ok(());
    }
    let other_host = host_id != &[0; 16]
        && field(&noted, "host").is_some_and(|host| host != hex(&[0; 16]) && host != hex(host_id));
    let what =
        if other_host { "it was recorded on another host" } else { "it is a copy of another directory" };
    Err(AuditError::Copied { dir: dir.to_owned(), what })
}

/// Host, inode and birth time of the directory. Renaming keeps them, copying and restoring do not.
fn describe(dir: &Path, host_id: &[u8; 16]) -> Result<String, AuditError> {
    let found = statx(CWD, dir, AtFlags::empty(), StatxFlags::INO | StatxFlags::BTIME)
        .map_err(|errno| AuditError::io("look at", dir)(errno.into()))?;
    let mut text = format!("host {}\ninode {}\n", hex(host_id), found.stx_ino);
    if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "born {}.{:09}", found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
    }
    Ok(text)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}
