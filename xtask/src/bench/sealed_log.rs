//! The sealed log as it is measured: a real capture of execs, a larger log made of its events, and what `seal_bench` (of
//! the test package) tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agent::program;
use super::contestant::{Contestant, fresh_dir};
use super::stored::Store;
use super::workload;
use crate::command::capture;

/// Where they run.
pub(super) const CORE: usize = 0;
/// Programs that run during a capture.
pub(super) const EXECS: &str = "4000";

/// Has somebody watch [`EXECS`] programs run, and gives what was stored.
pub(super) fn capture_execs(contestant: Contestant) -> Result<Store> {
    let path = workload::idle_program()?;
    let watching = contestant.start()?;
    workload::run(CORE, &["exec", EXECS, utf8(&path)?])?;
    watching.catch_up()?;
    watching.end()
}

/// Makes a log of `events` events, those of a capture over and over, in an empty folder of that name.
pub(super) fn grow(captured: &Path, events: &str, name: &str) -> Result<(PathBuf, Told)> {
    let log = fresh_dir(name)?.join("log");
    let (from, to) = (utf8(captured)?, utf8(&log)?);
    let told = seal_bench(&["write", events, from, to])?;
    Ok((log, told))
}

pub(super) fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("the target directory's path is not UTF-8")
}

/// The segment files of a log, in order.
pub(super) fn segments(log: &Path) -> Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(log).with_context(|| format!("failed to list {}", log.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gal") {
            segments.push(path);
        }
    }
    segments.sort();
    if segments.is_empty() {
        bail!("{} has no segments", log.display());
    }
    Ok(segments)
}

/// Runs `seal_bench ARGUMENTS`.
pub(super) fn seal_bench(arguments: &[&str]) -> Result<Told> {
    Told::parse(&capture(Command::new(program("seal_bench")).args(arguments))?)
}

/// What `seal_bench` told of one measurement.
pub(super) struct Told(Value);

impl Told {
    fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map(Self).context("seal_bench told no JSON")
    }

    pub(super) fn number(&self, name: &str) -> Result<f64> {
        let number = self.0.get(name).and_then(Value::as_f64);
        number.with_context(|| format!("seal_bench told no {name}"))
    }

    /// Events a second of CPU time, in millions.
    pub(super) fn rate(&self) -> Result<f64> {
        Ok(self.number("events")? * 1e3 / self.number("cpu_ns")?)
    }

    /// The time that this part (0 to 1) of the single measurements does not exceed, in milliseconds.
    pub(super) fn quantile_ms(&self, part: f64) -> Result<f64> {
        let each = self.0.get("each_ns").and_then(Value::as_array).context("seal_bench told no each_ns")?;
        let mut each: Vec<f64> = each.iter().filter_map(Value::as_f64).collect();
        each.sort_by(f64::total_cmp);
        let rank = (1..=each.len()).find(|rank| *rank as f64 >= part * each.len() as f64);
        let found = rank.and_then(|rank| each.get(rank - 1));
        Ok(found.context("seal_bench measured nothing")? / 1e6)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn rates_and_quantiles_have_their_units() {
        let text =
            r#"{"events":3000,"wall_ns":9,"cpu_ns":1500000,"each_ns":[3000000,1000000,2000000,9000000]}"#;
        let told = Told::parse(text).unwrap();
        assert!((told.rate().unwrap() - 2.0).abs() < 1e-9);
        assert!((told.quantile_ms(0.5).unwrap() - 2.0).abs() < 1e-9);
        assert!((told.quantile_ms(0.99).unwrap() - 9.0).abs() < 1e-9);
        assert!(told.number("bytes").is_err());
        assert!(Told::parse("{}").unwrap().quantile_ms(0.5).is_err());
    }
}
