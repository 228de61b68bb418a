//! What a test needs of the machine, tried for real, and how a test that misses something says so.
//!
//! libtest knows no skipping at run time. A test that misses something tells it on standard error (past
//! libtest's capture) and into the file that `cargo xtask test` reads and reports, then returns.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Names the file that skips are written to, one a line.
pub const SKIPS_FILE: &str = "GOAUDIT_SKIPS";

/// That file inside a lab guest.
pub const SKIPS_IN_LAB: &str = "/run/skips";

/// Set by the lab's kernel command line to the version that was asked for, as in "6.1".
pub const LAB_KERNEL: &str = "GOAUDIT_LAB_KERNEL";

/// Something a test needs and not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Effective uid 0.
    Root,
    /// Loading an eBPF map and programs: root, and not forbidden by a container.
    Bpf,
    /// The kernel's own types, since 5.2 where configured.
    Btf,
    /// A mounted tracefs.
    Tracefs,
    /// Return values of kernel functions, by fexit or a kprobe.
    KernelFunctions,
    /// The Yama security module.
    Yama,
    /// A cgroup v2 hierarchy that we may make groups in.
    CgroupV2,
    /// The strace program, which needs ptrace to be allowed.
    Strace,
    /// A uprobe whose program knows its cookie, in our own process: 5.15 and later.
    GoUprobes,
    /// A lab guest: machine-wide settings may be changed.
    Lab,
}

impl Ability {
    /// As it is told in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Bpf => "bpf",
            Self::Btf => "btf",
            Self::Tracefs => "tracefs",
            Self::KernelFunctions => "kernel-functions",
            Self::Yama => "yama",
            Self::CgroupV2 => "cgroup2",
            Self::Strace => "strace",
            Self::GoUprobes => "go-uprobes",
            Self::Lab => "lab",
        }
    }

    /// Why this machine lacks it; `Ok` when it has it.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Root if rustix::process::geteuid().is_root() => Ok(()),
            Self::Root => Err("the effective uid is not 0".to_owned()),
            Self::Bpf => Self::Root.check().and_then(|()| effective_capability(39, "CAP_BPF")),
            Self::Btf => exists("/sys/kernel/btf/vmlinux"),
            Self::Tracefs => ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]
                .iter()
                .find_map(|path| exists(path).ok())
                .ok_or_else(|| "tracefs is not mounted".to_owned()),
            Self::KernelFunctions => kernel_functions(),
            Self::Yama => exists("/proc/sys/kernel/yama/ptrace_scope"),
            Self::CgroupV2 => {
                cgroup2().map(|_| ()).ok_or_else(|| "no cgroup v2 hierarchy is mounted".to_owned())
            }
            Self::Strace => {
                match std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
                    Ok(output) if output.status.success() => Ok(()),
                    Ok(output) => Err(format!("strace ended with {}", output.status)),
                    Err(error) => Err(format!("strace did not start: {error}")),
                }
            }
            Self::GoUprobes => go_uprobes(),
            Self::Lab if lab_kernel().is_some() => Ok(()),
            Self::Lab => Err("not a lab guest; see `cargo xtask vm`".to_owned()),
        }
    }
}

/// The lab kernel we run on, if this is a lab guest, as in "6.1".
pub fn lab_kernel() -> Option<String> {
    std::env::var(LAB_KERNEL).ok()
}

/// Where the cgroup v2 hierarchy is mounted: hosts with both versions have it below `unified`.
pub fn cgroup2() -> Option<&'static str> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|mount| Path::new(mount).join("cgroup.controllers").exists())
}

fn exists(path: &str) -> Result<(), String> {
    if Path::new(path).exists() { Ok(()) } else { Err(format!("{path} does not exist")) }
}

/// Whether our effective set holds a capability, by its number.
fn effective_capability(number: u32, name: &str) -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .ok_or("/proc/self/status tells no capabilities")?;
    if effective & (1 << number) == 0 { Err(format!("{name} is not effective")) } else { Ok(()) }
}

/// fexit needs the function tracer with direct calls, kprobes their own option; either shows in tracefs.
fn kernel_functions() -> Result<(), String> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .iter()
        .any(|tracing| {
            fs::read_to_string(format!("{tracing}/available_filter_functions")).is_ok_and(|functions| {
                functions.lines().any(|line| line.starts_with("security_ptrace_access_check"))
            }) || Path::new(tracing).join("kprobe_events").exists()
        })
        .then_some(())
        .ok_or_else(|| "neither the function tracer nor kprobes are configured".to_owned())
}

/// Cookies of perf events came with 5.15; that a uprobe can be made at all is asked of the kernel itself.
fn go_uprobes() -> Result<(), String> {
    Ability::Bpf.check()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version < COOKIES {
        return Err(format!("cookies of uprobes came with Linux 5.15, and this is {}", release.trim()));
    }
    exists("/sys/bus/event_source/devices/uprobe/type")
}

/// First kernel with cookies of perf events.
const COOKIES: (u32, u32) = (5, 15);

/// Says that a test did not run, and why. Use [`crate::needs`].
pub fn tell_skip(test: &str, ability: &str, why: &str) {
    let line = format!("{test}: needs {ability}: {why}\n");
    // Not eprint!, which libtest captures. Skips are reported by whoever reads these; a test must not fail
    // because nobody does.
    std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes()).ok();
    if let Some(path) = std::env::var_os(SKIPS_FILE)
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        file.write_all(line.as_bytes()).ok();
    }
}

/// Returns from the test, telling so, unless this machine has all the abilities: `needs!(Root, Btf);`
#[macro_export]
macro_rules! needs {
    ($($ability:ident),+ $(,)?) => {
        $(
            if let Err(why) = $crate::ability::Ability::$ability.check() {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                $crate::ability::tell_skip(&test, $crate::ability::Ability::$ability.name(), &why);
                return;
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_is_named() {
        assert_eq!(exists("/nonexistent/x"), Err("/nonexistent/x does not exist".to_owned()));
        assert_eq!(exists("/proc/self"), Ok(()));
    }

    #[test]
    fn a_capability_beyond_the_last_one_is_missing() {
        assert_eq!(effective_capability(63, "CAP_NONE"), Err("CAP_NONE is not effective".to_owned()));
    }
}
