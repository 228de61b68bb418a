//! Calls, panics and ends of goroutines: how they are paired, and what is told where something was not seen.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use goaudit_ebpf::units::{Goid, Tid};

use super::*;
use crate::correlate::Config;
use crate::correlate::host::NoHost;
use crate::event::Exit;

/// Probes by number: a panic's beginning, its fatal end, `runtime.Goexit`, and calls.
#[derive(Debug)]
struct Roles;

impl GoBook for Roles {
    fn role(&self, probe: u32) -> Option<Role> {
        [Role::Panic, Role::Fatal, Role::Goexit].get(probe as usize).copied().or(Some(Role::Call))
    }

    fn payload(&self, ended: Ended<'_>) -> Option<(Payload, Vec<Missing>)> {
        NoBook.payload(ended)
    }

    fn request(&self, _: u32, _: u64, _: &[u8]) -> Option<RequestContext> {
        None
    }

    fn panic(&self, _: u32, _: u64, _: &[u8], _: &[u64], _: &mut GoPanic) -> Vec<Missing> {
        Vec::new()
    }
}

const PANIC: u32 = 0;
const FATAL: u32 = 1;
const GOEXIT: u32 = 2;
const CALL: u32 = 3;

fn correlator() -> Correlator<NoHost> {
    let mut correlator = Correlator::new(Config::default(), NoHost);
    correlator.know_go(Arc::new(Roles));
    correlator
}

/// A hit of a probe by goroutine `goid`, whose number is believed or not.
fn hit(probe: u32, goid: u64, believed: bool) -> Call {
    let flags = if believed { flags::GOID | flags::STACK } else { 0 };
    let header = Header { flags, tgid: goaudit_ebpf::units::Tgid(7), tid: Tid(7), ..Header::default() };
    Call { header, probe, goid: Goid(goid), depth: 8, ..Call::default() }
}

const FIT: Fit = Fit { records: 1, lost_before: 0 };

/// The panics among events, and why their end is not certain.
fn panics(out: &[Event]) -> Vec<(bool, Option<&str>)> {
    let panics = out.iter().filter_map(|event| {
        let Payload::GoPanic(panic) = &event.payload else { return None };
        Some((panic.fatal, reason(event, "go_panic.fatal")))
    });
    panics.collect()
}

fn reason<'a>(event: &'a Event, field: &str) -> Option<&'a str> {
    let missing = event.missing.iter().find(|missing| missing.field == field);
    missing.map(|missing| missing.reason.as_ref())
}

#[test]
fn how_a_process_ended_tells_whether_its_panic_was_fatal() {
    let exit = |code, signal| Gone::exited(&Exit { code, signal, core_dumped: false, lifetime_ns: None });
    let ends = [
        (exit(Some(0), None), false, "status 0"),
        (exit(Some(2), None), true, "status 2"),
        (exit(None, Some(6)), true, "signal 6"),
        (Gone::Executed, false, "another program"),
        (Gone::Open, false, "recording ended"),
    ];
    for (gone, fatal, why) in ends {
        let (mut correlator, mut out) = (correlator(), Vec::new());
        correlator.go_enter(&hit(PANIC, 5, true), &[], FIT, &mut out);
        correlator.go_gone(7, gone, Some(Ktime(9)), &mut out);
        let told = panics(&out);
        assert_eq!(told.len(), 1);
        assert!(told[0].0 == fatal && told[0].1.is_some_and(|told| told.contains(why)), "{told:?}");
    }
}

#[test]
fn a_panic_that_was_seen_to_be_fatal_is_that_however_the_process_ended() {
    let (mut correlator, mut out) = (correlator(), Vec::new());
    correlator.go_enter(&hit(PANIC, 5, true), &[], FIT, &mut out);
    correlator.go_enter(&hit(FATAL, 5, true), &[], FIT, &mut out);
    correlator.go_gone(7, Gone::Exited { code: Some(3), signal: None }, Some(Ktime(9)), &mut out);
    assert_eq!(panics(&out), [(true, None)]);
}

