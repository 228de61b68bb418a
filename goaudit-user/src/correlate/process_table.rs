//! The processes of the host, as far as records and the start-up snapshot tell.
//!
//! Bounded: a host with more living processes than that forgets the least recently seen and counts it. A
//! process is its id and its start time, so that a reused id is never taken for the old process.

use std::collections::VecDeque;

use super::bounded::Bounded;
use super::host::{Cgroup, HostProcess};
use crate::event::Text;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, since 3.8).
pub const INITIAL_PID_NS: u32 = 0xEFFF_FFFC;
/// `/proc` gives start times in ticks of 1/100 s.
const TICK_NS: u64 = 10_000_000;

/// When a process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// To the nanosecond, from the kernel.
    Exact(u64),
    /// Rounded down to a tick, from `/proc`.
    Tick(u64),
    /// Not known.
    Unknown,
}

impl Start {
    /// Whether a process of the same id that started at `start` can be this one.
    const fn fits(self, start: Option<u64>) -> bool {
        match (self, start) {
            (Self::Exact(own), Some(start)) => own == start,
            // The kernel rounds boot time to ticks; allow one tick either way.
            (Self::Tick(own), Some(start)) => own.abs_diff(start) <= TICK_NS,
            (Self::Unknown, _) | (_, None) => true,
        }
    }
}

/// What is remembered of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// When it started.
    pub start: Start,
    /// Its binary.
    pub exe: Option<Text>,
    /// It may have put another file in the place of its binary (`PR_SET_MM`): no path is known.
    pub exe_replaced: bool,
    /// When that was executed (boot time, ns); none when that was before recording began.
    pub exec_ktime_ns: Option<u64>,
    /// Thread name of its leader.
    pub comm: Option<Text>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Pid namespace.
    pub pid_ns: Option<u32>,
    /// User namespace.
    pub user_ns: Option<u32>,
    /// Id in its own pid namespace.
    pub ns_tgid: Option<u32>,
    /// Audit session id.
    pub session: Option<u32>,
    /// cgroup as `/proc` or its id gave it.
    pub cgroup: Cgroup,
}

impl Known {
    /// Whether this can be the process of that id that started at `start`.
    pub const fn fits(&self, start: Option<u64>) -> bool {
        self.start.fits(start)
    }
}

impl From<HostProcess> for Known {
    fn from(process: HostProcess) -> Self {
        let HostProcess { start_ktime_ns, exe, pid_ns, user_ns, ns_tgid, session, cgroup, comm, uid } =
            process;
        Self {
            exe_replaced: false,
            start: start_ktime_ns.map_or(Start::Unknown, Start::Tick),
            exe,
            exec_ktime_ns: None,
            comm,
            uid,
            pid_ns,
            user_ns,
            ns_tgid,
            session,
            cgroup: Cgroup::of(cgroup),
        }
    }
}

/// A task by its id inside a pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Process id, initial pid namespace.
    pub tgid: u32,
    /// Thread id, initial pid namespace.
    pub tid: u32,
}

/// See the module.
#[derive(Debug)]
pub struct ProcessTable {
    processes: Bounded<u32, Known>,
    tasks: Bounded<(u32, u32), Task>,
    /// Ended and still known, oldest first: process id and start.
    ended: VecDeque<(u32, u64)>,
}

/// Ended processes that stay known. A record of another CPU that names one (a ptrace call whose target is gone when
/// the call returns) can come behind the record of its end.
const ENDED_KEPT: usize = 64;

impl ProcessTable {
    /// At most `bound` processes, and twice as many threads known by their id in a namespace.
    pub fn new(bound: usize) -> Self {
        Self {
            processes: Bounded::new(bound),
            tasks: Bounded::new(bound.saturating_mul(2)),
            ended: VecDeque::new(),
        }
    }

    /// The process, if it is known and is the one that started then.
    pub fn get(&mut self, tgid: u32, start: Option<u64>) -> Option<&mut Known> {
        let known = self.processes.get(tgid)?;
        if !known.start.fits(start) {
            return None;
        }
        if let (Start::Tick(_) | Start::Unknown, Some(exact)) = (known.start, start) {
            known.start = Start::Exact(exact);
        }
        Some(known)
    }

    /// A process as it now is.
    pub fn put(&mut self, tgid: u32, known: Known) {
        if let (Some(pid_ns), Some(ns_tgid)) = (known.pid_ns, known.ns_tgid) {
            self.tasks.insert((pid_ns, ns_tgid), Task { tgid, tid: tgid });
        }
        self.processes.insert(tgid, known);
    }

