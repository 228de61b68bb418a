//! Go programs that run already, that are started later, that are replaced, that turn into other programs, and that
//! lie where nobody else sees them.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use goaudit_tests::capture::{Agent, replay, until};
use goaudit_tests::go_capture::{GoRecording, count, log_of, text};
use goaudit_tests::go_decisions::{SLACK_NS, assert_decisions_of, assert_nothing_of};
use goaudit_tests::go_fixture::{self, Build, toolchain};
use goaudit_tests::go_service::{Service, Truth};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// A stripped service of the newest Go version, as a file of our own; none, telling so, where there is no such Go.
fn program(folder: &LogDir, fixture: &str) -> Option<PathBuf> {
    let newest = go_fixture::versions().pop().unwrap_or_default();
    let toolchain = match toolchain(&newest) {
        Ok(toolchain) => toolchain,
        Err(why) => {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            goaudit_tests::ability::tell_skip(&test, &format!("go toolchain {newest}"), &why);
            return None;
        }
    };
    let built = toolchain.build(&Build::of(fixture).flags(&["-ldflags=-s -w"])).unwrap();
    let path = folder.join(fixture);
    fs::copy(built, &path).unwrap();
    Some(path)
}

/// An agent that records Go programs of the whole host.
fn agent(folder: &LogDir, options: &[&str]) -> Agent {
    // Without a budget: on a busy host a probe could be taken away for what others cost.
    Agent::start(&log_of(folder), &[&["--only", "go", "--probe-budget", "10000"], options].concat())
}

/// Waits until a probe is told as attached to a process.
fn until_probed(folder: &LogDir, pid: u32, probe: &str) {
    let attached = |event: &Value| {
        text(event, "/control/type") == "probe"
            && text(event, "/control/program") == probe
            && event["control"]["attached"] == true
            && text(event, "/control/attach_point").contains(&format!(" pid {pid}: "))
    };
    until("the probes of the process", || {
        let told = replay(&log_of(folder), &[]);
        goaudit_tests::capture::lines(&told).iter().any(attached)
    });
}

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

#[test]
fn a_program_that_runs_another_is_told_as_both() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(first) = program(&folder, "authz-ladon") else { return };
    let Some(second) = program(&folder, "authz-casbin") else { return };
    let agent = agent(&folder, &[]);
    // One process: a shell, then ladon's service beside it, then casbin's in its place.
    let script = format!(
        "{} -now -calls 30 -quiet >/dev/null; read line; exec {} -calls 30",
        first.display(),
        second.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"exec\n").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("ready {}", child.id()));
    until_probed(&folder, child.id(), "casbin.enforce");
    input.write_all(b"go\n").unwrap();
    let truth = Truth::take(&mut lines).unwrap();
    assert!(child.wait().unwrap().success());
    let recording = GoRecording::after(folder, agent.interrupt());
    assert_decisions_of(&recording, &truth, Some(child.id()), "after exec");
    // The one beside it was in the middle of its work when its probes came.
    recording.assert_complete();
}

#[test]
fn a_file_that_is_replaced_is_told_by_what_runs() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "authz-casbin") else { return };
    let mut service = Service::start(&program, &["-calls", "60"]).unwrap();
    // Another program takes its name, as an update does; what runs is nowhere on disk any more.
    let other = self::program(&folder, "authz-ladon").unwrap();
    fs::rename(other, &program).unwrap();
    let agent = agent(&folder, &[]);
    until_probed(&folder, service.pid(), "casbin.enforce");
    let truth = service.work().unwrap();
    let pid = service.pid();
    assert!(service.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    assert_decisions_of(&recording, &truth, Some(pid), "replaced");
    // Names of types and of functions come out of the file that runs.
    let errors = recording.all("authz").filter(|event| event["authz"]["authz_error"].is_string()).count();
    assert!(errors > 0);
    let panic = recording.all("go_panic").find(|event| event["process"]["tgid"] == pid).unwrap();
    assert!(
        panic["go_panic"]["stack"]
            .as_array()
            .unwrap()
            .iter()
            .any(|frame| text(frame, "/function") == "main.check")
    );
    recording.assert_sound();
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

#[test]
fn a_signal_that_a_probed_program_should_not_get_takes_all_its_probes_away() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = cases_profile(&folder);
    let arguments = ["-case", "plain", "-calls", "3"];
    let mut healthy = Service::start(&program, &arguments).unwrap();
    let broken = Service::start(&program, &["-case", "plain", "-calls", "1", "-fatal", "trap"]);
    let mut broken = broken.unwrap();
    let agent = agent(&folder, &["--profile", &profile]);
    for pid in [healthy.pid(), broken.pid()] {
        until_probed(&folder, pid, "cases.work");
    }
    let pid = broken.pid();
    let truth = broken.work().unwrap();
    assert!(!broken.end().unwrap(), "it ended well");
    assert!(!truth.calls.is_empty());
    let taken = |event: &Value| text(event, "/control/reason").contains("got SIGTRAP");
    until("the probes are taken away", || {
        goaudit_tests::capture::lines(&replay(&log_of(&folder), &[])).iter().any(taken)
    });
    // The other one goes on without probes, and one that comes later gets none.
    assert!(!healthy.work().unwrap().calls.is_empty());
    let (other, later) = (healthy.pid(), Service::start(&program, &arguments).unwrap());
    assert!(healthy.end().unwrap());
    until("the later one is told as not probed", || {
        let told = replay(&log_of(&folder), &[]);
        goaudit_tests::capture::lines(&told)
            .iter()
            .any(|event| text(event, "/control/reason").contains("not probed again"))
    });
    assert!(later.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    let signals: Vec<&Value> = recording.all("go_signal").collect();
    assert_eq!(signals.len(), 1, "{signals:?}");
    assert_eq!(signals[0]["process"]["tgid"], pid, "{signals:?}");
    assert_eq!(text(signals[0], "/go_signal/name"), "SIGTRAP", "{signals:?}");
    let calls = |tgid: u32| recording.all("go_call").filter(|event| event["process"]["tgid"] == tgid).count();
    assert!(calls(pid) > 0, "{}", recording.report());
    assert_eq!(calls(other), 0, "{}", recording.report());
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