#[test]
fn a_goroutine_whose_number_is_not_believed_is_told_as_that() {
    let (mut correlator, mut out) = (correlator(), Vec::new());
    for probe in [CALL, PANIC, GOEXIT] {
        correlator.go_enter(&hit(probe, 5, false), &[], FIT, &mut out);
    }
    let kinds = [
        ("go_call", &["goid", "parent_goid", "request"][..]),
        ("go_panic", &["goid", "parent_goid", "request"]),
        ("go_exit", &["goid"]),
    ];
    assert_eq!(out.len(), kinds.len());
    for (event, (kind, fields)) in out.iter().zip(kinds) {
        for field in fields {
            assert_eq!(reason(event, &format!("{kind}.{field}")), Some(UNBELIEVED), "{event:?}");
        }
    }
}

#[test]
fn a_call_is_paired_though_only_its_return_believes_the_number() {
    let (mut correlator, mut out) = (correlator(), Vec::new());
    // What only entries look at was wrong; two goroutines, and a panic of each is recovered.
    let at = |probe, goid, believed| Call { g: 0x1000 * goid, ..hit(probe, goid, believed) };
    for goid in [5, 6] {
        correlator.go_enter(&at(CALL, goid, false), &[], FIT, &mut out);
        correlator.go_enter(&at(PANIC, goid, false), &[], FIT, &mut out);
    }
    for goid in [5, 6] {
        let Call { header, g, .. } = at(CALL, goid, true);
        let unwind = Unwind { header, goid: Goid(goid), g, above: 0, up_to: 7, ..Unwind::default() };
        correlator.go_unwind(&unwind, FIT, &mut out);
        correlator.go_return(&at(CALL, goid, true), &[], FIT, &mut out);
    }
    let outcomes: Vec<Outcome> = out
        .iter()
        .filter_map(|event| {
            let Payload::GoCall(call) = &event.payload else { return None };
            Some(call.outcome)
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Returned, Outcome::Returned]);
    assert!(out.iter().all(|event| reason(event, "go_call.start_ktime_ns").is_none()));
    assert_eq!(panics(&out).iter().filter(|(fatal, _)| *fatal).count(), 0);
    assert_eq!(panics(&out).len(), 2);
    assert_eq!(correlator.go.open, 0);
}

#[test]
fn null_without_a_reason_means_that_there_is_none() {
    let (mut correlator, mut out) = (correlator(), Vec::new());
    correlator.go_enter(&hit(CALL, 1, true), &[], FIT, &mut out);
    correlator.go_return(&hit(CALL, 1, true), &[], FIT, &mut out);
    let told = out.pop().unwrap();
    let goroutine = |missing: &&Missing| missing.field.starts_with("go_call.");
    assert!(matches!(&told.payload, Payload::GoCall(call) if call.goid == Some(1)), "{told:?}");
    assert_eq!(told.missing.iter().find(goroutine), None, "the first goroutine has no parent");
    // A return alone does not tell.
    correlator.go_return(&hit(CALL, 1, true), &[], FIT, &mut out);
    for field in ["start_ktime_ns", "parent_goid", "request"] {
        assert_eq!(reason(&out[0], &format!("go_call.{field}")), Some(ENTRY_UNSEEN));
    }
}

#[test]
fn a_panic_of_which_only_the_end_was_seen_has_reasons() {
    let (mut correlator, mut out) = (correlator(), Vec::new());
    let unwind = Unwind { header: hit(PANIC, 5, true).header, goid: Goid(5), ..Unwind::default() };
    correlator.go_unwind(&unwind, FIT, &mut out);
    for field in OF_ITS_BEGINNING {
        assert_eq!(reason(&out[0], field), Some(BEGINNING_UNSEEN), "{field}");
    }
    assert_eq!(reason(&out[0], "go_panic.goid"), None);
}
