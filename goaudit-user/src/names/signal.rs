//! Signals by name: the numbers of x86-64 and arm64.

/// Names of the standard signals, by number; the first is "no signal".
pub const SIGNALS: [&str; 32] = [
    "0",
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// First real-time signal, as the kernel counts (libc keeps two or three of them for itself).
const SIGRTMIN: u64 = 32;
/// Last real-time signal.
const SIGRTMAX: u64 = 64;

/// Name of a signal number: `SIGKILL`, `SIGRTMIN+2`; none if there is no such signal.
pub fn name(number: u64) -> Option<String> {
    if (SIGRTMIN..=SIGRTMAX).contains(&number) {
        return Some(match number - SIGRTMIN {
            0 => "SIGRTMIN".into(),
            above => format!("SIGRTMIN+{above}"),
        });
    }
    SIGNALS.get(usize::try_from(number).ok()?).map(|name| (*name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(name(9).as_deref(), Some("SIGKILL"));
        assert_eq!(name(31).as_deref(), Some("SIGSYS"));
        assert_eq!(name(34).as_deref(), Some("SIGRTMIN+2"));
        assert_eq!(name(65), None);
        assert_eq!(name(u64::MAX), None);
    }
}
