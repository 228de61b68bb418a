//! The law that no record disappears: for random streams with random losses, damage, delays, repeats and
//! filters, `seen = stored + lost + filtered` holds on every CPU to the record, and the checker that sees only
//! the log agrees; and when one event is taken out of the log, it does not.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use goaudit_ebpf::hook::exec::flags as exec_flags;
use goaudit_ebpf::hook::exit::Exit;
use goaudit_ebpf::hook::fork::Fork;
use goaudit_ebpf::hook::go::{Call, Signal, Unwind, flags as go_flags};
use goaudit_ebpf::hook::prctl::{Change, Prctl};
use goaudit_ebpf::hook::ptrace::Ptrace;
use goaudit_ebpf::units::{Goid, Ktime};
use goaudit_ebpf::wire::{Lost, Section};
use goaudit_user::correlate::conservation::{Conservation, Finding, Run};
use goaudit_user::correlate::go::{Ended, GoBook};
use goaudit_user::correlate::host::NoHost;
use goaudit_user::correlate::{Config, Correlator};
use goaudit_user::decode::Record;
use goaudit_user::event::control::{Counters, Loss, NOT_RUN, Start, Stop};
use goaudit_user::event::go::RequestContext;
use goaudit_user::event::{Control, Event, GoPanic, Missing, Payload, Piece, Source};
use goaudit_user::hook::go::Role;
use proptest::prelude::*;

#[path = "support/kernel.rs"]
mod kernel;
use kernel::{Kernel, Who};

const CPUS: u32 = 3;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// An exec with this much argument text, of which the pieces in the mask are lost.
    Exec {
        cpu: u32,
        len: usize,
        lost: u8,
        failed: bool,
        main_lost: bool,
    },
    Fork {
        cpu: u32,
    },
    Exit {
        cpu: u32,
    },
    /// The same prctl again and again.
    Storm {
        cpu: u32,
        count: u8,
    },
    Change {
        cpu: u32,
    },
    Ptrace {
        cpu: u32,
    },
    /// A Go function is entered (or a panic begins, or whatever the probe stands for), returns, or is unwound.
    Go {
        cpu: u32,
        goid: u64,
        depth: u64,
        probe: u32,
        what: GoStep,
    },
    Lose {
        cpu: u32,
        count: u8,
        cause: usize,
    },
    /// A record whose bytes arrive damaged.
    Damage {
        cpu: u32,
        keep: u8,
    },
    /// The reader catches up with this many records.
    Read {
        count: u8,
    },
    /// The last two records of the ring change places, if one CPU made both.
    Swap,
    Flush,
    Heartbeat,
}

#[derive(Debug, Clone, Copy)]
enum GoStep {
    Enter,
    Return,
    Unwind,
    Signal,
}

/// Probe n has role n.
#[derive(Debug)]
struct Book;

const ROLES: [Role; 7] =
    [Role::Call, Role::Panic, Role::Fatal, Role::Throw, Role::Goexit, Role::Recovery, Role::Write];

impl GoBook for Book {
    fn role(&self, probe: u32) -> Option<Role> {
        ROLES.get(probe as usize).copied()
    }

    fn payload(&self, ended: Ended<'_>) -> Option<(Payload, Vec<Missing>)> {
        // A call at this depth is a part of another one.
        (ended.call.depth != 3).then(|| (Payload::GoCall(Box::new(ended.call)), Vec::new()))
    }

    fn request(&self, _: u32, site: u64, _: &[u8]) -> Option<RequestContext> {
        site.is_multiple_of(3).then(RequestContext::default)
    }

