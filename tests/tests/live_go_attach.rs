//! Go programs that run already, that are started later, that lie where nobody else sees them, and that are not, or no
//! longer, what their file says.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use goaudit_tests::capture::{replay_so_far, until};
use goaudit_tests::go_agent::{agent, program, until_probed};
use goaudit_tests::go_capture::{GoRecording, count, log_of, text};
use goaudit_tests::go_decisions::{SLACK_NS, assert_decisions_of, assert_nothing_of};
use goaudit_tests::go_service::{Service, Truth};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

#[test]
fn a_running_process_is_told_from_the_probe_on_and_nothing_before() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "authz-casbin") else { return };
    // One that has worked already, and stays; one that waits.
    let mut early = Service::start(&program, &["-calls", "20", "-stay"]).unwrap();
    early.work().unwrap();
    let mut waiting = Service::start(&program, &["-calls", "60"]).unwrap();
    let agent = agent(&folder, &[]);
    until_probed(&folder, waiting.pid(), "casbin.enforce");
    until_probed(&folder, early.pid(), "casbin.enforce");
    // Another process of the same program, later.
    let mut late = Service::start(&program, &["-calls", "60"]).unwrap();
    until_probed(&folder, late.pid(), "casbin.enforce");
    let (waited, later) = (waiting.work().unwrap(), late.work().unwrap());
    let pids = [early.pid(), waiting.pid(), late.pid()];
    assert!(waiting.end().unwrap() && late.end().unwrap() && early.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    let told = assert_decisions_of(&recording, &waited, Some(pids[1]), "the one that ran");
    let also = assert_decisions_of(&recording, &later, Some(pids[2]), "the one that was started");
    assert_nothing_of(&recording, pids[0]);
    recording.assert_sound();
    println!("{told} and {also} decisions, all told");
}

#[test]
fn a_process_that_works_while_it_is_probed_is_told_from_then_on() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "authz-casbin") else { return };
    let arguments = ["-calls", "2000", "-pause", "2ms", "-via", "Enforcer.Enforce", "-library", "v2"];
    let mut service = Service::start(&program, &arguments).unwrap();
    let pid = service.pid();
    let working = std::thread::spawn(move || {
        let truth = service.work().unwrap();
        assert!(service.end().unwrap());
        truth
    });
    let agent = agent(&folder, &[]);
    let truth = working.join().unwrap();
    let recording = GoRecording::after(folder, agent.interrupt());
    let of_process = |event: &&Value| {
        text(event, "/control/program") == "casbin.enforce"
            && text(event, "/control/attach_point").contains(&format!(" pid {pid}: "))
    };
    let first = recording.all("control").find(of_process).unwrap();
    assert!(text(first, "/control/not_seen").contains("before"), "{first}");
    // The report is written when everything is attached; calls may be told a moment before.
    let probed = count(first, "/ktime_ns");
    let after = truth.calls.iter().filter(|call| count(call, "/start_ns") > probed).count();
    let events: Vec<&Value> =
        recording.all("authz").filter(|event| event["process"]["tgid"] == pid).collect();
    let made = truth.calls.len();
    assert!(after > 0 && events.len() >= after && events.len() <= made, "{} {after} {made}", events.len());
    // Each event is one of the calls, and no call behind the report is missing.
    // Of each goroutine, when its calls began; of one that was under way when the probes came, when it ended.
    let mut starts: BTreeMap<u64, Vec<(u64, bool)>> = BTreeMap::new();
    for event in &events {
        let start = event["authz"]["call"]["start_ktime_ns"].as_u64();
        let at = start.unwrap_or_else(|| count(event, "/authz/call/end_ktime_ns"));
        starts.entry(count(event, "/authz/call/goid")).or_default().push((at, start.is_some()));
    }
    let matching = |call: &Value| {
        let (from, taken) = (count(call, "/start_ns"), count(call, "/latency_ns"));
        let of_goroutine = starts.get(&count(call, "/goid")).map(Vec::as_slice).unwrap_or_default();
        // Calls of a goroutine come one after the other, and so do their ends.
        let first = of_goroutine.partition_point(|(at, _)| *at < from);
        let within = of_goroutine.iter().skip(first).take_while(|(at, _)| *at <= from + taken + SLACK_NS);
        within.filter(|(_, began)| *began || from < probed).count()
    };
    let mut matched = 0;
    for call in &truth.calls {
        let found = matching(call);
        if count(call, "/start_ns") > probed {
            assert_eq!(found, 1, "{call}");
        }
        assert!(found <= 1, "{call}");
        matched += found;
    }
    // Those that were under way say so, and say nothing about how long they took.
    for event in events.iter().filter(|event| event["authz"]["call"]["start_ktime_ns"].is_null()) {
        assert!(event["authz"]["decision_latency_ns"].is_null(), "{event}");
        let reason = event["missing"]
            .as_array()
            .unwrap()
            .iter()
            .find(|missing| missing["field"] == "authz.authz_eval_start_ns")
            .unwrap();
        assert!(text(reason, "/reason").contains("before the probe was attached"), "{event}");
    }
    // And no event is anything else than one of the calls.
    assert_eq!(matched, events.len());
    println!("{matched} calls of {made} told, {after} of them made after the report");
    // Nothing is left open, and what began before the probes is not invented.
    assert!(events.iter().all(|event| text(event, "/authz/call/outcome") == "returned"));
}

