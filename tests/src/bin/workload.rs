//! What benchmarks measure: does one thing many times on one core and tells how long it took.
//!
//! `workload --core N prctl COUNT`, `exec COUNT PROGRAM` (as fast as possible), `exec-rate PER_SECOND SECONDS
//! PROGRAM`. Prints one JSON object: operations done and the wall time they took.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::json;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["--core", core, work @ ..] = words.as_slice() else {
        bail!("usage: workload --core N WORK ARGUMENTS...")
    };
    let mut set = CpuSet::new();
    set.set(core.parse().context("the core is no number")?);
    sched_setaffinity(None, &set).context("failed to move to the core")?;

    let (operations, took) = match work {
        ["prctl", count] => timed(number(count)?, |_| prctl())?,
        ["exec", count, program] => timed(number(count)?, |_| exec(program))?,
        ["exec-rate", per_second, seconds, program] => {
            let per_second = number(per_second)?;
            let began = Instant::now();
            timed(per_second * number(seconds)?, |index| {
                // Against the clock, not by pauses: the rate holds whatever one exec takes.
                let due = Duration::from_nanos(index * 1_000_000_000 / per_second);
                sleep(due.saturating_sub(began.elapsed()));
                exec(program)
            })?
        }
        _ => bail!("no such work: {work:?}"),
    };
    let told = json!({"operations": operations, "wall_ns": u64::try_from(took.as_nanos())?});
    writeln!(io::stdout(), "{told}").context("failed to tell the result")
}

fn number(text: &str) -> Result<u64> {
    let number = text.parse().with_context(|| format!("{text} is no number"))?;
    if number == 0 {
        bail!("zero times is no work");
    }
    Ok(number)
}

fn timed(count: u64, mut work: impl FnMut(u64) -> Result<()>) -> Result<(u64, Duration)> {
    let began = Instant::now();
    for index in 0..count {
        work(index)?;
    }
    Ok((count, began.elapsed()))
}

/// prctl(PR_GET_DUMPABLE): changes nothing, takes no lock.
fn prctl() -> Result<()> {
    rustix::process::dumpable_behavior().context("failed to call prctl")?;
    Ok(())
}

fn exec(program: &str) -> Result<()> {
    let status = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} ended with {status}") }
}
