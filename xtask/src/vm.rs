//! `cargo xtask vm`: the kernel lab. Live tests on real distribution kernels, under QEMU's software emulation.
//!
//! One guest image for all kernels: our own process 1 (tests/src/bin/lab-init.rs), busybox, the goaudit program
//! and the live test binaries, all static. No disk, no network, no hardware virtualization: it runs wherever
//! QEMU runs, and a kernel that crashes harms nobody. Results of all kernels are gathered before they are told.

mod cpio;
mod image;
mod machine;
mod outcome;

use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Group, KERNELS, Kernel};
use crate::workspace::target;
pub(crate) use outcome::Outcome;

/// Run the live tests on real kernels under QEMU, or open a shell on one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel versions, as in "6.1"; without any: all that the lab knows.
    versions: Vec<String>,
    /// Open a shell on the one kernel instead of running tests.
    #[arg(long)]
    shell: bool,
    /// Only test files whose name contains this, as in "exec" for `live_exec.rs`.
    #[arg(long)]
    file: Option<String>,
    /// Seconds that one kernel may take for everything.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
    /// Kernels that run at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Arguments for the test binaries: a filter, `--ignored` ...
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// What to run on which kernels.
pub(crate) struct Plan {
    pub(crate) kernels: Vec<&'static Kernel>,
    /// Part of a test file's name.
    pub(crate) file: Option<String>,
    /// For the test binaries.
    pub(crate) arguments: Vec<String>,
    /// For one kernel.
    pub(crate) limit: Duration,
    pub(crate) jobs: usize,
}

impl Plan {
    /// Every test on every kernel.
    pub(crate) fn full() -> Self {
        Self {
            kernels: KERNELS.iter().collect(),
            file: None,
            arguments: Vec::new(),
            limit: Duration::from_mins(30),
            jobs: 2,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let kernels = chosen(&args.versions)?;
    setup::ensure(Group::Lab)?;
    if args.shell {
        let [kernel] = kernels[..] else { bail!("--shell wants exactly one kernel version") };
        setup::ensure_kernel(kernel)?;
        let image = image::build(None, &[], Duration::ZERO)?;
        let ended = machine::shell(kernel, &image);
        std::fs::remove_file(&image).ok();
        return ended;
    }
    let plan = Plan {
        kernels,
        file: args.file.clone(),
        arguments: args.arguments.clone(),
        limit: Duration::from_secs(args.timeout),
        jobs: args.jobs.max(1),
    };
    for kernel in &plan.kernels {
        setup::ensure_kernel(kernel)?;
    }
    let outcomes = run_plan(&plan)?;
    for outcome in &outcomes {
        outcome.print();
    }
    println!();
    for outcome in &outcomes {
        println!("{}", outcome.summary());
    }
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.passed()).map(|outcome| outcome.version).collect();
    if !failed.is_empty() {
        bail!("the live tests failed on {}", failed.join(", "));
    }
    Ok(())
}

fn chosen(versions: &[String]) -> Result<Vec<&'static Kernel>> {
    if versions.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let known = || KERNELS.each_ref().map(|kernel| kernel.version).join(", ");
    versions
        .iter()
        .map(|version| {
            setup::kernel(version).with_context(|| format!("no lab kernel {version}; there are {}", known()))
        })
        .collect()
}

/// Runs the plan on kernels that are there already; outcomes come in the plan's order.
pub(crate) fn run_plan(plan: &Plan) -> Result<Vec<Outcome>> {
    // A binary that hangs must not take the others' results with it: it gets most of the time, not all.
    let image = image::build(plan.file.as_deref(), &plan.arguments, plan.limit * 3 / 4)?;
    let logs = target().join("lab").join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("failed to create {}", logs.display()))?;
    let waiting = Mutex::new(plan.kernels.iter().enumerate().collect::<Vec<_>>().into_iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..plan.jobs.min(plan.kernels.len()) {
            scope.spawn(|| {
                while let Some((index, kernel)) = next(&waiting) {
                    let outcome = run_kernel(kernel, &image, plan.limit, &logs);
                    println!("lab: {}", outcome.summary());
                    if let Ok(mut done) = done.lock() {
                        done.push((index, outcome));
                    }
                }
            });
        }
    });
    // Some hundred megabytes; the next run writes its own.
    std::fs::remove_file(&image).ok();
    let mut done = done.into_inner().ok().context("a thread of the lab panicked")?;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

fn next<'a>(
    waiting: &Mutex<impl Iterator<Item = (usize, &'a &'static Kernel)>>,
) -> Option<(usize, &'static Kernel)> {
    let (index, kernel) = waiting.lock().ok()?.next()?;
    Some((index, kernel))
}

fn run_kernel(kernel: &'static Kernel, image: &Path, limit: Duration, logs: &Path) -> Outcome {
    match machine::run_plan(kernel, image, limit, logs) {
        Ok(ran) => Outcome::of(kernel.version, ran),
        Err(error) => Outcome::not_run(kernel.version, &format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_unknown_kernel_is_refused_with_the_known_ones() {
        let error = chosen(&["4.19".to_owned()]).map(|kernels| kernels.len()).unwrap_err();
        assert!(error.to_string().contains("5.10"), "{error}");
    }

    #[test]
    fn no_version_means_all() {
        assert_eq!(chosen(&[]).map(|kernels| kernels.len()).ok(), Some(KERNELS.len()));
    }
}
