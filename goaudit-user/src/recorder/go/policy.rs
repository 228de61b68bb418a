//! The registry of policies: which files libraries decide by, what their content is, and since when.
//!
//! A decision gets the version of its library's files only if its process began after they last changed: what a process
//! has read that was there before, nobody can see. A change is an event, with the processes that may still decide by
//! what was there before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::audit::{Now, hex};
use crate::event::control;
use crate::host::clock;

/// A file that a library decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The library, as the first part of a probe's id: `casbin`.
    pub library: String,
    /// The file.
    pub path: PathBuf,
}

/// Longer files are no policies.
const BYTES_MAX: u64 = 256 << 20;

/// What of a file changes when its content does. The time of the last change cannot be set back, other than that of
/// the last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// When that was, by the clock of events.
    fn changed_ktime_ns(self, now: Now) -> u64 {
        let (seconds, nanoseconds) = self.changed;
        let changed = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let offset = i128::from(now.realtime_ns) - i128::from(now.boottime_ns);
        u64::try_from(changed - offset).unwrap_or(0)
    }
}

/// Content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    sha256: String,
    since_ktime_ns: u64,
}

#[derive(Debug)]
struct Watched {
    file: PolicyFile,
    stamp: Option<Stamp>,
    content: Result<Content, String>,
}

/// The version of a library's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// `sha256:` and the digest of each file in the order in which they were given, with `+` between.
    pub(super) text: String,
    /// When the last of them changed, boot time.
    pub(super) since_ktime_ns: u64,
}

/// Of each library that has files: their version, or why there is none.
pub(super) type Versions = BTreeMap<String, Result<Version, String>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Registry {
    watched: Vec<Watched>,
}

impl Registry {
    pub(super) fn new(files: &[PolicyFile]) -> Self {
        let unread = || Err("it was not read yet".to_owned());
        let watched = files.iter().map(|file| Watched { file: file.clone(), stamp: None, content: unread() });
        Self { watched: watched.collect() }
    }

    /// Looks at the files again: what is new of each, without the processes.
    pub(super) fn look(&mut self) -> Vec<control::Policy> {
        self.watched.iter_mut().filter_map(Watched::look).collect()
    }

    pub(super) fn versions(&self) -> Versions {
        let mut versions = Versions::new();
        for Watched { file, content, .. } in &self.watched {
            let content = content.clone().map_err(|error| format!("{}: {error}", file.path.display()));
            let own = content.map(|content| Version {
                text: format!("sha256:{}", content.sha256),
                since_ktime_ns: content.since_ktime_ns,
            });
            let joined = match (versions.remove(&file.library), own) {
                (None, own) => own,
                (Some(Ok(before)), Ok(own)) => Ok(Version {
                    text: format!("{}+{}", before.text, own.text.trim_start_matches("sha256:")),
                    since_ktime_ns: before.since_ktime_ns.max(own.since_ktime_ns),
                }),
                (Some(Err(error)), _) | (Some(Ok(_)), Err(error)) => Err(error),
            };
            versions.insert(file.library.clone(), joined);
        }
        versions
    }
}

impl Watched {
    fn look(&mut self) -> Option<control::Policy> {
        let stamp = fs::metadata(&self.file.path).map(|metadata| Stamp::of(&metadata)).ok();
        if stamp.is_some() && stamp == self.stamp {
            return None;
        }
        let first =
            self.stamp.is_none() && self.content.as_ref().is_err_and(|error| error.contains("not read"));
        let (stamp, content) = match read(&self.file.path) {
            Ok((stamp, sha256)) => {
                (Some(stamp), Ok(Content { sha256, since_ktime_ns: stamp.changed_ktime_ns(clock::now()) }))
            }
            Err(error) => (None, Err(error.to_string())),
        };
        let digest =
            |content: &Result<Content, String>| content.as_ref().ok().map(|content| content.sha256.clone());
        let told = first || digest(&content) != digest(&self.content);
        let policy = control::Policy {
            library: self.file.library.clone(),
            path: self.file.path.as_os_str().as_encoded_bytes().into(),
            sha256: digest(&content),
            previous: digest(&self.content),
            error: content.as_ref().err().cloned(),
            bytes: stamp.map(|stamp| stamp.size),
            changed_ktime_ns: content.as_ref().ok().map(|content| content.since_ktime_ns),
            processes: Vec::new(),
        };
        // Touched without a change: processes that began before have read the same.
        let content = match (content, &self.content) {
            (Ok(new), Ok(old)) if new.sha256 == old.sha256 => Ok(old.clone()),
            (new, _) => new,
        };
        (self.stamp, self.content) = (stamp, content);
        told.then_some(policy)
    }
}

/// Digest of a file, and the stamp of what was read.
fn read(path: &Path) -> std::io::Result<(Stamp, String)> {
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    if stamp.size > BYTES_MAX {
        return Err(std::io::Error::other("it is larger than any policy"));
    }
    let mut hasher = Sha256::new();
    let mut file = file.take(BYTES_MAX);
    let mut piece = vec![0; 64 << 10];
    loop {
        let len = file.read(&mut piece)?;
        let Some(read) = piece.get(..len).filter(|read| !read.is_empty()) else { break };
        hasher.update(read);
    }
    Ok((stamp, hex(&hasher.finalize())))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// SHA-256 of "abc", FIPS 180-4's example, and of nothing.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn changes_are_told_once_and_digests_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let [model, rules] = ["model.conf", "policy.csv"].map(|name| folder.path().join(name));
        fs::write(&model, "abc").unwrap();
        let file = |path: &PathBuf| PolicyFile { library: "casbin".to_owned(), path: path.clone() };
        let mut registry = Registry::new(&[file(&model), file(&rules)]);
        let told = registry.look();
        let digests: Vec<_> = told.iter().map(|policy| policy.sha256.as_deref()).collect();
        assert_eq!(digests, [Some(ABC), None]);
        assert!(told.last().unwrap().error.as_ref().unwrap().contains("No such file"));
        assert!(registry.versions().get("casbin").unwrap().is_err(), "one of two is no version");
        assert!(registry.look().is_empty());
        fs::write(&rules, "").unwrap();
        let told = registry.look();
        assert_eq!(told.len(), 1);
        let version = registry.versions().remove("casbin").unwrap().unwrap();
        assert_eq!(version.text, format!("sha256:{ABC}+{EMPTY}"));
        assert!(version.since_ktime_ns > 0 && version.since_ktime_ns <= clock::now().boottime_ns);
        // Another file by the same name, with the same content: nothing that decisions depend on.
        let other = folder.path().join("other");
        fs::write(&other, "abc").unwrap();
        fs::rename(&other, &model).unwrap();
        assert!(registry.look().is_empty());
        assert_eq!(registry.versions().remove("casbin").unwrap().unwrap(), version);
        fs::write(&other, "abd").unwrap();
        fs::rename(&other, &model).unwrap();
        let told = registry.look();
        assert_eq!(told.first().and_then(|policy| policy.previous.as_deref()), Some(ABC));
        fs::remove_file(&model).unwrap();
        assert_eq!(registry.look().first().unwrap().sha256, None);
        assert!(registry.look().is_empty());
    }
}
