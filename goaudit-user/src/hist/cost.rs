//! What probes add to latencies: what the log tells of it, and the latencies of a group by it, so that each call is
//! corrected by what its own probe cost in its own run of the recorder.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::latencies::{Figures, Latencies};
use super::removed::{Removal, TOLD};
use crate::event::control::{Calibration, Probe};

/// Costs that a group keeps apart: each needs a histogram. Beyond it only corrected latencies are kept, which
/// rounds them twice.
const PARTS: usize = 16;

/// What the probes add to the latencies of a group's calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cost {
    /// There are no calls.
    #[default]
    NoCalls,
    /// The log does not tell, at least not for all of them.
    Unknown,
    /// From the least to the most that a call's probe adds, in nanoseconds: the same if all add as much.
    Known {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
}

impl Cost {
    const fn of(ns: Option<u64>) -> Self {
        match ns {
            Some(ns) => Self::Known { least: ns, most: ns },
            None => Self::Unknown,
        }
    }

    /// Of the calls of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NoCalls, cost) | (cost, Self::NoCalls) => cost,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Known { least: a, most: b }, Self::Known { least: c, most: d }) => {
                Self::Known { least: a.min(c), most: b.max(d) }
            }
        }
    }

    /// What every call's probe adds, if that is the same.
    pub const fn same(self) -> Option<u64> {
        match self {
            Self::Known { least, most } if least == most => Some(least),
            Self::Known { .. } | Self::NoCalls | Self::Unknown => None,
        }
    }

    /// From the least to the most, if they differ.
    pub const fn range(self) -> Option<(u64, u64)> {
        match self {
            Self::Known { least, most } if least < most => Some((least, most)),
            Self::Known { .. } | Self::NoCalls | Self::Unknown => None,
        }
    }

    /// Why it is not known.
    pub const fn why_unknown(self) -> Option<&'static str> {
        match self {
            Self::Known { .. } => None,
            Self::NoCalls => Some("no call has a latency"),
            Self::Unknown => Some("what was read of the log tells no measured cost of this probe"),
        }
    }
}

/// What the log tells of the probes of one run of the recorder.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) calibration: Option<Calibration>,
    /// By probe: whether its entry is single-stepped; none if that differs from program to program.
    stepped: BTreeMap<String, Option<bool>>,
    /// The first removals, and how many there were.
    pub(super) removals: Vec<Removal>,
    pub(super) removed: u64,
}

impl Run {
    /// What a probe adds between the two times of a call: of the hit at the entry what comes after its time was
    /// taken, and of the hit at the return what comes before. That is one hit, of the entry's class: the single
    /// step of a return comes behind its time.
    pub(super) fn cost(&self, probe: &str) -> Option<u64> {
        let costs = self.calibration?;
        let stepped = (*self.stepped.get(probe)?)?;
        Some(if stepped { costs.stepped_ns } else { costs.emulated_ns })
    }

    pub(super) fn probe(&mut self, probe: &Probe) {
        if let Some(removal) = Removal::of(probe) {
            self.removed = self.removed.saturating_add(1);
            if self.removals.len() < TOLD {
                self.removals.push(removal);
            }
        }
        let Some(stepped) = probe.entry_stepped else { return };
        let same = self.stepped.get(&probe.program).is_none_or(|known| *known == Some(stepped));
        self.stepped.insert(probe.program.clone(), same.then_some(stepped));
    }
}

/// What a call's probe adds, as far as the log has told when the call is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paid {
    /// Nanoseconds.
    Ns(u64),
    /// The log may tell later: of which probe, in which run (an index into the sources of the histograms).
    Later(usize),
}

impl Paid {
    fn ns(self, told: impl Fn(usize) -> Option<u64>) -> Option<u64> {
        match self {
            Self::Ns(ns) => Some(ns),
            Self::Later(source) => told(source),
        }
    }
}

/// Latencies by what the probes added.
#[derive(Debug, Clone, Default)]
pub struct Costed {
    parts: Vec<(Paid, Latencies)>,
    /// Parts there were too many of.
    folded: Option<Box<Folded>>,
}

#[derive(Debug, Clone, Default)]
struct Folded {
    raw: Latencies,
    /// The same without the cost, of those whose cost is known.
    corrected: Latencies,
    cost: Cost,
}

impl Folded {
    fn add(&mut self, latencies: &Latencies, cost: Option<u64>) {
        self.raw.add(latencies);
        if let Some(ns) = cost {
            self.corrected.add(&latencies.less(ns));
        }
        self.cost = self.cost.and(Cost::of(cost));
    }
}

impl Costed {
    /// Adds one; `told` says what the log tells by now of a source.
    pub(super) fn record(&mut self, ns: u64, paid: Paid, told: impl Fn(usize) -> Option<u64>) {
        if let (Some(folded), Paid::Ns(cost)) = (&mut self.folded, paid) {
            folded.raw.record(ns);
            folded.corrected.record(ns.saturating_sub(cost));
            folded.cost = folded.cost.and(Cost::of(Some(cost)));
            return;
        }
        if let Some((_, part)) = self.parts.iter_mut().find(|part| part.0 == paid) {
            part.record(ns);
            return;
        }
        if self.parts.len() >= PARTS {
            let folded = self.folded.get_or_insert_default();
            for (paid, part) in self.parts.drain(..) {
                folded.add(&part, paid.ns(&told));
            }
        }
        let mut part = Latencies::default();
        part.record(ns);
        self.parts.push((paid, part));
    }

    fn raw_parts(&self) -> impl Iterator<Item = &Latencies> {
        self.folded.iter().map(|folded| &folded.raw).chain(self.parts.iter().map(|part| &part.1))
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.raw_parts().fold(0, |sum, part| sum.saturating_add(part.count()))
    }

    /// How many were longer than [`super::latencies::MAX_NS`].
    pub fn clamped(&self) -> u64 {
        self.raw_parts().fold(0, |sum, part| sum.saturating_add(part.clamped()))
    }

    /// All as measured.
    pub fn raw(&self) -> Cow<'_, Latencies> {
        let mut parts = self.raw_parts();
        let mut all = parts.next().map_or_else(Cow::default, Cow::Borrowed);
        for part in parts {
            all.to_mut().add(part);
        }
        all
    }

    /// What the probes added.
    pub(super) fn cost(&self, told: impl Fn(usize) -> Option<u64>) -> Cost {
        let folded = self.folded.as_ref().map_or_else(Cost::default, |folded| folded.cost);
        self.parts.iter().fold(folded, |cost, (paid, _)| cost.and(Cost::of(paid.ns(&told))))
    }

    /// The figures without what the probes added, if that is known of all calls.
    pub(super) fn corrected(&self, told: impl Fn(usize) -> Option<u64>) -> Option<Figures> {
        match self.cost(&told) {
            Cost::NoCalls | Cost::Unknown => None,
            // Nothing is rounded twice.
            Cost::Known { least, most } if least == most => Some(self.raw().figures().less(least)),
            Cost::Known { .. } => {
                let mut all =
                    self.folded.as_ref().map_or_else(Latencies::default, |folded| folded.corrected.clone());
                for (paid, part) in &self.parts {
                    all.add(&part.less(paid.ns(&told)?));
                }
                Some(all.figures())
            }
        }
    }
}
