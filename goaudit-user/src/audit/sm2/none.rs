//! In place of the curve, where goaudit is built without the feature `gm`.

use zeroize::Zeroizing;

use super::POINT;
use crate::audit::note::NoteError;

const NOT_BUILT: NoteError =
    NoteError::Key("SM2 is not known to this goaudit: it is built without the feature gm");

/// There are no secret keys.
pub(super) enum Secret {}

impl Secret {
    pub(super) fn new(_scalar: &[u8; 32]) -> Result<Option<Self>, NoteError> {
        Err(NOT_BUILT)
    }

    pub(super) fn bytes(&self) -> Zeroizing<[u8; 32]> {
        match *self {}
    }

    pub(super) fn point(&self) -> [u8; POINT] {
        match *self {}
    }

    pub(super) fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, NoteError> {
        match *self {}
    }
}

pub(super) fn verifies(_point: &[u8; POINT], _message: &[u8], _signature: &[u8]) -> Result<bool, NoteError> {
    Err(NOT_BUILT)
}
