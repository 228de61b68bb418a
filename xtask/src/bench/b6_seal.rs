//! B6: how fast events are sealed, and how many bytes they take.
//!
//! The writer alone (salts, Merkle trees, compression, signatures) into memory, nothing synced; beside it what no
//! sealed log can do without: one SHA-256 for each event. Figures are CPU time of all threads. The bytes are those of
//! real captures, with the log's own records: of everything that is stored of a program's run (exec, fork, exit), and of a
//! recording of execs only.

use std::thread::sleep;

use anyhow::{Context, Result, bail};

use super::contestant::{Contestant, SETTLE, fresh_dir};
use super::goal::{Goal, Limit};
use super::peer::AUDITD_EXEC;
use super::recording::Recording;
use super::sealed_log::{CORE, EXECS, capture_execs, seal_bench, utf8};
use super::stored::Store;
use super::turns::{Contender, Figures, Measured, interleave};
use super::workload;

const EVENTS: &str = "1000000";

/// What is measured.
#[derive(Clone, Copy)]
enum Work {
    /// Hashing made-up events of 200 bytes.
    Hash,
    /// Sealing them.
    MadeUp,
    /// Sealing the events of a real capture, again and again.
    Captured,
    /// The bytes of a recording of execs only.
    OnlyExec,
    /// The bytes that auditd stores of the same programs.
    Auditd,
}

impl Contender for Work {
    fn name(self) -> &'static str {
        match self {
            Self::Hash => "sha256",
            Self::MadeUp => "made-up",
            Self::Captured => "captured",
            Self::OnlyExec => "only-exec",
            Self::Auditd => "auditd",
        }
    }

    fn missing(self) -> Option<String> {
        match self {
            Self::Auditd => Contestant::Auditd(AUDITD_EXEC).missing(),
            Self::Hash | Self::MadeUp | Self::Captured | Self::OnlyExec => None,
        }
    }

    fn is_peer(self) -> bool {
        matches!(self, Self::Auditd)
    }
}

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "events of 200 bytes sealed in a second of CPU time, millions",
        limit: Limit::AtLeast(1.5),
        figure: |measured| measured.median("made-up", "million_events_per_s"),
    },
    Goal {
        what: "bytes stored for an exec event of a real capture",
        limit: Limit::AtMost(40.0),
        figure: |measured| measured.median("only-exec", "bytes_per_exec"),
    },
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    interleave(&[Work::Hash, Work::MadeUp, Work::Captured, Work::OnlyExec, Work::Auditd], 0, turns, turn)
}

fn turn(work: Work) -> Result<Figures> {
    let mut figures = Figures::new();
    match work {
        Work::Hash => {
            figures.insert("million_events_per_s", seal_bench(&["hash", EVENTS])?.rate()?);
        }
        Work::MadeUp => {
            let told = seal_bench(&["write", EVENTS])?;
            figures.insert("million_events_per_s", told.rate()?);
        }
        Work::Captured => {
            let store = capture_execs(Contestant::Goaudit)?;
            bytes_of_an_exec(&store, &mut figures)?;
            figures.insert("bytes_per_event", store.bytes() as f64 / store.events()? as f64);
            let told = seal_bench(&["write", EVENTS, utf8(&store.dir.join("log"))?])?;
            figures.insert("million_events_per_s", told.rate()?);
            figures.insert("raw_bytes_per_event", told.number("raw_bytes")? / told.number("events")?);
        }
        Work::OnlyExec => {
            let store = only_execs()?;
            bytes_of_an_exec(&store, &mut figures)?;
        }
        Work::Auditd => {
            let store = capture_execs(Contestant::Auditd(AUDITD_EXEC))?;
            bytes_of_an_exec(&store, &mut figures)?;
        }
    }
    Ok(figures)
}

fn only_execs() -> Result<Store> {
    let dir = fresh_dir("goaudit")?;
    let recording = Recording::start(&dir, &["--only", "exec"])?;
    sleep(SETTLE);
    let path = workload::idle_program()?;
    workload::run(CORE, &["exec", EXECS, utf8(&path)?])?;
    recording.end()?;
    Ok(Store { contestant: Contestant::Goaudit, dir, audit_lost: None })
}

/// Other work's programs on the host are in the bytes, too, for all contestants.
fn bytes_of_an_exec(store: &Store, figures: &mut Figures) -> Result<()> {
    let (wanted, stored) = (EXECS.parse::<u64>()?, store.execs_of(&workload::idle_program()?)?);
    let stored = stored.context("nobody stored anything")?;
    if stored != wanted {
        bail!("{stored} of {wanted} execs were stored");
    }
    figures.insert("bytes_per_exec", store.bytes() as f64 / wanted as f64);
    Ok(())
}
