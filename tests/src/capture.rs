//! Recording a hard case with goaudit, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::compare::at;
use crate::goaudit::{goaudit, program};
use crate::logdir::LogDir;
use crate::truth::{Truth, number};

/// A finished recording.
#[derive(Debug)]
pub struct Recording {
    /// Holds log, truth and the cases' files.
    pub folder: LogDir,
    /// Standard output of `record -o json`, byte for byte.
    pub live: Vec<u8>,
    /// The same, parsed.
    pub events: Vec<Value>,
    /// Standard error of `record`.
    pub told: String,
    /// Exit code of `record`.
    pub code: Option<i32>,
    sound: OnceLock<()>,
}

/// One case in a recording.
#[derive(Debug)]
pub struct Capture {
    recording: Arc<Recording>,
    /// What the case told.
    pub truth: Truth,
    pids: BTreeSet<u64>,
}

impl Deref for Capture {
    type Target = Recording;

    fn deref(&self) -> &Recording {
        &self.recording
    }
}

/// Many cases in one recording, made when the first is asked for.
#[derive(Debug)]
pub struct Shared {
    cases: &'static [&'static str],
    recording: OnceLock<Arc<Recording>>,
}

impl Shared {
    /// These cases; one with arguments is one word with blanks.
    #[must_use]
    pub const fn new(cases: &'static [&'static str]) -> Self {
        Self { cases, recording: OnceLock::new() }
    }

    /// One of the cases.
    ///
    /// # Panics
    /// As [`Capture::with`], and for a case that is not among these.
    #[expect(clippy::expect_used, reason = "a test that asks for nothing has failed")]
    pub fn case(&self, words: &str) -> Capture {
        let index = self.cases.iter().position(|case| *case == words).expect("a case of this recording");
        let recording = self.recording.get_or_init(|| {
            let folder = LogDir::new();
            let command = case(&folder, &[&["several"], self.cases].concat());
            let mut record = goaudit();
            record.arg("record").arg("-w").arg(log_of(&folder)).args(["-o", "json"]);
            let output = record.arg("--").args(command).output().expect("goaudit starts");
            Arc::new(Recording::new(folder, output))
        });
        let truth = Truth::read(&recording.folder.join(&format!("truth.{index}")));
        Capture::new(Arc::clone(recording), truth)
    }
}

/// Folder of the log in a [`LogDir`].
fn log_of(folder: &LogDir) -> PathBuf {
    folder.join("log")
}

/// The case as a command line, with its truth and files in the folder.
///
/// # Panics
/// When the folder cannot be prepared.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its folder has failed")]
pub fn case(folder: &LogDir, case: &[&str]) -> Vec<std::ffi::OsString> {
    let files = folder.join("files");
    std::fs::create_dir_all(&files).expect("a folder for the case");
    // Cases become other users, who must get through.
    for path in [folder.path(), &files] {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, open).expect("permissions of the case's folder");
    }
    let mut words = vec![program("hardcase").into_os_string()];
    words.extend(["--truth".into(), folder.join("truth").into(), "--dir".into(), files.into()]);
    words.extend(case.iter().map(Into::into));
    words
}

impl Capture {
    /// Records one case: `goaudit record OPTIONS -- hardcase CASE`.
    #[must_use]
    pub fn of(words: &[&str]) -> Self {
        Self::with(&[], words)
    }

    /// The same with more options of `record`.
    ///
    /// # Panics
    /// When goaudit does not start, ends with another code than 0 or 4, or tells no JSON.
    #[must_use]
    pub fn with(options: &[&str], words: &[&str]) -> Self {
        let folder = LogDir::new();
        let command = case(&folder, words);
        Self::command(folder, options, &command)
    }

    /// Records a command line.
    ///
    /// # Panics
    /// As [`Capture::with`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its recording has failed")]
    pub fn command(folder: LogDir, options: &[&str], command: &[std::ffi::OsString]) -> Self {
        let mut record = goaudit();
        record.arg("record").arg("-w").arg(log_of(&folder)).args(["-o", "json"]).args(options);
        let output = record.arg("--").args(command).output().expect("goaudit starts");
        Self::finish(folder, output)
    }

