//! The recorder's side of `reads/`: which notes are there, and which of them are sealed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{DIRECTORY, MAX_LEN, SUFFIX, UNFINISHED, parse};
use crate::event::Text;
use crate::event::control::Read;

/// Notes that are taken up at once; the others wait for the next look.
const AT_ONCE: usize = 64;
/// Names that are looked at.
const NAMES: usize = 4096;
/// Names that are told to be no notes, in a run.
const REFUSED: usize = 64;
/// A note that is this old, in seconds, and not finished will not be.
const PATIENCE: i64 = 60;

/// Notes of one log.
#[derive(Debug)]
pub struct Spool {
    log: PathBuf,
    /// In the log, perhaps not durably.
    told: BTreeSet<Vec<u8>>,
    /// No notes, and told to be none: they stay.
    refused: BTreeSet<Vec<u8>>,
}

impl Spool {
    /// Those of the log in `log`.
    pub fn new(log: &Path) -> Self {
        Self { log: log.to_owned(), told: BTreeSet::new(), refused: BTreeSet::new() }
    }

    /// What has not been told, oldest first. Whoever has it in the log calls [`Self::told`].
    pub fn find(&self) -> Vec<Read> {
        let found = self.folder().and_then(|folder| match folder {
            Some(folder) => self.look(&folder),
            None => Ok(Vec::new()),
        });
        found.unwrap_or_else(|error| {
            self.refuse(DIRECTORY.as_bytes(), format!("it cannot be read: {error}")).into_iter().collect()
        })
    }

    /// This one is in the log.
    pub fn told(&mut self, read: &Read) {
        let name = read.file.as_bytes().to_vec();
        if read.error.is_none() {
            self.told.insert(name);
        } else {
            self.refused.insert(name);
        }
    }

    /// Whether notes are in the log that may be taken away once that is durable.
    pub fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Takes the notes away that are in the log: it is durable. One that cannot be taken away is not told again.
    pub fn sealed(&mut self) {
        let Ok(Some(folder)) = self.folder() else { return };
        self.told.retain(|name| {
            let gone = rustix::fs::unlinkat(&folder, name.as_slice(), AtFlags::empty());
            !matches!(gone, Ok(()) | Err(Errno::NOENT))
        });
        // A note that a power cut brings back is told twice, under the same name.
        let _ = rustix::fs::fsync(&folder);
    }

    /// The directory; none if there is none.
    fn folder(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(self.log.join(DIRECTORY), flags, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn look(&self, folder: &OwnedFd) -> io::Result<Vec<Read>> {
        let mut names = BTreeSet::new();
        let mut crowded = false;
        for entry in rustix::fs::Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || self.told.contains(name) || self.refused.contains(name) {
                continue;
            }
            crowded = names.len() == NAMES;
            if crowded {
                break;
            }
            names.insert(name.to_vec());
        }
        let mut found = Vec::new();
        if crowded {
            found.extend(self.refuse(b".", format!("more than {NAMES} entries: notes may wait")));
        }
        // Names of notes begin with the time.
        for name in names {
            if found.len() >= AT_ONCE {
                break;
            }
            match read(folder, &name) {
                Ok(Some(reader)) => {
                    found.push(Read { file: Text::from(name), reader: Some(reader), error: None });
                }
                Ok(None) => {}
                // Told, as far as there is room for that, and left where it is.
                Err(why) => found.extend(self.refuse(&name, why)),
            }
        }
        Ok(found)
    }

    /// Tells of an entry that is no note, once a run, and not of any number of them.
    fn refuse(&self, name: &[u8], why: String) -> Option<Read> {
        let room = self.refused.len() < REFUSED && !self.refused.contains(name);
        room.then(|| Read { file: Text::from(name), reader: None, error: Some(why) })
    }
}

/// The note of that name; none while it is being written; otherwise why it is no note.
fn read(folder: &OwnedFd, name: &[u8]) -> Result<Option<crate::event::control::Reader>, String> {
    // A pipe is not waited for, a device not opened for real: what it is shows before anything is read.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        // Renamed between the look and now.
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err("it is a link".to_owned()),
        Err(errno) => return Err(io::Error::from(errno).to_string()),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| io::Error::from(errno).to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no regular file".to_owned());
    }
    if stat.st_nlink > 1 {
        return Err("it has a second name elsewhere".to_owned());
    }
    if name.ends_with(UNFINISHED.as_bytes()) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        let old = now.saturating_sub(stat.st_mtime) > PATIENCE;
        return if old { Err("its writer was cut off".to_owned()) } else { Ok(None) };
    }
    if !name.ends_with(SUFFIX.as_bytes()) {
        return Err("it is not named as a note".to_owned());
    }
    let mut bytes = Vec::new();
    // One byte more shows that it is too long.
    let most = MAX_LEN.saturating_add(1) as u64;
    File::from(file).take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    parse(&bytes, stat.st_uid).map(Some)
}