    fn panic(&self, _: u32, _: u64, _: &[u8], _: &[u64], _: &mut GoPanic) -> Vec<Missing> {
        Vec::new()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let cpu = 0..CPUS;
    prop_oneof![
        (cpu.clone(), 0usize..200, any::<u8>(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(cpu, len, lost, failed, main_lost)| Step::Exec {
                cpu,
                len,
                lost: lost & (lost >> 1),
                failed,
                main_lost
            }
        ),
        cpu.clone().prop_map(|cpu| Step::Fork { cpu }),
        cpu.clone().prop_map(|cpu| Step::Exit { cpu }),
        (cpu.clone(), 1u8..30).prop_map(|(cpu, count)| Step::Storm { cpu, count }),
        cpu.clone().prop_map(|cpu| Step::Change { cpu }),
        cpu.clone().prop_map(|cpu| Step::Ptrace { cpu }),
        (
            (cpu.clone(), 0u64..3, 1u64..5),
            // Mostly calls; probe 6 is one that nobody knows.
            prop_oneof![4 => Just(0u32), 1 => 0u32..8],
            prop::sample::select(vec![
                GoStep::Enter,
                GoStep::Enter,
                GoStep::Return,
                GoStep::Return,
                GoStep::Unwind,
                GoStep::Signal,
            ]),
        )
            .prop_map(|((cpu, goid, depth), probe, what)| Step::Go { cpu, goid, depth, probe, what }),
        (cpu.clone(), 1u8..9, 0usize..4).prop_map(|(cpu, count, cause)| Step::Lose { cpu, count, cause }),
        (cpu, 0u8..120).prop_map(|(cpu, keep)| Step::Damage { cpu, keep }),
        (0u8..40).prop_map(|count| Step::Read { count }),
        Just(Step::Swap),
        Just(Step::Flush),
        Just(Step::Heartbeat),
    ]
}

fn control(control: Control) -> Event {
    Event {
        ktime: Ktime(0),
        source: None,
        process: None,
        payload: Payload::Control(Box::new(control)),
        missing: Vec::new(),
        sealed: None,
    }
}

/// Plays the steps; gives the log. `drop_every`: the filter leaves out every n-th event.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of step")]
fn play(steps: &[Step], drop_every: usize) -> (Vec<Event>, Kernel, Correlator<NoHost>) {
    let mut kernel = Kernel::new(CPUS as usize);
    let mut correlator = Correlator::new(Config::default(), NoHost);
    correlator.know_go(Arc::new(Book));
    let mut ring: std::collections::VecDeque<(u32, Vec<u8>)> = std::collections::VecDeque::new();
    let mut log = vec![control(Control::Start(Start::default()))];
    let mut fresh = Vec::new();
    let mut number = 0usize;
    let mut store = |fresh: &mut Vec<Event>, log: &mut Vec<Event>, correlator: &mut Correlator<NoHost>| {
        for event in fresh.drain(..) {
            number += 1;
            if event.source.is_some() && number.is_multiple_of(drop_every) {
                correlator.filtered(&event);
            } else {
                log.push(event);
            }
        }
    };
    for step in steps {
        let who = Who::new(100, "storm");
        let mut send = |cpu: u32, record: Record<'_>| ring.push_back((cpu, Kernel::bytes(&record)));
        match step.clone() {
            Step::Exec { cpu, len, lost, failed, main_lost } => {
                let args = vec![b'a'; len];
                let sections = [
                    (if failed { Section::UserArgs } else { Section::ArgsEnv }, &args[..]),
                    (Section::Cwd, b"d\0"),
                ];
                let before = kernel.states[cpu as usize].seq;
                let records = kernel.exec(cpu, who, 64, &sections, |exec| {
                    exec.header.flags = if failed { exec_flags::FAILED } else { 0 };
                    exec.arg_bytes = len as u32;
                });
                assert_eq!(kernel.states[cpu as usize].seq, before + records.len() as u64);
                let last = records.len() - 1;
                for (at, record) in records.into_iter().enumerate() {
                    if (at == last && main_lost) || (at < last && lost & (1 << (at % 8)) != 0) {
                        kernel.states[cpu as usize].lost[Lost::RingFull as usize] += 1;
                    } else {
                        ring.push_back((cpu, record));
                    }
                }
            }
            Step::Fork { cpu } => {
                send(cpu, Record::Fork(Fork { header: kernel.head(cpu, who), ..Fork::default() }));
            }
            Step::Exit { cpu } => {
                send(cpu, Record::Exit(Exit { header: kernel.head(cpu, who), ..Exit::default() }));
            }
            Step::Storm { cpu, count } => {
                for _ in 0..count {
                    let header = kernel.head(cpu, who);
                    send(cpu, Record::Prctl(Prctl { header, args: [3, 0, 0, 0, 0], ret: 1 }, None));
                }
            }
            Step::Change { cpu } => {
                let header = kernel.head(cpu, who);
                send(cpu, Record::Prctl(Prctl { header, args: [15; 5], ret: 0 }, Some(Change::default())));
            }
            Step::Ptrace { cpu } => {
                send(cpu, Record::Ptrace(Ptrace { header: kernel.head(cpu, who), ..Ptrace::default() }));
            }
            Step::Go { cpu, goid, depth, probe, what } => {
                let mut header = kernel.head(cpu, who);
                header.flags = if goid > 0 { go_flags::GOID } else { 0 };
                let goid = Goid(goid);
                let call = Call { header, probe, goid, g: 7, depth, ..Call::default() };
                send(
                    cpu,
                    match what {
                        GoStep::Enter => Record::GoEnter(call, b""),
                        GoStep::Return => Record::GoReturn(call, b""),
                        GoStep::Unwind => {
                            let up_to = depth + 2;
                            let unwind =
                                Unwind { header, probe, goid, g: 7, above: depth, up_to, reserved: 0 };
                            Record::GoUnwind(unwind)
                        }
                        GoStep::Signal => Record::GoSignal(Signal { header, signal: 5, ..Signal::default() }),
                    },
                );
            }
            Step::Lose { cpu, count, cause } => kernel.lose(cpu, count.into(), Lost::ALL[cause]),
            Step::Damage { cpu, keep } => {
                let header = kernel.head(cpu, who);
                let mut bytes = Kernel::bytes(&Record::Prctl(Prctl { header, args: [4; 5], ret: 0 }, None));
                bytes.truncate(keep.into());
                ring.push_back((cpu, bytes));
            }
            Step::Read { count } => {
                for (_, record) in ring.drain(..usize::from(count).min(ring.len())) {
                    correlator.push(&record, &mut fresh);
                }
            }
            Step::Swap => {
                let len = ring.len();
                if len >= 2 && ring[len - 1].0 == ring[len - 2].0 {
                    ring.swap(len - 1, len - 2);
                }
            }
            Step::Flush => {
                kernel.now += 60_000_000;
                correlator.flush(Ktime(kernel.now), &kernel.states, &mut fresh);
            }
            Step::Heartbeat => {
                store(&mut fresh, &mut log, &mut correlator);
                log.push(control(Control::Heartbeat(correlator.counters())));
            }
        }
        store(&mut fresh, &mut log, &mut correlator);
    }
    for (_, record) in ring {
        correlator.push(&record, &mut fresh);
    }
    correlator.finish(Ktime(kernel.now), &kernel.states, &mut fresh);
    store(&mut fresh, &mut log, &mut correlator);
    log.push(control(Control::Stop(Stop { reason: "test".into(), counters: correlator.counters() })));
    (log, kernel, correlator)
}

fn check(log: &[Event]) -> Vec<Run> {
    let mut checker = Conservation::default();
    for event in log {
        checker.feed(event);
    }
    checker.finish()
}

/// The records behind an event.
fn pieces(event: &Event) -> impl Iterator<Item = Piece> + '_ {
    event.source.iter().flat_map(Source::pieces)
}

/// A log of calls whose records are spread over CPUs, each record of a CPU with its own number.
fn calls(spread: &[Vec<(u32, u64)>]) -> Vec<Event> {
    let mut counters = Counters { seen: vec![0; CPUS as usize], ..Counters::default() };
    let mut log = vec![control(Control::Start(Start::default()))];
    for parts in spread {
        let mut parts = parts.iter().map(|(cpu, records)| {
            let seen = &mut counters.seen[*cpu as usize];
            let first = *seen + 1;
            *seen += records;
            Piece { cpu: *cpu, first, records: *records, lost_before: 0 }
        });
        let Piece { cpu, first, records, lost_before } = parts.next().unwrap();
        let source = Source { cpu, first, records, lost_before, repeats: None, more: parts.collect() };
        log.push(Event {
            source: Some(source),
            payload: Payload::GoCall(Box::default()),
            ..control(Control::Start(Start::default()))
        });
    }
    counters.stored.clone_from(&counters.seen);
    log.push(control(Control::Stop(Stop { reason: "test".into(), counters })));
    log
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn further_records_behind_an_event_count_on_their_own_cpu(
        spread in prop::collection::vec(prop::collection::vec((0..CPUS, 1u64..4), 1..4), 1..20),
        which in any::<prop::sample::Index>(),
    ) {
        let mut log = calls(&spread);
        let runs = check(&log);
        prop_assert!(runs[0].ok(), "{:?}", runs[0].findings);
        let total: u64 = spread.iter().flatten().map(|part| part.1).sum();
        prop_assert_eq!(runs[0].stored, total);

        // One of the further records goes missing: its CPU is named, and no other.
        let with_more: Vec<usize> = (0..spread.len()).filter(|at| spread[*at].len() > 1).collect();
        prop_assume!(!with_more.is_empty());
        let at = *which.get(&with_more);
        let gone = log[at + 1].source.as_mut().unwrap().more.pop().unwrap();
        let found = check(&log).remove(0).findings;
        prop_assert_eq!(found.len(), 1);
        prop_assert!(
            matches!(
                found[0], Finding::Unexplained { cpu, seen, explained, .. }
                if cpu == gone.cpu && seen - explained == gone.records
            ),
            "{:?}", found
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_in_the_books(steps in prop::collection::vec(step(), 0..60), drop_every in 2usize..50) {
        let (log, kernel, correlator) = play(&steps, drop_every);
        let counters = correlator.counters();
        for (cpu, state) in kernel.states.iter().enumerate() {
            let stored: u64 = log.iter().flat_map(pieces).filter(|piece| piece.cpu as usize == cpu)
                .map(|piece| piece.records).sum();
            let lost: u64 = log.iter().filter_map(|event| match &event.payload {
                Payload::Control(control) => match control.as_ref() {
                    Control::Loss(loss) if loss.cpu.is_some_and(|of| of as usize == cpu) => Some(loss.count),
                    _other => None,
                },
                _other => None,
            }).sum();
            prop_assert_eq!(counters.seen.get(cpu).copied().unwrap_or(0), state.seq);
            prop_assert_eq!(stored + lost + counters.filtered.get(cpu).copied().unwrap_or(0), state.seq);
        }
        let runs = check(&log);
        prop_assert_eq!(runs.len(), 1);
        prop_assert!(runs[0].ok(), "{:?}", runs[0].findings);
    }

    #[test]
    fn an_event_that_is_taken_out_is_missed(
        steps in prop::collection::vec(step(), 5..40), which in any::<prop::sample::Index>(),
    ) {
        let (mut log, ..) = play(&steps, usize::MAX);
        let counted: Vec<usize> = log.iter().enumerate().filter(|(_, event)| {
            pieces(event).any(|piece| piece.records > 0)
                || matches!(&event.payload, Payload::Control(control) if matches!(control.as_ref(), Control::Loss(_)))
        }).map(|row| row.0).collect();
        prop_assume!(!counted.is_empty());
        let gone = log.remove(*which.get(&counted));
        let runs = check(&log);
        prop_assert!(
            runs[0].findings.iter().any(|finding| matches!(finding, Finding::Unexplained { .. })),
            "{:?} went unnoticed", gone
        );
    }

    #[test]
    fn random_bytes_never_panic(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30),
    ) {
        let mut correlator = Correlator::new(Config::default(), NoHost);
        let mut out = Vec::new();
        for record in &records {
            correlator.push(record, &mut out);
        }
        correlator.finish(Ktime(0), &[], &mut out);
        prop_assert_eq!(correlator.counters().undecodable + out.len() as u64, records.len() as u64);
    }
}

#[test]
fn a_killed_run_is_not_closed() {
    let (mut log, ..) = play(&[Step::Fork { cpu: 0 }, Step::Read { count: 9 }], usize::MAX);
    log.pop();
    let (second, ..) = play(&[Step::Exit { cpu: 1 }], usize::MAX);
    log.extend(second);
    let runs = check(&log);
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].findings, [Finding::NotClosed]);
    assert!(runs[1].ok());
}

