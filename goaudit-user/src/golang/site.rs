//! Where to probe a function: one entry site and every return site, or the reason why not.
//!
//! A site is only ever the first byte of an instruction, proved by decoding the whole function: a breakpoint in
//! the middle of an instruction would crash the target. The entry site lies behind the stack check, because
//! `runtime.morestack` runs a function again from its first instruction (a probe there would count such a call
//! twice), and because the instructions there are emulated by the kernel instead of single-stepped.
//! No return is probed by replacing the return address (uretprobe): Go's stack walk would find it and crash.

mod amd64;
mod arm64;

use serde::Serialize;
use thiserror::Error;

use super::image::Arch;

/// More ways out than this is refused: each costs a breakpoint, and no real decision function has so many.
pub const MAX_RETURNS: usize = 64;
/// Larger functions are tables or generated parsers; decoding them is not worth the time.
const MAX_CODE: u64 = 1 << 20;

/// How the kernel executes a probed instruction. What a class costs differs by host (see `Costs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The kernel does what the instruction does, in the breakpoint's own trap.
    /// amd64: jumps and calls since 3.16, `push` since 5.0. arm64: branches, since uprobes exist there (4.10).
    Emulated,
    /// The instruction runs out of line and traps a second time.
    Stepped,
}

/// What a hit costs on a host, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Costs {
    /// Nanoseconds of a hit at an emulated instruction.
    pub emulated_ns: u64,
    /// Nanoseconds of a hit at a single-stepped instruction.
    pub stepped_ns: u64,
    /// Nanoseconds of making a record at a hit, without its values.
    pub record_ns: u64,
    /// Nanoseconds of reading one value, a short string behind a pointer.
    pub value_ns: u64,
}

impl Costs {
    /// Nanoseconds that a call of a function pays: its entry and one return. Values come on top.
    pub const fn per_call(self, entry: Class, exit: Class) -> u64 {
        self.of(entry, 0).saturating_add(self.of(exit, 0))
    }

    /// Nanoseconds of a hit at an instruction of a class, where so many values are read.
    pub const fn of(self, class: Class, values: u64) -> u64 {
        let trap = match class {
            Class::Emulated => self.emulated_ns,
            Class::Stepped => self.stepped_ns,
        };
        trap.saturating_add(self.record_ns).saturating_add(self.value_ns.saturating_mul(values))
    }
}

/// Where calls are seen to begin. All argument registers are intact there, and the stack pointer is that of the
/// function's first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Address in the file.
    pub address: u64,
    /// How the kernel executes it.
    pub class: Class,
    /// The site is the conditional jump to `morestack` itself: a hit with the jump taken (amd64: CF or ZF set;
    /// arm64: C clear or Z set) is no call, the function will be entered again.
    pub ignore_when_taken: bool,
}

/// All sites of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sites {
    /// The entry site.
    pub entry: Entry,
    /// Addresses of every return instruction, ascending; 1 to `MAX_RETURNS`.
    pub returns: Vec<u64>,
    /// How the kernel executes a return.
    pub return_class: Class,
}

/// Why a function is not probed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The decoder does not know an instruction.
    #[error("the instruction at {0:#x} cannot be decoded, so no place in the function is proven safe")]
    Undecodable(u64),
    /// A jump into the middle of an instruction: the decoding is not what runs.
    #[error("a jump leads to {0:#x}, inside of an instruction, so no place in the function is proven safe")]
    Misaligned(u64),
    /// Leaves by a jump into another function, whose return is not this function's.
    #[error(
        "it ends in a jump to {to:#x} (at {from:#x}), so its end cannot be seen: probe the function that it jumps to"
    )]
    TailJump {
        /// Address of the jump.
        from: u64,
        /// Where it goes.
        to: u64,
    },
    /// A jump through a register that is no switch table.
    #[error(
        "the jump at {0:#x} goes to a computed place, so its end cannot be seen: probe the function that it calls"
    )]
    ComputedJump(u64),
    /// No return instruction.
    #[error("it never returns (no return instruction): there is no latency to measure")]
    NeverReturns,
    /// More than `MAX_RETURNS`.
    #[error("it has {0} return instructions, more than 64: probe a caller or a callee")]
    TooManyReturns(usize),
    /// A loop runs over the entry site.
    #[error("a loop goes through its first instruction, so calls cannot be told from rounds: probe a caller")]
    EntryInLoop,
    /// The only instruction is a return.
    #[error("its first instruction is a return: there is nothing to measure")]
    Empty,
    /// Arguments are on the stack and the goroutine is not in its register.
    #[error("it uses Go's old calling convention (ABI0): its goroutine cannot be told")]
    Abi0,
    /// Larger than `MAX_CODE`.
    #[error("its code has {0} bytes, more than 1 MiB")]
    TooLarge(u64),
    /// The bytes are not in the file.
    #[error("its code is not in the file: the file is cut off or was changed after linking")]
    NoCode,
}

/// A function's code and what the decoder asks of the program around it.
pub(crate) struct Code<'a> {
    /// The bytes, padding included.
    pub(crate) bytes: &'a [u8],
    /// Address of the first.
    pub(crate) address: u64,
    /// Whether an address is the first instruction of one of the runtime's `morestack` functions.
    pub(crate) is_morestack: &'a dyn Fn(u64) -> bool,
    /// Reads a pointer of the program's data (switch tables).
    pub(crate) pointer: &'a dyn Fn(u64) -> Option<u64>,
}

impl Code<'_> {
    fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < self.bytes.len() as u64)
    }

    /// The targets of a switch table: as many pointers as lead into this function. `left` is how many its switches may
    /// still have; empty when there are more.
    fn switch_targets(&self, table: u64, left: &mut usize) -> Vec<u64> {
        let entries = (0_u64..).map_while(|index| {
            let target = (self.pointer)(table.checked_add(index.checked_mul(8)?)?)?;
            self.contains(target).then_some(target)
        });
        let targets: Vec<u64> = entries.take(*left).collect();
        *left = left.saturating_sub(targets.len());
        if *left == 0 { Vec::new() } else { targets }
    }

    /// Cases that all switches of a function may have: a hostile one could have very many, all with the same table. The
    /// compiler makes a table only if it is not mostly gaps.
    const fn most_cases(&self) -> usize {
        self.bytes.len().saturating_mul(16)
    }
}

/// Finds where a function is entered; for functions that are not to be seen returning.
pub(crate) fn find_entry(arch: Arch, code: &Code<'_>) -> Result<Entry, Refusal> {
    find_all(arch, code).map(|sites| sites.entry)
}

fn find_all(arch: Arch, code: &Code<'_>) -> Result<Sites, Refusal> {
    if code.bytes.len() as u64 > MAX_CODE {
        return Err(Refusal::TooLarge(code.bytes.len() as u64));
    }
    match arch {
        Arch::Amd64 => amd64::find(code),
        Arch::Arm64 => arm64::find(code),
    }
}

/// Finds the sites of a function.
pub(crate) fn find(arch: Arch, code: &Code<'_>) -> Result<Sites, Refusal> {
    let sites = find_all(arch, code)?;
    match sites.returns.len() {
        0 => Err(Refusal::NeverReturns),
        count if count > MAX_RETURNS => Err(Refusal::TooManyReturns(count)),
        _ if sites.returns.contains(&sites.entry.address) => Err(Refusal::Empty),
        _ => Ok(sites),
    }
}
