//! What becomes of a probed program while it runs: its file gets another name, or none, or another file takes its name;
//! its process runs another program, or the same once more.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use goaudit_tests::go_agent::{agent, program, until_probed, until_probed_times};
use goaudit_tests::go_capture::{GoRecording, call, text};
use goaudit_tests::go_cases::{self, Endings};
use goaudit_tests::go_decisions::assert_decisions_of;
use goaudit_tests::go_service::{Service, Truth};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// The recorder looks every second whether processes still run what it probed: longer than that.
const LOOKS: Duration = Duration::from_secs(3);

/// What was told of attaching a probe to a process.
fn attached<'a>(recording: &'a GoRecording, pid: u32, probe: &str) -> Vec<&'a Value> {
    let of_process = |told: &&Value| {
        text(told, "/program") == probe && text(told, "/attach_point").contains(&format!(" pid {pid}: "))
    };
    recording.probes().filter(of_process).collect()
}

/// How the calls of a process ended, as events say.
fn told(recording: &GoRecording, pid: u32) -> Endings {
    let of_process =
        recording.events.iter().filter(|event| event.pointer("/process/tgid") == Some(&pid.into()));
    go_cases::told(of_process.filter(|event| event["kind"] == "go_call").filter_map(call))
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

#[test]
fn a_file_that_loses_its_name_keeps_its_probes() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "authz-casbin") else { return };
    let (early, late) = (folder.join("early"), folder.join("late"));
    fs::copy(&program, &early).unwrap();
    fs::rename(&program, &late).unwrap();
    // One is gone before the agent comes, the other is probed first, and then becomes of it all that can.
    let arguments = ["-calls", "60", "-stay"];
    let mut gone = Service::start(&early, &arguments).unwrap();
    fs::remove_file(&early).unwrap();
    let mut going = Service::start(&late, &arguments).unwrap();
    let agent = agent(&folder, &[]);
    until_probed(&folder, gone.pid(), "casbin.enforce");
    until_probed(&folder, going.pid(), "casbin.enforce");
    let inspected = |pid: u32| {
        let arguments = ["inspect", "--json", &pid.to_string()];
        let output = goaudit().args(arguments).output().unwrap();
        let view: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(view["probes"].as_array().is_some_and(|probes| !probes.is_empty()), "{view}");
        view["probes"].clone()
    };
    let plan = inspected(going.pid());
    assert_eq!(inspected(gone.pid()), plan, "both are the same program");
    let elsewhere = folder.join("elsewhere");
    fs::set_permissions(&late, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(&late, &elsewhere).unwrap();
    fs::hard_link(&elsewhere, &late).unwrap();
    fs::remove_file(&late).unwrap();
    fs::remove_file(&elsewhere).unwrap();
    std::thread::sleep(LOOKS);
    let truths = [gone.work().unwrap(), going.work().unwrap()];
    assert_eq!(inspected(going.pid()), plan, "a file without a name is the file that runs");
    let pids = [gone.pid(), going.pid()];
    assert!(gone.end().unwrap() && going.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    for (pid, truth) in pids.into_iter().zip(&truths) {
        let decisions = assert_decisions_of(&recording, truth, Some(pid), "without a name");
        println!("{decisions} decisions of a program whose file has no name");
        // Each major version's function once.
        let attached = attached(&recording, pid, "casbin.enforce");
        let places: BTreeSet<&str> = attached.iter().map(|told| text(told, "/attach_point")).collect();
        assert!(attached.iter().all(|told| told["attached"] == true), "{attached:?}");
        assert_eq!(places.len(), attached.len(), "{attached:?}");
    }
    let exe = recording.all("authz").find(|event| event["process"]["tgid"] == pids[0]).unwrap();
    assert!(text(exe, "/process/exe").ends_with("early (deleted)"), "{exe}");
    recording.assert_sound();
}

#[test]
fn a_program_that_deletes_its_own_file_is_told_to_the_end() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = go_cases::profile(&folder);
    // Its calls go on while the recorder looks after it.
    let arguments =
        ["-now", "-unlink", "-case", "plain", "-goroutines", "1", "-calls", "600", "-pause", "5ms"];
    let recording = GoRecording::of(&["--profile", &profile], &program, &arguments);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    assert!(!program.exists(), "it deleted its file");
    assert_eq!(
        go_cases::told(recording.calls()),
        go_cases::truth(&recording.truth()),
        "{}",
        recording.report()
    );
    recording.assert_sound();
    let attached = recording.probes().filter(|told| text(told, "/program") == "cases.work").count();
    assert_eq!(attached, 1, "{}", recording.report());
}

#[test]
fn a_program_that_runs_itself_again_is_told_in_both_lives() {
    needs!(Root, Bpf, GoUprobes);
    // The kernel makes the thread that calls the process's first one, and what hung on that one is gone.
    for (leader, attachments) in [(true, 1), (false, 2)] {
        let folder = LogDir::new();
        let Some(program) = program(&folder, "runtime-cases") else { return };
        let profile = go_cases::profile(&folder);
        let again = format!("{} -case recursion -calls 3", program.display());
        let mut arguments = vec!["-case", "plain", "-calls", "5", "-exec", &again];
        if leader {
            arguments.push("-leader");
        }
        let mut service = Service::start(&program, &arguments).unwrap();
        let pid = service.pid();
        let agent = agent(&folder, &["--profile", &profile]);
        until_probed(&folder, pid, "cases.work");
        let first = service.work().unwrap();
        service.becomes().unwrap();
        until_probed_times(&folder, pid, "cases.work", attachments);
        std::thread::sleep(LOOKS);
        let second = service.work().unwrap();
        assert!(service.end().unwrap());
        let recording = GoRecording::after(folder, agent.interrupt());
        let mut truth = go_cases::truth(&first);
        for (end, count) in go_cases::truth(&second) {
            *truth.entry(end).or_default() += count;
        }
        // Also the calls that were under way when it ran itself again.
        assert_eq!(truth.get(&("main.work".to_owned(), "crashed".to_owned())), Some(&3));
        assert_eq!(told(&recording, pid), truth, "leader {leader}: {}", recording.report());
        let attached = attached(&recording, pid, "cases.work");
        assert!(attached.iter().all(|told| told["attached"] == true), "{attached:?}");
        assert_eq!(attached.len(), attachments, "{}", recording.report());
        recording.assert_sound();
        println!("by the first thread: {leader}; {} calls in two lives", truth.values().sum::<u64>());
    }
}

#[test]
fn a_go_program_that_runs_another_is_told_as_both() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(first) = program(&folder, "runtime-cases") else { return };
    let Some(second) = program(&folder, "authz-casbin") else { return };
    let profile = go_cases::profile(&folder);
    let other = format!("{} -calls 30", second.display());
    let mut service = Service::start(&first, &["-case", "plain", "-calls", "5", "-exec", &other]).unwrap();
    let pid = service.pid();
    let agent = agent(&folder, &["--profile", &profile]);
    until_probed(&folder, pid, "cases.work");
    let before = service.work().unwrap();
    service.becomes().unwrap();
    until_probed(&folder, pid, "casbin.enforce");
    let after = service.work().unwrap();
    assert!(service.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    assert_eq!(told(&recording, pid), go_cases::truth(&before), "{}", recording.report());
    assert_decisions_of(&recording, &after, Some(pid), "after exec");
    recording.assert_sound();
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
