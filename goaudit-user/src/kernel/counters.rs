//! The kernel side's books: what it saw and lost, per CPU, and what it did not see.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Array, MapData, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use goaudit_ebpf::wire::{CpuState, Relief};

use super::hooks::{PROGRAMS, Program, tells_nothing};
use super::maps::own;
use super::sys;

/// aya copies map values as plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodState(CpuState);

// SAFETY: `CpuState` is integers without padding (its zerocopy derives prove it).
unsafe impl Pod for PodState {}

/// The books at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// By CPU number, possible CPUs included that are not online (all zero).
    pub per_cpu: Vec<CpuState>,
    /// Runs that the kernel skipped, by program.
    pub skips: BTreeMap<&'static str, Skips>,
}

/// Runs of a program that the kernel skipped because it, or another one, was under way on that CPU. Kernels tell it
/// of raw tracepoints since 5.12, of tracepoints since 6.7.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skips {
    /// All of them.
    pub skipped: u64,
    /// Those whose call another copy of the program took over.
    pub relieved: u64,
    /// Whether a call went unseen by each of the others; else only parts of an event are missing, and it says so.
    pub unseen: bool,
}

impl Skips {
    /// Calls that nobody saw.
    pub const fn not_run(&self) -> u64 {
        if self.unseen { self.skipped.saturating_sub(self.relieved) } else { 0 }
    }
}

impl Counters {
    /// Calls that nobody saw.
    pub fn not_run(&self) -> u64 {
        self.skips.values().map(Skips::not_run).fold(0, u64::saturating_add)
    }
}

/// The books as the kernel keeps them.
pub(super) struct Books {
    states: Option<PerCpuArray<MapData, PodState>>,
    relieved: Option<Array<MapData, u64>>,
    /// Those whose skips count, by descriptors of our own.
    programs: Vec<(&'static Program, OwnedFd)>,
}

impl Books {
    /// Those of the loaded programs.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self, MapError> {
        let first = PROGRAMS.iter().filter(|program| program.relief_of.is_none());
        let programs = first.filter_map(|program| {
            let fd = ebpf.program(program.name)?.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
            Some((program, fd))
        });
        Ok(Self {
            states: own(ebpf, "CPU_STATE")?.map(PerCpuArray::try_from).transpose()?,
            relieved: own(ebpf, "RELIEVED")?.map(Array::try_from).transpose()?,
            programs: programs.collect(),
        })
    }

    /// Reads the books of each CPU alone: one system call.
    pub(super) fn read_per_cpu(&self) -> Result<Vec<CpuState>, MapError> {
        let Some(states) = &self.states else { return Ok(Vec::new()) };
        Ok(states.get(&0, 0)?.iter().map(|state| state.0).collect())
    }

    /// Reads the books: a system call for each program, so not for every wake-up.
    pub(super) fn read(&self) -> Result<Counters, MapError> {
        let per_cpu = self.read_per_cpu()?;
        let mut skips = BTreeMap::new();
        for (program, fd) in &self.programs {
            // Skips first: a call that is taken over in between must not look lost for ever.
            let Some(skipped) = sys::recursion_misses(fd.as_fd()) else { continue };
            let point = PROGRAMS.iter().find(|other| other.relief_of == Some(program.name));
            let relieved = match point.and_then(|other| other.relief) {
                Some(relief) if skipped > 0 => self.relieved(relief)?,
                Some(_) | None => 0,
            };
            skips.insert(program.name, Skips { skipped, relieved, unseen: !tells_nothing(program) });
        }
        Ok(Counters { per_cpu, skips })
    }

    /// Calls that other copies took over.
    fn relieved(&self, relief: Relief) -> Result<u64, MapError> {
        self.relieved.as_ref().map_or(Ok(0), |counts| counts.get(&(relief as u32), 0))
    }
}
