//! One case for each way to be refused.

use goaudit_ebpf::hook::ptrace::{CHECKS, Target};
use goaudit_ebpf::units::{Tgid, Tid};
use goaudit_ebpf::wire::Header;

use super::*;

const ALL: u32 = (1 << CHECKS) - 1;

/// A refused call of user 1000 with everything observed; the checks that ran and what they returned.
fn refused(request: u64, checks: &[(Check, i32)]) -> Ptrace {
    let header = Header {
        flags: flags::ENTERED | flags::TARGET,
        tgid: Tgid(10),
        tid: Tid(10),
        uid: 1000,
        gid: 1000,
        ..Header::default()
    };
    let target =
        Target { tgid: Tgid(20), tid: Tid(20), uids: [1000; 3], gids: [1000; 3], dumpable: 1, task_flags: 0 };
    let mut record =
        Ptrace { header, args: [request, 20, 0, 0], ret: -1, target, observed: ALL, ..Ptrace::default() };
    for (check, returned) in checks {
        record.called |= 1 << (*check as u32);
        if let Some(place) = record.returned.get_mut(*check as usize) {
            *place = *returned;
        }
    }
    record
}

fn by(record: &Ptrace) -> String {
    attribute(record, Some(1)).map_or_else(|| "nobody".into(), |denial| denial.by)
}

const ACCESS: (Check, i32) = (Check::MayAccess, -1);
const SECURITY: (Check, i32) = (Check::SecurityAccess, -1);

#[test]
fn success_and_other_errors_are_no_refusal() {
    assert_eq!(by(&Ptrace { ret: 0, ..refused(16, &[]) }), "nobody");
    assert_eq!(
        by(&Ptrace { ret: -3, ..refused(16, &[]) }),
        "nobody",
        "ESRCH: no such process or not a tracee"
    );
}

#[test]
fn seccomp() {
    let mut record = refused(16, &[]);
    record.header.flags = 0;
    assert_eq!(by(&record), "seccomp");
    record.ret = -38;
    assert_eq!(by(&record), "seccomp", "a filter may answer with any error");
}

#[test]
fn security_modules() {
    assert_eq!(by(&refused(16, &[ACCESS, SECURITY, (Check::CapAccess, -1)])), "capability");
    assert_eq!(by(&refused(16, &[ACCESS, SECURITY, (Check::CapAccess, 0), (Check::Yama, -1)])), "yama");
    let apparmor =
        [(Check::MayAccess, -13), (Check::SecurityAccess, -13), (Check::Yama, 0), (Check::Apparmor, -13)];
    assert_eq!(by(&Ptrace { ret: -13, ..refused(0x4206, &apparmor) }), "lsm:apparmor");
    assert_eq!(by(&refused(16, &[ACCESS, SECURITY, (Check::Selinux, -13)])), "lsm:selinux");
    assert_eq!(by(&refused(16, &[ACCESS, SECURITY, (Check::BpfLsm, -1)])), "lsm:bpf");
    assert_eq!(by(&refused(16, &[ACCESS, SECURITY, (Check::CapAccess, 0), (Check::Yama, 0)])), "lsm:other");
}

#[test]
fn user_and_group_ids() {
    let mut record = refused(16, &[ACCESS, (Check::CapCapable, -1)]);
    record.target.uids = [1000, 1000, 0];
    assert_eq!(by(&record), "credentials", "one of six is enough");
    record.target.uids = [1000; 3];
    record.target.gids = [1000, 5, 1000];
    assert_eq!(by(&record), "credentials");
}

#[test]
fn dumpable() {
    let mut record = refused(16, &[ACCESS, (Check::CapCapable, -1)]);
    record.target.dumpable = 0;
    assert_eq!(by(&record), "dumpable");
    record.target.uids = [0; 3];
    if let Some(returned) = record.returned.get_mut(Check::CapCapable as usize) {
        *returned = 0;
    }
    assert_eq!(by(&record), "dumpable", "the capability bridged the ids");
}

#[test]
fn user_namespace() {
    let mut record = refused(16, &[ACCESS, (Check::CapCapable, -1)]);
    record.target.uids = [0; 3];
    record.capability_ns = 2;
    assert_eq!(by(&record), "user_ns");
    record.capability_ns = 1;
    assert_eq!(by(&record), "credentials", "it is the caller's own");
    let mut capability = refused(16, &[ACCESS, SECURITY, (Check::CapAccess, -1), (Check::CapCapable, -1)]);
    capability.capability_ns = 2;
    assert_eq!(by(&capability), "user_ns");
}

#[test]
fn before_the_access_check() {
    let mut record = refused(16, &[(Check::Attach, -1)]);
    record.target.task_flags = PF_KTHREAD;
    assert_eq!(by(&record), "kernel_thread");
    record.target.task_flags = 0;
    assert_eq!(by(&record), "unknown");
    record.target.tgid = Tgid(10);
    assert_eq!(by(&record), "same_process");
    record.header.flags = flags::ENTERED;
    assert_eq!(by(&record), "unknown");
}

#[test]
fn after_the_access_check() {
    let allowed = [(Check::MayAccess, 0), (Check::SecurityAccess, 0)];
    assert_eq!(by(&refused(16, &allowed)), "already_traced");
}

#[test]
fn traceme() {
    assert_eq!(by(&refused(0, &[])), "already_traced");
    assert_eq!(by(&refused(0, &[(Check::SecurityTraceme, -1), (Check::YamaTraceme, -1)])), "yama");
    assert_eq!(by(&refused(0, &[(Check::SecurityTraceme, -1)])), "capability");
    assert_eq!(by(&refused(0, &[(Check::SecurityTraceme, -1), (Check::YamaTraceme, 0)])), "unknown");
}

#[test]
fn what_is_not_observed_is_unknown_and_says_so() {
    let nothing = Ptrace { observed: 0, ..refused(16, &[]) };
    let denial = attribute(&nothing, None);
    assert_eq!(denial.as_ref().map(|denial| denial.by.as_str()), Some("unknown"));
    assert!(denial.is_some_and(|denial| denial.detail.contains("no program observe")));
    let traceme = Ptrace { observed: 0, ..refused(0, &[]) };
    assert_eq!(by(&traceme), "unknown");
    let only_yama = Ptrace { observed: 1 << Check::Yama as u32, ..refused(16, &[(Check::Yama, -1)]) };
    assert_eq!(by(&only_yama), "yama", "one observed check that refused is enough");
    let other = Ptrace { observed: 1 << Check::Yama as u32, ..refused(16, &[]) };
    assert_eq!(by(&other), "unknown");
    let no_security = Ptrace { observed: 1, ..refused(16, &[ACCESS]) };
    assert_eq!(by(&no_security), "unknown");
    assert_eq!(by(&refused(0x4200, &[])), "unknown", "other requests have no observed check");
}
