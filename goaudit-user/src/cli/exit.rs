//! How goaudit ends: one table of exit codes, and how an error finds its row.

use std::fmt;
use std::process::ExitCode;

use crate::anchoring::AnchorError;
use crate::audit::{AuditError, ProveError};
use crate::evidence::EvidenceError;
use crate::kernel::KernelError;
use crate::recorder::RecorderError;
use crate::replay::ReplayError;

/// Exit codes; README and the man page list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed; the message says what.
    Error = 1,
    /// The command line or a configuration is wrong.
    Usage = 2,
    /// A log was tampered with or is damaged.
    Tampered = 3,
    /// Events were lost, probes were taken away early, a log does not end in order, or (with --strict) a probe is missing.
    Incomplete = 4,
    /// This kernel lacks something that goaudit cannot work without.
    Unsupported = 5,
    /// A privilege is missing.
    NoPrivilege = 77,
}

impl Exit {
    /// An error that ends goaudit with this code.
    pub fn because(self, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Ended { exit: self, message: message.into() })
    }

    /// The code for an error: what it says itself, or what kind it is.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if let Some(ended) = cause.downcast_ref::<Ended>() {
                return ended.exit;
            }
            match cause.downcast_ref() {
                Some(RecorderError::Missing(_)) => return Self::Incomplete,
                Some(RecorderError::Kernel(kernel)) => return kernel_exit(kernel),
                Some(
                    RecorderError::Audit(_)
                    | RecorderError::Personal(_)
                    | RecorderError::Tap { .. }
                    | RecorderError::Thread(_)
                    | RecorderError::Panicked(_),
                )
                | None => {}
            }
            match cause.downcast_ref() {
                Some(ReplayError::Audit(AuditError::Segment { .. }) | ReplayError::Event { .. }) => {
                    return Self::Tampered;
                }
                Some(ReplayError::Audit(_)) | None => {}
            }
            if let Some(error) = cause.downcast_ref::<ProveError>()
                && is_damage(error)
            {
                return Self::Tampered;
            }
            match cause.downcast_ref() {
                Some(EvidenceError::Log(error)) if is_damage(error) => return Self::Tampered,
                Some(
                    EvidenceError::Log(_)
                    | EvidenceError::Audit(_)
                    | EvidenceError::Write(_)
                    | EvidenceError::Zip(_)
                    | EvidenceError::Json(_)
                    | EvidenceError::Shrunk(_),
                )
                | None => {}
            }
            match cause.downcast_ref() {
                Some(
                    AnchorError::RolledBack { .. }
                    | AnchorError::Forked { .. }
                    | AnchorError::Audit(AuditError::Segment { .. }),
                ) => return Self::Tampered,
                Some(AnchorError::Log(error)) if is_damage(error) => return Self::Tampered,
                Some(
                    AnchorError::Log(_)
                    | AnchorError::Audit(_)
                    | AnchorError::Http(_)
                    | AnchorError::Stamp { .. }
                    | AnchorError::Refused { .. },
                )
                | None => {}
            }
            if let Some(kernel) = cause.downcast_ref::<KernelError>() {
                return kernel_exit(kernel);
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::BrokenPipe
            {
                // `| head` got what it wanted.
                return Self::Ok;
            }
        }
        Self::Error
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Whether a log could not be used because it is damaged or was changed.
const fn is_damage(error: &ProveError) -> bool {
    match error {
        ProveError::Audit(AuditError::Segment { .. })
        | ProveError::Missing { .. }
        | ProveError::Gap(_)
        | ProveError::Checkpoint(_)
        | ProveError::Inconsistent(_) => true,
        ProveError::Audit(_)
        | ProveError::NoSuchEvent { .. }
        | ProveError::NotSealed { .. }
        | ProveError::Pruned { .. }
        | ProveError::TooLarge(_) => false,
    }
}

const fn kernel_exit(error: &KernelError) -> Exit {
    match error {
        KernelError::NoPrivilege { .. } => Exit::NoPrivilege,
        KernelError::Offsets(_) | KernelError::NoRingBuffer(_) | KernelError::NothingAttached(_) => {
            Exit::Unsupported
        }
        KernelError::Load(_) | KernelError::Map(_) => Exit::Error,
    }
}

#[derive(Debug)]
struct Ended {
    exit: Exit,
    message: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Ended {}
