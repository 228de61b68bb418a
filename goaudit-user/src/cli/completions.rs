//! `goaudit completions SHELL`.

use super::Exit;

/// Print a shell completion script.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which shell.
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "goaudit", &mut script);
    super::output::result(&script)
}
