//! `goaudit verify`: is anything missing or changed?

mod bar;
mod clock;
mod proof;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use zeroize::Zeroizing;

use super::Exit;
use super::content::ContentKeyArg;
use super::output::note;
use crate::audit::hmac::HmacKey;
use crate::audit::note::VerifyKey;
use crate::audit::policy::Policy;
use crate::audit::sm2::Sm2Key;
use crate::audit::{self, BatchInfo, Check, Report, State, Verdict, VerifyOptions, Witnessed, anchor};
use crate::conservation::{self, NotJudged};
use crate::correlate::conservation::Conservation;
use crate::event::Event;
use clock::ClockSteps;

/// Check that a log is complete and unchanged, or that a proof holds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 ok, 3 tampering or damage found (the first bad place is named), 4 incomplete (records were lost, calls not seen, a run did not end in order, or the log is of a version without epoch keys), 1 unreadable, 2 usage.\n\nOf a proof (`goaudit prove`): 0 the events are proven and shown, 3 it does not verify, 4 proven but not events of this version, 1 unreadable, 2 usage (a proof needs --log-key: a key from the same hand proves nothing)."
)]
pub(super) struct Args {
    /// Directory of the log.
    #[arg(required_unless_present = "proof")]
    directory: Option<PathBuf>,

    /// Check this proof file instead of a log.
    #[arg(long, value_name = "FILE", requires = "log_key", conflicts_with_all = ["directory", "expect"])]
    proof: Option<PathBuf>,

    /// The log's verification key, as `init` or `record` printed it, or a file of such keys, a line each: that of this log
    /// must be among them. Without it the key beside the log is used, and the verdict says that it was not pinned.
    #[arg(long, value_name = "VKEY|FILE", env = "GOAUDIT_LOG_KEY")]
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
    /// The first key of the log's HMAC chain, as `init --hmac` wrote it: every event's signature is computed anew.
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    hmac_key: Option<PathBuf>,

    /// An SM2 key, as `init --sm2` told it, or a file that holds it: every checkpoint must have a line by it. Without it the
    /// key that the log's first record names is demanded, if it names one.
    #[arg(long, value_name = "VKEY|FILE", conflicts_with = "proof")]
    sm2_key: Option<String>,

    /// First set a torn tail aside (in DIR/torn) and write a `checkpoint` file anew that is missing or torn. Nothing is
    /// deleted, and damage is left as it is. Not while a recorder writes the log.
    #[arg(long, conflicts_with = "proof")]
    repair: bool,

    /// Remember in this file what was verified; next time read only what came since, and find out if the log went back
    /// behind it. Keep it where nobody can change it who can change the log.
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    state: Option<PathBuf>,

