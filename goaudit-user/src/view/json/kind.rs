//! Kinds of events, and sets of them: which kinds a question is about is known before an event is decoded.

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Event, Payload};
use crate::hook;

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// execve or execveat.
    Exec,
    /// A new process or thread.
    Fork,
    /// The end of a process.
    Exit,
    /// prctl.
    Prctl,
    /// ptrace.
    Ptrace,
    /// A call of a probed Go function.
    GoCall,
    /// An authorization decision.
    Authz,
    /// A Go panic.
    GoPanic,
    /// A goroutine that ended itself (`runtime.Goexit`).
    GoExit,
    /// A probed Go program got a signal that it should not get.
    GoSignal,
    /// About the recorder itself.
    Control,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Exec,
        Self::Fork,
        Self::Exit,
        Self::Prctl,
        Self::Ptrace,
        Self::GoCall,
        Self::Authz,
        Self::GoPanic,
        Self::GoExit,
        Self::GoSignal,
        Self::Control,
    ];

    /// Kind of an event.
    pub const fn of(payload: &Payload) -> Self {
        match payload {
            Payload::Exec(_) => Self::Exec,
            Payload::Fork(_) => Self::Fork,
            Payload::Exit(_) => Self::Exit,
            Payload::Prctl(_) => Self::Prctl,
            Payload::Ptrace(_) => Self::Ptrace,
            Payload::GoCall(_) => Self::GoCall,
            Payload::Authz(_) => Self::Authz,
            Payload::GoPanic(_) => Self::GoPanic,
            Payload::GoExit(_) => Self::GoExit,
            Payload::GoSignal(_) => Self::GoSignal,
            Payload::Control(_) => Self::Control,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::Prctl => "prctl",
            Self::Ptrace => "ptrace",
            Self::GoCall => "go_call",
            Self::Authz => "authz",
            Self::GoPanic => "go_panic",
            Self::GoExit => "go_exit",
            Self::GoSignal => "go_signal",
            Self::Control => "control",
        }
    }

    /// The hook whose events these are; none for the recorder's own.
    pub const fn hook(self) -> Option<&'static str> {
        match self {
            Self::Exec => Some(hook::exec::HOOK.name),
            Self::Fork => Some(hook::fork::HOOK.name),
            Self::Exit => Some(hook::exit::HOOK.name),
            Self::Prctl => Some(hook::prctl::HOOK.name),
            Self::Ptrace => Some(hook::ptrace::HOOK.name),
            Self::GoCall | Self::Authz | Self::GoPanic | Self::GoExit | Self::GoSignal => {
                Some(hook::go::HOOK.name)
            }
            Self::Control => None,
        }
    }
}

impl Kind {
    /// Kind of an event in its stored form, without decoding it; none if only decoding can tell.
    pub fn of_stored(stored: &[u8]) -> Option<Self> {
        let variant = Event::stored_payload(stored)?;
        STORED.iter().find(|row| row.0 == variant).map(|row| row.1)
    }

    /// Its bit in a set.
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The variants of [`Payload`] by their number in the stored form.
const STORED: [(u32, Kind); Kind::ALL.len()] = [
    (0, Kind::Exec),
    (1, Kind::Fork),
    (2, Kind::Exit),
    (3, Kind::Prctl),
    (4, Kind::Ptrace),
    (5, Kind::Control),
    (6, Kind::GoCall),
    (7, Kind::Authz),
    (8, Kind::GoPanic),
    (9, Kind::GoExit),
    (10, Kind::GoSignal),
];

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Whether a kind is in it.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The same with a kind.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// The kinds that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        assert_eq!(Kind::ALL.into_iter().collect::<Kinds>(), Kinds::ALL);
        let some: Kinds = [Kind::Exec, Kind::Control].into_iter().collect();
        for kind in Kind::ALL {
            assert!(Kinds::ALL.contains(kind) && !Kinds::NONE.contains(kind));
            assert_eq!(some.contains(kind), matches!(kind, Kind::Exec | Kind::Control), "{}", kind.name());
        }
        assert_eq!(some.and(Kinds::NONE.with(Kind::Exec)), Kinds::NONE.with(Kind::Exec));
    }
}
