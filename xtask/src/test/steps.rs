//! The steps of a test run, but for fuzzing.
//!
//! All cargo commands select from the whole workspace: a package alone would be built with other features of
//! its dependencies, and so everything twice.

use std::process::Command;

use anyhow::Result;

use super::GO_VERSIONS;
use super::report::{Report, Row, SKIPS_FILE};
use crate::command::{cargo, run, run_tests};
use crate::setup::{self, Group};
use crate::vm;
use crate::workspace::{END_TO_END, is_root, test_files};

/// Where the crates' own integration tests lie.
const CRATES_WITH_TESTS: [&str; 2] = ["goaudit-ebpf/tests", "goaudit-user/tests"];

/// Test files that begin so need root and look at a running kernel.
const LIVE: &str = "live";

/// What a full run sets: every Go version, and seconds for which probes come and go under load
/// (tests/tests/live_go_soak.rs).
const IF_FULL: [(&str, &str); 2] = [(GO_VERSIONS, "all"), ("GOAUDIT_SOAK", "180")];

/// Test files that begin so are about the lab's guests, and run only there.
const LAB: &str = "lab";

pub(super) fn fmt() -> Row {
    Row::new("fmt", run(cargo().args(["fmt", "--all", "--check"])))
}

pub(super) fn tidy() -> Row {
    Row::new("tidy", crate::tidy::run())
}

pub(super) fn ebpf() -> Row {
    match setup::ensure(Group::Ebpf) {
        Ok(()) => Row::new("ebpf", crate::build_ebpf::check()),
        Err(error) => Row::skipped("ebpf", "bpf-toolchain", &format!("{error:#}")),
    }
}

pub(super) fn clippy() -> Row {
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
    Row::new("clippy", run(&mut clippy))
}

pub(super) fn unit() -> Row {
    let mut unit = cargo();
    unit.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
    // The crates' own integration tests, which test the libraries and not the program.
    for dir in CRATES_WITH_TESTS {
        match test_files(dir, |_| true) {
            Ok(tests) => tests.iter().for_each(|test| {
                unit.args(["--test", test]);
            }),
            Err(error) => return Row::new("unit", Err(error)),
        }
    }
    Row::new("unit", run_tests(&mut unit))
}

pub(super) fn doc() -> Row {
    Row::new("doc", run_tests(cargo().args(["test", "--workspace", "--doc"])))
}

pub(super) fn program(full: bool, report: &mut Report) -> Row {
    let tests = match test_files(END_TO_END, |name| !name.starts_with(LIVE) && !name.starts_with(LAB)) {
        Ok(tests) if tests.is_empty() => {
            return Row::new("program", Err(anyhow::anyhow!("there are no such tests")));
        }
        Ok(tests) => tests,
        Err(error) => return Row::new("program", Err(error)),
    };
    let skips = Report::skips_file("program");
    let result = programs().and_then(|()| run_tests(integration(&tests, full).env(SKIPS_FILE, &skips)));
    report.read_skips("program", &skips);
    Row::new("program", result)
}

pub(super) fn live(full: bool, report: &mut Report) -> Row {
    if !is_root() {
        return Row::skipped("live", "root", "the effective uid is not 0");
    }
    if let Err(error) = setup::ensure(Group::Live) {
        // The tests run without it, and those that want it say so.
        println!("live: {error:#}");
    }
    let tests = match test_files(END_TO_END, |name| name.starts_with(LIVE)) {
        Ok(tests) => tests,
        Err(error) => return Row::new("live", Err(error)),
    };
    let skips = Report::skips_file("live");
    let result = programs().and_then(|()| {
        // One at a time: each looks at everything that happens on the host.
        run_tests(integration(&tests, full).args(["--", "--test-threads=1"]).env(SKIPS_FILE, &skips))
    });
    report.read_skips("live", &skips);
    Row::new("live", result)
}

pub(super) fn lab(report: &mut Report) -> Vec<Row> {
    if let Err(error) = setup::ensure(Group::Lab) {
        return vec![Row::skipped("lab", "qemu", &format!("{error:#}"))];
    }
    let mut plan = vm::Plan::full();
    let mut rows = Vec::new();
    plan.kernels.retain(|kernel| match setup::ensure_kernel(kernel) {
        Ok(()) => true,
        Err(error) => {
            rows.push(Row::skipped(&format!("lab {}", kernel.version), "lab-kernel", &format!("{error:#}")));
            false
        }
    });
    if plan.kernels.is_empty() {
        return rows;
    }
    match vm::run_plan(&plan) {
        Ok(outcomes) => {
            for outcome in outcomes {
                outcome.print();
                let name = format!("lab {}", outcome.version);
                report.add_skips(&name, outcome.skips.iter().cloned());
                let result = if outcome.passed() { Ok(()) } else { Err(anyhow::anyhow!(outcome.failure())) };
                rows.push(Row::new(&name, result).took(outcome.took));
            }
        }
        Err(error) => rows.push(Row::new("lab", Err(error))),
    }
    rows
}

/// Builds the programs that the end-to-end tests run. Their harness would do it too, but inside of a test.
fn programs() -> Result<()> {
    run(cargo().args(["build", "--quiet", "--workspace", "--bins"]))
}

/// `full`: with all that [`IF_FULL`] says, unless the caller has said otherwise.
fn integration(tests: &[String], full: bool) -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    for (name, value) in IF_FULL {
        if full && std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    for test in tests {
        command.args(["--test", test]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_run_soaks_for_minutes() {
        let set = |full| {
            let command = integration(&[], full);
            command.get_envs().any(|(name, value)| name == "GOAUDIT_SOAK" && value.is_some())
        };
        // Unless whoever runs this has chosen how long.
        assert_eq!(set(true), std::env::var_os("GOAUDIT_SOAK").is_none());
        assert!(!set(false));
    }
}
