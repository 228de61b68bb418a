//! Flags that subcommands share: which events, how they are shown, which functions are probed.

use std::path::PathBuf;

use anyhow::Context;

use super::Exit;
use super::output::{Color, Format};
use crate::filter::Filter;
use crate::golang::profile::Profile;

/// Percent of a CPU that a probe may cost in what goaudit did not start itself.
const DEFAULT_BUDGET: f64 = 2.0;

/// Which events, and how they look.
#[derive(Debug, clap::Args)]
pub(super) struct View {
    /// How events are shown [default: compact on a terminal, json in a pipe].
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,

    /// When to use colour.
    #[arg(long, value_enum, default_value = "auto")]
    pub color: Color,

    /// Show times in UTC rather than local time (compact form; JSON always is UTC).
    #[arg(long)]
    pub utc: bool,
}

/// Which events are taken.
#[derive(Debug, clap::Args)]
pub(super) struct Select {
    /// Only these kinds, such as `exec,ptrace`.
    #[arg(long, value_name = "KINDS")]
    pub only: Option<String>,

    /// Only events for which this expression holds. CEL over the fields of the JSON form, such as
    /// `kind == "exec" && process.uid == 0`.
    #[arg(long = "where", value_name = "EXPR")]
    pub condition: Option<String>,
}

impl Select {
    /// Compiles the selection; a mistake in it is a usage error.
    pub(super) fn filter(&self) -> anyhow::Result<Filter> {
        Filter::new(self.only.as_deref(), self.condition.as_deref())
            .map_err(|error| Exit::Usage.because(error.to_string()))
    }
}

/// The built-in profiles and the user's own, which come first: of an id the first that fits is taken.
pub(super) fn profiles(own: &[PathBuf]) -> anyhow::Result<Profile> {
    let file = |path: &PathBuf| {
        let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((path.display().to_string(), content))
    };
    let files = own.iter().map(file).collect::<anyhow::Result<Vec<_>>>()?;
    Profile::of_run(&files).map_err(|error| Exit::Usage.because(error.to_string()))
}

/// `--probe-budget` as part of one CPU; by default there is one in what goaudit did not start itself.
pub(super) fn budget(percent: Option<f64>, by_default: bool) -> anyhow::Result<Option<f64>> {
    let percent = match percent {
        Some(percent) if percent.is_finite() && percent > 0.0 => Some(percent),
        Some(percent) => {
            return Err(Exit::Usage.because(format!("--probe-budget {percent}: it must be above zero")));
        }
        None => by_default.then_some(DEFAULT_BUDGET),
    };
    Ok(percent.map(|percent| percent / 100.0))
}

/// A span of time as people write it: `90s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error| format!("not a span of time such as 90s or 5m: {error}"))?;
    span.try_into().map_err(|_| "a span of time cannot be negative".to_owned())
}

/// A size as people write it: `16MiB`, `64M`, `1048576`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(format!("`{unit}` is not a unit of size; use KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size such as 16MiB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::{duration, size};

    #[test]
    fn sizes_and_spans_are_read_as_people_write_them() {
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("4096"), Ok(4096));
        assert!(size("12 parsecs").is_err());
        assert!(size("99999999999GiB").is_err());
        assert_eq!(duration("1m30s"), Ok(std::time::Duration::from_secs(90)));
        assert!(duration("soon").is_err());
        assert!(duration("-5s").is_err());
    }
}
