//! B8: how long an answer from a stored capture takes: everything as JSON, the execs of one program, quantiles of latencies.
//!
//! jq gets the lines that `goaudit replay -o json` printed of the very log that goaudit reads, ausearch what auditd
//! stored of the same programs. Answers are compared: a wrong one is an error. Figures are CPU time, that of starting
//! the programs included.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agent::program;
use super::b5_go_call;
use super::contestant::Contestant;
use super::goal::{Goal, Limit};
use super::peer::AUDITD_EXEC;
use super::sealed_log::{EXECS, capture_execs, grow, utf8};
use super::turns::{Contender, Figures, Measured, interleave};
use super::{cpu, workload};
use crate::command::{capture, command};
use crate::workspace::find_program;

/// In each of the two logs.
const EVENTS: &str = "100000";
/// What an HDR histogram of three digits may be beside an exact quantile.
const ERROR: f64 = 0.0011;

/// Who is asked.
#[derive(Clone, Copy)]
enum Tool {
    Goaudit,
    Jq,
    Ausearch,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Goaudit => "goaudit",
            Self::Jq => "jq",
            Self::Ausearch => "ausearch",
        }
    }
}

impl Contender for Tool {
    fn name(self) -> &'static str {
        self.program()
    }

    fn missing(self) -> Option<String> {
        match self {
            Self::Goaudit => None,
            Self::Jq => find_program("jq").is_none().then(|| "jq is not installed".to_owned()),
            Self::Ausearch if find_program("ausearch").is_none() => {
                Some("ausearch is not installed".to_owned())
            }
            Self::Ausearch => Contestant::Auditd(AUDITD_EXEC).missing(),
        }
    }

    fn is_peer(self) -> bool {
        matches!(self, Self::Jq | Self::Ausearch)
    }
}

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "the execs of one program, times as fast as ausearch",
        limit: Limit::AtLeast(50.0),
        figure: |measured| faster(measured, "ausearch", "filter_us_per_exec"),
    },
    Goal {
        what: "the execs of one program, times as fast as jq",
        limit: Limit::AtLeast(20.0),
        figure: |measured| faster(measured, "jq", "filter_us_per_exec"),
    },
    Goal {
        what: "everything as JSON, times as fast as jq",
        limit: Limit::AtLeast(20.0),
        figure: |measured| faster(measured, "jq", "replay_us_per_event"),
    },
    Goal {
        what: "quantiles of latencies, times as fast as jq",
        limit: Limit::AtLeast(20.0),
        figure: |measured| faster(measured, "jq", "hist_us_per_call"),
    },
];

fn faster(measured: &Measured, peer: &str, figure: &str) -> Option<f64> {
    Some(measured.median(peer, figure)? / measured.median("goaudit", figure)?)
}

/// What is asked about, and what must come out.
struct Stores {
    /// The program whose execs are looked for, and how many there are of it in `execs`.
    path: PathBuf,
    found: u64,
    /// A log of execs, forks and exits, and its lines.
    execs: PathBuf,
    execs_lines: PathBuf,
    /// A log of Go calls, and its lines.
    calls: PathBuf,
    calls_lines: PathBuf,
    /// What auditd stored of [`EXECS`] programs.
    auditd: Option<PathBuf>,
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    let stores = Stores::make()?;
    let measured =
        interleave(&[Tool::Goaudit, Tool::Jq, Tool::Ausearch], 1, turns, |tool| turn(tool, &stores));
    // They are large.
    for lines in [&stores.execs_lines, &stores.calls_lines] {
        fs::remove_file(lines).with_context(|| format!("failed to remove {}", lines.display()))?;
    }
    measured
}

