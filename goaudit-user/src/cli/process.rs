//! A running process that somebody named.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Exit;

/// A running process, held by a descriptor: its number may be given to another when it ends.
pub(super) struct Process {
    pid: u32,
    descriptor: OwnedFd,
}

impl Process {
    /// Takes hold of a process.
    pub(super) fn open(pid: u32) -> anyhow::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = number.map(|number| pidfd_open(number, PidfdFlags::empty()));
        match opened {
            Some(Ok(descriptor)) => Ok(Self { pid, descriptor }),
            None | Some(Err(rustix::io::Errno::SRCH)) => Err(Exit::Error
                .because(format!("no process has the number {pid}: it ended, or is in another container"))),
            // Of a thread that is no process, on kernels of the time.
            Some(Err(rustix::io::Errno::INVAL)) => Err(Exit::Error.because(format!(
                "{pid} is the number of a thread: give that of its process (Tgid in /proc/{pid}/status)"
            ))),
            Some(Err(error)) => {
                Err(anyhow::Error::new(error).context(format!("cannot take hold of process {pid}")))
            }
        }
    }

    /// Its number.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that it runs: by the process, so that it is the one that runs also in a container, or deleted.
    pub(super) fn program(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid))
    }

    /// Whether it ended.
    pub(super) fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.descriptor, PollFlags::IN)];
        // Readable from its end on, before its parent asked for it.
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}
