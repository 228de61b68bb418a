//! `goaudit record`: the agent.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::Exit;
use super::capture::{Select, View, duration, size};
use super::output::{Format, note, told};
use super::replay::{Show, show};
use crate::correlate;
use crate::correlate::env::EnvNames;
use crate::event::Text;
use crate::filter::Filter;
use crate::golang::profile::Profile;
use crate::kernel::{self, AttachReport};
use crate::recorder::{Config, GoConfig, Recorder, Running, Summary};

/// How long a batch may wait to be closed while somebody watches.
const WATCHED_BATCH_AGE: Duration = Duration::from_millis(200);
/// How long it may wait when nobody does.
const UNWATCHED_BATCH_AGE: Duration = Duration::from_secs(1);

/// Percent of a CPU that a probe may cost when a whole host is recorded.
const DEFAULT_BUDGET: f64 = 2.0;

/// Record this host, or one command, into a sealed log.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sudo goaudit record                                 everything on this host, until Ctrl-C\n  sudo goaudit record -w /tmp/log -- go test ./...    one command and its descendants\n  sudo goaudit record --only ptrace -o json | jq .    a live stream of ptrace calls"
)]
pub(super) struct Args {
    /// Directory of the log; made if it is not there, continued if it is.
    #[arg(short = 'w', long = "write", value_name = "DIR", default_value = "/var/lib/goaudit/audit")]
    directory: PathBuf,

    /// Stop after this long, such as `60s`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    #[command(flatten)]
    select: Select,

    #[command(flatten)]
    view: View,

    /// Show nothing while recording (same as `-o none`).
    #[arg(short, long)]
    quiet: bool,

    /// Leave out what the agent's own descendants do. Its own process is never recorded.
    #[arg(long)]
    skip_descendants: bool,

    /// Environment variables whose values are recorded at exec, or `*` for all [default: those that steer Go
    /// and the dynamic loader].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    env: Option<Vec<String>>,

    /// Size of the ring buffer between kernel and agent: a power of two.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "16MiB")]
    ring: u64,

    /// Name of the log in its checkpoints, for a new log [default: goaudit/HOST/audit].
    #[arg(long)]
    origin: Option<String>,

    /// Also write the ring's records to this file as they come (docs/demo.md).
    #[arg(long, value_name = "FILE", hide = true)]
    tap: Option<PathBuf>,

    /// Probe no Go programs.
    #[arg(long)]
    no_go: bool,

    /// A file with profiles of Go functions, in addition to the built-in ones. May be repeated.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,

    /// Part of one CPU, in percent, that the probe of one Go function may cost before it is taken away
    /// [default: 2; without limit when a command is recorded].
    #[arg(long, value_name = "PERCENT")]
    probe_budget: Option<f64>,

    /// Record only if every probe can be attached; otherwise end with exit code 4.
    #[arg(long)]
    strict: bool,

    /// Run this command and record it and its descendants, from its first instruction; nothing else.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = if args.quiet { Format::None } else { Format::or_default(args.view.output) };
    // From here on Ctrl-C is a normal end, also while programs are being loaded.
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let mut recorder = Recorder::prepare(config(args, format)?).context("cannot record")?;
    report(recorder.reports());
    if let Some(reason) = recorder.no_go() {
        note(&format!("Go programs are not probed: {reason}"));
    }
    let child = if args.command.is_empty() { None } else { Some(launch(&args.command, &mut recorder)?) };
    note(&format!("recording into {}; Ctrl-C ends", args.directory.display()));
    note(&format!("verification key {}", recorder.verification_key()));
    let first_seq = recorder.first_seq();
    let begun = Instant::now();
    let running = recorder.run().context("cannot record")?;
    let ended = Arc::new(AtomicBool::new(false));
    let watcher = watch(args, format, first_seq, &ended)?;
    let (reason, status) = wait(args, child, &running, &mut signals)?;
    let summary = running.stop(reason).context("recording ended early");
    ended.store(true, Ordering::Release);
    let watched = watcher.map(std::thread::JoinHandle::join);
    let summary = summary?;
    summarise(args, &summary, begun.elapsed());
    if let Some(Err(_)) = watched {
        return Err(
            Exit::Error.because("the view panicked; the log itself is complete. This is a bug of goaudit")
        );
    }
    Ok(match status {
        Some(code) if code != 0 => {
            note(&format!("the command ended with status {code}"));
            verdict(&summary)
        }
        _ => verdict(&summary),
    })
}