    /// Records everything on this host while `during` runs, then ends by SIGINT.
    ///
    /// # Panics
    /// As [`Capture::with`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its recording has failed")]
    pub fn host(options: &[&str], words: &[&str]) -> Self {
        let folder = LogDir::new();
        let command = case(&folder, words);
        let agent = Agent::start(&log_of(&folder), options);
        let (program, arguments) = command.split_first().expect("a program");
        let status = Command::new(program).args(arguments).status().expect("the case starts");
        assert!(status.success(), "the case ended with {status}");
        let output = agent.interrupt();
        Self::finish(folder, output)
    }

    fn finish(folder: LogDir, output: Output) -> Self {
        let recording = Recording::new(folder, output);
        let truth = Truth::read(&recording.folder.join("truth"));
        Self::new(Arc::new(recording), truth)
    }

    fn new(recording: Arc<Recording>, truth: Truth) -> Self {
        let pids = truth.pids();
        Self { recording, truth, pids }
    }

    /// Events of a kind by the processes of this case, in order.
    pub fn kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.all(kind).filter(|event| {
            event.pointer("/process/tgid").and_then(Value::as_u64).is_some_and(|pid| self.pids.contains(&pid))
        })
    }

    /// Events of a kind by one process.
    pub fn by<'a>(&'a self, kind: &str, pid: u64) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.kind(kind).filter(move |event| event.pointer("/process/tgid").is_some_and(|tgid| tgid == pid))
    }
}

impl Recording {
    fn new(folder: LogDir, output: Output) -> Self {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 4)), "record ended with {} and told:\n{told}", output.status);
        let events = lines(&output.stdout);
        Self { folder, live: output.stdout, events, told, code, sound: OnceLock::new() }
    }

    /// Folder of the log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        log_of(&self.folder)
    }

    /// Events of a kind, in order, whoever made them.
    pub fn all<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let kind = Value::from(kind);
        self.events.iter().filter(move |event| event.get("kind") == Some(&kind))
    }

    /// Control events of a type.
    pub fn control<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.all("control")
            .filter_map(|event| event.get("control"))
            .filter(move |control| control.get("type").and_then(Value::as_str) == Some(kind))
    }

    /// Whether the kernel's ptrace checks were observed: the log itself says which programs were attached.
    #[must_use]
    pub fn sees_checks(&self) -> bool {
        self.control("probe").any(|probe| {
            probe.get("hook").and_then(Value::as_str) == Some("ptrace")
                && probe.get("attached") == Some(&Value::Bool(true))
                && probe
                    .get("attach_point")
                    .and_then(Value::as_str)
                    .is_some_and(|point| point.contains("ptrace_may_access"))
        })
    }

    /// Whether programs had other copies behind them, as on kernels that preempt programs and skip them meanwhile.
    #[must_use]
    pub fn is_relieved(&self) -> bool {
        self.control("probe").any(|probe| at(probe, "/program") == "exit_relief")
    }

    /// Programs that the kernel skipped, as the loss events tell it, and how often.
    #[must_use]
    pub fn skipped(&self) -> BTreeMap<String, u64> {
        let mut skipped = BTreeMap::new();
        for loss in self.control("loss").filter(|loss| at(loss, "/cause") == "not_run") {
            let program = at(loss, "/program").as_str().unwrap_or_default().to_owned();
            *skipped.entry(program).or_default() += number(loss, "count");
        }
        skipped
    }

    /// Checks that calls which the kernel skipped are told everywhere as what is missing.
    ///
    /// # Panics
    /// When they are not.
    pub fn assert_skips_are_told(&self) {
        let skipped: u64 = self.skipped().values().sum();
        assert_eq!(self.code, Some(4), "record told:\n{}", self.told);
        assert!(self.told.contains(&format!("LOST {skipped} (not_run)")), "record told:\n{}", self.told);
        let books = self.control("stop").next().map(|stop| at(stop, "/counters/not_run").as_u64());
        assert_eq!(books, Some(Some(skipped)), "the books");
        let verified = verify(&self.log(), &[]);
        assert_eq!(verified.get("verdict").and_then(Value::as_str), Some("incomplete"), "{verified}");
        assert_eq!(number(&verified, "code"), 4, "{verified}");
        assert_eq!(number(&verified, "not_run"), skipped, "{verified}");
        let check = |name: &str| {
            let checks = verified.get("checks").and_then(Value::as_array).into_iter().flatten();
            checks.filter(|check| at(check, "/name") == name).all(|check| at(check, "/ok") == true)
        };
        assert!(check("conservation") && !check("no_loss"), "{verified}");
    }

    /// Checks what every recording without loss promises: code 0, nothing lost, the log verifies, and replay
    /// is what was shown live.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn assert_sound(&self) {
        if self.sound.get().is_some() {
            return;
        }
        assert_eq!(self.code, Some(0), "record told:\n{}", self.told);
        let verified = verify(&self.log(), &[]);
        assert_eq!(verified.get("verdict").and_then(Value::as_str), Some("ok"), "{verified}");
        assert_eq!(number(&verified, "lost"), 0, "{verified}");
        let replayed = replay(&self.log(), &[]);
        assert!(
            replayed == self.live,
            "replay differs from live: {}",
            first_difference(&self.live, &replayed)
        );
        self.sound.set(()).ok();
    }
}

