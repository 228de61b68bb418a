//! CPU time of a process and its living descendants, from /proc.
//!
//! In clock ticks of 10 ms: a turn must last seconds for this to mean anything.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// User and kernel time of the process, its waited-for children, and all its living descendants.
pub(super) fn of_tree(pid: u32) -> Result<Duration> {
    let processes = processes();
    let own = processes.get(&pid).with_context(|| format!("process {pid} is gone"))?;
    let mut ticks = own.ticks;
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (child, process) in processes.iter().filter(|(_, process)| process.parent == parent) {
            ticks += process.ticks;
            parents.push(*child);
        }
    }
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

struct Process {
    parent: u32,
    ticks: u64,
}

fn processes() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            // A process that ended since is no error.
            Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
        })
        .collect()
}

/// proc_pid_stat(5): after the command in parentheses, ppid is field 4, utime to cstime are 14 to 17.
fn parse(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    Some(Process { parent: u32::try_from(field(4)?).ok()?, ticks })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let process = parse("7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5").unwrap();
        assert_eq!((process.parent, process.ticks), (3, 100));
    }

    #[test]
    fn our_own_time_is_some() {
        of_tree(std::process::id()).unwrap();
        assert!(of_tree(u32::MAX).is_err());
    }
}
