//! The measured work: a program of the test package, pinned to one core, that counts what it did itself.
//!
//! `tests/src/bin/workload.rs` says what there is and prints one JSON object at its end.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use super::agent::program;
use crate::command::capture;
use crate::workspace::{find_program, target};

/// What a workload told about itself.
pub(super) struct Done {
    pub(super) pid: u32,
    pub(super) operations: f64,
    pub(super) wall_ns: f64,
    /// CPU time, that of the programs it ran included: what others on a busy machine do not add to.
    pub(super) cpu_ns: f64,
}

impl Done {
    pub(super) fn ns_per_operation(&self) -> f64 {
        self.wall_ns / self.operations
    }

    pub(super) fn cpu_ns_per_operation(&self) -> f64 {
        self.cpu_ns / self.operations
    }

    fn parse(told: &str) -> Result<Self> {
        let told: Value = serde_json::from_str(told).context("the workload told no JSON")?;
        let number = |name: &str| {
            told.get(name).and_then(Value::as_f64).with_context(|| format!("the workload told no {name}"))
        };
        let pid = told.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        Ok(Self {
            pid: pid.context("the workload told no process id")?,
            operations: number("operations")?,
            wall_ns: number("wall_ns")?,
            cpu_ns: number("cpu_ns")?,
        })
    }
}

fn workload(core: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("workload"));
    command.args(["--core", &core.to_string()]).args(arguments).stdin(Stdio::null());
    command
}

/// Runs `workload ARGUMENTS` pinned to `core` and waits for its end.
pub(super) fn run(core: usize, arguments: &[&str]) -> Result<Done> {
    Done::parse(&capture(&mut workload(core, arguments))?)
}

/// A workload beside others, which goes on until [`Background::end`].
pub(super) struct Background(Child);

impl Background {
    /// Starts `workload ARGUMENTS`, which must end with its standard input.
    pub(super) fn start(core: usize, arguments: &[&str]) -> Result<Self> {
        let mut command = workload(core, arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self(child.context("failed to start a workload")?))
    }

    /// Ends it.
    pub(super) fn end(self) -> Result<Done> {
        self.end_with_lines().map(|(_, done)| done)
    }

    /// Ends it, and gives the lines that it told before its result.
    pub(super) fn end_with_lines(mut self) -> Result<(Vec<String>, Done)> {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().context("failed to wait for a workload")?;
        if !output.status.success() {
            bail!("a workload ended with {}", output.status);
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
        let result = lines.pop().context("a workload told nothing")?;
        Ok((lines, Done::parse(&result)?))
    }
}

/// A program that does nothing, at a path of our own: nobody else's execs are counted for ours.
pub(super) fn idle_program() -> Result<PathBuf> {
    let dir = target().join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let path = fs::canonicalize(&dir)?.join("does-nothing");
    let from = find_program("true").context("there is no `true` on PATH")?;
    if !path.exists() {
        fs::copy(&from, &path).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    Ok(path)
}

/// While it lives, we and whom we start stay off a core.
pub(super) struct OffCore(Option<CpuSet>);

impl OffCore {
    /// Leaves `core`, if there is another one.
    pub(super) fn leave(core: usize) -> Result<Self> {
        let before = sched_getaffinity(None).context("failed to ask for our cores")?;
        let mut set = before;
        set.unset(core);
        if set.count() == 0 {
            return Ok(Self(None));
        }
        sched_setaffinity(None, &set).context("failed to leave the workload's core")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for OffCore {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // What was allowed a moment ago is allowed now.
            sched_setaffinity(None, before).ok();
        }
    }
}
