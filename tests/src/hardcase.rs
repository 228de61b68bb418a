//! The workload: a program that does one hard thing and tells the exact truth about it.
//!
//! `hardcase --truth FILE CASE [ARGS]` runs one case of [`CASES`] and appends JSON lines to FILE: every
//! exec, prctl and ptrace that it or a process of its makes, with arguments and result as the caller saw
//! them, and every process and thread it starts and sees ending. Tests compare goaudit's events with these lines
//! and with strace, never with goaudit itself.
//!
//! It needs nothing but a kernel and `/proc`: linked statically it runs in a machine without a single file. A program
//! that a case executes is this same binary, told by the environment variable [`truth::ROLE`] what to be:
//! arguments cannot say it, because they are what is being tested.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context, bail};

mod bpf;
mod call;
mod child;
mod core_dump;
mod exec;
mod exec_failure;
mod exec_file;
mod exec_race;
mod exec_size;
mod lineage;
mod prctl;
mod prctl_effect;
mod prctl_table;
mod process;
mod ptrace;
mod ptrace_refusal;
mod storm;
mod truth;

/// Where a case may put files, and its own arguments.
#[derive(Debug)]
pub(crate) struct Case {
    /// An empty directory.
    directory: PathBuf,
    /// Arguments after the case's name.
    arguments: Vec<String>,
}

impl Case {
    /// Argument `index` as a number, or a default.
    fn number(&self, index: usize, default: u64) -> anyhow::Result<u64> {
        self.arguments
            .get(index)
            .map_or(Ok(default), |text| text.parse().with_context(|| format!("`{text}` is not a number")))
    }
}

/// An attach to this process itself, which the kernel refuses; the result is -errno.
pub fn attach_to_self() -> i64 {
    call::ptrace(libc::PTRACE_ATTACH.into(), std::process::id().cast_signed(), 0, 0)
}

/// What a case does; the returned number is the exit code of the workload.
type Run = fn(&Case) -> anyhow::Result<i32>;

/// Every case, by name.
const CASES: &[(&str, Run)] = &[
    ("nothing", |_| Ok(0)),
    ("exit", |case| Ok(i32::try_from(case.number(0, 0)?)?)),
    ("exec-plain", exec::plain),
    ("exec-binary-junk", exec::binary_junk),
    ("exec-empty-argv", exec::empty_argv),
    ("exec-empty-strings", exec::empty_strings),
    ("exec-environment", exec::environment),
    ("exec-directory", exec::directory),
    ("exec-user", exec::user),
    ("exec-thread", exec::from_thread),
    ("exec-vfork", exec::vfork),
    ("exec-posix-spawn", exec::posix_spawn),
    ("exec-fd", exec_file::by_descriptor),
    ("exec-dirfd", exec_file::by_directory),
    ("exec-shebang", exec_file::shebang),
    ("exec-symlink", exec_file::symlink),
    ("exec-set-uid", exec_file::set_uid),
    ("exec-deleted", exec_file::deleted),
    ("exec-memfd", exec_file::memfd),
    ("exec-long-argument", exec_size::long_argument),
    ("exec-two-mebibytes", exec_size::two_mebibytes),
    ("exec-many-arguments", exec_size::many_arguments),
    ("exec-beyond-limit", exec_size::beyond_limit),
    ("exec-failures", exec_failure::all),
    ("exec-phantom", exec_race::phantom),
    ("exit-codes", process::exit_codes),
    ("exit-signals", process::exit_signals),
    ("exit-core", core_dump::core),
    ("exit-threads", process::exit_group_by_many),
    ("exit-leader-first", process::leader_first),
    ("short-lived", process::short_lived),
    ("pid-reuse", lineage::pid_reuse),
    ("namespaces", lineage::namespaces),
    ("tree", lineage::tree),
    ("prctl-table", prctl_table::all),
    ("prctl-unprivileged", prctl_table::unprivileged),
    ("prctl-name", prctl_effect::name),
    ("prctl-values", prctl_effect::values),
    ("prctl-seccomp-strict", prctl_effect::seccomp_strict),
    ("prctl-seccomp-filter", prctl_effect::seccomp_filter),
    ("prctl-mm", prctl_effect::memory_map),
    ("prctl-denied-by-seccomp", prctl_effect::denied_by_seccomp),
    ("prctl-killed-by-seccomp", prctl_effect::killed_by_seccomp),
    ("prctl-storm", storm::one),
    ("prctl-storm-alternating", storm::alternating),
    ("prctl-storms", storm::many),
    ("exec-storms", storm::execs),
    ("wait", storm::wait_for_end),
    ("ptrace-session", ptrace::session),
    ("ptrace-seize", ptrace::seize),
    ("ptrace-attach", ptrace::attach),
    ("ptrace-thread", ptrace::thread),
    ("ptrace-kill", ptrace::kill),
    ("ptrace-errors", ptrace::errors),
    ("ptrace-refusals", ptrace_refusal::all),
    ("ptrace-yama", ptrace_refusal::yama),
    ("drop-and-run", exec::drop_and_run),
    ("several", several),
];

