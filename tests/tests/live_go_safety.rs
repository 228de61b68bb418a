//! The rules that keep probed programs safe, tried from outside: what is taken away when, what stays behind, and what
//! goaudit never does.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use goaudit_tests::capture::{Agent, lines, replay_so_far, until, verify};
use goaudit_tests::go_agent::{agent, program, until_probed};
use goaudit_tests::go_capture::{GoRecording, count, log_of, text};
use goaudit_tests::go_cases::profile;
use goaudit_tests::go_service::Service;
use goaudit_tests::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn pid_of(service: &Service) -> Pid {
    Pid::from_raw(i32::try_from(service.pid()).unwrap()).unwrap()
}

/// Calls of `main.work` that a process told as returned.
fn told_of(recording: &GoRecording, pid: u32) -> usize {
    let of_process = |event: &&Value| event["process"]["tgid"] == pid;
    let returned = |event: &&Value| text(event, "/go_call/outcome") == "returned";
    recording.all("go_call").filter(of_process).filter(returned).count()
}

/// The number of probes that `stop` says were taken away.
fn taken_away(recording: &GoRecording) -> u64 {
    recording.oddities().get("probes_taken_away").copied().unwrap_or_default()
}

#[test]
fn a_signal_that_was_sent_takes_away_the_probes_of_its_receiver_alone() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = profile(&folder);
    let arguments = ["-case", "plain", "-calls", "50", "-goroutines", "2"];
    let mut healthy = Service::start(&program, &arguments).unwrap();
    let agent = agent(&folder, &["--profile", &profile]);
    until_probed(&folder, healthy.pid(), "cases.work");
    let mut victims = Vec::new();
    for (signal, name) in [
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ILL, "SIGILL"),
        (Signal::BUS, "SIGBUS"),
        (Signal::SEGV, "SIGSEGV"),
    ] {
        let victim = Service::start(&program, &[&arguments[..], &["-notify"]].concat()).unwrap();
        let pid = victim.pid();
        until_probed(&folder, pid, "cases.work");
        let gone = format!("process {pid} got {name}, which was sent by a process");
        until("the probes of a process that gets signals are taken away", || {
            // Again and again: as often as somebody may like to.
            kill_process(pid_of(&victim), signal).unwrap();
            lines(&replay_so_far(&log_of(&folder), &["--only", "control"]))
                .iter()
                .any(|event| text(event, "/control/reason").starts_with(&gone))
        });
        victims.push((victim, name));
    }
    // Another one of the same program is probed all the same.
    let mut later = Service::start(&program, &arguments).unwrap();
    until_probed(&folder, later.pid(), "cases.work");
    let pids = [healthy.pid(), later.pid()];
    let truths = [healthy.work().unwrap(), later.work().unwrap()];
    assert!(healthy.end().unwrap() && later.end().unwrap());
    let victims: Vec<(u32, &str)> = victims
        .into_iter()
        .map(|(mut victim, name)| {
            let pid = victim.pid();
            assert!(!victim.work().unwrap().calls.is_empty() && victim.end().unwrap(), "{name}");
            (pid, name)
        })
        .collect();
    let recording = GoRecording::after(folder, agent.interrupt());
    for (pid, truth) in pids.iter().zip(&truths) {
        let made = truth.functions["main.work"];
        assert_eq!(told_of(&recording, *pid) as u64, made, "{}", recording.report());
    }
    for (pid, name) in &victims {
        let signal = recording.all("go_signal").find(|event| event["process"]["tgid"] == *pid).unwrap();
        assert_eq!(text(signal, "/go_signal/name"), *name, "{signal}");
        assert!(signal["go_signal"]["code"].as_i64().unwrap() <= 0, "{signal}");
        assert_eq!(told_of(&recording, *pid), 0, "{name}: its probes are gone");
    }
    let reasons: Vec<&str> = recording.probes().map(|probe| text(probe, "/reason")).collect();
    assert!(!reasons.iter().any(|reason| reason.contains("of this program got")), "{reasons:?}");
    let own = reasons.iter().filter(|reason| reason.contains("which was sent by a process")).count();
    assert_eq!(own, victims.len(), "{reasons:?}");
    assert!(taken_away(&recording) >= 4, "{}", recording.report());
    assert_eq!(recording.status.code(), Some(4), "{}", recording.told);
    println!("{victims:?} have lost {} probes, others none", taken_away(&recording));
}

