//! `cargo xtask`: setup, the eBPF object, tests, the kernel lab, benchmarks.
//!
//! One file per subcommand, each with its `Args` and `run`. Nothing here is linked into goaudit, and nothing
//! here may depend on goaudit's crates: xtask is what builds them. It drives ordinary tools (cargo, apt, QEMU)
//! and prints every command before it runs, so that any step can be repeated by hand.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool's job is to print")]

mod bench;
mod build_ebpf;
mod command;
mod go_offsets;
mod golden;
mod setup;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// goaudit's chores. Start with `cargo xtask setup`, then `cargo xtask test`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what building the eBPF object, the tests and the kernel lab need.
    Setup(setup::Args),
    /// Build the eBPF object and keep it in the tree, or check that the kept one is current.
    BuildEbpf(build_ebpf::Args),
    /// Run every check and test; this is what CI runs.
    Test(test::Args),
    /// Run the live tests on real kernels under QEMU, or open a shell on one.
    Vm(vm::Args),
    /// Compare goaudit's cost with its peers', in one interleaved run.
    Bench(bench::Args),
    /// Rewrite stored expectations after a wanted change.
    Golden(golden::Args),
    /// Compare the stored offsets of Go's own structures with real toolchains, or write them.
    GoOffsets(go_offsets::Args),
    /// Check the rules of the tree that no compiler checks.
    Tidy,
}

fn main() -> ExitCode {
    if let Err(error) = workspace::reach_cargo_bin() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let result = match Xtask::parse().chore {
        Chore::Setup(args) => setup::run(&args),
        Chore::BuildEbpf(args) => build_ebpf::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Vm(args) => vm::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Golden(args) => golden::run_chore(&args),
        Chore::GoOffsets(args) => go_offsets::run_chore(&args),
        Chore::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
