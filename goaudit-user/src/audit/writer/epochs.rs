//! The keys of epochs at work: which one signs, when the next one takes over, and what stands in the key file.
//!
//! The sequence, crash-safe at every step: (a) the next key is in the key file, durably, long before it is needed;
//! (b) its record goes into the log; (c) a checkpoint by the old key seals it, durably; (d) the key file gets the new
//! key and one more for the next turn, the old secret is erased; (e) the new key signs. In memory the new key signs
//! right after (c) is written: a restart finds it in the key file whether or not (d) was reached.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Now, SeedFn, nanos};
use crate::audit::chain::{Chain, Turn};
use crate::audit::directory::open_regular;
use crate::audit::epoch::{self, EpochKeys, StoreFn};
use crate::audit::error::AuditError;
use crate::audit::fault::Fault;
use crate::audit::note::{SignKey, VerifyKey};
use crate::audit::record::{self, Record, last_announcement};

/// The keys of a log's epochs.
pub(super) struct Epochs {
    path: PathBuf,
    store: StoreFn,
    origin: String,
    /// Number of the epoch that signs, and its key; none if that is lost.
    number: u32,
    key: Option<SignKey>,
    /// Why it is lost.
    lost: Option<String>,
    /// The key of the epoch after it: in the key file.
    next: SignKey,
    /// When the epoch began (boot time); none before the first checkpoint of a run, so that each run has its own.
    begun: Option<u64>,
    /// Whether its key has signed.
    used: bool,
    disk: Disk,
}

/// How the key file stands to what is in memory.
enum Disk {
    /// It holds the key and the next one.
    Settled,
    /// It holds the key of the epoch before and this one's; to be replaced once that mark is durable.
    Behind(u64),
    /// It is being replaced.
    Writing(JoinHandle<io::Result<()>>),
}

impl Epochs {
    /// Finds the keys that continue the log in `dir`, whose recovered end is `chain`, and prepares the key file. `chain`
    /// may need a checkpoint at once: then its [`Chain::turn`] says so.
    pub(super) fn open(
        dir: &Path,
        segments: &[(u64, PathBuf)],
        origin: &str,
        chain: &mut Chain,
        store: &StoreFn,
        seeds: &mut SeedFn,
    ) -> Result<Self, AuditError> {
        let stored = epoch::load(dir, origin)?;
        let mut epochs = |number: u32, key: Option<SignKey>, lost, next: Option<SignKey>| {
            let next = match next {
                Some(next) => next,
                None => fresh(origin, number.saturating_add(1), seeds)?,
            };
            Ok::<_, AuditError>(Self {
                path: epoch::path(dir),
                store: StoreFn::clone(store),
                origin: origin.to_owned(),
                number,
                key,
                lost,
                next,
                begun: None,
                used: false,
                disk: Disk::Settled,
            })
        };
        if chain.frontier.size() == 0 {
            // Nothing was recorded: the log begins (again) with the keys that its name commits to.
            let keys =
                stored.ok().filter(|keys| keys.number == 0).ok_or_else(|| AuditError::Unrecoverable {
                    dir: dir.to_owned(),
                    what: "the beginning of the log is gone, and with it what its keys can continue"
                        .to_owned(),
                })?;
            let epochs = epochs(0, Some(keys.key), None, None)?;
            epochs.write().map_err(AuditError::io("write", &epochs.path))?;
            return Ok(epochs);
        }
        let (announced, lost) = announced(segments)?;
        let epoch = *chain.epoch.get_or_insert(announced.number);
        let why = match stored {
            Ok(_) if epoch != announced.number => {
                format!("the last batch is of epoch {epoch}, the last record of epoch {}", announced.number)
            }
            // (d) was done, or nothing was under way.
            Ok(keys)
                if keys.number == epoch && *keys.key.public() == announced.key && chain.turn.is_none() =>
            {
                let epochs = epochs(epoch, Some(keys.key), None, None)?;
                epochs.write().map_err(AuditError::io("write", &epochs.path))?;
                return Ok(epochs);
            }
            // The key before was lost, and the record that says so is not sealed.
            Ok(keys) if keys.number == epoch && *keys.key.public() == announced.key && lost.is_some() => {
                return epochs(epoch.saturating_sub(1), None, lost, Some(keys.key));
            }
            Ok(EpochKeys { number, key, next: Some(next) })
                if number.checked_add(1) == Some(epoch) && *next.public() == announced.key =>
            {
                if chain.turn.is_some() {
                    // (c) is next: the caller signs.
                    return epochs(number, Some(key), None, Some(next));
                }
                let epochs = epochs(epoch, Some(next), None, None)?;
                epochs.write().map_err(AuditError::io("write", &epochs.path))?;
                return Ok(epochs);
            }
            Ok(keys) => format!(
                "the key file is of epoch {}, and not the one of epoch {epoch} of this log",
                keys.number
            ),
            Err(why) => why,
        };
        epoch::set_aside(dir)?;
        let epochs = epochs(epoch, None, Some(why), None)?;
        // The record comes later, with the first checkpoint: until then this file does not fit the log, and a crash
        // leads here again.
        let text = EpochKeys::text(&epochs.next, None);
        (epochs.store)(&epochs.path, text.as_bytes()).map_err(AuditError::io("write", &epochs.path))?;
        Ok(epochs)
    }

    /// Verification key of the epoch that signs; none if its secret is lost.
    pub(super) fn public(&self) -> Option<&VerifyKey> {
        self.key.as_ref().map(SignKey::public)
    }

