//! Child processes, and the truth about their beginning and end.

use serde_json::json;

use super::{call, truth};

/// A child process that has not been waited for.
#[derive(Debug)]
pub(super) struct Child {
    /// Process id in the caller's pid namespace.
    pub(super) pid: i32,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    /// Exit code, if it ended by itself.
    pub(super) code: Option<i32>,
    /// Signal, if one ended it.
    pub(super) signal: Option<i32>,
    /// Whether a core was dumped.
    pub(super) core: bool,
}

impl Status {
    fn of(status: i32) -> Self {
        Self {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            core: libc::WIFSIGNALED(status) && libc::WCOREDUMP(status),
        }
    }
}

/// Runs `body` in a child process, which ends with the returned code (99 and a line in the truth if it fails).
pub(super) fn fork(body: impl FnOnce() -> anyhow::Result<i32>) -> anyhow::Result<Child> {
    let pid = call::fork()?;
    if pid == 0 {
        end(body());
    }
    begun(pid)
}

/// Ends a child.
pub(super) fn end(result: anyhow::Result<i32>) -> ! {
    match result {
        Ok(code) => call::exit_group(code),
        Err(error) => {
            truth::broken(&error);
            call::exit_group(99)
        }
    }
}

/// Tells that this process has a new child.
pub(super) fn begun(pid: i32) -> anyhow::Result<Child> {
    let (own, tid) = truth::ids()?;
    truth::tell(&json!({"call": "fork", "pid": own, "tid": tid, "child": pid, "thread": false}))?;
    Ok(Child { pid })
}

impl Child {
    /// Waits for the end and tells it.
    pub(super) fn wait(self) -> anyhow::Result<Status> {
        let (_, status) = call::wait(self.pid, 0)?;
        self.ended(status)
    }

    /// Tells an end that `wait` reported.
    pub(super) fn ended(self, status: i32) -> anyhow::Result<Status> {
        let Status { code, signal, core } = Status::of(status);
        truth::tell(&json!({"call": "exit", "pid": self.pid, "code": code, "signal": signal, "core": core}))?;
        Ok(Status { code, signal, core })
    }

    /// Waits until it stops by a signal; returns that.
    pub(super) fn wait_stop(&self) -> anyhow::Result<i32> {
        let (_, status) = call::wait(self.pid, libc::WUNTRACED | libc::__WALL)?;
        anyhow::ensure!(
            libc::WIFSTOPPED(status),
            "child {} ended (status {status:#x}) instead of stopping",
            self.pid
        );
        Ok(libc::WSTOPSIG(status))
    }

    /// Ends it by SIGKILL and waits.
    pub(super) fn kill(self) -> anyhow::Result<Status> {
        let ret = call::kill(self.pid, libc::SIGKILL);
        anyhow::ensure!(ret == 0, "kill: errno {}", -ret);
        self.wait()
    }
}

/// A child that prepares itself, says so, and then waits to be killed.
pub(super) fn waiting(prepare: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Child> {
    let (ready, say) = call::pipe()?;
    let child = fork(|| {
        call::close(ready);
        prepare()?;
        call::write(say, b"r").map_err(|errno| anyhow::anyhow!("errno {errno}"))?;
        call::close(say);
        call::pause()
    })?;
    call::close(say);
    let mut byte = [0];
    let got = call::read(ready, &mut byte);
    call::close(ready);
    anyhow::ensure!(got == Ok(1), "a waiting child ended before it was ready");
    Ok(child)
}
