//! `cargo xtask golden`: rewrites stored expectations after a wanted change, for a human to read.

use anyhow::{Result, bail};

use crate::command::{cargo, command, run};

/// Set for tests that compare with stored bytes: they write instead.
const BLESS: &str = "GOAUDIT_BLESS";

/// Rewrite stored expectations after a wanted change.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rewrite them; without it the tests only compare.
    #[arg(long)]
    bless: bool,
}

pub(crate) fn run_chore(args: &Args) -> Result<()> {
    let mut tests = cargo();
    // libtest filters by substring: a test that has stored expectations says so in its name.
    tests.args(["test", "--workspace", "--", "golden", "schema", "derived"]);
    if args.bless {
        tests.env(BLESS, "1");
    }
    let passed = run(&mut tests);
    if !args.bless {
        return passed;
    }
    println!("\nRead what changed before you keep it:");
    run(command("git").args(["--no-pager", "diff", "--stat"]))?;
    run(command("git").args(["status", "--short", "--untracked-files=all"]))?;
    if let Err(error) = passed {
        bail!("not everything could be blessed: {error:#}");
    }
    Ok(())
}
