//! Personal fields: what of an event is about a person, and can be destroyed while the log stays proven.
//!
//! A log that is begun with classes of personal fields (`goaudit init --personal`) gets them encrypted, each class with a key
//! of its day ([`crate::audit::personal`]). The log commits to the encrypted bytes: proofs hold with and without the keys,
//! and after the keys are gone. The recorder takes such fields out ([`Vault`]), readers put them back ([`Opener`]);
//! whoever has no key is told which fields there are. This module must not print.

mod opener;
mod places;
#[cfg(all(test, feature = "age"))]
mod tests;
mod vault;

pub use opener::Opener;
pub use vault::{Vault, VaultError};

use crate::event::Sealed;

/// A class of personal fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Who asked.
    Subject,
    /// What was asked for.
    Object,
    /// Arguments of programs and of Go functions, and what is set around them.
    Arguments,
    /// Names of users on the host.
    User,
    /// Texts that programs write: errors, panics.
    Messages,
}

impl Class {
    /// Every class with its name in the log, and what it is in a few words.
    pub const NAMES: [(Self, &'static str, &'static str); 5] = [
        (Self::Subject, "subject", "who asked for a decision"),
        (Self::Object, "object", "what a decision was about"),
        (Self::Arguments, "arguments", "command lines, environment, directories; arguments of Go functions"),
        (Self::User, "user", "names of users"),
        (Self::Messages, "messages", "texts of errors and panics"),
    ];

    /// Its name in the log.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(class, ..)| *class == self).map_or("", |(_, name, _)| name)
    }

    /// The class of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known, _)| *known == name).map(|(class, ..)| *class)
    }
}

/// Nonce of a value: its number, so that none is used twice with a key.
fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    nonce
}

/// What a value is bound to: its key's name, its fields, and the time of its event.
fn bound(sealed: &Sealed, ktime_ns: u64) -> Vec<u8> {
    let Sealed { key, places, number: _, bytes: _ } = sealed;
    let mut bound = format!("goaudit personal\n{key}\n").into_bytes();
    bound.extend(ktime_ns.to_be_bytes());
    bound.extend(places.iter().flat_map(|place| place.to_be_bytes()));
    bound
}
