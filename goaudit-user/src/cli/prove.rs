//! `goaudit prove`: single events of a log, with what proves them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;

use super::Exit;
use super::content::ContentKeyArg;
use super::output::note;
use crate::audit;
use crate::reads::Asked;

/// More events than one proof file is good for.
const MAX_EVENTS: u64 = 65_536;

/// Take single events out of a log, with a proof that others can check without the log.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit prove DIR 17 -o case.tlog-proof\n  goaudit prove DIR 17 40-44 -o case.tlog-proof\n  goaudit verify --proof case.tlog-proof --log-key VKEY\n\nThe proof has the events whole, the way from each to the log's last checkpoint, and that checkpoint. It tells\nnothing of other events. Whoever checks it needs it and the log's verification key (keys/log.vkey), no more;\ndocs/verify-without-goaudit.md tells how to do it with openssl and sha256sum.\n\nExit codes: 0 ok, 1 no such event, not sealed yet, or no log that can be read, 2 usage, 3 the log is damaged or was changed."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// Events by their number (`seq`), or from one to another: `17`, `40-44`.
    #[arg(required = true, value_name = "SEQ", value_parser = events)]
    events: Vec<(u64, u64)>,

    /// File to write [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The log's verification key, or a file that holds it [default: the one beside the log].
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,

    #[command(flatten)]
    content: ContentKeyArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let key = args.log_key.as_deref().map(super::verify::log_key).transpose()?;
    let content = args.content.keys()?;
    let asked = args.events.iter().fold(0_u64, |sum, (first, last)| sum.saturating_add(last - first + 1));
    if asked > MAX_EVENTS {
        return Err(
            Exit::Usage.because(format!("{asked} events: one proof has at most {MAX_EVENTS}; make several"))
        );
    }
    let wanted: BTreeSet<u64> = args.events.iter().flat_map(|(first, last)| *first..=*last).collect();
    let asked =
        Asked { command: "prove", from: wanted.first().copied(), to: wanted.last().copied(), follow: false };
    super::reading::tell(&args.directory, asked);
    let proof = audit::prove_with(&args.directory, &wanted, key.as_ref(), &content)
        .with_context(|| format!("cannot prove events of {}", args.directory.display()))?;
    let text = proof.text();
    let Some(path) = &args.output else {
        return super::output::result(text.as_bytes());
    };
    std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    note(&format!(
        "{}: {} events of {} batches, {} bytes; check with `goaudit verify --proof {} --log-key VKEY`",
        path.display(),
        wanted.len(),
        proof.batches.len(),
        text.len(),
        path.display()
    ));
    Ok(Exit::Ok)
}

/// A number, or two with a dash between them.
pub(super) fn events(text: &str) -> Result<(u64, u64), String> {
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not the number of an event"));
    match text.split_once('-') {
        None => number(text).map(|seq| (seq, seq)),
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first <= last && last < u64::MAX => Ok((first, last)),
            (first, last) => Err(format!("{first}-{last} has no events: from the smaller to the larger")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::events;

    #[test]
    fn events_are_numbers_and_ranges() {
        assert_eq!(events("17"), Ok((17, 17)));
        assert_eq!(events("0-3"), Ok((0, 3)));
        assert_eq!(events("3-3"), Ok((3, 3)));
        for wrong in ["", "-", "x", "1-", "-1", "4-3", "1-2-3", "0-18446744073709551615"] {
            assert!(events(wrong).is_err(), "{wrong}");
        }
    }
}
