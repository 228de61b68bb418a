//! `goaudit schema`: the JSON Schema of events.

use super::Exit;
use crate::view::schema;

/// Print the JSON Schema of events.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> anyhow::Result<Exit> {
    super::output::result(schema::generate().as_bytes())
}
