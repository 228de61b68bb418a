//! The kernel side's books: what it saw and lost, per CPU.

use aya::maps::PerCpuArray;
use aya::{Ebpf, Pod};
use goaudit_ebpf::wire::CpuState;

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
    /// Times the kernel skipped a program because another one was under way on that CPU (since 5.12): what
    /// nobody saw. Older kernels do not tell.
    pub not_run: u64,
}

/// Reads the books of each CPU alone: one system call.
pub(super) fn read_per_cpu(ebpf: &Ebpf) -> Result<Vec<CpuState>, aya::maps::MapError> {
    let Some(map) = ebpf.map("CPU_STATE") else { return Ok(Vec::new()) };
    let states: PerCpuArray<_, PodState> = PerCpuArray::try_from(map)?;
    Ok(states.get(&0, 0)?.iter().map(|state| state.0).collect())
}

/// Reads the books: a system call for each program, so not for every wake-up.
pub(super) fn read(ebpf: &Ebpf) -> Result<Counters, aya::maps::MapError> {
    let per_cpu = read_per_cpu(ebpf)?;
    let not_run = ebpf
        .programs()
        .filter_map(|(_, program)| program.fd().ok())
        .filter_map(|fd| sys::recursion_misses(std::os::fd::AsFd::as_fd(fd)))
        .sum();
    Ok(Counters { per_cpu, not_run })
}
