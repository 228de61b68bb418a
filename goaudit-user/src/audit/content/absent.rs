//! A build without encryption: every use of it says so.

use super::{ContentError, ContentKey};
use crate::audit::format::CONTENT_KEY_LEN;

/// There are none.
pub(super) enum Identities {}

impl Identities {
    pub(super) fn unwrap(&self, _wrapped: &[u8]) -> Result<Option<ContentKey>, ContentError> {
        match *self {}
    }
}

pub(super) fn identities(_text: &[u8]) -> Result<Identities, ContentError> {
    Err(ContentError::NotBuilt)
}

pub(super) fn check_recipient(_name: &str) -> Result<(), ContentError> {
    Err(ContentError::NotBuilt)
}

pub(super) fn wrap(_recipients: &[String], _key: &[u8; CONTENT_KEY_LEN]) -> Result<Vec<u8>, ContentError> {
    Err(ContentError::NotBuilt)
}

pub(super) fn seal(
    _key: &[u8; CONTENT_KEY_LEN],
    _nonce: &[u8; 12],
    _bound: &[u8],
    _payload: &mut Vec<u8>,
) -> Result<(), ContentError> {
    Err(ContentError::NotBuilt)
}

pub(super) fn open(
    _key: &[u8; CONTENT_KEY_LEN],
    _nonce: &[u8; 12],
    _bound: &[u8],
    _payload: &mut Vec<u8>,
) -> Result<bool, ContentError> {
    Err(ContentError::NotBuilt)
}
