//! What the log says of the keys of its personal fields, and whether the files beside it are as it says.

use sha2::{Digest as _, Sha256};

use super::books::Property;
use super::{Input, Verifier};
use crate::audit::content::{ContentError, ContentKeys};
use crate::audit::error::AuditError;
use crate::audit::fault::Fault;
use crate::audit::format::Hash;
use crate::audit::personal::{Found, NamedPersonalKey, PersonalDir, PersonalKeyId};
use crate::audit::record::Genesis;

/// The keys that the log names, as far as it was walked.
#[derive(Debug, Clone, Default)]
pub(super) struct PersonalKeys {
    named: Vec<NamedPersonalKey>,
    shredded: Vec<PersonalKeyId>,
}

impl PersonalKeys {
    /// Takes in a key that the log names.
    pub(super) fn named(&mut self, named: NamedPersonalKey, genesis: Option<&Genesis>) -> Result<(), Fault> {
        belongs(&named.id, genesis)?;
        if self.named.iter().any(|known| known.id == named.id) || self.shredded.contains(&named.id) {
            return Err(Fault::tampered(format!("the log names the key {} a second time", named.id)));
        }
        self.named.push(named);
        Ok(())
    }

    /// Takes in keys that the log says are destroyed.
    pub(super) fn shredded(
        &mut self,
        ids: Vec<PersonalKeyId>,
        genesis: Option<&Genesis>,
    ) -> Result<(), Fault> {
        ids.iter().try_for_each(|id| belongs(id, genesis))?;
        self.shredded.extend(ids);
        Ok(())
    }
}

/// Checks that the log has such keys.
fn belongs(id: &PersonalKeyId, genesis: Option<&Genesis>) -> Result<(), Fault> {
    let Some(genesis) = genesis else { return Ok(()) };
    match &genesis.personal {
        Some(personal) if personal.classes.contains(&id.class) => Ok(()),
        Some(_) | None => Err(Fault::tampered(format!(
            "the log names {id}, a key of personal fields, and its first record says that it has none of that class"
        ))),
    }
}

/// What the files say.
#[derive(Default)]
struct Files {
    opened: usize,
    absent: usize,
    wrong: Vec<String>,
    tampered: Vec<String>,
}

impl Files {
    fn look(
        &mut self,
        keys: &PersonalKeys,
        dir: &PersonalDir,
        given: &ContentKeys,
    ) -> Result<(), AuditError> {
        for id in &keys.shredded {
            if matches!(dir.find(id)?, Found::Wrapped(_)) {
                self.wrong
                    .push(format!("{id} was to be destroyed, and it is there: `goaudit shred` destroys it"));
            }
        }
        for named in keys.named.iter().filter(|named| !keys.shredded.contains(&named.id)) {
            match dir.find(&named.id)? {
                Found::Absent => self.absent += 1,
                Found::Shredded => {
                    self.wrong.push(format!("{} was destroyed, and the log does not say so", named.id));
                }
                Found::Wrapped(wrapped) => self.open(named, &wrapped, given),
            }
        }
        Ok(())
    }

    fn open(&mut self, named: &NamedPersonalKey, wrapped: &[u8], given: &ContentKeys) {
        let id = &named.id;
        if Hash::from(Sha256::digest(wrapped)) != named.key.wrapped_sha256 {
            self.tampered.push(format!("the file of the key {id} is not the one that the log named"));
            return;
        }
        match given.unwrap(wrapped) {
            Ok(key) if key.commitment() == named.key.commitment => self.opened += 1,
            Ok(_) => self.tampered.push(format!("the key {id} is not the one that the log committed to")),
            // Who reads only what is not personal has no key for it.
            Err(ContentError::NoKey | ContentError::NoMatch(_) | ContentError::NotBuilt) => {}
            Err(error) => self.wrong.push(format!("the key {id}: failed to {error}")),
        }
    }
}

impl Verifier<'_, '_> {
    /// What the keys of personal fields come to.
    pub(super) fn check_personal(&mut self, input: &Input) {
        let keys = std::mem::take(&mut self.epochs.personal);
        if keys.named.is_empty() && keys.shredded.is_empty() {
            return;
        }
        let (named, shredded) = (keys.named.len(), keys.shredded.len());
        let told = format!("the log names {named} keys of personal fields, and destroyed {shredded}");
        let Some(dir) = &input.dir else {
            self.books.unproven(Property::PersonalKeys, told + "; their files were not looked at");
            return;
        };
        let mut files = Files::default();
        if let Err(error) = files.look(&keys, &PersonalDir::of(dir), &self.contents.keys) {
            self.books.lack(Property::PersonalKeys, format!("failed to {error}"));
            return;
        }
        for what in files.tampered {
            self.books.fault(Property::PersonalKeys, None, None, &Fault::tampered(what));
        }
        // A recorder that destroys keys meanwhile says so in what is not looked at, or has said so and not done it yet.
        if !files.wrong.is_empty() && !input.live {
            self.books.lack(Property::PersonalKeys, files.wrong.join("; "));
            return;
        }
        let mut opened = String::new();
        if files.opened > 0 {
            opened = format!("; the identities that were given open {}", files.opened);
        }
        if files.absent > 0 {
            let absent = format!("; {} are not in the log's directory", files.absent);
            self.books.unproven(Property::PersonalKeys, told + &opened + &absent);
        } else {
            self.books.note(Property::PersonalKeys, told + &opened);
        }
    }
}
