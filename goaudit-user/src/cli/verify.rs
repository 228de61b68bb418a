//! `goaudit verify`: is anything missing or changed?

mod proof;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::Exit;
use crate::audit::note::VerifyKey;
use crate::audit::policy::Policy;
use crate::audit::{self, BatchInfo, Check, Report, Verdict, VerifyOptions, Witnessed, anchor};
use crate::conservation;
use crate::correlate::conservation::Conservation;
use crate::event::Event;

/// Check that a log is complete and unchanged, or that a proof holds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 ok, 3 tampering or damage found (the first bad place is named), 4 incomplete (records were lost, calls not seen, or a run did not end in order), 1 unreadable, 2 usage.\n\nOf a proof (`goaudit prove`): 0 the events are proven and shown, 3 it does not verify, 4 proven but not events of this version, 1 unreadable, 2 usage (a proof needs --log-key: a key from the same hand proves nothing)."
)]
pub(super) struct Args {
    /// Directory of the log.
    #[arg(required_unless_present = "proof")]
    directory: Option<PathBuf>,

    /// Check this proof file instead of a log.
    #[arg(long, value_name = "FILE", requires = "log_key", conflicts_with_all = ["directory", "expect"])]
    proof: Option<PathBuf>,

    /// The log's verification key, as `record` printed it, or a file that holds it. Without it the key beside
    /// the log is used, and the verdict says that it was not pinned.
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,

    /// A checkpoint that you kept: the log must contain it. Proves freshness up to it.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// Which witnesses must have cosigned a checkpoint that the log contains (C2SP tlog-policy). Proves freshness up to it.
    #[arg(long, value_name = "FILE", requires = "log_key", conflicts_with = "proof")]
    witness_policy: Option<PathBuf>,

    /// A cosigned checkpoint that was kept elsewhere, in addition to those in the log's `anchors`. May be repeated.
    #[arg(long, value_name = "FILE", requires = "witness_policy")]
    anchor: Vec<PathBuf>,

    /// The oldest that the cosignatures may be, such as `5m`.
    #[arg(long, value_name = "TIME", value_parser = super::capture::duration, requires = "witness_policy")]
    max_age: Option<Duration>,

    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let key = args.log_key.as_deref().map(log_key).transpose()?;
    if let (Some(path), Some(key)) = (&args.proof, &key) {
        return proof::run(path, key, args.json);
    }
    let directory =
        args.directory.as_deref().ok_or_else(|| Exit::Usage.because("no log and no proof is given"))?;
    let expect =
        args.expect.as_ref().map(std::fs::read_to_string).transpose().context("cannot read --expect")?;
    let witnessed = match (&args.witness_policy, &key) {
        (Some(policy), Some(key)) => Some(witnessed(args, directory, policy, key)?),
        _ => None,
    };
    let (report, exit) = check(directory, key, expect, witnessed)?;
    if args.json {
        let mut line = serde_json::to_vec(&report)?;
        line.push(b'\n');
        super::output::result(&line)?;
    } else {
        super::output::result(text(&report).as_bytes())?;
    }
    Ok(exit)
}

