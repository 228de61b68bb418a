//! Evidence packages: a zip archive from which somebody who has nothing of ours can check a log, or some events of it.
//!
//! The same log gives the same bytes: members come in a fixed order with a fixed time, and nothing in them tells who made the
//! package or when. Members are stored, not compressed: segments are compressed already, and no compressor's version counts.

mod archive;
mod manifest;

use std::collections::BTreeSet;
use std::io::{Read as _, Seek, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::audit::extent::Extent;
use crate::audit::format::BatchHeader;
use crate::audit::note::VerifyKey;
use crate::audit::proof::Proof;
use crate::audit::{
    self, AuditError, ContentKeys, ProveError, ReadOptions, Reader, Seq, extent, hex, leaves,
};
use crate::event::{Control, Event, Payload};
use crate::personal::Opener;
use crate::replay::uuid;
use crate::view::Origin;
use crate::view::json::EventView;
use archive::Archive;
pub use manifest::{Config, Head, Manifest, Tool};
use zerocopy::FromBytes as _;

/// How others check it.
const README: &str = include_str!("../evidence/README.md");
/// The page that checks proofs by hand, whose commands are also the member `check.sh`.
const PAGE: &str = include_str!("../../docs/verify-without-goaudit.md");
/// The format of everything.
const FORMAT: &str = include_str!("../../docs/audit-format.md");

/// Why there is no package. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The log.
    #[error(transparent)]
    Log(#[from] ProveError),
    /// A file of the log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The package could not be written.
    #[error("write the package: {0}")]
    Write(#[from] std::io::Error),
    /// The package could not be put together.
    #[error("write the package: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// The manifest has no form.
    #[error("write the package: {0}")]
    Json(#[from] serde_json::Error),
    /// A file of the log became shorter.
    #[error(
        "read {0}: it became shorter meanwhile; is a recorder's recovery or retention at work? try again"
    )]
    Shrunk(String),
}

/// What goes into a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole log: its segments.
    Log,
    /// These events, with their proofs.
    Events(BTreeSet<Seq>),
}

/// What a package holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Members.
    pub members: usize,
    /// Bytes of them.
    pub bytes: u64,
}

/// Writes the package of the log in `log`, which is checked with `key` and whose events are opened with `content` if they
/// are encrypted, to `out`.
pub fn write<W: Write + Seek>(
    log: &Path,
    (key, content): (&VerifyKey, &ContentKeys),
    scope: &Scope,
    tool: &Tool,
    out: W,
) -> Result<Summary, EvidenceError> {
    let (checkpoint, note) = leaves::last_checkpoint(log, key)?;
    let (proof, proven) = match scope {
        Scope::Log => {
            // One proof lets the whole way be gone by hand: that of the last sealed event.
            let last = last_event(log, &checkpoint)?;
            (audit::prove_with(log, &last.into_iter().collect(), Some(key), content)?, None)
        }
        Scope::Events(events) => (audit::prove_with(log, events, Some(key), content)?, Some(events)),
    };
    // After the proof: a live log has only grown since.
    let segments = match scope {
        Scope::Log => extent::segments(log)?,
        Scope::Events(_) => Vec::new(),
    };
    let mut archive = Archive::new(out);
    archive.text("README.md", README)?;
    archive.text("audit-format.md", FORMAT)?;
    archive.text("verify-without-goaudit.md", PAGE)?;
    archive.text("check.sh", &commands(PAGE))?;
    archive.text("log.vkey", &format!("{}\n", key.text()))?;
    archive.text("log/checkpoint", &note)?;
    for extent in segments.iter().chain(&extent::others(log)?) {
        copy(&mut archive, log, extent)?;
    }
    for batch in &proof.batches {
        let one = Proof {
            batches: vec![batch.clone()],
            checkpoint: proof.checkpoint.clone(),
            certificate: proof.certificate.clone(),
        };
        archive.text(&format!("proofs/{:020}.tlog-proof", batch.index), &one.text())?;
    }
    let told = tell(log, content, proven)?;
    archive.text("attach-report.jsonl", &told.report)?;
    if proven.is_some() {
        archive.text("events.jsonl", &told.events)?;
    }
    let manifest = Manifest {
        schema: manifest::SCHEMA,
        origin: key.name(),
        log_key: key.text(),
        checkpoint: Head::new(&checkpoint),
        scope: if proven.is_some() { "events" } else { "log" },
        events: proven.map(manifest::ranges),
        configs: told.configs,
        not_read: told.not_read,
        tool,
        files: archive.members(),
    };
    let mut text = serde_json::to_string_pretty(&manifest)?;
    text.push('\n');
    archive.text("manifest.json", &text)?;
    Ok(archive.finish()?)
}

