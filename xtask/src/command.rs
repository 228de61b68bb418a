//! Running other programs: shown before they run, with time limits and retries where the network is involved.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Tries of a step that talks to the network.
const TRIES: u32 = 3;

/// A command in the root of the work tree.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::workspace::root()).stdin(Stdio::null());
    command
}

/// A cargo command in the root of the work tree.
///
/// Cargo's variables of *our* build are taken away: a nested build must not be rebuilt because of them.
pub(crate) fn cargo() -> Command {
    let mut command = command(crate::workspace::cargo());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The command as one would type it, with the variables it sets; long ones are cut.
pub(crate) fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))))
        .collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    words.push(quoted(program));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if !word.is_empty() && !word.contains([' ', '"', '\'', '*', '$', ';', '(']) {
        word.into_owned()
    } else {
        format!("'{word}'")
    }
}

/// Runs it with our standard output and error; an unsuccessful end is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("failed to start {}", shown(command)))?;
    check(command, status)
}

/// Like [`run`], but what a test harness tells of failed tests (from `failures:` to its `test result:`) is kept
/// and becomes the error's text, so that it can be told again where a long output ends.
pub(crate) fn run_tests(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
    command.stderr(writer.try_clone().context("failed to copy a pipe")?).stdout(writer);
    let mut child = command.spawn().with_context(|| format!("failed to start {}", shown(command)))?;
    // Its copies of the pipe's write end would keep the reader waiting.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut failures = Failures::default();
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("failed to read a test's output")? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        failures.read(text.trim_end());
        line.clear();
    }
    let status = child.wait().context("failed to wait for a child process")?;
    check(command, status).map_err(|error| error.context(failures.told()))
}

/// What test harnesses said of failed tests.
#[derive(Default)]
struct Failures {
    lines: Vec<String>,
    within: bool,
}

impl Failures {
    /// For everything together.
    const MOST_LINES: usize = 400;

    fn read(&mut self, line: &str) {
        self.within |= line == "failures:";
        if self.within && self.lines.len() < Self::MOST_LINES {
            self.lines.push(line.to_owned());
        }
        self.within &= !line.starts_with("test result:");
    }

    fn told(&self) -> String {
        // The compiler's errors come before any harness.
        if self.lines.is_empty() { "no harness told a failed test".to_owned() } else { self.lines.join("\n") }
    }
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs it quietly and returns its standard output; on an unsuccessful end the error holds the last lines of
/// its standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {}", shown(command)))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            shown(command),
            output.status,
            last_lines(&told, 5).replace('\n', " | ")
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` did not print UTF-8", shown(command)))
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).copied().collect::<Vec<_>>().join("\n")
}

/// Like [`run`], but ends the program (it alone) when `limit` has passed.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let mut child = command.spawn().with_context(|| format!("failed to start {}", shown(command)))?;
    match wait_within(&mut child, limit)? {
        Some(status) => check(command, status),
        None => bail!("`{}` did not end within {} s", shown(command), limit.as_secs()),
    }
}

/// Waits for a child; after `limit` it is killed and `None` is returned.
pub(crate) fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("failed to wait for a child process")? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill().context("failed to kill a child process that ran too long")?;
            child.wait().context("failed to wait for a killed child process")?;
            return Ok(None);
        }
        sleep(Duration::from_millis(50));
    }
}

/// Tries `step` up to three times with a growing pause: downloads fail for reasons that pass.
pub(crate) fn retried<T>(what: &str, mut step: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match step() {
            Ok(value) => return Ok(value),
            Err(error) if attempt < TRIES => {
                let pause = Duration::from_secs(3 * u64::from(attempt * attempt));
                eprintln!(
                    "{what}: try {attempt} of {TRIES} failed ({error:#}); again in {} s",
                    pause.as_secs()
                );
                sleep(pause);
                attempt += 1;
            }
            Err(error) => return Err(error.context(format!("{what} failed {TRIES} times"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/env");
        command.env("RUSTFLAGS", "-C target-feature=+crt-static").arg("a b").arg("c");
        assert_eq!(shown(&command), "RUSTFLAGS='-C target-feature=+crt-static' env 'a b' c");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(wait_within(&mut child, Duration::from_millis(100)).unwrap().is_none());
    }

    #[test]
    fn a_failed_program_is_an_error_with_its_last_words() {
        let error = capture(Command::new("sh").args(["-c", "echo cause >&2; exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("cause"), "{error:#}");
    }

    #[test]
    fn what_failed_is_told_again() {
        let told = "test a ... ok\nfailures:\n---- b ----\ntest result: FAILED. 1 passed\nrunning 1 test";
        let mut script = Command::new("printf");
        let error = run_tests(script.arg("%s\n").arg(told)).map(|()| "printf succeeds");
        assert_eq!(error.unwrap(), "printf succeeds");
        let mut script = Command::new("sh");
        let error = run_tests(script.args(["-c", "printf '%s\n' \"$0\"; exit 101", told])).unwrap_err();
        assert_eq!(error.to_string(), "failures:\n---- b ----\ntest result: FAILED. 1 passed");
    }

    #[test]
    fn last_lines_of_a_short_text_are_all_of_it() {
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}
