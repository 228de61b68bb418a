//! A recording from its start to its end, whatever is recorded: `record` and `trace`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::Exit;
use super::output::{Format, note, told};
use super::process::Process;
use super::replay::{Show, show};
use crate::anchoring::{AnchorError, Anchored, Follower, WitnessAt};
use crate::audit::ContentKeys;
use crate::event::control::{Counters, NOT_RUN, TAKEN_AWAY};
use crate::filter::Filter;
use crate::kernel::AttachReport;
use crate::recorder::{Config, Recorder, Running, Summary};

/// How long a batch may wait to be closed while somebody watches.
const WATCHED_BATCH_AGE: Duration = Duration::from_millis(200);
/// How long it may wait when nobody does: with what comes before and the disk behind, events are durable within 1 s.
const UNWATCHED_BATCH_AGE: Duration = Duration::from_millis(850);

/// Who is recorded.
pub(super) enum Whom<'a> {
    /// Everybody.
    Host,
    /// This command and its descendants, from its first instruction.
    Command(&'a [OsString]),
    /// A process that runs.
    Process(&'a Process),
}

/// What is shown of a recording while it runs.
pub(super) struct Shown {
    /// How.
    pub format: Format,
    /// With colour.
    pub color: bool,
    /// Times in UTC.
    pub utc: bool,
    /// Which of the stored events.
    pub filter: Filter,
    /// Whether it is told how many programs of the kernel side are attached, if all are.
    pub kernel_probes: bool,
}

/// A recording that is asked for.
pub(super) struct Recording<'a> {
    /// What to record and where to.
    pub config: Config,
    /// Who is recorded.
    pub whom: Whom<'a>,
    /// End after this long.
    pub duration: Option<Duration>,
    /// What is shown meanwhile.
    pub shown: Shown,
    /// Who is asked to cosign the log meanwhile, and how often.
    pub witnesses: (Vec<WitnessAt>, Duration),
}

/// A recording that ended.
pub(super) struct Ended {
    /// What it came to.
    pub summary: Summary,
    /// Number of its first event.
    pub first_seq: u64,
    /// Opens what was recorded, if it is encrypted: the last segment at least.
    pub content: ContentKeys,
}

impl Ended {
    /// How goaudit ends then.
    pub(super) fn exit(&self) -> Exit {
        let counters = &self.summary.counters;
        let lost = counters.lost.iter().any(|(_, count)| *count > 0);
        if lost || counters.not_run > 0 || taken_away(counters) > 0 { Exit::Incomplete } else { Exit::Ok }
    }
}

/// Records until a signal, the time, or the end of whom it is about.
pub(super) fn run(recording: Recording<'_>) -> anyhow::Result<Ended> {
    let Recording { config, whom, duration, shown, witnesses } = recording;
    let directory = config.directory.clone();
    // From here on Ctrl-C is a normal end, also while programs are being loaded.
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let mut recorder = Recorder::prepare(config).context("cannot record")?;
    report(recorder.reports(), shown.kernel_probes);
    for found in recorder.found() {
        note(&found);
    }
    if let Some(reason) = recorder.no_go() {
        note(&format!("Go programs are not probed: {reason}"));
    }
    let (child, process) = match whom {
        Whom::Host => (None, None),
        Whom::Command(command) => (Some(launch(command, &mut recorder)?), None),
        Whom::Process(_) if recorder.is_nested() => {
            return Err(Exit::Error.because(
                "inside a pid namespace the number of a running process cannot be told to the kernel: run goaudit \
                 on the host (or in a container with --pid=host), or give a command",
            ));
        }
        Whom::Process(process) => {
            recorder.scope_add(process.pid()).context("cannot record")?;
            recorder.probe_running(process.pid());
            (None, Some(process))
        }
    };
    note(&format!("recording into {}; Ctrl-C ends", directory.display()));
    super::init::tell(recorder.opened());
    let first_seq = recorder.first_seq();
    // Before anything is recorded: from here on no key is forgotten that a view may need.
    let content = recorder.content_keys();
    let later = content.passing();
    let begun = Instant::now();
    let running = recorder.run().context("cannot record")?;
    let ended = Arc::new(AtomicBool::new(false));
    let watcher = watch(&directory, shown, first_seq, content, &ended)?;
    let follower = follow(&directory, witnesses)?;
    let (reason, status) = wait(duration, child, process, &running, &mut signals)?;
    let summary = running.stop(reason).context("recording ended early");
    ended.store(true, Ordering::Release);
    let watched = watcher.map(std::thread::JoinHandle::join);
    if let Some(follower) = follower {
        follower.finish();
    }
    let summary = summary?;
    summarise(&summary, begun.elapsed());
    if let Some(Err(_)) = watched {
        return Err(
            Exit::Error.because("the view panicked; the log itself is complete. This is a bug of goaudit")
        );
    }
    if let Some(code) = status.filter(|code| *code != 0) {
        note(&format!("the command ended with status {code}"));
    }
    if summary.halted {
        return Err(Exit::Error.because(
            "the disk is full: the recording ended in order, as --when-full halt asks; free space and record again",
        ));
    }
    Ok(Ended { summary, first_seq, content: later })
}

