//! How goaudit ends: one table of exit codes, and how an error finds its row.

use std::fmt;
use std::process::ExitCode;

use crate::audit::{AuditError, ProveError};
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
    /// Events were lost, a log does not end in order, or (with --strict) a probe is missing.
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
            match cause.downcast_ref() {
                Some(
                    ProveError::Audit(AuditError::Segment { .. })
                    | ProveError::Missing { .. }
                    | ProveError::Gap(_)
                    | ProveError::Checkpoint(_)
                    | ProveError::Inconsistent(_),
                ) => return Self::Tampered,
                Some(
                    ProveError::Audit(_)
                    | ProveError::NoSuchEvent { .. }
                    | ProveError::NotSealed { .. }
                    | ProveError::Pruned { .. }
                    | ProveError::TooLarge(_),
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