/// Number of the last event that the checkpoint covers; none in a log without events.
fn last_event(log: &Path, checkpoint: &audit::checkpoint::Checkpoint) -> Result<Option<Seq>, ProveError> {
    let mut last = None;
    leaves::each_leaf(log, checkpoint, |leaf| {
        if let Some(header) = leaf.header.and_then(|bytes| BatchHeader::read_from_bytes(bytes).ok()) {
            // Batches of the log's own records have no events.
            if header.numbered_events() > 0 {
                last = header.first_seq.get().saturating_add(header.numbered_events()).checked_sub(1);
            }
        }
        Ok(())
    })?;
    Ok(last)
}

/// Puts a file of the log below `log/`.
fn copy<W: Write + Seek>(archive: &mut Archive<W>, log: &Path, extent: &Extent) -> Result<(), EvidenceError> {
    let name = extent.path.strip_prefix(log).unwrap_or(&extent.path).display().to_string();
    let mut file = &extent.file;
    file.rewind().map_err(AuditError::io("read", &extent.path))?;
    let copied = archive.member(&format!("log/{name}"), extent.len, &mut file.take(extent.len))?;
    if copied < extent.len {
        return Err(EvidenceError::Shrunk(name));
    }
    Ok(())
}

/// The commands of the page, one block after another.
fn commands(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).filter_map(|block| block.split_once("```"));
    blocks.map(|(block, _)| block).collect()
}

/// What the log tells about its own recording, and the events that are asked for.
#[derive(Default)]
struct Told {
    /// Genesis, starts, stops, probes, losses: a JSON line each.
    report: String,
    /// The events that are asked for.
    events: String,
    /// What each run was started with.
    configs: Vec<Config>,
    /// Events that this version cannot read.
    not_read: u64,
}

fn tell(log: &Path, content: &ContentKeys, wanted: Option<&BTreeSet<Seq>>) -> Result<Told, EvidenceError> {
    let mut told = Told::default();
    // A package shows what is personal as it is stored.
    let mut personal = Opener::default();
    let mut reader = Reader::open(log, ReadOptions::default())?.with_keys(content.clone());
    loop {
        let batch = match reader.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(told),
            // The bytes are in the package as they are; what is behind the damage is told, too.
            Err(AuditError::Segment { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let info = batch.meta();
        let boot_id = uuid(info.boot_id);
        let offset = i128::from(info.realtime_first_ns) - i128::from(info.boottime_first_ns);
        for (seq, stored) in (info.first_seq..).zip(batch.events()) {
            let asked = wanted.is_some_and(|wanted| wanted.contains(&seq));
            let Ok(mut event) = Event::decode(stored) else {
                told.not_read += 1;
                continue;
            };
            personal.open(&mut event);
            let origin = Origin {
                seq,
                boot_id: &boot_id,
                host: "",
                machine: "",
                realtime_minus_boottime_ns: i64::try_from(offset).unwrap_or(0),
            };
            let reports = match &event.payload {
                Payload::Control(control) => {
                    if let Control::Start(start) = control.as_ref() {
                        let command = start
                            .command
                            .iter()
                            .map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned())
                            .collect();
                        told.configs.push(Config { seq, sha256: hex(&Sha256::digest(stored)), command });
                    }
                    is_report(control)
                }
                _ => false,
            };
            if reports || asked {
                let line = serde_json::to_string(&EventView::new(&event, &origin))?;
                for text in [(reports, &mut told.report), (asked, &mut told.events)]
                    .into_iter()
                    .filter_map(|(into, text)| into.then_some(text))
                {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
    }
}

/// Whether a control event tells how the log was recorded, rather than what happened.
fn is_report(control: &Control) -> bool {
    match control {
        Control::Genesis(_)
        | Control::Start(_)
        | Control::Stop(_)
        | Control::Loss(_)
        | Control::ClockStep(_)
        | Control::Calibration(_)
        | Control::Policy(_)
        | Control::Read(_)
        | Control::Probe(_) => true,
        Control::Heartbeat(_) | Control::Snapshot(_) | Control::Segment(_) => false,
    }
}
