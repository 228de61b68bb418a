//! `goaudit prune`: gives up events that need not be kept any longer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::Exit;
use super::output::note;
use crate::audit::{self, Writer, WriterConfig};
use crate::host::{clock, identity};

/// Give up the events of segments that are older than the log must be kept.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The log says what it gives up before it does, in a record of its own; `goaudit verify` accepts nothing else, and\nnothing younger than the days that `goaudit init --keep` pinned in its first record. The tree, the keys and proofs\nof the events that stay are not touched. A recorder prunes by itself.\n\nExit codes: 0 ok (also if nothing is old enough), 1 the log cannot be pruned, 2 usage."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// Keep events for so many days [default: as long as the log must be kept].
    #[arg(long, value_name = "DAYS")]
    keep: Option<u32>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let directory = &args.directory;
    let cannot = || format!("cannot prune {}", directory.display());
    let pinned = audit::retention(directory).with_context(cannot)?.ok_or_else(|| {
        Exit::Error.because(format!(
            "cannot prune {}: it is to be kept for ever, as its first record says; `goaudit init --keep DAYS` makes a log \
             that can be pruned",
            directory.display()
        ))
    })?;
    let keep = match args.keep {
        None => pinned,
        Some(days) => {
            let keep = Duration::from_secs(u64::from(days) * 86_400);
            if keep < pinned {
                return Err(Exit::Usage.because(format!(
                    "--keep {days}: the log must be kept for {} days, as its first record says",
                    pinned.as_secs() / 86_400
                )));
            }
            keep
        }
    };
    // Looked at before a writer begins a segment for nothing.
    if audit::prunable(directory, keep, clock::now()).with_context(cannot)?.is_none() {
        note("nothing is old enough");
        return Ok(Exit::Ok);
    }
    let config = WriterConfig::new(super::recording::origin(), identity::host_id(), identity::boot_id());
    let (mut writer, _) = Writer::open(directory, config, clock::now()).with_context(cannot)?;
    let pruned = writer.prune(Some(keep), clock::now()).with_context(cannot)?;
    writer.close(clock::now()).with_context(cannot)?;
    if let Some(prune) = pruned {
        note(&format!("segments up to {} are pruned: events before {}", prune.last_segment, prune.next_seq));
    }
    Ok(Exit::Ok)
}
