//! B5: what probing a Go function costs each of its calls.
//!
//! Compared with a program that does nothing, at the places where every other tool puts its probes (the function's
//! first instruction and each return), and at goaudit's own places; and with a bpftrace script that measures as goaudit
//! does. The figure is CPU time of the probed process, so what else runs on the machine is not in it.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agent::program;
use super::contestant::{bpftrace, fresh_dir, interrupt, spawn};
use super::goal::{Goal, Limit};
use super::symbols::name_places;
use super::turns::{Contender, Figures, Measured, interleave};
use crate::command::{capture, command, wait_within};
use crate::workspace::{find_program, root, target};

const CORE: &str = "0";
const OTHER_CORE: &str = "1";
const CALLS: &str = "20000";
const FUNCTION: &str = "main.work";
/// What a prober may take until its probes are there.
const ATTACH_LIMIT: Duration = Duration::from_mins(1);
/// After they are: what else a prober does at its start is not measured.
const SETTLE: Duration = Duration::from_secs(1);
/// How the returns are called for bpftrace.
const RETURN: &str = "bench_return_";
/// A return.
const RET: u8 = 0xc3;
/// The instruction that a probe puts at its place.
const BREAKPOINT: u8 = 0xcc;

/// Who probes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prober {
    Nobody,
    Goaudit,
    /// A program that does nothing at goaudit's places.
    EmptySame,
    /// The same at the first instruction and each return.
    EmptyUsual,
    /// The same there by a perf event for each, as tools for Go attach.
    EmptyEvents,
    /// A script there that measures the time between them.
    Bpftrace,
}

const PROBERS: [Prober; 6] = [
    Prober::Nobody,
    Prober::Goaudit,
    Prober::EmptySame,
    Prober::EmptyUsual,
    Prober::EmptyEvents,
    Prober::Bpftrace,
];

impl Contender for Prober {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "bare",
            Self::Goaudit => "goaudit",
            Self::EmptySame => "empty-same",
            Self::EmptyUsual => "empty-usual",
            Self::EmptyEvents => "empty-events",
            Self::Bpftrace => "bpftrace",
        }
    }

    fn missing(self) -> Option<String> {
        let missing = self == Self::Bpftrace && find_program("bpftrace").is_none();
        missing.then(|| "bpftrace is not installed".to_owned())
    }

    fn is_peer(self) -> bool {
        self == Self::Bpftrace
    }
}

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

/// The probed program and where its function is.
struct Target {
    program: PathBuf,
    /// What a file offset lacks to the address where it is loaded.
    loaded: u64,
    /// File offsets: the first instruction, goaudit's entry, the returns.
    first: u64,
    entry: u64,
    returns: Vec<u64>,
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    let target = Target::build()?;
    interleave(&PROBERS, 1, turns, |prober| turn(prober, &target))
}

fn turn(prober: Prober, target: &Target) -> Result<Figures> {
    let mut service = Service::start(&target.program)?;
    let watching = Watching::start(prober, target, &service)?;
    let told = service.work()?;
    let Watching { child, dir } = watching;
    let mut figures = Figures::new();
    let calls: f64 = CALLS.parse()?;
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_f64);
    let (wall, cpu) = number("/latencies_ns/0").zip(number("/latencies_ns/1")).context("no times")?;
    figures.insert("ns_per_call", wall / calls);
    figures.insert("cpu_ns_per_call", cpu / calls);
    let own = format!("\"tgid\":{},", service.child.id());
    drop(service);
    if let Some(mut child) = child {
        drop(child.stdin.take());
        interrupt(&child).ok();
        if wait_within(&mut child, Duration::from_mins(1))?.is_none() {
            bail!("{} did not end", prober.name());
        }
    }
    if prober == Prober::Goaudit {
        let mut replay = Command::new(program("goaudit"));
        let stored = capture(replay.args(["replay", "-o", "json"]).arg(dir.join("log")))?;
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
    let target = Target::build()?;
    turn(Prober::Goaudit, &target)?;
    Ok(self::target().join("bench").join(Prober::Goaudit.name()).join("log"))
}

impl Target {
    fn build() -> Result<Self> {
        let dir = target().join("bench");
        fs::create_dir_all(&dir)?;
        let program = dir.join("runtime-cases");
        let fixture = root().join("tests/fixtures/go/runtime-cases");
        let mut go = command("go");
        go.current_dir(fixture).env("CGO_ENABLED", "0").env("GOFLAGS", "-trimpath");
        capture(go.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg("."))
            .context("no Go program to probe")?;
        let mut inspect = Command::new(self::program("goaudit"));
        let plan = capture(inspect.args(["inspect", "--json", "--function", FUNCTION]).arg(&program))?;
        let plan: Value = serde_json::from_str(&plan).context("inspect told no JSON")?;
        let entry = plan.pointer("/probes/0/entry/offset").and_then(Value::as_u64).context("no entry")?;
        let returns = plan.pointer("/probes/0/returns").and_then(Value::as_array).context("no returns")?;
        let returns: Vec<u64> = returns.iter().filter_map(Value::as_u64).collect();
        // The code lies as far from its file offsets as the first return does.
        let symbol = format!("^{FUNCTION}$");
        let listing = capture(command("go").args(["tool", "objdump", "-s", &symbol]).arg(&program))?;
        let address = |line: &str| {
            let word = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("0x"))?;
            u64::from_str_radix(word, 16).ok()
        };
        let first = listing.lines().find_map(address).context("objdump told no instruction")?;
        let ret = listing.lines().filter(|line| line.trim_end().ends_with("RET")).find_map(address);
        let loaded = ret.context("objdump told no return")? - returns.first().context("no returns")?;
        let first = first - loaded;
        let target = Self { program, loaded, first, entry, returns };
        target.name_returns()?;
        Ok(target)
    }

    /// Gives its returns names, by which bpftrace finds them.
    fn name_returns(&self) -> Result<()> {
        let addresses: Vec<u64> = self.returns.iter().map(|place| place + self.loaded).collect();
        name_places(&self.program, RETURN, &addresses)?;
        let code = fs::File::open(&self.program)?;
        for place in &self.returns {
            let mut byte = [0];
            code.read_exact_at(&mut byte, *place)?;
            if byte != [RET] {
                bail!("no return is at {place:#x} of {} any more", self.program.display());
            }
        }
        Ok(())
    }

    /// File offsets where this one puts probes.
    fn places(&self, prober: Prober) -> Vec<u64> {
        let entry = match prober {
            Prober::Nobody => return Vec::new(),
            Prober::Goaudit | Prober::EmptySame => self.entry,
            Prober::EmptyUsual | Prober::EmptyEvents | Prober::Bpftrace => self.first,
        };
        [entry].into_iter().chain(self.returns.iter().copied()).collect()
    }
}

