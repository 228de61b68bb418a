//! Kernels that preempt programs skip them for other tasks of that CPU: what is missing is what is told, and second
//! copies of the programs leave next to nothing missing. On kernels that do not preempt, nothing is missing.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::collections::BTreeMap;

use std::process::Command;
use std::time::Duration;

use goaudit_ebpf::hook::exec::{self, Exec};
use goaudit_ebpf::hook::fork::Fork;
use goaudit_ebpf::hook::prctl::Prctl;
use goaudit_ebpf::wire::{Header, Kind};
use goaudit_tests::capture::{Capture, case};
use goaudit_tests::compare::{self, at};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_tests::truth::Truth;
use goaudit_user::kernel::{Config, Hook, Session};
use zerocopy::FromBytes;

/// Processes that storm at once: two for each CPU of a guest of the kernel lab.
const PROCESSES: u64 = 4;
/// Calls of each.
const CALLS: u64 = 5000;
/// Calls that others may make meanwhile: the recorder's own threads name themselves by prctl, a guest's init forks.
/// One of theirs that the kernel skipped is told, too, and no workload misses it.
const STRANGERS: u64 = 50;

/// What the books say of each program: runs skipped, calls taken over by other copies.
fn books(capture: &Capture) -> BTreeMap<String, u64> {
    let stop = capture.control("stop").next().unwrap();
    let odd = at(stop, "/counters/oddities").as_object().unwrap();
    odd.iter()
        .filter(|(name, _)| name.ends_with("_skipped") || name.ends_with("_relieved"))
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap()))
        .collect()
}

/// Asserts that what is missing is told as missing, everywhere, and that no more is told than strangers can explain.
fn accounted(capture: &Capture, what: &str, missing: u64, program: &str, allowed: u64) {
    let skipped = capture.skipped();
    println!("{what}: {missing} missing, told {skipped:?}, books {:?}", books(capture));
    let told = skipped.get(program).copied().unwrap_or(0);
    assert!(missing <= told, "{what}: {missing} missing, {told} told as skipped ({skipped:?})");
    assert!(
        told <= missing + STRANGERS,
        "{what}: {told} told as skipped, only {missing} missing ({skipped:?})"
    );
    assert!(missing <= allowed, "{what}: {missing} are missing although {program} has other copies");
}

/// Asserts the end of the recording: in order, or with every skip told.
fn ended(capture: &Capture) {
    if capture.skipped().is_empty() {
        capture.assert_sound();
    } else {
        capture.assert_skips_are_told();
    }
}

/// Storms, recorded with or without other copies: calls missing, and what the kernel side says of the programs.
fn storms(relief: Option<bool>) -> (u64, u64) {
    let config =
        Config { relief, only_hooks: Some(vec![Hook::Prctl]), ring_bytes: 64 << 20, ..Config::default() };
    let mut session = Session::start(&config).unwrap();
    let folder = LogDir::new();
    let words = case(&folder, &["prctl-storms", &PROCESSES.to_string(), &CALLS.to_string()]);
    let mut storms = Command::new(&words[0]).args(&words[1..]).spawn().unwrap();
    let mut told = 0u64;
    // PR_GET_DUMPABLE and PR_GET_KEEPCAPS, which nobody else calls in a guest.
    let mut count = |bytes: &[u8]| {
        if let Ok((prctl, _)) = Prctl::read_from_prefix(bytes)
            && prctl.header.kind == Kind::Prctl as u16
            && matches!(prctl.args[0], 3 | 7)
        {
            told += 1;
        }
    };
    while storms.try_wait().unwrap().is_none() {
        session.drain(Duration::from_millis(20), &mut count).unwrap();
    }
    session.detach_producers();
    while session.drain(Duration::ZERO, &mut count).unwrap() > 0 {}
    let counters = session.counters().unwrap();
    println!("other copies {relief:?}: {told} of {} told, {:?}", PROCESSES * CALLS, counters.skips);
    assert!(counters.per_cpu.iter().all(|cpu| cpu.lost.iter().all(|lost| *lost == 0)), "{counters:?}");
    // On a busy host others may make such calls, too.
    assert!(told <= PROCESSES * CALLS + STRANGERS, "calls were told twice");
    ((PROCESSES * CALLS).saturating_sub(told), counters.not_run())
}

#[test]
fn what_is_missing_is_what_the_kernel_skipped() {
    needs!(Root, Bpf, Btf);
    for relief in [Some(false), None, Some(true)] {
        let (missing, not_run) = storms(relief);
        assert!(missing <= not_run, "{missing} missing, {not_run} not run");
    }
}

/// Processes that begin, execute a program and end, one after the other.
const CHILDREN: usize = 40;

/// What a session told of processes' lives.
#[derive(Default)]
struct Lives {
    /// Events by process and kind.
    told: BTreeMap<(u32, u16), u64>,
    /// Whether an exec that succeeded came without what only the raw tracepoint gives, in their order.
    poor_execs: Vec<bool>,
}

