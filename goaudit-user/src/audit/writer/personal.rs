//! Keys of personal fields: made, named in the log, and destroyed when the log has said so.

use std::path::{Path, PathBuf};

use super::content::fresh;
use super::{Now, Writer, with_room};
use crate::audit::content::{NamedKey, Recipients};
use crate::audit::day::Day;
use crate::audit::error::AuditError;
use crate::audit::personal::{NamedPersonalKey, Personal, PersonalDir, PersonalKey, PersonalKeyId};
use crate::audit::prune;
use crate::audit::record::Record;

/// Most keys that one record says are destroyed.
const KEYS_A_RECORD: usize = 1_000;

/// How the log encrypts personal fields; none if it does not. What was asked for counts for a new log only: an existing one
/// says itself.
pub(super) fn open(
    dir: &Path,
    segments: &[(u64, PathBuf)],
    asked: Option<Personal>,
) -> Result<Option<Personal>, AuditError> {
    let personal = if segments.is_empty() {
        asked
    } else {
        match prune::genesis(dir) {
            Ok(genesis) => genesis.personal,
            // Recovery judges it.
            Err(_) if segments.len() == 1 && asked.is_some() => asked,
            Err(error) if PersonalDir::of(dir).exists() => {
                let what = format!(
                    "personal fields are encrypted, and its beginning, which says to whom, cannot be read ({error})"
                );
                return Err(AuditError::Unrecoverable { dir: dir.to_owned(), what });
            }
            Err(_) => None,
        }
    };
    if let Some(personal) = &personal {
        Recipients::parse(&personal.recipients)?;
    }
    Ok(personal)
}

impl Writer {
    /// How personal fields are encrypted; none if they are not.
    pub fn personal(&self) -> Option<&Personal> {
        self.personal.as_ref()
    }

    /// Makes a key for the personal fields of a class, for today. It is on the disk, wrapped, and the log names it before the
    /// next event. Its caller makes another one when the day ends.
    pub fn new_personal_key(&mut self, class: &str, now: Now) -> Result<PersonalKey, AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        self.collect_syncs(now)?;
        let names = self.personal.as_ref().map(|personal| personal.recipients.as_slice()).unwrap_or_default();
        let recipients = Recipients::parse(names)?;
        let keys = PersonalDir::of(&self.dir);
        let id = keys.free(class, Day::of(now.realtime_ns))?;
        let (key, wrapped) = fresh(&recipients, &mut self.config.seeds)?;
        self.close_batch(now)?;
        self.seal_turn(now)?;
        with_room(&mut self.room, || keys.store(&id, &wrapped))?;
        let named = NamedPersonalKey { id: id.clone(), key: NamedKey::new(&key, &wrapped) };
        self.record(&Record::PersonalKey(named), None, now)?;
        Ok(PersonalKey { id, key })
    }

    /// Destroys the keys of the days before `before`, of one class or of all; returns which. The log says so first, durably.
    pub fn shred(
        &mut self,
        before: Day,
        class: Option<&str>,
        now: Now,
    ) -> Result<Vec<PersonalKeyId>, AuditError> {
        if self.closed {
            return Err(AuditError::Closed);
        }
        self.collect_syncs(now)?;
        let shredded = shreddable(&self.dir, before, class)?;
        if shredded.is_empty() {
            return Ok(shredded);
        }
        self.close_batch(now)?;
        self.seal_turn(now)?;
        for some in shredded.chunks(KEYS_A_RECORD) {
            self.record(&Record::PersonalShred(some.to_vec()), None, now)?;
        }
        self.seal(now)?;
        let keys = PersonalDir::of(&self.dir);
        shredded.iter().try_for_each(|id| keys.destroy(id))?;
        Ok(shredded)
    }
}

/// What [`Writer::shred`] would destroy of the log in `dir`.
pub fn shreddable(dir: &Path, before: Day, class: Option<&str>) -> Result<Vec<PersonalKeyId>, AuditError> {
    let mut found = PersonalDir::of(dir).list()?;
    found.retain(|id| id.day < before && class.is_none_or(|class| class == id.class));
    Ok(found)
}
