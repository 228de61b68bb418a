//! Conservation of records: for every CPU, `seen = stored + lost + filtered`, to the record.
//!
//! The kernel side numbers records per CPU before any point where one can be lost, so a gap is a loss and
//! nothing else is. The kernel's own counters say only how many were lost by which cause; the two are joined
//! here. Gaps stay open until the next but one settlement: a program that was preempted between taking its
//! number and writing may come a little late.

use goaudit_ebpf::units::Ktime;
use goaudit_ebpf::wire::{CpuState, LOST_CAUSES, Lost};

use crate::event::control::{Counters, Loss};

/// A gap is settled when it is older than this: a program may be preempted between taking its number and
/// writing its record.
const OPEN_NS: u64 = 50_000_000;

/// Cause of a loss whose records could not be decoded.
pub const DECODE: &str = "decode";
/// Cause: pieces of a value whose main record never came.
pub const ORPHAN: &str = "orphan";
/// Cause: the kernel's counters do not explain the gap.
pub const UNKNOWN: &str = "unknown";

/// Name of a kernel-side cause.
pub const fn cause(lost: Lost) -> &'static str {
    match lost {
        Lost::RingFull => "ring_full",
        Lost::Yielded => "yielded",
        Lost::Reentered => "reentered",
        Lost::MapFull => "map_full",
    }
}

/// Missing sequence numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    first: u64,
    last: u64,
}

impl Gap {
    const fn count(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// How a record fits into its CPU's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, after this many lost ones.
    Next {
        /// Records missing right before it.
        lost_before: u64,
    },
    /// It fills an open gap.
    Late,
    /// It was already told as lost, or came twice: it must not be counted again.
    Overdue,
}

/// What an arrival means for the event that the record goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Records lost right before it.
    pub lost_before: u64,
    /// 1, or 0 for a record that had been told as lost: it is stored and not counted again.
    pub records: u64,
}

impl From<Arrival> for Fit {
    fn from(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Next { lost_before } => Self { lost_before, records: 1 },
            Arrival::Late => Self { lost_before: 0, records: 1 },
            Arrival::Overdue => Self { lost_before: 0, records: 0 },
        }
    }
}

/// The books of one CPU.
#[derive(Debug, Clone, Default)]
struct Cpu {
    /// Highest number that arrived.
    last: u64,
    stored: u64,
    filtered: u64,
    lost: u64,
    /// Gaps since the last settlement, then those of the one before.
    gaps: [Vec<Gap>; 2],
    /// Kernel losses already told, by cause.
    told: [u64; LOST_CAUSES],
}

/// The books of all CPUs.
#[derive(Debug, Default)]
pub struct Sequences {
    cpus: Vec<Cpu>,
    /// Undecodable records whose gap has not been settled.
    undecodable_open: u64,
    undecodable: u64,
    lost: Vec<(&'static str, u64)>,
    unexplained_kernel_loss: u64,
    settled: Ktime,
}

impl Sequences {
    fn cpu(&mut self, cpu: u32) -> Option<&mut Cpu> {
        let at = usize::try_from(cpu).ok().filter(|_| cpu < crate::decode::MAX_CPUS)?;
        if self.cpus.len() <= at {
            self.cpus.resize_with(at.saturating_add(1), Cpu::default);
        }
        self.cpus.get_mut(at)
    }

    /// A record of `cpu` arrived.
    pub fn arrive(&mut self, cpu: u32, seq: u64) -> Arrival {
        let Some(books) = self.cpu(cpu) else { return Arrival::Overdue };
        if seq > books.last {
            let lost_before = seq.saturating_sub(books.last).saturating_sub(1);
            if lost_before > 0 {
                books.gaps[0].push(Gap { first: books.last.saturating_add(1), last: seq.saturating_sub(1) });
            }
            books.last = seq;
            return Arrival::Next { lost_before };
        }
        for gaps in &mut books.gaps {
            if let Some(at) = gaps.iter().position(|gap| (gap.first..=gap.last).contains(&seq)) {
                let gap = gaps.swap_remove(at);
                let below = Gap { first: gap.first, last: seq.wrapping_sub(1) };
                let above = Gap { first: seq.saturating_add(1), last: gap.last };
                gaps.extend([below, above].into_iter().filter(|part| part.first <= part.last));
                return Arrival::Late;
            }
        }
        Arrival::Overdue
    }

