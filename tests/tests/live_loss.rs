//! Loss is counted, crashes lose nothing that was sealed, and every way to end is in order or says that it was not.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use goaudit_tests::capture::{
    Agent, Capture, case, ended, first_difference, lines, replay, told_so_far, until, verify,
};
use goaudit_tests::compare::at;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_tests::truth::Truth;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

/// The checks of a verdict by name.
fn check<'a>(verified: &'a Value, name: &str) -> &'a Value {
    verified["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name}: {verified}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_the_ring_cannot_hold_is_counted_exactly() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let count = 50_000u64;
    let files = folder.join("files");
    let words = case(&folder, &["prctl-storm-alternating", &count.to_string(), files.to_str().unwrap()]);
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let agent = Agent::start(&log, &[&["--ring", "64KiB", "--"], words.as_slice()].concat());
    until("the case runs", || told_so_far(&folder, "\"call\":\"executed\"") == 1);
    // A reader that does not read, so that the small ring must overflow.
    kill_process(agent.pid(), Signal::STOP).unwrap();
    std::fs::write(files.join("go"), "").unwrap();
    until("the storm is over", || told_so_far(&folder, "\"call\":\"storm\"") == 2);
    kill_process(agent.pid(), Signal::CONT).unwrap();
    std::fs::write(files.join("end"), "").unwrap();
    let output = agent.wait();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("LOST"), "{told}");

    let events = lines(&output.stdout);
    let truth = Truth::read(&folder.join("truth"));
    let stored: u64 = events
        .iter()
        .filter(|event| event["kind"] == "prctl" && at(event, "/process/tgid") == truth.pid)
        .map(|event| at(event, "/repeats/count").as_u64().unwrap_or(1))
        .sum();
    let stop = events.iter().find(|event| at(event, "/control/type") == "stop").unwrap();
    let numbers = |value: &Value| -> u64 {
        match value {
            Value::Array(all) => all.iter().filter_map(Value::as_u64).sum(),
            Value::Object(all) => all.values().filter_map(Value::as_u64).sum(),
            other => panic!("{other}"),
        }
    };
    let counters = at(stop, "/control/counters");
    let (seen, kept, lost) =
        (numbers(&counters["seen"]), numbers(&counters["stored"]), numbers(&counters["lost"]));
    assert!(lost > 0, "{counters}");
    assert_eq!(seen, kept + lost, "{counters}");
    // Only this case is recorded, and its rare events have room kept for them: all that is lost are calls of the storm.
    assert_eq!(2 * count, stored + lost, "the workload's own count; {counters}");
    for kind in ["exec", "exit"] {
        assert!(events.iter().any(|event| event["kind"] == kind), "no {kind} although room is kept for it");
    }
    let by_events: u64 = events.iter().map(|event| event["lost_before"].as_u64().unwrap_or(0)).sum();
    let by_control: u64 = events
        .iter()
        .filter(|event| at(event, "/control/type") == "loss")
        .map(|event| at(event, "/control/count").as_u64().unwrap())
        .sum();
    assert!(
        by_control == lost || by_events == lost,
        "loss events say {by_control}, events say {by_events}, the books {lost}"
    );

    let verified = verify(&log, &[]);
    assert_eq!(verified["verdict"], "incomplete", "{verified}");
    assert_eq!(verified["code"], 4);
    assert_eq!(verified["lost"].as_u64(), Some(lost), "{verified}");
    assert_eq!(check(&verified, "conservation")["ok"], true, "{verified}");
    assert_eq!(check(&verified, "no_loss")["ok"], false, "{verified}");
    assert!(replay(&log, &[]) == output.stdout);
}