fn config(args: &Args, format: Format) -> anyhow::Result<Config> {
    let filter = args.select.filter()?;
    for later in ["seq", "ts"] {
        if filter.names(later) {
            return Err(Exit::Usage.because(format!(
                "--where uses `{later}`, which an event gets only when it is stored; use it with `goaudit replay`"
            )));
        }
    }
    let ring_bytes = u32::try_from(args.ring)
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && *bytes >= 1 << 16)
        .ok_or_else(|| {
            Exit::Usage
                .because(format!("--ring {}: the ring must be a power of two from 64KiB to 2GiB", args.ring))
        })?;
    let host = crate::host::identity::host();
    Ok(Config {
        directory: args.directory.clone(),
        origin: args.origin.clone().unwrap_or_else(|| format!("goaudit/{}/audit", origin_part(&host.name))),
        batch_age: if format == Format::None { UNWATCHED_BATCH_AGE } else { WATCHED_BATCH_AGE },
        kernel: kernel::Config {
            ring_bytes,
            scoped: !args.command.is_empty(),
            skip_descendants: args.skip_descendants,
            ..kernel::Config::default()
        },
        correlate: args.env.as_ref().map_or_else(correlate::Config::default, |names| correlate::Config {
            env: EnvNames::from_names(names.iter().map(String::as_str)),
            ..correlate::Config::default()
        }),
        filter,
        go: go(args)?,
        strict: args.strict,
        tap: args.tap.clone(),
        command: std::env::args_os().map(|arg| Text::from(arg.as_bytes())).collect(),
    })
}

/// What to probe in Go programs.
fn go(args: &Args) -> anyhow::Result<Option<GoConfig>> {
    if args.no_go {
        return Ok(None);
    }
    let mut profile =
        Profile::builtin().context("a built-in profile is damaged; this is a bug of goaudit")?;
    for path in &args.profile {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let own = Profile::parse(&path.display().to_string(), &text)
            .map_err(|error| Exit::Usage.because(error.to_string()))?;
        // The user's own come first: of an id the first that fits is taken.
        profile.probes.splice(0..0, own.probes);
    }
    let percent = match args.probe_budget {
        Some(percent) if percent.is_finite() && percent > 0.0 => Some(percent),
        Some(percent) => {
            return Err(Exit::Usage.because(format!("--probe-budget {percent}: it must be above zero")));
        }
        None => args.command.is_empty().then_some(DEFAULT_BUDGET),
    };
    Ok(Some(GoConfig {
        profile,
        all_panics: !args.command.is_empty(),
        budget: percent.map(|percent| percent / 100.0),
    }))
}

/// A host name as it may stand in a checkpoint's origin: no blanks, no plus sign.
fn origin_part(host: &str) -> String {
    let name: String =
        host.chars().map(|c| if c.is_whitespace() || c == '+' || c.is_control() { '-' } else { c }).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

/// Tells what is not attached, alike ones in one line.
fn report(reports: &[AttachReport]) {
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
    note(&format!("{} of {} probes attached", reports.len() - missing, reports.len()));
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
fn program_file(name: &std::ffi::OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Shows the log as it grows, in a thread of its own.
fn watch(
    args: &Args,
    format: Format,
    first_seq: u64,
    ended: &Arc<AtomicBool>,
) -> anyhow::Result<Option<std::thread::JoinHandle<()>>> {
    if format == Format::None {
        return Ok(None);
    }
    let shown = Show {
        directory: args.directory.clone(),
        from: first_seq,
        format,
        color: args.view.color.enabled(),
        utc: args.view.utc,
        filter: Filter::default(),
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

/// Waits for the end: a signal, the time, the command, or a failure inside. A command that was interrupted with
/// us is waited for, so that its end is recorded, too; a second Ctrl-C does not wait.
fn wait(
    args: &Args,
    mut child: Option<Child>,
    running: &Running,
    signals: &mut Signals,
) -> anyhow::Result<(&'static str, Option<i32>)> {
    let Signals { runtime, interrupt, terminate } = signals;
    runtime.block_on(async {
        let begun = Instant::now();
        // Nobody waits for the end of a recording that only a signal ends.
        let prompt = child.is_some() || args.duration.is_some();
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
                    if args.duration.is_some_and(|duration| begun.elapsed() >= duration) {
                        return Ok(("duration", None));
                    }
                    if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                        return Ok(("command ended", Some(code(status))));
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

fn summarise(args: &Args, summary: &Summary, elapsed: Duration) {
    let lost: u64 = summary.counters.lost.iter().map(|(_, count)| count).sum();
    note(&format!("{:.1} s  {} events  {lost} lost", elapsed.as_secs_f64(), summary.events));
    for (cause, count) in &summary.counters.lost {
        note(&format!("LOST {count} ({cause})"));
    }
    if std::io::stderr().is_terminal() {
        let directory = args.directory.display();
        note(&format!("next: goaudit verify {directory}   goaudit replay {directory}"));
    }
}

fn verdict(summary: &Summary) -> Exit {
    if summary.counters.lost.iter().any(|(_, count)| *count > 0) { Exit::Incomplete } else { Exit::Ok }
}
