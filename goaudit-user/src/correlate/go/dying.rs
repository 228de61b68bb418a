//! Threads that are dying: a fatal panic waits for what the runtime writes about it to standard error.
//!
//! What is written comes in small pieces, each with its place in the whole, so that a lost one is noticed. The event is
//! told when the process ends, or when nothing more has come for a while.

use std::collections::HashMap;

use goaudit_ebpf::hook::go::WRITTEN;
use goaudit_ebpf::units::Ktime;

use super::Panicking;
use crate::event::{Missing, Piece};
use crate::hook::go::cells;

/// Bytes of the runtime's report that are kept: the message, the stack of the goroutine that died, and those of a few
/// hundred others.
const TEXT_MAX: usize = 64 << 10;
/// How long nothing must have come before the event is told all the same: a process that dumps core, or hangs.
const SILENCE_NS: u64 = 1_000_000_000;

/// A thread: process and thread id.
type Thread = (u32, u32);

/// A fatal panic and what came of its report.
#[derive(Debug)]
struct Dying {
    panicking: Panicking,
    text: Vec<u8>,
    /// Bytes that are known to have been written.
    written: u64,
    last: Ktime,
}

/// The threads that are dying.
#[derive(Debug, Default)]
pub(super) struct DyingThreads(HashMap<Thread, Dying>);

impl DyingThreads {
    /// A thread begins to die. If it did already, the panic that it was dying of.
    pub(super) fn begin(&mut self, thread: Thread, at: Ktime, panicking: Panicking) -> Option<Panicking> {
        let dying = Dying { panicking, text: Vec::new(), written: 0, last: at };
        self.0.insert(thread, dying).map(Dying::end)
    }

    /// Takes what a thread wrote; false when it is not known to be dying.
    pub(super) fn write(&mut self, thread: Thread, at: Ktime, bytes: &[u8], piece: Piece) -> bool {
        let Some(dying) = self.0.get_mut(&thread) else { return false };
        dying.last = at;
        let mut pieces = cells(bytes).flatten();
        let place = pieces.find(|cell| cell.field == WRITTEN).and_then(|cell| {
            let (before, len) = cell.bytes.split_at_checked(8)?;
            let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_ne_bytes);
            number(before)?.checked_add(number(len)?)
        });
        dying.written = dying.written.max(place.unwrap_or_default());
        for cell in pieces {
            let room = TEXT_MAX.saturating_sub(dying.text.len());
            dying.text.extend(cell.bytes.iter().take(room));
        }
        join(&mut dying.panicking.source.more, piece);
        true
    }

    /// Those of a process, in the order in which they began to die.
    pub(super) fn of_process(&mut self, tgid: u32) -> Vec<Panicking> {
        self.take(|(of, _), _| of == tgid)
    }

    /// Those of which nothing more has come for a while.
    pub(super) fn silent(&mut self, now: Ktime) -> Vec<Panicking> {
        self.take(|_, last| last.0.saturating_add(SILENCE_NS) < now.0)
    }

    /// All.
    pub(super) fn all(&mut self) -> Vec<Panicking> {
        self.take(|_, _| true)
    }

    fn take(&mut self, which: impl Fn(Thread, Ktime) -> bool) -> Vec<Panicking> {
        let taken = self.0.extract_if(|thread, dying| which(*thread, dying.last));
        let mut ended: Vec<Panicking> = taken.map(|(_, dying)| dying.end()).collect();
        ended.sort_unstable_by_key(|panicking| panicking.ktime);
        ended
    }
}

impl Dying {
    fn end(self) -> Panicking {
        let Self { mut panicking, text, written, .. } = self;
        let kept = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if text.is_empty() {
            panicking.missing.push(Missing::new(
                "go_panic.traceback",
                "the runtime was not seen to write any (the probe of its write is not attached, or the process was killed first)",
            ));
        } else {
            panicking.panic.traceback = Some(text.as_slice().into());
            panicking.panic.traceback_lost_bytes = written.saturating_sub(kept);
        }
        panicking
    }
}

/// Adds a piece to those of an event; pieces that follow each other are one.
fn join(pieces: &mut Vec<Piece>, piece: Piece) {
    if let Some(last) = pieces.last_mut()
        && last.cpu == piece.cpu
        && piece.lost_before == 0
        && piece.records > 0
        && last.records > 0
        && last.first.checked_add(last.records) == Some(piece.first)
    {
        last.records = last.records.saturating_add(piece.records);
        return;
    }
    pieces.push(piece);
}
