//! What a crash leaves behind, as users of the commands see it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap or panic is a failed test")]

use std::path::Path;

use goaudit_ebpf::units::Ktime;
use goaudit_tests::capture::segments;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::{Now, Writer, WriterConfig};
use goaudit_user::event::Event;
use goaudit_user::event::control::{Control, Host, Start};

const NOW: Now = Now { realtime_ns: 1_700_000_000_000_000_000, boottime_ns: 1_000 };

/// Adds a start, sealed.
fn append_start(writer: &mut Writer, n: u32) {
    let host = Host { name: format!("host-{n}"), ..Host::default() };
    let event = Event::control(Ktime(1_000), Control::Start(Start { host, ..Start::default() }));
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    writer.append(&bytes, 1_000, true, NOW).unwrap();
    writer.seal(NOW).unwrap();
}

/// A log with some starts in it, ended in order.
fn log(dir: &Path) {
    let config = WriterConfig::new("example.org/recovery", [7; 16], [8; 16]);
    let (mut writer, _) = Writer::open(dir, config, NOW).unwrap();
    for n in 0..20 {
        append_start(&mut writer, n);
    }
    writer.close(NOW).unwrap();
}

fn verify(dir: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let output = goaudit().arg("verify").args(options).arg(dir).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn repair_tells_what_it_set_aside_and_every_byte_stays() {
    let folder = LogDir::new();
    let dir = folder.join("log");
    log(&dir);
    let path = segments(&dir).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, whole.get(..whole.len() - 300).unwrap()).unwrap();
    let (code, out, _) = verify(&dir, &[]);
    assert_eq!(code, Some(3), "{out}");
    let (code, out, told) = verify(&dir, &["--repair"]);
    assert_eq!(code, Some(4), "a crash stays visible: {out}");
    assert!(out.starts_with("INCOMPLETE"), "{out}");
    let torn: Vec<_> =
        std::fs::read_dir(dir.join("torn")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [torn] = torn.as_slice() else { panic!("{torn:?}") };
    assert!(told.contains("torn bytes of segment 0") && told.contains(torn.to_str().unwrap()), "{told}");
    let sum = std::process::Command::new("sha256sum").arg(torn).output().unwrap();
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    assert!(told.contains(sum.split(' ').next().unwrap()), "{told} {sum}");
    let mut together = std::fs::read(&path).unwrap();
    together.extend(std::fs::read(torn).unwrap());
    assert_eq!(Some(together.as_slice()), whole.get(..whole.len() - 300));
    let (code, _, told) = verify(&dir, &["--repair"]);
    assert_eq!(code, Some(4));
    // It is still told: no run recorded it yet. Nothing more is set aside.
    assert!(told.contains(torn.to_str().unwrap()), "{told}");
    assert_eq!(std::fs::read_dir(dir.join("torn")).unwrap().count(), 1);
}

#[test]
fn prune_gives_up_what_is_old_and_nothing_else() {
    let folder = LogDir::new();
    let dir = folder.join("log");
    // Three segments of 2023, to be kept for thirty days.
    let mut config = WriterConfig::new("example.org/prune", goaudit_user::host::identity::host_id(), [8; 16]);
    config.retention = std::time::Duration::from_hours(30 * 24);
    let (mut writer, _) = Writer::open(&dir, config, NOW).unwrap();
    for n in 0..3 {
        if n > 0 {
            writer.force_roll();
        }
        append_start(&mut writer, n);
    }
    writer.close(NOW).unwrap();
    let prune = |options: &[&str]| {
        let output = goaudit().arg("prune").args(options).arg(&dir).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = prune(&["--keep", "29"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("must be kept for 30 days"), "{told}");
    let (code, told) = prune(&["--keep", "36500"]);
    assert!(code == Some(0) && told.contains("nothing is old enough"), "{told}");
    let (code, told) = prune(&[]);
    assert!(code == Some(0) && told.contains("segments up to 1 are pruned: events before 2"), "{told}");
    let (code, out, _) = verify(&dir, &[]);
    assert_eq!(code, Some(4), "the runs of this log have no end: {out}");
    assert!(out.starts_with("INCOMPLETE") && !out.contains("first bad place"), "{out}");
    let retention = out.lines().find(|line| line.contains("retention")).unwrap();
    assert!(retention.starts_with("proven") && retention.contains("segments 0 to 1"), "{retention}");
    // Its pruned segments are not believed without the record.
    let newest = segments(&dir).pop().unwrap();
    std::fs::remove_file(newest).unwrap();
    std::fs::remove_file(dir.join("checkpoint")).unwrap();
    let (code, out, _) = verify(&dir, &[]);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("does not say so"), "{out}");
}

#[test]
fn repair_of_a_whole_log_changes_nothing() {
    let folder = LogDir::new();
    let dir = folder.join("log");
    log(&dir);
    let path = segments(&dir).pop().unwrap();
    let before = std::fs::read(&path).unwrap();
    let (_, _, told) = verify(&dir, &["--repair"]);
    assert!(told.contains("nothing to repair"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(!dir.join("torn").exists());
    let (code, _, told) = verify(&folder.join("nowhere"), &["--repair"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("nowhere"), "{told}");
}
