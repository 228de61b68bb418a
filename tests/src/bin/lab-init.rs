//! Process 1 of a lab guest: makes a small Linux of the bare kernel, runs the test binaries one after the
//! other, tells their results, turns the machine off.
//!
//! `cargo xtask vm` builds it statically, packs it as `/init` and reads what it writes to the second serial
//! port: the test binaries' own output, and lines that begin with `@lab ` and hold one JSON object. The first
//! port is the kernel's console. It must not need anything that the plan does not name: there is no network,
//! no disk and no other program than those in `/bin`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use goaudit_tests::ability;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use rustix::system::{RebootCommand, reboot, sethostname, uname};
use serde_json::{Value, json};

/// (file system, where, what a test would miss without it)
const MOUNTS: [(&str, &str); 11] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("tracefs", "/sys/kernel/tracing"),
    ("bpf", "/sys/fs/bpf"),
    ("securityfs", "/sys/kernel/security"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// Where the plan lies in the guest.
const PLAN: &str = "/lab/plan.json";

/// The port whose lines are read by the other side.
const RESULTS: &str = "/dev/ttyS1";

fn main() {
    if let Err(error) = guest() {
        // The console is all there is; process 1 returning from main is a panic that the other side reports.
        writeln!(io::stderr(), "lab-init: {error:#}").ok();
        thread::sleep(Duration::from_secs(1));
        std::process::exit(1);
    }
    // Not power-off: QEMU runs with -no-reboot, and this needs no ACPI.
    reboot(RebootCommand::Restart).ok();
}

fn guest() -> Result<()> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).with_context(|| format!("failed to create {target}"))?;
        mount(kind, target, kind, MountFlags::empty(), None)
            .with_context(|| format!("failed to mount {kind} on {target}"))?;
    }
    sethostname(b"lab").context("failed to set the host name")?;
    // Loopback is down in a new network namespace; some tests listen on it.
    Command::new("/bin/ip").args(["link", "set", "lo", "up"]).status().ok();
    if std::env::var_os("GOAUDIT_LAB_SHELL").is_some() {
        return shell();
    }

    let plan: Value = serde_json::from_str(&fs::read_to_string(PLAN).context("failed to read the plan")?)
        .context("failed to parse the plan")?;
    let results =
        OpenOptions::new().write(true).open(RESULTS).with_context(|| format!("failed to open {RESULTS}"))?;
    tell(&results, &json!({"boot": uname().release().to_string_lossy()}))?;
    let arguments = words(&plan, "arguments");
    let limit = Duration::from_secs(plan.get("limit_seconds").and_then(Value::as_u64).unwrap_or(60));
    for binary in words(&plan, "binaries") {
        let began = Instant::now();
        let end = run_binary(&binary, &arguments, limit, &results)?;
        let (exit, how) = match end {
            Some(status) => {
                (status.exit_status(), status.terminating_signal().map(|signal| format!("signal {signal}")))
            }
            None => (None, Some(format!("no end after {} s", limit.as_secs()))),
        };
        tell(
            &results,
            &json!({"binary": binary, "exit": exit, "how": how, "seconds": began.elapsed().as_secs_f64()}),
        )?;
    }
    if let Ok(skips) = fs::read_to_string(ability::SKIPS_IN_LAB) {
        for skip in skips.lines() {
            tell(&results, &json!({"skip": skip}))?;
        }
    }
    tell(&results, &json!({"done": true}))
}

fn words(plan: &Value, name: &str) -> Vec<String> {
    let list = plan.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn tell(mut results: &File, value: &Value) -> Result<()> {
    // A line of its own, whatever a killed test left behind it.
    write!(results, "\n@lab {value}\n").context("failed to write a result")?;
    results.flush().context("failed to write a result")
}

/// Runs one test binary in its own process group; `None` when it did not end in time and was killed.
fn run_binary(
    binary: &str,
    arguments: &[String],
    limit: Duration,
    results: &File,
) -> Result<Option<WaitStatus>> {
    let (reader, writer) = io::pipe().context("failed to make a pipe")?;
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .env("HOME", "/root")
        .env("PATH", "/bin")
        .env("TMPDIR", "/tmp")
        .env("RUST_BACKTRACE", "1")
        .env(ability::SKIPS_FILE, ability::SKIPS_IN_LAB)
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("failed to copy a pipe")?)
        .stderr(writer)
        .process_group(0);
    let child = command.spawn().with_context(|| format!("failed to start {binary}"))?;
    // Its copies of the pipe's write end would keep the reader waiting.
    drop(command);
    let pid = Pid::from_child(&child);
    let copied = copy_output(reader, results.try_clone().context("failed to copy the results port")?);
    let status = wait_for(pid, limit)?;
    // What a test left running in its group would disturb the next one.
    kill_process_group(pid, Signal::KILL).ok();
    // A daemon that left the group may hold the pipe; its output is no longer ours.
    copied.recv_timeout(Duration::from_secs(2)).ok();
    Ok(status)
}

/// Waits for one child while reaping all others: orphans end up at process 1.
fn wait_for(pid: Pid, limit: Duration) -> Result<Option<WaitStatus>> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => return Ok(Some(status)),
            Ok(Some(_)) => {}
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error).context("failed to wait for a test binary"),
        }
    }
    Ok(None)
}

/// Copies lines to the console and to the results port; the channel closes at the end of the pipe.
fn copy_output(reader: PipeReader, mut results: File) -> mpsc::Receiver<()> {
    let (ended, copied) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(reader);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            // A port that fails leaves nobody to tell.
            io::stderr().write_all(&line).ok();
            results.write_all(&line).ok();
            line.clear();
        }
        drop(ended);
    });
    copied
}

fn shell() -> Result<()> {
    Command::new("/bin/busybox")
        .args(["setsid", "cttyhack", "/bin/sh", "-l"])
        .env("HOME", "/root")
        .env("PATH", "/bin")
        .env("PS1", "lab \\w # ")
        .current_dir("/root")
        .status()
        .context("failed to start a shell")?;
    Ok(())
}
