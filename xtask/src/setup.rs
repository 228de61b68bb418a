//! `cargo xtask setup`: installs what developers and tests need. Running goaudit needs none of it.
//!
//! A table of steps, each named, explained and idempotent: a step that finds its result present does nothing.
//! A step that cannot be done here (not root, not Debian, not reachable) says so and the others go on; the exit
//! code tells. Every download is tried three times.

mod archive;
mod bpf_linker;
mod kernels;
mod packages;
mod rust_src;

use anyhow::{Result, bail};
use clap::ValueEnum;

pub(crate) use kernels::{KERNELS, Kernel, kernel};
pub(crate) use packages::JOURNAL_WRITER;

/// Install what building the eBPF object, the tests and the kernel lab need.
///
/// goaudit itself needs none of it: `cargo build --release` embeds the eBPF object that is kept in the tree.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these groups (comma-separated); without it all but `bench`.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Group>,
    /// List the steps and what they are for; install nothing.
    #[arg(long)]
    list: bool,
    /// Look for newer lab kernels, even where one is cached.
    #[arg(long)]
    refresh: bool,
}

/// What a step is for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Building the eBPF object from source.
    Ebpf,
    /// Tests on this host's own kernel.
    Live,
    /// Tests on other kernels, under emulation.
    Lab,
    /// The programs that goaudit is compared with.
    Bench,
}

impl Group {
    /// Installed when nothing else is asked for. The peers of the benchmarks are not: one of them is a daemon.
    const DEFAULT: [Self; 3] = [Self::Ebpf, Self::Live, Self::Lab];

    fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Live => "live",
            Self::Lab => "lab",
            Self::Bench => "bench",
        }
    }
}

/// One thing to install.
struct Step {
    group: Group,
    name: String,
    /// What it is for, and what is lost without it.
    why: &'static str,
    /// Says what is there already, if it is.
    present: Box<dyn Fn() -> Option<String>>,
    /// Installs it.
    install: Box<dyn Fn() -> Result<()>>,
}

fn steps(refresh: bool) -> Vec<Step> {
    let mut steps = vec![
        Step {
            group: Group::Ebpf,
            name: "rust-src".into(),
            why: "source of `core`, compiled for the BPF target; without it the kept object is embedded",
            present: Box::new(rust_src::present),
            install: Box::new(rust_src::install),
        },
        Step {
            group: Group::Ebpf,
            name: "bpf-linker".into(),
            why: "links the eBPF object; without it the kept object is embedded",
            present: Box::new(bpf_linker::present),
            install: Box::new(bpf_linker::install),
        },
    ];
    steps.extend(packages::PACKAGES.iter().map(|package| Step {
        group: package.group,
        name: package.name.into(),
        why: package.why,
        present: Box::new(|| package.present()),
        install: Box::new(|| package.install()),
    }));
    steps.extend(KERNELS.iter().map(|kernel| Step {
        group: Group::Lab,
        name: format!("kernel {}", kernel.version),
        why: "a distribution kernel for the lab; without it this version is not tested",
        present: Box::new(move || if refresh { None } else { kernel.present() }),
        install: Box::new(|| kernel.install()),
    }));
    steps
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let groups = if args.only.is_empty() { &Group::DEFAULT[..] } else { &args.only[..] };
    if args.list {
        for step in steps(args.refresh) {
            let state = if (step.present)().is_some() { "present" } else { "missing" };
            println!("{:<6} {:<16} {state:<8} {}", step.group.name(), step.name, step.why);
        }
        return Ok(());
    }
    let failed = install(|step| groups.contains(&step.group), args.refresh);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} of setup's steps could not be done: {}", failed.len(), failed.join(", "));
}

/// Installs what is missing of the wanted steps; returns the names of those that could not be had.
fn install(wanted: impl Fn(&Step) -> bool, refresh: bool) -> Vec<String> {
    let mut failed = Vec::new();
    for step in steps(refresh).iter().filter(|step| wanted(step)) {
        if let Some(found) = (step.present)() {
            println!("setup: {}: present ({found})", step.name);
            continue;
        }
        println!("setup: {}: installing ({})", step.name, step.why);
        match (step.install)() {
            Ok(()) => match (step.present)() {
                Some(found) => println!("setup: {}: installed ({found})", step.name),
                // With `refresh` nothing counts as present beforehand; the step itself has checked its result.
                None if refresh => println!("setup: {}: installed", step.name),
                None => {
                    println!("setup: {}: NOT DONE: its steps succeeded but it is still not found", step.name);
                    failed.push(step.name.clone());
                }
            },
            Err(error) => {
                println!("setup: {}: NOT DONE: {error:#}", step.name);
                failed.push(step.name.clone());
            }
        }
    }
    failed
}

/// For the other subcommands: makes a group's things available, or says which could not be had. Quiet when
/// everything is there. Kernels are asked for one by one, see [`ensure_kernel`].
pub(crate) fn ensure(group: Group) -> Result<()> {
    ensure_steps(|step| step.group == group && !step.name.starts_with("kernel "))
}

/// Makes one lab kernel available.
pub(crate) fn ensure_kernel(kernel: &'static Kernel) -> Result<()> {
    let name = format!("kernel {}", kernel.version);
    ensure_steps(|step| step.name == name)
}

fn ensure_steps(wanted: impl Fn(&Step) -> bool) -> Result<()> {
    let failed = install(|step| wanted(step) && (step.present)().is_none(), false);
    if failed.is_empty() { Ok(()) } else { bail!("{} not to be had here", failed.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_distinct_names() {
        let mut names: Vec<String> = steps(false).into_iter().map(|step| step.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
