//! ptrace calls that the kernel refuses, each by another check. The truth says which check it must be; where this machine cannot
//! set the stage, it says that instead.

use anyhow::Context;
use serde_json::Value;

use super::child::{self, Child};
use super::ptrace::{ATTACH, DETACH, SEIZE, TRACEME, target, told};
use super::{Case, bpf, call, exec, truth};

/// Where Yama keeps its mode.
const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";
/// One capability, by bit.
const CAP_NET_ADMIN: u64 = 1 << 12;
const SET_DUMPABLE: u64 = 4;
const KEEP_CAPS: u64 = 8;

/// Every refusal but Yama's, with Yama out of the way.
pub(super) fn all(_: &Case) -> anyhow::Result<i32> {
    anyhow::ensure!(call::geteuid() == 0, "this case sets its stage as root");
    let restored = with_yama("0")?;
    let done = stages();
    if let Some(mode) = restored {
        std::fs::write(YAMA, mode)?;
    }
    done?;
    Ok(0)
}

fn stages() -> anyhow::Result<()> {
    by_credentials()?;
    by_capability()?;
    by_dumpable()?;
    kernel_thread()?;
    already_traced()?;
    by_seccomp()?;
    by_user_namespace()?;
    Ok(())
}

/// Sets Yama's mode if there is Yama; returns the mode before.
fn with_yama(mode: &str) -> anyhow::Result<Option<String>> {
    let Ok(before) = std::fs::read_to_string(YAMA) else { return Ok(None) };
    std::fs::write(YAMA, mode).with_context(|| format!("cannot set Yama's mode to {mode}"))?;
    Ok(Some(before.trim().to_owned()))
}

/// A waiting process of user `uid` that may be dumped (or not), with these capabilities.
fn victim(uid: u32, dumpable: bool, capabilities: u64) -> anyhow::Result<Child> {
    child::waiting(|| {
        if capabilities != 0 {
            exec_prctl(KEEP_CAPS, 1)?;
        }
        call::become_user(uid, uid, uid)?;
        if capabilities != 0 {
            let ret = call::set_capabilities(capabilities, capabilities, 0);
            anyhow::ensure!(ret == 0, "capset: errno {}", -ret);
        }
        // A change of user made it not dumpable.
        exec_prctl(SET_DUMPABLE, u64::from(dumpable))
    })
}

/// A prctl that is told, and must succeed.
fn exec_prctl(option: u64, argument: u64) -> anyhow::Result<()> {
    let ret = super::prctl::told(option, [argument, 0, 0, 0])?;
    anyhow::ensure!(ret == 0, "prctl({option}): errno {}", -ret);
    Ok(())
}

/// Attaches and seizes as user `uid`; both must be refused by `check`.
fn refused(uid: u32, victim: &Child, check: &str) -> anyhow::Result<()> {
    // Looked at while the caller still may.
    let about = target(victim.pid);
    exec::ok(child::fork(|| {
        if uid != 0 {
            call::become_user(uid, uid, uid)?;
        }
        must_refuse(victim.pid, &about, check)?;
        Ok(0)
    })?)
}

/// Both ways to begin tracing.
fn must_refuse(pid: i32, about: &Value, check: &str) -> anyhow::Result<()> {
    for request in [ATTACH, SEIZE] {
        let ret = told(request, pid, 0, 0, about, Some(check))?;
        anyhow::ensure!(ret == -i64::from(libc::EPERM), "{check}: ptrace({request:#x}) = {ret}, not refused");
    }
    Ok(())
}

/// Another user's process, and root's.
fn by_credentials() -> anyhow::Result<()> {
    for owner in [1001, 0] {
        let victim = victim(owner, true, 0)?;
        refused(1000, &victim, "credentials")?;
        victim.kill()?;
    }
    Ok(())
}

/// The same user's process that has a capability which the caller lacks.
fn by_capability() -> anyhow::Result<()> {
    let victim = victim(1000, true, CAP_NET_ADMIN)?;
    refused(1000, &victim, "capability")?;
    victim.kill()?;
    Ok(())
}

/// The same user's process that may not be dumped.
fn by_dumpable() -> anyhow::Result<()> {
    let victim = victim(1000, false, 0)?;
    refused(1000, &victim, "dumpable")?;
    victim.kill()?;
    Ok(())
}

/// A kernel thread; even root is refused.
fn kernel_thread() -> anyhow::Result<()> {
    let name = std::fs::read("/proc/2/comm").unwrap_or_default();
    if name != b"kthreadd\n" {
        return truth::unable("kernel threads in sight", "process 2 is not kthreadd");
    }
    let about = target(2);
    exec::ok(child::fork(|| {
        must_refuse(2, &about, "kernel_thread")?;
        Ok(0)
    })?)
}

