//! The Go program that is probed: where its function is, and its process.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agent::program;
use super::symbols::name_places;
use crate::command::{capture, command, wait_within};
use crate::workspace::{root, target};

/// Its thread's.
const CORE: &str = "0";
pub(super) const FUNCTION: &str = "main.work";
/// How its returns are called in the symbol table, with a number behind: by that bpftrace finds them.
pub(super) const RETURN: &str = "bench_return_";
/// A return.
const RET: u8 = 0xc3;
/// The instruction that a probe puts at its place.
const BREAKPOINT: u8 = 0xcc;

/// The probed program and where its function is.
pub(super) struct Target {
    pub(super) program: PathBuf,
    /// What a file offset lacks to the address where it is loaded.
    loaded: u64,
    /// File offsets: the first instruction, goaudit's entry, the returns.
    pub(super) first: u64,
    pub(super) entry: u64,
    pub(super) returns: Vec<u64>,
}

impl Target {
    /// Builds it, and looks where its function is.
    pub(super) fn build() -> Result<Self> {
        let dir = target().join("bench");
        fs::create_dir_all(&dir)?;
        let program = dir.join("runtime-cases");
        let fixture = root().join("tests/fixtures/go/runtime-cases");
        let mut go = command("go");
        go.current_dir(fixture).env("CGO_ENABLED", "0").env("GOFLAGS", "-trimpath");
        capture(go.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg("."))
            .context("no Go program to probe")?;
        let mut inspect = Command::new(self::program("goaudit"));
        let plan = capture(inspect.args(["inspect", "--json", "--function", FUNCTION]).arg(&program))?;
        let plan: Value = serde_json::from_str(&plan).context("inspect told no JSON")?;
        let entry = plan.pointer("/probes/0/entry/offset").and_then(Value::as_u64).context("no entry")?;
        let returns = plan.pointer("/probes/0/returns").and_then(Value::as_array).context("no returns")?;
        let returns: Vec<u64> = returns.iter().filter_map(Value::as_u64).collect();
        // The code lies as far from its file offsets as the first return does.
        let symbol = format!("^{FUNCTION}$");
        let listing = capture(command("go").args(["tool", "objdump", "-s", &symbol]).arg(&program))?;
        let address = |line: &str| {
            let word = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("0x"))?;
            u64::from_str_radix(word, 16).ok()
        };
        let first = listing.lines().find_map(address).context("objdump told no instruction")?;
        let ret = listing.lines().filter(|line| line.trim_end().ends_with("RET")).find_map(address);
        let loaded = ret.context("objdump told no return")? - returns.first().context("no returns")?;
        let first = first - loaded;
        let target = Self { program, loaded, first, entry, returns };
        target.name_returns()?;
        Ok(target)
    }

    /// Gives its returns names, by which bpftrace finds them.
    fn name_returns(&self) -> Result<()> {
        let addresses: Vec<u64> = self.returns.iter().map(|place| place + self.loaded).collect();
        name_places(&self.program, RETURN, &addresses)?;
        let code = fs::File::open(&self.program)?;
        for place in &self.returns {
            let mut byte = [0];
            code.read_exact_at(&mut byte, *place)?;
            if byte != [RET] {
                bail!("no return is at {place:#x} of {} any more", self.program.display());
            }
        }
        Ok(())
    }
}

/// The probed program: waits until it is told to work. Dropped, it ends.
pub(super) struct Service {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Service {
    /// Starts it with a case of `runtime-cases` and a number of calls.
    pub(super) fn start(program: &Path, case: &str, calls: &str) -> Result<Self> {
        let mut child = on_core(CORE, program)
            .args(["-case", case, "-calls", calls])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start the probed program")?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
        output.next().context("the probed program ended before it was ready")??;
        Ok(Self { child, input, output })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether its code has a breakpoint at all of these file offsets.
    pub(super) fn is_probed(&self, target: &Target, places: &[u64]) -> Result<bool> {
        let memory = fs::File::open(format!("/proc/{}/mem", self.child.id()))?;
        for place in places {
            let mut byte = [0];
            memory
                .read_exact_at(&mut byte, place + target.loaded)
                .context("no code of the probed program")?;
            if byte != [BREAKPOINT] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has it work, and gives what it tells about it.
    pub(super) fn work(&mut self) -> Result<Value> {
        self.input.as_mut().context("stdin is a pipe")?.write_all(b"go\n")?;
        let line = self.output.next().context("the probed program told nothing")??;
        serde_json::from_str(&line).context("the probed program told no JSON")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.input = None;
        if !matches!(wait_within(&mut self.child, Duration::from_secs(10)), Ok(Some(_))) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// The program, on this core only.
pub(super) fn on_core(core: &str, program: &Path) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", core]).arg(program);
    pinned
}
