//! `goaudit hist`: latency histograms of the Go calls and decisions in a log.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::content::ContentKeyArg;
use super::output::note;
use super::{Exit, output};
use crate::audit::{ContentKeys, ReadFrom, ReadOptions, Tail, log_id_of};
use crate::filter::Filter;
use crate::hist::diff::Diff;
use crate::hist::report::Report;
use crate::hist::{By, Config, Histograms, export, table};
use crate::reads::Asked;
use crate::replay::{Cursor, ReplayError};
use crate::view::json::{Kind, Kinds};

/// Where `record` writes unless told otherwise.
const DIRECTORY: &str = "/var/lib/goaudit/audit";

/// Show latency histograms of the Go calls and decisions in a log.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit hist DIR --by policy,decision\n  goaudit hist DIR --where 'authz.authz_decision == false' --by subject,object\n  goaudit hist --diff BEFORE AFTER\n  goaudit hist DIR --diff-where 'process.tgid == 10' 'process.tgid == 20'\n  goaudit hist DIR --export hdr latencies.hlog\n\nCalls of which an end was not seen have no latency; they are counted by outcome.\nExit codes: 0 ok, 1 not a log that can be read, 2 usage, 3 damage found, 4 the log ends within a frame."
)]
pub(super) struct Args {
    /// Directory of the log [default: /var/lib/goaudit/audit].
    #[arg(value_name = "DIR", conflicts_with = "diff")]
    directory: Option<PathBuf>,

    /// What the calls of a group have in common: probe, function, policy, decision, subject, object, action,
    /// process, library; several separated by commas.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', default_value = "probe")]
    by: Vec<By>,

    /// Only calls for which this expression holds. CEL over the fields of the JSON form, such as
    /// `authz.authz_decision == false`.
    #[arg(long = "where", value_name = "EXPR")]
    condition: Option<String>,

    /// Start at this event.
    #[arg(long, value_name = "SEQ", conflicts_with = "diff")]
    from: Option<u64>,

    /// End with this event.
    #[arg(long, value_name = "SEQ", conflicts_with = "diff")]
    to: Option<u64>,

    /// One JSON object instead of a table, with the histograms themselves.
    #[arg(long)]
    json: bool,

    /// Compare two logs.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    diff: Option<Vec<PathBuf>>,

    /// Compare two sets of calls of one log, each for which its expression (and that of --where) holds.
    #[arg(long, num_args = 2, value_names = ["EXPR_A", "EXPR_B"], conflicts_with = "diff")]
    diff_where: Option<Vec<String>>,

    /// Also write the histograms to a file (`-`: to standard output, instead of the table). The format is `hdr`: an
    /// HdrHistogram interval log, one tag a group. A regular file that is there is replaced; links, devices and whatever
    /// is in the folder of a log are refused.
    #[arg(long, num_args = 2, value_names = ["FORMAT", "FILE"], conflicts_with_all = ["diff", "diff_where"])]
    export: Option<Vec<PathBuf>>,

    /// Groups at most; calls of further ones are told together.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    groups: u32,

    #[command(flatten)]
    content: ContentKeyArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    // Mistakes are told before a long log is read.
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(Exit::Usage.because(format!(
            "--from {from} --to {to}: the first event that is asked for comes after the last; swap them"
        )));
    }
    let condition = args.condition.as_deref();
    let one = args.directory.as_deref().unwrap_or(Path::new(DIRECTORY));
    if let Some([a, b]) = args.diff.as_deref() {
        let filters = (filter(condition, None)?, filter(condition, None)?);
        let names = (a.display().to_string(), b.display().to_string());
        return compare(args, [(&names.0, a, filters.0), (&names.1, b, filters.1)]);
    }
    if let Some([a, b]) = args.diff_where.as_deref() {
        let filters = (filter(condition, Some(a))?, filter(condition, Some(b))?);
        return compare(args, [(a, one, filters.0), (b, one, filters.1)]);
    }
    let filter = filter(condition, None)?;
    let export = args.export.as_deref().map(export_file).transpose()?;
    if let Some(file) = export {
        may_write(file, one)?;
    }
    tell(args, one);
    let side = read(args, one, filter, empty(args, false))?;
    let histograms = &side.histograms;
    let mut exported = false;
    if let Some(file) = export {
        exported = write(histograms, file)?;
    }
    if !exported {
        let text = if args.json {
            serde_json::to_string(&Report::new(histograms))? + "\n"
        } else {
            table::text(histograms)
        };
        output::result(text.as_bytes())?;
    }
    Ok(ended(args, &[(one, &side)]))
}