/// `several CASE...`: each case in a child of its own, with a folder and a truth file of its own (`FILE.N`). A
/// case with arguments is one word with blanks. Recording many cases at once saves starting the agent for each.
fn several(case: &Case) -> anyhow::Result<i32> {
    for (index, words) in case.arguments.iter().enumerate() {
        let child = child::fork(|| {
            truth::open_another(index)?;
            let mut words = words.split(' ').map(str::to_owned);
            let name = words.next().context("a case has a name")?;
            let run = find(&name)?;
            truth::begins()?;
            let directory = case.directory.join(index.to_string());
            std::fs::create_dir(&directory)?;
            let code = run(&Case { directory, arguments: words.collect() })
                .with_context(|| format!("case {name}"))?;
            truth::ends(code)?;
            Ok(code)
        })?;
        child.wait()?;
    }
    Ok(0)
}

/// A case by its name.
fn find(name: &str) -> anyhow::Result<Run> {
    CASES
        .iter()
        .find(|(case, _)| *case == name)
        .map(|(_, run)| *run)
        .with_context(|| format!("no case `{name}`"))
}

/// Runs the workload; never returns an error code that a case did not ask for, except 99.
pub fn main() {
    let code = match truth::role() {
        Some(role) => played(&role),
        None => started(std::env::args_os().skip(1).collect()),
    };
    match code {
        Ok(code) => call::exit_group(code),
        Err(error) => {
            truth::broken(&error);
            call::exit_group(99)
        }
    }
}

/// This process is a program that a case executed.
fn played(role: &OsStr) -> anyhow::Result<i32> {
    match role.to_str() {
        Some("report") => {
            truth::executed()?;
            Ok(0)
        }
        // argv[1] is the exit code; nothing is told, the parent knows all.
        Some("quit") => {
            let code = std::env::args().nth(1).context("quit needs a code")?;
            Ok(code.parse()?)
        }
        _ => bail!("unknown role {}", role.display()),
    }
}

/// This process was started by a test.
fn started(arguments: Vec<OsString>) -> anyhow::Result<i32> {
    let mut directory = std::env::temp_dir();
    let mut words = arguments.into_iter();
    let name = loop {
        let word = words.next().context("usage: hardcase [--truth FILE] [--dir DIR] CASE [ARGS]")?;
        match word.to_str() {
            Some("--truth") => truth::open(words.next().context("--truth needs a file")?.as_ref())?,
            Some("--dir") => directory = words.next().context("--dir needs a directory")?.into(),
            Some(name) => break name.to_owned(),
            None => bail!("the case's name is not UTF-8"),
        }
    };
    let arguments = words
        .map(|word| word.into_string().map_err(|_| anyhow::anyhow!("not UTF-8")))
        .collect::<Result<_, _>>()?;
    let run = find(&name)?;
    truth::executed()?;
    let code = run(&Case { directory, arguments }).with_context(|| format!("case {name}"))?;
    truth::ends(code)?;
    Ok(code)
}
