//! Where a program keeps how many goroutines it has and how large its heap is.
//!
//! The runtime has these as global variables, whose names go when a program is stripped. Their addresses stay in the
//! code of functions that every program has; which functions, and what their instructions look like, is the same from
//! Go 1.17 to 1.27 (runtime/proc.go: `allgadd`, `newproc1`, `gfget`, `retake`; runtime/mgc.go: `gcTrigger.test`).
//! What is not found exactly so is not known. amd64 only.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::image::Arch;
use super::offsets::RuntimeOffsets;
use super::{Function, Program};

/// Addresses in the file of what the runtime counts; the reason where one is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// What `runtime.NumGoroutine` counts.
    pub goroutines: Result<Goroutines, &'static str>,
    /// `gcController.heapLive`, 8 bytes: what the last collection left and what was allocated since.
    pub heap_live: Result<u64, &'static str>,
}

/// The number of goroutines is `all` less everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goroutines {
    /// `allglen`, 8 bytes: goroutines that were ever at the same time; their memory is used again.
    pub all: u64,
    /// `sched.ngsys`, 4 bytes: the runtime's own.
    pub system: u64,
    /// 4 bytes each: those that have ended and wait in the scheduler's lists.
    pub free: Vec<u64>,
    /// `allp`, a slice of pointers: the processors, which have such lists, too.
    pub processors: u64,
    /// Offset in each processor of the number of those in its list, 4 bytes.
    pub processor_free: u32,
}

const OTHER_ARCH: &str = "where the runtime keeps it is known on amd64 only";
const NOT_FOUND: &str =
    "the runtime's code does not tell where it keeps it: an unknown Go version, or built otherwise";
/// How far before an instruction the one may be that loads its address.
const NEAR: usize = 8;
/// Members of a processor that are looked for lie behind its larger ones.
const FAR_MEMBER: u64 = 0x100;

impl Program<'_> {
    /// Finds them.
    pub fn figures(&self, offsets: &RuntimeOffsets) -> Figures {
        if self.image().arch() != Arch::Amd64 {
            return Figures { goroutines: Err(OTHER_ARCH), heap_live: Err(OTHER_ARCH) };
        }
        let names: [&[u8]; 5] = [
            b"runtime.allgadd",
            b"runtime.newproc1",
            b"runtime.gfget",
            b"runtime.retake",
            b"runtime.gcTrigger.test",
        ];
        let mut codes: [Option<Listing>; 5] = Default::default();
        for (function, name) in self.functions() {
            let wanted = names.iter().position(|wanted| *wanted == name);
            if let Some(code) = wanted.and_then(|wanted| codes.get_mut(wanted)) {
                *code = self.listing(&function);
            }
        }
        let [added, started, reused, retaken, triggered] = codes;
        let goroutines = || {
            let (free, processor_free) = reused?.free_lists()?;
            Some(Goroutines {
                all: added?.length()?,
                system: started?.system()?,
                free,
                processors: retaken?.slice()?,
                processor_free,
            })
        };
        let heap_live = || triggered?.heap_live(offsets.heap_live);
        Figures { goroutines: goroutines().ok_or(NOT_FOUND), heap_live: heap_live().ok_or(NOT_FOUND) }
    }

    fn listing(&self, function: &Function) -> Option<Listing> {
        let bytes = self.code(function)?;
        let decoder = Decoder::with_ip(64, bytes, function.entry, DecoderOptions::NONE);
        Some(Listing(decoder.into_iter().take_while(|one| !one.is_invalid()).collect()))
    }
}

/// The instructions of a function.
struct Listing(Vec<Instruction>);

/// Bytes of an instruction's memory operand.
fn width(one: &Instruction) -> usize {
    one.memory_size().size()
}

