//! The table of hooks: which programs serve each, where they hang, and what is not seen without them.

use goaudit_ebpf::hook::ptrace::Check;
use goaudit_ebpf::wire::Relief;

/// A hook: a record, its programs and their attach points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// execve, execveat.
    Exec,
    /// fork, vfork, clone.
    Fork,
    /// End of a process.
    Exit,
    /// prctl.
    Prctl,
    /// ptrace.
    Ptrace,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 5] = [Self::Exec, Self::Fork, Self::Exit, Self::Prctl, Self::Ptrace];

    /// Its name, as in the event's kind.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::Prctl => "prctl",
            Self::Ptrace => "ptrace",
        }
    }

    /// What the hook cannot see even when everything is attached.
    pub const fn blind_spots(self) -> &'static [&'static str] {
        match self {
            Self::Exec => &[
                "failed calls through the 32-bit interface (successes are seen)",
                "the caller's view of the arguments beyond 128 arguments or 4 KiB, or not resident at entry",
                "who gave the path of a failed call when another thread rewrote it during the call",
            ],
            Self::Fork => &["kernel threads' children before they run a program"],
            Self::Exit => &[],
            Self::Prctl => &[
                "calls through the 32-bit interface",
                "calls for which a seccomp filter ends the thread or (older kernels) the process on the spot",
            ],
            Self::Ptrace => &[
                "calls through the 32-bit interface",
                "calls for which a seccomp filter ends the thread or (older kernels) the process on the spot",
                "process_vm_readv, /proc/PID/mem and other ways into a process that are not ptrace",
            ],
        }
    }
}

/// Where a program hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachPoint {
    /// A raw tracepoint by name.
    RawTracepoint(&'static str),
    /// A tracepoint by category and name; its id comes from tracefs.
    Tracepoint(&'static str, &'static str),
    /// The return of a kernel function, which must have this many arguments.
    Fexit(&'static str, usize),
}

impl std::fmt::Display for AttachPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RawTracepoint(name) => write!(f, "raw_tracepoint/{name}"),
            Self::Tracepoint(category, name) => write!(f, "tracepoint/{category}/{name}"),
            Self::Fexit(function, _) => write!(f, "fexit/{function}"),
        }
    }
}

/// One program of a hook.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The hook that it serves.
    pub hook: Hook,
    /// Its name in the object.
    pub name: &'static str,
    /// Where it hangs.
    pub point: AttachPoint,
    /// It stands in for this program, and only where that one does not load.
    pub instead_of: Option<&'static str>,
    /// It takes over the calls that the kernel skips this program for, and only where the kernel preempts programs.
    pub relief_of: Option<&'static str>,
    /// Where it counts what it took over. None for a program that tells nothing by itself: an event says what it
    /// lacks without it.
    pub relief: Option<Relief>,
    /// The ptrace check that it observes.
    pub check: Option<Check>,
    /// What is not seen when it is not attached.
    pub not_seen: &'static str,
}

const fn program(hook: Hook, name: &'static str, point: AttachPoint, not_seen: &'static str) -> Program {
    Program { hook, name, point, instead_of: None, relief_of: None, relief: None, check: None, not_seen }
}

const fn relief(
    hook: Hook,
    name: &'static str,
    point: AttachPoint,
    relief_of: &'static str,
    relief: Option<Relief>,
) -> Program {
    let not_seen = "calls that the kernel skips the first program for";
    Program { relief_of: Some(relief_of), relief, ..program(hook, name, point, not_seen) }
}

const fn fallback(
    hook: Hook,
    name: &'static str,
    point: AttachPoint,
    instead_of: &'static str,
    not_seen: &'static str,
) -> Program {
    Program { instead_of: Some(instead_of), ..program(hook, name, point, not_seen) }
}

const fn check(name: &'static str, function: &'static str, arguments: usize, check: Check) -> Program {
    let not_seen = "what this check answered when a ptrace was refused";
    let point = AttachPoint::Fexit(function, arguments);
    Program { check: Some(check), ..program(Hook::Ptrace, name, point, not_seen) }
}

use AttachPoint::{RawTracepoint, Tracepoint};

