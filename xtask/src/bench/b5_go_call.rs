//! B5: what probing a Go function costs each of its calls.
//!
//! Compared with a program that does nothing, at the places where every other tool puts its probes (the function's
//! first instruction and each return), and at goaudit's own places; and with a bpftrace script that measures as goaudit
//! does. The figure is CPU time of the probed process, so what else runs on the machine is not in it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::agent::program;
use super::go_prober::{Prober, Watching};
use super::go_program::{Service, Target};
use super::goal::{Goal, Limit};
use super::turns::{Contender, Figures, Measured, interleave};
use crate::command::capture;
use crate::workspace::target;

const CALLS: &str = "20000";

const PROBERS: [Prober; 6] = [
    Prober::Nobody,
    Prober::Goaudit,
    Prober::EmptySame,
    Prober::EmptyUsual,
    Prober::EmptyEvents,
    Prober::Bpftrace,
];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "added CPU time of a call, an empty program at the first instruction and each return = 1",
        limit: Limit::AtMost(0.55),
        figure: |measured| Some(added(measured, "goaudit")? / added(measured, "empty-usual")?),
    },
    Goal {
        what: "added CPU time of a call, the same by a perf event for each place = 1",
        limit: Limit::AtMost(0.55),
        figure: |measured| Some(added(measured, "goaudit")? / added(measured, "empty-events")?),
    },
    Goal {
        what: "added CPU time of a call, a bpftrace script that measures each call = 1",
        limit: Limit::AtMost(0.55),
        figure: |measured| Some(added(measured, "goaudit")? / added(measured, "bpftrace")?),
    },
    Goal {
        what: "added CPU time of a call, an empty program at the same places = 1",
        limit: Limit::AtMost(1.15),
        figure: |measured| Some(added(measured, "goaudit")? / added(measured, "empty-same")?),
    },
    Goal {
        what: "calls that are not in goaudit's log, worst turn",
        limit: Limit::AtMost(0.0),
        figure: |measured| measured.worst("goaudit", "unaccounted"),
    },
];

fn added(measured: &Measured, who: &str) -> Option<f64> {
    Some(measured.median(who, "cpu_ns_per_call")? - measured.median("bare", "cpu_ns_per_call")?)
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    let target = Target::build()?;
    interleave(&PROBERS, 1, turns, |prober| turn(prober, &target))
}

fn turn(prober: Prober, target: &Target) -> Result<Figures> {
    let mut service = Service::start(&target.program, "rate", CALLS)?;
    let mut watching = Watching::start(prober, target, &service)?;
    let told = service.work()?;
    let mut figures = Figures::new();
    let calls: f64 = CALLS.parse()?;
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_f64);
    let (wall, cpu) = number("/latencies_ns/0").zip(number("/latencies_ns/1")).context("no times")?;
    figures.insert("ns_per_call", wall / calls);
    figures.insert("cpu_ns_per_call", cpu / calls);
    let own = format!("\"tgid\":{},", service.pid());
    drop(service);
    watching.end()?;
    if prober == Prober::Goaudit {
        let mut replay = Command::new(program("goaudit"));
        let stored = capture(replay.args(["replay", "-o", "json"]).arg(watching.dir.join("log")))?;
        let stored = stored
            .lines()
            .filter(|line| line.contains("\"kind\":\"go_call\"") && line.contains(&own))
            .count();
        figures.insert("unaccounted", calls - stored as f64);
    }
    Ok(figures)
}

/// Records the calls once; the log.
pub(super) fn record_calls() -> Result<PathBuf> {
    turn(Prober::Goaudit, &Target::build()?)?;
    Ok(target().join("bench").join(Prober::Goaudit.name()).join("log"))
}
