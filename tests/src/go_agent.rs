//! An agent that records the Go programs of the whole host, and programs of our own for it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::ability::tell_skip;
use crate::capture::{Agent, lines, replay_so_far, until};
use crate::go_capture::{log_of, text};
use crate::go_fixture::{Build, Toolchain, toolchain, versions};
use crate::logdir::LogDir;

/// The newest Go version that is to be tested with; none, telling so, where it is not to be had.
#[must_use]
pub fn newest() -> Option<Toolchain> {
    let version = versions().pop().unwrap_or_default();
    toolchain(&version)
        .map_err(|why| {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            tell_skip(&test, &format!("go toolchain {version}"), &why);
        })
        .ok()
}

/// A stripped fixture of the newest Go version, as a file of our own; none, telling so, where there is no such Go.
///
/// # Panics
/// When it cannot be built or copied.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its program has failed")]
pub fn program(folder: &LogDir, fixture: &str) -> Option<PathBuf> {
    let built = newest()?.build(&Build::of(fixture).flags(&["-ldflags=-s -w"])).expect("the fixture builds");
    let path = folder.join(fixture);
    fs::copy(built, &path).expect("a copy of the program");
    Some(path)
}

/// An agent that records Go programs of the whole host.
#[must_use]
pub fn agent(folder: &LogDir, options: &[&str]) -> Agent {
    // Without a budget: on a busy host a probe could be taken away for what others cost.
    Agent::start(&log_of(folder), &[&["--only", "go", "--probe-budget", "10000"], options].concat())
}

/// Waits until a probe is told as attached to a process.
///
/// # Panics
/// When that takes five minutes.
#[track_caller]
pub fn until_probed(folder: &LogDir, pid: u32, probe: &str) {
    until_probed_times(folder, pid, probe, 1);
}

/// The same until it was told so many times.
///
/// # Panics
/// When that takes five minutes.
#[track_caller]
pub fn until_probed_times(folder: &LogDir, pid: u32, probe: &str, times: usize) {
    let attached = |event: &&Value| {
        text(event, "/control/type") == "probe"
            && text(event, "/control/program") == probe
            && event.pointer("/control/attached") == Some(&Value::Bool(true))
            && text(event, "/control/attach_point").contains(&format!(" pid {pid}: "))
    };
    until("the probes of the process", || {
        lines(&replay_so_far(&log_of(folder), &[])).iter().filter(attached).count() >= times
    });
}
