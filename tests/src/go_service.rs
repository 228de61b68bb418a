//! Runs those Go fixtures that are services, and reads the truth that they tell (`tests/fixtures/go/README.md`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::go_fixture::{self, Build};

/// A service fixture, with one set of library versions.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Folder below `tests/fixtures/go`.
    pub fixture: &'static str,
    /// Flags of `go build` that choose the libraries.
    pub flags: &'static [&'static str],
    /// First minor release of Go that builds it.
    pub since: u32,
    /// Takes a minute and a gigabyte to build from nothing: only where all Go versions are asked for.
    pub big: bool,
}

/// All of them.
pub const KINDS: [Kind; 13] = [
    Kind { fixture: "authz-casbin", flags: &[], since: 17, big: false },
    Kind { fixture: "authz-cedar", flags: &[], since: 26, big: false },
    Kind { fixture: "authz-cedar", flags: OLD, since: 23, big: false },
    Kind { fixture: "authz-ladon", flags: &[], since: 17, big: false },
    Kind { fixture: "identity", flags: &[], since: 25, big: false },
    Kind { fixture: "identity", flags: OLD_TAGGED, since: 20, big: false },
    Kind { fixture: "runtime-cases", flags: &[], since: 17, big: false },
    Kind { fixture: "authz-opa", flags: &[], since: 26, big: true },
    Kind { fixture: "authz-opa", flags: OLD, since: 21, big: true },
    Kind { fixture: "authz-k8s", flags: &[], since: 26, big: true },
    Kind { fixture: "authz-k8s", flags: OLD, since: 23, big: true },
    Kind { fixture: "authz-etcd", flags: &[], since: 26, big: true },
    Kind { fixture: "authz-openfga", flags: &[], since: 26, big: true },
];

/// The older libraries.
const OLD: &[&str] = &["-modfile=old.mod"];
/// The same where they lack what the newer ones have.
const OLD_TAGGED: &[&str] = &["-modfile=old.mod", "-tags=old"];

impl Kind {
    /// How it is built, for amd64.
    #[must_use]
    pub const fn build(&self) -> Build<'static> {
        Build::of(self.fixture).flags(self.flags)
    }

    /// Whether a Go release builds it, in this run of tests.
    #[must_use]
    pub fn wanted(&self, minor: u32) -> bool {
        minor >= self.since && (!self.big || go_fixture::all())
    }
}

/// A service that has set itself up and waits.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// Dropped, it is the end of its input.
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    pid: u32,
}

/// What a service says that it did.
#[derive(Debug, Default)]
pub struct Truth {
    /// One object for each call or, from `runtime-cases`, for each case and function.
    pub calls: Vec<Value>,
    /// How often each probed function was entered.
    pub functions: BTreeMap<String, u64>,
}

impl Truth {
    /// Reads what a service told, from the line behind `ready PID` up to and with the totals.
    pub fn take(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<Self> {
        let mut truth = Self::default();
        for line in lines {
            let line: Value = serde_json::from_str(&line?).context("the truth is not JSON")?;
            // A call's functions are a list, those of the totals are counted.
            let Some(functions) = line.get("functions").and_then(Value::as_object) else {
                truth.calls.push(line);
                continue;
            };
            for (function, entered) in functions {
                let entered = entered.as_u64().context("entries are counted")?;
                truth.functions.insert(function.clone(), entered);
            }
            let total = line.get("total").and_then(Value::as_u64).context("the last line has a total")?;
            let told = u64::try_from(truth.calls.len())?;
            ensure!(told == 0 || told == total, "{told} lines were told, and the total is {total}");
            return Ok(truth);
        }
        bail!("the service ended before it told its totals");
    }
}

impl Service {
    /// Starts a service and waits until it is ready. Nothing that is probed was called until then.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let input = child.stdin.take().context("stdin is a pipe")?;
        let mut output = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
        let first = output.next().context("the service ended before it was ready")??;
        let pid = first.strip_prefix("ready ").and_then(|pid| pid.parse().ok());
        let pid = pid.with_context(|| format!("the service's first line is {first:?}"))?;
        Ok(Self { child, input, output, pid })
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it work, and returns what it told, up to and with the totals. Given `-stay`, it is still there then.
    pub fn work(&mut self) -> Result<Truth> {
        self.input.write_all(b"go\n")?;
        Truth::take(&mut self.output)
    }

    /// Waits until the program that the process has become, another one or the same again, is ready.
    pub fn becomes(&mut self) -> Result<()> {
        let first = self.output.next().context("the service ended before it became another program")??;
        ensure!(first == format!("ready {}", self.pid), "the other program's first line is {first:?}");
        Ok(())
    }

    /// Lets it end, and says whether it did as it should.
    pub fn end(mut self) -> Result<bool> {
        // A service that stays waits for this; others may have gone.
        let _ = self.input.write_all(b"end\n");
        drop(self.input);
        Ok(self.child.wait()?.success())
    }
}