    /// The number that the next record of `cpu` has if nothing was lost.
    pub fn next(&self, cpu: u32) -> u64 {
        let books = usize::try_from(cpu).ok().and_then(|at| self.cpus.get(at));
        books.map_or(1, |books| books.last.saturating_add(1))
    }

    /// The next record of `cpu` arrived and belongs to a run: nothing but the number moves.
    pub fn step(&mut self, cpu: u32) {
        if let Some(books) = self.cpu(cpu) {
            books.last = books.last.saturating_add(1);
        }
    }

    /// `records` of `cpu` went into an event.
    pub fn stored(&mut self, cpu: u32, records: u64) {
        if let Some(books) = self.cpu(cpu) {
            books.stored = books.stored.saturating_add(records);
        }
    }

    /// An event that stood for `records` of `cpu` was left out by a filter.
    pub fn filtered(&mut self, cpu: u32, records: u64) {
        if let Some(books) = self.cpu(cpu) {
            let records = records.min(books.stored);
            books.stored = books.stored.saturating_sub(records);
            books.filtered = books.filtered.saturating_add(records);
        }
    }

    /// A record could not be decoded; its number shows up as a gap.
    pub const fn undecodable(&mut self) {
        self.undecodable = self.undecodable.saturating_add(1);
        self.undecodable_open = self.undecodable_open.saturating_add(1);
    }

    /// Pieces of `cpu` that arrived and will not be stored.
    pub fn orphaned(&mut self, cpu: u32, records: u64, range: (u64, u64), out: &mut Vec<Loss>) {
        self.lose(cpu, ORPHAN, records, Some(range), out);
    }

    /// Tells the losses of gaps that are no longer open, by cause. `kernel` is the map `CPU_STATE`, one entry
    /// a CPU, read after the records; an empty slice when it could not be read.
    pub fn settle(&mut self, now: Ktime, kernel: &[CpuState], out: &mut Vec<Loss>) {
        if now.since(self.settled).0 < OPEN_NS {
            return;
        }
        self.settled = now;
        for at in 0..self.cpus.len() {
            let Some(books) = self.cpus.get_mut(at) else { continue };
            let due = std::mem::take(&mut books.gaps[1]);
            books.gaps.swap(0, 1);
            if !due.is_empty() {
                self.attribute(at, &due, kernel.get(at), out);
            }
        }
    }

    /// The end of a run: nothing more will come. Every number up to the kernel's last one is told.
    pub fn close(&mut self, kernel: &[CpuState], out: &mut Vec<Loss>) {
        if let Some(last) = kernel.len().checked_sub(1).and_then(|last| u32::try_from(last).ok()) {
            let _ = self.cpu(last);
        }
        for at in 0..self.cpus.len() {
            let Some(books) = self.cpus.get_mut(at) else { continue };
            let mut due = std::mem::take(&mut books.gaps[1]);
            due.append(&mut books.gaps[0]);
            if let Some(state) = kernel.get(at)
                && state.seq > books.last
            {
                due.push(Gap { first: books.last.saturating_add(1), last: state.seq });
                books.last = state.seq;
            }
            self.attribute(at, &due, kernel.get(at), out);
            if let (Some(state), Some(books)) = (kernel.get(at), self.cpus.get(at)) {
                let counted = state.lost.iter().fold(0, |sum: u64, lost| sum.saturating_add(*lost));
                let told = books.told.iter().fold(0, |sum: u64, lost| sum.saturating_add(*lost));
                self.unexplained_kernel_loss =
                    self.unexplained_kernel_loss.saturating_add(counted.saturating_sub(told));
            }
        }
    }

    /// Splits gaps of one CPU over the causes that its kernel counters still owe an explanation for.
    fn attribute(&mut self, at: usize, gaps: &[Gap], kernel: Option<&CpuState>, out: &mut Vec<Loss>) {
        let Ok(cpu) = u32::try_from(at) else { return };
        let mut left = gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(gap.count()));
        let first = gaps.iter().map(|gap| gap.first).min();
        let last = gaps.iter().map(|gap| gap.last).max();
        let range = first.zip(last);
        for known in Lost::ALL {
            let index = known as usize;
            let counted = kernel.and_then(|state| state.lost.get(index)).copied().unwrap_or(0);
            let Some(told) = self.cpus.get_mut(at).and_then(|books| books.told.get_mut(index)) else {
                continue;
            };
            let count = counted.saturating_sub(*told).min(left);
            *told = told.saturating_add(count);
            left = left.saturating_sub(count);
            self.lose(cpu, cause(known), count, range, out);
        }
        let undecodable = self.undecodable_open.min(left);
        self.undecodable_open = self.undecodable_open.saturating_sub(undecodable);
        self.lose(cpu, DECODE, undecodable, range, out);
        self.lose(cpu, UNKNOWN, left.saturating_sub(undecodable), range, out);
    }

