//! `goaudit demo`.
use super::Exit;
/// Demo.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) fn run(_: &Args) -> anyhow::Result<Exit> { Ok(Exit::Ok) }
