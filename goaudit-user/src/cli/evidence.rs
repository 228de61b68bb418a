//! `goaudit evidence`: a log, or some events of it, as an archive for others.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::Exit;
use super::content::ContentKeyArg;
use super::output::note;
use crate::audit::{ContentKeys, ReadFrom, ReadOptions, Reader, hex, keys};
use crate::evidence::{self, Scope, Tool};
use crate::reads::Asked;

/// More events than one package is good for.
const MAX_EVENTS: u64 = 65_536;

/// Pack a log, or some events of it, with all that others need to check it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit evidence DIR -o case.zip                      the whole log\n  goaudit evidence DIR 17 40-44 -o case.zip             some events, with proofs\n  goaudit evidence DIR --from 2026-11-22T10:00:00Z --to 2026-11-22T10:05:00Z -o case.zip\n\nThe archive holds segments or proofs, checkpoints, anchors, what was probed, a manifest, sums, and a README that\ntells how to check it without goaudit. The same log gives the same bytes. The log's secret key is not in it.\n\nExit codes: 0 ok, 1 no such event, not sealed yet, or not readable or writable, 2 usage, 3 the log is damaged or was changed."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// Events by their number (`seq`), or from one to another: `17`, `40-44` [default: the whole log].
    #[arg(value_name = "SEQ", value_parser = super::prove::events)]
    events: Vec<(u64, u64)>,

    /// Events from this time on (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "events")]
    from: Option<Timestamp>,

    /// Events up to this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "events")]
    to: Option<Timestamp>,

    /// Archive to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// The log's verification key, or a file that holds it [default: the one beside the log].
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,

    #[command(flatten)]
    content: ContentKeyArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let context = || format!("cannot pack {}", args.directory.display());
    let key = match &args.log_key {
        Some(given) => super::verify::log_key(given)?,
        None => keys::load_public(&args.directory).with_context(context)?,
    };
    let (from, to) =
        (args.events.iter().map(|range| range.0).min(), args.events.iter().map(|range| range.1).max());
    super::reading::tell(&args.directory, Asked { command: "evidence", from, to, follow: false });
    let content = args.content.keys()?;
    let scope = scope(args, &content).with_context(context)?;
    let tool = Tool { name: "goaudit", version: env!("CARGO_PKG_VERSION"), sha256: own_hash()? };
    // A package is there whole or not at all.
    let path = &args.output;
    let mut name = path.file_name().context("--output names no file")?.to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    let written = evidence::write(&args.directory, (&key, &content), &scope, &tool, &file)
        .with_context(context)
        .and_then(|summary| {
            file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
            fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(summary)
        });
    let summary = match written {
        Ok(summary) => summary,
        Err(error) => {
            // The first error is the one to tell.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
    };
    note(&format!(
        "{}: {} files, {} bytes; its README.md tells how to check it",
        path.display(),
        summary.members,
        summary.bytes
    ));
    Ok(Exit::Ok)
}

/// What is asked for.
fn scope(args: &Args, content: &ContentKeys) -> anyhow::Result<Scope> {
    let too_many = |count: u64| {
        Exit::Usage.because(format!(
            "{count} events and more: a package of single events has at most {MAX_EVENTS}; pack the whole log, or less"
        ))
    };
    if !args.events.is_empty() {
        let count = args.events.iter().fold(0_u64, |sum, (first, last)| sum.saturating_add(last - first + 1));
        if count > MAX_EVENTS {
            return Err(too_many(count));
        }
        return Ok(Scope::Events(args.events.iter().flat_map(|(first, last)| *first..=*last).collect()));
    }
    if args.from.is_none() && args.to.is_none() {
        return Ok(Scope::Log);
    }
    let ns = |time: Option<Timestamp>| time.map(|time| u64::try_from(time.as_nanosecond()).unwrap_or(0));
    let (from, to) = (ns(args.from).unwrap_or(0), ns(args.to).unwrap_or(u64::MAX));
    let found = between(&args.directory, content, from, to)?;
    if found.len() as u64 > MAX_EVENTS {
        return Err(too_many(MAX_EVENTS));
    }
    if found.is_empty() {
        return Err(Exit::Error.because("no event is of that time"));
    }
    Ok(Scope::Events(found))
}

/// Numbers of the events of a time, in nanoseconds since 1970; not many more than a package may have. An event that this
/// version cannot read counts with the time of its batch.
fn between(directory: &Path, content: &ContentKeys, from: u64, to: u64) -> anyhow::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let options = ReadOptions { from: ReadFrom::Realtime(from), ..ReadOptions::default() };
    let mut reader = Reader::open(directory, options)?.with_keys(content.clone());
    while let Some(batch) = reader.next_batch()? {
        let info = batch.meta();
        if info.realtime_first_ns > to || info.realtime_last_ns < from {
            continue;
        }
        for (seq, stored) in (info.first_seq..).zip(batch.events()) {
            let time = crate::event::Event::decode(stored)
                .map_or(info.realtime_first_ns, |event| info.realtime_of(event.ktime.0));
            if (from..=to).contains(&time) {
                found.insert(seq);
            }
        }
        if found.len() as u64 > MAX_EVENTS {
            break;
        }
    }
    Ok(found)
}

/// Hash of this program's file.
fn own_hash() -> anyhow::Result<String> {
    let mut file = File::open("/proc/self/exe").context("cannot read goaudit's own program")?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = std::io::Read::read(&mut file, &mut chunk).context("cannot read goaudit's own program")?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}
