//! Who read a log is in the log: readers leave notes, the next recording seals them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap or panic is a failed test")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use goaudit_tests::capture::{Agent, replay, verify};
use goaudit_tests::compare::at;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::{Value, json};

/// Records a command that does nothing.
fn record(log: &Path) {
    let output =
        goaudit().arg("record").arg("-w").arg(log).args(["-o", "none", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run(command: &mut Command) -> u32 {
    let child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{command:?}");
    pid
}

/// The notes that are sealed.
fn reads(log: &Path) -> Vec<Value> {
    let shown = replay(log, &["--where", "kind == \"control\" && control.type == \"read\""]);
    shown
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| at(&serde_json::from_slice(line).unwrap(), "/control/reader").clone())
        .collect()
}

fn waiting(log: &Path) -> usize {
    fs::read_dir(log.join("reads")).map_or(0, Iterator::count)
}

#[test]
fn every_reader_is_told_by_the_next_recording() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    record(&log);
    let before = replay(&log, &[]);
    assert_eq!(before, replay(&log, &[]), "reading does not change what is read");
    fs::remove_dir_all(log.join("reads")).unwrap();

    let out = |name: &str| folder.join(name);
    let pids = [
        run(goaudit().arg("replay").arg(&log).args(["--from", "2"])),
        run(goaudit().arg("hist").arg(&log).args(["--from", "1", "--to", "3"])),
        run(goaudit().arg("prove").arg(&log).args(["1", "3-4", "-o"]).arg(out("proof"))),
        run(goaudit().arg("evidence").arg(&log).arg("-o").arg(out("case.zip"))),
        run(goaudit().args(["export", "tiles"]).arg(&log).arg("-o").arg(out("tiles"))),
    ];
    assert_eq!(waiting(&log), 5);
    // A recording of a moment may end before it looks; one that runs looks within a second.
    let agent = Agent::start(&log, &[]);
    for _ in 0..200 {
        if waiting(&log) == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(waiting(&log), 0);
    // Beside a recorder, too.
    run(goaudit().arg("replay").arg(&log));
    for _ in 0..200 {
        if waiting(&log) == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let output = agent.interrupt();
    assert!(matches!(output.status.code(), Some(0 | 4)));

    let found = reads(&log);
    let told: Vec<Value> = found
        .iter()
        .map(|read| json!([at(read, "/command"), at(read, "/pid"), at(read, "/from"), at(read, "/to")]))
        .collect();
    let expected = [
        json!(["replay", pids[0], 2, null]),
        json!(["hist", pids[1], 1, 3]),
        json!(["prove", pids[2], 1, 4]),
        json!(["evidence", pids[3], null, null]),
        json!(["export", pids[4], null, null]),
    ];
    assert_eq!(told.get(..5), Some(&expected[..]));
    assert_eq!(told.len(), 6);
    let first = found.first().unwrap();
    assert_eq!(at(first, "/uid"), 0);
    assert_eq!(at(first, "/argv/1"), "replay");
    assert_eq!(at(first, "/argv/3"), "--from");
    let verified = verify(&log, &[]);
    assert!(["ok", "incomplete"].iter().any(|verdict| at(&verified, "/verdict") == *verdict), "{verified}");
    // What was shown live is what is there, the notes among it.
    let all = replay(&log, &[]);
    assert!(all.starts_with(&before) && all.get(before.len()..) == Some(&output.stdout[..]));
}

#[test]
fn who_may_not_write_there_reads_and_is_told() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let log = folder.join("log");
    record(&log);
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    for path in [folder.path(), &log] {
        fs::set_permissions(path, open(0o755)).unwrap();
    }
    for entry in fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::set_permissions(path, open(0o644)).unwrap();
        }
    }
    // Where everybody gets to.
    let program = folder.join("goaudit");
    fs::copy(goaudit().get_program(), &program).unwrap();
    let mut command = Command::new(&program);
    command.arg("replay").arg(&log).uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(!output.stdout.is_empty());
    assert!(told.contains("this reading is not recorded with the log: failed to leave a note in "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert_eq!(waiting(&log), 0);
}