/// A child in a mount namespace of its own, whose program lies in a file system that only it sees.
fn in_own_mounts(program: &Path, folder: &LogDir) -> Command {
    let place = folder.join("private");
    fs::create_dir(&place).unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs {place} && cp {program} {place}/service && exec {place}/service -calls 60",
        place = place.display(),
        program = program.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    command
}

#[test]
fn a_program_in_a_mount_namespace_of_its_own_is_told() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "authz-casbin") else { return };
    let agent = agent(&folder, &[]);
    let mut child =
        in_own_mounts(&program, &folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("ready {}", child.id()));
    until_probed(&folder, child.id(), "casbin.enforce");
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let truth = Truth::take(&mut lines).unwrap();
    assert!(child.wait().unwrap().success());
    let recording = GoRecording::after(folder, agent.interrupt());
    let told = assert_decisions_of(&recording, &truth, Some(child.id()), "own mounts");
    recording.assert_sound();
    println!("{told} decisions of a program that this test cannot see");
}

/// A profile with a function of `runtime-cases`.
fn cases_profile(folder: &LogDir) -> String {
    let probe = |function: &str, signature: &str| {
        format!(
            "[[probe]]\nid = \"cases.{function}\"\nkind = \"call\"\nmodule = \"goaudit.test/runtime-cases\"\n\
             package = \"main\"\nfunction = \"{function}\"\nsignature = \"{signature}\"\n"
        )
    };
    let wide = "func(a, b, c, d, e, f, g, h, i int, s string) (sum int, same string)";
    let text = probe("work", "func(n int, s string) (done int, err error)") + &probe("wide", wide);
    let path = folder.join("cases.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How a program dies by a signal of the processor; the signal, where it is told as one: for an address that it names Go makes
/// a panic, here its own end; and what is told as the reason.
const DEATHS: [(&str, Option<&str>, &str); 5] = [
    ("trap", Some("SIGTRAP"), "got SIGTRAP"),
    ("illegal", Some("SIGILL"), "got SIGILL"),
    // The processor does not even say for which address.
    ("wild", Some("SIGSEGV"), "got SIGSEGV"),
    ("unmapped", None, "died of a fault"),
    ("bus", None, "died of a fault"),
];

#[test]
fn a_signal_that_a_probed_program_should_not_get_takes_all_its_probes_away() {
    needs!(Root, Bpf, GoUprobes);
    for (fatal, signal, reason) in DEATHS {
        one_of_two_dies(fatal, signal, reason);
    }
}

fn one_of_two_dies(fatal: &str, signal: Option<&str>, reason: &str) {
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = cases_profile(&folder);
    let arguments = ["-case", "plain", "-calls", "3"];
    let mut healthy = Service::start(&program, &arguments).unwrap();
    let mut broken = Service::start(&program, &["-case", "plain", "-calls", "1", "-fatal", fatal]).unwrap();
    let agent = agent(&folder, &["--profile", &profile]);
    for pid in [healthy.pid(), broken.pid()] {
        until_probed(&folder, pid, "cases.work");
    }
    let pid = broken.pid();
    let truth = broken.work().unwrap();
    assert!(!broken.end().unwrap(), "{fatal}: it ended well");
    assert!(!truth.calls.is_empty());
    let is_told = |what: &str| {
        goaudit_tests::capture::lines(&replay_so_far(&log_of(&folder), &[]))
            .iter()
            .any(|event| text(event, "/control/reason").contains(what))
    };
    until("the probes are taken away", || is_told(reason));
    // The other one goes on without probes, and one that comes later gets none.
    assert!(!healthy.work().unwrap().calls.is_empty());
    let (other, later) = (healthy.pid(), Service::start(&program, &arguments).unwrap());
    assert!(healthy.end().unwrap());
    until("the later one is told as not probed", || is_told("not probed again"));
    assert!(later.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    let signals: Vec<&str> = recording.all("go_signal").map(|event| text(event, "/go_signal/name")).collect();
    assert_eq!(signals, signal.into_iter().collect::<Vec<_>>(), "{fatal}");
    let own = recording.all("go_signal").chain(recording.all("go_panic"));
    assert!(own.into_iter().all(|event| event["process"]["tgid"] == pid), "{}", recording.report());
    let calls = |tgid: u32| recording.all("go_call").filter(|event| event["process"]["tgid"] == tgid).count();
    assert!(calls(pid) > 0, "{}", recording.report());
    assert_eq!(calls(other), 0, "{}", recording.report());
    println!("{fatal}: {reason}");
}

#[test]
fn a_function_that_is_not_what_the_file_holds_is_not_probed() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = cases_profile(&folder);
    let arguments = ["-case", "plain", "-calls", "3", "-goroutines", "1", "-patch"];
    let mut service = Service::start(&program, &arguments).unwrap();
    let agent = agent(&folder, &["--profile", &profile]);
    until_probed(&folder, service.pid(), "cases.work");
    let pid = service.pid();
    service.work().unwrap();
    assert!(service.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    let of_process = |program: &str| {
        let text_of = move |probe: &&Value| text(probe, "/program") == program;
        recording
            .probes()
            .filter(text_of)
            .find(|probe| text(probe, "/attach_point").contains(&format!(" pid {pid}: ")))
    };
    let refused = of_process("cases.wide").unwrap();
    assert_eq!(refused["attached"], false, "{refused}");
    assert!(text(refused, "/reason").contains("other code"), "{refused}");
    assert_eq!(of_process("cases.work").unwrap()["attached"], true, "{}", recording.report());
    assert_eq!(recording.calls().count(), 3, "{}", recording.report());
    recording.assert_sound();
}
