//! Recording Go programs with goaudit: the events, and what the program itself told.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

use serde_json::Value;

use crate::capture::{lines, replay, verify};
use crate::go_service::Truth;
use crate::goaudit::goaudit;
use crate::logdir::LogDir;

/// A finished recording.
#[derive(Debug)]
pub struct GoRecording {
    /// Holds the log, in the folder `log`.
    pub folder: LogDir,
    /// All events, as `replay` tells them.
    pub events: Vec<Value>,
    /// Standard output of `record -o none`, which is that of the program.
    pub output: Vec<u8>,
    /// Standard error of `record` and of the program.
    pub told: String,
    /// How `record` ended.
    pub status: ExitStatus,
}

/// Where the log is in a folder.
#[must_use]
pub fn log_of(folder: &LogDir) -> PathBuf {
    folder.join("log")
}

impl GoRecording {
    /// `goaudit record -o none OPTIONS -- PROGRAM ARGUMENTS`.
    ///
    /// # Panics
    /// When goaudit does not start, or its log cannot be replayed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its recording has failed")]
    pub fn of(options: &[&str], program: &Path, arguments: &[&str]) -> Self {
        let folder = LogDir::new();
        let mut record = goaudit();
        record.arg("record").arg("-w").arg(log_of(&folder)).args(["-o", "none"]).args(options);
        let output = record.arg("--").arg(program).args(arguments).output().expect("goaudit starts");
        Self::after(folder, output)
    }

    /// Of an agent that has ended.
    ///
    /// # Panics
    /// When its log cannot be replayed.
    #[must_use]
    pub fn after(folder: LogDir, output: Output) -> Self {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log_of(&folder).is_dir(), "record ended with {} and told:\n{told}", output.status);
        let events = lines(&replay(&log_of(&folder), &[]));
        Self { folder, events, output: output.stdout, told, status: output.status }
    }

    /// What the program told on standard output.
    ///
    /// # Panics
    /// When that is no truth.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its truth has failed")]
    pub fn truth(&self) -> Truth {
        let mut lines = self.output.lines();
        let ready = lines.next().map(|line| line.expect("UTF-8")).unwrap_or_default();
        assert!(ready.starts_with("ready "), "{ready:?}; standard error:\n{}", self.told);
        Truth::take(&mut lines).expect("a truth")
    }

    /// Events of a kind, in order.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.events.iter().filter(move |event| event.get("kind").is_some_and(|told| told == kind))
    }

    /// The calls of `go_call` and `authz` events, in order.
    pub fn calls(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter_map(call)
    }

    /// Control events of a type.
    pub fn control<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.all("control")
            .filter_map(|event| event.get("control"))
            .filter(move |control| control.get("type").is_some_and(|told| told == kind))
    }

    /// The attach report's lines about Go programs.
    pub fn probes(&self) -> impl Iterator<Item = &Value> {
        self.control("probe").filter(|probe| probe.get("hook").is_some_and(|hook| hook == "go"))
    }

    /// The attach report, for messages.
    #[must_use]
    pub fn report(&self) -> String {
        let rows: Vec<String> = self.probes().map(Value::to_string).collect();
        format!("{}\n{}", rows.join("\n"), self.told)
    }

    /// How often each oddity was counted, at the end.
    #[must_use]
    pub fn oddities(&self) -> BTreeMap<String, u64> {
        let Some(stop) = self.control("stop").last() else { return BTreeMap::new() };
        let oddities = stop.pointer("/counters/oddities").and_then(Value::as_object);
        let counted = oddities.into_iter().flatten();
        counted.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
    }

    /// Records that were lost, by cause.
    #[must_use]
    pub fn lost(&self) -> String {
        let stop = self.control("stop").last();
        stop.and_then(|stop| stop.pointer("/counters/lost")).unwrap_or(&Value::Null).to_string()
    }

    /// Checks what every recording of Go programs without loss promises: the books add up, nothing is lost, every
    /// return has its entry, and every goroutine was believed.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn assert_sound(&self) {
        self.assert_complete();
        let odd: BTreeMap<_, _> =
            self.oddities().into_iter().filter(|(name, _)| name.starts_with("go_")).collect();
        assert!(odd.is_empty(), "{odd:?}");
    }

    /// Checks that the books add up and nothing is lost.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn assert_complete(&self) {
        let verified = verify(&log_of(&self.folder), &[]);
        assert_eq!(verified.get("verdict").and_then(Value::as_str), Some("ok"), "{verified}");
        assert_eq!(verified.get("lost").and_then(Value::as_u64), Some(0), "{verified} {}", self.lost());
    }
}

/// The call of a `go_call` or `authz` event.
#[must_use]
pub fn call(event: &Value) -> Option<&Value> {
    event.pointer("/authz/call").or_else(|| event.get("go_call"))
}

/// Text at a path of a value; empty if there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number at a path of a value.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn count(value: &Value, pointer: &str) -> u64 {
    let number = value.pointer(pointer).and_then(Value::as_u64);
    assert!(number.is_some(), "no number at {pointer}: {value}");
    number.unwrap_or_default()
}