impl Lives {
    fn take(&mut self, bytes: &[u8]) {
        let Ok((header, _)) = Header::read_from_prefix(bytes) else { return };
        let mut about = header.tgid.0;
        if header.kind == Kind::Fork as u16 {
            about = Fork::read_from_prefix(bytes).unwrap().0.child_tid.0;
        } else if header.kind == Kind::Exec as u16 {
            let Header { flags, missing, .. } = Exec::read_from_prefix(bytes).unwrap().0.header;
            if flags & exec::flags::FAILED == 0 {
                self.poor_execs.push(missing & exec::missing::BPRM != 0);
            }
        }
        *self.told.entry((about, header.kind)).or_default() += 1;
    }
}

#[test]
fn copies_tell_each_call_once_in_any_order() {
    needs!(Root, Bpf, Btf);
    let config = Config {
        relief: Some(true),
        only_hooks: Some(vec![Hook::Exec, Hook::Fork, Hook::Exit]),
        ..Config::default()
    };
    // The first one makes the kernel call ordinary tracepoints, so in the second one their programs come before
    // those of the raw tracepoints.
    let mut sessions = [Session::start(&config).unwrap(), Session::start(&config).unwrap()];
    // Processes that execute one program each, and one whose second thread does: it ends as its first one did before.
    let mut expected = BTreeMap::new();
    for words in [&["short-lived", &CHILDREN.to_string()] as &[&str], &["exec-thread"]] {
        let folder = LogDir::new();
        let command = case(&folder, words);
        assert!(Command::new(&command[0]).args(&command[1..]).status().unwrap().success());
        let truth = Truth::read(&folder.join("truth"));
        let short = truth.short_lived.iter().map(|child| (child[0].as_u64().unwrap(), 1));
        let executed = truth.execs.iter().map(|(pid, execs)| (*pid, u64::try_from(execs.len()).unwrap()));
        expected.extend(short.chain(executed).map(|(pid, execs)| (u32::try_from(pid).unwrap(), execs)));
    }
    assert!(expected.len() > CHILDREN, "{expected:?}");
    for (session, is_second) in sessions.iter_mut().zip([false, true]) {
        session.detach_producers();
        let mut lives = Lives::default();
        while session.drain(Duration::ZERO, &mut |bytes: &[u8]| lives.take(bytes)).unwrap() > 0 {}
        let counters = session.counters().unwrap();
        let poor = lives.poor_execs.iter().filter(|is_poor| **is_poor).count();
        let execs = lives.poor_execs.len();
        println!("second {is_second}: {poor} of {execs} execs without linux_binprm, {:?}", counters.skips);
        assert!(counters.per_cpu.iter().all(|cpu| cpu.lost.iter().all(|lost| *lost == 0)), "{counters:?}");
        for (process, execs) in &expected {
            for (kind, count) in [(Kind::Exec, *execs), (Kind::Exit, 1)] {
                let told = lives.told.get(&(*process, kind as u16)).copied().unwrap_or(0);
                assert_eq!(told, count, "{kind:?} of {process}, second {is_second}: {:?}", counters.skips);
            }
        }
        let forks = lives
            .told
            .iter()
            .filter(|((process, kind), _)| expected.contains_key(process) && *kind == Kind::Fork as u16);
        let forks: Vec<u64> = forks.map(|(_, told)| *told).collect();
        assert!(forks.len() >= CHILDREN && forks.iter().all(|told| *told == 1), "{forks:?}");
        if is_second {
            assert!(poor >= 1, "the ordinary tracepoint's program did not come first");
            assert_eq!(lives.poor_execs.last(), Some(&false), "it did not give way");
        }
    }
}

#[test]
fn prctl_storms_on_every_cpu() {
    needs!(Root, Bpf, Btf);
    let words = ["prctl-storms", &PROCESSES.to_string(), &CALLS.to_string()];
    let capture = Capture::with(&["--ring", "64MiB"], &words);
    let mut missing = 0;
    for (made, told) in compare::storms(&capture) {
        assert_eq!(made, CALLS);
        assert!(told <= made, "{told} of {made}: a call was told twice");
        missing += made - told;
    }
    // More preempted tasks on one CPU than there are copies would be too many; here are as many, and strangers.
    let made = PROCESSES * CALLS;
    let allowed = if capture.is_relieved() { made / 20 } else { made };
    accounted(&capture, "calls of prctl", missing, "prctl_exit", allowed);
    ended(&capture);
}

#[test]
fn exec_storms_on_every_cpu() {
    needs!(Root, Bpf, Btf);
    let (processes, count) = (4u64, 60u64);
    let words = ["exec-storms", &processes.to_string(), &count.to_string()];
    let capture = Capture::with(&["--ring", "64MiB"], &words);
    let made = processes * count;
    let count_of = |kind: &str| u64::try_from(capture.kind(kind).count()).unwrap();
    // The case itself is one more exec and exit, and forks its children.
    let expected = [
        ("exec", made + 1, "exec_commit"),
        ("fork", made + processes, "fork"),
        ("exit", made + processes + 1, "exit"),
    ];
    for (kind, made, program) in expected {
        let told = count_of(kind);
        assert!(told <= made, "{told} of {made} {kind} events: one was told twice");
        accounted(&capture, kind, made - told, program, made / 20);
    }
    ended(&capture);
    if capture.skipped().is_empty() {
        compare::everything(&capture);
    }
}
