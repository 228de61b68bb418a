//! What benchmarks measure: does one thing many times on one core and tells how often and how long it took.
//!
//! `workload --core N WORK`, where WORK is
//! - `prctl COUNT`: calls as fast as possible,
//! - `prctl-until-eof`: the same until standard input ends,
//! - `exec COUNT PROGRAM`: starts and waits for programs as fast as possible,
//! - `exec-rate PER_SECOND SECONDS PROGRAM`: the same against the clock,
//! - `exec-tagged COUNT PROGRAM`: each with an argument of its own, `goaudit-tag-0` and so on,
//! - `exec-stamped PER_SECOND PROGRAM`, `ptrace-stamped PER_SECOND`: until standard input ends, programs or attaches
//!   that are refused; each is preceded by a line with the time (CLOCK_MONOTONIC, in nanoseconds).
//!
//! At its end prints one JSON object: its process id, operations done, and the wall time and CPU time (its own and that of
//! the programs it ran) that they took.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use goaudit_tests::hardcase;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
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
        ["prctl-until-eof"] => until_eof()?,
        ["exec", count, program] => timed(number(count)?, |_| exec(program, None))?,
        ["exec-tagged", count, program] => {
            timed(number(count)?, |index| exec(program, Some(&format!("goaudit-tag-{index}"))))?
        }
        ["exec-rate", per_second, seconds, program] => {
            let per_second = number(per_second)?;
            let began = Instant::now();
            timed(per_second * number(seconds)?, |index| {
                // Against the clock, not by pauses: the rate holds whatever one exec takes.
                let due = Duration::from_nanos(index * 1_000_000_000 / per_second);
                sleep(due.saturating_sub(began.elapsed()));
                exec(program, None)
            })?
        }
        ["exec-stamped", per_second, program] => stamped(number(per_second)?, || exec(program, None))?,
        ["ptrace-stamped", per_second] => stamped(number(per_second)?, refused_attach)?,
        _ => bail!("no such work: {work:?}"),
    };
    let wall_ns = u64::try_from(took.as_nanos())?;
    let told = json!({
        "pid": std::process::id(),
        "operations": operations,
        "wall_ns": wall_ns,
        "cpu_ns": own_cpu_ns()? + children_cpu_ns()?,
    });
    writeln!(io::stdout(), "{told}").context("failed to tell the result")
}

fn own_cpu_ns() -> Result<u64> {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Ok(u64::try_from(used.tv_sec)? * 1_000_000_000 + u64::try_from(used.tv_nsec)?)
}

/// Of all waited-for children: proc_pid_stat(5) fields 16 and 17, in clock ticks. The kernel scales them to the
/// time that it measured, so that the sum is as exact as one tick.
fn children_cpu_ns() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("failed to read our own times")?;
    let (_, rest) = stat.rsplit_once(')').context("a stat without a name")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let [user, system] = fields.get(13..15).context("a stat without times")? else {
        bail!("a stat without times")
    };
    let ticks = user.parse::<u64>()? + system.parse::<u64>()?;
    Ok(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second())
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

/// Becomes true when standard input ends, which a thread of its own waits for: the loop itself must not block.
fn end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    std::thread::spawn(move || {
        // An error is an end, too.
        io::stdin().read_to_end(&mut Vec::new()).ok();
        told.store(true, Ordering::Relaxed);
    });
    ended
}

/// Works against the clock and says when.
fn stamped(per_second: u64, mut work: impl FnMut() -> Result<()>) -> Result<(u64, Duration)> {
    let ended = end_of_input();
    let began = Instant::now();
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        let due = Duration::from_nanos(count * 1_000_000_000 / per_second);
        sleep(due.saturating_sub(began.elapsed()));
        let now = clock_gettime(ClockId::Monotonic);
        writeln!(io::stdout(), "{}", now.tv_sec * 1_000_000_000 + now.tv_nsec)
            .context("failed to tell the time")?;
        work()?;
        count += 1;
    }
    Ok((count, began.elapsed()))
}

/// An attach to ourselves, which the kernel always refuses.
fn refused_attach() -> Result<()> {
    match hardcase::attach_to_self() {
        0.. => bail!("the kernel let a process attach to itself"),
        _ => Ok(()),
    }
}

fn until_eof() -> Result<(u64, Duration)> {
    let ended = end_of_input();
    let began = Instant::now();
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        prctl()?;
        count += 1;
    }
    Ok((count, began.elapsed()))
}

/// prctl(PR_GET_DUMPABLE): changes nothing, takes no lock.
fn prctl() -> Result<()> {
    rustix::process::dumpable_behavior().context("failed to call prctl")?;
    Ok(())
}

fn exec(program: &str, argument: Option<&str>) -> Result<()> {
    let status = Command::new(program)
        .args(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} ended with {status}") }
}
