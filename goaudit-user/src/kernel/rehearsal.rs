//! Go probing, tried on goaudit's own code: whether it works here, and what a hit costs.
//!
//! The programs for Go and nothing else are loaded, and attached to functions of this process only, so no other
//! process is touched. What they record nobody reads.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use thiserror::Error;

use super::calibrate::file_offset;
use super::go::{self, BLANK, GoProbes, Site, Unavailable};
use super::load::Loaded;
use super::{Config, KernelError};
use crate::golang::Costs;

/// Why Go programs cannot be probed here. Reads after "failed to ".
#[derive(Debug, Error)]
pub enum RehearsalError {
    /// No program can be loaded at all.
    #[error("{0}")]
    Kernel(#[source] KernelError),
    /// Those for Go cannot.
    #[error("load the programs for Go: {0}")]
    Programs(Unavailable),
    /// Our own code was not found in our own file.
    #[error("find goaudit's own code: {0}")]
    Own(#[source] io::Error),
    /// The kernel refused a uprobe, or a program on it.
    #[error("attach a program with a cookie to a uprobe: {0}")]
    Attach(#[source] io::Error),
    /// It was attached and was not run.
    #[error("see calls through an attached uprobe: {calls} were made and {seen} seen")]
    Silent {
        /// Calls made.
        calls: u64,
        /// Calls seen.
        seen: u64,
    },
}

impl RehearsalError {
    /// What to do about it.
    pub const fn fix(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "see above",
            Self::Programs(_) => {
                "a kernel from 5.15 on (attach cookies) with CONFIG_UPROBE_EVENTS=y, and /sys mounted"
            }
            Self::Own(_) => "/proc must be mounted",
            Self::Attach(_) => {
                "run as root, or give the binary CAP_SYS_ADMIN: kernels with the fix of CVE-2025-38466 (2025) ask for \
                 it, older ones for CAP_PERFMON; and a kernel from 5.15 on"
            }
            Self::Silent { .. } => "please report this with the kernel's version",
        }
    }
}

/// Calls of the trial.
const CALLS: u64 = 3;

/// Code to try it on: a function with an address of its own.
#[inline(never)]
extern "C" fn tried(number: u64) -> u64 {
    std::hint::black_box(number).wrapping_mul(3)
}

/// What was found where it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// What a hit costs; `None` where it cannot be measured (not on x86-64).
    pub costs: Option<Costs>,
    /// How sites are attached, and why not better.
    pub mechanism: String,
}

/// Tries it.
pub fn rehearse() -> Result<Rehearsed, RehearsalError> {
    let config = Config { ring_bytes: 64 << 10, only_hooks: Some(Vec::new()), go: true, ..Config::default() };
    let programs = Loaded::load(&config).map_err(RehearsalError::Kernel)?.idle();
    let mut probes = go::available().and_then(|()| programs.load()).map_err(RehearsalError::Programs)?;
    try_one(&mut probes)?;
    Ok(Rehearsed { costs: probes.site_costs(), mechanism: probes.mechanism() })
}

fn try_one(probes: &mut GoProbes) -> Result<(), RehearsalError> {
    let added = probes.add(BLANK, &[], &[]).map_err(RehearsalError::Kernel)?;
    let index = added.ok_or_else(|| RehearsalError::Programs("the table of probes is full".to_owned()))?;
    let own = File::open("/proc/self/exe").map_err(RehearsalError::Own)?;
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(RehearsalError::Own)?;
    let function: extern "C" fn(u64) -> u64 = tried;
    let offset = file_offset(&maps, function as usize as u64)
        .ok_or_else(|| RehearsalError::Own(io::Error::other("it is in no mapped file")))?;
    let link = probes
        .attach(Site::Enter, index, own.as_fd(), &[offset], Some(std::process::id()))
        .map_err(RehearsalError::Attach)?;
    for call in 0..CALLS {
        std::hint::black_box(std::hint::black_box(function)(call));
    }
    drop(link);
    let health = probes.health(index).map_err(RehearsalError::Kernel)?;
    // goaudit's own process may be out of scope; the program ran all the same.
    let seen = health.entries.wrapping_add(health.out_of_scope);
    if seen < CALLS { Err(RehearsalError::Silent { calls: CALLS, seen }) } else { Ok(()) }
}
