//! Processes as `/proc` shows them: the start-up snapshot, and a single look at one that nobody knows.
//!
//! A process may end while it is looked at; whatever is gone is `None`, never an error.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::correlate::host::HostProcess;
use crate::event::control::Snapshot;
use crate::event::{Process, Text};

/// `/proc/PID/stat` counts start times in ticks of a hundredth of a second (`USER_HZ`, fixed in the ABI).
const NS_PER_TICK: u64 = 10_000_000;

/// An unset audit login or session id.
const UNSET: u32 = u32::MAX;

/// A process, with what only the correlator wants to know of it.
#[derive(Debug, Clone)]
pub struct Found {
    /// As the log tells it.
    pub snapshot: Snapshot,
    user_ns: Option<u32>,
    ns_tgid: Option<u32>,
}

impl Found {
    /// As the correlator keeps it.
    pub fn host_process(&self) -> HostProcess {
        let process = &self.snapshot.process;
        HostProcess {
            start_ktime_ns: process.start_ktime_ns,
            exe: process.exe.clone(),
            pid_ns: process.pid_ns,
            user_ns: self.user_ns,
            ns_tgid: self.ns_tgid,
            session: process.session,
            cgroup: process.cgroup.clone(),
            comm: Some(process.comm.clone()),
            uid: Some(process.uid),
        }
    }
}

/// Ids of every process there is, in order.
pub fn tgids() -> Vec<u32> {
    let mut tgids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    tgids.sort_unstable();
    tgids
}

/// Every process there is, in order of process id.
pub fn all() -> Vec<Found> {
    tgids().into_iter().filter_map(one).collect()
}

/// One process, if it still runs. Its start time is exact to a tick (10 ms) only.
pub fn one(tgid: u32) -> Option<Found> {
    let root = PathBuf::from(format!("/proc/{tgid}"));
    let stat = Stat::parse(&fs::read(root.join("stat")).ok()?)?;
    let status = fs::read_to_string(root.join("status")).ok()?;
    let (uid, euid) = ids(&status, "Uid:")?;
    let (gid, egid) = ids(&status, "Gid:")?;
    let process = Process {
        tgid,
        tid: tgid,
        start_ktime_ns: Some(stat.start_ticks * NS_PER_TICK),
        ppid: Some(stat.ppid),
        comm: stat.comm,
        exe: fs::read_link(root.join("exe")).ok().map(|path| Text::from(path.as_os_str().as_bytes())),
        uid,
        gid,
        euid: Some(euid),
        egid: Some(egid),
        auid: number(&root.join("loginuid")).filter(|&id| id != UNSET),
        session: number(&root.join("sessionid")).filter(|&id| id != UNSET),
        cgroup: cgroup(&fs::read(root.join("cgroup")).unwrap_or_default()),
        pid_ns: namespace(&root, "pid"),
        ..Process::default()
    };
    let argv = fs::read(root.join("cmdline")).map(|bytes| split_nul(&bytes)).unwrap_or_default();
    let ns_tgid = innermost(&status, "NStgid:");
    Some(Found { snapshot: Snapshot { process, argv }, user_ns: namespace(&root, "user"), ns_tgid })
}

/// Inode of a namespace.
fn namespace(root: &Path, name: &str) -> Option<u32> {
    let metadata = fs::metadata(root.join("ns").join(name)).ok()?;
    u32::try_from(metadata.ino()).ok()
}

/// The last number of a line that lists one per pid namespace, from the outermost in.
fn innermost(status: &str, name: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_ascii_whitespace()
        .next_back()?
        .parse()
        .ok()
}

/// The fields of `/proc/PID/stat` that are wanted.
struct Stat {
    comm: Text,
    ppid: u32,
    start_ticks: u64,
}

impl Stat {
    /// The name stands in parentheses and may contain any byte, `)` too: the last one ends it.
    fn parse(stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let comm = Text::from(stat.get(open + 1..close)?);
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        // Fields 3 (state), 4 (ppid) and 22 (starttime) of proc_pid_stat(5).
        let mut fields = rest.split_ascii_whitespace();
        let ppid = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self { comm, ppid, start_ticks })
    }
}

/// Real and effective id of a `Uid:` or `Gid:` line.
fn ids(status: &str, name: &str) -> Option<(u32, u32)> {
    let mut ids = status.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace();
    Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
}

fn number(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The v2 line (`0::PATH`) of `/proc/PID/cgroup`.
fn cgroup(lines: &[u8]) -> Option<Text> {
    lines.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).map(Text::from)
}

fn split_nul(bytes: &[u8]) -> Vec<Text> {
    let Some(strings) = bytes.strip_suffix(&[0]) else { return Vec::new() };
    strings.split(|&byte| byte == 0).map(Text::from).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let stat = b"7 (a) b ) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 0 0\n";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.comm, stat.ppid, stat.start_ticks), (Text::from("a) b "), 3, 4242));
        assert!(Stat::parse(b"7 (cut").is_none());
    }

    #[test]
    fn this_process_is_in_the_snapshot_as_the_system_tells_it() {
        let own = std::process::id();
        let snapshot =
            all().into_iter().map(|found| found.snapshot).find(|seen| seen.process.tgid == own).unwrap();
        assert_eq!(snapshot.process.uid, rustix::process::getuid().as_raw());
        assert_eq!(
            snapshot.process.ppid,
            rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
        );
        let argv: Vec<Vec<u8>> = std::env::args_os().map(|arg| arg.as_bytes().to_vec()).collect();
        assert_eq!(snapshot.argv.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>(), argv);
    }

    #[test]
    fn empty_arguments_are_kept_and_kernel_threads_have_none() {
        assert_eq!(split_nul(b"a\0\0b\0"), vec![Text::from("a"), Text::from(""), Text::from("b")]);
        assert!(split_nul(b"").is_empty());
    }
}