/// A recording agent that runs.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    told: Option<std::thread::JoinHandle<Vec<u8>>>,
    shown: Option<std::thread::JoinHandle<Vec<u8>>>,
}

impl Agent {
    /// Starts `goaudit record -w LOG -o json OPTIONS` and waits until it records.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn start(log: &Path, options: &[&str]) -> Self {
        Self::start_as(goaudit(), log, options)
    }

    /// The same by a command that becomes `goaudit` and passes on what follows: `strace -D goaudit`, say.
    ///
    /// # Panics
    /// When it ends before it records.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its agent has failed")]
    pub fn start_as(mut command: Command, log: &Path, options: &[&str]) -> Self {
        command.arg("record").arg("-w").arg(log).args(["-o", "json"]).args(options);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("goaudit starts");
        // Both pipes are read all the time, or a full one would stand in the way.
        let stdout = child.stdout.take().expect("piped");
        let shown = std::thread::spawn(move || all(stdout));
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut before = String::new();
        loop {
            let start = before.len();
            let len = stderr.read_line(&mut before).expect("goaudit tells UTF-8");
            assert!(len > 0, "record ended before it recorded; it told:\n{before}");
            if before.get(start..).is_some_and(|line| line.contains("recording into")) {
                break;
            }
        }
        let told = std::thread::spawn(move || [before.into_bytes(), all(stderr)].concat());
        Self { child, told: Some(told), shown: Some(shown) }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it with Ctrl-C and waits.
    #[must_use]
    pub fn interrupt(self) -> Output {
        self.end(Signal::INT)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it cannot be waited for, or does not end: then with where its threads are.
    #[must_use]
    pub fn wait(mut self) -> Output {
        let status = ended(&mut self.child, "the agent");
        let joined = |thread: &mut Option<std::thread::JoinHandle<Vec<u8>>>| {
            // Somebody else that holds the pipe keeps it open.
            until("the end of the agent's output, after its end", || {
                thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
            });
            thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        Output { status, stdout: joined(&mut self.shown), stderr: joined(&mut self.told) }
    }

    /// Ends it with a signal and waits.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its agent has failed")]
    pub fn end(self, signal: Signal) -> Output {
        kill_process(self.pid(), signal).expect("the agent runs");
        self.wait()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A test that panicked must not leave an agent behind. One that has ended cannot be killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for the end of a child process; gives up after three minutes, which no test comes near unless something is
/// broken.
///
/// # Panics
/// When it gives up, with where the child's threads are.
#[track_caller]
#[expect(clippy::expect_used, clippy::panic, reason = "a child that does not end is a failure")]
pub fn ended(child: &mut Child, what: &str) -> ExitStatus {
    for _ in 0..18_000 {
        if let Some(status) = child.try_wait().expect("our child") {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let threads = threads(child.id());
    child.kill().ok();
    child.wait().ok();
    panic!("{what} did not end within three minutes; its threads were at:\n{threads}");
}

/// Name, state and place in the kernel of each thread of a process.
fn threads(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let told = tasks.map(|task| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let state =
            read("stat").rsplit(')').next().and_then(|rest| rest.split_whitespace().next()?.chars().next());
        format!("{} {:?} {}\n{}", read("comm").trim(), state, read("syscall").trim(), read("stack"))
    });
    told.collect::<Vec<_>>().join("\n")
}

fn all(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).ok();
    bytes
}

/// JSON lines, parsed.
///
/// # Panics
/// When a line is no JSON object of the promised schema.
#[must_use]
#[expect(clippy::expect_used, reason = "a line that is no JSON is a failure")]
pub fn lines(output: &[u8]) -> Vec<Value> {
    output
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let event: Value = serde_json::from_slice(line).expect("a line of JSON");
            assert_eq!(event.get("schema").and_then(Value::as_str), Some("goaudit.event/1"), "{event}");
            event
        })
        .collect()
}

/// Standard output of `goaudit replay LOG -o json OPTIONS`, which must succeed.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn replay(log: &Path, options: &[&str]) -> Vec<u8> {
    replay_ending(log, options, &[0])
}

/// As [`replay`], of a log that is being written: the frame at its end may not be whole yet.
///
/// # Panics
/// When it fails otherwise.
#[must_use]
pub fn replay_so_far(log: &Path, options: &[&str]) -> Vec<u8> {
    replay_ending(log, options, &[0, 4])
}

#[expect(clippy::expect_used, reason = "a test without its replay has failed")]
fn replay_ending(log: &Path, options: &[&str], exits: &[i32]) -> Vec<u8> {
    let output =
        goaudit().arg("replay").arg(log).args(["-o", "json"]).args(options).output().expect("goaudit starts");
    let told = String::from_utf8_lossy(&output.stderr);
    let ended = output.status.code().is_some_and(|code| exits.contains(&code));
    assert!(ended, "replay ended with {} and told:\n{told}", output.status);
    output.stdout
}

/// What `goaudit verify LOG --json OPTIONS` says; its exit code under `code`.
///
/// # Panics
/// When it tells no JSON.
#[must_use]
#[expect(clippy::panic, clippy::expect_used, reason = "a test without its verdict has failed")]
pub fn verify(log: &Path, options: &[&str]) -> Value {
    let output =
        goaudit().arg("verify").arg(log).arg("--json").args(options).output().expect("goaudit starts");
    let mut verdict: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "verify ended with {} and told no JSON ({error}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    if let Some(verdict) = verdict.as_object_mut() {
        verdict.insert("code".to_owned(), output.status.code().into());
    }
    verdict
}

