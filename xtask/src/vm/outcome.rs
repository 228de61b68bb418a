//! What came out of one kernel: read from the guest's results, judged, told.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::machine::{End, Ran};
use crate::command::last_lines;

/// Lines of process 1, among those of the test binaries.
const MARK: &str = "@lab ";

/// Lines of the console shown when something went wrong outside the tests.
const SHOWN_LINES: usize = 60;

/// The result of one kernel.
pub(crate) struct Outcome {
    /// The version that was asked for.
    pub(crate) version: &'static str,
    /// The release that booted, if it did.
    release: Option<String>,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
    /// Tests that said what they miss.
    pub(crate) skips: Vec<String>,
    /// What went wrong, besides failed tests: panics, hangs, binaries that ended strangely.
    troubles: Vec<String>,
    /// Output of the test binaries.
    output: String,
    console: String,
    console_file: Option<PathBuf>,
    pub(crate) took: Duration,
}

impl Outcome {
    pub(super) fn not_run(version: &'static str, why: &str) -> Self {
        Self { troubles: vec![why.to_owned()], ..Self::empty(version) }
    }

    fn empty(version: &'static str) -> Self {
        Self {
            version,
            release: None,
            passed: 0,
            failed: 0,
            ignored: 0,
            skips: Vec::new(),
            troubles: Vec::new(),
            output: String::new(),
            console: String::new(),
            console_file: None,
            took: Duration::ZERO,
        }
    }

    /// Reads what a machine left behind.
    pub(super) fn of(version: &'static str, ran: Ran) -> Self {
        let mut outcome = Self {
            took: ran.took,
            console: ran.console,
            console_file: Some(ran.console_file),
            ..Self::empty(version)
        };
        let mut done = false;
        for line in ran.results.lines() {
            match line.strip_prefix(MARK) {
                Some(told) => done |= outcome.read_told(told),
                None => outcome.read_test_line(line),
            }
        }
        match ran.end {
            End::Panicked => outcome.troubles.push("the kernel panicked".to_owned()),
            End::TimedOut => outcome.troubles.push(format!("no end after {} s", ran.took.as_secs())),
            End::Finished if outcome.release.is_none() => {
                outcome.troubles.push("the guest never came up".to_owned());
            }
            End::Finished if !done => outcome.troubles.push("the guest ended before its plan did".to_owned()),
            // A lab that tests nothing must not look green.
            End::Finished if outcome.passed + outcome.failed == 0 => {
                outcome.troubles.push("no test ran".to_owned());
            }
            End::Finished => {}
        }
        outcome
    }

    /// Reads a line of process 1; true for its last one.
    fn read_told(&mut self, told: &str) -> bool {
        let Ok(told) = serde_json::from_str::<Value>(told) else {
            self.troubles.push(format!("unreadable result line: {told}"));
            return false;
        };
        let word = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(release) = word("boot") {
            self.release = Some(release);
        } else if let Some(skip) = word("skip") {
            self.skips.push(skip);
        } else if let Some(binary) = word("binary") {
            let exit = told.get("exit").and_then(Value::as_i64);
            // libtest ends with 101 when a test failed, which its own lines have told.
            if !matches!(exit, Some(0 | 101)) {
                let how = word("how").unwrap_or_else(|| format!("exit code {}", exit.unwrap_or(-1)));
                self.troubles.push(format!("{binary}: {how}"));
            }
        }
        told.get("done").is_some()
    }

    fn read_test_line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        }
        if !line.is_empty() {
            self.output.push_str(line);
            self.output.push('\n');
        }
    }

    /// Whether nothing failed.
    pub(crate) fn passed(&self) -> bool {
        self.failed == 0 && self.troubles.is_empty()
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        let Self { version, release, passed, failed, ignored, skips, troubles, took, .. } = self;
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        let release = release.as_deref().unwrap_or("not booted");
        let mut line = format!(
            "kernel {version:<5} {verdict:<6} {passed} passed, {failed} failed, {ignored} ignored, {} skipped in {:.1} s ({release})",
            skips.len(),
            took.as_secs_f64()
        );
        for trouble in troubles {
            line.push_str("; ");
            line.push_str(trouble);
        }
        line
    }

    /// Everything that a reader needs: the tests' own output, and the console's end where the guest failed.
    pub(crate) fn print(&self) {
        println!("\n--- kernel {} ---", self.version);
        print!("{}", self.output);
        for skip in &self.skips {
            println!("SKIPPED {skip}");
        }
        if !self.passed() {
            println!("{}", self.trace());
        }
    }

    /// The one line, and what a reader needs to find the cause.
    pub(crate) fn failure(&self) -> String {
        format!("{}\n{}", self.summary(), self.trace())
    }

    /// The tests' last words and the console's; where the guest's kernel failed, its own report is in there.
    fn trace(&self) -> String {
        let mut parts =
            vec!["--- last lines of the tests ---".to_owned(), last_lines(&self.output, SHOWN_LINES)];
        if !self.troubles.is_empty() {
            parts.push("--- last lines of the console ---".to_owned());
            parts.push(last_lines(&self.console, SHOWN_LINES));
        }
        if let Some(file) = &self.console_file {
            parts.push(format!("--- the whole console: {} ---", file.display()));
        }
        parts.join("\n")
    }
}

/// `3` of `ok. 3 passed; 0 failed; ...` for "passed".
fn count(counts: &str, what: &str) -> usize {
    counts
        .split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(end: End, results: &str) -> Outcome {
        Outcome::of(
            "6.1",
            Ran {
                end,
                results: results.to_owned(),
                console: String::new(),
                console_file: PathBuf::new(),
                took: Duration::from_secs(1),
            },
        )
    }

    const PASSED: &str = "@lab {\"boot\":\"6.1.0-50-cloud-amd64\"}\n\nrunning 2 tests\ntest a ... ok\n\
        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
        \n@lab {\"binary\":\"/lab/tests/live_a\",\"exit\":0,\"how\":null,\"seconds\":0.1}\n\
        @lab {\"skip\":\"b: needs yama: not there\"}\n";

    #[test]
    fn a_finished_guest_is_counted() {
        let outcome = ran(End::Finished, &format!("{PASSED}@lab {{\"done\":true}}\n"));
        assert!(outcome.passed(), "{}", outcome.summary());
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored, outcome.skips.len()), (2, 0, 1, 1));
    }

    #[test]
    fn a_guest_that_stopped_midway_has_failed() {
        assert!(!ran(End::Finished, PASSED).passed());
        assert!(!ran(End::TimedOut, PASSED).passed());
        assert!(!ran(End::Panicked, &format!("{PASSED}@lab {{\"done\":true}}\n")).passed());
        assert!(!ran(End::Finished, "").passed());
    }

    #[test]
    fn a_guest_that_ran_no_test_has_failed() {
        assert!(!ran(End::Finished, "@lab {\"boot\":\"6.1.0\"}\n@lab {\"done\":true}\n").passed());
    }

    #[test]
    fn a_failed_test_and_a_killed_binary_are_failures() {
        let failed = "@lab {\"boot\":\"6.1.0\"}\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\n\
            @lab {\"binary\":\"x\",\"exit\":101}\n@lab {\"done\":true}\n";
        let outcome = ran(End::Finished, failed);
        assert!(!outcome.passed() && outcome.troubles.is_empty());
        let killed = PASSED.replace("\"exit\":0,\"how\":null", "\"exit\":null,\"how\":\"signal 11\"");
        assert!(
            ran(End::Finished, &format!("{killed}@lab {{\"done\":true}}\n")).summary().contains("signal 11")
        );
    }
}
