//! ptrace calls that succeed, and those that fail for no reason of security.

use anyhow::Context;
use serde_json::{Value, json};

use super::child::{self, Child};
use super::{Case, call, exec, truth};

/// Requests as `include/uapi/linux/ptrace.h` and x86's `asm/ptrace-abi.h` number them.
pub(super) const NAMES: &[(u64, &str)] = &[
    (0, "PTRACE_TRACEME"),
    (1, "PTRACE_PEEKTEXT"),
    (2, "PTRACE_PEEKDATA"),
    (3, "PTRACE_PEEKUSER"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSER"),
    (7, "PTRACE_CONT"),
    (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"),
    (12, "PTRACE_GETREGS"),
    (13, "PTRACE_SETREGS"),
    (14, "PTRACE_GETFPREGS"),
    (15, "PTRACE_SETFPREGS"),
    (16, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"),
    (24, "PTRACE_SYSCALL"),
    (31, "PTRACE_SYSEMU"),
    (32, "PTRACE_SYSEMU_SINGLESTEP"),
    (0x4200, "PTRACE_SETOPTIONS"),
    (0x4201, "PTRACE_GETEVENTMSG"),
    (0x4202, "PTRACE_GETSIGINFO"),
    (0x4203, "PTRACE_SETSIGINFO"),
    (0x4204, "PTRACE_GETREGSET"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
    (0x4207, "PTRACE_INTERRUPT"),
    (0x4208, "PTRACE_LISTEN"),
    (0x4209, "PTRACE_PEEKSIGINFO"),
    (0x420a, "PTRACE_GETSIGMASK"),
    (0x420b, "PTRACE_SETSIGMASK"),
    (0x420c, "PTRACE_SECCOMP_GET_FILTER"),
    (0x420d, "PTRACE_SECCOMP_GET_METADATA"),
    (0x420e, "PTRACE_GET_SYSCALL_INFO"),
    (0x420f, "PTRACE_GET_RSEQ_CONFIGURATION"),
];

pub(super) const TRACEME: u64 = 0;
const PEEKTEXT: u64 = 1;
const PEEKDATA: u64 = 2;
const PEEKUSER: u64 = 3;
const POKEDATA: u64 = 5;
const POKEUSER: u64 = 6;
const CONT: u64 = 7;
const KILL: u64 = 8;
const SINGLESTEP: u64 = 9;
const GETREGS: u64 = 12;
const SETREGS: u64 = 13;
const GETFPREGS: u64 = 14;
const SETFPREGS: u64 = 15;
pub(super) const ATTACH: u64 = 16;
pub(super) const DETACH: u64 = 17;
const SYSCALL: u64 = 24;
const SETOPTIONS: u64 = 0x4200;
const GETEVENTMSG: u64 = 0x4201;
const GETSIGINFO: u64 = 0x4202;
const SETSIGINFO: u64 = 0x4203;
const GETREGSET: u64 = 0x4204;
pub(super) const SEIZE: u64 = 0x4206;
const INTERRUPT: u64 = 0x4207;
const PEEKSIGINFO: u64 = 0x4209;
const GETSIGMASK: u64 = 0x420a;
const SETSIGMASK: u64 = 0x420b;
const SECCOMP_GET_FILTER: u64 = 0x420c;
const GET_SYSCALL_INFO: u64 = 0x420e;

/// Who is traced, told with each call; null where there is nobody.
pub(super) fn target(pid: i32) -> Value {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| -> Value {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse::<u32>().ok()
            })
            .map_or(Value::Null, |number| json!(number))
    };
    let comm = truth::comm(&format!("/proc/{pid}/comm")).unwrap_or(Value::Null);
    let exe = truth::link_text(&format!("/proc/{pid}/exe")).unwrap_or(Value::Null);
    json!({"tgid": field("Tgid"), "tid": field("Pid"), "uid": field("Uid"), "comm": comm, "exe": exe})
}

/// Calls and tells; `refused_by` is what a refusal must be blamed on.
pub(super) fn told(
    request: u64,
    pid: i32,
    addr: u64,
    data: u64,
    target: &Value,
    refused_by: Option<&str>,
) -> anyhow::Result<i64> {
    let ret = call::ptrace(request, pid, addr, data);
    let name = NAMES.iter().find(|(number, _)| *number == request).map(|(_, name)| *name);
    let (own, tid) = truth::ids()?;
    truth::tell(&json!({
        "call": "ptrace", "pid": own, "tid": tid, "request": request, "name": name, "target_pid": pid,
        "addr": addr, "data": data, "ret": ret, "errno": truth::errno_name(ret), "target": target,
        "refused_by": refused_by,
    }))?;
    Ok(ret)
}

/// A tracer's calls on one target.
#[derive(Debug)]
struct Tracer {
    pid: i32,
    target: Value,
    memory: u64,
}

impl Tracer {
    fn new(pid: i32) -> anyhow::Result<Self> {
        Ok(Self { pid, target: target(pid), memory: call::memory(4)? })
    }

    /// Calls, tells; the kernel's answer is part of the truth, whatever it is.
    fn call(&self, request: u64, addr: u64, data: u64) -> anyhow::Result<i64> {
        told(request, self.pid, addr, data, &self.target, None)
    }

    /// A call that must succeed, or the case is worth nothing.
    fn must(&self, request: u64, addr: u64, data: u64) -> anyhow::Result<()> {
        let ret = self.call(request, addr, data)?;
        anyhow::ensure!(ret >= 0, "ptrace({request:#x}): errno {}", -ret);
        Ok(())
    }
}

/// A child that asks to be traced and stops itself; then everything a debugger does.
pub(super) fn session(_: &Case) -> anyhow::Result<i32> {
    let word = call::memory(1)?;
    let child = child::fork(|| {
        let parent = std::os::unix::process::parent_id().cast_signed();
        told(TRACEME, 0, 0, 0, &target(parent), None)?;
        told(TRACEME, 0, 0, 0, &target(parent), Some("already_traced"))?;
        call::kill(call::getpid(), libc::SIGSTOP);
        call::kill(call::getpid(), libc::SIGUSR2);
        Ok(7)
    })?;
    let stopped = child.wait_stop()?;
    anyhow::ensure!(stopped == libc::SIGSTOP, "stopped by {stopped}");
    let tracer = Tracer::new(child.pid)?;
    let memory = tracer.memory;
    tracer.must(SETOPTIONS, 0, 1)?;
    tracer.must(PEEKTEXT, word, memory)?;
    tracer.must(PEEKDATA, word, memory)?;
    tracer.must(POKEDATA, word, 0x0102_0304_0506_0708)?;
    tracer.must(PEEKDATA, word, memory)?;
    tracer.must(PEEKUSER, 128, memory)?;
    tracer.call(POKEUSER, 848, 0)?;
    tracer.must(GETREGS, 0, memory)?;
    tracer.must(SETREGS, 0, memory)?;
    tracer.must(GETFPREGS, 0, memory)?;
    tracer.must(SETFPREGS, 0, memory)?;
    tracer.must(GETSIGINFO, 0, memory)?;
    tracer.must(SETSIGINFO, 0, memory)?;
    tracer.must(GETEVENTMSG, 0, memory)?;
    call::store(memory + 8192, &(memory + 4096).to_ne_bytes());
    call::store(memory + 8200, &1024u64.to_ne_bytes());
    tracer.must(GETREGSET, 1, memory + 8192)?;
    tracer.must(GETSIGMASK, 8, memory)?;
    tracer.must(SETSIGMASK, 8, memory)?;
    call::store(memory + 8192, &[0; 16]);
    tracer.call(PEEKSIGINFO, memory + 8192, memory)?;
    tracer.call(SECCOMP_GET_FILTER, 0, memory)?;
    tracer.call(GET_SYSCALL_INFO, 88, memory)?;
    // Wrong in themselves: a request that does not exist, an address that is not mapped, options unknown.
    tracer.call(0x9999, 1, 2)?;
    tracer.call(PEEKDATA, 8, memory)?;
    tracer.call(PEEKDATA, word, 8)?;
    tracer.call(SETOPTIONS, 0, 1 << 40)?;
    tracer.call(ATTACH, 0, 0)?;
    tracer.must(SINGLESTEP, 0, 0)?;
    child.wait_stop()?;
    tracer.must(SYSCALL, 0, 0)?;
    child.wait_stop()?;
    tracer.must(CONT, 0, 0)?;
    let stopped = child.wait_stop()?;
    anyhow::ensure!(stopped == libc::SIGUSR2, "stopped by {stopped}");
    tracer.must(DETACH, 0, 0)?;
    let status = child.wait()?;
    anyhow::ensure!(status.code == Some(7), "the traced child ended with {status:?}");
    Ok(0)
}

/// A child that waits and never stops by itself.
fn bystander() -> anyhow::Result<Child> {
    child::waiting(|| Ok(()))
}

/// Attach, detach, attach again, detach with a signal that ends the target.
pub(super) fn attach(_: &Case) -> anyhow::Result<i32> {
    let child = bystander()?;
    let tracer = Tracer::new(child.pid)?;
    tracer.must(ATTACH, 0, 0)?;
    child.wait_stop()?;
    tracer.must(PEEKUSER, 120, tracer.memory)?;
    tracer.must(DETACH, 0, 0)?;
    tracer.must(ATTACH, 0, 0)?;
    child.wait_stop()?;
    tracer.must(DETACH, 0, libc::SIGTERM.cast_unsigned().into())?;
    let status = child.wait()?;
    anyhow::ensure!(status.signal == Some(libc::SIGTERM), "the target ended with {status:?}");
    Ok(0)
}

/// Seize with options, interrupt, detach.
pub(super) fn seize(_: &Case) -> anyhow::Result<i32> {
    let child = bystander()?;
    let tracer = Tracer::new(child.pid)?;
    // Options that do not exist; an address, which must be none.
    tracer.call(SEIZE, 0, 1 << 40)?;
    tracer.call(SEIZE, 1, 0)?;
    tracer.must(SEIZE, 0, 0x10)?;
    tracer.must(INTERRUPT, 0, 0)?;
    child.wait_stop()?;
    tracer.must(DETACH, 0, 0)?;
    child.kill()?;
    Ok(0)
}

/// A thread of a process that has several: the target's thread id is not its process id.
pub(super) fn thread(_: &Case) -> anyhow::Result<i32> {
    let (read, say) = call::pipe()?;
    let child = child::fork(|| {
        exec::threaded(|| {
            let tid = call::gettid().to_ne_bytes();
            call::write(say, &tid).map_err(|errno| anyhow::anyhow!("errno {errno}"))?;
            call::pause()
        })
    })?;
    let mut tid = [0; 4];
    let got = call::read(read, &mut tid);
    anyhow::ensure!(got == Ok(4), "no thread id");
    let tid = i32::from_ne_bytes(tid);
    let tracer = Tracer::new(tid)?;
    tracer.must(ATTACH, 0, 0)?;
    let (stopped, _) = call::wait(tid, libc::__WALL)?;
    anyhow::ensure!(stopped == tid, "{stopped} stopped instead");
    tracer.must(DETACH, 0, 0)?;
    child.kill()?;
    Ok(0)
}

/// PTRACE_KILL.
pub(super) fn kill(_: &Case) -> anyhow::Result<i32> {
    let child = bystander()?;
    let tracer = Tracer::new(child.pid)?;
    tracer.must(ATTACH, 0, 0)?;
    child.wait_stop()?;
    tracer.must(KILL, 0, 0)?;
    let status = child.wait()?;
    anyhow::ensure!(status.signal == Some(libc::SIGKILL), "the target ended with {status:?}");
    Ok(0)
}

/// Nobody there, not traced, itself, its own thread.
pub(super) fn errors(_: &Case) -> anyhow::Result<i32> {
    let child = bystander()?;
    let about = target(child.pid);
    let memory = call::memory(1)?;
    // Not traced by the caller.
    told(PEEKDATA, child.pid, memory, memory, &about, None)?;
    told(CONT, child.pid, 0, 0, &about, None)?;
    told(DETACH, child.pid, 0, 0, &about, None)?;
    let gone = child.pid;
    child.kill()?;
    told(ATTACH, gone, 0, 0, &Value::Null, None)?;
    told(SEIZE, gone, 0, 0, &Value::Null, None)?;
    told(ATTACH, -1, 0, 0, &Value::Null, None)?;
    told(ATTACH, 0, 0, 0, &Value::Null, None)?;
    told(ATTACH, i32::MAX, 0, 0, &Value::Null, None)?;
    let own = call::getpid();
    told(ATTACH, own, 0, 0, &target(own), Some("same_process"))?;
    // A zombie: it has ended and nobody has waited for it.
    let zombie = child::fork(|| Ok(0))?;
    let stat = format!("/proc/{}/stat", zombie.pid);
    while !std::fs::read_to_string(&stat).context("zombie")?.contains(") Z ") {
        std::thread::yield_now();
    }
    told(ATTACH, zombie.pid, 0, 0, &target(zombie.pid), Some("ended"))?;
    zombie.wait()?;
    Ok(0)
}