/// A host-wide agent and a case that executes programs until a file appears.
fn with_execs(during: impl FnOnce(Agent, &LogDir, &Path)) {
    let folder = LogDir::new();
    let enough = folder.join("enough");
    let words = case(&folder, &["wait", enough.to_str().unwrap()]);
    let agent = Agent::start(&folder.join("log"), &[]);
    let mut workload = Command::new(&words[0]).args(&words[1..]).spawn().unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        during(agent, &folder, &folder.join("log"));
    }));
    // It ends whatever happened.
    std::fs::write(&enough, "").unwrap();
    assert!(ended(&mut workload, "the workload").success());
    if let Err(panic) = caught {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_killed_agent_loses_nothing_that_was_shown() {
    needs!(Root, Bpf, Btf);
    with_execs(|agent, folder, log| {
        until("some execs", || told_so_far(folder, "executed") > 60);
        let output = agent.end(Signal::KILL);
        assert_eq!(output.status.signal(), Some(9));
        let verified = verify(log, &[]);
        assert_eq!(verified["verdict"], "incomplete", "{verified}");
        assert_eq!(verified["code"], 4, "{verified}");
        assert_eq!(verified["first_bad"], Value::Null, "{verified}");
        let kept = replay(log, &[]);
        // The live view shows what is in the log: all of it must still be there. Its last line may be torn.
        let whole = output.stdout.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        assert!(whole > 0, "nothing was shown before the kill");
        let shown = &output.stdout[..whole];
        assert!(kept.starts_with(shown), "shown but not kept: {}", first_difference(shown, &kept));

        // The next run continues the log, and says how the last one ended.
        let agent = Agent::start(log, &[]);
        until("more execs", || told_so_far(folder, "executed") > 90);
        let output = agent.interrupt();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let both = replay(log, &[]);
        assert!(both.starts_with(&kept), "the log was not continued: {}", first_difference(&kept, &both));
        let starts: Vec<bool> = lines(&both)
            .iter()
            .filter(|event| at(event, "/control/type") == "start")
            .map(|event| at(event, "/control/clean").as_bool().unwrap())
            .collect();
        assert_eq!(starts, [true, false]);
        let verified = verify(log, &[]);
        assert_eq!(verified["verdict"], "incomplete", "the crash stays visible: {verified}");
        assert_eq!(verified["first_bad"], Value::Null, "{verified}");
    });
}

#[test]
fn interrupt_and_terminate_are_normal_ends() {
    needs!(Root, Bpf, Btf);
    for (signal, reason) in [(Signal::INT, "interrupt"), (Signal::TERM, "terminated")] {
        with_execs(|agent, folder, log| {
            until("some execs", || told_so_far(folder, "executed") > 20);
            let output = agent.end(signal);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let events = lines(&output.stdout);
            let last = events.last().unwrap();
            assert_eq!(at(last, "/control/type"), "stop", "{last}");
            assert_eq!(at(last, "/control/reason"), reason, "{last}");
            let verified = verify(log, &[]);
            assert_eq!(verified["verdict"], "ok", "{verified}");
            assert!(replay(log, &[]) == output.stdout);
        });
    }
}

#[test]
fn a_time_limit_ends_a_recording() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let output = goaudit().args(["record", "--for", "1s", "-o", "json", "-w"]).arg(&log).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let events = lines(&output.stdout);
    assert_eq!(at(events.last().unwrap(), "/control/reason"), "duration");
    assert_eq!(verify(&log, &[])["verdict"], "ok");
}

#[test]
fn a_closed_pipe_ends_the_view_and_not_the_recording() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let words = case(&folder, &["tree"]);
    let mut record = goaudit();
    record.args(["record", "-o", "json", "-w"]).arg(&log);
    let mut agent = record.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Like `| head -1`.
    let mut first = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(at(&lines(first.as_bytes())[0], "/control/type"), "genesis");
    assert!(Command::new(&words[0]).args(&words[1..]).status().unwrap().success());
    kill_process(rustix::process::Pid::from_child(&agent), Signal::INT).unwrap();
    let status = agent.wait().unwrap();
    let mut told = String::new();
    agent.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(status.code(), Some(0), "{told}");
    assert_eq!(verify(&log, &[])["verdict"], "ok");
    // All of the case is in the log.
    let truth = Truth::read(&folder.join("truth"));
    let events = lines(&replay(&log, &[]));
    for (pid, told) in &truth.execs {
        let count = events
            .iter()
            .filter(|event| event["kind"] == "exec" && at(event, "/process/tgid") == *pid)
            .count();
        assert_eq!(count, told.len(), "execs of {pid}");
    }
}