impl Stores {
    fn make() -> Result<Self> {
        let captured = capture_execs(Contestant::Goaudit)?;
        let (execs, _) = grow(&captured.dir.join("log"), EVENTS, "stored-execs")?;
        let (calls, _) = grow(&b5_go_call::record_calls()?, EVENTS, "stored-calls")?;
        let auditd = match Tool::Ausearch.missing() {
            None => Some(capture_execs(Contestant::Auditd(AUDITD_EXEC))?.dir.join("audit.log")),
            Some(_) => None,
        };
        let (execs_lines, calls_lines) = (execs.with_extension("json"), calls.with_extension("json"));
        replay(&execs, &[], &execs_lines)?;
        replay(&calls, &[], &calls_lines)?;
        let path = workload::idle_program()?;
        let wanted = format!("\"filename\":\"{}\"", path.display());
        // Counted by neither of those that are measured.
        let count = capture(command("grep").args(["-c", "-F", &wanted]).arg(&execs_lines))?;
        let found = count.trim().parse().context("grep told no count")?;
        Ok(Self { path, found, execs, execs_lines, calls, calls_lines, auditd })
    }
}

fn turn(tool: Tool, stores: &Stores) -> Result<Figures> {
    let mut figures = Figures::new();
    let events: f64 = EVENTS.parse()?;
    let path = utf8(&stores.path)?;
    let output = stores.execs.with_extension("output");
    match tool {
        Tool::Goaudit => {
            let ((), took) = timed(|| replay(&stores.execs, &[], &output))?;
            figures.insert("replay_us_per_event", took.as_secs_f64() * 1e6 / events);
            let which = format!("kind == 'exec' && exec.filename == '{path}'");
            let ((), took) =
                timed(|| replay(&stores.execs, &["--only", "exec", "--where", &which], &output))?;
            same(lines(&output)?, stores.found)?;
            figures.insert("filter_us_per_exec", took.as_secs_f64() * 1e6 / stores.found as f64);
            let mut hist = Command::new(program("goaudit"));
            hist.args(["hist", "--json"]).arg(&stores.calls);
            let (told, took) = timed(|| capture(&mut hist))?;
            let told = Latencies::of_hist(&told)?;
            figures.insert("hist_us_per_call", took.as_secs_f64() * 1e6 / told.count);
            figures.insert("hist_p50_ns", told.p50);
            figures.insert("hist_p99_ns", told.p99);
        }
        Tool::Jq => {
            let ((), took) = timed(|| jq(&["-c", "."], &stores.execs_lines, &output))?;
            figures.insert("replay_us_per_event", took.as_secs_f64() * 1e6 / events);
            let which = format!("select(.kind == \"exec\" and .exec.filename == \"{path}\")");
            let ((), took) = timed(|| jq(&["-c", &which], &stores.execs_lines, &output))?;
            same(lines(&output)?, stores.found)?;
            figures.insert("filter_us_per_exec", took.as_secs_f64() * 1e6 / stores.found as f64);
            let ((), took) = timed(|| jq(&["-n", "-c", QUANTILES], &stores.calls_lines, &output))?;
            let exact = Latencies::of_jq(&fs::read_to_string(&output)?)?;
            let told = Latencies::of_hist(&capture(
                Command::new(program("goaudit")).args(["hist", "--json"]).arg(&stores.calls),
            )?)?;
            exact.compare(&told)?;
            figures.insert("hist_us_per_call", took.as_secs_f64() * 1e6 / exact.count);
            figures.insert("hist_p50_ns", exact.p50);
            figures.insert("hist_p99_ns", exact.p99);
        }
        Tool::Ausearch => {
            let log = stores.auditd.as_ref().context("auditd stored nothing")?;
            let mut ausearch = command("ausearch");
            ausearch.args(["--raw", "-x", path, "-if"]).arg(log);
            let (told, took) = timed(|| capture(&mut ausearch))?;
            let execs = told.lines().filter(|line| line.starts_with("type=SYSCALL")).count();
            same(execs as u64, EXECS.parse()?)?;
            figures.insert("filter_us_per_exec", took.as_secs_f64() * 1e6 / execs as f64);
        }
    }
    if output.exists() {
        fs::remove_file(&output)?;
    }
    Ok(figures)
}

