//! Where words go: results to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};

use super::Exit;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One line an event, for people.
    Compact,
    /// One JSON object a line (docs/events.md).
    Json,
    /// Nothing.
    None,
}

impl Format {
    /// What was asked for; otherwise compact on a terminal and JSON in a pipe.
    pub(super) fn or_default(format: Option<Self>) -> Self {
        format.unwrap_or_else(|| if std::io::stdout().is_terminal() { Self::Compact } else { Self::Json })
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether standard output gets colour.
    pub(super) fn enabled(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::io::stdout().is_terminal()
            }
        }
    }
}

/// Writes a whole result to standard output.
pub(super) fn result(bytes: &[u8]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(Exit::Ok)
}

/// Tells the user something, on standard error.
pub(super) fn note(line: &str) {
    // Nothing is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "goaudit: {line}");
}

/// Reports an error with its causes.
pub(super) fn complain(error: &anyhow::Error) {
    note(&told(error));
}

/// An error and its causes in a line. Messages of ours tell their cause themselves; it is not told twice.
pub(super) fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut line, cause| {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::told;

    #[test]
    fn each_cause_is_told_once() {
        let error = anyhow!("no space").context("write x: no space; free some").context("cannot record");
        assert_eq!(told(&error), "cannot record: write x: no space; free some");
    }
}
