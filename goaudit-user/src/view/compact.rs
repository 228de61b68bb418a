//! The compact view: one line an event, for people at terminals.
//!
//! Nothing that a process controls reaches the terminal raw (see [`super::text`]): an argument cannot move the
//! cursor, recolour the screen or forge a line. What cannot be shown is said, never left out silently.

use std::fmt::Write;

use super::text::{escape, quote};
use super::{Origin, time};
use crate::event::{self, Control, Event, Payload, Process, Text, control};
use crate::hook;
use crate::hook::prctl::Meaning;
use crate::names::{errno, signal};

mod go;

/// How to write lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to use ANSI colours.
    pub colour: bool,
    /// Seconds east of UTC for the clock.
    pub utc_offset_s: i32,
    /// Most bytes of arguments that are shown.
    pub args_max: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, utc_offset_s: 0, args_max: 400 }
    }
}

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Quiet,
    Good,
    Attention,
    Alarm,
}

impl Tone {
    const fn colour(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Quiet => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Attention => "\x1b[33m",
            Self::Alarm => "\x1b[1;31m",
        }
    }
}

/// Appends the event as one line, line feed included. What a reader at a terminal does not want is left out: the
/// processes that ran before recording began and the probes that are as they should be. JSON has all of it.
pub fn write(out: &mut Vec<u8>, event: &Event, origin: &Origin<'_>, style: Style) {
    if is_background(event) {
        return;
    }
    let mut body = String::with_capacity(160);
    let (tone, kind) = match &event.payload {
        Payload::Exec(exec) => exec_line(&mut body, exec, event.process.as_ref(), style),
        Payload::Fork(fork) => fork_line(&mut body, fork, event.process.as_ref()),
        Payload::Exit(exit) => exit_line(&mut body, exit, event.process.as_ref()),
        Payload::Prctl(call) => prctl_line(&mut body, call, event.process.as_ref()),
        Payload::Ptrace(call) => ptrace_line(&mut body, call, event.process.as_ref(), origin.machine),
        Payload::GoCall(call) => go::call_line(&mut body, call, event.process.as_ref()),
        Payload::Authz(authz) => go::authz_line(&mut body, authz, event.process.as_ref()),
        Payload::GoPanic(panic) => go::panic_line(&mut body, panic, event.process.as_ref()),
        Payload::GoExit(exit) => go::exit_line(&mut body, exit, event.process.as_ref()),
        Payload::GoSignal(signal) => go::signal_line(&mut body, signal, event.process.as_ref()),
        Payload::Control(control) => control_line(&mut body, control),
    };
    if let Some(source) = &event.source {
        if let Some(repeats) = &source.repeats {
            let _ = write!(body, "  x{}", repeats.count);
        }
        let lost = source.lost_before();
        if lost > 0 {
            let _ = write!(body, "  [{lost} LOST before]");
        }
    }
    if let Some(process) = &event.process {
        who(&mut body, process);
    }
    let (on, off) = match (style.colour, tone.colour()) {
        (false, _) | (true, "") => ("", ""),
        (true, colour) => (colour, "\x1b[0m"),
    };
    let clock = time::clock(origin.wall_ns(event.ktime), style.utc_offset_s);
    let line = format!("{clock} {on}{kind:<8}{off}{body}\n");
    out.extend_from_slice(line.as_bytes());
}

/// Whether an event only matters to a program that reads the whole log.
fn is_background(event: &Event) -> bool {
    let Payload::Control(control) = &event.payload else { return false };
    match control.as_ref() {
        Control::Snapshot(_) => true,
        Control::Probe(probe) => probe.attached,
        Control::Genesis(_)
        | Control::Start(_)
        | Control::Stop(_)
        | Control::Heartbeat(_)
        | Control::Loss(_)
        | Control::ClockStep(_)
        | Control::Calibration(_)
        | Control::Policy(_)
        | Control::Read(_)
        | Control::Segment(_) => false,
    }
}

/// User and container at the end of a line.
fn who(body: &mut String, process: &Process) {
    let _ = write!(body, "  uid={}", process.uid);
    if let Some(user) = process.user.as_ref().filter(|user| !user.as_bytes().is_empty()) {
        body.push('(');
        escape(body, user.as_bytes());
        body.push(')');
    }
    if let Some(euid) = process.euid.filter(|euid| *euid != process.uid) {
        let _ = write!(body, " euid={euid}");
    }
    if let Some(id) = &process.container_id {
        body.push_str(" container=");
        escape(body, id.get(..12).unwrap_or(id).as_bytes());
    }
}