impl Listing {
    /// The fixed address that the instruction at `index` works on: its own, or one loaded shortly before.
    fn address(&self, index: usize) -> Option<u64> {
        let one = self.0.get(index)?;
        if one.is_ip_rel_memory_operand() {
            return Some(one.ip_rel_memory_address());
        }
        let base = one.memory_base();
        if base == Register::None || one.memory_index() != Register::None {
            return None;
        }
        let before = self.0.get(index.saturating_sub(NEAR)..index)?;
        let load = before
            .iter()
            .rev()
            .find(|before| before.op0_kind() == OpKind::Register && before.op0_register() == base)?;
        let loads = load.mnemonic() == Mnemonic::Lea && load.is_ip_rel_memory_operand();
        loads.then(|| load.ip_rel_memory_address().wrapping_add(one.memory_displacement64()))
    }

    /// Fixed addresses of the instructions of a kind, in order.
    fn addresses(&self, kind: Mnemonic, bytes: usize) -> impl DoubleEndedIterator<Item = u64> {
        let of_kind = move |(_, one): &(usize, &Instruction)| one.mnemonic() == kind && width(one) == bytes;
        self.0.iter().enumerate().filter(of_kind).filter_map(|(index, _)| self.address(index))
    }

    /// `allgadd`: `atomicstorep(&allgptr, ...); atomic.Storeuintptr(&allglen, ...)`.
    fn length(&self) -> Option<u64> {
        self.addresses(Mnemonic::Xchg, 8).next_back()
    }

    /// `newproc1`: `sched.ngsys.Add(1)` is its only atomic addition of 4 bytes.
    fn system(&self) -> Option<u64> {
        let mut all = self.addresses(Mnemonic::Xadd, 4);
        all.next().filter(|_| all.next().is_none())
    }

    /// `gfget`: takes one out of the scheduler's lists, or of the processor's, and counts it off there.
    fn free_lists(&self) -> Option<(Vec<u64>, u32)> {
        let mut free: Vec<u64> = self.addresses(Mnemonic::Dec, 4).collect();
        free.sort_unstable();
        free.dedup();
        let own = |one: &&Instruction| {
            one.mnemonic() == Mnemonic::Dec
                && width(one) == 4
                && !one.is_ip_rel_memory_operand()
                && one.memory_displacement64() > FAR_MEMBER
        };
        let mut own = self.0.iter().filter(own).map(Instruction::memory_displacement64);
        let processor = u32::try_from(own.next()?).ok()?;
        // One list up to Go 1.24, later two.
        ((1..=2).contains(&free.len()) && own.next().is_none()).then_some((free, processor))
    }

    /// `retake`: goes through `allp`, the only slice that it names: pointer and length are read one behind the other.
    fn slice(&self) -> Option<u64> {
        let read = |one: &&Instruction| {
            matches!(one.mnemonic(), Mnemonic::Mov | Mnemonic::Cmp)
                && width(one) == 8
                && one.is_ip_rel_memory_operand()
        };
        let mut read: Vec<u64> = self.0.iter().filter(read).map(Instruction::ip_rel_memory_address).collect();
        read.sort_unstable();
        read.dedup();
        let mut pairs = read.iter().copied().filter(|at| read.contains(&at.wrapping_add(8)));
        pairs.next().filter(|_| pairs.next().is_none())
    }

    /// `gcTrigger.test`: `gcController.trigger()`, then `gcController.heapLive`.
    fn heap_live(&self, offset: u32) -> Option<u64> {
        let calls = self.0.windows(2).filter_map(|pair| {
            let [load, call] = pair else { return None };
            let called = load.mnemonic() == Mnemonic::Lea
                && load.is_ip_rel_memory_operand()
                && call.mnemonic() == Mnemonic::Call;
            called.then(|| load.ip_rel_memory_address().wrapping_add(u64::from(offset)))
        });
        let read: Vec<u64> = self.addresses(Mnemonic::Mov, 8).collect();
        let mut both = calls.filter(|at| read.contains(at));
        both.next().filter(|_| both.next().is_none())
    }
}
