//! `cargo xtask go-offsets`: the stored offsets of Go's own structures, against all Go toolchains or written from them.
//!
//! The work is a test's (`tests/tests/go_offsets.rs`), which knows how to get toolchains and to read DWARF; so that this
//! crate, which everyone waits for, needs neither.

use anyhow::Result;

use crate::command::{cargo, command, run};

/// Compare the stored offsets of Go's own structures with every Go release that goaudit knows.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write them from the toolchains instead. All must be to be had.
    #[arg(long)]
    bless: bool,
}

pub(crate) fn run_chore(args: &Args) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", "go_offsets"]).env(crate::test::GO_VERSIONS, "all");
    if !args.bless {
        return run(&mut test);
    }
    run(test.env("GOAUDIT_BLESS", "1"))?;
    run(command("git").args(["--no-pager", "diff", "--", "goaudit-user/src/golang/offsets/table.rs"]))
}
