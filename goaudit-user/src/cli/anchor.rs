//! `goaudit anchor`: has others vouch for a log's last checkpoint: witnesses and time stamp authorities.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::Exit;
use super::capture::duration;
use super::output::note;
use crate::anchoring::{self, AnchorError, Anchored, WitnessAt};
use crate::audit::keys;

/// Have others vouch for a log's last checkpoint: witnesses, so that it cannot be cut or replaced unseen, and time stamp
/// authorities, so that it cannot have been made later.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit anchor DIR --witness http://127.0.0.1:7380+VKEY\n  goaudit verify DIR --log-key VKEY --witness-policy policy.txt\n  goaudit anchor DIR --tsa http://tsa.example.org/tsr\n\nWhat they say is kept in DIR/anchors, in the form of a signed checkpoint. A witness is any C2SP tlog-witness, such as\n`goaudit witness`, which prints URL+VKEY. A time stamp authority is any of RFC 3161\nover HTTP; `openssl ts -verify -data anchors/X.note -in anchors/X.tsr -CAfile CA` checks its answer.\n\nExit codes: 0 ok, 1 not reached or refused, 2 usage, 3 the other side has seen more of this log, or another history."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// A witness: its URL, a plus sign, its key. May be repeated.
    #[arg(long, value_name = "URL+VKEY", value_parser = witness, required_unless_present = "tsa")]
    witness: Vec<WitnessAt>,

    /// URL of a time stamp authority (RFC 3161). May be repeated.
    #[arg(long, value_name = "URL", value_parser = url)]
    tsa: Vec<String>,

    /// The log's verification key, or a file that holds it [default: the one beside the log].
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,

    /// How long to wait for each.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    timeout: Duration,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let context = || format!("cannot anchor {}", args.directory.display());
    let key = match &args.log_key {
        Some(given) => super::verify::log_key(given)?,
        None => keys::load_public(&args.directory).with_context(context)?,
    };
    let (log, wait) = (&args.directory, args.timeout);
    let mut attempts: Vec<(&str, &str, Result<Anchored, AnchorError>)> = Vec::new();
    // One that does not answer must not keep the others from being asked.
    for witness in &args.witness {
        attempts.push((witness.key.name(), "cosigned", anchoring::cosign(log, &key, witness, wait)));
    }
    for url in &args.tsa {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("cannot get random bytes: {error}"))?;
        attempts.push((url, "stamped", anchoring::timestamp(log, &key, url, wait, random)));
    }
    let mut exit = Exit::Ok;
    for (who, what, attempt) in attempts {
        match attempt {
            Ok(Anchored { size, time, file }) => {
                note(&format!("{who} {what} {size} batches at {}: {}", when(time), file.display()));
            }
            Err(error) => {
                let error = anyhow::Error::new(error).context(context());
                super::output::complain(&error);
                if matches!(exit, Exit::Ok | Exit::Error) {
                    exit = Exit::of(&error);
                }
            }
        }
    }
    Ok(exit)
}

/// A URL of the command line.
fn url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("a URL begins with http:// or https://".to_owned())
    }
}

/// A time in seconds since 1970 as people read it.
pub(super) fn when(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}

/// A witness of the command line.
pub(super) fn witness(text: &str) -> Result<WitnessAt, String> {
    WitnessAt::parse(text).map_err(|error| error.to_string())
}
