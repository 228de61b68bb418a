//! B4: a flood of prctl pinned to one core, 10,000 tagged execs on the other: does the flood push them out?
//!
//! Every tag must be in the store. What is lost of the flood must be told to the event: its own count is at most
//! what is stored of it plus what is told as lost (others may have lost on that CPU, too).

use anyhow::{Context, Result};

use super::contestant::Contestant;
use super::goal::{Goal, Limit};
use super::peer::{AUDITD_EXEC_PRCTL, BPFTRACE_EXEC_PRCTL};
use super::turns::{Figures, Measured, interleave};
use super::workload::{self, Background};

const FLOOD_CORE: usize = 0;
const EXEC_CORE: usize = 1;
const EXECS: &str = "10000";

const CONTESTANTS: [Contestant; 3] =
    [Contestant::Goaudit, Contestant::Auditd(AUDITD_EXEC_PRCTL), Contestant::Bpftrace(BPFTRACE_EXEC_PRCTL)];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "tagged execs that are not in the store, worst turn",
        limit: Limit::AtMost(0.0),
        figure: |measured| measured.worst("goaudit", "tags_missing"),
    },
    Goal {
        what: "calls of the flood neither stored nor told as lost, worst turn",
        limit: Limit::AtMost(0.0),
        figure: |measured| measured.worst("goaudit", "flood_untold"),
    },
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    // Each turn is long and counts rather than times: nothing to warm up.
    interleave(&CONTESTANTS, 0, turns.min(3), turn)
}

fn turn(contestant: Contestant) -> Result<Figures> {
    let path = workload::idle_program()?;
    let program = path.to_str().context("the target directory's path is not UTF-8")?;
    let watching = contestant.start()?;
    let flood = Background::start(FLOOD_CORE, &["prctl-until-eof"])?;
    let tagged = workload::run(EXEC_CORE, &["exec-tagged", EXECS, program]);
    let flood = flood.end()?;
    let tagged = tagged?;
    watching.catch_up()?;
    let store = watching.end()?;

    let mut figures = Figures::new();
    figures.insert("us_per_tagged_exec", tagged.ns_per_operation() / 1e3);
    figures.insert("flood_calls", flood.operations);
    figures.insert("flood_ns_per_call", flood.ns_per_operation());
    let tags = store.tags()?.context("nobody watches")?;
    figures.insert("tags_missing", tagged.operations - tags.len() as f64);
    let stored = store.prctls_of(flood.pid)?.context("nobody watches")? as f64;
    figures.insert("flood_stored", stored);
    let lost = store.lost()?.unwrap_or(0) as f64;
    figures.insert("lost_told", lost);
    figures.insert("flood_untold", (flood.operations - stored - lost).max(0.0));
    Ok(figures)
}