/// The table of the calls in a log from an event on, and how many there are.
pub(super) fn table_of(
    directory: &Path,
    from: u64,
    by: By,
    content: ContentKeys,
) -> anyhow::Result<(String, u64)> {
    let mut histograms = Histograms::new(Config { by: vec![by], ..Config::default() });
    let options = ReadOptions { from: ReadFrom::Seq(from), follow: false };
    let failed = || format!("cannot make histograms of {}", directory.display());
    let mut cursor = Cursor::open_with(directory, options, content).with_context(failed)?;
    while cursor
        .next_batch_of(Histograms::KINDS, |event, origin| -> anyhow::Result<()> {
            if origin.seq >= from {
                match event {
                    Some(event) => histograms.feed(event, origin, || true),
                    None => histograms.pass_over(),
                }
            }
            Ok(())
        })
        .with_context(failed)?
    {}
    Ok((table::text(&histograms), histograms.calls()))
}

/// `--where` and one side's own expression as one filter.
fn filter(common: Option<&str>, own: Option<&str>) -> anyhow::Result<Filter> {
    let compile = |expression: Option<&str>| {
        Filter::new(None, expression).map_err(|error| Exit::Usage.because(error.to_string()))
    };
    // Each by itself first: columns in messages are those of what was typed, and `a) || (b` is no way around.
    let (of_common, of_own) = (compile(common)?, compile(own)?);
    match (common, own) {
        (Some(common), Some(own)) => compile(Some(&format!("({common}) && ({own})"))),
        (Some(_), None) => Ok(of_common),
        (None, _) => Ok(of_own),
    }
}

fn export_file(given: &[PathBuf]) -> anyhow::Result<&Path> {
    match given {
        [format, file] if format.as_os_str() == "hdr" => Ok(file),
        _other => Err(Exit::Usage.because("--export takes a format and a file; the format is `hdr`")),
    }
}

/// What was read of a log.
struct Side {
    histograms: Histograms,
    tail: Option<Tail>,
    /// An event of the log that is not in the range that is asked for: the last before it or else the first behind it.
    outside: Option<u64>,
}

/// Histograms without calls, as they are asked for.
fn empty(args: &Args, across_runs: bool) -> Histograms {
    let mut by: Vec<By> = Vec::new();
    for word in &args.by {
        if !by.contains(word) {
            by.push(*word);
        }
    }
    let groups = usize::try_from(args.groups).unwrap_or(usize::MAX);
    Histograms::new(Config { by, groups, across_runs })
}

fn read(
    args: &Args,
    directory: &Path,
    mut filter: Filter,
    mut histograms: Histograms,
) -> anyhow::Result<Side> {
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    let failed = || format!("cannot make histograms of {}", directory.display());
    let keys = args.content.keys()?;
    let mut outside = None;
    if from > 0 {
        outside = look_back(&mut histograms, directory, from, keys.clone()).with_context(failed)?;
    }
    let options = ReadOptions { from: ReadFrom::Seq(from), follow: false };
    let mut cursor = Cursor::open_with(directory, options, keys).with_context(failed)?;
    let mut within = true;
    while within
        && cursor
            .next_batch_of(Histograms::KINDS, |event, origin| -> anyhow::Result<()> {
                within &= origin.seq <= to;
                if !within {
                    outside = outside.or(Some(origin.seq));
                }
                if within && origin.seq >= from {
                    match event {
                        Some(event) => histograms.feed(event, origin, || filter.matches(event, origin)),
                        None => histograms.pass_over(),
                    }
                }
                Ok(())
            })
            .with_context(failed)?
    {}
    Ok(Side { histograms, tail: cursor.tail(), outside })
}

/// Takes what the log tells of the probes before the first event that is asked for. Other events are not decoded.
/// What cannot be read there only takes the costs away. Returns the last event before it.
fn look_back(
    histograms: &mut Histograms,
    directory: &Path,
    from: u64,
    keys: ContentKeys,
) -> anyhow::Result<Option<u64>> {
    let mut last = None;
    let mut cursor = Cursor::open_with(directory, ReadOptions::default(), keys)?;
    let mut before = true;
    while before {
        let more = cursor.next_batch_of(Kinds::NONE.with(Kind::Control), |event, origin| {
            before &= origin.seq < from;
            if before {
                last = Some(origin.seq);
                if let Some(event) = event {
                    histograms.feed_before(event);
                }
            }
            Ok::<_, ReplayError>(())
        });
        match more {
            Ok(more) => before &= more,
            Err(error) => {
                note(&format!(
                    "what the probes cost before event {from} of {} is not known: {error}",
                    directory.display()
                ));
                histograms.forget_run();
                before = false;
            }
        }
    }
    Ok(last)
}

/// Says with the log that it is read.
fn tell(args: &Args, directory: &Path) {
    let asked = Asked { command: "hist", from: args.from, to: args.to, follow: false };
    super::reading::tell(directory, asked);
}

