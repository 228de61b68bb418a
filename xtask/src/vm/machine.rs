//! One virtual machine: QEMU's command line, its end, its hangs and its kernel's panics.
//!
//! Always software emulation (TCG): it works inside virtual machines and containers, where hardware
//! virtualization is missing or broken, and a slow guest finds more races than a fast one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{command, run};
use crate::setup::Kernel;

/// The security modules of the guest: Yama and BPF are not on by default everywhere.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 lsm=landlock,lockdown,yama,apparmor,bpf";

/// After a panic's first line the kernel still prints its registers and stack.
const PANIC_GRACE: Duration = Duration::from_secs(3);

/// What a machine left behind.
pub(super) struct Ran {
    /// How it ended.
    pub(super) end: End,
    /// What the guest's process 1 told on the second serial port.
    pub(super) results: String,
    /// Everything on the console.
    pub(super) console: String,
    /// Where the console's text is kept.
    pub(super) console_file: PathBuf,
    pub(super) took: Duration,
}

/// How a machine ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Finished,
    /// The kernel panicked.
    Panicked,
    /// It was ended because its time was up.
    TimedOut,
}

fn qemu(kernel: &Kernel, image: &Path, extra: &str) -> Command {
    let mut qemu = command("qemu-system-x86_64");
    // One thread for all of the guest's processors: with one each, QEMU before 8.1 can run stale translations of
    // code that another processor just changed, and a kernel that attaches programs patches itself all the time:
    // rare panics at any place. Two guests at once use two cores anyway.
    // No cmpxchg16b: QEMU 7.2's emulation of it can leave an address in the flags register, and the kernel's slab
    // allocator (its only user here) then faults. Without it the allocator takes a lock.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "max,-cx16", "-m", "1024", "-smp", "2"])
        .args(["-display", "none", "-no-reboot", "-nic", "none", "-no-user-config"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(image)
        .arg("-append")
        // What the kernel does not know becomes an environment variable of process 1.
        .arg(format!("{COMMAND_LINE} GOAUDIT_LAB_KERNEL={}{extra}", kernel.version));
    qemu
}

/// Boots the kernel, lets process 1 carry out its plan and waits for the end.
pub(super) fn run_plan(kernel: &Kernel, image: &Path, limit: Duration, logs: &Path) -> Result<Ran> {
    let file = |name: &str| logs.join(format!("{}-{name}.log", kernel.version));
    let (console, results) = (file("console"), file("results"));
    let told = file("qemu");
    let began = Instant::now();
    let mut child = qemu(kernel, image, "")
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-serial")
        .arg(format!("file:{}", results.display()))
        .stdout(File::create(&told)?)
        .stderr(File::create(&told)?)
        .spawn()
        .context("failed to start qemu-system-x86_64")?;
    let mut panicked_at = None;
    let end = loop {
        if child.try_wait().context("failed to wait for QEMU")?.is_some() {
            break End::Finished;
        }
        if panicked_at.is_none() && panicked(&text(&console)) {
            panicked_at = Some(Instant::now());
        }
        let end = match panicked_at {
            Some(at) if at.elapsed() > PANIC_GRACE => End::Panicked,
            _ if began.elapsed() > limit => End::TimedOut,
            _ => {
                sleep(Duration::from_millis(200));
                continue;
            }
        };
        child.kill().context("failed to end QEMU")?;
        child.wait().context("failed to wait for QEMU")?;
        break end;
    };
    let mut console_text = text(&console);
    // With panic=-1 the machine usually ends before we look.
    let end = if end == End::Finished && panicked(&console_text) { End::Panicked } else { end };
    // QEMU's own complaints matter only where there is nothing else.
    if console_text.trim().is_empty() {
        console_text = text(&told);
    }
    Ok(Ran {
        end,
        results: text(&results),
        console: console_text,
        console_file: console,
        took: began.elapsed(),
    })
}

fn panicked(console: &str) -> bool {
    console.contains("Kernel panic - not syncing")
}

/// A serial log without the terminal's carriage returns.
fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', "")).unwrap_or_default()
}

/// A shell on this kernel, on our terminal; `exit` or Ctrl-A X ends it.
pub(super) fn shell(kernel: &Kernel, image: &Path) -> Result<()> {
    eprintln!("lab: booting {}; `exit` or Ctrl-A X ends it", kernel.version);
    run(qemu(kernel, image, " GOAUDIT_LAB_SHELL=1")
        .args(["-serial", "mon:stdio", "-serial", "null"])
        .stdin(std::process::Stdio::inherit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_seen_in_the_console() {
        assert!(panicked("[    2.1] Kernel panic - not syncing: Attempted to kill init!"));
        assert!(!panicked("test panics_are_recorded ... ok"));
    }
}
