//! Who refused a ptrace call: read off the return values of the kernel's own checks.
//!
//! The order in the kernel, for ATTACH and SEIZE (5.10 to 7.x): seccomp; kernel thread; own process;
//! `__ptrace_may_access` (user and group ids or CAP_SYS_PTRACE in the target's user namespace; dumpability or
//! the same capability; the security modules, capabilities first); ending or already traced. For TRACEME:
//! already traced; the security modules. The rules inside the checks change between versions and are never
//! re-implemented here: only which check ran and what it returned counts.

use goaudit_ebpf::hook::ptrace::{Check, Ptrace, flags};

use super::request;
use crate::names::errno;

/// Who refused and what that rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// A name of the list in docs/events.md.
    pub by: String,
    /// What that rests on.
    pub detail: String,
}

fn denial(by: &str, detail: impl Into<String>) -> Denial {
    Denial { by: by.into(), detail: detail.into() }
}

/// `-EPERM` and `-EACCES`: the results that mean "you may not".
const REFUSALS: [i64; 2] = [-1, -13];
/// `task->flags`: a kernel thread.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Security modules by their check of ATTACH.
const MODULES: &[(Check, &str)] = &[
    (Check::CapAccess, "capability"),
    (Check::Yama, "yama"),
    (Check::Apparmor, "lsm:apparmor"),
    (Check::Selinux, "lsm:selinux"),
    (Check::BpfLsm, "lsm:bpf"),
];

/// What one check did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// The agent does not observe it.
    Unobserved,
    /// Observed, and it did not run.
    No,
    /// It ran and allowed.
    Allowed,
    /// It ran and refused, with this result.
    Refused(i32),
}

fn ran(record: &Ptrace, check: Check) -> Ran {
    let bit = 1 << (check as u32);
    let returned = record.returned.get(check as usize).copied().unwrap_or(0);
    if record.called & bit == 0 {
        if record.observed & bit == 0 { Ran::Unobserved } else { Ran::No }
    } else if returned < 0 {
        Ran::Refused(returned)
    } else {
        Ran::Allowed
    }
}

/// Who refused; none if nobody did. `caller_user_ns`: inode of the caller's user namespace, if known.
pub fn attribute(record: &Ptrace, caller_user_ns: Option<u32>) -> Option<Denial> {
    if !errno::is_error(record.ret) {
        return None;
    }
    if record.header.flags & flags::ENTERED == 0 {
        return Some(denial(
            "seccomp",
            format!(
                "the call ended with {} before the kernel looked at it: a seccomp filter, or the caller's own tracer",
                errno::of_result(record.ret).unwrap_or("an error"),
            ),
        ));
    }
    if !REFUSALS.contains(&record.ret) {
        return None;
    }
    let [asked, ..] = record.args;
    Some(match asked {
        request::ATTACH | request::SEIZE => attach(record, caller_user_ns),
        request::TRACEME => traceme(record),
        _ => denial("unknown", "no check of this request is observed; the call was let in and refused later"),
    })
}

fn attach(record: &Ptrace, caller_user_ns: Option<u32>) -> Denial {
    match ran(record, Check::MayAccess) {
        Ran::Refused(_) => may_access(record, caller_user_ns),
        Ran::Allowed => denial(
            "already_traced",
            "__ptrace_may_access allowed it; after that the kernel refuses only a task that is traced already \
             or is ending",
        ),
        Ran::No => before_access(record),
        Ran::Unobserved => match module(record) {
            Some(denial) => denial,
            None if ran(record, Check::SecurityAccess) == Ran::Allowed => denial(
                "already_traced",
                "security_ptrace_access_check allowed it; after that the kernel refuses only a task that is \
                 traced already or is ending",
            ),
            None => denial("unknown", unobserved(record)),
        },
    }
}

/// The access check did not run: something before it refused.
fn before_access(record: &Ptrace) -> Denial {
    if record.header.flags & flags::TARGET == 0 {
        return denial(
            "unknown",
            "refused before __ptrace_may_access: a kernel thread or the caller's own process, but no observed \
             check was given the target",
        );
    }
    if record.target.task_flags & PF_KTHREAD != 0 {
        return denial("kernel_thread", "refused before __ptrace_may_access; the target is a kernel thread");
    }
    if record.target.tgid == record.header.tgid {
        return denial(
            "same_process",
            "refused before __ptrace_may_access; the target is the caller's own process",
        );
    }
    denial("unknown", "refused before __ptrace_may_access, and the target is an ordinary process")
}

/// The access check refused: which part of it.
fn may_access(record: &Ptrace, caller_user_ns: Option<u32>) -> Denial {
    if let Some(denial) = module(record) {
        return refine(record, caller_user_ns, denial);
    }
    match ran(record, Check::SecurityAccess) {
        Ran::Refused(returned) => denial(
            "lsm:other",
            format!(
                "security_ptrace_access_check returned {returned}; no observed module refused (Landlock?)"
            ),
        ),
        Ran::Allowed => denial(
            "unknown",
            "__ptrace_may_access refused although security_ptrace_access_check, its last part, allowed",
        ),
        Ran::No => refine(record, caller_user_ns, ids_or_dumpable(record)),
        Ran::Unobserved => denial("unknown", unobserved(record)),
    }
}

