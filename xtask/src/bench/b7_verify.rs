//! B7: how fast a log is verified, as a whole and without its key; beside it what reads every byte and hashes it once.
//!
//! All read the same files, from the page cache; journalctl the host's own journal, because no other can be made
//! without running a second journald. Figures are CPU time of all threads: what verifying in parallel gains is in
//! `wall_gb_per_s` only.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::contestant::Contestant;
use super::cpu;
use super::goal::{Goal, Limit};
use super::sealed_log::{Told, capture_execs, grow, seal_bench, segments, utf8};
use super::turns::{Contender, Figures, Measured, interleave};
use crate::command::{capture, command};
use crate::workspace::find_program;

const EVENTS: &str = "2000000";
/// How often the peers read the files: their CPU time is told in clock ticks.
const PASSES: usize = 10;
/// Where journald keeps what it stores.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

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
    /// journalctl's own check, of another log.
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
        let program = match self {
            Self::OneThread | Self::AllCpus | Self::Keyless => return None,
            Self::Sha256sum => "sha256sum",
            Self::Journalctl => "journalctl",
        };
        if find_program(program).is_none() {
            return Some(format!("{program} is not installed"));
        }
        let journal = matches!(self, Self::Journalctl) && journals().is_empty();
        journal.then(|| "this host has no journal".to_owned())
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
        what: "keyless check, GB in a second of CPU time",
        limit: Limit::AtLeast(1.0),
        figure: |measured| measured.median("keyless", "gb_per_s"),
    },
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    let store = capture_execs(Contestant::Goaudit)?;
    let (log, sealed) = grow(&store.dir.join("log"), EVENTS, "stored")?;
    let sealed = sealed.rate()?;
    let measured = interleave(&VERIFIERS, 1, turns, |verifier| turn(verifier, &log, sealed));
    // It is large.
    std::fs::remove_dir_all(&log).with_context(|| format!("failed to remove {}", log.display()))?;
    measured
}

fn turn(verifier: Verifier, log: &Path, sealed: f64) -> Result<Figures> {
    let dir = utf8(log)?;
    match verifier {
        Verifier::Sha256sum => peer("sha256sum", &[], &segments(log)?),
        Verifier::OneThread => {
            let mut figures = ours(&seal_bench(&["verify", dir, "1"])?)?;
            figures.insert("sealed_million_events_per_s", sealed);
            Ok(figures)
        }
        Verifier::AllCpus => ours(&seal_bench(&["verify", dir, "0"])?),
        Verifier::Keyless => ours(&seal_bench(&["check", dir])?),
        Verifier::Journalctl => peer("journalctl", &["--verify", "--quiet"], &journals()),
    }
}

fn ours(told: &Told) -> Result<Figures> {
    let bytes = told.number("bytes")?;
    let mut figures = Figures::new();
    figures.insert("gb_per_s", bytes / told.number("cpu_ns")?);
    figures.insert("wall_gb_per_s", bytes / told.number("wall_ns")?);
    figures.insert("million_events_per_s", told.rate()?);
    Ok(figures)
}

/// A program that reads these files, several times in turn.
fn peer(program: &str, options: &[&str], files: &[PathBuf]) -> Result<Figures> {
    let bytes: u64 =
        files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
    let (cpu_before, began) = (cpu::of_children()?, Instant::now());
    for _ in 0..PASSES {
        let mut run = command(program);
        run.args(options);
        for file in files {
            if program == "journalctl" {
                run.arg("--file");
            }
            run.arg(file);
        }
        capture(&mut run)?;
    }
    let (cpu, wall) = (cpu::of_children()?.saturating_sub(cpu_before), began.elapsed());
    if cpu.is_zero() {
        bail!("{bytes} bytes are too few to measure");
    }
    let mut figures = Figures::new();
    let bytes = bytes as f64 * PASSES as f64;
    figures.insert("gb_per_s", bytes / 1e9 / cpu.as_secs_f64());
    figures.insert("wall_gb_per_s", bytes / 1e9 / wall.as_secs_f64());
    Ok(figures)
}

/// The host's journal files.
fn journals() -> Vec<PathBuf> {
    let of_machines = JOURNALS.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    of_machines
        .filter_map(|machine| std::fs::read_dir(machine.ok()?.path()).ok())
        .flatten()
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "journal"))
        .collect()
}
