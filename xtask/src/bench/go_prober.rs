//! Who probes the Go program: goaudit, programs that do nothing, bpftrace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::program;
use super::contestant::{bpftrace, fresh_dir, interrupt, spawn};
use super::go_program::{FUNCTION, RETURN, Service, Target, on_core};
use super::turns::Contender;
use crate::command::wait_within;
use crate::workspace::find_program;

/// The probers': what their own threads would take from the probed program's core is not what a call costs.
const CORE: &str = "1";
/// What a prober may take until its probes are there.
const ATTACH_LIMIT: Duration = Duration::from_mins(1);
/// After they are: what else a prober does at its start is not measured.
const SETTLE: Duration = Duration::from_secs(1);
/// What a prober may take to end.
const END_LIMIT: Duration = Duration::from_mins(1);

/// Who probes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prober {
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

impl Prober {
    /// File offsets where it puts probes.
    fn places(self, target: &Target) -> Vec<u64> {
        let entry = match self {
            Self::Nobody => return Vec::new(),
            Self::Goaudit | Self::EmptySame => target.entry,
            Self::EmptyUsual | Self::EmptyEvents | Self::Bpftrace => target.first,
        };
        [entry].into_iter().chain(target.returns.iter().copied()).collect()
    }
}

/// A prober at work.
pub(super) struct Watching {
    prober: Prober,
    child: Option<Child>,
    /// Where it stores what it sees: goaudit's log is `log`, bpftrace's report `output`.
    pub(super) dir: PathBuf,
}

impl Watching {
    /// Starts it and waits until its probes are in the program.
    pub(super) fn start(prober: Prober, target: &Target, service: &Service) -> Result<Self> {
        let dir = fresh_dir(prober.name())?;
        let places = prober.places(target);
        let child = match prober {
            Prober::Nobody => return Ok(Self { prober, child: None, dir }),
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
        let mut watching = Self { prober, child: Some(child), dir };
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

    /// Ends it as its user would.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        interrupt(&child).ok();
        if wait_within(&mut child, END_LIMIT)?.is_none() {
            bail!("{} did not end", self.prober.name());
        }
        Ok(())
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

fn empty(hanging: &str, target: &Target, places: &[u64], dir: &Path) -> Result<Child> {
    let mut empty = beside(&program("empty_probes"));
    empty.arg(hanging).arg(&target.program).args(places.iter().map(u64::to_string));
    let child = empty.stdin(Stdio::piped()).stdout(fs::File::create(dir.join("stdout"))?);
    child.stderr(fs::File::create(dir.join("stderr"))?).spawn().context("failed to start empty_probes")
}

fn beside(program: &Path) -> Command {
    on_core(CORE, program)
}
