//! What the public interface cannot reach: events with records of several CPUs, in the correlator's books.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::host::NoHost;
use super::*;
use crate::correlate::conservation::Conservation;
use crate::event::Piece;
use crate::event::control::{Start, Stop};

fn call(correlator: &mut Correlator<NoHost>, out: &mut Vec<Event>) {
    // Entered on CPU 0, its return is number 2 of CPU 2: number 1 was lost.
    let source = Source {
        cpu: 0,
        first: 1,
        records: 1,
        lost_before: 0,
        repeats: None,
        more: vec![Piece { cpu: 2, first: 2, records: 1, lost_before: 1 }],
    };
    assert_eq!(correlator.sequences.arrive(0, 1), Arrival::Next { lost_before: 0 });
    assert_eq!(correlator.sequences.arrive(2, 2), Arrival::Next { lost_before: 1 });
    let payload = Payload::GoCall(Box::default());
    correlator.emit(Ktime(7), source, Process::default(), payload, Vec::new(), out);
}

fn kernel() -> Vec<CpuState> {
    let last = |seq, full| CpuState { seq, lost: [full, 0, 0, 0], ..CpuState::default() };
    vec![last(1, 0), last(0, 0), last(2, 1)]
}

#[test]
fn records_of_every_cpu_behind_an_event_are_stored() {
    let mut correlator = Correlator::new(Config::default(), NoHost);
    let mut out = vec![Event::control(Ktime(0), Control::Start(Start::default()))];
    call(&mut correlator, &mut out);
    correlator.finish(Ktime(9), &kernel(), &mut out);
    let counters = correlator.counters();
    assert_eq!((counters.seen.as_slice(), counters.stored.as_slice()), (&[1, 0, 2][..], &[1, 0, 1][..]));
    out.push(Event::control(Ktime(9), Control::Stop(Stop { reason: String::new(), counters })));
    let mut checker = Conservation::default();
    for event in &out {
        checker.feed(event);
    }
    let runs = checker.finish();
    let run = runs.first().unwrap();
    assert!(run.ok(), "{:?}", run.findings);
    assert_eq!((run.stored, run.lost), (2, 1));
}

#[test]
fn and_filtered_when_it_is_left_out() {
    let mut correlator = Correlator::new(Config::default(), NoHost);
    let mut out = Vec::new();
    call(&mut correlator, &mut out);
    correlator.filtered(out.first().unwrap());
    correlator.finish(Ktime(9), &kernel(), &mut out);
    let counters = correlator.counters();
    assert_eq!(counters.stored, [0, 0, 0]);
    assert_eq!(counters.filtered, [1, 0, 1]);
    assert_eq!(counters.seen, [1, 0, 2]);
}
