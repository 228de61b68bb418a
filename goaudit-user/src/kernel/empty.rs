//! A program that does nothing, at sites of a file: what the traps alone cost the probed. For comparison only.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{go, sys};

/// `r0 = 0; exit`
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// How such a program hangs at its sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hanging {
    /// By one link for all of them (kernel 6.6), as goaudit's own where it can.
    Link,
    /// By a perf event for each, as tools for Go do.
    Events,
}

/// Sites with such a program: dropping it takes them away.
#[derive(Debug)]
pub struct EmptyProbes {
    // In this order: the links first, then the events that they hang on.
    _links: Vec<OwnedFd>,
    _events: Vec<OwnedFd>,
}

impl EmptyProbes {
    /// Attaches to `offsets` of `file` in every process that runs it.
    ///
    /// # Errors
    /// The kernel's, when it lacks what this way of hanging needs or refuses a site.
    pub fn attach(file: &File, offsets: &[u64], hanging: Hanging) -> io::Result<Self> {
        if hanging == Hanging::Link {
            let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            let program = sys::load_program(sys::KPROBE, sys::TRACE_UPROBE_MULTI, 0, &NOTHING)?;
            let link = sys::link_uprobes(program.as_fd(), &path, offsets, 0, None)?;
            return Ok(Self { _links: vec![link], _events: Vec::new() });
        }
        let kind = go::uprobe_events().map_err(io::Error::other)?;
        let program = sys::load_program(sys::KPROBE, 0, 0, &NOTHING)?;
        let (mut links, mut events) = (Vec::new(), Vec::new());
        for offset in offsets {
            let event = sys::open_uprobe(kind, file.as_fd(), *offset, None)?;
            links.push(sys::link_perf_event(program.as_fd(), event.as_fd(), 0)?);
            events.push(event);
        }
        Ok(Self { _links: links, _events: events })
    }
}
