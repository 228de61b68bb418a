//! `goaudit man`: the manual page, from the same tree as the help.

use super::Exit;

/// Print the manual page (roff), of goaudit or of one of its commands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Command whose page is wanted.
    command: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let title = args.command.as_ref().map_or_else(|| "goaudit".to_owned(), |name| format!("goaudit-{name}"));
    let mut tree = super::command();
    tree.build();
    let command = match &args.command {
        None => tree,
        Some(name) => tree.find_subcommand(name).cloned().ok_or_else(|| {
            Exit::Usage.because(format!("there is no command `{name}`; `goaudit help` lists them"))
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).title(title).render(&mut page)?;
    super::output::result(&page)
}
