//! B3: one core starts programs and waits for them, as fast as it can; the figure is how much slower that gets,
//! in CPU time of all of them (what others do on a busy machine is not in it) and in wall time.

use anyhow::{Context, Result};

use super::contestant::Contestant;
use super::goal::{Goal, Limit};
use super::peer::{AUDITD_EXEC, BPFTRACE_EXEC};
use super::turns::{Figures, Measured, interleave};
use super::workload;

const CORE: usize = 0;
const EXECS: &str = "3000";

const CONTESTANTS: [Contestant; 4] = [
    Contestant::Bare,
    Contestant::Goaudit,
    Contestant::Auditd(AUDITD_EXEC),
    Contestant::Bpftrace(BPFTRACE_EXEC),
];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "CPU time of fork + exec + wait, bare = 1",
        limit: Limit::Below(1.1),
        figure: |measured| slowdown(measured, "cpu_us_per_exec"),
    },
    Goal {
        what: "wall time of fork + exec + wait, bare = 1",
        limit: Limit::Below(1.1),
        figure: |measured| slowdown(measured, "us_per_exec"),
    },
];

fn slowdown(measured: &Measured, figure: &str) -> Option<f64> {
    Some(measured.median("goaudit", figure)? / measured.median("bare", figure)?)
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    interleave(&CONTESTANTS, 1, turns, turn)
}

fn turn(contestant: Contestant) -> Result<Figures> {
    let path = workload::idle_program()?;
    let program = path.to_str().context("the target directory's path is not UTF-8")?;
    let watching = contestant.start()?;
    let done = workload::run(CORE, &["exec", EXECS, program])?;
    watching.catch_up()?;
    let store = watching.end()?;
    let mut figures = Figures::new();
    figures.insert("us_per_exec", done.ns_per_operation() / 1e3);
    figures.insert("cpu_us_per_exec", done.cpu_ns_per_operation() / 1e3);
    if let Some(lost) = store.lost()? {
        figures.insert("lost", lost as f64);
    }
    if let Some(stored) = store.execs_of(&path)? {
        figures.insert("unaccounted", done.operations - stored as f64);
    }
    Ok(figures)
}