/// The security modules were not reached: user and group ids, or dumpability.
fn ids_or_dumpable(record: &Ptrace) -> Denial {
    const REST: &str = "__ptrace_may_access refused before security_ptrace_access_check";
    if record.header.flags & flags::TARGET == 0 {
        return denial("unknown", format!("{REST}; the target's ids were not seen"));
    }
    let target = &record.target;
    let (uid, gid) = (record.header.uid, record.header.gid);
    let same = target.uids.iter().all(|id| *id == uid) && target.gids.iter().all(|id| *id == gid);
    let capable = ran(record, Check::CapCapable);
    if same {
        let dumpable = match target.dumpable {
            0 => "the target is not dumpable (0)",
            2 => "the target is dumpable by root only (2)",
            _ => "dumpability is the only check left",
        };
        return denial("dumpable", format!("{REST}; all six ids match the caller's; {dumpable}"));
    }
    let ids = format!(
        "the caller's uid {uid}, gid {gid} against the target's uids {:?}, gids {:?}",
        target.uids, target.gids
    );
    match capable {
        Ran::Allowed => denial(
            "dumpable",
            format!(
                "{REST}; {ids} differ, CAP_SYS_PTRACE was granted for that; dumpability is the only check left"
            ),
        ),
        Ran::Refused(_) => {
            denial("credentials", format!("{REST}; {ids} differ and CAP_SYS_PTRACE was refused"))
        }
        Ran::No | Ran::Unobserved => denial("credentials", format!("{REST}; {ids} differ")),
    }
}

/// A capability refused in another user namespace than the caller's: that is the boundary that refused.
fn refine(record: &Ptrace, caller_user_ns: Option<u32>, found: Denial) -> Denial {
    let refused = matches!(ran(record, Check::CapCapable), Ran::Refused(_));
    let asked = record.capability_ns;
    // The kernel side compares at the time of the call; what is known from the last exec may be older.
    let foreign = record.header.flags & flags::FOREIGN_USER_NS != 0
        || caller_user_ns.is_some_and(|own| asked != 0 && asked != own);
    if !refused || !foreign || found.by == "yama" || found.by.starts_with("lsm:") {
        return found;
    }
    denial(
        "user_ns",
        format!(
            "CAP_SYS_PTRACE was asked for in user namespace {asked}, which is not the caller's own, and refused ({})",
            found.detail
        ),
    )
}

/// The security module that refused an attach, if one was seen to.
fn module(record: &Ptrace) -> Option<Denial> {
    MODULES.iter().find_map(|(check, by)| match ran(record, *check) {
        Ran::Refused(returned) => Some(denial(by, format!("{} returned {returned}", function(*check)))),
        Ran::Unobserved | Ran::No | Ran::Allowed => None,
    })
}

fn traceme(record: &Ptrace) -> Denial {
    if let Ran::Refused(returned) = ran(record, Check::YamaTraceme) {
        return denial("yama", format!("{} returned {returned}", function(Check::YamaTraceme)));
    }
    match ran(record, Check::SecurityTraceme) {
        Ran::No => denial(
            "already_traced",
            "security_ptrace_traceme did not run: the kernel asks it only for a task that is not traced yet",
        ),
        Ran::Allowed => {
            denial("unknown", "security_ptrace_traceme allowed it; the parent may have ended meanwhile")
        }
        Ran::Refused(returned) => match ran(record, Check::YamaTraceme) {
            Ran::No => denial(
                "capability",
                format!(
                    "security_ptrace_traceme returned {returned} before Yama was asked: the parent lacks capabilities \
                     of the caller"
                ),
            ),
            Ran::Unobserved | Ran::Allowed | Ran::Refused(_) => denial(
                "unknown",
                format!("security_ptrace_traceme returned {returned}; which module is not observed"),
            ),
        },
        Ran::Unobserved => denial("unknown", unobserved(record)),
    }
}

fn unobserved(record: &Ptrace) -> &'static str {
    if record.observed == 0 {
        "this kernel lets no program observe the checks (no fexit or kprobes)"
    } else {
        "the check that refused is not among those that this kernel lets programs observe"
    }
}

/// The kernel function of a check.
pub const fn function(check: Check) -> &'static str {
    match check {
        Check::MayAccess => "__ptrace_may_access",
        Check::SecurityAccess => "security_ptrace_access_check",
        Check::SecurityTraceme => "security_ptrace_traceme",
        Check::CapAccess => "cap_ptrace_access_check",
        Check::Yama => "yama_ptrace_access_check",
        Check::YamaTraceme => "yama_ptrace_traceme",
        Check::Apparmor => "apparmor_ptrace_access_check",
        Check::Selinux => "selinux_ptrace_access_check",
        Check::BpfLsm => "bpf_lsm_ptrace_access_check",
        Check::CapCapable => "cap_capable",
        Check::Attach => "ptrace_attach",
    }
}

#[cfg(test)]
mod tests;
