//! The readers' side: personal fields back in their places, or a word on each that is not.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use minicbor::Decoder;

use super::places::{PLACES, Place};
use super::{bound, nonce};
use crate::audit::ContentKeys;
use crate::audit::content::{ContentError, ContentKey};
use crate::audit::personal::{Found, PersonalDir, PersonalKeyId};
use crate::event::{Event, Missing, Sealed};

/// Keys that are remembered; more than a log has on any day.
const REMEMBERED: usize = 4_096;

/// Opens the personal fields of a log's events.
#[derive(Debug, Default)]
pub struct Opener {
    dir: Option<PersonalDir>,
    keys: ContentKeys,
    /// Keys that were looked for, or why they are not to be had.
    known: HashMap<String, Result<Arc<ContentKey>, String>>,
}

impl Opener {
    /// With the keys beside the log in `log`, as far as these identities open them.
    pub fn new(log: &Path, keys: ContentKeys) -> Self {
        Self { dir: Some(PersonalDir::of(log)), keys, known: HashMap::new() }
    }

    /// Puts the event's personal fields back. Which ones could not be had, and why, is among its missing fields then.
    pub fn open(&mut self, event: &mut Event) {
        for sealed in event.sealed.take().unwrap_or_default() {
            let opened = self.key(&sealed.key).and_then(|key| put_back(event, &sealed, &key));
            if let Err(why) = opened {
                event.missing.extend(sealed.places.iter().map(|number| {
                    let path = PLACES.iter().find(|place| place.number == *number).map(|place| place.path);
                    let path = path.map_or_else(|| format!("personal.{number}").into(), Into::into);
                    Missing { field: path, reason: format!("personal ({}): {why}", sealed.key).into() }
                }));
            }
        }
    }

    fn key(&mut self, name: &str) -> Result<Arc<ContentKey>, String> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let found = self.find(name);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(name.to_owned(), found.clone());
        found
    }

    fn find(&self, name: &str) -> Result<Arc<ContentKey>, String> {
        let id: PersonalKeyId = name.parse().map_err(|()| "its key has no proper name".to_owned())?;
        let Some(dir) = &self.dir else { return Err("encrypted".to_owned()) };
        match dir.find(&id) {
            Ok(Found::Shredded) => Err("its key was destroyed".to_owned()),
            Ok(Found::Absent) => Err("encrypted, and its key is not in the log's directory".to_owned()),
            Ok(Found::Wrapped(wrapped)) => self.keys.unwrap(&wrapped).map_err(|error| match error {
                ContentError::NoKey => "encrypted; give --content-key".to_owned(),
                ContentError::NoMatch(_) => "encrypted to others".to_owned(),
                error => format!("failed to {error}"),
            }),
            Err(error) => Err(format!("failed to {error}")),
        }
    }
}

/// Decrypts values and puts them into their places: all or none.
fn put_back(event: &mut Event, sealed: &Sealed, key: &ContentKey) -> Result<(), String> {
    let mut values = sealed.bytes.clone();
    let bound = bound(sealed, event.ktime.0);
    match key.open_value(&nonce(sealed.number), &bound, &mut values) {
        Ok(true) => {}
        Ok(false) => return Err("does not open with its key: one of them was changed".to_owned()),
        Err(error) => return Err(format!("failed to {error}")),
    }
    let mut filled = event.clone();
    let mut decoder = Decoder::new(&values);
    for number in &sealed.places {
        let place = PLACES.iter().find(|place| place.number == *number);
        let Some(slot) = place.and_then(|Place { find, .. }| find(&mut filled)) else {
            return Err(format!("holds a field {number} that this goaudit does not know here"));
        };
        slot.put(&mut decoder).map_err(|error| format!("its value is malformed: {error}"))?;
    }
    *event = filled;
    Ok(())
}
