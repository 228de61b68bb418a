//! B1: one core calls prctl as fast as it can; every call is recorded.
//!
//! The figure is the time that watching adds to one call, on the core that calls; the watchers have the other
//! cores. The CPU time is told, too: it holds on a busy machine, but not what callers wait for the watcher.
//! `unaccounted` is the workload's own count less what is found again in the store.

use anyhow::Result;

use super::contestant::Contestant;
use super::goal::{Goal, Limit};
use super::turns::{Figures, Measured, interleave};
use super::workload::{self, OffCore};

const CORE: usize = 0;

/// A storm; and enough for two seconds under the slow contestants' cost.
const CALLS: &str = "1000000";
const CALLS_OF_SLOW: &str = "100000";

const CONTESTANTS: [Contestant; 4] = [
    Contestant::Bare,
    Contestant::Goaudit,
    Contestant::Auditd(&["prctl"]),
    Contestant::Bpftrace(
        "tracepoint:syscalls:sys_exit_prctl { printf(\"%d %s %d\\n\", pid, comm, args->ret); }",
    ),
];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "time added to a call, auditd's = 1",
        limit: Limit::AtMost(1.0 / 20.0),
        figure: |measured| Some(added(measured, "goaudit")? / added(measured, "auditd")?),
    },
    Goal {
        what: "time added to a call, bpftrace's = 1",
        limit: Limit::AtMost(1.0 / 10.0),
        figure: |measured| Some(added(measured, "goaudit")? / added(measured, "bpftrace")?),
    },
    Goal {
        what: "calls of a 1 M storm lost or not found again, worst turn",
        limit: Limit::AtMost(0.0),
        figure: |measured| {
            Some(measured.worst("goaudit", "lost")?.max(measured.worst("goaudit", "unaccounted")?))
        },
    },
];

fn added(measured: &Measured, contestant: &str) -> Option<f64> {
    Some(measured.median(contestant, "ns_per_call")? - measured.median("bare", "ns_per_call")?)
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    let _off = OffCore::leave(CORE)?;
    interleave(&CONTESTANTS, 1, turns, turn)
}

fn turn(contestant: Contestant) -> Result<Figures> {
    let calls = match contestant {
        Contestant::Bare | Contestant::Goaudit => CALLS,
        Contestant::Auditd(_) | Contestant::Bpftrace(_) => CALLS_OF_SLOW,
    };
    let watching = contestant.start()?;
    let done = workload::run(CORE, &["prctl", calls])?;
    watching.catch_up()?;
    let mut figures = Figures::new();
    figures.insert("ns_per_call", done.ns_per_operation());
    figures.insert("cpu_ns_per_call", done.cpu_ns_per_operation());
    if let Some(cpu) = watching.cpu()? {
        figures.insert("agent_cpu_ns_per_call", cpu.as_secs_f64() * 1e9 / done.operations);
    }
    let store = watching.end()?;
    if let Some(stored) = store.prctls_of(done.pid)? {
        figures.insert("bytes_per_call", store.bytes() as f64 / done.operations);
        figures.insert("unaccounted", done.operations - stored as f64);
    }
    if let Some(lost) = store.lost()? {
        figures.insert("lost", lost as f64);
    }
    Ok(figures)
}