#[test]
fn the_cpu_and_the_range_are_named() {
    let steps = [
        Step::Fork { cpu: 1 },
        Step::Read { count: 9 },
        Step::Heartbeat,
        Step::Exit { cpu: 1 },
        Step::Ptrace { cpu: 1 },
        Step::Read { count: 9 },
    ];
    let (mut log, ..) = play(&steps, usize::MAX);
    let exit = log.iter().position(|event| matches!(event.payload, Payload::Exit(_))).unwrap();
    log.remove(exit);
    let expected = Finding::Unexplained { cpu: 1, range: (2, 3), seen: 3, explained: 2 };
    assert_eq!(check(&log)[0].findings, [expected]);
}

#[test]
fn calls_that_nobody_saw_are_outside_of_the_law_and_checked() {
    let (mut log, ..) = play(&[Step::Fork { cpu: 0 }, Step::Read { count: 9 }], usize::MAX);
    let mut stop = log.pop().unwrap();
    if let Payload::Control(control) = &mut stop.payload
        && let Control::Stop(stop) = control.as_mut()
    {
        stop.counters.not_run = 3;
    }
    let loss = Loss {
        cpu: None,
        cause: NOT_RUN.to_owned(),
        count: 3,
        range: None,
        program: Some("prctl_exit".to_owned()),
    };
    log.push(Event::control(Ktime(9), Control::Loss(loss)));
    log.push(stop);
    let runs = check(&log);
    assert!(runs[0].ok(), "{:?}", runs[0].findings);
    assert_eq!((runs[0].lost, runs[0].not_run), (0, 3));
    log.remove(log.len() - 2);
    let expected = Finding::Losses { cause: NOT_RUN.to_owned(), claimed: 3, told: 0 };
    assert_eq!(check(&log)[0].findings, [expected]);
}

#[test]
fn a_storm_is_one_event() {
    let (log, ..) = play(&[Step::Storm { cpu: 2, count: 29 }, Step::Read { count: 40 }], usize::MAX);
    let storms: Vec<_> = log.iter().filter(|event| matches!(event.payload, Payload::Prctl(_))).collect();
    assert_eq!(storms.len(), 1);
    let source = storms[0].source.as_ref().unwrap();
    assert_eq!((source.first, source.records), (1, 29));
    let repeats = source.repeats.as_ref().unwrap();
    assert_eq!((repeats.count, repeats.last.0 - storms[0].ktime.0), (29, 28_000));
}
