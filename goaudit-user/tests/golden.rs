//! Golden replay: raw ring records and what they mean, side by side in `tests/golden` (see its README).
//!
//! `NAME.records` are records as the kernel side writes them, `NAME.jsonl` and `NAME.txt` the views of the events
//! that they become. `GOAUDIT_BLESS=1` rewrites all of them: read the diff.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use goaudit_ebpf::units::Ktime;
use goaudit_user::correlate::host::{HostInfo, HostProcess};
use goaudit_user::correlate::{Config, Correlator};
use goaudit_user::event::{Event, Text};
use goaudit_user::view::compact::{self, Style};
use goaudit_user::view::{Origin, json, schema};

#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/control.rs"]
mod control;
#[path = "golden/go.rs"]
mod go;
#[path = "support/kernel.rs"]
mod kernel;

/// The host of the golden files.
struct GoldenHost;

/// A container's cgroup: id and path.
const CONTAINER: (u64, &str) =
    (77, "/system.slice/docker-3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b.scope");

impl HostInfo for GoldenHost {
    fn process(&mut self, tgid: u32) -> Option<HostProcess> {
        (tgid == 50).then(|| HostProcess {
            start_ktime_ns: Some(50_000_000),
            exe: Some("/usr/bin/bash".into()),
            pid_ns: Some(4_026_531_836),
            user_ns: Some(4_026_531_837),
            ns_tgid: Some(50),
            session: Some(3),
            cgroup: Some("/user.slice/user-1000.slice/session-3.scope".into()),
            comm: Some("bash".into()),
            uid: Some(1000),
        })
    }

    fn cgroup(&mut self, id: u64) -> Option<Text> {
        match id {
            42 => Some("/user.slice/user-1000.slice/session-3.scope".into()),
            id if id == CONTAINER.0 => Some(CONTAINER.1.into()),
            _ => None,
        }
    }

    fn user(&mut self, uid: u32) -> Option<Text> {
        match uid {
            0 => Some("root".into()),
            1000 => Some("alice".into()),
            _ => None,
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn blessing() -> bool {
    std::env::var_os("GOAUDIT_BLESS").is_some_and(|bless| bless == "1")
}

/// Compares with the file, or rewrites it.
fn same(file: &Path, now: &str) {
    if blessing() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, now).unwrap();
        return;
    }
    let before = fs::read_to_string(file).unwrap_or_default();
    if before != now {
        let line = before.lines().zip(now.lines()).position(|(left, right)| left != right);
        let at = line.unwrap_or_else(|| before.lines().count().min(now.lines().count()));
        eprintln!("expected: {}", before.lines().nth(at).unwrap_or("(end)"));
        eprintln!("     now: {}", now.lines().nth(at).unwrap_or("(end)"));
        panic!(
            "{} differs from line {}: cargo xtask golden --bless, then read the diff",
            file.display(),
            at + 1
        );
    }
}

fn hex(records: &[cases::Step]) -> String {
    let mut text = String::new();
    for step in records {
        match step {
            cases::Step::Record(bytes) => {
                for byte in bytes {
                    write!(text, "{byte:02x}").unwrap();
                }
                text.push('\n');
            }
            cases::Step::Note(note) => writeln!(text, "# {note}").unwrap(),
        }
    }
    text
}

fn unhex(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            assert!(line.len().is_multiple_of(2), "half a byte");
            (0..line.len() / 2).map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap()).collect()
        })
        .collect()
}

fn origin(seq: u64) -> Origin<'static> {
    Origin {
        seq,
        boot_id: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        host: "golden",
        machine: "x86_64",
        realtime_minus_boottime_ns: 1_795_262_400_000_000_000,
    }
}

/// The events, through their stored form.
fn stored(events: &[Event]) -> Vec<Event> {
    events
        .iter()
        .map(|event| {
            let mut bytes = Vec::new();
            event.encode(&mut bytes);
            let again = Event::decode(&bytes).unwrap();
            assert_eq!(*event, again);
            again
        })
        .collect()
}

fn views(events: &[Event]) -> (String, String) {
    let (mut lines, mut text) = (Vec::new(), Vec::new());
    for (seq, event) in (0..).zip(events) {
        json::write(&mut lines, event, &origin(seq));
        compact::write(&mut text, event, &origin(seq), Style::default());
    }
    (String::from_utf8(lines).unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn records_mean_what_the_files_say() {
    for case in cases::all() {
        let file = |extension| folder().join(format!("{}.{extension}", case.name));
        same(&file("records"), &hex(&case.steps));
        // What is replayed are the file's bytes.
        let records = unhex(&fs::read_to_string(file("records")).unwrap());
        let mut correlator = Correlator::new(Config::default(), GoldenHost);
        let mut events = Vec::new();
        for record in &records {
            correlator.push(record, &mut events);
        }
        correlator.finish(Ktime(2_000_000_000), &case.kernel, &mut events);
        let (lines, text) = views(&stored(&events));
        same(&file("jsonl"), &lines);
        same(&file("txt"), &text);
        assert!(!events.is_empty(), "{} has events", case.name);
    }
}

#[test]
fn control_events_look_like_this() {
    let (lines, text) = views(&stored(&control::all()));
    same(&folder().join("control.jsonl"), &lines);
    same(&folder().join("control.txt"), &text);
}

#[test]
fn go_events_look_like_this() {
    let (lines, text) = views(&stored(&go::all()));
    same(&folder().join("go.jsonl"), &lines);
    same(&folder().join("go.txt"), &text);
}

#[test]
fn every_hook_and_kind_has_a_golden() {
    if blessing() {
        return;
    }
    let mut all = String::new();
    for name in cases::all().iter().map(|case| case.name).chain(["go", "control"]) {
        all += &fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap_or_default();
    }
    for kind in json::Kind::ALL {
        assert!(all.contains(&format!("\"kind\":\"{}\"", kind.name())), "no golden for {}", kind.name());
    }
    for hook in goaudit_user::hook::HOOKS {
        assert!(
            json::Kind::ALL.iter().any(|kind| kind.hook() == Some(hook.name)),
            "no kind of {}",
            hook.name
        );
    }
}

#[test]
fn the_schema_is_current_and_every_line_keeps_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/goaudit.event.schema.json");
    same(&file, &schema::generate());
    if blessing() {
        return;
    }
    let root = serde_json::from_str(&schema::generate()).unwrap();
    let mut compiler = boon::Compiler::new();
    let mut schemas = boon::Schemas::new();
    compiler.add_resource("mem:///event", root).unwrap();
    let index = compiler.compile("mem:///event", &mut schemas).unwrap();
    let mut lines = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let value = serde_json::from_str(line).unwrap();
                if let Err(error) = schemas.validate(&value, index) {
                    panic!("{}: {error:#}\n{line}", path.display());
                }
                lines += 1;
            }
        }
    }
    assert!(lines > 30, "only {lines} golden lines");
    let wrong = serde_json::json!({ "schema": "goaudit.event/1" });
    assert!(schemas.validate(&wrong, index).is_err(), "the schema refuses something");
}
