//! Ids of tracepoints, which only tracefs tells.
//!
//! Where tracefs is not mounted, it is opened as a detached mount (fsopen, fsmount; since 5.2), which no
//! other process sees and which goes with the descriptor: the host is not changed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// An open tracefs.
#[derive(Debug)]
pub struct Tracefs {
    root: OwnedFd,
    place: &'static str,
}

/// Where it usually is.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

impl Tracefs {
    /// Opens tracefs where it is mounted, else detached.
    pub fn open() -> io::Result<Self> {
        for place in PLACES {
            if let Ok(root) =
                openat(CWD, place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            {
                let tracefs = Self { root, place };
                if tracefs.id("sched", "sched_process_exec").is_ok() {
                    return Ok(tracefs);
                }
            }
        }
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        Ok(Self { root, place: "detached mount" })
    }

    /// Where it was found.
    pub const fn place(&self) -> &'static str {
        self.place
    }

    /// Id of a tracepoint.
    pub fn id(&self, category: &str, name: &str) -> io::Result<u64> {
        let path = format!("events/{category}/{name}/id");
        let file = openat(&self.root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text)?;
        text.trim().parse().map_err(io::Error::other)
    }
}
