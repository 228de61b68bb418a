//! fork, vfork, clone, clone3, in the parent's context.
//!
//! Needs the tracepoint `sched_process_fork` (every kernel). It also fires for threads, and a thread that is
//! not the leader may fork.

use goaudit_ebpf::hook::fork::{self as wire, flags, missing};
use goaudit_ebpf::wire::Kind;

use super::Hook;
use crate::event::{Fork, Missing};

/// This hook.
pub const HOOK: Hook = Hook {
    name: "fork",
    kinds: &[Kind::Fork],
    sees: "new processes and threads, with parent, start time and the id inside the pid namespace",
    needs: "tracepoint sched_process_fork; without it new processes show at their first exec, without lineage",
};

/// The payload.
pub(crate) fn payload(record: &wire::Fork, missing: &mut Vec<Missing>) -> Fork {
    let unknown = record.header.missing & missing::NAMESPACES != 0;
    if unknown {
        let reason = "the kernel's pid namespace fields could not be read";
        missing.push(Missing::new("fork.child.ns_tid", reason));
        missing.push(Missing::new("fork.child.pid_ns", reason));
    }
    let start = record.child_start.0;
    if start == 0 {
        missing.push(Missing::new("fork.child.start_ktime_ns", "the kernel's start time could not be read"));
    }
    Fork {
        child_tgid: record.child_tgid.0,
        child_tid: record.child_tid.0,
        child_start_ktime_ns: (start != 0).then_some(start),
        thread: record.header.flags & flags::THREAD != 0,
        child_ns_tid: (!unknown).then_some(record.child_ns_tid),
        child_pid_ns: (!unknown).then_some(record.child_pid_ns),
    }
}
