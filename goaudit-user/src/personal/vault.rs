//! The recorder's side: personal fields out of their places, encrypted with the key of the day.

use std::collections::BTreeMap;

use thiserror::Error;

use super::places::PLACES;
use super::{Class, bound, nonce};
use crate::audit::day::Day;
use crate::audit::personal::{Personal, PersonalKey};
use crate::audit::{AuditError, Now, Writer};
use crate::event::{Event, Sealed};

/// Why a log's personal fields cannot be encrypted. Reads after "failed to ...: ".
#[derive(Debug, Error)]
#[error(
    "encrypt the personal fields of class {0:?}: this goaudit does not know it; use the one that made the log"
)]
pub struct VaultError(String);

/// The keys of a running recorder: one for each class, made when its first field of a day comes.
#[derive(Debug)]
pub struct Vault {
    classes: Vec<Class>,
    keys: BTreeMap<Class, InUse>,
    shred_after_days: u32,
}

#[derive(Debug)]
struct InUse {
    key: PersonalKey,
    /// Values that it encrypted.
    values: u64,
}

impl Vault {
    /// For a log that encrypts personal fields so.
    pub fn new(personal: &Personal) -> Result<Self, VaultError> {
        let known = |name: &String| Class::of(name).ok_or_else(|| VaultError(name.clone()));
        Ok(Self {
            classes: personal.classes.iter().map(known).collect::<Result<_, _>>()?,
            keys: BTreeMap::new(),
            shred_after_days: personal.shred_after_days,
        })
    }

    /// The event as it is to be stored. Keys that it needs are made, and named in the log.
    pub fn seal(&mut self, event: &Event, writer: &mut Writer, now: Now) -> Result<Event, AuditError> {
        let mut event = event.clone();
        let mut taken: BTreeMap<Class, (Vec<u32>, Vec<u8>)> = BTreeMap::new();
        for place in &PLACES {
            let Some(class) = place.classes.iter().find(|class| self.classes.contains(class)) else {
                continue;
            };
            let Some(slot) = (place.find)(&mut event) else { continue };
            let (places, values) = taken.entry(*class).or_default();
            if slot.take(values) {
                places.push(place.number);
            }
        }
        let mut all = Vec::new();
        for (class, (places, bytes)) in taken.into_iter().filter(|(_, (places, _))| !places.is_empty()) {
            let InUse { key, values } = self.key(class, writer, now)?;
            let mut sealed = Sealed { key: key.id.to_string(), number: *values, places, bytes };
            *values += 1;
            let bound = bound(&sealed, event.ktime.0);
            key.key.seal_value(&nonce(sealed.number), &bound, &mut sealed.bytes)?;
            all.push(sealed);
        }
        event.sealed = (!all.is_empty()).then_some(all);
        Ok(event)
    }

    /// The key of a class for today.
    fn key(&mut self, class: Class, writer: &mut Writer, now: Now) -> Result<&mut InUse, AuditError> {
        let today = Day::of(now.realtime_ns);
        if self.keys.get(&class).is_none_or(|in_use| in_use.key.id.day != today) {
            // The old one is forgotten first.
            self.keys.remove(&class);
            let key = writer.new_personal_key(class.name(), now)?;
            self.keys.insert(class, InUse { key, values: 0 });
        }
        self.keys.get_mut(&class).ok_or(AuditError::Closed)
    }

    /// Destroys the keys whose days are over for as long as the log says.
    pub fn shred(&mut self, writer: &mut Writer, now: Now) -> Result<(), AuditError> {
        if self.shred_after_days == 0 {
            return Ok(());
        }
        let before = Day::of(now.realtime_ns).back(self.shred_after_days);
        self.keys.retain(|_, in_use| in_use.key.id.day >= before);
        writer.shred(before, None, now).map(|_| ())
    }
}