    /// Why the chain of keys is broken; none if it is not.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// The key that signs a checkpoint now.
    pub(super) fn signer(&self) -> Option<&SignKey> {
        self.key.as_ref()
    }

    /// Whether the next epoch is due: at the start of a run, when the key is lost, and when it is old enough.
    pub(super) fn is_due(&self, now: Now, age: Duration) -> bool {
        let old = self.begun.is_none_or(|begun| now.boottime_ns.saturating_sub(begun) >= nanos(age));
        self.key.is_none() || old
    }

    /// Whether the key has signed anything: if not there is nothing that a thief of it could sign again.
    pub(super) fn is_used(&self) -> bool {
        self.used || self.key.is_none()
    }

    /// Whether the epoch that the last record announces is the one that follows: not when its key was lost.
    pub(super) fn can_seal(&self, chain: &Chain) -> bool {
        chain.epoch == self.number.checked_add(1)
    }

    /// The record that announces the next epoch, and what it means for the chain.
    pub(super) fn announcement(&self) -> (Record, Turn) {
        let turn = if self.key.is_some() { Turn::Announced } else { Turn::KeyLost };
        let epoch = record::Epoch {
            number: self.number.saturating_add(1),
            key: self.next.public().clone(),
            lost: self.lost.clone().filter(|_| turn == Turn::KeyLost),
        };
        (Record::Epoch(Box::new(epoch)), turn)
    }

    /// Notes that a checkpoint is signed; `turned`: it seals the next epoch's record, which begins with it, and `mark`
    /// tells when that is durable. The old secret is gone from memory when this returns.
    pub(super) fn signed(&mut self, turned: Option<SignKey>, mark: u64, now: Now) {
        let Some(after_next) = turned else {
            self.used = true;
            return;
        };
        self.key = Some(std::mem::replace(&mut self.next, after_next));
        self.lost = None;
        self.number = self.number.saturating_add(1);
        self.begun = Some(now.boottime_ns);
        self.used = false;
        self.disk = Disk::Behind(mark);
    }

    /// A key for the epoch after the next.
    pub(super) fn after_next(&self, seeds: &mut SeedFn) -> Result<SignKey, AuditError> {
        fresh(&self.origin, self.number.saturating_add(2), seeds)
    }

    /// Everything up to `mark` is durable: replaces the key file if that waited for it, on a thread of its own.
    pub(super) fn durable(&mut self, mark: u64) {
        let Disk::Behind(waits_for) = self.disk else { return };
        if mark < waits_for {
            return;
        }
        let Some(key) = &self.key else { return };
        let text = EpochKeys::text(key, Some(&self.next));
        let (store, path) = (StoreFn::clone(&self.store), self.path.clone());
        let thread = std::thread::Builder::new().name("goaudit-key".into());
        if let Ok(thread) = thread.spawn(move || store(&path, text.as_bytes())) {
            self.disk = Disk::Writing(thread);
        }
    }

    /// The mark that the key file waits for.
    pub(super) fn waits_for(&self) -> Option<u64> {
        if let Disk::Behind(mark) = self.disk { Some(mark) } else { None }
    }

    /// Waits until the key file holds what is in memory; an error means that it does not, and that the next epoch must
    /// wait. Tried again by the next call.
    pub(super) fn settle(&mut self) -> Result<(), AuditError> {
        match std::mem::replace(&mut self.disk, Disk::Settled) {
            Disk::Settled => Ok(()),
            Disk::Behind(mark) => {
                self.disk = Disk::Behind(mark);
                Err(AuditError::Io {
                    action: "replace",
                    path: self.path.clone(),
                    source: io::Error::other("what it certifies is not durable"),
                })
            }
            Disk::Writing(thread) => {
                let written = thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
                written.map_err(|source| {
                    self.disk = Disk::Behind(0);
                    AuditError::Io { action: "replace", path: self.path.clone(), source }
                })
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        (self.store)(&self.path, EpochKeys::text(key, Some(&self.next)).as_bytes())
    }
}

impl Drop for Epochs {
    fn drop(&mut self) {
        if let Disk::Writing(thread) = std::mem::replace(&mut self.disk, Disk::Settled) {
            // Whether it was written is seen by the next run.
            let _ = thread.join();
        }
    }
}

/// A key made of random bytes.
fn fresh(origin: &str, number: u32, seeds: &mut SeedFn) -> Result<SignKey, AuditError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    seeds(&mut seed).map_err(AuditError::Random)?;
    Ok(SignKey::from_seed(&epoch::name(origin, number), &seed)?)
}

/// The newest epoch that the log names: that of its last record, or epoch 0 of its first.
fn announced(segments: &[(u64, PathBuf)]) -> Result<(record::Epoch, Option<String>), AuditError> {
    for (_, path) in segments.iter().rev() {
        let (file, size) = open_regular(path)?;
        if let Some(epoch) = last_announcement(&file, size).map_err(AuditError::io("read", path))? {
            let lost = epoch.lost.clone();
            return Ok((epoch, lost));
        }
    }
    let fault = Fault::unsupported(
        "the log has no epoch keys: it was made by an older goaudit, or its beginning is gone; record into a new \
         directory",
    );
    let path = segments.first().map(|(_, path)| path.clone()).unwrap_or_default();
    Err(AuditError::Segment { path, offset: 0, fault })
}
