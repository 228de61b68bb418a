//! More functions than the kernel's tables have places for, at once and one after another.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use goaudit_tests::capture::{lines, replay_so_far, until};
use goaudit_tests::go_agent::{agent, newest, until_probed};
use goaudit_tests::go_capture::{GoRecording, log_of, text};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// Functions of one program: five programs have less than the tables' places, six have more.
const FUNCTIONS: u64 = 400;
const FIT: usize = 5;

/// A program whose functions each call what the Go compiler cannot see through; it waits for its input's end.
fn program(folder: &LogDir) -> Option<PathBuf> {
    let toolchain = newest()?;
    let mut source =
        "package main\n\nimport (\n\t\"io\"\n\t\"os\"\n)\n\nvar calls = []func(int) int{".to_owned();
    let mut bodies = String::new();
    for number in 0..FUNCTIONS {
        write!(source, "f{number:03}, ").unwrap();
        write!(
            bodies,
            "\n//go:noinline\nfunc f{number:03}(a int) int {{\n\tif a > 7 {{\n\t\tos.Exit(a)\n\t}}\n\treturn a + {number}\n}}\n"
        )
        .unwrap();
    }
    source.push_str("}\n");
    source.push_str(&bodies);
    source
        .push_str("\nfunc main() {\n\tio.ReadAll(os.Stdin)\n\tfor _, f := range calls {\n\t\tf(1)\n\t}\n}\n");
    let dir = folder.join("source");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("main.go"), source).unwrap();
    fs::write(dir.join("go.mod"), "module goaudit.test/many\n\ngo 1.18\n").unwrap();
    let built = folder.join("many");
    let mut go = toolchain.go();
    go.current_dir(&dir)
        .env("CGO_ENABLED", "0")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&built)
        .arg(".");
    let output = go.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(built)
}

fn profile(folder: &LogDir) -> String {
    let mut text = String::new();
    for number in 0..FUNCTIONS {
        write!(
            text,
            "[[probe]]\nid = \"many.f{number:03}\"\nkind = \"call\"\nmodule = \"goaudit.test/many\"\npackage = \"main\"\n\
             function = \"f{number:03}\"\nsignature = \"func(a int) int\"\n"
        )
        .unwrap();
    }
    let path = folder.join("many.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn start(program: &Path) -> Child {
    Command::new(program).stdin(Stdio::piped()).spawn().unwrap()
}

/// Lets it call its functions, and end.
fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// Whether it was told that there is no room for this file's functions.
fn crowded(folder: &LogDir, file: &Path) -> bool {
    let file = file.display().to_string();
    lines(&replay_so_far(&log_of(folder), &[])).iter().any(|event| {
        text(event, "/control/reason").contains("the table of probes is full")
            && text(event, "/control/attach_point").ends_with(&file)
    })
}

#[test]
fn a_full_table_is_told_and_has_room_when_programs_have_ended() {
    needs!(Root, Bpf, GoUprobes);
    let folder = LogDir::new();
    let Some(built) = program(&folder) else { return };
    let copies: Vec<PathBuf> = (0..=FIT)
        .map(|copy| {
            let path = folder.join(&format!("many-{copy}"));
            fs::copy(&built, &path).unwrap();
            path
        })
        .collect();
    let agent = agent(&folder, &["--profile", &profile(&folder)]);
    let (last, fit) = copies.split_last().unwrap();
    let first: Vec<Child> = fit.iter().map(|program| start(program)).collect();
    for child in &first {
        until_probed(&folder, child.id(), "many.f399");
    }
    let waiting = start(last);
    until("a full table is told", || crowded(&folder, last));
    let mut probed: Vec<u32> = first.iter().map(Child::id).collect();
    first.into_iter().for_each(end);
    // Some seconds later there is room.
    until_probed(&folder, waiting.id(), "many.f399");
    probed.push(waiting.id());
    end(waiting);
    // And those before are probed again, where others were.
    let again = start(fit.first().unwrap());
    until_probed(&folder, again.id(), "many.f399");
    probed.push(again.id());
    end(again);
    let recording = GoRecording::after(folder, agent.interrupt());
    let mut told: BTreeMap<u64, BTreeMap<&str, u64>> = BTreeMap::new();
    for event in recording.all("go_call") {
        let process = event.pointer("/process/tgid").and_then(Value::as_u64).unwrap();
        *told.entry(process).or_default().entry(text(event, "/go_call/function")).or_default() += 1;
    }
    // Each probed process, each of its functions, once.
    let names: Vec<String> = (0..FUNCTIONS).map(|number| format!("main.f{number:03}")).collect();
    let once: BTreeMap<&str, u64> = names.iter().map(|name| (&**name, 1)).collect();
    let expected: BTreeMap<u64, BTreeMap<&str, u64>> =
        probed.iter().map(|process| (u64::from(*process), once.clone())).collect();
    assert!(told == expected, "{:?}", told.iter().map(|(pid, calls)| (pid, calls.len())).collect::<Vec<_>>());
    recording.assert_sound();
}
