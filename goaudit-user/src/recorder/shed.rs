//! Events that reached the agent and not the disk: counted by CPU and cause until the log has been told.

use std::collections::BTreeMap;

use crate::audit::{AuditError, format::lost};
use crate::event::control::{Counters, Loss, NO_SPACE, WRITE_ERROR};
use crate::event::{Event, Payload};

/// Why an event is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The disk is full or low.
    NoSpace,
    /// Writing fails for another reason.
    WriteError,
}

impl Trouble {
    /// The trouble that an error tells of; none if the log cannot go on at all.
    pub(super) fn of(error: &AuditError) -> Option<Self> {
        if error.is_full() { Some(Self::NoSpace) } else { error.is_write().then_some(Self::WriteError) }
    }

    const fn cause(self) -> &'static str {
        match self {
            Self::NoSpace => NO_SPACE,
            Self::WriteError => WRITE_ERROR,
        }
    }

    /// As batch headers name it.
    pub(super) const fn bit(self) -> u32 {
        match self {
            Self::NoSpace => lost::NO_SPACE,
            Self::WriteError => lost::IO,
        }
    }
}

/// Records of one CPU.
#[derive(Debug, Clone, Copy, Default)]
struct Shed {
    total: u64,
    /// So many of them the log has been told of.
    told: u64,
    /// First and last number of those that it has not.
    range: Option<(u64, u64)>,
}

/// The books of what was not stored.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Of events that the agent itself made the CPU is none.
    rows: BTreeMap<(Option<u32>, Trouble), Shed>,
}

impl Books {
    /// Counts an event that is not stored.
    pub(super) fn count(&mut self, event: &Event, trouble: Trouble) {
        let Some(source) = &event.source else {
            self.rows.entry((None, trouble)).or_default().total += 1;
            return;
        };
        for piece in source.pieces().filter(|piece| piece.records > 0) {
            let row = self.rows.entry((Some(piece.cpu), trouble)).or_default();
            row.total = row.total.saturating_add(piece.records);
            let last = piece.first.saturating_add(piece.records - 1);
            let (from, to) = row.range.unwrap_or((piece.first, last));
            row.range = Some((from.min(piece.first), to.max(last)));
        }
    }

    /// Whether there is something that the log has not been told of.
    pub(super) fn is_due(&self) -> bool {
        self.rows.values().any(|row| row.total > row.told)
    }

    /// The loss that the log has not been told of.
    pub(super) fn untold(&self) -> Option<Loss> {
        let ((cpu, trouble), row) = self.rows.iter().find(|(_, row)| row.total > row.told)?;
        Some(Loss {
            cpu: *cpu,
            cause: trouble.cause().to_owned(),
            count: row.total - row.told,
            range: row.range,
            program: None,
        })
    }

    /// The log has been told of that.
    pub(super) fn told(&mut self, loss: &Loss) {
        for ((cpu, trouble), row) in &mut self.rows {
            if *cpu == loss.cpu && trouble.cause() == loss.cause {
                row.told = row.told.saturating_add(loss.count);
                row.range = None;
            }
        }
    }

    /// Moves what was not stored from one column of the reader's books to the other: the reader could not know.
    pub(super) fn settle(&self, counters: &mut Counters) {
        for ((cpu, trouble), row) in &self.rows {
            let stored = cpu.and_then(|cpu| counters.stored.get_mut(usize::try_from(cpu).ok()?));
            if let Some(stored) = stored {
                *stored = stored.saturating_sub(row.total);
            }
            match counters.lost.iter_mut().find(|(cause, _)| cause == trouble.cause()) {
                Some((_, count)) => *count = count.saturating_add(row.total),
                None => counters.lost.push((trouble.cause().to_owned(), row.total)),
            }
        }
    }
}

/// Whether it is about the recorder itself: such events are few, and are written as long as there is any room.
pub(super) fn is_control(event: &Event) -> bool {
    matches!(event.payload, Payload::Control(_))
}
