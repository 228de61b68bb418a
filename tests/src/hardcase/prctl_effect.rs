//! prctl calls that change something: the value before and after, as the kernel tells it by other calls.

use serde_json::{Value, json};

use super::prctl::{line, told, told_with};
use super::{Case, bpf, call, child, exec, truth};

const SET_NAME: u64 = 15;
const SET_MM: u64 = 35;
const NO_NEW_PRIVS: u64 = 38;

/// Thread names: plain, empty, cut at 15 bytes, not UTF-8, unchanged; by the leader and by another thread.
pub(super) fn name(_: &Case) -> anyhow::Result<i32> {
    exec::ok(child::fork(|| {
        let memory = call::memory(1)?;
        let names: [&[u8]; 8] = [
            b"plain",
            b"plain",
            b"",
            b"exactly-15-byte",
            b"more-than-15-bytes-are-cut",
            b"\xff\xfe\n\"",
            b"kworker/0:1",
            b"back",
        ];
        renamed(memory, &names)?;
        exec::threaded(|| renamed(memory, &[b"second thread", b"again"]))
    })?)?;
    Ok(0)
}

/// Sets names one after the other.
fn renamed(memory: u64, names: &[&[u8]]) -> anyhow::Result<i32> {
    for name in names {
        call::store(memory, &[name, b"\0".as_slice()].concat());
        let old = truth::comm("/proc/thread-self/comm")?;
        let kept = name.get(..15).unwrap_or(name);
        told_with(SET_NAME, [memory, 0, 0, 0], json!({"old_name": old, "new_name": truth::text(kept)}))?;
    }
    Ok(0)
}

/// How to ask for the value that an option sets.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// The result of this option, with this argument.
    Result(u64, u64),
    /// An int that this option stores.
    Int(u64),
}

impl Ask {
    fn now(self, memory: u64) -> anyhow::Result<Value> {
        match self {
            Self::Result(option, argument) => Ok(json!(told(option, [argument, 0, 0, 0])?)),
            Self::Int(option) => {
                call::store(memory, &[0; 8]);
                let ret = told(option, [memory, 0, 0, 0])?;
                anyhow::ensure!(ret == 0, "prctl({option}): errno {}", -ret);
                let bytes = call::load(memory, 4);
                Ok(json!(bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))))
            }
        }
    }
}

/// Setting options, their argument, and how to ask.
const SETTINGS: &[(u64, u64, Ask)] = &[
    (4, 0, Ask::Result(3, 0)),
    (4, 0, Ask::Result(3, 0)),
    (4, 1, Ask::Result(3, 0)),
    (4, 2, Ask::Result(3, 0)),
    (8, 1, Ask::Result(7, 0)),
    (8, 0, Ask::Result(7, 0)),
    (1, 15, Ask::Int(2)),
    (1, 0, Ask::Int(2)),
    (1, 1000, Ask::Int(2)),
    (29, 77_777, Ask::Result(30, 0)),
    (29, 50_000, Ask::Result(30, 0)),
    (36, 1, Ask::Int(37)),
    (36, 0, Ask::Int(37)),
    (41, 1, Ask::Result(42, 0)),
    (41, 0, Ask::Result(42, 0)),
    (24, 30, Ask::Result(23, 30)),
    (24, 30, Ask::Result(23, 30)),
    (28, 0x10, Ask::Result(27, 0)),
    (38, 1, Ask::Result(39, 0)),
    (38, 1, Ask::Result(39, 0)),
    (38, 0, Ask::Result(39, 0)),
];

/// Values before and after.
pub(super) fn values(_: &Case) -> anyhow::Result<i32> {
    exec::ok(child::fork(|| {
        let memory = call::memory(1)?;
        for (option, argument, ask) in SETTINGS {
            let old = ask.now(memory)?;
            let ret = call::prctl(*option, [*argument, 0, 0, 0]);
            let (pid, tid) = truth::ids()?;
            let mut line = line(pid, tid, *option, [*argument, 0, 0, 0], ret);
            if let Some(object) = line.as_object_mut() {
                object.insert("old".to_owned(), old);
            }
            // Told before the next question is asked: lines are in the order of calls.
            truth::tell(&line)?;
            let new = ask.now(memory)?;
            truth::tell(&json!({"call": "prctl_after", "pid": pid, "tid": tid, "new": new}))?;
        }
        Ok(0)
    })?)?;
    Ok(0)
}

