//! The conservation law checked from a log alone: for every CPU of every run,
//! `seen = stored + lost + filtered`.
//!
//! Fed with all events of a log in order. Stored is counted from the events themselves, lost from the loss
//! events; the other two numbers are what the recorder's heartbeats and its stop event claim. An event or a
//! loss that somebody took out, or that the recorder forgot, leaves a difference that is named by CPU and by
//! range of sequence numbers. Calls whose program the kernel skipped have no sequence number: they stand outside of
//! the law, but their loss events must add up to the counter, too. So do the calls behind probes that were taken away:
//! of them it is only known from when on nobody saw them.

use crate::event::control::{Counters, NOT_RUN};
use crate::event::{Control, Event, Payload};

/// What is wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Records of a CPU are not accounted for, or too many are.
    Unexplained {
        /// CPU.
        cpu: u32,
        /// Sequence numbers between which the difference arose: from the last point where the books agreed.
        range: (u64, u64),
        /// Records that the counters claim.
        seen: u64,
        /// Records that the log's events explain.
        explained: u64,
    },
    /// The loss events of a cause do not add up to the counter.
    Losses {
        /// Cause.
        cause: String,
        /// What the counters claim.
        claimed: u64,
        /// What the loss events add up to.
        told: u64,
    },
    /// There is no stop event: the run was cut off (killed, power loss) or is still going on. What came after
    /// the last heartbeat cannot be checked.
    NotClosed,
    /// Kernel records before any start event: the beginning of the log is gone.
    NoStart,
}

/// The verdict on one run of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// Kernel records behind the stored events.
    pub stored: u64,
    /// Records told as lost.
    pub lost: u64,
    /// Records left out by a filter.
    pub filtered: u64,
    /// Calls that nobody saw: the kernel skipped a program.
    pub not_run: u64,
    /// Times that probes were taken away: calls after that were seen by nobody.
    pub taken_away: u64,
    /// Losses by cause, [`NOT_RUN`] included.
    pub causes: Vec<(String, u64)>,
    /// What is wrong; empty when the books are closed and agree.
    pub findings: Vec<Finding>,
}

impl Run {
    /// Whether the books are closed and agree.
    pub const fn ok(&self) -> bool {
        self.findings.is_empty()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    stored: u64,
    lost: u64,
    /// Sequence number up to which the books agreed.
    agreed: u64,
    /// Records behind events that were pruned.
    before: u64,
}

#[derive(Debug, Default)]
struct Open {
    run: Run,
    cpus: Vec<Cpu>,
    /// The run's first events were pruned: its first books tell what they came to.
    cut: bool,
    /// Losses by cause that were told in them.
    before: Vec<(String, u64)>,
}

impl Open {
    fn cpu(&mut self, cpu: u32) -> Option<&mut Cpu> {
        let at = usize::try_from(cpu).ok().filter(|_| cpu < crate::decode::MAX_CPUS)?;
        if self.cpus.len() <= at {
            self.cpus.resize_with(at.saturating_add(1), Cpu::default);
        }
        self.cpus.get_mut(at)
    }

