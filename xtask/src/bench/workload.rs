//! The measured work: a program of the test package, pinned to one core, that counts what it did itself.
//!
//! `tests/src/bin/workload.rs` prints one JSON object: `{"operations": n, "wall_ns": n, ...}`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;

use super::agent::program;
use crate::command::capture;

/// What a workload told about itself.
pub(super) struct Done {
    pub(super) operations: f64,
    pub(super) wall_ns: f64,
}

impl Done {
    pub(super) fn ns_per_operation(&self) -> f64 {
        self.wall_ns / self.operations
    }
}

/// Runs `workload ARGUMENTS` pinned to `core` and waits for its end.
pub(super) fn run(core: usize, arguments: &[&str]) -> Result<Done> {
    let mut command = Command::new(program("workload"));
    command.args(["--core", &core.to_string()]).args(arguments).stdin(Stdio::null());
    let told = capture(&mut command)?;
    let told: Value = serde_json::from_str(&told).context("the workload told no JSON")?;
    let number = |name: &str| {
        told.get(name).and_then(Value::as_f64).with_context(|| format!("the workload told no {name}"))
    };
    Ok(Done { operations: number("operations")?, wall_ns: number("wall_ns")? })
}

/// Keeps ourselves off the workload's core.
pub(super) fn stay_off(core: usize) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Ok(());
    }
    let mut set = CpuSet::new();
    (0..cores).filter(|other| *other != core).for_each(|other| set.set(other));
    sched_setaffinity(None, &set).context("failed to leave the workload's core")
}
