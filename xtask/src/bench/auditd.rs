//! The peer auditd: a daemon of our own in the foreground, and the kernel's audit as it was before afterwards.
//!
//! Once audit has been on, the kernel goes on to give every new task an audit context until the next boot: "bare"
//! is a little slower then. It is the same for all contestants of the run (the first turn of auditd is not counted).

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::contestant::spawn;
use super::cpu;
use crate::command::{capture, command};

/// Records that may wait for the daemon; what auditd's own default rules ask for.
const BACKLOG: &str = "8192";

/// Why audit is not ours to use here, if so.
pub(super) fn in_use() -> Option<String> {
    if !cpu::named("auditd").is_empty() {
        return Some("this host's own auditd is running".to_owned());
    }
    let rules = capture(command("auditctl").arg("-l")).ok()?;
    (!rules.contains("No rules")).then(|| "this host has audit rules of its own".to_owned())
}

/// What is put back.
pub(super) struct Before {
    enabled: u64,
    backlog_limit: u64,
}

/// Starts the daemon with a configuration below `dir`, then watches these system calls.
pub(super) fn start(calls: &[&str], dir: &Path) -> Result<(Child, Before)> {
    let before = Before { enabled: status("enabled")?, backlog_limit: status("backlog_limit")? };
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
    if let Err(error) = watch(calls) {
        restore(&before)?;
        return Err(error);
    }
    Ok((child, before))
}

fn watch(calls: &[&str]) -> Result<()> {
    capture(command("auditctl").args(["-b", BACKLOG]))?;
    let mut rule = command("auditctl");
    rule.args(["-a", "always,exit", "-F", "arch=b64"]);
    for call in calls {
        rule.args(["-S", call]);
    }
    capture(&mut rule)?;
    capture(command("auditctl").args(["-e", "1"]))?;
    Ok(())
}

/// Takes the rules away (there were none before) and puts the state back.
pub(super) fn restore(before: &Before) -> Result<()> {
    capture(command("auditctl").arg("-D"))?;
    capture(command("auditctl").args(["-e", &before.enabled.to_string()]))?;
    capture(command("auditctl").args(["-b", &before.backlog_limit.to_string()]))?;
    Ok(())
}

/// A number of the audit state: `lost`, `backlog`, `enabled`, ...
pub(super) fn status(name: &str) -> Result<u64> {
    let told = capture(command("auditctl").arg("-s"))?;
    match told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok()) {
        Some(number) => Ok(number),
        None => bail!("auditctl told no {name}"),
    }
}

/// Waits until the kernel's queue is empty or it has had time enough.
pub(super) fn drain() -> Result<()> {
    for _ in 0..100 {
        if status("backlog").context("failed to look at audit's queue")? == 0 {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}