    fn compare(&mut self, counters: &Counters) {
        let cpus = self.cpus.len().max(counters.seen.len());
        let cut = std::mem::take(&mut self.cut);
        for at in 0..cpus {
            let Ok(cpu) = u32::try_from(at) else { break };
            let of = |column: &[u64]| column.get(at).copied().unwrap_or(0);
            let (seen, filtered) = (of(&counters.seen), of(&counters.filtered));
            let Some(books) = self.cpu(cpu) else { break };
            let explained = books.stored.saturating_add(books.lost).saturating_add(filtered);
            if cut {
                books.before = seen.saturating_sub(explained);
            }
            let explained = explained.saturating_add(books.before);
            if seen == explained {
                books.agreed = seen;
                continue;
            }
            let range = (books.agreed.saturating_add(1), seen.max(books.agreed));
            let known = self
                .run
                .findings
                .iter()
                .any(|old| matches!(old, Finding::Unexplained { cpu: old, .. } if *old == cpu));
            if !known {
                self.run.findings.push(Finding::Unexplained { cpu, range, seen, explained });
            }
        }
        self.run.filtered = counters.filtered.iter().fold(0, |sum, count| sum.saturating_add(*count));
        let not_run = (NOT_RUN.to_owned(), counters.not_run);
        for (cause, claimed) in counters.lost.iter().chain([&not_run]) {
            let count =
                |rows: &[(String, u64)]| rows.iter().find(|row| row.0 == *cause).map_or(0, |row| row.1);
            let told = count(&self.run.causes);
            if cut && *claimed > told {
                self.before.push((cause.clone(), claimed - told));
            }
            let told = told.saturating_add(count(&self.before));
            let known = self
                .run
                .findings
                .iter()
                .any(|old| matches!(old, Finding::Losses { cause: old, .. } if old == cause));
            if told != *claimed && !known {
                self.run.findings.push(Finding::Losses { cause: cause.clone(), claimed: *claimed, told });
            }
        }
    }
}

/// The checker: see the module.
#[derive(Debug, Default)]
pub struct Conservation {
    open: Option<Open>,
    runs: Vec<Run>,
}

impl Conservation {
    /// The log's first events were pruned: what comes first may be the middle of a run.
    pub fn begin_in_middle(&mut self) {
        self.open = Some(Open { cut: true, ..Open::default() });
    }

    /// Takes the next event of the log.
    pub fn feed(&mut self, event: &Event) {
        if let Some(source) = &event.source {
            let open = self.current();
            for piece in source.pieces() {
                open.run.stored = open.run.stored.saturating_add(piece.records);
                if let Some(books) = open.cpu(piece.cpu) {
                    books.stored = books.stored.saturating_add(piece.records);
                }
            }
        }
        let Payload::Control(control) = &event.payload else { return };
        match control.as_ref() {
            Control::Start(_) => {
                self.end_open();
                self.open = Some(Open::default());
            }
            Control::Heartbeat(counters) => self.current().compare(counters),
            Control::Stop(stop) => {
                let mut open = std::mem::take(self.current());
                self.open = None;
                open.compare(&stop.counters);
                self.runs.push(open.run);
            }
            Control::Loss(loss) => {
                let open = self.current();
                let seen = loss.cause != NOT_RUN;
                let sum = if seen { &mut open.run.lost } else { &mut open.run.not_run };
                *sum = sum.saturating_add(loss.count);
                match open.run.causes.iter_mut().find(|row| row.0 == loss.cause) {
                    Some(row) => row.1 = row.1.saturating_add(loss.count),
                    None => open.run.causes.push((loss.cause.clone(), loss.count)),
                }
                if let Some(books) = loss.cpu.filter(|_| seen).and_then(|cpu| open.cpu(cpu)) {
                    books.lost = books.lost.saturating_add(loss.count);
                }
            }
            Control::Probe(probe) if probe.is_removal() => {
                let taken_away = &mut self.current().run.taken_away;
                *taken_away = taken_away.saturating_add(1);
            }
            Control::Genesis(_)
            | Control::ClockStep(_)
            | Control::Calibration(_)
            | Control::Policy(_)
            | Control::Read(_)
            | Control::Probe(_)
            | Control::Snapshot(_)
            | Control::Segment(_) => {}
        }
    }

    /// The verdicts, run by run, in the order of the log.
    pub fn finish(mut self) -> Vec<Run> {
        self.end_open();
        self.runs
    }

    fn current(&mut self) -> &mut Open {
        self.open.get_or_insert_with(|| Open {
            run: Run { findings: vec![Finding::NoStart], ..Run::default() },
            ..Open::default()
        })
    }

    fn end_open(&mut self) {
        // Of a run that was pruned to its end nothing is claimed.
        if let Some(mut open) = self.open.take().filter(|open| !open.cut || open.run.stored > 0) {
            open.run.findings.push(Finding::NotClosed);
            self.runs.push(open.run);
        }
    }
}
