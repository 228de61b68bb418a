//! `cargo xtask test`: every check and test, in one run. README's second command, and what CI runs.
//!
//! Steps go on after a failed one, so that one run tells everything. A step that this machine cannot do is
//! skipped by name, with the ability it misses; it never counts as passed.

mod fuzz;
mod report;
mod steps;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;

use report::{Report, Row};

/// Run every check and test; this is what CI runs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps (comma-separated).
    #[arg(long, value_delimiter = ',', value_enum, conflicts_with = "skip")]
    only: Vec<Step>,
    /// All but these steps (comma-separated).
    #[arg(long, value_delimiter = ',', value_enum)]
    skip: Vec<Step>,
    /// Fuzz for minutes instead of seconds, test with every Go version and every kind of Go program, and have probes come
    /// and go under load for three minutes instead of 20 seconds (live_go_soak; GOAUDIT_SOAK says otherwise).
    #[arg(long)]
    full: bool,
}

/// The steps, in their order: what fails fast comes first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting.
    Fmt,
    /// The rules of the tree.
    Tidy,
    /// The kept eBPF object is current.
    Ebpf,
    /// Lints, none of them open.
    Clippy,
    /// Unit, property and golden tests of all crates.
    Unit,
    /// Examples in the documentation.
    Doc,
    /// Tests of the built program that need no root.
    Program,
    /// Tests on this host's kernel.
    Live,
    /// The same tests on the lab's kernels.
    Lab,
    /// Fuzz targets, briefly.
    Fuzz,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Ebpf => "ebpf",
            Self::Clippy => "clippy",
            Self::Unit => "unit",
            Self::Doc => "doc",
            Self::Program => "program",
            Self::Live => "live",
            Self::Lab => "lab",
            Self::Fuzz => "fuzz",
        }
    }

    /// Does it; one row for the report, or more where a step has parts.
    fn run(self, full: bool, report: &mut Report) -> Vec<Row> {
        match self {
            Self::Fmt => vec![steps::fmt()],
            Self::Tidy => vec![steps::tidy()],
            Self::Ebpf => vec![steps::ebpf()],
            Self::Clippy => vec![steps::clippy()],
            Self::Unit => vec![steps::unit()],
            Self::Doc => vec![steps::doc()],
            Self::Program => vec![steps::program(full, report)],
            Self::Live => vec![steps::live(full, report)],
            Self::Lab => steps::lab(report),
            Self::Fuzz => fuzz::run_targets(full),
        }
    }
}

/// Chooses the Go versions that tests use (tests/src/go_fixture.rs).
pub(crate) const GO_VERSIONS: &str = "GOAUDIT_GO_VERSIONS";

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::default();
    let wanted =
        |step: &Step| if args.only.is_empty() { !args.skip.contains(step) } else { args.only.contains(step) };
    for step in Step::value_variants().iter().filter(|step| wanted(step)) {
        println!("\n=== {} ===", step.name());
        let began = Instant::now();
        let rows = step.run(args.full, &mut report);
        report.add(rows, began.elapsed());
    }
    report.print();
    if report.failed() {
        bail!("not everything passed");
    }
    Ok(())
}