    #[command(flatten)]
    content: ContentKeyArg,

    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let keys = args.log_key.as_deref().map(log_keys).transpose()?;
    if let (Some(path), Some(keys)) = (&args.proof, &keys) {
        return proof::run(path, &the_only(keys)?, args.json);
    }
    let directory =
        args.directory.as_deref().ok_or_else(|| Exit::Usage.because("no log and no proof is given"))?;
    let expect =
        args.expect.as_ref().map(std::fs::read_to_string).transpose().context("cannot read --expect")?;
    let log_key = keys.map(|keys| pinned(directory, &keys)).transpose()?;
    let content_keys = args.content.keys()?;
    if args.repair {
        repair(directory, log_key.as_ref())?;
    }
    let since = match &args.state {
        Some(path) => State::load(path).context("cannot verify")?,
        None => None,
    };
    let witnessed = match (&args.witness_policy, &log_key) {
        (Some(policy), Some(key)) => Some(witnessed(args, directory, policy, key)?),
        _ => None,
    };
    let hmac_key = args.hmac_key.as_deref().map(hmac_key).transpose()?;
    let sm2_key = args.sm2_key.as_deref().map(sm2_key).transpose()?;
    let (progress, bar) = bar::start();
    let options = VerifyOptions {
        log_key,
        expect,
        witnessed,
        hmac_key,
        sm2_key,
        content_keys,
        since,
        progress,
        ..VerifyOptions::default()
    };
    let checked = check_with(directory, &options);
    bar.end();
    let (report, exit, state) = checked?;
    if let (Some(path), Some(state)) = (&args.state, state) {
        state.store(path).context("cannot keep what was verified")?;
    }
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
    let anchor::Found { newest, quorum, notes } = match found {
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
    Ok(Witnessed::Cosigned { note: newest.note, told, others: notes })
}

/// Puts right what can be put right, and says what was done.
fn repair(directory: &Path, key: Option<&VerifyKey>) -> anyhow::Result<()> {
    let audit::Repaired { torn, damage, checkpoint } =
        audit::repair(directory, key).with_context(|| format!("cannot repair {}", directory.display()))?;
    if let Some(torn) = &torn {
        note(&format!(
            "{} torn bytes of segment {} are in {} (sha256 {})",
            torn.bytes,
            torn.segment_no,
            torn.path.display(),
            torn.sha256
        ));
    }
    if let Some(damage) = &damage {
        note(&format!(
            "segment {} is damaged at byte {} ({}): that is evidence and is not touched",
            damage.segment_no, damage.offset, damage.what
        ));
    }
    if let Some(size) = checkpoint {
        note(&format!("the checkpoint file is written anew, with size {size}"));
    }
    if torn.is_none() && damage.is_none() && checkpoint.is_none() {
        note("nothing to repair");
    }
    Ok(())
}

/// Verifies a log with nothing from outside of it.
pub(super) fn check(directory: &Path) -> anyhow::Result<(Report, Exit)> {
    check_with(directory, &VerifyOptions::default()).map(|(report, exit, _)| (report, exit))
}

/// Verifies a log: its structure, its events, its books.
fn check_with(directory: &Path, options: &VerifyOptions) -> anyhow::Result<(Report, Exit, Option<State>)> {
    let mut books = Conservation::default();
    let mut undecodable = None;
    let mut steps = ClockSteps::default();
    let mut begun = false;
    let mut visit = |batch: &BatchInfo, index: usize, stored: &[u8]| match Event::decode(stored) {
        Ok(event) => {
            if !std::mem::replace(&mut begun, true) && batch.first_seq > 0 {
                books.begin_in_middle();
            }
            books.feed(&event);
            steps.feed(&event);
        }
        Err(error) => {
            undecodable.get_or_insert_with(|| (batch.first_seq + index as u64, error.to_string()));
        }
    };
    let (mut report, state) = audit::verify_since(&[directory.to_owned()], options, Some(&mut visit))
        .with_context(|| format!("cannot verify {}", directory.display()))?;
    if report.unopened_events > 0 {
        conservation::not_judged(&mut report, NotJudged::Encrypted);
        report.checks.push(ClockSteps::not_seen());
    } else {
        if options.since.as_ref().is_some_and(|since| since.segment() > 0) {
            conservation::not_judged(&mut report, NotJudged::OnlyTheEnd);
        } else {
            conservation::judge(&mut report, &books.finish(), undecodable);
        }
        report.checks.push(steps.check());
    }
    if let Some(key) = &options.log_key {
        audit::timestamp::judge(directory, key, &mut report)
            .with_context(|| format!("cannot verify {}", directory.display()))?;
    }
    let exit = exit_of(report.verdict);
    Ok((report, exit, state))
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

/// Verification keys: the text of one, or a file with one a line.
fn log_keys(given: &str) -> anyhow::Result<Vec<VerifyKey>> {
    let text = match std::fs::read_to_string(given) {
        Ok(text) => text,
        Err(_) => given.to_owned(),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<_>, _> = lines.map(VerifyKey::parse).collect();
    let bad = |why: &dyn std::fmt::Display| {
        Exit::Usage.because(format!("--log-key {given}: neither a file nor a verification key ({why})"))
    };
    match keys {
        Ok(keys) if keys.is_empty() => Err(bad(&"it is empty")),
        Ok(keys) => Ok(keys),
        Err(error) => Err(bad(&error)),
    }
}

/// The first key of an HMAC chain, from a file.
pub(super) fn hmac_key(path: &Path) -> anyhow::Result<HmacKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = Zeroizing::new(text);
    HmacKey::parse(&text)
        .map_err(|error| Exit::Usage.because(format!("--hmac-key {}: {error}", path.display())))
}

/// An SM2 key: its text, or a file with it.
fn sm2_key(given: &str) -> anyhow::Result<Sm2Key> {
    let text = std::fs::read_to_string(given).unwrap_or_else(|_| given.to_owned());
    Sm2Key::parse(text.trim_end()).map_err(|error| {
        Exit::Usage
            .because(format!("--sm2-key {given}: neither a file nor an SM2 verification key ({error})"))
    })
}

/// The one verification key that is given.
pub(super) fn log_key(given: &str) -> anyhow::Result<VerifyKey> {
    the_only(&log_keys(given)?)
}

fn the_only(keys: &[VerifyKey]) -> anyhow::Result<VerifyKey> {
    match keys {
        [key] => Ok(key.clone()),
        _ => Err(Exit::Usage.because("--log-key: the file has several keys; give the one of this log")),
    }
}

/// Of the keys that are given, the one whose log this is; of several keys none of which fits, the first: the verdict
/// then tells.
fn pinned(directory: &Path, keys: &[VerifyKey]) -> anyhow::Result<VerifyKey> {
    let id = audit::log_id_of(directory).ok().flatten();
    let fits = keys.iter().find(|key| Some(audit::keys::log_id(key)) == id);
    let key = fits.or(keys.first()).cloned();
    key.ok_or_else(|| Exit::Usage.because("--log-key: no key is given"))
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
    if report.probes_taken_away > 0 {
        let times = report.probes_taken_away;
        line(format_args!(
            "{times} times probes of Go functions were taken away: their later calls were not seen"
        ));
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
