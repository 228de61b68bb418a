//! B7: how fast a log is verified, as a whole and without its key; beside it what reads every byte and hashes it once.
//!
//! All read the same files, from the page cache; journalctl a sealed journal of the same events as JSON. Figures are CPU
//! time of all threads: what verifying in parallel gains is in what begins with `wall_` only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::b8_ask::replay;
use super::contestant::Contestant;
use super::cpu;
use super::goal::{Goal, Limit};
use super::journal::{self, Journal};
use super::sealed_log::{Told, capture_execs, grow, seal_bench, segments, utf8};
use super::turns::{Contender, Figures, Measured, interleave};
use crate::command::{capture, command};
use crate::workspace::find_program;

const EVENTS: &str = "10000000";
/// How often the peers read the files: their CPU time is told in clock ticks.
const PASSES: usize = 2;
/// Entries of the journal: it takes a hundred times as long.
const ENTRIES: u64 = 100_000;

/// Who verifies.
#[derive(Clone, Copy)]
enum Verifier {
    /// The floor.
    Sha256sum,
    /// Everything, on one thread.
    OneThread,
    /// Everything, on all CPUs.
    AllCpus,
    /// Bytes, chain and signatures, no payload opened, no key pinned.
    Keyless,
    /// journald's own check of a journal with Forward Secure Sealing.
    Journalctl,
}

const VERIFIERS: [Verifier; 5] =
    [Verifier::Sha256sum, Verifier::OneThread, Verifier::AllCpus, Verifier::Keyless, Verifier::Journalctl];

impl Contender for Verifier {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256sum => "sha256sum",
            Self::OneThread => "one-thread",
            Self::AllCpus => "all-cpus",
            Self::Keyless => "keyless",
            Self::Journalctl => "journalctl",
        }
    }

    fn missing(self) -> Option<String> {
        match self {
            Self::OneThread | Self::AllCpus | Self::Keyless => None,
            Self::Sha256sum => {
                find_program("sha256sum").is_none().then(|| "sha256sum is not installed".to_owned())
            }
            Self::Journalctl => journal::missing(),
        }
    }

    fn is_peer(self) -> bool {
        matches!(self, Self::Sha256sum | Self::Journalctl)
    }
}

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "events verified in a second of CPU time, those sealed = 1",
        limit: Limit::AtLeast(2.0),
        figure: |measured| {
            Some(
                measured.median("one-thread", "million_events_per_s")?
                    / measured.median("one-thread", "sealed_million_events_per_s")?,
            )
        },
    },
    Goal {
        what: "events verified in a second by the clock on all CPUs, those sealed in one of CPU time = 1",
        limit: Limit::AtLeast(2.0),
        figure: |measured| {
            Some(
                measured.median("all-cpus", "wall_million_events_per_s")?
                    / measured.median("one-thread", "sealed_million_events_per_s")?,
            )
        },
    },
    Goal {
        what: "keyless check, GB in a second by the clock",
        limit: Limit::AtLeast(1.0),
        figure: |measured| measured.median("keyless", "wall_gb_per_s"),
    },
    Goal {
        what: "keyless check, GB in a second of CPU time",
        limit: Limit::AtLeast(1.0),
        figure: |measured| measured.median("keyless", "gb_per_s"),
    },
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    let store = capture_execs(Contestant::Goaudit)?;
    let (log, sealed) = grow(&store.dir.join("log"), EVENTS, "stored")?;
    let sealed = sealed.rate()?;
    let journal = if Verifier::Journalctl.missing().is_none() {
        let lines = store.dir.join("lines");
        replay(&store.dir.join("log"), &[], &lines)?;
        Some(journal::make(&lines, ENTRIES)?)
    } else {
        None
    };
    let measured =
        interleave(&VERIFIERS, 1, turns, |verifier| turn(verifier, &log, sealed, journal.as_ref()));
    // They are large.
    std::fs::remove_dir_all(&log).with_context(|| format!("failed to remove {}", log.display()))?;
    if let Some(Journal { file, .. }) = &journal {
        std::fs::remove_file(file).with_context(|| format!("failed to remove {}", file.display()))?;
    }
    measured
}

fn turn(verifier: Verifier, log: &Path, sealed: f64, journal: Option<&Journal>) -> Result<Figures> {
    let dir = utf8(log)?;
    match verifier {
        Verifier::Sha256sum => {
            let files = segments(log)?;
            peer(&files, PASSES, command("sha256sum").args(&files))
        }
        Verifier::OneThread => {
            let mut figures = ours(&seal_bench(&["verify", dir, "1"])?)?;
            figures.insert("sealed_million_events_per_s", sealed);
            Ok(figures)
        }
        Verifier::AllCpus => ours(&seal_bench(&["verify", dir, "0"])?),
        Verifier::Keyless => ours(&seal_bench(&["check", dir])?),
        Verifier::Journalctl => {
            let Journal { file, key, events } = journal.context("there is no journal")?;
            let mut verify = command("journalctl");
            verify.args(["--verify", "--quiet", "--verify-key", key, "--file"]).arg(file);
            let mut figures = peer(std::slice::from_ref(file), 1, &mut verify)?;
            let million_events_per_gb = *events as f64 * 1e3 / std::fs::metadata(file)?.len() as f64;
            for (events, bytes) in
                [("million_events_per_s", "gb_per_s"), ("wall_million_events_per_s", "wall_gb_per_s")]
            {
                let gb_per_s = figures.get(bytes).copied().context("it has just been measured")?;
                figures.insert(events, gb_per_s * million_events_per_gb);
            }
            Ok(figures)
        }
    }
}

fn ours(told: &Told) -> Result<Figures> {
    let bytes = told.number("bytes")?;
    let mut figures = Figures::new();
    figures.insert("gb_per_s", bytes / told.number("cpu_ns")?);
    figures.insert("wall_gb_per_s", bytes / told.number("wall_ns")?);
    figures.insert("million_events_per_s", told.rate()?);
    figures.insert("wall_million_events_per_s", told.number("events")? * 1e3 / told.number("wall_ns")?);
    Ok(figures)
}

/// A program that reads these files, several times in turn.
fn peer(files: &[PathBuf], passes: usize, program: &mut Command) -> Result<Figures> {
    let bytes: u64 =
        files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
    let (cpu_before, began) = (cpu::of_children()?, Instant::now());
    for _ in 0..passes {
        capture(program)?;
    }
    let (cpu, wall) = (cpu::of_children()?.saturating_sub(cpu_before), began.elapsed());
    if cpu.is_zero() {
        bail!("{bytes} bytes are too few to measure");
    }
    let mut figures = Figures::new();
    let bytes = bytes as f64 * passes as f64;
    figures.insert("gb_per_s", bytes / 1e9 / cpu.as_secs_f64());
    figures.insert("wall_gb_per_s", bytes / 1e9 / wall.as_secs_f64());
    Ok(figures)
}