/// The last name of a path.
fn base(path: &Text) -> &[u8] {
    path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// A file that a library decides by.
fn policy_line(text: &mut String, policy: &control::Policy) -> Tone {
    let _ = write!(text, "{} decides by ", policy.library);
    escape(text, policy.path.as_bytes());
    let digest = policy.sha256.as_deref().or(policy.error.as_deref()).unwrap_or_default();
    let _ = write!(text, ": {digest}");
    if let Some(previous) = &policy.previous {
        let _ = write!(text, ", before {previous}");
    }
    if !policy.processes.is_empty() {
        let processes: Vec<_> = policy.processes.iter().map(u32::to_string).collect();
        let _ = write!(text, "; may not have read it again: {}", processes.join(" "));
    }
    let changed = policy.previous.is_some() || policy.error.is_some();
    if changed { Tone::Attention } else { Tone::Quiet }
}

/// Somebody read the log.
fn read_line(body: &mut String, read: &control::Read) -> Tone {
    if let Some(reader) = &read.reader {
        let control::Reader { command, at_ns, pid, uid, login_uid, .. } = reader;
        let at = time::rfc3339(i64::try_from(*at_ns).unwrap_or(i64::MAX));
        escape(body, command.as_bytes());
        let _ = write!(body, " by uid {uid}");
        if let Some(login) = login_uid {
            let _ = write!(body, " (logged in as {login})");
        }
        let _ = write!(body, ", pid {pid}, at {at}, ");
        match (reader.from, reader.to) {
            (None, None) => body.push_str("all events"),
            (from, None) => {
                let _ = write!(body, "events from {}", from.unwrap_or(0));
            }
            (from, Some(to)) => {
                let _ = write!(body, "events {} to {to}", from.unwrap_or(0));
            }
        }
        if reader.follow {
            body.push_str(" and those to come");
        }
        body.push(':');
        arguments(body, &reader.argv, Style::default().args_max);
        return Tone::Quiet;
    }
    body.push_str("among notes of readers is ");
    escape(body, read.file.as_bytes());
    body.push_str(", which is none: ");
    escape(body, read.error.as_deref().unwrap_or_default().as_bytes());
    Tone::Attention
}

/// `1907 bash`.
fn name(body: &mut String, process: Option<&Process>) {
    if let Some(process) = process {
        let _ = write!(body, "{} ", process.tgid);
        quote(body, process.comm.as_bytes());
    }
}

fn arguments(body: &mut String, argv: &[Text], max: usize) {
    let start = body.len();
    for (at, argument) in argv.iter().enumerate() {
        let used = body.len().saturating_sub(start);
        let bytes = argument.as_bytes();
        let room = max.saturating_sub(used);
        if room == 0 {
            let _ = write!(body, " ... +{} arguments", argv.len().saturating_sub(at));
            return;
        }
        body.push(' ');
        quote(body, bytes.get(..room).unwrap_or(bytes));
        if bytes.len() > room {
            let _ = write!(body, "... +{} bytes", bytes.len().saturating_sub(room));
        }
    }
}

fn exec_line(
    body: &mut String,
    exec: &event::Exec,
    process: Option<&Process>,
    style: Style,
) -> (Tone, &'static str) {
    let failed = errno::of_result(exec.ret);
    if let Some(process) = process {
        let _ = write!(body, "{} ", process.tgid);
        match &exec.previous_exe {
            Some(previous) if failed.is_none() => quote(body, base(previous)),
            Some(_) | None => quote(body, process.comm.as_bytes()),
        }
    }
    body.push_str(" > ");
    let ran = process.and_then(|process| process.exe.as_ref()).filter(|_| failed.is_none());
    match ran.or(exec.filename.as_ref()) {
        Some(path) => quote(body, path.as_bytes()),
        None => body.push('?'),
    }
    arguments(body, exec.argv.get(1..).unwrap_or_default(), style.args_max);
    if !exec.argv_complete {
        body.push_str(" [arguments not whole");
        if let Some(argc) = exec.argc {
            let _ = write!(body, ": {argc} of {} bytes", exec.argv_bytes.unwrap_or_default());
        }
        body.push(']');
    }
    if exec.args_changed == Some(true) {
        body.push_str("  ARGUMENTS SWAPPED, at entry:");
        arguments(body, &exec.entry_argv, style.args_max);
        return (Tone::Alarm, "exec!");
    }
    if let Some(errno) = failed {
        let _ = write!(body, "  {errno}");
        return (Tone::Attention, "exec");
    }
    (Tone::Good, "exec")
}

fn fork_line(body: &mut String, fork: &event::Fork, process: Option<&Process>) -> (Tone, &'static str) {
    name(body, process);
    if fork.thread {
        let _ = write!(body, " + thread {}", fork.child_tid);
        return (Tone::Quiet, "thread");
    }
    let _ = write!(body, " + {}", fork.child_tgid);
    (Tone::Quiet, "fork")
}

fn exit_line(body: &mut String, exit: &event::Exit, process: Option<&Process>) -> (Tone, &'static str) {
    name(body, process);
    let mut tone = Tone::Quiet;
    if let Some(code) = exit.code {
        let _ = write!(body, " exit {code}");
    }
    if let Some(number) = exit.signal {
        let _ =
            write!(body, " killed by {}", signal::name(number.into()).unwrap_or_else(|| number.to_string()));
        tone = Tone::Attention;
    }
    if exit.core_dumped {
        body.push_str(" (core dumped)");
    }
    if let Some(lifetime) = exit.lifetime_ns {
        let _ = write!(body, " after {:?}", std::time::Duration::from_nanos(lifetime));
    }
    (tone, "exit")
}

fn prctl_line(body: &mut String, call: &event::Prctl, process: Option<&Process>) -> (Tone, &'static str) {
    name(body, process);
    body.push(' ');
    match hook::prctl::option(call.option) {
        Some(row) => body.push_str(row.name.strip_prefix("PR_").unwrap_or(row.name)),
        None => {
            let _ = write!(body, "option {}", call.option);
        }
    }
    for (word, meaning) in hook::prctl::decoded(call) {
        let _ = write!(body, " {word}=");
        match meaning {
            Meaning::Number(number) => {
                let _ = write!(body, "{number}");
            }
            Meaning::Unsigned(number) => {
                let _ = write!(body, "{number}");
            }
            Meaning::Name(text) => quote(body, text.as_bytes()),
            Meaning::Flags(flags) if flags.is_empty() => body.push('0'),
            Meaning::Flags(flags) => body.push_str(&flags.join("|")),
            Meaning::Bool(truth) => {
                let _ = write!(body, "{truth}");
            }
            Meaning::Text(text) => quote(body, text.as_bytes()),
        }
    }
    match errno::of_result(call.ret) {
        Some(errno) => {
            let _ = write!(body, " = {errno}");
        }
        None => {
            let _ = write!(body, " = {}", call.ret);
        }
    }
    if hook::prctl::attention(call) { (Tone::Attention, "prctl!") } else { (Tone::Plain, "prctl") }
}

fn ptrace_line(
    body: &mut String,
    call: &event::Ptrace,
    process: Option<&Process>,
    machine: &str,
) -> (Tone, &'static str) {
    use hook::ptrace::request::{TRACEME, name as request_name, takes_hold};
    match request_name(call.request, machine) {
        Some(request) => body.push_str(request.strip_prefix("PTRACE_").unwrap_or(request)),
        None => {
            let _ = write!(body, "request {:#x}", call.request);
        }
    }
    body.push(' ');
    name(body, process);
    if call.request != TRACEME {
        body.push_str(" -> ");
        match &call.target {
            Some(target) => {
                let _ = write!(body, "{}", target.tgid.unwrap_or_default());
                if let Some(tid) = target.tid.filter(|tid| Some(*tid) != target.tgid) {
                    let _ = write!(body, "/{tid}");
                }
                if let Some(comm) = &target.comm {
                    body.push(' ');
                    quote(body, comm.as_bytes());
                }
            }
            None => {
                let _ = write!(body, "pid {}", call.pid);
            }
        }
    }
    if let Some(errno) = errno::of_result(call.ret) {
        let _ = write!(body, "  {errno}");
    }
    if let Some(by) = &call.denied_by {
        body.push_str(" DENIED by ");
        escape(body, by.as_bytes());
        return (Tone::Alarm, "ptrace!");
    }
    if takes_hold(call.request) {
        return (Tone::Attention, "ptrace!");
    }
    (Tone::Plain, "ptrace")
}

fn control_line(body: &mut String, control: &Control) -> (Tone, &'static str) {
    let mut text = String::new();
    let (tone, kind) = match control {
        Control::Genesis(genesis) => {
            let _ = write!(text, "log {} begins, key {}", genesis.origin, genesis.verification_key);
            (Tone::Good, "log")
        }
        Control::Start(start) => {
            let _ = write!(
                text,
                "goaudit {} on {} ({} {}), {} CPUs",
                start.agent, start.host.name, start.host.kernel, start.host.machine, start.cpus
            );
            if !start.clean {
                text.push_str("; the run before did not end in order");
            }
            if let Some((bytes, _)) = &start.torn {
                let _ = write!(text, ", {bytes} bytes of a torn tail set aside");
            }
            if let Some(damage) = &start.damage {
                let _ = write!(text, "; damage in {damage} is left as it is");
            }
            if let Some(behind) = start.clock_behind_ns {
                let seconds = std::time::Duration::from_nanos(behind).as_secs_f64();
                let _ = write!(text, "; the wall clock stands {seconds:.3} s before the last event");
            }
            let good = start.clean && start.clock_behind_ns.is_none();
            (if good { Tone::Good } else { Tone::Attention }, "start")
        }
        Control::Stop(stop) => {
            let _ = write!(text, "{}; ", stop.reason);
            books(&mut text, &stop.counters);
            (Tone::Good, "stop")
        }
        Control::Heartbeat(counters) => {
            books(&mut text, counters);
            (Tone::Quiet, "alive")
        }
        Control::Loss(loss) => {
            match (&loss.program, loss.cpu) {
                (Some(program), _) => {
                    let _ = write!(text, "{} calls NOT SEEN: the kernel skipped {program}", loss.count);
                }
                (None, Some(cpu)) => {
                    let _ = write!(text, "{} records LOST on CPU {cpu}: {}", loss.count, loss.cause);
                }
                (None, None) => {
                    let _ = write!(text, "{} records LOST: {}", loss.count, loss.cause);
                }
            }
            if let Some((first, last)) = loss.range {
                let _ = write!(text, " (between {first} and {last})");
            }
            (Tone::Alarm, "LOSS")
        }
        Control::Calibration(costs) => {
            let _ = write!(
                text,
                "a hit of a probe costs {} ns here, {} ns where the kernel must single-step",
                costs.emulated_ns, costs.stepped_ns
            );
            if let (Some(record), Some(value)) = (costs.record_ns, costs.value_ns) {
                let _ = write!(text, "; on top {record} ns for the record and {value} ns for each value");
            }
            (Tone::Quiet, "cost")
        }
        Control::Policy(policy) => (policy_line(&mut text, policy), "policy"),
        Control::Read(read) => (read_line(body, read), "read"),
        Control::ClockStep(step) => {
            let _ = write!(text, "the wall clock moved by {} ns", step.delta_ns);
            (Tone::Attention, "clock")
        }
        Control::Probe(probe) => {
            let state = if probe.attached { "attached" } else { "NOT ATTACHED" };
            let _ = write!(text, "{} {} at {}", probe.program, state, probe.attach_point);
            if let Some(reason) = &probe.reason {
                let _ = write!(text, ": {reason}");
            }
            if let Some(not_seen) = &probe.not_seen {
                let _ = write!(text, "; not seen: {not_seen}");
            }
            (if probe.attached { Tone::Quiet } else { Tone::Alarm }, "probe")
        }
        Control::Snapshot(snapshot) => {
            name(body, Some(&snapshot.process));
            arguments(body, &snapshot.argv, Style::default().args_max);
            (Tone::Quiet, "running")
        }
        Control::Segment(host) => {
            let _ = write!(text, "segment of {} ({} {})", host.name, host.kernel, host.machine);
            (Tone::Quiet, "segment")
        }
    };
    escape(body, text.as_bytes());
    (tone, kind)
}

fn books(text: &mut String, counters: &control::Counters) {
    let sum = |column: &[u64]| column.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let lost = counters.lost.iter().fold(0, |sum: u64, row| sum.saturating_add(row.1));
    let _ = write!(text, "{} seen, {} stored, {lost} lost", sum(&counters.seen), sum(&counters.stored));
    let filtered = sum(&counters.filtered);
    if filtered > 0 {
        let _ = write!(text, ", {filtered} filtered");
    }
    if counters.not_run > 0 {
        let _ = write!(text, ", {} calls NOT SEEN", counters.not_run);
    }
}
