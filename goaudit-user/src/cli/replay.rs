//! `goaudit replay`: stored events again, and the live view of `record`, which is the same thing.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::Exit;
use super::capture::{Select, View};
use super::output::{Format, note};
use crate::audit::{ReadFrom, ReadOptions, Tail};
use crate::filter::Filter;
use crate::replay::Cursor;
use crate::view::{compact, json};

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
    let tail = show(show_args).with_context(|| format!("cannot replay {}", args.directory.display()))?;
    let Some(tail) = tail else { return Ok(Exit::Ok) };
    note(&format!(
        "the log ends within a frame (segment {}, byte {}): its writer was cut off, or is writing now; what is \
         before that was shown, `goaudit verify` tells more",
        tail.segment_no, tail.offset
    ));
    Ok(Exit::Incomplete)
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

/// Writes events to standard output until the end of the log, or, following, until told to end. Returns where an
/// unfinished frame was left out.
pub(super) fn show(shown: Show) -> anyhow::Result<Option<Tail>> {
    let Show { directory, from, format, color, utc, mut filter, follow } = shown;
    let options = ReadOptions { from: ReadFrom::Seq(from), follow: follow.is_some() };
    let mut cursor = Cursor::open(&directory, options)?;
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let utc_offset_s = if utc { 0 } else { utc_offset_s() };
    let style = compact::Style { colour: color, utc_offset_s, ..compact::Style::default() };
    let mut line = Vec::new();
    loop {
        // Read before the log is: what was written before it was set is shown.
        let ending = follow.as_ref().is_none_or(|ended| ended.load(Ordering::Acquire));
        while cursor.next_batch_of(filter.kinds(), |event, origin| -> anyhow::Result<()> {
            let Some(event) = event.filter(|event| origin.seq >= from && filter.matches(event, origin))
            else {
                return Ok(());
            };
            line.clear();
            match format {
                Format::Compact => compact::write(&mut line, event, origin, style),
                Format::Json => json::write(&mut line, event, origin),
                Format::None => {}
            }
            Ok(out.write_all(&line)?)
        })? {}
        out.flush()?;
        if ending {
            return Ok(cursor.tail());
        }
        std::thread::sleep(POLL);
    }
}

/// The local time zone's offset now, in seconds.
fn utc_offset_s() -> i32 {
    jiff::Zoned::now().offset().seconds()
}
