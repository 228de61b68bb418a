//! The kernel side's books: what it saw and lost, per CPU, and what it did not see.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aya::maps::{Array, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use goaudit_ebpf::wire::{CpuState, Relief};

use super::hooks::{PROGRAMS, tells_nothing};
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
    /// Those whose call the program's second copy took over.
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

/// Reads the books of each CPU alone: one system call.
pub(super) fn read_per_cpu(ebpf: &Ebpf) -> Result<Vec<CpuState>, MapError> {
    let Some(map) = ebpf.map("CPU_STATE") else { return Ok(Vec::new()) };
    let states: PerCpuArray<_, PodState> = PerCpuArray::try_from(map)?;
    Ok(states.get(&0, 0)?.iter().map(|state| state.0).collect())
}

/// Reads the books: a system call for each program, so not for every wake-up.
pub(super) fn read(ebpf: &Ebpf) -> Result<Counters, MapError> {
    let per_cpu = read_per_cpu(ebpf)?;
    let mut skips = BTreeMap::new();
    for program in PROGRAMS.iter().filter(|program| program.relief_of.is_none()) {
        let loaded = ebpf.program(program.name).and_then(|loaded| loaded.fd().ok());
        // Skips first: a call that is taken over in between must not look lost for ever.
        let Some(skipped) = loaded.and_then(|fd| sys::recursion_misses(fd.as_fd())) else { continue };
        let point = PROGRAMS.iter().find(|other| other.relief_of == Some(program.name));
        let relieved = match point.and_then(|other| other.relief) {
            Some(relief) if skipped > 0 => relieved(ebpf, relief)?,
            Some(_) | None => 0,
        };
        skips.insert(program.name, Skips { skipped, relieved, unseen: !tells_nothing(program) });
    }
    Ok(Counters { per_cpu, skips })
}

/// Calls that a second copy took over.
fn relieved(ebpf: &Ebpf, relief: Relief) -> Result<u64, MapError> {
    let Some(map) = ebpf.map("RELIEVED") else { return Ok(0) };
    let counts: Array<_, u64> = Array::try_from(map)?;
    counts.get(&(relief as u32), 0)
}
