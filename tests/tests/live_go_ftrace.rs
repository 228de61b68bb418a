//! A second witness: the kernel's own uprobe events, at the same sites in the same run, see as many hits as goaudit
//! tells calls, with the same argument.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use goaudit_tests::go_capture::{GoRecording, count, text};
use goaudit_tests::go_fixture::{Build, newest_version};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_user::golang::{Program, Wanted};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

const PROFILE: &str = r#"
[[probe]]
id = "cases.work"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "work"
signature = "func(n int, s string) (done int, err error)"
[probe.fields]
n = "n"
"#;

/// Uprobe events of this test, in a trace instance of its own. Dropped, they are gone.
struct Witness {
    tracing: PathBuf,
    _root: OwnedFd,
    instance: PathBuf,
    group: String,
    events: Vec<String>,
}

impl Witness {
    fn new(group: &str) -> Self {
        // Detached, where it is not mounted: nobody else sees it.
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_create(&context).unwrap();
        let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
        let tracing = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let group = format!("{group}_{}", std::process::id());
        let instance = tracing.join("instances").join(&group);
        fs::create_dir(&instance).unwrap();
        fs::write(instance.join("buffer_size_kb"), "16384").unwrap();
        Self { tracing, _root: root, instance, group, events: Vec::new() }
    }

    fn define(&self, line: &str) {
        let mut events = OpenOptions::new().append(true).open(self.tracing.join("uprobe_events")).unwrap();
        events.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Watches an offset of a program.
    fn watch(&mut self, program: &Path, offset: u64, event: &str, arguments: &str) {
        let group = &self.group;
        self.define(&format!("p:{group}/{event} {}:{offset:#x} {arguments}", program.display()));
        self.events.push(event.to_owned());
        let enable = self.instance.join("events").join(group).join(event).join("enable");
        fs::write(enable, "1").unwrap();
    }

    /// How often each event was hit.
    fn hits(&self) -> BTreeMap<String, u64> {
        let profile = fs::read_to_string(self.tracing.join("uprobe_profile")).unwrap();
        let words = profile.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // FILE EVENT HITS; a file that was deleted has more words.
        let named = words.filter_map(|words| {
            let at = words.iter().position(|word| self.events.iter().any(|own| own == word))?;
            Some(((*words.get(at)?).to_owned(), words.get(at + 1)?.parse().unwrap()))
        });
        named.collect()
    }

    /// The argument `n` of each hit, in order.
    fn arguments(&self) -> Vec<i64> {
        let trace = fs::read_to_string(self.instance.join("trace")).unwrap();
        let hits = trace.lines().filter(|line| !line.starts_with('#'));
        hits.filter_map(|line| line.rsplit_once(" n=")?.1.trim().parse().ok()).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // A test that failed must leave nothing behind either.
        for event in &self.events {
            let enable = self.instance.join("events").join(&self.group).join(event).join("enable");
            fs::write(enable, "0").ok();
        }
        for event in &self.events {
            let mut events =
                OpenOptions::new().append(true).open(self.tracing.join("uprobe_events")).unwrap();
            events.write_all(format!("-:{}/{event}\n", self.group).as_bytes()).ok();
        }
        fs::remove_dir(&self.instance).ok();
    }
}

#[test]
fn the_kernels_own_events_see_the_same_calls() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("the_kernels_own_events_see_the_same_calls", |toolchain| {
        let version = toolchain.version();
        let built = toolchain.build(&Build::of("runtime-cases").flags(&["-ldflags=-s -w"])).unwrap();
        let folder = LogDir::new();
        // A file that nobody else runs.
        let program = folder.join("cases");
        fs::copy(built, &program).unwrap();
        let profile = folder.join("cases.toml");
        fs::write(&profile, PROFILE).unwrap();
        let data = fs::read(&program).unwrap();
        let rows = Program::parse(&data).unwrap().plan(&[Wanted::new("main.work")], None);
        let row = rows.first().unwrap();
        let entry = row.entry.unwrap();

        let mut witness = Witness::new("goaudit_go");
        // Flags tell whether the stack check's jump is taken: such a hit is no call.
        witness.watch(&program, entry.offset, "enter", "flags=%flags:x64 n=%ax:s64");
        for (index, offset) in row.returns.iter().enumerate() {
            witness.watch(&program, *offset, &format!("leave{index}"), "");
        }
        let options = ["--profile", profile.to_str().unwrap()];
        let recording = GoRecording::of(&options, &program, &["-now", "-case", "recursion", "-calls", "40"]);
        let (hits, arguments) = (witness.hits(), witness.arguments());
        drop(witness);

        recording.assert_sound();
        let entered = recording.truth().functions.get("main.work").copied().unwrap();
        assert_eq!(entered, 4 * 40 * 21);
        let calls: Vec<_> = recording.calls().collect();
        assert_eq!(calls.len() as u64, entered, "{version}: {}", recording.report());
        assert!(calls.iter().all(|call| text(call, "/outcome") == "returned"), "{version}");
        let left: u64 =
            hits.iter().filter(|(event, _)| event.starts_with("leave")).map(|(_, hits)| hits).sum();
        assert_eq!(left, entered, "{version}: {hits:?}");
        if entry.ignore_when_taken {
            assert!(hits["enter"] >= entered, "{version}: {hits:?}");
        } else {
            assert_eq!(hits["enter"], entered, "{version}: {hits:?}");
            let mut seen: BTreeMap<i64, u64> = BTreeMap::new();
            for n in arguments {
                *seen.entry(n).or_default() += 1;
            }
            let mut told: BTreeMap<i64, u64> = BTreeMap::new();
            for call in &calls {
                *told.entry(i64::try_from(count(call, "/fields/n")).unwrap()).or_default() += 1;
            }
            assert_eq!(told, seen, "{version}");
        }
        println!("go {version}: {entered} calls told, {hits:?} seen by the kernel's events");
    });
}
