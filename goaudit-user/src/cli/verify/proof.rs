//! `goaudit verify --proof`: what a proof file proves, with nothing but the file and the log's key.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::audit::note::VerifyKey;
use crate::audit::proof::{MAX_PROOF_LEN, Proof, ProofError, Proven};
use crate::audit::{Check, Freshness, Verdict, hex};
use crate::cli::{Exit, output};
use crate::event::Event;
use crate::personal::Opener;
use crate::replay::uuid;
use crate::view::Origin;
use crate::view::json::EventView;

/// The result, in the shape of `verify --proof --json`.
#[derive(Debug, Serialize)]
struct ProofReport<'a> {
    verdict: Verdict,
    /// The file.
    proof: String,
    /// The key that it was checked with.
    log_key: String,
    /// Name of the log.
    origin: &'a str,
    /// Batches that the checkpoint covers; 0 if nothing is proven.
    size: u64,
    /// Root that the checkpoint signs, base64.
    root: Option<String>,
    freshness: Freshness,
    /// The events that are proven; none if the proof does not verify.
    events: Vec<Shown<'a>>,
    /// What is wrong.
    wrong: Option<String>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    seq: u64,
    /// Number of the batch: leaf of the log's tree.
    batch: u64,
    /// Leaf of the batch's tree.
    index: u32,
    /// Hash of that leaf, hex.
    leaf: String,
    /// The event; null if this version cannot read it.
    event: Option<EventView<'a>>,
    /// Its stored bytes, base64, if this version cannot read it.
    stored: Option<String>,
}

/// Checks the proof in `path` and tells.
pub(super) fn run(path: &Path, key: &VerifyKey, json: bool) -> anyhow::Result<Exit> {
    let bytes = read(path)?;
    let proof = Proof::parse(&bytes);
    let proven = match &proof {
        Ok(proof) => proof.verify(key),
        Err(error) => Err(error.clone()),
    };
    let decoded: Vec<Option<Event>> = proven
        .iter()
        .flat_map(|proven| &proven.events)
        .map(|event| {
            let mut event = Event::decode(event.event).ok()?;
            // A proof shows what is personal encrypted; who may see it reads the log.
            Opener::default().open(&mut event);
            Some(event)
        })
        .collect();
    let boots: Vec<String> =
        proven.iter().flat_map(|proven| &proven.events).map(|event| uuid(event.header.boot_id)).collect();
    let report = report(path, key, &proven, &decoded, &boots);
    let text = if json { serde_json::to_string(&report)? + "\n" } else { text(&report)? };
    output::result(text.as_bytes())?;
    Ok(super::exit_of(report.verdict))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PROOF_LEN + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read the proof {}", path.display()))?;
    if bytes.len() as u64 > MAX_PROOF_LEN {
        bail!("cannot read the proof {}: it has more than 256 MiB, no proof has", path.display());
    }
    Ok(bytes)
}

fn report<'a>(
    path: &Path,
    key: &'a VerifyKey,
    proven: &'a Result<Proven<'a>, ProofError>,
    decoded: &'a [Option<Event>],
    boots: &'a [String],
) -> ProofReport<'a> {
    let mut report = ProofReport {
        verdict: Verdict::Tampered,
        proof: path.display().to_string(),
        log_key: key.text(),
        origin: key.name(),
        size: 0,
        root: None,
        freshness: Freshness::NotProven,
        events: Vec::new(),
        wrong: None,
        checks: Vec::new(),
    };
    let proven = match proven {
        Ok(proven) => proven,
        Err(error) => {
            if matches!(error, ProofError::Malformed(_)) {
                report.verdict = Verdict::Damaged;
            }
            report.wrong = Some(error.to_string());
            report.checks.push(Check { name: "proof", ok: false, detail: error.to_string() });
            return report;
        }
    };
    report.verdict = Verdict::Ok;
    report.size = proven.checkpoint.size;
    report.root = Some(BASE64.encode(proven.checkpoint.root));
    for ((event, decoded), boot_id) in proven.events.iter().zip(decoded).zip(boots) {
        let origin = Origin {
            seq: event.seq,
            boot_id,
            realtime_minus_boottime_ns: event.realtime_minus_boottime_ns(),
            ..Origin::default()
        };
        if decoded.is_none() {
            report.verdict = Verdict::Incomplete;
            report
                .wrong
                .get_or_insert_with(|| format!("event {} is not an event of this version", event.seq));
        }
        report.events.push(Shown {
            seq: event.seq,
            batch: event.header.batch_no.get(),
            index: event.index,
            leaf: hex(&event.leaf),
            event: decoded.as_ref().map(|decoded| EventView::new(decoded, &origin)),
            stored: decoded.is_none().then(|| BASE64.encode(event.event)),
        });
    }
    report.checks = checks(proven, decoded);
    report
}

/// What a proof that verifies proves, and what no proof can.
fn checks(proven: &Proven<'_>, decoded: &[Option<Event>]) -> Vec<Check> {
    let check = |name, ok, detail: String| Check { name, ok, detail };
    let unread = decoded.iter().filter(|event| event.is_none()).count();
    let mut checks = vec![
        check("signature", true, "the checkpoint is signed by the key that was given".to_owned()),
        check(
            "epoch_key",
            true,
            format!(
                "signed by the key of epoch {}, too, which a record in the same tree names. That this key stands in the \
                 unbroken chain from the log's first one, only the whole log shows",
                proven.epoch
            ),
        ),
        check(
            "batches",
            true,
            format!("each batch is in the tree of {} batches that it signs", proven.checkpoint.size),
        ),
        check("events", true, format!("all bytes of {} events, and their numbers", proven.events.len())),
        check(
            "decoded",
            unread == 0,
            if unread == 0 {
                "every event can be read".to_owned()
            } else {
                format!("{unread} events are sealed but are not events of this version")
            },
        ),
        check(
            "times",
            false,
            "times are what the recorder's clock said; nothing but the order of numbers is proven".to_owned(),
        ),
        check(
            "completeness",
            false,
            "nothing is told of other events of the log, not even whether they are there".to_owned(),
        ),
        check(
            "freshness",
            false,
            "not proven: the log may have gone on, ended or been replaced since this checkpoint".to_owned(),
        ),
    ];
    if proven.other_signatures > 0 {
        let detail = format!("{} signature lines of other keys were not checked", proven.other_signatures);
        checks.push(check("cosignatures", false, detail));
    }
    checks
}

fn text(report: &ProofReport<'_>) -> anyhow::Result<String> {
    let mut text = String::new();
    let verdict = super::word(report.verdict);
    writeln!(text, "{verdict}  {}", report.proof)?;
    if let Some(root) = &report.root {
        writeln!(text, "log {}  root {root}  size {}", report.origin, report.size)?;
    }
    if let Some(wrong) = &report.wrong {
        writeln!(text, "wrong: {wrong}")?;
    }
    for shown in &report.events {
        writeln!(
            text,
            "event {}  batch {}  index {}  leaf {}",
            shown.seq, shown.batch, shown.index, shown.leaf
        )?;
        match (&shown.event, &shown.stored) {
            (Some(event), _) => writeln!(text, "{}", serde_json::to_string(event)?)?,
            (None, stored) => writeln!(text, "stored {}", stored.as_deref().unwrap_or_default())?,
        }
    }
    super::write_checks(&mut text, &report.checks);
    Ok(text)
}
