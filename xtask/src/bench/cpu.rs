//! CPU time and memory of a process, from /proc.
//!
//! To the nanosecond from `schedstat` (CONFIG_SCHED_INFO, on everywhere); the clock ticks of `stat` would need
//! turns of many seconds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time that the living threads of a process have used, user and kernel.
pub(super) fn of_process(pid: u32) -> Result<Duration> {
    let tasks =
        fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
    // A thread that ended since is no error.
    let nanos = tasks.filter_map(|task| running_ns(&task.ok()?.path().join("schedstat"))).sum();
    Ok(Duration::from_nanos(nanos))
}

/// CPU time of all programs that we started and waited for, to the clock tick (proc_pid_stat(5), fields 16 and 17).
pub(super) fn of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("failed to read our own times")?;
    let ticks = children_ticks(&stat).context("a stat without times")?;
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

fn children_ticks(stat: &str) -> Option<u64> {
    // A name may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(13);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The first number of a `schedstat`: nanoseconds on a CPU.
fn running_ns(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Process ids of all processes, kernel threads included, of that name.
pub(super) fn named(comm: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let found = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (found.trim_end() == comm).then_some(pid)
        })
        .collect()
}

/// Resident memory.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    /// Now, in MiB. Counts the ring buffer's pages as often as they are mapped.
    pub(super) rss_mib: f64,
    /// Of that what only this process has: not files, not memory that it shares with the kernel.
    pub(super) anonymous_mib: f64,
}

/// proc_pid_status(5).
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let mib = |name: &str| {
        let kib: Option<f64> = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok());
        kib.map(|kib| kib / 1024.0).with_context(|| format!("the kernel told no {name}"))
    };
    Ok(Memory { rss_mib: mib("VmRSS:")?, anonymous_mib: mib("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn our_own_time_and_memory_are_some() {
        let own = std::process::id();
        assert!(of_process(own).unwrap() > Duration::ZERO);
        let memory = memory(own).unwrap();
        assert!(memory.rss_mib > 0.0 && memory.anonymous_mib <= memory.rss_mib);
        assert!(of_process(u32::MAX).is_err());
    }

    #[test]
    fn the_times_of_children_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 40 2 20 0";
        assert_eq!(children_ticks(stat), Some(42));
        assert_eq!(children_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_process_is_found_by_its_name() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(named(own.trim_end()).contains(&std::process::id()));
    }
}
