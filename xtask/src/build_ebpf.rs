//! `cargo xtask build-ebpf`: waits for the recipe, goaudit-ebpf/build_object.rs.

use anyhow::{Result, bail};

/// Build the eBPF object and keep it in the tree, or check that the kept one is current.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build into a temporary place and compare; fails when the kept object is stale.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    bail!("goaudit-ebpf/build_object.rs is not there yet (check: {})", args.check);
}

/// For `cargo xtask test`.
pub(crate) fn check() -> Result<()> {
    run(&Args { check: true })
}