#[test]
fn a_probe_that_costs_too_much_is_taken_away_and_told() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = profile(&folder);
    let arguments = ["-now", "-case", "rate", "-calls", "300000", "-goroutines", "1"];
    let options = ["--only", "go", "--profile", &profile, "--probe-budget", "1"];
    let recording = GoRecording::of(&options, &program, &arguments);
    let truth = recording.truth();
    let made = truth.functions["main.work"];
    assert_eq!(made, 300_000, "the program made all its calls");
    assert!(!recording.told.contains("the command ended with status"), "{}", recording.told);
    let dear: Vec<&Value> =
        recording.probes().filter(|probe| text(probe, "/reason").contains("--probe-budget")).collect();
    assert_eq!(dear.len(), 1, "{}", recording.report());
    assert_eq!(text(dear[0], "/program"), "cases.work");
    assert_eq!(dear[0]["attached"], false);
    // "it cost 87.3 % of a CPU and may cost 1.0 %"
    let share: Vec<f64> = text(dear[0], "/reason").split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(share.len() == 2 && share[0] > share[1], "{}", dear[0]);
    assert!((told_of(&recording, recording_pid(&recording)) as u64) < made, "{}", recording.report());
    assert_eq!(taken_away(&recording), 1);
    assert!(recording.told.contains("TAKEN AWAY 1 probes"), "{}", recording.told);
    assert_eq!(recording.status.code(), Some(4), "{}", recording.told);
    let verified = verify(&log_of(&recording.folder), &[]);
    assert_eq!(
        (text(&verified, "/verdict"), count(&verified, "/probes_taken_away")),
        ("incomplete", 1),
        "{verified}"
    );
    println!(
        "{} of {made} calls; {}",
        told_of(&recording, recording_pid(&recording)),
        text(dear[0], "/reason")
    );
}

/// The process whose calls a recording of one command tells.
fn recording_pid(recording: &GoRecording) -> u32 {
    let first = recording.all("go_call").next().unwrap();
    u32::try_from(count(first, "/process/tgid")).unwrap()
}

#[test]
fn a_short_recording_tells_what_its_probes_cost() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "authz-casbin") else { return };
    for _ in 0..8 {
        let recording = GoRecording::of(&["--only", "go"], &program, &["-now", "-calls", "20"]);
        assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
        assert_eq!(recording.control("calibration").count(), 1, "{}", recording.report());
    }
}

/// Where the probes of a process are: offsets in its file, from the attach report.
fn places(folder: &LogDir, pid: u32) -> Vec<u64> {
    let told = lines(&replay_so_far(&log_of(folder), &[]));
    let mut places: Vec<u64> = told
        .iter()
        .filter(|event| text(event, "/control/attach_point").contains(&format!(" pid {pid}: ")))
        .filter(|event| event["control"]["attached"] == true)
        .flat_map(|event| text(event, "/control/attach_point").split(' ').collect::<Vec<_>>())
        .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// How many of these places of a process's code are not what its file says.
fn changed(pid: u32, program: &Path, places: &[u64]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    // START-END PERMISSIONS OFFSET DEVICE INODE PATH
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let code: Vec<(u64, u64, u64)> = maps
        .lines()
        .filter(|line| line.ends_with(program.to_str().unwrap()))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-').unwrap();
            (number(start), number(end), number(words[2]))
        })
        .collect();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let file = File::open(program).unwrap();
    let differs = |place: &&u64| {
        let inside =
            |(start, end, offset): &&(u64, u64, u64)| (*offset..offset + end - start).contains(place);
        let (start, _, offset) = code.iter().find(inside).unwrap();
        // As long as a breakpoint on any architecture, or the jump that newer kernels put there.
        let (mut now, mut stored) = ([0; 5], [0; 5]);
        memory.read_exact_at(&mut now, start + **place - offset).unwrap();
        file.read_exact_at(&mut stored, **place).unwrap();
        now != stored
    };
    places.iter().filter(differs).count()
}