    /// A new thread of a known process.
    pub fn put_thread(&mut self, pid_ns: u32, ns_tid: u32, task: Task) {
        self.tasks.insert((pid_ns, ns_tid), task);
    }

    /// The process ended. It stays known for a short while, unless its start is not.
    pub fn end(&mut self, tgid: u32, start: Option<u64>) {
        let Some(start) = start else { return self.remove(tgid, None) };
        self.ended.push_back((tgid, start));
        if self.ended.len() > ENDED_KEPT
            && let Some((tgid, start)) = self.ended.pop_front()
        {
            // Not the process that has its id now.
            self.remove(tgid, Some(start));
        }
    }

    /// Forgets a process.
    fn remove(&mut self, tgid: u32, start: Option<u64>) {
        if self.get(tgid, start).is_some()
            && let Some(known) = self.processes.remove(tgid)
            && let (Some(pid_ns), Some(ns_tgid)) = (known.pid_ns, known.ns_tgid)
        {
            self.tasks.remove((pid_ns, ns_tgid));
        }
    }

    /// The task that a member of `pid_ns` calls `ns_tid`. In the initial namespace every id means itself.
    pub fn task(&mut self, pid_ns: u32, ns_tid: u32) -> Option<Task> {
        if let Some(task) = self.tasks.get((pid_ns, ns_tid)).copied() {
            return Some(task);
        }
        if pid_ns != INITIAL_PID_NS {
            return None;
        }
        self.processes.get(ns_tid).map(|_| Task { tgid: ns_tid, tid: ns_tid })
    }

    /// Number of processes.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Processes forgotten because the table was full.
    pub const fn evicted(&self) -> u64 {
        self.processes.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(start: Start, exe: &str) -> Known {
        Known { start, exe: Some(exe.into()), ..Known::from(HostProcess::default()) }
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let mut table = ProcessTable::new(8);
        table.put(7, known(Start::Exact(1000), "/old"));
        assert!(table.get(7, Some(1000)).is_some());
        assert!(table.get(7, Some(2000)).is_none());
        table.remove(7, Some(2000));
        assert_eq!(table.len(), 1, "the end of another process of that id removes nothing");
        table.remove(7, Some(1000));
        assert!(table.is_empty());
    }

    #[test]
    fn the_ended_stay_known_for_a_while_and_never_take_a_successor_with_them() {
        let mut table = ProcessTable::new(4096);
        table.put(7, known(Start::Exact(1), "/old"));
        table.end(7, Some(1));
        assert_eq!(
            table.task(INITIAL_PID_NS, 7),
            Some(Task { tgid: 7, tid: 7 }),
            "a late record may name it"
        );
        table.put(7, known(Start::Exact(2), "/new"));
        for tgid in 100..100 + 2 * u32::try_from(ENDED_KEPT).unwrap_or(u32::MAX) {
            table.put(tgid, known(Start::Exact(3), "/x"));
            table.end(tgid, Some(3));
        }
        assert!(table.get(7, Some(2)).is_some(), "the process that has the id now");
        assert_eq!(table.len(), 1 + ENDED_KEPT);
    }

    #[test]
    fn a_snapshot_start_becomes_exact() {
        let mut table = ProcessTable::new(8);
        table.put(7, known(Start::Tick(50_000_000), "/x"));
        assert!(table.get(7, Some(75_000_000)).is_none());
        assert!(table.get(7, Some(51_000_000)).is_some());
        assert!(table.get(7, Some(51_000_001)).is_none(), "now it is known to the nanosecond");
    }

    #[test]
    fn ids_inside_namespaces() {
        let mut table = ProcessTable::new(8);
        let inner = Known { pid_ns: Some(77), ns_tgid: Some(1), ..known(Start::Exact(1), "/init") };
        table.put(4000, inner);
        table.put_thread(77, 9, Task { tgid: 4000, tid: 4008 });
        assert_eq!(table.task(77, 1), Some(Task { tgid: 4000, tid: 4000 }));
        assert_eq!(table.task(77, 9), Some(Task { tgid: 4000, tid: 4008 }));
        assert_eq!(table.task(INITIAL_PID_NS, 1), None);
        assert_eq!(table.task(INITIAL_PID_NS, 4000), Some(Task { tgid: 4000, tid: 4000 }));
    }
}
