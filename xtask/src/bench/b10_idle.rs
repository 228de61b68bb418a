//! B10: what an agent costs when little happens, whether its memory grows, and how long it takes to see anything.
//!
//! The soak is a day of one exec in four seconds, and two million calls of prctl, in one go.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::contestant::{Contestant, Watching};
use super::goal::{Goal, Limit};
use super::peer::{AUDITD_EXEC_PRCTL, BPFTRACE_EXEC_PRCTL};
use super::turns::{Contender, Figures, Measured, interleave};
use super::{cpu, start_up, workload};

const CORE: usize = 0;
const IDLE: Duration = Duration::from_secs(10);
/// Each half of the soak.
const EXECS: &str = "10800";
const CALLS: &str = "1000000";
const CALLS_OF_SLOW: &str = "50000";

const CONTESTANTS: [Contestant; 3] =
    [Contestant::Goaudit, Contestant::Auditd(AUDITD_EXEC_PRCTL), Contestant::Bpftrace(BPFTRACE_EXEC_PRCTL)];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "CPU when idle, percent of a core",
        limit: Limit::Below(1.0),
        figure: |measured| measured.median("goaudit", "idle_cpu_percent"),
    },
    Goal {
        what: "resident memory after the soak, MiB, worst turn",
        limit: Limit::Below(64.0),
        figure: |measured| measured.worst("goaudit", "rss_end_mib"),
    },
    Goal {
        what: "own memory after the soak, after its first half = 1",
        limit: Limit::AtMost(1.1),
        figure: |measured| {
            Some(
                measured.median("goaudit", "anonymous_end_mib")?
                    / measured.median("goaudit", "anonymous_half_mib")?,
            )
        },
    },
    Goal {
        what: "from start until the first event is sealed and shown, ms",
        limit: Limit::AtMost(500.0),
        figure: |measured| measured.median("goaudit", "first_shown_ms"),
    },
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    interleave(&CONTESTANTS, 0, turns.min(3), turn)
}

fn turn(contestant: Contestant) -> Result<Figures> {
    let mut figures = start_up::measure(contestant)?;
    let watching = contestant.start()?;
    let pid = watching.pid().context("nobody watches")?;
    let before = cpu_seconds(&watching)?;
    sleep(IDLE);
    figures.insert("idle_cpu_percent", 100.0 * (cpu_seconds(&watching)? - before) / IDLE.as_secs_f64());
    let memory = cpu::memory(pid)?;
    figures.insert("rss_idle_mib", memory.rss_mib);

    half(contestant, &watching)?;
    let memory = cpu::memory(pid)?;
    figures.insert("rss_half_mib", memory.rss_mib);
    figures.insert("anonymous_half_mib", memory.anonymous_mib);
    half(contestant, &watching)?;
    let memory = cpu::memory(pid)?;
    figures.insert("rss_end_mib", memory.rss_mib);
    figures.insert("anonymous_end_mib", memory.anonymous_mib);
    let store = watching.end()?;
    if let Some(lost) = store.lost()? {
        figures.insert("lost", lost as f64);
    }
    Ok(figures)
}

fn half(contestant: Contestant, watching: &Watching) -> Result<()> {
    let path = workload::idle_program()?;
    let program = path.to_str().context("the target directory's path is not UTF-8")?;
    workload::run(CORE, &["exec", EXECS, program])?;
    workload::run(CORE, &["prctl", if contestant.is_peer() { CALLS_OF_SLOW } else { CALLS }])?;
    watching.catch_up()
}

fn cpu_seconds(watching: &Watching) -> Result<f64> {
    Ok(watching.cpu()?.context("nobody watches")?.as_secs_f64())
}
