//! How the peers watch execs.

/// For auditd: both calls that execute.
pub(super) const AUDITD_EXEC: &[&str] = &["execve", "execveat"];

/// For auditd: these and prctl.
pub(super) const AUDITD_EXEC_PRCTL: &[&str] = &["execve", "execveat", "prctl"];

/// For bpftrace: what its own execsnoop prints. Bounded as all of its strings: an argument is cut at 64 bytes.
pub(super) const BPFTRACE_EXEC: &str = "tracepoint:syscalls:sys_enter_execve \
     { printf(\"%d %d %s \", pid, uid, str(args->filename)); join(args->argv); }";

/// For bpftrace: that, and prctl.
pub(super) const BPFTRACE_EXEC_PRCTL: &str = "tracepoint:syscalls:sys_enter_execve \
     { printf(\"%d %d %s \", pid, uid, str(args->filename)); join(args->argv); } \
     tracepoint:syscalls:sys_exit_prctl { printf(\"%d %s %d\\n\", pid, comm, args->ret); }";
