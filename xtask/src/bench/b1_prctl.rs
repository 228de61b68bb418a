//! B1: one core calls prctl as fast as it can; every call is recorded.
//!
//! The figure is the time that watching adds to one call, on the core that calls. Whether anything was lost is
//! asked of the watcher itself.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::agent::program;
use super::contestant::{Contestant, Watching, auditd_lost};
use super::turns::{Figures, Measured, interleave};
use super::workload;
use crate::command::capture;

const CORE: usize = 0;

/// Enough for a second under the slowest contestant's cost, and for clock ticks to mean something.
const CALLS: &str = "1000000";
const CALLS_OF_SLOW: &str = "100000";

const CONTESTANTS: [Contestant; 4] = [
    Contestant::Bare,
    Contestant::Goaudit(&["--only", "prctl"]),
    Contestant::Auditd(&["prctl"]),
    Contestant::Bpftrace(
        "tracepoint:syscalls:sys_exit_prctl { printf(\"%d %s %d\\n\", pid, comm, args->ret); }",
    ),
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    workload::stay_off(CORE)?;
    interleave(&CONTESTANTS, turns, turn)
}

fn turn(contestant: &Contestant) -> Result<Figures> {
    let calls = match contestant {
        Contestant::Bare | Contestant::Goaudit(_) => CALLS,
        Contestant::Auditd(_) | Contestant::Bpftrace(_) => CALLS_OF_SLOW,
    };
    let lost_before = lost_by_audit(contestant)?;
    let watching = contestant.start()?;
    let done = workload::run(CORE, &["prctl", calls])?;
    // Until what is still queued has been stored.
    std::thread::sleep(Duration::from_secs(1));
    let mut figures = Figures::new();
    figures.insert("ns_per_call", done.ns_per_operation());
    if let Some(cpu) = watching.cpu()? {
        figures.insert("agent_cpu_ns_per_call", cpu.as_secs_f64() * 1e9 / done.operations);
    }
    let lost_after = lost_by_audit(contestant)?;
    if let (Some(before), Some(after)) = (lost_before, lost_after) {
        figures.insert("lost", after - before);
    }
    let log = watching.dir.join("log");
    let bytes = Watching::end(watching)?;
    figures.insert("bytes_per_call", bytes as f64 / done.operations);
    if let Contestant::Goaudit(_) = contestant {
        let told =
            capture(std::process::Command::new(program("goaudit")).args(["verify", "--json"]).arg(log))?;
        let verdict: Value = serde_json::from_str(&told).context("`goaudit verify --json` told no JSON")?;
        let lost =
            verdict.get("lost").and_then(Value::as_f64).context("`verify` told no count of lost events")?;
        figures.insert("lost", lost);
    }
    Ok(figures)
}

fn lost_by_audit(contestant: &Contestant) -> Result<Option<f64>> {
    match contestant {
        Contestant::Auditd(_) => auditd_lost().map(Some),
        Contestant::Bare | Contestant::Goaudit(_) | Contestant::Bpftrace(_) => Ok(None),
    }
}
