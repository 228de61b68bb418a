//! The SM2 lines of a log's checkpoints, where the log or its verifier demands them.

use super::books::Property;
use super::{Verifier, VerifyOptions};
use crate::audit::fault::Fault;
use crate::audit::note::{Note, NoteError};
use crate::audit::sm2::{self, Sm2Key};

impl Verifier<'_, '_> {
    /// The key whose lines are demanded: the one that was given, or the one that the log's first record names.
    fn sm2_key(&self) -> Option<&Sm2Key> {
        self.sm2.as_ref().or(self.epochs.genesis.as_ref().and_then(|genesis| genesis.sm2.as_ref()))
    }

    /// Checks the SM2 line of a checkpoint.
    pub(super) fn check_sm2_line(&self, note: &[u8]) -> Result<(), (Property, Fault)> {
        let Some(key) = self.sm2_key().filter(|_| sm2::BUILT) else { return Ok(()) };
        let bad = |error: NoteError| (Property::Sm2, Fault::tampered(error.to_string()));
        Note::parse(note).and_then(|note| key.verify(&note)).map_err(bad)
    }

    /// What SM2 lines prove.
    pub(super) fn check_sm2(&mut self, options: &VerifyOptions) {
        let Some(key) = self.sm2_key() else { return };
        let by =
            if options.sm2_key.is_some() { "that was given" } else { "that the log's first record names" };
        let name = key.name().to_owned();
        match (sm2::BUILT, &options.sm2_key) {
            (true, _) => {
                let what = format!("every checkpoint has an SM2 signature by the key {by}, {name}");
                self.books.note(Property::Sm2, what);
            }
            (false, None) => {
                let what = "not proven: this goaudit is built without the feature gm, and does not know SM2";
                self.books.unproven(Property::Sm2, what.to_owned());
            }
            (false, Some(_)) => {
                let what = "SM2 signatures are demanded, and this goaudit is built without the feature gm";
                self.books.lack(Property::Sm2, what.to_owned());
            }
        }
    }
}
