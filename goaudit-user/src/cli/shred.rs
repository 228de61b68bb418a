//! `goaudit shred`: destroys the keys of personal fields.

use std::path::PathBuf;

use anyhow::Context;

use super::Exit;
use super::output::note;
use crate::audit::day::Day;
use crate::audit::personal::PersonalKeyId;
use crate::audit::{self, Writer, WriterConfig};
use crate::host::{clock, identity};
use crate::personal::Class;

/// Destroy the keys of personal fields of old days: nobody reads these fields any more, and the log stays proven.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The log says which keys are destroyed before they are; its bytes, tree and proofs are not touched. A key is a file in\nDIR/personal: it is overwritten and removed. Copies elsewhere (backups, snapshots of the file system, blocks that a disk\nkeeps) are not, and whoever has one and an identity of a recipient reads on: destroy these, too.\nA recorder destroys keys by itself if the log was made with `goaudit init --shred-after DAYS`.\n\nExamples:\n  sudo goaudit shred /var/lib/goaudit/audit --older-than 90\n  sudo goaudit shred DIR --older-than 30 --class subject\n\nExit codes: 0 ok (also if nothing is old enough), 1 the keys cannot be destroyed, 2 usage."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// Destroy the keys of days that ended so many days ago or more; 1: up to the day before yesterday, 0: up to yesterday.
    #[arg(long, value_name = "DAYS")]
    older_than: u32,

    /// Only keys of this class.
    #[arg(long, value_name = "CLASS", value_parser = super::init::class)]
    class: Option<Class>,

    /// Only tell which.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let directory = &args.directory;
    let cannot = || format!("cannot destroy keys of personal fields in {}", directory.display());
    if audit::genesis(directory).with_context(cannot)?.personal.is_none() {
        return Err(Exit::Error.because(format!(
            "cannot destroy keys of personal fields in {}: it has none, as its first record says; `goaudit init \
             --personal CLASS` makes a log that has",
            directory.display()
        )));
    }
    let before = Day::of(clock::now().realtime_ns).back(args.older_than);
    let class = args.class.map(Class::name);
    // Looked at before a writer begins a segment for nothing.
    let found = audit::shreddable(directory, before, class).with_context(cannot)?;
    if found.is_empty() {
        note("nothing is old enough");
        return Ok(Exit::Ok);
    }
    if args.dry_run {
        note(&format!("would be destroyed: {}", list(&found)));
        return Ok(Exit::Ok);
    }
    let config = WriterConfig::new(super::recording::origin(), identity::host_id(), identity::boot_id());
    let (mut writer, _) = Writer::open(directory, config, clock::now()).with_context(cannot)?;
    let shredded = writer.shred(before, class, clock::now());
    writer.close(clock::now()).with_context(cannot)?;
    note(&format!("destroyed: {}", list(&shredded.with_context(cannot)?)));
    Ok(Exit::Ok)
}

fn list(ids: &[PersonalKeyId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