/// Has witnesses cosign the log as it grows. What they say is told when it is not what they said before.
fn follow(
    directory: &Path,
    (witnesses, every): (Vec<WitnessAt>, Duration),
) -> anyhow::Result<Option<Follower>> {
    if witnesses.is_empty() {
        return Ok(None);
    }
    let last = Mutex::new(HashMap::new());
    let tell = move |witness: &WitnessAt, result: Result<Anchored, AnchorError>| {
        let line = match result {
            Ok(_) => format!("{} cosigns the log", witness.key.name()),
            Err(error) => {
                format!("not cosigned by {}, recording goes on: {}", witness.key.name(), told(&error.into()))
            }
        };
        let before = last.lock().ok().and_then(|mut last| last.insert(witness.url.clone(), line.clone()));
        if before.is_none_or(|before| before != line) {
            note(&line);
        }
    };
    Follower::start(directory, witnesses, every, Box::new(tell))
        .map(Some)
        .context("cannot start the thread that asks witnesses")
}

/// Oldest an event may get before it is in the log.
pub(super) fn batch_age(format: Format) -> Duration {
    if format == Format::None { UNWATCHED_BATCH_AGE } else { WATCHED_BATCH_AGE }
}

/// Name of a new log unless told otherwise.
pub(super) fn origin() -> String {
    format!("goaudit/{}/audit", origin_part(&crate::host::identity::host().name))
}

