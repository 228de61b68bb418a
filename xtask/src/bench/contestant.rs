//! Who is compared: nobody, goaudit, auditd, bpftrace. Each is started for one turn and ended after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::agent::program;
use super::cpu;
use crate::command::{capture, command, wait_within};
use crate::workspace::{find_program, target};

/// From start until everything is attached; bpftrace compiles its script first.
const SETTLE: Duration = Duration::from_secs(3);

/// What an agent may take to end in order.
const END_LIMIT: Duration = Duration::from_secs(30);

/// One way of watching the workload.
pub(super) enum Contestant {
    /// Nobody watches: what the others are compared with.
    Bare,
    /// goaudit, with these arguments after `record -w DIR`.
    Goaudit(&'static [&'static str]),
    /// The kernel's audit with auditd, for these system calls.
    Auditd(&'static [&'static str]),
    /// A bpftrace script, its output in a file.
    Bpftrace(&'static str),
}

impl Contestant {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Goaudit(_) => "goaudit",
            Self::Auditd(_) => "auditd",
            Self::Bpftrace(_) => "bpftrace",
        }
    }

    /// Why it cannot take part here, if so.
    pub(super) fn missing(&self) -> Option<String> {
        let program = match self {
            Self::Bare | Self::Goaudit(_) => return None,
            Self::Auditd(_) if auditd_runs() => return Some("this host's own auditd is running".to_owned()),
            Self::Auditd(_) => "auditd",
            Self::Bpftrace(_) => "bpftrace",
        };
        find_program(program).is_none().then(|| format!("{program} is not installed"))
    }

    /// Starts it and waits until it watches.
    pub(super) fn start(&self) -> Result<Watching> {
        let dir = target().join("bench").join(self.name());
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("failed to empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let child = match self {
            Self::Bare => None,
            Self::Goaudit(arguments) => {
                let mut record = Command::new(program("goaudit"));
                record.args(["record", "-w"]).arg(dir.join("log")).args(*arguments);
                Some(spawn(record, &dir)?)
            }
            Self::Auditd(calls) => Some(start_auditd(calls, &dir)?),
            Self::Bpftrace(script) => {
                let mut bpftrace = command("bpftrace");
                bpftrace.arg("-o").arg(dir.join("output")).args(["-e", script]);
                Some(spawn(bpftrace, &dir)?)
            }
        };
        let mut watching = Watching { name: self.name(), dir, child, cpu_before: Duration::ZERO };
        if let Some(child) = &mut watching.child {
            sleep(SETTLE);
            if let Some(status) = child.try_wait().context("failed to look after a contestant")? {
                let told = fs::read_to_string(watching.dir.join("stderr")).unwrap_or_default();
                bail!("{} ended before it was measured, with {status}: {told}", watching.name);
            }
            watching.cpu_before = cpu::of_tree(child.id())?;
        }
        Ok(watching)
    }
}

/// A contestant at work. [`Watching::end`] must be called: until then it watches.
pub(super) struct Watching {
    name: &'static str,
    /// Where it stores what it sees.
    pub(super) dir: PathBuf,
    child: Option<Child>,
    cpu_before: Duration,
}

impl Watching {
    /// CPU time that it used since it was ready; `None` for nobody.
    pub(super) fn cpu(&self) -> Result<Option<Duration>> {
        let Some(child) = &self.child else { return Ok(None) };
        Ok(Some(cpu::of_tree(child.id())?.saturating_sub(self.cpu_before)))
    }

    /// Ends it as its user would, and returns the bytes that it stored.
    pub(super) fn end(mut self) -> Result<u64> {
        if self.name == "auditd" {
            // Rules first: what audit does without its daemon is print to the kernel log.
            audit_off()?;
        }
        if let Some(child) = &mut self.child {
            interrupt(child)?;
            if wait_within(child, END_LIMIT)?.is_none() {
                bail!("{} did not end", self.name);
            }
        }
        Ok(size(&self.dir))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Only after an error: a turn that failed must leave nothing running. Nobody is left to tell.
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            if self.name == "auditd" {
                audit_off().ok();
            }
            interrupt(child).ok();
            wait_within(child, END_LIMIT).ok();
        }
    }
}

fn spawn(mut command: Command, dir: &Path) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(fs::File::create(dir.join("stdout"))?)
        .stderr(fs::File::create(dir.join("stderr"))?)
        .spawn()
        .with_context(|| format!("failed to start {}", command.get_program().to_string_lossy()))
}

fn interrupt(child: &Child) -> Result<()> {
    // auditd ends on TERM, the others end on it in order too.
    kill_process(Pid::from_child(child), Signal::TERM).context("failed to end a contestant")
}

/// auditd with a configuration of its own, in the foreground, and the rules loaded after it.
fn start_auditd(calls: &[&str], dir: &Path) -> Result<Child> {
    let log = dir.join("audit.log");
    let settings = format!(
        "local_events = yes\nwrite_logs = yes\nlog_file = {}\nlog_format = RAW\nlog_group = root\n\
         flush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 1024\nnum_logs = 2\nmax_log_file_action = ignore\n\
         space_left = 75\nspace_left_action = ignore\nadmin_space_left = 50\nadmin_space_left_action = ignore\n\
         disk_full_action = ignore\ndisk_error_action = ignore\ntcp_listen_queue = 5\nname_format = NONE\n\
         q_depth = 2000\noverflow_action = ignore\n",
        log.display()
    );
    fs::write(dir.join("auditd.conf"), settings)?;
    fs::create_dir_all(dir.join("plugins.d"))?;
    let mut auditd = command("auditd");
    auditd.args(["-n", "-s", "nochange", "-c"]).arg(dir);
    let child = spawn(auditd, dir)?;
    sleep(Duration::from_secs(1));
    capture(command("auditctl").arg("-D"))?;
    capture(command("auditctl").args(["-b", "8192"]))?;
    let mut rule = command("auditctl");
    rule.args(["-a", "always,exit", "-F", "arch=b64"]);
    for call in calls {
        rule.args(["-S", call]);
    }
    capture(&mut rule)?;
    capture(command("auditctl").args(["-e", "1"]))?;
    Ok(child)
}

fn audit_off() -> Result<()> {
    capture(command("auditctl").arg("-D"))?;
    capture(command("auditctl").args(["-e", "0"]))?;
    Ok(())
}

/// Events that the kernel's audit lost since it was asked last.
pub(super) fn auditd_lost() -> Result<f64> {
    let told = capture(command("auditctl").arg("-s"))?;
    let lost = told.lines().find_map(|line| line.strip_prefix("lost ")?.trim().parse().ok());
    lost.context("auditctl told no count of lost events")
}

/// Whether somebody's audit daemon is at work, which we must not disturb.
fn auditd_runs() -> bool {
    fs::read_dir("/proc").into_iter().flatten().any(|entry| {
        entry.is_ok_and(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == "auditd")
        })
    })
}

/// Bytes of all files below a folder, without what programs only said.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                size(&path)
            } else if ["stdout", "stderr", "auditd.conf"].iter().any(|name| path.ends_with(name)) {
                0
            } else {
                entry.metadata().map_or(0, |data| data.len())
            }
        })
        .sum()
}
