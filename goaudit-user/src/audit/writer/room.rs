//! Room on the disk: a ballast file that is given up when it gets tight, so that the end can still be told.
//!
//! When less than `keep_free` bytes are free, or a write finds no room, the ballast is removed and the disk is "low"
//! until there is room for everything again. What is still written then is the caller's decision ([`Writer::is_low`]).
//!
//! [`Writer::is_low`]: super::Writer::is_low

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{Now, nanos};
use crate::audit::error::AuditError;

/// The ballast's name in the log's directory.
const NAME: &str = "ballast";
/// How often the file system is asked.
const LOOK: Duration = Duration::from_millis(250);
/// On an ordinary disk: ballast and low-water mark.
const USUAL: u64 = 64 << 20;
/// On a small one: this part of it.
const PART: u64 = 32;
/// The least that is called room.
const LEAST: u64 = 64 << 10;

/// Bytes that are free on the file system of a directory; replaced in tests.
pub type SpaceFn = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// How much room is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomConfig {
    /// Bytes of the ballast file; 0: none.
    pub ballast: u64,
    /// With less free than this the disk is low; 0: only when a write fails.
    pub keep_free: u64,
}

impl RoomConfig {
    /// 64 MiB each, on small file systems 1/32 of it. `dir` or its nearest parent that exists is looked at.
    pub fn for_disk(dir: &Path) -> Self {
        let there = dir.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty());
        let size = statvfs(there.unwrap_or(Path::new(".")))
            .map_or(u64::MAX, |found| found.f_blocks.saturating_mul(found.f_frsize));
        let part = USUAL.min(size / PART);
        Self { ballast: part, keep_free: part }
    }
}

/// What `statvfs` says.
pub(super) fn free(dir: &Path) -> io::Result<u64> {
    let found = statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Watches the room of one log.
pub(super) struct Room {
    dir: PathBuf,
    config: RoomConfig,
    space: SpaceFn,
    low: bool,
    looked: Option<u64>,
}

impl Room {
    /// Lays the ballast, or finds that there is no room for it.
    pub(super) fn begin(dir: &Path, config: RoomConfig, space: SpaceFn) -> Self {
        let mut room = Self { dir: dir.to_owned(), config, space, low: false, looked: None };
        room.low = !room.has_room() || room.lay().is_err();
        if room.low {
            room.give_up();
        }
        room
    }

    /// Whether it is tight, as far as known.
    pub(super) fn look(&mut self, now: Now) -> bool {
        let due = self.looked.is_none_or(|last| now.boottime_ns.saturating_sub(last) >= nanos(LOOK));
        if !due {
            return self.low;
        }
        self.looked = Some(now.boottime_ns);
        if self.low {
            // Laying the ballast is the proof: a quota does not show in what is free.
            self.low = !self.has_room() || self.lay().is_err();
            if self.low {
                self.give_up();
            }
        } else if self.free() < self.config.keep_free {
            self.full();
        }
        self.low
    }

    /// There is no room: gives the ballast up. Whether that made some.
    pub(super) fn full(&mut self) -> bool {
        self.low = true;
        self.give_up()
    }

    /// Removes the ballast: its time is that of a run.
    pub(super) fn give_up(&self) -> bool {
        std::fs::remove_file(self.dir.join(NAME)).is_ok()
    }

    fn has_room(&self) -> bool {
        let ballast = self.dir.join(NAME).metadata().map_or(0, |laid| laid.len());
        let wanted = self.config.keep_free + self.config.ballast.saturating_sub(ballast);
        // Some more than the mark, so that it does not go to and fro.
        self.free() >= (wanted + wanted / 4).max(if self.low { LEAST } else { 0 })
    }

    fn free(&self) -> u64 {
        // Who cannot be asked does not say no: a write will tell.
        (self.space)(&self.dir).unwrap_or(u64::MAX)
    }

    fn lay(&self) -> io::Result<()> {
        if self.config.ballast == 0 {
            return Ok(());
        }
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(self.dir.join(NAME))?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.config.ballast) {
            Ok(()) => file.set_len(self.config.ballast),
            Err(rustix::io::Errno::OPNOTSUPP) => fill(&file, self.config.ballast),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// For file systems that cannot reserve space.
fn fill(mut file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 16];
    let mut rest = usize::try_from(len).unwrap_or(usize::MAX);
    while let Some(part) = zeros.get(..rest.min(zeros.len())).filter(|part| !part.is_empty()) {
        file.write_all(part)?;
        rest -= part.len();
    }
    file.sync_all()
}

impl AuditError {
    /// Whether the disk, or what is allowed on it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether writing or making a segment failed in a way that may pass: what was to be written is still in memory.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Io { action: "write" | "create" | "sync directory", .. })
    }
}