#[test]
fn a_closed_pipe_ends_a_replay_in_order() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::of(&["prctl-table"]);
    let mut shown = goaudit()
        .arg("replay")
        .arg(capture.log())
        .args(["-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(shown.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(shown.wait().unwrap().code(), Some(0));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    std::fs::write(folder.join("file"), "").unwrap();
    for path in [
        folder.join("file"),
        folder.join("file/log"),
        PathBuf::from("/proc/goaudit"),
        PathBuf::from("/sys/goaudit"),
    ] {
        let output = goaudit().args(["record", "--for", "1s", "-w"]).arg(&path).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {told}", path.display());
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert!(!told.contains("panicked"), "{told}");
    }
}

#[test]
fn two_agents_do_not_write_one_log() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let agent = Agent::start(&log, &[]);
    let second = goaudit().args(["record", "--for", "1s", "-w"]).arg(&log).output().unwrap();
    let told = text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert_eq!(agent.interrupt().status.code(), Some(0));
    assert_eq!(verify(&log, &[])["verdict"], "ok");
}

/// A small file system, gone with the value.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        // A busy mount stays until the machine ends; the test has failed then anyway.
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

/// A tmpfs of 8 MiB in the folder; none where mounting is not permitted, which is told.
fn small_disk(folder: &LogDir, test: &str) -> Option<Small> {
    let path = folder.join("small");
    std::fs::create_dir(&path).unwrap();
    match mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(c"size=8m,mode=700")) {
        Ok(()) => Some(Small(path)),
        Err(error) => {
            goaudit_tests::ability::tell_skip(test, "mounting tmpfs", &error.to_string());
            None
        }
    }
}

impl Small {
    /// Somebody else's file that leaves only a quarter of a megabyte.
    fn fill(&self) {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        let bytes = (found.f_bavail * found.f_frsize).saturating_sub(256 << 10);
        std::fs::write(self.0.join("somebody"), vec![1; usize::try_from(bytes).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("somebody")).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_in_the_log_and_recording_goes_on_when_there_is_room() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let Some(small) =
        small_disk(&folder, "a_full_disk_is_told_in_the_log_and_recording_goes_on_when_there_is_room")
    else {
        return;
    };
    let log = small.0.join("log");
    let agent = Agent::start(&log, &["--keep-free", "512KiB"]);
    let ballast = log.join("ballast");
    until("the ballast is laid", || ballast.exists());
    small.fill();
    until("the ballast is given up", || !ballast.exists());
    let run = || assert!(Command::new("/bin/true").status().unwrap().success());
    for _ in 0..50 {
        run();
    }
    until("the log tells", || verify(&log, &[])["lost"].as_u64().is_some_and(|lost| lost > 0));
    small.make_room();
    until("there is room again", || ballast.exists());
    for _ in 0..5 {
        run();
    }
    let output = agent.interrupt();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("(no_space)"), "{told}");
    assert!(!ballast.exists());
    let verified = verify(&log, &[]);
    assert_eq!(verified["verdict"], "incomplete", "{verified}");
    assert_eq!(verified["first_bad"], Value::Null, "{verified}");
    assert_eq!(check(&verified, "conservation")["ok"], true, "{verified}");
    assert_eq!(check(&verified, "clean_end")["ok"], true, "{verified}");
}

#[test]
fn a_full_disk_ends_the_recording_in_order_when_that_is_asked_for() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let Some(small) = small_disk(&folder, "a_full_disk_ends_the_recording_in_order_when_that_is_asked_for")
    else {
        return;
    };
    let log = small.0.join("log");
    let agent = Agent::start(&log, &["--keep-free", "512KiB", "--when-full", "halt"]);
    until("the ballast is laid", || log.join("ballast").exists());
    small.fill();
    until("the ballast is given up", || !log.join("ballast").exists());
    assert!(Command::new("/bin/true").status().unwrap().success());
    let output = agent.wait();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the disk is full"), "{told}");
    let events = lines(&replay(&log, &[]));
    assert_eq!(at(events.last().unwrap(), "/control/reason"), "disk full");
    let verified = verify(&log, &[]);
    assert_eq!(verified["first_bad"], Value::Null, "{verified}");
    assert_eq!(check(&verified, "clean_end")["ok"], true, "{verified}");
}

