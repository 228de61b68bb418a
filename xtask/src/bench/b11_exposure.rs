//! B11: what a kill -9 at any time takes along: the age of the oldest event that is in no sealed part of the log then.
//!
//! A workload writes down the time before each thing that it does, the recorder is killed at a random time, and the
//! log's own verification tells how many events are sealed (covered by a signed checkpoint in the file). The first
//! thing that is not among them was exposed since its time; one that had not yet been seen is counted, too. A kill does
//! not take what the kernel holds, so what a loss of power takes along besides is measured apart: how long one event
//! takes to be sealed *and* synced to this disk. The goals add the two.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::agent::program;
use super::contestant::fresh_dir;
use super::goal::{Goal, Limit};
use super::recording::Recording;
use super::sealed_log::{CORE, seal_bench, utf8};
use super::stored::verified;
use super::turns::{Contender, Figures, Measured, interleave};
use super::workload::{self, Background};

/// Kills for each turn that was asked for: a 99th percentile needs many.
const KILLS: usize = 20;
const PER_SECOND: &str = "200";
/// The workload runs for so long before the kill, and up to a second more: longer than events may wait to be sealed.
const LEAST: Duration = Duration::from_millis(1200);
const SEALS: &str = "100";

/// What is exposed.
#[derive(Clone, Copy)]
enum Exposed {
    /// Refused attaches, which are urgent.
    Urgent,
    /// Execs, which are not.
    Others,
    /// An event that is sealed and synced by itself.
    Disk,
}

impl Contender for Exposed {
    fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Others => "others",
            Self::Disk => "disk",
        }
    }
}

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "urgent events, age when killed and the disk's time, both p99, ms",
        limit: Limit::Below(5.0),
        figure: |measured| with_disk(measured, "urgent", 0.99),
    },
    Goal {
        what: "other events, largest age when killed and the disk's p99, ms",
        limit: Limit::Below(1000.0),
        figure: |measured| with_disk(measured, "others", 1.0),
    },
];

fn with_disk(measured: &Measured, who: &str, part: f64) -> Option<f64> {
    Some(measured.quantile(who, "age_ms", part)? + measured.median("disk", "seal_p99_ms")?)
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    let measured = interleave(&[Exposed::Urgent, Exposed::Others, Exposed::Disk], 0, turns * KILLS, turn)?;
    for who in ["urgent", "others"] {
        let of = |part| measured.quantile(who, "age_ms", part).unwrap_or(f64::NAN);
        println!("{who:<10} age in ms: p50 {:.3}, p90 {:.3}, p99 {:.3}", of(0.5), of(0.9), of(0.99));
    }
    Ok(measured)
}

fn turn(exposed: Exposed) -> Result<Figures> {
    let mut figures = Figures::new();
    match exposed {
        Exposed::Urgent => {
            figures.insert(
                "age_ms",
                age_ms(&["ptrace-stamped", PER_SECOND], "ptrace", |event, pid| {
                    event.pointer("/process/tgid").and_then(Value::as_u64) == Some(u64::from(pid))
                })?,
            );
        }
        Exposed::Others => {
            let path = workload::idle_program()?;
            let path = utf8(&path)?;
            figures.insert(
                "age_ms",
                age_ms(&["exec-stamped", PER_SECOND, path], "exec", |event, _| {
                    event.pointer("/exec/filename").and_then(Value::as_str) == Some(path)
                })?,
            );
        }
        Exposed::Disk => {
            let told = seal_bench(&["seal", utf8(&fresh_dir("exposure")?)?, SEALS])?;
            figures.insert("seal_p50_ms", told.quantile_ms(0.5)?);
            figures.insert("seal_p99_ms", told.quantile_ms(0.99)?);
        }
    }
    Ok(figures)
}

/// Kills a recorder while a workload runs; how old the oldest thing is that is not sealed.
fn age_ms(work: &[&str], kind: &str, is_ours: impl Fn(&Value, u32) -> bool) -> Result<f64> {
    let dir = fresh_dir("exposure")?;
    let recording = Recording::start(&dir, &[])?;
    let background = Background::start(CORE, work)?;
    sleep(LEAST + Duration::from_millis(RandomState::new().build_hasher().finish() % 1000));
    let killed = monotonic_ns()?;
    // The kernel takes half a second to take the probes of a killed recorder away: that is no part of an age.
    recording.kill()?;
    let (stamps, done) = background.end_with_lines()?;
    let stamps = stamps.iter().map(|line| line.parse().context("a stamp is no number"));
    let stamps = stamps.collect::<Result<Vec<u64>>>()?;

    let log = dir.join("log");
    let covered = verified(&log, "sealed_events")?;
    let mut sealed = 0;
    for line in replayed(&log, kind)?.lines() {
        let event: Value = serde_json::from_str(line).context("`goaudit replay` told no JSON")?;
        let seq = event.get("seq").and_then(Value::as_u64).context("an event without a number")?;
        sealed += usize::from(seq < covered && is_ours(&event, done.pid));
    }
    oldest_ms(&stamps, sealed, killed)
}

/// From when the first thing was done that is not sealed until the kill; zero if that came after it.
fn oldest_ms(stamps: &[u64], sealed: usize, killed: u64) -> Result<f64> {
    if stamps.is_empty() {
        bail!("the workload did nothing");
    }
    if sealed > stamps.len() {
        bail!("{sealed} things are in the log, but only {} were done", stamps.len());
    }
    Ok(stamps.get(sealed).map_or(0.0, |stamp| killed.saturating_sub(*stamp) as f64 / 1e6))
}

/// A killed recorder's log may end within a frame: told with exit code 4.
fn replayed(log: &Path, kind: &str) -> Result<String> {
    let mut replay = Command::new(program("goaudit"));
    let output = replay.arg("replay").arg(log).args(["--only", kind, "-o", "json"]).output();
    let output = output.context("failed to start `goaudit replay`")?;
    if !matches!(output.status.code(), Some(0 | 4)) {
        bail!("`goaudit replay` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).context("`goaudit replay` did not print UTF-8")
}

fn monotonic_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::Monotonic);
    Ok(u64::try_from(now.tv_sec)? * 1_000_000_000 + u64::try_from(now.tv_nsec)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_first_thing_that_is_not_sealed_has_the_age() {
        let stamps = [1_000_000, 2_000_000, 9_000_000];
        assert!((oldest_ms(&stamps, 1, 5_000_000).unwrap() - 3.0).abs() < 1e-9);
        // Done after the kill.
        assert!(oldest_ms(&stamps, 2, 5_000_000).unwrap() <= 0.0);
        assert!(oldest_ms(&stamps, 3, 9_500_000).unwrap() <= 0.0);
        assert!((oldest_ms(&stamps, 0, 5_000_000).unwrap() - 4.0).abs() < 1e-9);
        assert!(oldest_ms(&[], 0, 5_000_000).is_err());
        assert!(oldest_ms(&stamps, 4, 5_000_000).is_err());
    }
}