#[test]
fn an_agent_that_is_killed_leaves_no_breakpoint_behind() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = profile(&folder);
    let calls = 150_000;
    let arguments = ["-case", "plain", "-calls", &calls.to_string(), "-goroutines", "2", "-stay"];
    let mut service = Service::start(&program, &arguments).unwrap();
    let pid = service.pid();
    assert_eq!(changed(pid, &program, &[0]), 0, "not probed yet");
    let agent = agent(&folder, &["--profile", &profile]);
    until_probed(&folder, pid, "cases.work");
    let places = places(&folder, pid);
    let probed = changed(pid, &program, &places);
    assert!(places.len() > 5 && probed == places.len(), "{probed} of {places:?}");
    let working = std::thread::spawn(move || (service.work().unwrap(), service));
    until("calls are told", || {
        lines(&replay_so_far(&log_of(&folder), &["--only", "go"]))
            .iter()
            .any(|event| event["kind"] == "go_call")
    });
    assert!(!working.is_finished(), "killed too late to be under load");
    let ended = agent.end(Signal::KILL);
    assert!(ended.status.code().is_none(), "{}", ended.status);
    until("every place has its own bytes again", || changed(pid, &program, &places) == 0);
    let (truth, service) = working.join().unwrap();
    assert_eq!(truth.functions["main.work"], 2 * calls, "the program made all its calls");
    assert_eq!(changed(pid, &program, &places), 0);
    assert!(service.end().unwrap(), "the program ended well");
    println!("{} places, all as in the file", places.len());
}

/// Calls that stop, end or change another process.
const FORBIDDEN: [&str; 8] = [
    "ptrace",
    "kill",
    "tkill",
    "tgkill",
    "process_vm_writev",
    "pidfd_send_signal",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
];

#[test]
fn goaudit_neither_traces_nor_signals_nor_writes_to_what_it_probes() {
    needs!(Root, Bpf, GoUprobes, Strace);
    let folder = LogDir::new();
    let Some(program) = program(&folder, "runtime-cases") else { return };
    let profile = profile(&folder);
    let watched = folder.join("strace");
    let arguments = ["-case", "plain", "-calls", "50", "-goroutines", "2"];
    let mut service = Service::start(&program, &arguments).unwrap();
    // The whole host is recorded, so strace follows goaudit's own threads and nothing else; `-D`: goaudit is our child.
    let mut below_strace = Command::new("strace");
    below_strace
        .args(["-D", "-f", "-q", "-s", "200", "-e", "signal=none", "-e"])
        .arg(format!("trace={},execve,openat,bpf", FORBIDDEN.join(",")))
        .arg("-o")
        .arg(&watched)
        .arg("--")
        .arg(goaudit::program("goaudit"))
        .stdin(Stdio::null());
    let agent = Agent::start_as(
        below_strace,
        &log_of(&folder),
        &["--only", "go", "--probe-budget", "10000", "--profile", &profile],
    );
    until_probed(&folder, service.pid(), "cases.work");
    let pid = service.pid();
    let truth = service.work().unwrap();
    assert!(service.end().unwrap());
    let recording = GoRecording::after(folder, agent.interrupt());
    assert_eq!(told_of(&recording, pid) as u64, truth.functions["main.work"], "{}", recording.report());
    let seen = fs::read_to_string(&watched).unwrap();
    let of = |call: &str| seen.lines().filter(|line| line.contains(&format!(" {call}("))).collect::<Vec<_>>();
    for call in FORBIDDEN {
        assert_eq!(of(call), Vec::<&str>::new());
    }
    // strace does see what goaudit does: how it attaches, and that it reads the process's code, for reading only.
    assert!(of("bpf").iter().any(|line| line.contains("BPF_LINK_CREATE")), "{seen}");
    let opened = of("openat");
    let memory: Vec<_> = opened.iter().filter(|line| line.contains(&format!("/proc/{pid}/mem"))).collect();
    assert!(!memory.is_empty() && memory.iter().all(|line| line.contains("O_RDONLY")), "{memory:?}");
    println!("{} calls watched, {} of them openat", seen.lines().count(), opened.len());
}
