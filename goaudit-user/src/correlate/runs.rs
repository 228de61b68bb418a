//! Identical prctl records in a row become one event: a storm of millions a second costs one comparison each.
//!
//! Two records are identical when only their number and their time differ: same thread, arguments, result and
//! name. A run ends with the first record that is neither its next nor the start of a run on another CPU, or
//! by age; so the order of events stays the order of records, and the log says exactly how many calls there
//! were and when the last one was. No allocation, no decoding.

use goaudit_ebpf::hook::prctl::Prctl;
use goaudit_ebpf::units::Ktime;
use goaudit_ebpf::wire::{Header, Kind};

use super::sequence::Fit;

/// Length of the only record that repeats: a prctl without a change.
pub const LEN: usize = size_of::<Prctl>();
/// Bytes of `header.seq` and `header.ktime`, which differ between identical calls.
const VARYING: std::ops::Range<usize> =
    std::mem::offset_of!(Header, seq)..std::mem::offset_of!(Header, start);
const _: () =
    assert!(VARYING.end - VARYING.start == 16 && VARYING.end == std::mem::offset_of!(Header, ktime) + 8);

/// A run of identical records.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    bytes: [u8; LEN],
    /// The first record.
    pub first: Prctl,
    /// How the first record fits into its CPU's sequence.
    pub fit: Fit,
    /// How many records.
    pub count: u64,
    /// When the last one was.
    pub last: Ktime,
    next_seq: u64,
}

/// The runs that are not over, at most one a CPU.
#[derive(Debug, Default)]
pub struct Runs {
    cpus: Vec<Option<Run>>,
    open: usize,
}

fn number(bytes: &[u8; LEN], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_ne_bytes(*eight))
}

/// Whether two records differ at most in number and time.
fn identical(a: &[u8; LEN], b: &[u8; LEN]) -> bool {
    a.get(..VARYING.start) == b.get(..VARYING.start) && a.get(VARYING.end..) == b.get(VARYING.end..)
}

impl Runs {
    /// Takes a record that continues the run of its CPU: gives the CPU. `max_age` bounds a run in time.
    #[inline]
    pub fn extend(&mut self, record: &[u8], max_age: u64) -> Option<u32> {
        let record: &[u8; LEN] = record.try_into().ok()?;
        let cpu = record.get(std::mem::offset_of!(Header, cpu)..)?.first_chunk()?;
        let cpu = u32::from_ne_bytes(*cpu);
        let run = self.cpus.get_mut(usize::try_from(cpu).ok()?)?.as_mut()?;
        let ktime = number(record, VARYING.start.saturating_add(8));
        if number(record, VARYING.start) != run.next_seq
            || !identical(record, &run.bytes)
            || ktime.saturating_sub(run.first.header.ktime.0) > max_age
        {
            return None;
        }
        run.next_seq = run.next_seq.wrapping_add(1);
        run.count = run.count.saturating_add(1);
        run.last = run.last.max(Ktime(ktime));
        Some(cpu)
    }

    /// Whether a run could begin on that CPU without ending another one.
    pub fn free(&self, cpu: u32) -> bool {
        usize::try_from(cpu).ok().and_then(|at| self.cpus.get(at)).is_none_or(Option::is_none)
    }

    /// Begins a run with a record that decoded as a prctl without change.
    pub fn begin(&mut self, record: &[u8], first: Prctl, fit: Fit) -> bool {
        let (Ok(bytes), Ok(at)) = (record.try_into(), usize::try_from(first.header.cpu)) else {
            return false;
        };
        if first.header.kind != Kind::Prctl as u16 {
            return false;
        }
        if self.cpus.len() <= at {
            self.cpus.resize_with(at.saturating_add(1), || None);
        }
        let Some(place) = self.cpus.get_mut(at).filter(|place| place.is_none()) else { return false };
        let (last, next_seq) = (first.header.ktime, first.header.seq.wrapping_add(1));
        *place = Some(Run { bytes, first, fit, count: 1, last, next_seq });
        self.open = self.open.saturating_add(1);
        true
    }

    /// Ends the runs whose first record is not younger than `before`, oldest first.
    pub fn end(&mut self, before: Ktime, mut each: impl FnMut(&Run)) {
        if self.open == 0 {
            return;
        }
        while let Some(at) = (0..self.cpus.len())
            .filter(|at| self.begun(*at).is_some_and(|begun| begun <= before))
            .min_by_key(|at| self.begun(*at))
        {
            if let Some(run) = self.cpus.get_mut(at).and_then(Option::take) {
                self.open = self.open.saturating_sub(1);
                each(&run);
            }
        }
    }

    fn begun(&self, at: usize) -> Option<Ktime> {
        self.cpus.get(at)?.as_ref().map(|run| run.first.header.ktime)
    }
}