/// A prober at work.
struct Watching {
    child: Option<Child>,
    dir: PathBuf,
}

impl Watching {
    /// Starts it and waits until its probes are in the program.
    fn start(prober: Prober, target: &Target, service: &Service) -> Result<Self> {
        let dir = fresh_dir(prober.name())?;
        let places = target.places(prober);
        let child = match prober {
            Prober::Nobody => return Ok(Self { child: None, dir }),
            Prober::Goaudit => {
                let profile = dir.join("work.toml");
                fs::write(&profile, PROFILE)?;
                let mut record = beside(&program("goaudit"));
                record.args(["record", "--quiet", "--only", "go", "--probe-budget", "10000", "--profile"]);
                record.arg(profile).arg("-w").arg(dir.join("log"));
                spawn(record, &dir)?
            }
            Prober::EmptySame | Prober::EmptyUsual => empty("link", target, &places, &dir)?,
            Prober::EmptyEvents => empty("events", target, &places, &dir)?,
            Prober::Bpftrace => {
                let path = target.program.display();
                let returns = 0..target.returns.len();
                let returns: Vec<_> =
                    returns.map(|number| format!("uprobe:{path}:{RETURN}{number}")).collect();
                let script = format!(
                    "uprobe:{path}:\"{FUNCTION}\" {{ @start[tid] = nsecs; }} {} {{ @took = hist(nsecs - @start[tid]); }}",
                    returns.join(", ")
                );
                let mut bpftrace = bpftrace();
                bpftrace.arg("-o").arg(dir.join("output")).args(["-e", &script]);
                spawn(bpftrace, &dir)?
            }
        };
        let mut watching = Self { child: Some(child), dir };
        let began = Instant::now();
        while !service.is_probed(target, &places)? {
            if let Some(status) = watching.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                let told = fs::read_to_string(watching.dir.join("stderr")).unwrap_or_default();
                bail!("{} ended before it was measured, with {status}: {}", prober.name(), told.trim());
            }
            if began.elapsed() > ATTACH_LIMIT {
                bail!("{} put no probes at {places:?}", prober.name());
            }
            sleep(Duration::from_millis(20));
        }
        sleep(SETTLE);
        Ok(watching)
    }
}

const PROFILE: &str = r#"
[[probe]]
id = "bench.work"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "work"
signature = "func(n int, s string) (done int, err error)"
"#;

/// A prober that leaves the probed program's core to it: what its own threads would take from that one is not what a call
/// costs.
fn beside(program: &Path) -> Command {
    on_core(OTHER_CORE, program)
}

fn on_core(core: &str, program: &Path) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", core]).arg(program);
    pinned
}

fn empty(hanging: &str, target: &Target, places: &[u64], dir: &Path) -> Result<Child> {
    let mut empty = beside(&program("empty_probes"));
    empty.arg(hanging).arg(&target.program).args(places.iter().map(u64::to_string));
    let child = empty.stdin(Stdio::piped()).stdout(fs::File::create(dir.join("stdout"))?);
    child.stderr(fs::File::create(dir.join("stderr"))?).spawn().context("failed to start empty_probes")
}

/// The probed program: waits until it is told to work. Dropped, it ends.
struct Service {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(program: &Path) -> Result<Self> {
        let mut child = on_core(CORE, program)
            .args(["-case", "rate", "-calls", CALLS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start the probed program")?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
        output.next().context("the probed program ended before it was ready")??;
        Ok(Self { child, input, output })
    }

    /// Whether its code has a breakpoint at all of these file offsets.
    fn is_probed(&self, target: &Target, places: &[u64]) -> Result<bool> {
        let memory = fs::File::open(format!("/proc/{}/mem", self.child.id()))?;
        for place in places {
            let mut byte = [0];
            memory
                .read_exact_at(&mut byte, place + target.loaded)
                .context("no code of the probed program")?;
            if byte != [BREAKPOINT] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has it work, and gives what it tells about it.
    fn work(&mut self) -> Result<Value> {
        self.input.as_mut().context("stdin is a pipe")?.write_all(b"go\n")?;
        let line = self.output.next().context("the probed program told nothing")??;
        serde_json::from_str(&line).context("the probed program told no JSON")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.input = None;
        if !matches!(wait_within(&mut self.child, Duration::from_secs(10)), Ok(Some(_))) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