/// Where two outputs part, for messages.
#[must_use]
pub fn first_difference(a: &[u8], b: &[u8]) -> String {
    let (mut left, mut right) = (a.split(|byte| *byte == b'\n'), b.split(|byte| *byte == b'\n'));
    let mut line = 1;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return "nowhere".to_owned(),
            (one, other) if one == other => line += 1,
            (one, other) => {
                let show = |line: Option<&[u8]>| {
                    line.map_or_else(
                        || "(the end)".to_owned(),
                        |line| String::from_utf8_lossy(line.get(..2000).unwrap_or(line)).into_owned(),
                    )
                };
                return format!("line {line}:\n  {}\n  {}", show(one), show(other));
            }
        }
    }
}

/// Waits until something holds; gives up after five minutes, which no test comes near unless something is broken.
///
/// # Panics
/// When it gives up.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(5), "waited five minutes for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many lines of a truth file contain a text, while the case runs.
#[must_use]
pub fn told_so_far(folder: &LogDir, text: &str) -> usize {
    let truth = std::fs::read(folder.join("truth")).unwrap_or_default();
    String::from_utf8_lossy(&truth).lines().filter(|line| line.contains(text)).count()
}

/// The segments of a log, in order.
///
/// # Panics
/// When the log cannot be listed.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its log has failed")]
pub fn segments(log: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(log)
        .expect("the log's folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gal"))
        .collect();
    segments.sort();
    segments
}
