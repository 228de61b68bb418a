//! `goaudit replay`: stored events again, and the live view of `record`, which is the same thing.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::Exit;
use super::capture::{Select, View};
use super::content::ContentKeyArg;
use super::output::{Format, note};
use crate::audit::{AuditError, ContentKeys, FaultKind, ReadFrom, ReadOptions, Tail};
use crate::event::Event;
use crate::filter::Filter;
use crate::reads::Asked;
use crate::replay::{Cursor, ReplayError};
use crate::view::{Origin, compact, json};

/// How often a live view looks for new batches.
const POLL: Duration = Duration::from_millis(20);

/// Show stored events again, exactly as they were shown live.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit replay /var/lib/goaudit/audit\n  goaudit replay DIR --only ptrace\n  goaudit replay DIR --where 'kind == \"exec\" && process.uid == 0' -o json | jq .exec.argv\n\nWhat is damaged is told and left out; what is behind it is shown. Seals are not checked: `goaudit verify` does that.\nExit codes: 0 ok, 1 not a log that can be read, 2 usage, 3 damage found, 4 the log ends within a frame."
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

    #[command(flatten)]
    content: ContentKeyArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let show_args = Show {
        directory: args.directory.clone(),
        from: args.from.unwrap_or(0),
        format: Format::or_default(args.view.output),
        color: args.view.color.enabled(),
        utc: args.view.utc,
        filter: args.select.filter()?,
        content: args.content.keys()?,
        follow: args.follow.then(|| Arc::new(AtomicBool::new(false))),
    };
    super::reading::tell(
        &args.directory,
        Asked { command: "replay", from: args.from, to: None, follow: args.follow },
    );
    let End { tail, damaged } =
        show(show_args).with_context(|| format!("cannot replay {}", args.directory.display()))?;
    if damaged > 0 {
        note(&format!(
            "the log is damaged at {damaged} places: what can be read was shown, and all that was shown has its \
             checksums; `goaudit verify` tells whether it was changed"
        ));
        return Ok(Exit::Tampered);
    }
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
    /// Opens them, if they are encrypted.
    pub content: ContentKeys,
    /// Wait at the end of the log for more, until this is set and the end is reached again.
    pub follow: Option<Arc<AtomicBool>>,
}

/// How showing a log ended.
pub(super) struct End {
    /// Where an unfinished frame was left out.
    pub tail: Option<Tail>,
    /// Places that were damaged and left out, each told where it is.
    pub damaged: u64,
}

/// Places of damage that are told one by one.
const PLACES: u64 = 20;

/// Writes events to standard output until the end of the log, or, following, until told to end. What is damaged is told
/// and left out: what is behind it may be evidence, too.
pub(super) fn show(shown: Show) -> anyhow::Result<End> {
    let Show { directory, from, format, color, utc, mut filter, content, follow } = shown;
    let options = ReadOptions { from: ReadFrom::Seq(from), follow: follow.is_some() };
    let mut cursor = Cursor::open_with(&directory, options, content)?;
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let utc_offset_s = if utc { 0 } else { utc_offset_s() };
    let style = compact::Style { colour: color, utc_offset_s, ..compact::Style::default() };
    let mut line = Vec::new();
    let mut damaged = 0;
    let kinds = filter.kinds();
    loop {
        // Read before the log is: what was written before it was set is shown.
        let ending = follow.as_ref().is_none_or(|ended| ended.load(Ordering::Acquire));
        let mut show_batch = |event: Option<&Event>, origin: &Origin<'_>| -> anyhow::Result<()> {
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
        };
        loop {
            match cursor.next_batch_of(kinds, &mut show_batch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_damage(&error) => {
                    damaged += 1;
                    if damaged <= PLACES {
                        note(&format!("damaged, and left out: {error}"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        out.flush()?;
        if ending {
            return Ok(End { tail: cursor.tail(), damaged });
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a place of the log cannot be read though this version should: the cursor goes on behind it.
fn is_damage(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(ReplayError::Audit(AuditError::Segment { fault, .. })) => fault.kind != FaultKind::Unsupported,
        Some(ReplayError::Audit(_) | ReplayError::Event { .. }) | None => false,
    }
}

/// The local time zone's offset now, in seconds.
fn utc_offset_s() -> i32 {
    jiff::Zoned::now().offset().seconds()
}
