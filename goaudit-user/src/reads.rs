//! Who read a log: each reader leaves a note in the log's `reads/`, and the recorder seals it as a `read` event.
//!
//! Readers never touch the log itself, so they need not wait for a recorder nor be one. Nothing that lies in
//! `reads/` is trusted: links are not followed, what is too long or no note is told and left where it is, and a note
//! must say the user that its file belongs to. This module must not print.

mod spool;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use thiserror::Error;

use crate::audit::Now;
use crate::event::Text;
use crate::event::control::Reader;
use crate::host::processes;

pub use spool::Spool;

/// Where notes lie in a log's directory.
const DIRECTORY: &str = "reads";
/// How a note begins; the version of its form.
const MAGIC: &[u8] = b"goaudit-read/1\n";
/// Bytes of the longest note.
const MAX_LEN: usize = 1 << 16;
/// Bytes of arguments that a note keeps: with what is around each of them it stays below [`MAX_LEN`].
const MAX_ARGUMENTS: usize = 1 << 14;
/// How the name of a note ends, and of one that is being written.
const SUFFIX: &str = ".read";
const UNFINISHED: &str = ".tmp";

/// Why a reading is not recorded.
#[derive(Debug, Error)]
#[error("leave a note in {}: {source}", path.display())]
pub struct ReadsError {
    path: PathBuf,
    source: io::Error,
}

/// What a reader asks of a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// The subcommand.
    pub command: &'static str,
    /// First event that is asked for.
    pub from: Option<u64>,
    /// Last event that is asked for.
    pub to: Option<u64>,
    /// Events that are still to come are asked for, too.
    pub follow: bool,
}

impl Asked {
    /// What this process is, as it will be told.
    pub fn by_this_process(self, now: Now) -> Reader {
        let pid = std::process::id();
        let argv: Vec<Vec<u8>> = std::env::args_os().map(OsString::into_vec).collect();
        let (argv, cut) = within(argv);
        Reader {
            command: self.command.to_owned(),
            at_ns: now.realtime_ns,
            pid,
            uid: rustix::process::geteuid().as_raw(),
            login_uid: processes::one(pid).and_then(|found| found.snapshot.process.auid),
            argv,
            argv_cut: cut,
            from: self.from,
            to: self.to,
            follow: self.follow,
        }
    }
}

/// The arguments that a note has room for, and how many are left out.
fn within(argv: Vec<Vec<u8>>) -> (Vec<Text>, u64) {
    let (mut room, mut kept) = (MAX_ARGUMENTS, Vec::new());
    let all = argv.len();
    for argument in argv {
        // What is around an argument counts, too: many empty ones are as long as one.
        let Some(left) = room.checked_sub(argument.len().saturating_add(8)) else { break };
        room = left;
        kept.push(Text::from(argument));
    }
    let cut = all.saturating_sub(kept.len()) as u64;
    (kept, cut)
}

/// Leaves a note with the log in `log`, durably. False if nobody writes that log here: its secret key is not there.
pub fn leave(log: &Path, reader: &Reader) -> Result<bool, ReadsError> {
    let failed = |source: Errno| ReadsError { path: log.join(DIRECTORY), source: source.into() };
    match rustix::fs::stat(log.join("keys/log.key")) {
        Ok(_) => {}
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(errno) => return Err(failed(errno)),
    }
    write(log, reader).map(|()| true).map_err(|source| ReadsError { path: log.join(DIRECTORY), source })
}

fn write(log: &Path, reader: &Reader) -> io::Result<()> {
    let folder = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let log = rustix::fs::open(log, folder, Mode::empty())?;
    match rustix::fs::mkdirat(&log, DIRECTORY, Mode::RWXU) {
        // The log's owner must be able to take notes away that root left.
        Ok(()) => {
            let owner = rustix::fs::fstat(&log)?;
            if owner.st_uid != rustix::process::geteuid().as_raw() {
                let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
                rustix::fs::chownat(&log, DIRECTORY, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            rustix::fs::fsync(&log)?;
        }
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let folder = rustix::fs::openat(&log, DIRECTORY, folder | OFlags::NOFOLLOW, Mode::empty())?;
    let name = format!("{:020}-{}{SUFFIX}", reader.at_ns, reader.pid);
    let unfinished = format!("{name}{UNFINISHED}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
    // Also where the umask is narrow: the log's owner reads what root left. Others do not get into the directory.
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
    let mut file = std::fs::File::from(file);
    let written = file
        .write_all(&bytes(reader))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(rustix::fs::renameat(&folder, &unfinished, &folder, &name)?))
        .and_then(|()| Ok(rustix::fs::fsync(&folder)?));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = rustix::fs::unlinkat(&folder, &unfinished, AtFlags::empty());
    }
    written
}

/// A note as it is stored.
fn bytes(reader: &Reader) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    if let Err(error) = minicbor::encode(reader, &mut bytes) {
        unreachable!("a Vec takes every byte and no encoder of ours fails: {error}");
    }
    bytes
}

/// The note in these bytes, whose file belongs to `owner`; otherwise why it is none.
fn parse(bytes: &[u8], owner: u32) -> Result<Reader, String> {
    if bytes.len() > MAX_LEN {
        return Err(format!("it has more than {MAX_LEN} bytes"));
    }
    let body = bytes.strip_prefix(MAGIC).ok_or("it does not begin as a note of goaudit-read/1")?;
    let mut decoder = minicbor::Decoder::new(body);
    let reader: Reader = decoder.decode().map_err(|error| format!("it is no whole note: {error}"))?;
    if decoder.position() != body.len() {
        return Err("bytes follow the note".to_owned());
    }
    if reader.uid != owner {
        return Err(format!("it says user {} and belongs to user {owner}", reader.uid));
    }
    Ok(reader)
}
