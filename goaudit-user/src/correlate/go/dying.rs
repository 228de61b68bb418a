//! Threads that are dying: a fatal panic waits for what the runtime writes about it to standard error.
//!
//! What is written comes in small pieces, each with its place in the whole, so that a lost one is noticed. The event is
//! told when the process ends, or when nothing more has come for a while.

use std::collections::HashMap;

use goaudit_ebpf::hook::go::WRITTEN;
use goaudit_ebpf::units::Ktime;

use super::Panicking;
use crate::event::{Missing, Piece};
use crate::hook::go::{WRITE_MAX, cells};

/// Bytes of the runtime's report that are kept: the stacks of about forty thousand goroutines. With the pieces below it
/// fits into an event of the log (16 MiB, docs/audit-format.md).
const TEXT_MAX: usize = 8 << 20;
/// Bytes of all reports that are kept at a time: processes may die together.
const TEXTS_MAX: usize = 32 << 20;
/// Stretches of records that one report is put together from; each stands in the event, some 20 bytes.
const PIECES_MAX: usize = 1 << 16;
/// How long nothing must have come before the event is told all the same: a process that dumps core, or hangs.
const SILENCE_NS: u64 = 1_000_000_000;

/// A thread: process and thread id.
type Thread = (u32, u32);

/// What became of a piece of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Its record belongs to the event.
    Kept,
    /// The report is as long as it may be.
    Full,
    /// The thread is not known to be dying.
    Unknown,
}

/// A fatal panic and what came of its report.
#[derive(Debug)]
struct Dying {
    panicking: Panicking,
    text: Vec<u8>,
    /// Bytes that are known to have been written.
    written: u64,
    /// Bytes that came and were not kept.
    over: u64,
    /// Bytes behind those that are taken of one write.
    behind: u64,
    last: Ktime,
}

/// The threads that are dying.
#[derive(Debug, Default)]
pub(super) struct DyingThreads {
    threads: HashMap<Thread, Dying>,
    /// Bytes of all texts.
    kept: usize,
}

impl DyingThreads {
    /// A thread begins to die. If it did already, the panic that it was dying of.
    pub(super) fn begin(&mut self, thread: Thread, at: Ktime, panicking: Panicking) -> Option<Panicking> {
        let dying = Dying { panicking, text: Vec::new(), written: 0, over: 0, behind: 0, last: at };
        let earlier = self.threads.insert(thread, dying)?;
        self.kept = self.kept.saturating_sub(earlier.text.len());
        Some(earlier.end())
    }

    /// Takes what a thread wrote.
    pub(super) fn write(&mut self, thread: Thread, at: Ktime, bytes: &[u8], piece: Piece) -> Taken {
        let Some(dying) = self.threads.get_mut(&thread) else { return Taken::Unknown };
        dying.last = at;
        let mut pieces = cells(bytes).flatten();
        let place = pieces.find(|cell| cell.field == WRITTEN).and_then(|cell| {
            let (before, len) = cell.bytes.split_at_checked(8)?;
            let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_ne_bytes);
            Some((number(before)?, number(len)?))
        });
        let (before, len) = place.unwrap_or_default();
        dying.written = dying.written.max(before.saturating_add(len));
        dying.behind = dying.behind.saturating_add(len.saturating_sub(WRITE_MAX));
        let room = TEXT_MAX.saturating_sub(dying.text.len()).min(TEXTS_MAX.saturating_sub(self.kept));
        // Once something was left out nothing may follow: it would not belong there.
        let full = dying.over > 0 || dying.panicking.source.more.len() >= PIECES_MAX;
        let mut room = if full { 0 } else { room };
        let had = dying.text.len();
        for cell in pieces {
            let (kept, over) = cell.bytes.split_at(room.min(cell.bytes.len()));
            dying.text.extend(kept);
            room -= kept.len();
            dying.over = dying.over.saturating_add(length(over));
        }
        let more = dying.text.len() - had;
        self.kept = self.kept.saturating_add(more);
        if more == 0 && dying.over > 0 {
            return Taken::Full;
        }
        join(&mut dying.panicking.source.more, piece);
        Taken::Kept
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
        let taken = self.threads.extract_if(|thread, dying| which(*thread, dying.last));
        let mut freed = 0;
        let mut ended: Vec<Panicking> = taken
            .map(|(_, dying)| {
                freed += dying.text.len();
                dying.end()
            })
            .collect();
        self.kept = self.kept.saturating_sub(freed);
        ended.sort_unstable_by_key(|panicking| panicking.ktime);
        ended
    }
}

impl Dying {
    fn end(self) -> Panicking {
        let Self { mut panicking, text, written, over, behind, .. } = self;
        let cut = written.saturating_sub(length(&text));
        if text.is_empty() && cut == 0 {
            panicking.missing.push(Missing::new(
                "go_panic.traceback",
                "the runtime was not seen to write any (the probe of its write is not attached, or the process was killed first)",
            ));
            return panicking;
        }
        if cut > 0 {
            panicking.missing.push(Missing::new("go_panic.traceback", reason(cut, over, behind)));
        }
        panicking.panic.traceback_lost_bytes = cut;
        panicking.panic.traceback = (!text.is_empty()).then(|| text.as_slice().into());
        panicking
    }
}

/// Why so many bytes of a report are not there: those over what is kept, those behind what is taken of one write, and
/// the rest.
fn reason(cut: u64, over: u64, behind: u64) -> String {
    let lost = cut.saturating_sub(over).saturating_sub(behind);
    let parts = [
        (over, format!("over what is kept ({} MiB of one, {} of all)", TEXT_MAX >> 20, TEXTS_MAX >> 20)),
        (behind, format!("behind the first {WRITE_MAX} of one write")),
        (lost, "lost on the way".to_owned()),
    ];
    let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
    let told: Vec<String> = parts.map(|(bytes, what)| format!("{bytes} {what}")).collect();
    format!("{cut} bytes of it are not there: {}", told.join(", "))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests;
