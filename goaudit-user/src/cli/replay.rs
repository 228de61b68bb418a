//! `goaudit replay`: stored events again, and the live view of `record`, which is the same thing.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::Exit;
use super::capture::{Select, View};
use super::output::Format;
use crate::audit::ReadOptions;
use crate::filter::Filter;
use crate::replay::{Cursor, Stored};
use crate::view::{Compact, Json};

/// How often a live view looks for new batches.
const POLL: Duration = Duration::from_millis(20);

/// Show stored events again, exactly as they were shown live.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit replay /var/lib/goaudit/audit\n  goaudit replay DIR --only ptrace\n  goaudit replay DIR --where 'kind == \"exec\" && process.uid == 0' -o json | jq .exec.argv"
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    #[command(flatten)]
    select: Select,

    #[command(flatten)]
    view: View,

    /// Start at this event.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,

    /// Go on with events as they are written, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let show_args = Show {
        directory: args.directory.clone(),
        from: args.from.unwrap_or(0),
        format: Format::or_default(args.view.output),
        color: args.view.color.enabled(),
        utc: args.view.utc,
        filter: args.select.filter()?,
        follow: args.follow.then(|| Arc::new(AtomicBool::new(false))),
    };
    show(show_args).with_context(|| format!("cannot replay {}", args.directory.display()))?;
    Ok(Exit::Ok)
}

/// What to show and how.
pub(super) struct Show {
    /// The log.
    pub directory: PathBuf,
    /// First event.
    pub from: u64,
    /// Form of a line.
    pub format: Format,
    /// Colour in the compact form.
    pub color: bool,
    /// UTC in the compact form.
    pub utc: bool,
    /// Which events.
    pub filter: Filter,
    /// Wait at the end of the log for more, until this is set and the end is reached again.
    pub follow: Option<Arc<AtomicBool>>,
}

/// Writes events to standard output.
pub(super) fn show(args: Show) -> anyhow::Result<()> {
    let Show { directory, from, format, color, utc, mut filter, follow } = args;
    let mut cursor = Cursor::open(&directory, ReadOptions { from_seq: from, follow: follow.is_some() })?;
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut line = Vec::new();
    let mut json = Json::default();
    let mut compact = Compact::new(color, utc);
    let mut each = |stored: Stored<'_>| -> anyhow::Result<()> {
        if stored.origin.seq < from || !filter.admits(&stored.event, stored.origin) {
            return Ok(());
        }
        line.clear();
        match format {
            Format::Compact => compact.line(&stored.event, stored.origin, &mut line),
            Format::Json => json.line(&stored.event, stored.origin, &mut line),
            Format::None => return Ok(()),
        }
        Ok(out_write(&mut out, &line)?)
    };
    loop {
        // Read before the log is: what was written before it was set is shown.
        let ending = follow.as_ref().is_none_or(|ended| ended.load(Ordering::Acquire));
        while cursor.next(&mut each)? {}
        flush(&mut each)?;
        if ending {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}
