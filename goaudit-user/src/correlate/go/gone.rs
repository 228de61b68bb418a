//! Why nothing is under way any more in a process, and what that says of calls and panics that had not come to their end.

use std::borrow::Cow;

use crate::event::Exit;
use crate::event::go::Outcome;

/// The status of a program that a fatal panic or a throw ended (runtime/panic.go, in every version).
const FATAL_STATUS: u32 = 2;

/// What happened to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::correlate) enum Gone {
    /// It ended with this status, or else by this signal.
    Exited { code: Option<u32>, signal: Option<u32> },
    /// It runs another program.
    Executed,
    /// Too many calls were under way.
    GivenUp,
    /// Recording ended.
    Open,
}

impl Gone {
    /// It ended.
    pub(in crate::correlate) const fn exited(exit: &Exit) -> Self {
        Self::Exited { code: exit.code, signal: exit.signal }
    }

    /// How its calls ended.
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Exited { .. } | Self::Executed => Outcome::Crashed,
            Self::GivenUp => Outcome::Lost,
            Self::Open => Outcome::Open,
        }
    }

    /// Whether a panic that was under way, and was not seen to become fatal, ended the process; and what that rests on.
    pub(super) fn fatal(self) -> (bool, Cow<'static, str>) {
        match self {
            Self::Exited { signal: Some(signal), .. } => {
                (true, format!("not seen to become so: signal {signal} ended the process").into())
            }
            Self::Exited { code: Some(FATAL_STATUS), .. } => (
                true,
                "not seen to become so: the process ended with status 2, as after a fatal panic".into(),
            ),
            Self::Exited { code: Some(code), .. } => {
                let why = format!("the process ended with status {code}, as it does not after a fatal panic");
                (false, why.into())
            }
            Self::Exited { code: None, signal: None } => {
                (false, "it is not known how the process ended".into())
            }
            Self::Executed => (false, "the process ran another program before its end was seen".into()),
            Self::GivenUp => (false, "its end was not seen: too many calls were under way".into()),
            Self::Open => (false, "it was under way when recording ended".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_fatal_only_if_the_process_ended_as_one_does_that_panicked() {
        let exited = |code, signal| Gone::Exited { code, signal }.fatal().0;
        assert!(exited(Some(2), None) && exited(None, Some(6)));
        assert!(!exited(Some(0), None) && !exited(Some(1), None) && !exited(None, None));
        assert!(![Gone::Executed, Gone::GivenUp, Gone::Open].into_iter().any(|gone| gone.fatal().0));
    }
}
