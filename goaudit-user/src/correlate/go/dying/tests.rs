//! What dying threads write: put together, bounded, and what is not there is told.

use goaudit_ebpf::hook::go::Cell;
use zerocopy::IntoBytes;

use super::*;
use crate::event::go::GoPanic;
use crate::event::{Process, Source};

const THREAD: Thread = (7, 8);

fn panicking() -> Panicking {
    let source = Source { cpu: 0, first: 1, records: 1, lost_before: 0, repeats: None, more: Vec::new() };
    Panicking {
        depth: 0,
        ktime: Ktime(1),
        source,
        process: Process::default(),
        missing: Vec::new(),
        panic: GoPanic::default(),
    }
}

/// The cells of one write of `len` bytes behind `before` others, of which `taken` were taken.
fn write(before: u64, len: u64, taken: usize) -> Vec<u8> {
    let head = |field, len: u32| Cell { field, len, total: u64::from(len), ..Cell::default() };
    let mut bytes = head(WRITTEN, 16).as_bytes().to_vec();
    bytes.extend([before.to_ne_bytes(), len.to_ne_bytes()].concat());
    bytes.extend(head(0, u32::try_from(taken).unwrap_or_default()).as_bytes());
    bytes.resize(bytes.len() + taken.next_multiple_of(8), b'x');
    bytes
}

/// Record number `n` of one CPU.
const fn piece(n: u64) -> Piece {
    Piece { cpu: 0, first: n, records: 1, lost_before: 0 }
}

fn only(ended: Vec<Panicking>) -> Panicking {
    let Ok([panicking]) = <[Panicking; 1]>::try_from(ended) else { unreachable!("one thread was dying") };
    panicking
}

fn reasons(panicking: &Panicking) -> Vec<&str> {
    let of = |missing: &&Missing| missing.field == "go_panic.traceback";
    panicking.missing.iter().filter(of).map(|missing| missing.reason.as_ref()).collect()
}

#[test]
fn a_report_of_thousands_of_goroutines_is_whole() {
    let mut dying = DyingThreads::default();
    dying.begin(THREAD, Ktime(1), panicking());
    // 2000 goroutines write this much.
    for n in 0..900 {
        let taken = dying.write(THREAD, Ktime(2), &write(n * 500, 500, 500), piece(n));
        assert_eq!(taken, Taken::Kept);
    }
    let told = only(dying.of_process(7));
    assert_eq!(told.panic.traceback.as_ref().map(|text| text.as_bytes().len()), Some(450_000));
    assert_eq!((told.panic.traceback_lost_bytes, reasons(&told)), (0, Vec::new()));
    assert_eq!(told.source.more.len(), 1, "records that follow each other are one stretch");
    assert_eq!(dying.kept, 0);
}

#[test]
fn what_is_cut_is_told_with_its_reason() {
    let mut dying = DyingThreads::default();
    dying.begin(THREAD, Ktime(1), panicking());
    assert_eq!(dying.write(THREAD, Ktime(2), &write(0, 3000, 2048), piece(2)), Taken::Kept);
    // A write of 100 bytes between these two did not come.
    assert_eq!(dying.write(THREAD, Ktime(3), &write(3100, 40, 40), piece(4)), Taken::Kept);
    let told = only(dying.all());
    assert_eq!(told.panic.traceback_lost_bytes, 952 + 100);
    let reason =
        "1052 bytes of it are not there: 952 behind the first 2048 of one write, 100 lost on the way";
    assert_eq!(reasons(&told), [reason]);
}

#[test]
fn one_report_and_all_reports_are_bounded() {
    let mut dying = DyingThreads::default();
    let each = TEXT_MAX as u64;
    let (whole, threads) = (write(0, each, TEXT_MAX), TEXTS_MAX / TEXT_MAX);
    for tid in 0..=u32::try_from(threads).unwrap_or_default() {
        let thread = (7, tid);
        dying.begin(thread, Ktime(u64::from(tid)), panicking());
        let first = dying.write(thread, Ktime(2), &whole, piece(1));
        // The last one finds no room any more.
        let full = usize::try_from(tid).is_ok_and(|tid| tid == threads);
        assert_eq!(first, if full { Taken::Full } else { Taken::Kept });
        assert_eq!(dying.write(thread, Ktime(2), &write(each, 10, 10), piece(2)), Taken::Full);
        assert_eq!(dying.kept, TEXTS_MAX.min((tid as usize + 1) * TEXT_MAX));
    }
    let told = dying.silent(Ktime(u64::MAX));
    let lost: Vec<u64> = told.iter().map(|told| told.panic.traceback_lost_bytes).collect();
    // What is taken of one write is less, so most of these bytes count as both: the sum is what was written.
    assert_eq!(lost.iter().sum::<u64>(), 10 * 5 + each, "{lost:?}");
    assert!(told.iter().all(|told| reasons(told).len() == 1));
    assert_eq!(dying.kept, 0);
}

#[test]
fn the_records_behind_one_report_are_bounded() {
    let mut dying = DyingThreads::default();
    dying.begin(THREAD, Ktime(1), panicking());
    let most = PIECES_MAX as u64;
    for n in 0..most {
        // Every other number is another event's.
        assert_eq!(dying.write(THREAD, Ktime(2), &write(n, 1, 1), piece(2 * n)), Taken::Kept);
    }
    assert_eq!(dying.write(THREAD, Ktime(2), &write(most, 5, 5), piece(2 * most)), Taken::Full);
    let told = only(dying.of_process(7));
    assert_eq!((told.source.more.len(), told.panic.traceback_lost_bytes), (PIECES_MAX, 5));
    let of_another = dying.write(THREAD, Ktime(3), &write(0, 1, 1), piece(1));
    assert_eq!(of_another, Taken::Unknown, "it has been told");
}

#[test]
fn a_report_that_nobody_saw_has_a_reason() {
    let mut dying = DyingThreads::default();
    dying.begin(THREAD, Ktime(1), panicking());
    let told = only(dying.all());
    assert_eq!(told.panic.traceback, None);
    assert!(reasons(&told).iter().any(|reason| reason.contains("not seen to write")));
}
