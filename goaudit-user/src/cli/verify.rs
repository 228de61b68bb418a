//! `goaudit verify`: is anything missing or changed?

use std::path::PathBuf;

use anyhow::Context;

use super::Exit;
use crate::audit::{self, Verdict};
use crate::conservation::Conservation;

/// Check that a log is complete and unchanged.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 ok, 3 tampering or damage found (the first bad place is named), 4 incomplete (records were lost, or a run did not end in order), 1 unreadable, 2 usage."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// The log's verification key, as `record` printed it, or a file that holds it. Without it the key beside
    /// the log is used, and the verdict says that it was not pinned.
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,

    /// A checkpoint that you kept: the log must contain it. Proves freshness up to it.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}
