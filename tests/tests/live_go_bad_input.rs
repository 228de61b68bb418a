//! What cannot be probed is told, with the reason, and goaudit goes on.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use goaudit_tests::capture::Agent;
use goaudit_tests::go_agent::newest;
use goaudit_tests::go_capture::{GoRecording, log_of, text};
use goaudit_tests::go_fixture::Build;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

const STRIPPED: &[&str] = &["-ldflags=-s -w"];

/// What is told as not attached about all of a program.
fn refusal<'a>(recording: &'a GoRecording, program: &Path) -> Vec<&'a str> {
    let path = program.display().to_string();
    recording
        .probes()
        .filter(|probe| probe["attached"] == false && text(probe, "/attach_point").contains(&path))
        .map(|probe| text(probe, "/reason"))
        .collect()
}

fn executable(path: PathBuf, content: &[u8]) -> PathBuf {
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_wrong_profile_ends_before_anything_is_recorded() {
    let folder = LogDir::new();
    let profile = folder.join("own.toml");
    let text = "[[probe]]\nid = \"own.probe\"\nkind = \"call\"\nmodule = \"example.org/own\"\n\
                functoin = \"F\"\nsignature = \"func()\"\n";
    fs::write(&profile, text).unwrap();
    let output = goaudit()
        .arg("record")
        .arg("-w")
        .arg(log_of(&folder))
        .arg("--profile")
        .arg(&profile)
        .args(["--", "/bin/true"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let place = format!("{}:5:1: ", profile.display());
    assert!(told.contains(&place) && told.contains("functoin") && told.contains("function"), "{told}");
    assert!(!log_of(&folder).exists(), "nothing was recorded");
    // A file that is not there is named.
    let output =
        goaudit().args(["record", "--profile", "/nonexistent/own.toml", "--", "/bin/true"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("/nonexistent/own.toml"), "{told}");
}

#[test]
fn what_a_profile_cannot_mean_is_told_with_its_place() {
    let folder = LogDir::new();
    let profile = folder.join("own.toml");
    let probe = "[[probe]]\nid = \"own.probe\"\nkind = \"authz\"\nmodule = \"example.org/own\"\nfunction = \"F\"\n\
                 signature = \"func(req *Req) (ok bool, n int)\"\ntypes = { Reqs = \"struct { Name string }\" }\n\
                 allow = \"ok\"\n";
    let cases: [(&str, &str, &str); 6] = [
        ("allow = \"ok\"", "allow = \"n\"", "8:10: allow must be a truth value"),
        (
            "org/own",
            "org/own/v3",
            "4:26: a module is named without its major version: write example.org/own;",
        ),
        ("\"F\"", "\"(F\"", "5:14: this is no name of a function: expected *"),
        ("allow = \"ok\"", "allow = \"ok\"\nsubject = \"req.Name\"", "9:15: the type Req "),
        ("kind", "nested_under = [\"casbin.enforc\"]\nkind", "3:17: no probe has the id casbin.enforc"),
        ("kind", "# Größe: \u{1}\nkind", "3:10: this is not UTF-8"),
    ];
    for (old, new, refusal) in cases {
        // A byte that is no text stands for the mark.
        let mut text = probe.replace(old, new).into_bytes();
        text.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xff);
        fs::write(&profile, text).unwrap();
        let output = goaudit()
            .args(["record", "--profile"])
            .arg(&profile)
            .arg("-w")
            .arg(log_of(&folder))
            .args(["--", "/bin/true"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(&format!("{}:{refusal}", profile.display())), "{told}");
        assert!(!log_of(&folder).exists(), "nothing was recorded");
    }
}

#[test]
fn a_static_position_independent_program_is_probed_once_it_runs() {
    needs!(Root, Bpf, GoUprobes);
    let Some(toolchain) = newest() else { return };
    let flags = ["-buildmode=pie", "-ldflags=-s -w -linkmode=external -extldflags=-static-pie"];
    let built = match toolchain.build(&Build::of("authz-ladon").cgo().flags(&flags)) {
        Ok(built) => built,
        Err(error) => {
            let test = "a_static_position_independent_program_is_probed_once_it_runs";
            goaudit_tests::ability::tell_skip(test, "static C library", &format!("{error:#}"));
            return;
        }
    };
    // Long enough for the probes to come.
    let arguments = ["-now", "-calls", "300", "-pause", "20ms", "-goroutines", "1"];
    let recording = GoRecording::of(&[], &built, &arguments);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    let refused = refusal(&recording, &built);
    assert!(refused.iter().any(|reason| reason.contains("once it runs")), "{}", recording.report());
    let calls = recording.calls().count();
    let made = recording.truth().calls.len();
    assert!(calls > 0 && calls <= made, "{calls} of {made}; {}", recording.report());
    println!("{calls} of {made} calls of a static position-independent program");
}

#[test]
fn programs_that_cannot_be_read_are_told() {
    needs!(Root, Bpf, GoUprobes);
    let Some(toolchain) = newest() else { return };
    let folder = LogDir::new();
    let small = toolchain.build(&Build::of("authz-ladon").arch("386").flags(STRIPPED)).unwrap();
    let recording = GoRecording::of(&[], &small, &["-now", "-calls", "3"]);
    // A machine without support for such programs cannot run it.
    if recording.status.code() == Some(0) {
        assert_eq!(recording.calls().count(), 0);
        let refused = refusal(&recording, &small);
        assert!(refused.iter().any(|reason| reason.contains("32-bit")), "{}", recording.report());
        assert!(recording.truth().calls.len() == 12, "{}", recording.told);
    }
    // A function table whose header is no such header. The program itself refuses to run with it.
    let built = toolchain.build(&Build::of("authz-ladon").flags(STRIPPED)).unwrap();
    let mut data = fs::read(&built).unwrap();
    let table = section(&data, ".gopclntab").unwrap();
    data[table + 6] = 0x77;
    data[table + 7] = 0x77;
    let damaged = executable(folder.join("damaged"), &data);
    let recording = GoRecording::of(&[], &damaged, &["-now", "-calls", "3"]);
    assert!(!refusal(&recording, &damaged).is_empty(), "{}", recording.report());
    assert_eq!(recording.calls().count(), 0);
    // Cut off in the middle: the kernel refuses to run it, or it dies; goaudit does neither.
    let half = executable(folder.join("half"), &fs::read(&built).unwrap()[..600_000]);
    let output = goaudit()
        .arg("record")
        .arg("-w")
        .arg(folder.join("half.log"))
        .args(["-o", "none", "--"])
        .arg(&half)
        .arg("-now")
        .output()
        .unwrap();
    assert!(output.status.code().is_some(), "{output:?}");
}

#[test]
fn a_go_version_that_nobody_knows_yet_is_probed_and_said_to_be_new() {
    needs!(Root, Bpf, GoUprobes);
    let Some(toolchain) = newest() else { return };
    let folder = LogDir::new();
    let built = toolchain.build(&Build::of("authz-ladon").flags(STRIPPED)).unwrap();
    let known = format!("go{}", toolchain.version());
    let unknown = if known.len() == 8 { "go1.99.0" } else { "go1.99.10" };
    assert_eq!(known.len(), unknown.len(), "one replaces the other");
    let mut data = fs::read(&built).unwrap();
    let mut at = 0;
    while let Some(found) = data[at..].windows(known.len()).position(|bytes| bytes == known.as_bytes()) {
        at += found;
        data[at..at + known.len()].copy_from_slice(unknown.as_bytes());
    }
    let program = executable(folder.join("newer"), &data);
    let told = goaudit().args(["inspect", "--json"]).arg(&program).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let warnings = told["warnings"].to_string();
    assert!(warnings.contains("1.99 is newer than this goaudit knows"), "{warnings}");
    // What is read is checked at every hit, and here the nearest version's layout is right.
    let recording = GoRecording::of(&[], &program, &["-now", "-calls", "5"]);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    assert_eq!(recording.calls().count(), recording.truth().calls.len(), "{}", recording.report());
    recording.assert_sound();
}

#[test]
fn what_is_not_there_is_not_probed_and_no_error() {
    needs!(Root, Bpf, GoUprobes);
    let Some(toolchain) = newest() else { return };
    let folder = LogDir::new();
    let profile = folder.join("absent.toml");
    let text = "[[probe]]\nid = \"absent.f\"\nkind = \"call\"\nmodule = \"example.org/absent\"\n\
                function = \"F\"\nsignature = \"func()\"\n";
    fs::write(&profile, text).unwrap();
    let options = ["--profile", profile.to_str().unwrap()];
    // A library that the program does not have; a program that is not Go's; one that is no program.
    let ladon = toolchain.build(&Build::of("authz-ladon").flags(STRIPPED)).unwrap();
    let script = executable(folder.join("script"), b"#!/bin/sh\ntrue\n");
    for (program, arguments) in [
        (ladon.as_path(), &["-now", "-calls", "1"][..]),
        (Path::new("/bin/true"), &[]),
        (script.as_path(), &[]),
    ] {
        let recording = GoRecording::of(&options, program, arguments);
        assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
        let told: Vec<&Value> = recording
            .probes()
            .filter(|probe| goaudit_tests::go_capture::text(probe, "/program") == "absent.f")
            .collect();
        assert!(told.is_empty(), "{told:?}");
        assert!(refusal(&recording, program).is_empty(), "{}", recording.report());
        recording.assert_sound();
    }
    // What a profile of one's own names in a module that the program has, and is not there, is told with what is nearest.
    fs::write(
        &profile,
        text.replace("example.org/absent", "goaudit.test/authz-ladon").replace("\"F\"", "\"mian\""),
    )
    .unwrap();
    let recording = GoRecording::of(&options, &ladon, &["-now", "-calls", "1"]);
    let told: Vec<&str> = recording
        .probes()
        .filter(|probe| goaudit_tests::go_capture::text(probe, "/program") == "absent.f")
        .map(|probe| goaudit_tests::go_capture::text(probe, "/reason"))
        .collect();
    assert!(told.len() == 1 && told[0].contains("the program does not contain it"), "{told:?}");
    // Who asks for it by name is told.
    let inspect = |arguments: &[&str]| {
        let output = goaudit().arg("inspect").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, told) = inspect(&["--function", "example.org/absent.F", ladon.to_str().unwrap()]);
    assert!(code == Some(0) && told.contains("does not contain it"), "{told}");
    let (code, told) = inspect(&["/bin/true"]);
    assert!(code == Some(1) && told.contains("Go"), "{told}");
    let (code, told) = inspect(&[script.to_str().unwrap()]);
    assert!(code == Some(1) && told.contains("not an ELF file"), "{told}");
}

/// File offset of a section.
fn section(data: &[u8], name: &str) -> Option<usize> {
    use object::{Object, ObjectSection};
    let file = object::File::parse(data).ok()?;
    file.section_by_name(name)?.file_range().and_then(|(offset, _)| usize::try_from(offset).ok())
}

/// Open descriptors and threads of a process.
fn resources(pid: i32) -> (usize, usize) {
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("fd"), count("task"))
}

/// How many short-lived processes are probed.
const LOOP: Duration = Duration::from_secs(10);

#[test]
fn processes_that_end_while_they_are_probed_leave_nothing_behind() {
    needs!(Root, Bpf, GoUprobes);
    let Some(toolchain) = newest() else { return };
    let program = toolchain.build(&Build::of("authz-casbin").flags(STRIPPED)).unwrap();
    let folder = LogDir::new();
    let agent = Agent::start(&log_of(&folder), &["--only", "go", "--probe-budget", "10000"]);
    let pid = agent.pid().as_raw_nonzero().get();
    let run = || {
        let arguments = ["-now", "-calls", "0", "-quiet"];
        let mut command = Command::new(&program);
        command.args(arguments).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap()
    };
    // The first one makes the agent read the file, and its probes' tables.
    assert!(run().wait().unwrap().success());
    goaudit_tests::capture::until("what the first process needed is let go", || resources(pid).0 < 200);
    std::thread::sleep(Duration::from_secs(2));
    let before = resources(pid);
    let begun = Instant::now();
    let (mut runs, mut killed) = (0, 0);
    while begun.elapsed() < LOOP {
        // Two at a time; every third is killed in the middle of it.
        let mut pair = [run(), run()];
        if runs % 6 == 0 {
            pair[0].kill().unwrap();
            killed += 1;
        }
        let statuses = pair.each_mut().map(|child| child.wait().unwrap());
        assert!(statuses[1].success(), "{statuses:?}");
        assert!(statuses[0].success() || runs % 6 == 0, "{statuses:?}");
        runs += 2;
    }
    let mut after = resources(pid);
    goaudit_tests::capture::until("descriptors and threads are let go", || {
        after = resources(pid);
        after.0 <= before.0 + 2 && after.1 <= before.1
    });
    println!("{runs} processes, {killed} killed; descriptors and threads before {before:?}, after {after:?}");
    let recording = GoRecording::after(folder, agent.interrupt());
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    recording.assert_sound();
    let attached = recording.probes().filter(|probe| probe["attached"] == true).count();
    let gone: Vec<&Value> = recording.probes().filter(|probe| probe["attached"] == false).collect();
    println!("{attached} probes attached, {} not, such as {:?}", gone.len(), gone.first());
}
