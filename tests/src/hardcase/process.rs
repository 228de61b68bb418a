//! Processes that end in every way.

use std::sync::Barrier;

use anyhow::Context;
use serde_json::json;

use super::call::{Image, Strings};
use super::{Case, call, child, exec, truth};

/// Exit codes; the kernel keeps the lowest 8 bits.
pub(super) fn exit_codes(_: &Case) -> anyhow::Result<i32> {
    for code in [0, 1, 2, 77, 127, 128, 255, 256, -1] {
        child::fork(|| Ok(code))?.wait()?;
    }
    Ok(0)
}

/// Signals that end without a core.
pub(super) fn exit_signals(_: &Case) -> anyhow::Result<i32> {
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE, libc::SIGUSR1, 40] {
        let waiting = child::waiting(|| restore(signal))?;
        let ret = call::kill(waiting.pid, signal);
        anyhow::ensure!(ret == 0, "kill: errno {}", -ret);
        waiting.wait()?;
    }
    Ok(0)
}

/// Gives a signal its default effect again: Rust programs ignore SIGPIPE.
fn restore(signal: i32) -> anyhow::Result<()> {
    if signal == libc::SIGPIPE {
        call::default_signal(signal)?;
    }
    Ok(())
}

/// How many threads end at once.
const THREADS: usize = 50;

/// 50 threads end the whole process at the same time, each with another code: one wins, one exit is seen.
/// Then 50 threads end with their process by the leader's return.
pub(super) fn exit_group_by_many(_: &Case) -> anyhow::Result<i32> {
    for all in [true, false] {
        child::fork(|| {
            let start = Barrier::new(THREADS);
            let (pid, creator) = truth::ids()?;
            std::thread::scope(|scope| {
                for index in 1..=THREADS {
                    let start = &start;
                    scope.spawn(move || {
                        let told = truth::ids()
                            .and_then(|(_, tid)| truth::tell(&exec::thread_line(pid, creator, tid)));
                        if let Err(error) = told {
                            truth::broken(&error);
                        }
                        start.wait();
                        if all || index == 1 {
                            call::exit_group(i32::try_from(index).unwrap_or(99));
                        }
                        call::pause()
                    });
                }
            });
            unreachable!("the process has ended")
        })?
        .wait()?;
    }
    Ok(0)
}

/// The leader ends first, alone, with code 3; another thread ends the process later with code 5 of its own.
/// The process's code is the leader's, and it ends when the last thread does.
pub(super) fn leader_first(_: &Case) -> anyhow::Result<i32> {
    child::fork(|| {
        let (pid, creator) = truth::ids()?;
        std::thread::spawn(move || {
            let told = (|| {
                let (_, tid) = truth::ids()?;
                truth::tell(&exec::thread_line(pid, creator, tid))?;
                // The leader is a zombie when it has ended.
                let stat = format!("/proc/{pid}/task/{pid}/stat");
                while !std::fs::read_to_string(&stat)?.contains(") Z ") {
                    std::thread::yield_now();
                }
                anyhow::Ok(())
            })();
            if let Err(error) = told {
                truth::broken(&error);
            }
            call::exit_thread(5)
        });
        call::exit_thread(3)
    })?
    .wait()?;
    Ok(0)
}

/// `short-lived N`: N processes that execute this binary and end at once.
pub(super) fn short_lived(case: &Case) -> anyhow::Result<i32> {
    let count = case.number(0, 10_000)?;
    let path = exec::own()?;
    let envp = Strings::new([format!("{}=quit", truth::ROLE)])?;
    let mut children = Vec::new();
    for index in 0..count {
        let code = (index % 200).to_string();
        let argv = Strings::new(["q", code.as_str(), index.to_string().as_str()])?;
        let pid = call::vfork_exec(&Image { path: &path, argv: &argv, envp: &envp })?;
        let (_, status) = call::wait(pid, 0)?;
        anyhow::ensure!(libc::WIFEXITED(status), "a short-lived process ended with status {status:#x}");
        children.push(json!([pid, index, libc::WEXITSTATUS(status)]));
    }
    let (pid, _) = truth::ids().context("own id")?;
    truth::tell(&json!({"call": "short_lived", "pid": pid, "count": count, "children": children}))?;
    Ok(0)
}