fn compare(args: &Args, sides: [(&str, &Path, Filter); 2]) -> anyhow::Result<Exit> {
    let [(name_a, directory_a, filter_a), (name_b, directory_b, filter_b)] = sides;
    tell(args, directory_a);
    if directory_b != directory_a {
        tell(args, directory_b);
    }
    let a = read(args, directory_a, filter_a, empty(args, true))?;
    let b = read(args, directory_b, filter_b, Histograms::beside(&a.histograms))?;
    let diff = Diff::new((name_a, &a.histograms), (name_b, &b.histograms));
    let text = if args.json { serde_json::to_string(&diff)? + "\n" } else { diff.text() };
    output::result(text.as_bytes())?;
    Ok(ended(args, &[(directory_a, &a), (directory_b, &b)]))
}

/// Whether standard output was used up by it.
fn write(histograms: &Histograms, file: &Path) -> anyhow::Result<bool> {
    let failed = || format!("cannot export to {}", file.display());
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        export::interval_log(histograms, &mut bytes).with_context(failed)?;
        output::result(&bytes)?;
        return Ok(true);
    }
    // A new file takes the place of the old one: another name of the old one keeps what it has.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let part = file.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = write_new(histograms, &part)
        .and_then(|written| fs::rename(&part, file).map(|()| written).map_err(anyhow::Error::from));
    if written.is_err() {
        // The error that came first is what is told.
        let _ = fs::remove_file(&part);
    }
    let written = written.with_context(failed)?;
    note(&format!("wrote {written} histograms to {}", file.display()));
    Ok(false)
}

fn write_new(histograms: &Histograms, file: &Path) -> anyhow::Result<usize> {
    let mut out = BufWriter::new(File::create_new(file)?);
    let written = export::interval_log(histograms, &mut out)?;
    out.flush()?;
    Ok(written)
}

/// Refuses a file that must not be written: anything within a log, and what is there and is no regular file.
fn may_write(file: &Path, log: &Path) -> anyhow::Result<()> {
    if file.as_os_str() == "-" {
        return Ok(());
    }
    let failed = || format!("cannot export to {}", file.display());
    let folder = match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(Exit::Usage.because(format!("{}: it is a folder; name a file", failed()))),
    };
    let folder = fs::canonicalize(folder).with_context(failed)?;
    // One segment can be read by itself; it is in the folder of its log.
    let log = fs::canonicalize(log).ok();
    let log = log.as_deref().and_then(|log| if log.is_dir() { Some(log) } else { log.parent() });
    let holds_segments = |folder: &Path| log_id_of(folder).is_ok_and(|id| id.is_some());
    let mut within = folder.ancestors();
    if log.is_some_and(|log| folder.starts_with(log)) || within.any(holds_segments) {
        return Err(Exit::Usage.because(format!(
            "{}: it is within a log, whose files must stay as they are; name a file in another folder",
            failed()
        )));
    }
    match fs::symlink_metadata(file) {
        Ok(there) if !there.is_file() => Err(Exit::Usage.because(format!(
            "{}: it is there and no regular file; name another file, or `-` for standard output",
            failed()
        ))),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(failed),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Tells what of the logs could not be used, and how that ends.
fn ended(args: &Args, logs: &[(&Path, &Side)]) -> Exit {
    let mut exit = Exit::Ok;
    let range = match (args.from, args.to) {
        (None, None) => None,
        (Some(from), None) => Some(format!("--from {from}")),
        (None, Some(to)) => Some(format!("--to {to}")),
        (Some(from), Some(to)) => Some(format!("--from {from} --to {to}")),
    };
    for (directory, Side { histograms, tail, outside }) in logs {
        let directory = directory.display();
        if histograms.calls() == 0 {
            let events = histograms.events();
            note(&match (&range, histograms.refused()) {
                (Some(range), _) if events == 0 => {
                    let from = args.from.unwrap_or(0);
                    let there = match outside {
                        Some(last) if *last < from => format!("its last event is {last}"),
                        Some(first) => format!("its first event there is {first}"),
                        None => "it has no event".to_owned(),
                    };
                    format!("no event of {directory} is in the range {range}: {there}")
                }
                (Some(range), 0) => format!(
                    "no call of a Go function among the {events} events of {directory} in the range {range}; without \
                     it the whole log is read"
                ),
                (None, 0) => format!(
                    "no call of a Go function among the {events} events of {directory}: nothing that a profile names \
                     was called, or no Go program was probed (the `probe` events of `goaudit replay {directory} \
                     --only control` tell)"
                ),
                (_, refused) => {
                    format!("none of the {refused} calls in {directory} is selected by the expression")
                }
            });
        }
        if let Some(tail) = tail {
            note(&format!(
                "the log {directory} ends within a frame (segment {}, byte {}): its writer was cut off, or is writing \
                 now; what is before that was counted, `goaudit verify` tells more",
                tail.segment_no, tail.offset
            ));
            exit = Exit::Incomplete;
        }
    }
    exit
}