/// What witnesses say about the log, by a policy.
fn witnessed(args: &Args, directory: &Path, policy: &Path, key: &VerifyKey) -> anyhow::Result<Witnessed> {
    let bytes = std::fs::read(policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let policy = Policy::parse(&bytes)
        .map_err(|error| Exit::Usage.because(format!("--witness-policy {}: {error}", policy.display())))?;
    let found = anchor::newest_cosigned(directory, &args.anchor, key, &policy)
        .with_context(|| format!("cannot verify {}", directory.display()))?;
    let (cosigned, quorum) = match found {
        Ok(found) => found,
        Err(why) => return Ok(Witnessed::Lacking(why)),
    };
    let Some(time) = quorum.time() else {
        return Ok(Witnessed::Lacking("the policy demands no witnesses, so none proves anything".to_owned()));
    };
    let names: Vec<&str> = quorum.witnesses.iter().map(|(name, _)| name.as_str()).collect();
    let told = format!("{} cosigned at {}", names.join(", "), super::anchor::when(time));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(most) = args.max_age
        && now.saturating_sub(Duration::from_secs(time)) > most
    {
        let age = now.saturating_sub(Duration::from_secs(time)).as_secs();
        return Ok(Witnessed::Lacking(format!("what {told} is {age} s old, more than --max-age allows")));
    }
    Ok(Witnessed::Cosigned { note: cosigned.note, told })
}

/// Verifies a log: its structure, its events, its books.
pub(super) fn check(
    directory: &Path,
    log_key: Option<VerifyKey>,
    expect: Option<String>,
    witnessed: Option<Witnessed>,
) -> anyhow::Result<(Report, Exit)> {
    let options = VerifyOptions { log_key, expect, witnessed, ..VerifyOptions::default() };
    let mut books = Conservation::default();
    let mut undecodable = None;
    let mut visit = |batch: &BatchInfo, index: usize, stored: &[u8]| match Event::decode(stored) {
        Ok(event) => books.feed(&event),
        Err(error) => {
            undecodable.get_or_insert_with(|| (batch.first_seq + index as u64, error.to_string()));
        }
    };
    let mut report = audit::verify(&[directory.to_owned()], &options, Some(&mut visit))
        .with_context(|| format!("cannot verify {}", directory.display()))?;
    conservation::judge(&mut report, &books.finish(), undecodable);
    if let Some(key) = &options.log_key {
        audit::timestamp::judge(directory, key, &mut report)
            .with_context(|| format!("cannot verify {}", directory.display()))?;
    }
    let exit = exit_of(report.verdict);
    Ok((report, exit))
}

/// How `verify` ends.
const fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Ok => Exit::Ok,
        Verdict::Incomplete => Exit::Incomplete,
        Verdict::Damaged | Verdict::Tampered => Exit::Tampered,
    }
}

/// The verdict in text.
const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "OK",
        Verdict::Incomplete => "INCOMPLETE",
        Verdict::Damaged => "DAMAGED",
        Verdict::Tampered => "TAMPERED",
    }
}

/// A verification key: the text itself, or a file with it.
pub(super) fn log_key(given: &str) -> anyhow::Result<VerifyKey> {
    let text = match std::fs::read_to_string(given) {
        Ok(text) => text,
        Err(_) => given.to_owned(),
    };
    VerifyKey::parse(text.trim()).map_err(|error| {
        Exit::Usage.because(format!("--log-key {given}: neither a file nor a verification key ({error})"))
    })
}

/// The report for people: verdict first, then what is proven and what is not.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let verdict = word(report.verdict);
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("{verdict}  {}", report.log));
    line(format_args!(
        "{} segments  {} batches  {} events ({} sealed, {} after the last checkpoint)  {} kernel records lost",
        report.segments,
        report.batches,
        report.events,
        report.sealed_events,
        report.unsealed_events,
        report.lost
    ));
    if report.not_run > 0 {
        line(format_args!("{} calls not seen: the kernel skipped programs", report.not_run));
    }
    if let Some(root) = &report.root {
        line(format_args!("root {root}  size {}", report.size));
    }
    if let Some(bad) = &report.first_bad {
        let mut place = String::new();
        for (name, value) in
            [("segment", bad.segment), ("byte", bad.offset), ("batch", bad.batch), ("event", bad.event)]
        {
            if let Some(value) = value {
                let _ = write!(place, "{name} {value}  ");
            }
        }
        line(format_args!("first bad place: {place}{}", bad.what));
    }
    write_checks(&mut text, &report.checks);
    text
}

/// What is proven and what is not, a line each.
fn write_checks(text: &mut String, checks: &[Check]) {
    for check in checks {
        let proven = if check.ok { "proven    " } else { "NOT PROVEN" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{proven}  {:<22} {}", check.name, check.detail);
    }
}