/// A host name as it may stand in a checkpoint's origin: no blanks, no plus sign.
fn origin_part(host: &str) -> String {
    let name: String =
        host.chars().map(|c| if c.is_whitespace() || c == '+' || c.is_control() { '-' } else { c }).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

/// Tells what is not attached, alike ones in one line.
fn report(reports: &[AttachReport], also_if_all: bool) {
    let mut groups: Vec<(&AttachReport, Vec<&str>)> = Vec::new();
    for report in reports.iter().filter(|report| !report.attached) {
        let alike = groups.iter_mut().find(|(first, _)| {
            (first.hook, &first.reason, first.not_seen) == (report.hook, &report.reason, report.not_seen)
        });
        match alike {
            Some((_, programs)) => programs.push(report.program),
            None => groups.push((report, vec![report.program])),
        }
    }
    let missing: usize = groups.iter().map(|(_, programs)| programs.len()).sum();
    if also_if_all || missing > 0 {
        note(&format!("{} of {} probes attached", reports.len() - missing, reports.len()));
    }
    for (first, programs) in &groups {
        note(&format!(
            "not attached: {}: {}",
            programs.join(", "),
            first.reason.as_deref().unwrap_or("unknown reason")
        ));
        if let Some(not_seen) = first.not_seen {
            note(&format!("    not seen: {not_seen}"));
        }
    }
}

/// Starts the command stopped, puts it into scope, and lets it go.
fn launch(command: &[OsString], recorder: &mut Recorder) -> anyhow::Result<Child> {
    let own = std::env::current_exe().context("cannot find goaudit's own binary")?;
    let child = Command::new(own)
        .arg("__launch")
        .arg("--")
        .args(command)
        .stdin(Stdio::inherit())
        .spawn()
        .context("cannot start the command")?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("process id out of range")?;
    // Wait until it has stopped itself: from here to the continue it runs no instruction.
    waitpid(Some(pid), WaitOptions::UNTRACED).context("cannot wait for the command")?;
    recorder.scope_add(child.id()).context("cannot record")?;
    if let Some(path) = command.first().and_then(|name| program_file(name)) {
        recorder.probe_before_main(child.id(), &path);
    }
    kill_process(pid, Signal::CONT).context("cannot continue the command")?;
    Ok(child)
}

/// The file that a command's name stands for, as execvp finds it.
pub(super) fn program_file(name: &std::ffi::OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Shows the log as it grows, in a thread of its own.
fn watch(
    directory: &Path,
    shown: Shown,
    first_seq: u64,
    content: ContentKeys,
    ended: &Arc<AtomicBool>,
) -> anyhow::Result<Option<std::thread::JoinHandle<()>>> {
    let Shown { format, color, utc, filter, kernel_probes: _ } = shown;
    if format == Format::None {
        return Ok(None);
    }
    let shown = Show {
        directory: directory.to_owned(),
        from: first_seq,
        format,
        color,
        utc,
        filter,
        content,
        follow: Some(Arc::clone(ended)),
    };
    let thread = std::thread::Builder::new().name("view".to_owned()).spawn(move || {
        if let Err(error) = show(shown)
            && Exit::of(&error) != Exit::Ok
        {
            note(&format!("the live view ended, recording goes on: {}", told(&error)));
        }
    })?;
    Ok(Some(thread))
}

/// How often the time, the command and the threads are looked at, when their end is waited for.
const PROMPT_POLL: Duration = Duration::from_millis(20);
/// How often the threads are looked at, when only a signal ends the recording.
const IDLE_POLL: Duration = Duration::from_millis(200);

/// Waits for the end: a signal, the time, the command, the process, or a failure inside. A command that was interrupted with
/// us is waited for, so that its end is recorded, too; a second Ctrl-C does not wait.
fn wait(
    duration: Option<Duration>,
    mut child: Option<Child>,
    process: Option<&Process>,
    running: &Running,
    signals: &mut Signals,
) -> anyhow::Result<(&'static str, Option<i32>)> {
    let Signals { runtime, interrupt, terminate } = signals;
    runtime.block_on(async {
        let begun = Instant::now();
        // Nobody waits for the end of a recording that only a signal ends.
        let prompt = child.is_some() || process.is_some() || duration.is_some();
        let mut poll = tokio::time::interval(if prompt { PROMPT_POLL } else { IDLE_POLL });
        let mut interrupted = false;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {
                    if child.is_none() || interrupted {
                        return Ok(("interrupt", None));
                    }
                    interrupted = true;
                    note("waiting for the command to end; Ctrl-C again ends the recording at once");
                }
                _ = terminate.recv() => return Ok(("terminated", None)),
                _ = poll.tick() => {
                    if running.failed() {
                        return Ok(("failure", None));
                    }
                    if duration.is_some_and(|duration| begun.elapsed() >= duration) {
                        return Ok(("duration", None));
                    }
                    if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                        return Ok(("command ended", Some(code(status))));
                    }
                    if process.is_some_and(Process::has_ended) {
                        note("the process ended");
                        return Ok(("process ended", None));
                    }
                }
            }
        }
    })
}

/// The signals that end a recording, caught from before there is anything to end.
struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(within);
        Ok(Self { runtime, interrupt, terminate })
    }
}

/// A status as shells tell it.
fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Probes that were taken away while their process went on.
fn taken_away(counters: &Counters) -> u64 {
    counters.oddities.iter().filter(|(name, _)| name == TAKEN_AWAY).map(|(_, count)| count).sum()
}

fn summarise(summary: &Summary, elapsed: Duration) {
    let lost: u64 = summary.counters.lost.iter().map(|(_, count)| count).sum();
    note(&format!("{:.1} s  {} events  {lost} lost", elapsed.as_secs_f64(), summary.events));
    for (cause, count) in &summary.counters.lost {
        note(&format!("LOST {count} ({cause})"));
    }
    if summary.counters.not_run > 0 {
        let count = summary.counters.not_run;
        note(&format!(
            "LOST {count} ({NOT_RUN}): calls that nobody saw, because the kernel skipped a program"
        ));
    }
    let taken_away = taken_away(&summary.counters);
    if taken_away > 0 {
        note(&format!(
            "TAKEN AWAY {taken_away} probes of Go programs before these ended: their calls from then on are not seen; why is \
             in the log (goaudit replay DIR --where 'kind == \"control\" && control.attached == false')"
        ));
    }
}