/// A process that somebody else traces.
fn already_traced() -> anyhow::Result<()> {
    let victim = child::waiting(|| Ok(()))?;
    let about = target(victim.pid);
    exec::ok(child::fork(|| {
        let ret = told(ATTACH, victim.pid, 0, 0, &about, None)?;
        anyhow::ensure!(ret == 0, "attach: errno {}", -ret);
        call::wait(victim.pid, libc::__WALL)?;
        exec::ok(child::fork(|| {
            must_refuse(victim.pid, &about, "already_traced")?;
            Ok(0)
        })?)?;
        told(DETACH, victim.pid, 0, 0, &about, None)?;
        Ok(0)
    })?)?;
    victim.kill()?;
    Ok(())
}

/// A seccomp filter that refuses ptrace: the kernel never looks at the call.
fn by_seccomp() -> anyhow::Result<()> {
    let victim = child::waiting(|| Ok(()))?;
    let about = target(victim.pid);
    let (option, mode) = bpf::SET_FILTER;
    exec::ok(child::fork(|| {
        let memory = call::memory(1)?;
        let program = bpf::refuse(memory, libc::SYS_ptrace.try_into()?, libc::EPERM.try_into()?);
        let ret = super::prctl::told(option, [mode, program, 0, 0])?;
        anyhow::ensure!(ret == 0, "seccomp: errno {}", -ret);
        must_refuse(victim.pid, &about, "seccomp")?;
        let ret = told(TRACEME, 0, 0, 0, &Value::Null, Some("seccomp"))?;
        anyhow::ensure!(ret == -i64::from(libc::EPERM), "TRACEME under seccomp = {ret}");
        Ok(0)
    })?)?;
    victim.kill()?;
    Ok(())
}

/// The same user, with every capability in a user namespace of its own and none outside.
fn by_user_namespace() -> anyhow::Result<()> {
    let victim = victim(1000, true, 0)?;
    let about = target(victim.pid);
    exec::ok(child::fork(|| {
        call::become_user(1000, 1000, 1000)?;
        let ret = call::unshare(libc::CLONE_NEWUSER);
        if ret != 0 {
            truth::unable("user namespaces", &format!("unshare: errno {}", -ret))?;
            return Ok(0);
        }
        must_refuse(victim.pid, &about, "user_ns")?;
        Ok(0)
    })?)?;
    victim.kill()?;
    Ok(())
}

/// `ptrace-yama MODE`: Yama's modes 1 (not an ancestor), 2 (no CAP_SYS_PTRACE) and 3 (nobody, until reboot).
pub(super) fn yama(case: &Case) -> anyhow::Result<i32> {
    let mode = case.arguments.first().context("no mode")?.as_str();
    let Some(before) = with_yama(mode)? else {
        truth::unable("Yama", &format!("{YAMA} is not there"))?;
        return Ok(0);
    };
    let done = match mode {
        "1" => yama_restricted(),
        "2" | "3" => yama_strict(mode == "3"),
        _ => anyhow::bail!("Yama has no mode {mode}"),
    };
    if mode != "3" {
        std::fs::write(YAMA, before)?;
    }
    done?;
    Ok(0)
}

/// Mode 1: only ancestors, and those whom PR_SET_PTRACER names.
fn yama_restricted() -> anyhow::Result<()> {
    let stranger = victim(1000, true, 0)?;
    refused(1000, &stranger, "yama")?;
    stranger.kill()?;
    let open = child::waiting(|| {
        call::become_user(1000, 1000, 1000)?;
        exec_prctl(SET_DUMPABLE, 1)?;
        // PR_SET_PTRACER_ANY.
        exec_prctl(0x5961_6d61, u64::MAX)
    })?;
    let about = target(open.pid);
    exec::ok(child::fork(|| {
        call::become_user(1000, 1000, 1000)?;
        let ret = told(ATTACH, open.pid, 0, 0, &about, None)?;
        anyhow::ensure!(ret == 0, "attach where PR_SET_PTRACER allows it: errno {}", -ret);
        call::wait(open.pid, libc::__WALL)?;
        told(DETACH, open.pid, 0, 0, &about, None)?;
        Ok(0)
    })?)?;
    open.kill()?;
    Ok(())
}

/// Modes 2 and 3: also one's own child, and TRACEME; in mode 3 even root.
fn yama_strict(even_root: bool) -> anyhow::Result<()> {
    for uid in [1000, 0].into_iter().filter(|uid| *uid != 0 || even_root) {
        exec::ok(child::fork(|| {
            if uid != 0 {
                call::become_user(uid, uid, uid)?;
                exec_prctl(SET_DUMPABLE, 1)?;
            }
            let own_child = child::waiting(|| Ok(()))?;
            must_refuse(own_child.pid, &target(own_child.pid), "yama")?;
            own_child.kill()?;
            exec::ok(child::fork(|| {
                let parent = std::os::unix::process::parent_id().cast_signed();
                let ret = told(TRACEME, 0, 0, 0, &target(parent), Some("yama"))?;
                anyhow::ensure!(ret == -i64::from(libc::EPERM), "TRACEME = {ret}, not refused");
                Ok(0)
            })?)?;
            Ok(0)
        })?)?;
    }
    Ok(())
}