/// Every program, in the order in which they are attached: first what keeps maps tidy, then what fills them.
pub const PROGRAMS: &[Program] = &[
    program(Hook::Exit, "exit", RawTracepoint("sched_process_exit"), "ends of processes"),
    program(
        Hook::Fork,
        "fork",
        RawTracepoint("sched_process_fork"),
        "new processes and threads; who is in scope",
    ),
    program(Hook::Exec, "exec_commit", RawTracepoint("sched_process_exec"), "successful execs"),
    program(
        Hook::Exec,
        "exec_enter",
        Tracepoint("syscalls", "sys_enter_execve"),
        "whether arguments changed between the call and its commit",
    ),
    program(
        Hook::Exec,
        "exec_enter",
        Tracepoint("syscalls", "sys_enter_execveat"),
        "whether arguments of execveat changed between the call and its commit",
    ),
    program(Hook::Exec, "exec_exit", Tracepoint("syscalls", "sys_exit_execve"), "failed execve"),
    program(Hook::Exec, "exec_exit", Tracepoint("syscalls", "sys_exit_execveat"), "failed execveat"),
    fallback(
        Hook::Exec,
        "exec_exit_raw",
        RawTracepoint("sys_exit"),
        "exec_exit",
        "failed execve and execveat",
    ),
    program(
        Hook::Prctl,
        "prctl_enter",
        Tracepoint("syscalls", "sys_enter_prctl"),
        "the value before a prctl that sets something",
    ),
    program(Hook::Prctl, "prctl_exit", Tracepoint("syscalls", "sys_exit_prctl"), "prctl"),
    fallback(Hook::Prctl, "prctl_exit_raw", RawTracepoint("sys_exit"), "prctl_exit", "prctl"),
    program(
        Hook::Ptrace,
        "ptrace_enter",
        Tracepoint("syscalls", "sys_enter_ptrace"),
        "whether seccomp or the kernel refused a ptrace; the checks' answers",
    ),
    program(Hook::Ptrace, "ptrace_exit", Tracepoint("syscalls", "sys_exit_ptrace"), "ptrace"),
    fallback(Hook::Ptrace, "ptrace_exit_raw", RawTracepoint("sys_exit"), "ptrace_exit", "ptrace"),
    check("check_may_access", "__ptrace_may_access", 2, Check::MayAccess),
    check("check_security_access", "security_ptrace_access_check", 2, Check::SecurityAccess),
    check("check_security_traceme", "security_ptrace_traceme", 1, Check::SecurityTraceme),
    check("check_cap_access", "cap_ptrace_access_check", 2, Check::CapAccess),
    check("check_yama", "yama_ptrace_access_check", 2, Check::Yama),
    check("check_yama_traceme", "yama_ptrace_traceme", 1, Check::YamaTraceme),
    check("check_apparmor", "apparmor_ptrace_access_check", 2, Check::Apparmor),
    check("check_selinux", "selinux_ptrace_access_check", 2, Check::Selinux),
    check("check_bpf_lsm", "bpf_lsm_ptrace_access_check", 2, Check::BpfLsm),
    check("check_cap_capable", "cap_capable", 4, Check::CapCapable),
    check("check_attach", "ptrace_attach", 4, Check::Attach),
    // Behind the programs that they relieve.
    relief(Hook::Exit, "exit_relief", Tracepoint("sched", "sched_process_exit"), "exit", Some(Relief::Exit)),
    relief(Hook::Fork, "fork_relief", RawTracepoint("sched_process_fork"), "fork", Some(Relief::Fork)),
    relief(
        Hook::Exec,
        "exec_commit_relief",
        RawTracepoint("sched_process_exec"),
        "exec_commit",
        Some(Relief::ExecCommit),
    ),
    relief(
        Hook::Exec,
        "exec_commit_last",
        Tracepoint("sched", "sched_process_exec"),
        "exec_commit",
        Some(Relief::ExecCommit),
    ),
    relief(Hook::Exec, "exec_enter_relief", Tracepoint("syscalls", "sys_enter_execve"), "exec_enter", None),
    relief(Hook::Exec, "exec_enter_relief", Tracepoint("syscalls", "sys_enter_execveat"), "exec_enter", None),
    relief(
        Hook::Exec,
        "exec_exit_relief",
        Tracepoint("syscalls", "sys_exit_execve"),
        "exec_exit",
        Some(Relief::ExecExit),
    ),
    relief(
        Hook::Exec,
        "exec_exit_relief",
        Tracepoint("syscalls", "sys_exit_execveat"),
        "exec_exit",
        Some(Relief::ExecExit),
    ),
    relief(Hook::Prctl, "prctl_enter_relief", Tracepoint("syscalls", "sys_enter_prctl"), "prctl_enter", None),
    relief(
        Hook::Prctl,
        "prctl_exit_relief",
        Tracepoint("syscalls", "sys_exit_prctl"),
        "prctl_exit",
        Some(Relief::PrctlExit),
    ),
    relief(
        Hook::Prctl,
        "prctl_exit_relief_3",
        Tracepoint("syscalls", "sys_exit_prctl"),
        "prctl_exit",
        Some(Relief::PrctlExit),
    ),
    relief(
        Hook::Prctl,
        "prctl_exit_relief_4",
        Tracepoint("syscalls", "sys_exit_prctl"),
        "prctl_exit",
        Some(Relief::PrctlExit),
    ),
    relief(
        Hook::Ptrace,
        "ptrace_enter_relief",
        Tracepoint("syscalls", "sys_enter_ptrace"),
        "ptrace_enter",
        None,
    ),
    relief(
        Hook::Ptrace,
        "ptrace_exit_relief",
        Tracepoint("syscalls", "sys_exit_ptrace"),
        "ptrace_exit",
        Some(Relief::PtraceExit),
    ),
];

/// Programs whose run makes no record: what a skipped run leaves out, the events themselves say.
pub fn tells_nothing(program: &Program) -> bool {
    program.check.is_some() || matches!(program.name, "exec_enter" | "prctl_enter" | "ptrace_enter")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The kernel side takes a mark away behind the last copy, so it has to know how many there are.
    #[test]
    fn each_relief_has_its_copies() {
        for relief in Relief::ALL {
            let others = PROGRAMS.iter().filter(|program| program.relief == Some(relief));
            let others: BTreeSet<&str> = others.map(|program| program.name).collect();
            assert_eq!(others.len() as u64 + 1, relief.copies(), "{relief:?}: {others:?}");
        }
    }
}
