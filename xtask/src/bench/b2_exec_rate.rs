//! B2: programs are started at a fixed rate and as fast as one core can; the figure is the agents' CPU time.
//!
//! goaudit also records every fork and exit and every other call of its hooks, the peers the execs only. The
//! CPU time includes what the agent works off after the workload has ended.

use anyhow::{Context, Result};

use super::contestant::{Contestant, Watching};
use super::goal::{Goal, Limit};
use super::peer::{AUDITD_EXEC, BPFTRACE_EXEC};
use super::turns::{Figures, Measured, interleave};
use super::workload;

const CORE: usize = 0;
const PER_SECOND: &str = "300";
const SECONDS: &str = "5";
const STORM: &str = "4000";

const CONTESTANTS: [Contestant; 3] =
    [Contestant::Goaudit, Contestant::Auditd(AUDITD_EXEC), Contestant::Bpftrace(BPFTRACE_EXEC)];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "agent's CPU at the fastest rate, percent of a core",
        limit: Limit::AtMost(3.0),
        figure: |measured| measured.median("goaudit", "storm_cpu_percent"),
    },
    Goal {
        what: "agent's CPU per exec at 300/s, the lowest peer's = 1",
        limit: Limit::Below(1.0),
        figure: |measured| to_lowest(measured, "rate_cpu_us_per_exec"),
    },
    Goal {
        what: "agent's CPU per exec at the fastest rate, the lowest peer's = 1",
        limit: Limit::Below(1.0),
        figure: |measured| to_lowest(measured, "storm_cpu_us_per_exec"),
    },
    Goal {
        what: "execs lost or not found again, worst turn",
        limit: Limit::AtMost(0.0),
        figure: |measured| {
            Some(measured.worst("goaudit", "lost")?.max(measured.worst("goaudit", "unaccounted")?))
        },
    },
];

fn to_lowest(measured: &Measured, figure: &str) -> Option<f64> {
    let peers = ["auditd", "bpftrace"].into_iter().filter_map(|peer| measured.median(peer, figure));
    Some(measured.median("goaudit", figure)? / peers.min_by(f64::total_cmp)?)
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    interleave(&CONTESTANTS, 1, turns, turn)
}

fn turn(contestant: Contestant) -> Result<Figures> {
    let path = workload::idle_program()?;
    let program = path.to_str().context("the target directory's path is not UTF-8")?;
    let watching = contestant.start()?;
    let cpu_before = cpu(&watching)?;
    let rate = workload::run(CORE, &["exec-rate", PER_SECOND, SECONDS, program])?;
    watching.catch_up()?;
    let cpu_between = cpu(&watching)?;
    let storm = workload::run(CORE, &["exec", STORM, program])?;
    watching.catch_up()?;
    let cpu_after = cpu(&watching)?;
    let store = watching.end()?;

    let mut figures = Figures::new();
    let rate_cpu = cpu_between - cpu_before;
    let storm_cpu = cpu_after - cpu_between;
    figures.insert("rate_cpu_percent", 100.0 * rate_cpu * 1e9 / rate.wall_ns);
    figures.insert("rate_cpu_us_per_exec", rate_cpu * 1e6 / rate.operations);
    figures.insert("storm_cpu_percent", 100.0 * storm_cpu * 1e9 / storm.wall_ns);
    figures.insert("storm_cpu_us_per_exec", storm_cpu * 1e6 / storm.operations);
    figures.insert("storm_execs_per_s", storm.operations * 1e9 / storm.wall_ns);
    let execs = rate.operations + storm.operations;
    figures.insert("bytes_per_exec", store.bytes() as f64 / execs);
    if let Some(stored) = store.execs_of(&path)? {
        figures.insert("unaccounted", execs - stored as f64);
    }
    if let Some(lost) = store.lost()? {
        figures.insert("lost", lost as f64);
    }
    Ok(figures)
}

/// CPU seconds so far.
fn cpu(watching: &Watching) -> Result<f64> {
    Ok(watching.cpu()?.context("nobody watches")?.as_secs_f64())
}
