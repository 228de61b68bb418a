//! Keys of personal fields: one for each class of fields and day, so that what is personal can be destroyed and the log
//! stays proven.
//!
//! The log holds such fields encrypted for good ([`crate::personal`] knows which); their keys lie beside it, wrapped to age
//! recipients, as files in `personal/`. Who removes the file of a key destroys all that was encrypted with it. The log names each
//! key before it is used, and says which ones it destroys before it does.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::content::{ContentKey, NamedKey};
use super::day::Day;
use super::directory::{make_dir, open_regular_with, read_small, replace_file, sync_dir};
use super::error::AuditError;
use super::format::MAX_WRAPPED_LEN;

/// Where the keys lie in a log's directory.
const DIRECTORY: &str = "personal";
/// How the name of a key's file ends.
const SUFFIX: &str = ".age";
/// How the name of a file ends that is left where a key was destroyed.
const SHREDDED: &str = ".shredded";
/// Longest name of a class.
const MAX_CLASS_LEN: usize = 32;

/// What names a key: class of the fields, day, and which one of that day, because a writer that begins does not know the
/// keys of those before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonalKeyId {
    /// Lower-case letters.
    pub class: String,
    /// Day on which it encrypts.
    pub day: Day,
    /// From 0.
    pub number: u32,
}

impl fmt::Display for PersonalKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.class, self.day, self.number)
    }
}

impl FromStr for PersonalKeyId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (class, rest) = text.split_once('-').ok_or(())?;
        let (day, number) = rest.rsplit_once('-').ok_or(())?;
        let id = Self { class: class.to_owned(), day: day.parse()?, number: number.parse().map_err(|_| ())? };
        if is_class(class) && id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// Whether this can be the name of a class.
pub fn is_class(name: &str) -> bool {
    (1..=MAX_CLASS_LEN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A key that encrypts.
#[derive(Debug)]
pub struct PersonalKey {
    /// Its name.
    pub id: PersonalKeyId,
    /// The key itself.
    pub key: ContentKey,
}

/// What the log says of a key before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPersonalKey {
    /// Its name.
    pub id: PersonalKeyId,
    /// What it and its file are.
    pub key: NamedKey,
}

/// How personal fields of a log are encrypted, once and for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personal {
    /// Names of the classes whose fields are.
    pub classes: Vec<String>,
    /// Age recipients of their keys.
    pub recipients: Vec<String>,
    /// Keys are destroyed by themselves so many days after their day; 0: never.
    pub shred_after_days: u32,
}

/// What is found under a key's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The key, wrapped.
    Wrapped(Vec<u8>),
    /// It was destroyed.
    Shredded,
    /// Nothing.
    Absent,
}

/// The keys beside a log.
#[derive(Debug, Clone)]
pub struct PersonalDir(PathBuf);

impl PersonalDir {
    /// Those beside the log in `log`.
    pub fn of(log: &Path) -> Self {
        Self(log.join(DIRECTORY))
    }

    /// Whether there ever was one.
    pub(super) fn exists(&self) -> bool {
        self.0.symlink_metadata().is_ok()
    }

    fn path(&self, id: &PersonalKeyId, suffix: &str) -> PathBuf {
        self.0.join(format!("{id}{suffix}"))
    }

    /// Looks for a key.
    pub fn find(&self, id: &PersonalKeyId) -> Result<Found, AuditError> {
        match read_small(&self.path(id, SUFFIX), MAX_WRAPPED_LEN as u64 + 1) {
            Ok(wrapped) => Ok(Found::Wrapped(wrapped)),
            Err(AuditError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let gone = self.path(id, SHREDDED).symlink_metadata().is_ok();
                Ok(if gone { Found::Shredded } else { Found::Absent })
            }
            Err(error) => Err(error),
        }
    }

    /// The keys that are there, in order.
    pub(super) fn list(&self) -> Result<Vec<PersonalKeyId>, AuditError> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(AuditError::io("list", &self.0))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(AuditError::io("list", &self.0))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|id| id.parse().ok());
            found.extend(id);
        }
        found.sort();
        Ok(found)
    }

    /// A name that no key has or had.
    pub(super) fn free(&self, class: &str, day: Day) -> Result<PersonalKeyId, AuditError> {
        let mut id = PersonalKeyId { class: class.to_owned(), day, number: 0 };
        while self.find(&id)? != Found::Absent {
            id.number += 1;
        }
        Ok(id)
    }

    /// Keeps a wrapped key, durably.
    pub(super) fn store(&self, id: &PersonalKeyId, wrapped: &[u8]) -> Result<(), AuditError> {
        if !self.exists() {
            make_dir(&self.0)?;
            self.0.parent().map_or(Ok(()), sync_dir)?;
        }
        let path = self.path(id, SUFFIX);
        replace_file(&path, wrapped, 0o600).map_err(AuditError::io("write", &path))?;
        sync_dir(&self.0)
    }

    /// Destroys a key, durably, and leaves an empty file that says so.
    pub(super) fn destroy(&self, id: &PersonalKeyId) -> Result<(), AuditError> {
        let path = self.path(id, SUFFIX);
        let (mut file, len) = open_regular_with(OpenOptions::new().write(true), &path)?;
        let zeros = vec![0; usize::try_from(len).unwrap_or(MAX_WRAPPED_LEN).min(MAX_WRAPPED_LEN)];
        file.write_all(&zeros)
            .and_then(|()| file.sync_all())
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&path, self.path(id, SHREDDED)))
            .map_err(AuditError::io("destroy", &path))?;
        sync_dir(&self.0)
    }
}
