//! ptrace: request, target, result, and for a refusal which check refused.
//!
//! Needs the tracepoints of the call; who refused also needs fexit programs (5.5) or kretprobes on the check
//! functions. Where a kernel allows neither, the answer is "unknown" and says why.

use goaudit_ebpf::hook::ptrace as wire;
use goaudit_ebpf::wire::Kind;

use super::Hook;
use crate::event::{Ptrace, Target};

pub mod denial;
pub mod request;

/// This hook.
pub const HOOK: Hook = Hook {
    name: "ptrace",
    kinds: &[Kind::Ptrace],
    sees: "every ptrace call with target and result; for a refusal which check refused",
    needs: "tracepoints sys_enter_ptrace and sys_exit_ptrace; without fexit on the check functions refusals are \
            not attributed",
};

/// The payload; the correlator finds the target and what it knows of the caller.
pub(crate) fn payload(record: &wire::Ptrace, target: Option<Target>, caller_user_ns: Option<u32>) -> Ptrace {
    let [request, pid, addr, data] = record.args;
    let denial = denial::attribute(record, caller_user_ns);
    let (denied_by, denied_detail) = denial.map(|denial| (denial.by, denial.detail)).unzip();
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's parameter is a pid_t: 32 bits")]
    let pid = pid.cast_signed() as i32;
    Ptrace { request, pid, addr, data, ret: record.ret, target, denied_by, denied_detail }
}
