//! Packages that the machine's own apt can install as they are.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, bail};

use super::Group;
use crate::command::{command, retried, run};
use crate::workspace::{find_program, is_debian, is_root};

/// One package of the system's own suites.
pub(super) struct Package {
    /// Its name for apt.
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) why: &'static str,
    /// A program that it brings: there, in whatever way, means nothing to do.
    program: &'static str,
    /// Must the program be one that runs without shared libraries?
    statically_linked: bool,
}

/// Writes journals of systemd. It is no program for users, so it is not in a PATH.
pub(crate) const JOURNAL_WRITER: &str = "/lib/systemd/systemd-journal-remote";

pub(super) const PACKAGES: [Package; 6] = [
    Package {
        name: "qemu-system-x86",
        group: Group::Lab,
        why: "runs the lab's kernels in software; without it only this host's kernel is tested",
        program: "qemu-system-x86_64",
        statically_linked: false,
    },
    Package {
        name: "busybox-static",
        group: Group::Lab,
        why: "shell and small programs inside the lab's guests",
        program: "busybox",
        statically_linked: true,
    },
    Package {
        name: "strace",
        group: Group::Live,
        why: "independent witness of the live tests; without it that comparison is skipped",
        program: "strace",
        statically_linked: false,
    },
    Package {
        name: "auditd",
        group: Group::Bench,
        why: "peer in the benchmarks (a daemon: it audits this host while it runs)",
        program: "auditd",
        statically_linked: false,
    },
    Package {
        name: "bpftrace",
        group: Group::Bench,
        why: "peer in the benchmarks",
        program: "bpftrace",
        statically_linked: false,
    },
    Package {
        name: "systemd-journal-remote",
        group: Group::Bench,
        why: "writes the sealed journal of benchmark b7",
        program: JOURNAL_WRITER,
        statically_linked: false,
    },
];

impl Package {
    pub(super) fn present(&self) -> Option<String> {
        let program = find_program(self.program)?;
        (!self.statically_linked || is_static(&program)).then(|| program.display().to_string())
    }

    pub(super) fn install(&self) -> Result<()> {
        if !is_debian() {
            bail!("this is not Debian; install `{}` by this system's own means", self.program);
        }
        if !is_root() {
            bail!("not root; run: apt-get install {}", self.name);
        }
        update_once()?;
        retried(&format!("installing {}", self.name), || {
            run(command("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args([
                "install",
                "-y",
                "-q",
                "--no-install-recommends",
                self.name,
            ]))
        })
    }
}

/// Refreshes the machine's package lists, once a run of xtask.
fn update_once() -> Result<()> {
    static UPDATED: OnceLock<bool> = OnceLock::new();
    let updated = UPDATED.get_or_init(|| {
        match retried("apt-get update", || run(command("apt-get").args(["update", "-q"]))) {
            Ok(()) => true,
            Err(error) => {
                println!("setup: {error:#}");
                false
            }
        }
    });
    if !updated {
        bail!("the package lists could not be refreshed");
    }
    Ok(())
}

/// Whether an ELF program names no dynamic loader, judged by the loader's usual path in its first page.
fn is_static(program: &Path) -> bool {
    std::fs::read(program).is_ok_and(|bytes| {
        let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
        !head.windows(7).any(|window| window == b"/ld-lin" || window == b"ld-linu")
    })
}
