//! Who is compared: nobody, goaudit, auditd, bpftrace. Each is started for one turn and ended after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::agent::program;
use super::stored::Store;
use super::turns::Contender;
use super::{auditd, cpu};
use crate::command::{command, wait_within};
use crate::workspace::{find_program, target};

/// After an agent has said that it watches: what else it does at its start is not measured.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// What an agent may take until it says so.
const START_LIMIT: Duration = Duration::from_mins(1);

/// What an agent may take to end in order.
const END_LIMIT: Duration = Duration::from_mins(1);

/// What an agent may take until it has stored what it has seen.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(15);

/// One way of watching the workload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contestant {
    /// Nobody watches: what the others are compared with.
    Bare,
    /// goaudit with its defaults: every hook, everything sealed, no live view (as a service runs).
    Goaudit,
    /// The kernel's audit with auditd, for these system calls.
    Auditd(&'static [&'static str]),
    /// A bpftrace script, its output in a file.
    Bpftrace(&'static str),
}

impl Contender for Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Goaudit => "goaudit",
            Self::Auditd(_) => "auditd",
            Self::Bpftrace(_) => "bpftrace",
        }
    }

    fn missing(self) -> Option<String> {
        let (program, in_use) = match self {
            Self::Bare | Self::Goaudit => return None,
            Self::Auditd(_) => ("auditd", auditd::in_use()),
            Self::Bpftrace(_) => ("bpftrace", None),
        };
        find_program(program).is_none().then(|| format!("{program} is not installed")).or(in_use)
    }

    fn is_peer(self) -> bool {
        matches!(self, Self::Auditd(_) | Self::Bpftrace(_))
    }
}

impl Contestant {
    /// Starts it and waits until it watches.
    pub(super) fn start(self) -> Result<Watching> {
        let dir = fresh_dir(self.name())?;
        let mut before = None;
        let child = match self {
            Self::Bare => None,
            Self::Goaudit => {
                let mut record = Command::new(program("goaudit"));
                record.args(["record", "--quiet", "-w"]).arg(dir.join("log"));
                Some(spawn(record, &dir)?)
            }
            Self::Auditd(calls) => {
                let (child, state) = auditd::start(calls, &dir)?;
                before = Some(state);
                Some(child)
            }
            Self::Bpftrace(script) => {
                let mut bpftrace = bpftrace();
                bpftrace.arg("-o").arg(dir.join("output")).args(["-e", script]);
                Some(spawn(bpftrace, &dir)?)
            }
        };
        let lost_before = if before.is_some() { auditd::status("lost")? } else { 0 };
        let mut watching =
            Watching { contestant: self, dir, child, audit: before, lost_before, cpu_before: Duration::ZERO };
        if watching.child.is_some() {
            watching.wait_until_ready()?;
            watching.cpu_before = watching.cpu_now()?;
        }
        Ok(watching)
    }

    /// What it says, and in which file, when it watches (bpftrace: when it is about to).
    fn ready_sign(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bare | Self::Auditd(_) => None,
            Self::Goaudit => Some(("stderr", "recording into")),
            Self::Bpftrace(_) => Some(("output", "Attaching")),
        }
    }
}

/// bpftrace, where it finds tracefs: in a mount namespace of its own, because many hosts mount none.
pub(super) fn bpftrace() -> Command {
    let mut command = command("unshare");
    command.args(["--mount", "sh", "-c", BPFTRACE_START, "sh"]);
    command
}

/// Its process is the one that was started. Where a mount is there already, mounting fails and nothing is lost.
const BPFTRACE_START: &str = "mount -t debugfs none /sys/kernel/debug 2>/dev/null; \
     mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec bpftrace \"$@\"";

/// An empty folder for a contestant's turn.
pub(super) fn fresh_dir(name: &str) -> Result<PathBuf> {
    let dir = target().join("bench").join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    Ok(dir)
}

/// A contestant at work. [`Watching::end`] must be called: until then it watches.
pub(super) struct Watching {
    contestant: Contestant,
    /// Where it stores what it sees.
    dir: PathBuf,
    child: Option<Child>,
    audit: Option<auditd::Before>,
    lost_before: u64,
    cpu_before: Duration,
}

impl Watching {
    /// Process id of the agent; none for nobody.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// CPU time that it used since it was ready; `None` for nobody. For auditd with the kernel thread that feeds
    /// it. What watching costs in the context of those that are watched is not in it.
    pub(super) fn cpu(&self) -> Result<Option<Duration>> {
        if self.child.is_none() {
            return Ok(None);
        }
        Ok(Some(self.cpu_now()?.saturating_sub(self.cpu_before)))
    }

    fn cpu_now(&self) -> Result<Duration> {
        let Some(child) = &self.child else { return Ok(Duration::ZERO) };
        let own = cpu::of_process(child.id())?;
        if self.audit.is_none() {
            return Ok(own);
        }
        cpu::named("kauditd").into_iter().try_fold(own, |sum, pid| Ok(sum + cpu::of_process(pid)?))
    }

    /// Waits until it has worked off what it has seen: it uses less than a tenth of a core.
    pub(super) fn catch_up(&self) -> Result<()> {
        if self.audit.is_some() {
            auditd::drain()?;
        }
        let began = Instant::now();
        let step = Duration::from_millis(300);
        while self.child.is_some() && began.elapsed() < CATCH_UP_LIMIT {
            let before = self.cpu_now()?;
            sleep(step);
            if self.cpu_now()?.saturating_sub(before) < step / 10 {
                break;
            }
        }
        Ok(())
    }

    /// Ends it as its user would, and gives what it stored.
    pub(super) fn end(mut self) -> Result<Store> {
        let mut lost = None;
        if let Some(before) = self.audit.take() {
            lost = Some(auditd::status("lost")?.saturating_sub(self.lost_before));
            // Rules first: what audit does without its daemon is print to the kernel log.
            auditd::restore(&before)?;
        }
        if let Some(child) = &mut self.child {
            interrupt(child)?;
            if wait_within(child, END_LIMIT)?.is_none() {
                bail!("{} did not end", self.contestant.name());
            }
        }
        Ok(Store { contestant: self.contestant, dir: self.dir.clone(), audit_lost: lost })
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        let sign = self.contestant.ready_sign();
        loop {
            if let Some(status) = self.ended()? {
                let told = fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
                bail!("{} ended before it was measured, with {status}: {told}", self.contestant.name());
            }
            let said = sign.is_none_or(|(file, sign)| {
                fs::read(self.dir.join(file)).is_ok_and(|said| String::from_utf8_lossy(&said).contains(sign))
            });
            if said {
                sleep(SETTLE);
                return Ok(());
            }
            if began.elapsed() > START_LIMIT {
                bail!("{} did not say that it watches", self.contestant.name());
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.child
            .as_mut()
            .map(Child::try_wait)
            .transpose()
            .map(Option::flatten)
            .context("failed to look after it")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Only after an error: a turn that failed must leave nothing running. Nobody is left to tell.
        if let Some(before) = &self.audit {
            auditd::restore(before).ok();
        }
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            interrupt(child).ok();
            wait_within(child, END_LIMIT).ok();
        }
    }
}

/// Starts a program with its words in files of `dir`.
pub(super) fn spawn(mut command: Command, dir: &Path) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(fs::File::create(dir.join("stdout"))?)
        .stderr(fs::File::create(dir.join("stderr"))?)
        .spawn()
        .with_context(|| format!("failed to start {}", command.get_program().to_string_lossy()))
}

/// Asks a child of ours to end; every contestant ends in order on TERM.
pub(super) fn interrupt(child: &Child) -> Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM).context("failed to end a contestant")
}
