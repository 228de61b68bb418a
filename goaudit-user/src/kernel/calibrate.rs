//! What a hit of a probe costs on this host: measured on code of our own, once.
//!
//! The kernel emulates some instructions in the trap itself; any other is executed out of line under a second
//! trap (single step). The two costs differ by an order of magnitude, and more in virtual machines, so they are
//! measured for each, with the program that will hang there, and never assumed. What the program does comes on top:
//! making a record, and reading values.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use goaudit_ebpf::hook::go::{Field, Op, Take};

use super::go::{GoProbes, Site};
use crate::golang::Costs;

/// Longest that one of the two is measured.
const BUDGET: Duration = Duration::from_millis(30);
/// Calls between two looks at the clock.
const ROUND: u32 = 50;

/// Values that are read at a hit to measure what one costs.
pub(super) const VALUES: usize = 4;

/// A value to read at our own code: 16 bytes, found behind two words, as a Go string is.
pub(super) fn value() -> Field {
    let mut field = Field { take: Take::Bytes as u8, max: 16, ..Field::default() };
    // The length is whatever code there is, more than is taken.
    let steps = [Op::Site, Op::LoadPair, Op::Site];
    for (to, op) in field.steps.iter_mut().zip(steps) {
        to.op = op as u8;
    }
    field
}

/// Code to measure on: the first instruction of each is the site.
#[cfg(target_arch = "x86_64")]
mod target {
    pub(super) type Function = extern "C" fn();

    /// `push` is emulated.
    #[unsafe(naked)]
    extern "C" fn emulated() {
        core::arch::naked_asm!("push rbp", "pop rbp", "ret")
    }

    /// `ret` is single-stepped.
    #[unsafe(naked)]
    extern "C" fn stepped() {
        core::arch::naked_asm!("ret")
    }

    pub(super) const FUNCTIONS: [Function; 2] = [emulated, stepped];
}

/// Measures. `blank`: index of a probe whose program leaves at once; `rehearsed`: of two that do all but send, one
/// without values, one that reads [`VALUES`] of them. `None` where it cannot be measured: another architecture, or
/// attaching to our own program is refused.
#[cfg(target_arch = "x86_64")]
pub(super) fn site_costs(probes: &GoProbes, blank: u32, rehearsed: [u32; 2]) -> Option<Costs> {
    let [emulated, stepped] = target::FUNCTIONS;
    let with = |function: target::Function, probe: u32| {
        let (own, offset) = place(function)?;
        let bare = per_call(function);
        let link =
            probes.attach(Site::Enter, probe, own.as_fd(), &[offset], Some(std::process::id())).ok()?;
        let probed = per_call(function);
        drop(link);
        Some(probed.saturating_sub(bare))
    };
    let (emulated_ns, stepped_ns) = (with(emulated, blank)?, with(stepped, blank)?);
    let [record, values] = rehearsed;
    let (record, values) = (with(emulated, record)?, with(emulated, values)?);
    let record_ns = record.saturating_sub(emulated_ns);
    Some(Costs {
        emulated_ns,
        stepped_ns,
        record_ns,
        value_ns: values.saturating_sub(record) / VALUES as u64,
    })
}

/// As on x86-64, where it is known how to.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn site_costs(_: &GoProbes, _: u32, _: [u32; 2]) -> Option<Costs> {
    None
}

/// A function of ours, for trying probes on: its file, where in it the function is, and the function.
#[cfg(target_arch = "x86_64")]
pub(super) fn own_function() -> Option<(File, u64, extern "C" fn())> {
    let [function, _] = target::FUNCTIONS;
    let (file, offset) = place(function)?;
    Some((file, offset, function))
}

/// Our file, and where in it a function of ours is.
#[cfg(target_arch = "x86_64")]
fn place(function: target::Function) -> Option<(File, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    Some((File::open("/proc/self/exe").ok()?, file_offset(&maps, function as usize as u64)?))
}

/// There is none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn own_function() -> Option<(File, u64, extern "C" fn())> {
    None
}

/// Nanoseconds of a call: the least of several rounds, because everything that disturbs makes it longer.
#[cfg(target_arch = "x86_64")]
fn per_call(function: target::Function) -> u64 {
    let begun = Instant::now();
    let mut least = u64::MAX;
    while begun.elapsed() < BUDGET {
        let round = Instant::now();
        for _ in 0..ROUND {
            function();
        }
        least = least.min(u64::try_from(round.elapsed().as_nanos()).unwrap_or(u64::MAX) / u64::from(ROUND));
    }
    least
}

/// Where in our file an address of ours is.
pub(super) fn file_offset(maps: &str, address: u64) -> Option<u64> {
    // 55d0-55e0 r-xp 00001000 08:01 42 /usr/bin/goaudit
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        (start..end).contains(&address).then(|| offset.wrapping_add(address.wrapping_sub(start)))
    })
}