/// Strict seccomp: from then on only read, write and exit.
pub(super) fn seccomp_strict(_: &Case) -> anyhow::Result<i32> {
    let child = child::fork(|| {
        let (pid, tid) = truth::ids()?;
        let told = |ret| truth::prepared(&line(pid, tid, 22, [1, 0, 0, 0], ret));
        call::prctl_then_end(22, [1, 0, 0, 0], &told(0), &told(-i64::from(libc::EINVAL)), truth::DESCRIPTOR)
    })?;
    exec::ok(child)?;
    Ok(0)
}

/// A seccomp filter, refused without no_new_privs to users, taken with it; modes before and after.
pub(super) fn seccomp_filter(_: &Case) -> anyhow::Result<i32> {
    let (option, mode) = bpf::SET_FILTER;
    exec::ok(child::fork(|| {
        let memory = call::memory(1)?;
        let program = bpf::refuse(memory, libc::SYS_personality.try_into()?, libc::EPERM.try_into()?);
        call::become_user(1000, 1000, 1000)?;
        told(option, [mode, program, 0, 0])?;
        told(38, [1, 0, 0, 0])?;
        told(option, [mode, program, 0, 0])?;
        told(21, [0; 4])?;
        Ok(0)
    })?)?;
    Ok(0)
}

/// prctl itself refused by a filter: the kernel never runs it, the caller sees the filter's errno.
pub(super) fn denied_by_seccomp(_: &Case) -> anyhow::Result<i32> {
    let (option, mode) = bpf::SET_FILTER;
    exec::ok(child::fork(|| {
        let memory = call::memory(1)?;
        let program = bpf::refuse(memory, libc::SYS_prctl.try_into()?, libc::ENODEV.try_into()?);
        told(option, [mode, program, 0, 0])?;
        told(3, [0; 4])?;
        told(SET_NAME, [memory, 0, 0, 0])?;
        Ok(0)
    })?)?;
    Ok(0)
}

/// A filter that ends the process for its prctl: the call does not come back, the end tells of it.
pub(super) fn killed_by_seccomp(_: &Case) -> anyhow::Result<i32> {
    let (option, mode) = bpf::SET_FILTER;
    let child = child::fork(|| {
        let memory = call::memory(1)?;
        let program = bpf::answer(memory, libc::SYS_prctl.try_into()?, bpf::KILL);
        told(NO_NEW_PRIVS, [1, 0, 0, 0])?;
        told(option, [mode, program, 0, 0])?;
        call::prctl(3, [0; 4]);
        anyhow::bail!("the call came back")
    })?;
    let status = child.wait()?;
    anyhow::ensure!(status.signal == Some(libc::SIGSYS), "the filter's victim ended with {status:?}");
    Ok(0)
}

/// PR_SET_MM: what `/proc` shows of a process's memory areas changes.
pub(super) fn memory_map(_: &Case) -> anyhow::Result<i32> {
    exec::ok(child::fork(|| {
        let memory = call::memory(2)?;
        call::store(memory, b"forged\0command\0line\0");
        // PR_SET_MM_ARG_END first: the start must not be beyond the end.
        for (what, address) in [
            // ARG_START, ARG_END, ENV_START, ENV_END.
            (8, memory),
            (9, memory + 20),
            (10, memory + 20),
            (11, memory + 20),
            // START_CODE with an address that is not mapped, MAP_SIZE, AUXV that is too short.
            (1, 8),
            (15, memory),
            (12, 8),
            // EXE_FILE: a descriptor that is not open.
            (13, 9999),
        ] {
            told(SET_MM, [what, address, 0, 0])?;
        }
        Ok(0)
    })?)?;
    Ok(0)
}
