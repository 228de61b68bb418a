//! What can be wrong with stored bytes, and how bad that is.

/// Something wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// How bad.
    pub kind: FaultKind,
    /// What, in a few words.
    pub what: String,
}

/// The three kinds of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Checksums hold, but hashes, signatures, numbers or the chain disagree: somebody wrote that.
    Tampered,
    /// A checksum or the structure is broken: bit rot, a torn write, or a careless hand.
    Damaged,
    /// Made by another version or with options that this build cannot check.
    Unsupported,
}

impl Fault {
    /// Somebody changed it.
    pub fn tampered(what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Tampered, what: what.into() }
    }

    /// It is broken.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Damaged, what: what.into() }
    }

    /// It cannot be checked by this build.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unsupported, what: what.into() }
    }
}