/// Exact quantiles: the smallest latency that at least that part of the calls do not exceed.
const QUANTILES: &str = "[inputs | select(.kind == \"go_call\") | .go_call.latency_ns | numbers] | sort | \
    {count: length, p50_ns: .[(length * 0.5 | ceil) - 1], p99_ns: .[(length * 0.99 | ceil) - 1]}";

struct Latencies {
    count: f64,
    p50: f64,
    p99: f64,
}

impl Latencies {
    /// From `goaudit hist --json`, of its only group.
    fn of_hist(told: &str) -> Result<Self> {
        let told: Value = serde_json::from_str(told).context("`goaudit hist` told no JSON")?;
        let groups = told.get("groups").and_then(Value::as_array).context("`goaudit hist` told no groups")?;
        let [group] = groups.as_slice() else { bail!("{} groups instead of one", groups.len()) };
        Self::of(group)
    }

    fn of_jq(told: &str) -> Result<Self> {
        Self::of(&serde_json::from_str(told).context("jq told no JSON")?)
    }

    fn of(told: &Value) -> Result<Self> {
        let number = |name: &str| {
            told.get(name).and_then(Value::as_f64).with_context(|| format!("no {name} was told"))
        };
        Ok(Self { count: number("count")?, p50: number("p50_ns")?, p99: number("p99_ns")? })
    }

    /// Whether an answer is right, by this exact one.
    fn compare(&self, told: &Self) -> Result<()> {
        let near = |exact: f64, told: f64| (exact..=exact * (1.0 + ERROR)).contains(&told);
        if (told.count - self.count).abs() > 0.0 || !near(self.p50, told.p50) || !near(self.p99, told.p99) {
            bail!(
                "{} calls with {} and {} ns instead of {} with {} and {} ns",
                told.count,
                told.p50,
                told.p99,
                self.count,
                self.p50,
                self.p99
            );
        }
        Ok(())
    }
}

/// With the CPU time that the programs took which it ran.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let before = cpu::of_children()?;
    let done = work()?;
    Ok((done, cpu::of_children()?.saturating_sub(before)))
}

pub(super) fn replay(log: &Path, arguments: &[&str], output: &Path) -> Result<()> {
    let mut replay = Command::new(program("goaudit"));
    into(replay.arg("replay").arg(log).args(["-o", "json"]).args(arguments), output)
}

fn jq(arguments: &[&str], input: &Path, output: &Path) -> Result<()> {
    into(command("jq").args(arguments).arg(input), output)
}

fn into(command: &mut Command, output: &Path) -> Result<()> {
    let file = File::create(output).with_context(|| format!("failed to create {}", output.display()))?;
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(file).status();
    let status = status.with_context(|| format!("failed to start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

fn lines(file: &Path) -> Result<u64> {
    let text = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64)
}

fn same(found: u64, wanted: u64) -> Result<()> {
    if found != wanted || found == 0 {
        bail!("{found} execs were found instead of {wanted}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn answers_are_read_and_compared() {
        let exact = Latencies::of_jq(r#"{"count":10,"p50_ns":1000,"p99_ns":2000}"#).unwrap();
        let hist = |p99: u64| {
            let told = format!(r#"{{"groups":[{{"count":10,"p50_ns":1001,"p99_ns":{p99}}}]}}"#);
            Latencies::of_hist(&told).unwrap()
        };
        assert!(exact.compare(&hist(2000)).is_ok());
        assert!(exact.compare(&hist(2100)).is_err());
        assert!(exact.compare(&hist(1999)).is_err());
        assert!(Latencies::of_hist(r#"{"groups":[]}"#).is_err());
    }

    #[test]
    fn nothing_found_is_no_answer() {
        assert!(same(3, 3).is_ok());
        assert!(same(2, 3).is_err());
        assert!(same(0, 0).is_err());
    }
}