#[test]
fn segments_end_by_size_and_by_age() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    for (name, options) in [("size", ["--roll-size", "64KiB"]), ("age", ["--roll-age", "300ms"])] {
        let log = folder.join(name);
        let agent = Agent::start(&log, &options);
        let count = || {
            std::fs::read_dir(&log)
                .unwrap()
                .filter(|entry| {
                    entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "gal")
                })
                .count()
        };
        until("a third segment", || {
            let _ = Command::new("/bin/true").arg("x".repeat(2000)).status();
            count() >= 3
        });
        assert_eq!(agent.interrupt().status.code(), Some(0), "{name}");
        assert_eq!(verify(&log, &[])["verdict"], "ok", "{name}");
    }
}

#[test]
fn an_agent_that_is_killed_again_and_again_loses_nothing_that_was_sealed() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let mut sealed = 0;
    for round in 0..5_u64 {
        let agent = Agent::start(&log, &["--roll-size", "64KiB"]);
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(400 + 130 * round) {
            assert!(Command::new("/bin/true").status().unwrap().success());
        }
        // What the checkpoint file names was durable before the kill.
        let durable = checkpoint_size(&log);
        let output = agent.end(Signal::KILL);
        assert_eq!(output.status.signal(), Some(9));
        let verified = verify(&log, &[]);
        assert_eq!(verified["first_bad"], Value::Null, "round {round}: {verified}");
        assert_eq!(verified["verdict"], "incomplete", "round {round}: {verified}");
        let found = verified["size"].as_u64().unwrap();
        assert!(
            found >= durable && durable > sealed,
            "round {round}: {durable} were durable, {found} are there"
        );
        sealed = found;
    }
    let last = Agent::start(&log, &[]);
    until("it records", || checkpoint_size(&log) > sealed);
    assert_eq!(last.interrupt().status.code(), Some(0));
    let events = lines(&replay(&log, &[]));
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["seq"].as_u64(), Some(number as u64), "numbers are dense over all runs");
    }
    let starts: Vec<_> = events.iter().filter(|event| at(event, "/control/type") == "start").collect();
    assert_eq!(starts.len(), 6);
}

/// Batches that the `checkpoint` file covers.
fn checkpoint_size(log: &Path) -> u64 {
    std::fs::read_to_string(log.join("checkpoint"))
        .ok()
        .and_then(|note| note.lines().nth(1)?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn without_privilege_it_says_which_one_is_missing() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let open = folder.join("open");
    std::fs::create_dir(&open).unwrap();
    for path in [folder.path(), &open] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    for mode in ["user", "caps"] {
        let own = goaudit_tests::goaudit::program("goaudit");
        let log = open.join(mode);
        let output = Command::new(goaudit_tests::goaudit::program("hardcase"))
            .args([
                "drop-and-run",
                mode,
                own.to_str().unwrap(),
                "record",
                "--for",
                "1s",
                "-w",
                log.to_str().unwrap(),
            ])
            .output()
            .unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(77), "{mode}: {told}");
        assert!(told.contains("CAP_BPF") || told.contains("CAP_SYS_ADMIN"), "{mode}: {told}");
    }
}

#[test]
fn a_command_that_is_not_there() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    let output = goaudit()
        .args(["record", "-o", "json", "-w"])
        .arg(&log)
        .args(["--", "/nowhere/at/all"])
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("/nowhere/at/all"), "{told}");
    let events = lines(&output.stdout);
    let failed = events.iter().find(|event| event["kind"] == "exec").unwrap();
    assert_eq!(at(failed, "/exec/errno"), "ENOENT");
    assert_eq!(at(failed, "/exec/filename"), "/nowhere/at/all");
    let exit = events.iter().find(|event| event["kind"] == "exit").unwrap();
    assert_eq!(at(exit, "/exit/code"), &json!(127));
    assert_eq!(verify(&log, &[])["verdict"], "ok");
}
