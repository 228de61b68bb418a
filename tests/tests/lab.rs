//! The guest itself: what every other live test takes for granted on a lab kernel.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;

use goaudit_tests::ability::{Ability, lab_kernel};
use goaudit_tests::needs;

#[test]
fn the_kernel_is_the_one_that_was_asked_for() {
    needs!(Lab);
    let wanted = lab_kernel().unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(release.starts_with(&format!("{wanted}.")), "{wanted} was asked for, {release} runs");
}

#[test]
fn the_guest_has_every_ability_that_live_tests_name() {
    needs!(Lab);
    // strace is not in the guest: its comparison runs on the host.
    for ability in [
        Ability::Root,
        Ability::Bpf,
        Ability::Btf,
        Ability::Tracefs,
        Ability::KernelFunctions,
        Ability::Yama,
        Ability::CgroupV2,
    ] {
        assert_eq!(ability.check(), Ok(()), "{}", ability.name());
    }
}

#[test]
fn bpf_is_among_the_security_modules() {
    needs!(Lab);
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap();
    assert!(modules.split(',').any(|module| module == "bpf"), "{modules}");
}

#[test]
fn users_have_names() {
    needs!(Lab);
    let users = fs::read_to_string("/etc/passwd").unwrap();
    assert!(users.lines().any(|line| line.starts_with("alice:x:1000:")), "{users}");
}
