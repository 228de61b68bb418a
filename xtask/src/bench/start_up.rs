//! From an agent's start until its first event, while programs are started all the time.
//!
//! auditd is not measured: its start is that of rules loaded by hand.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::agent::program;
use super::contestant::{Contestant, bpftrace, fresh_dir, interrupt};
use super::turns::Figures;
use super::workload;
use crate::command::wait_within;

const CORE: usize = 0;
/// For this long something happens every 5 ms.
const SECONDS: &str = "6";

pub(super) fn measure(contestant: Contestant) -> Result<Figures> {
    let mut agent = match contestant {
        Contestant::Goaudit => {
            let mut record = Command::new(program("goaudit"));
            record.args(["record", "-o", "json", "-w"]).arg(fresh_dir("start")?.join("log"));
            record
        }
        Contestant::Bpftrace(script) => {
            let mut bpftrace = bpftrace();
            bpftrace.args(["-B", "line", "-e", script]);
            bpftrace
        }
        Contestant::Bare | Contestant::Auditd(_) => return Ok(Figures::new()),
    };
    let idle = workload::idle_program()?;
    let idle = idle.to_str().context("the target directory's path is not UTF-8")?;
    std::thread::scope(|scope| -> Result<Figures> {
        let busy = scope.spawn(|| workload::run(CORE, &["exec-rate", "200", SECONDS, idle]));
        std::thread::sleep(Duration::from_millis(200));
        let figures = first_event(&mut agent);
        busy.join().map_err(|_| anyhow::anyhow!("the workload's thread panicked"))??;
        figures
    })
}

fn first_event(agent: &mut Command) -> Result<Figures> {
    let began = Instant::now();
    let began_boot = boot_ns();
    let mut child = agent
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start an agent")?;
    let output = child.stdout.take().context("an agent without output")?;
    let mut lines = BufReader::new(output);
    let mut figures = Figures::new();
    let mut line = String::new();
    while lines.read_line(&mut line).context("failed to read an agent's output")? > 0 {
        if let Some(Seen { ktime_ns }) = event(&line) {
            figures.insert("first_shown_ms", began.elapsed().as_secs_f64() * 1e3);
            if let Some(ktime_ns) = ktime_ns {
                figures.insert("first_seen_ms", ktime_ns.saturating_sub(began_boot) as f64 / 1e6);
            }
            break;
        }
        line.clear();
    }
    interrupt(&child)?;
    // An agent must not wait for us to read.
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    if wait_within(&mut child, Duration::from_secs(30))?.is_none() {
        bail!("an agent did not end");
    }
    if figures.is_empty() {
        bail!("an agent ended without any event");
    }
    Ok(figures)
}

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// When (boot time, ns), if the agent says so.
    ktime_ns: Option<u64>,
}

/// What a line tells of, if it is not about the agent itself.
fn event(line: &str) -> Option<Seen> {
    if line.starts_with('{') {
        let event: Value = serde_json::from_str(line).ok()?;
        let kind = event.get("kind")?.as_str()?;
        let ktime_ns = event.get("ktime_ns").and_then(Value::as_u64);
        return (kind != "control").then_some(Seen { ktime_ns });
    }
    // bpftrace: the process id first.
    line.starts_with(|c: char| c.is_ascii_digit()).then_some(Seen { ktime_ns: None })
}

fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let [seconds, nanos] = [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_events_and_words_are_no_events() {
        assert_eq!(event(r#"{"kind":"control","ktime_ns":5}"#), None);
        assert_eq!(event(r#"{"kind":"exec","ktime_ns":5}"#), Some(Seen { ktime_ns: Some(5) }));
        assert_eq!(event("Attaching 2 probes..."), None);
        assert_eq!(event("12 0 /bin/true"), Some(Seen { ktime_ns: None }));
    }
}