    fn lose(
        &mut self,
        cpu: u32,
        cause: &'static str,
        count: u64,
        range: Option<(u64, u64)>,
        out: &mut Vec<Loss>,
    ) {
        if count == 0 {
            return;
        }
        if let Some(books) = self.cpu(cpu) {
            books.lost = books.lost.saturating_add(count);
        }
        match self.lost.iter_mut().find(|row| row.0 == cause) {
            Some(row) => row.1 = row.1.saturating_add(count),
            None => self.lost.push((cause, count)),
        }
        out.push(Loss { cpu: Some(cpu), cause: cause.into(), count, range, program: None });
    }

    /// The books as a control event tells them.
    pub fn counters(&self, oddities: Vec<(String, u64)>) -> Counters {
        let column = |of: fn(&Cpu) -> u64| self.cpus.iter().map(of).collect::<Vec<_>>();
        Counters {
            seen: column(|cpu| cpu.stored.saturating_add(cpu.lost).saturating_add(cpu.filtered)),
            stored: column(|cpu| cpu.stored),
            lost: self.lost.iter().map(|(cause, count)| ((*cause).to_owned(), *count)).collect(),
            filtered: column(|cpu| cpu.filtered),
            undecodable: self.undecodable,
            not_run: 0,
            oddities,
        }
    }

    /// Losses that the kernel counted and no gap showed: zero, or the kernel side miscounts.
    pub const fn unexplained_kernel_loss(&self) -> u64 {
        self.unexplained_kernel_loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle_twice(books: &mut Sequences, kernel: &[CpuState]) -> Vec<Loss> {
        let mut out = Vec::new();
        let from = books.settled.0;
        for step in 1..=2 {
            books.settle(Ktime(from + step * OPEN_NS), kernel, &mut out);
            books.settle(Ktime(from + step * OPEN_NS + 1), kernel, &mut out);
        }
        out
    }

    #[test]
    fn a_gap_is_told_once_by_cause() {
        let mut books = Sequences::default();
        assert_eq!(books.arrive(0, 1), Arrival::Next { lost_before: 0 });
        assert_eq!(books.arrive(0, 5), Arrival::Next { lost_before: 3 });
        let kernel = [CpuState { seq: 5, lost: [2, 0, 1, 0], ..CpuState::default() }];
        let losses = settle_twice(&mut books, &kernel);
        let told: Vec<_> = losses.iter().map(|loss| (loss.cause.as_str(), loss.count, loss.range)).collect();
        assert_eq!(told, [("ring_full", 2, Some((2, 4))), ("reentered", 1, Some((2, 4)))]);
        assert!(settle_twice(&mut books, &kernel).is_empty());
    }

    #[test]
    fn a_late_record_fills_its_gap() {
        let mut books = Sequences::default();
        books.arrive(0, 1);
        books.arrive(0, 4);
        assert_eq!(books.arrive(0, 3), Arrival::Late);
        let losses = settle_twice(&mut books, &[]);
        assert_eq!(losses.len(), 1);
        assert!(
            losses.iter().all(|loss| loss.count == 1 && loss.cause == UNKNOWN && loss.range == Some((2, 2)))
        );
        assert_eq!(books.arrive(0, 2), Arrival::Overdue, "told as lost already");
        assert_eq!(books.arrive(0, 4), Arrival::Overdue, "came twice");
    }

    #[test]
    fn the_end_tells_what_never_came() {
        let mut books = Sequences::default();
        books.arrive(0, 1);
        books.stored(0, 1);
        books.undecodable();
        let kernel = [
            CpuState { seq: 3, lost: [1, 0, 0, 0], ..CpuState::default() },
            CpuState { seq: 2, lost: [2, 0, 0, 0], ..CpuState::default() },
        ];
        let mut out = Vec::new();
        books.close(&kernel, &mut out);
        let told: Vec<_> = out.iter().map(|loss| (loss.cpu, loss.cause.as_str(), loss.count)).collect();
        assert_eq!(told, [(Some(0), "ring_full", 1), (Some(0), "decode", 1), (Some(1), "ring_full", 2)]);
        assert_eq!(books.counters(Vec::new()).seen, [3, 2]);
        assert_eq!(books.unexplained_kernel_loss(), 0);
    }
}
