//! What verification has found so far: counts, faults by property, the worst of them, the first of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::audit::fault::{Fault, FaultKind};
use crate::audit::format::Hash;
use crate::audit::report::{BadPlace, Check, Freshness, Report, Verdict};

/// What is proven or not, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// Every byte is where and what it should be.
    Structure,
    /// Every segment is there.
    Segments,
    /// Every batch names the one before it.
    Chain,
    /// Payloads hash to what their headers say.
    Contents,
    /// Checkpoints are signed and fit the tree.
    Signatures,
    /// Checkpoints are signed by their epochs' keys, which are erased.
    EpochKeys,
    /// The HMAC chain follows from its key.
    HmacChain,
    /// Checkpoints have SM2 lines.
    Sm2,
    /// The keys of personal fields are as the log says.
    PersonalKeys,
    /// What is gone was pruned as the log may.
    Retention,
    /// The key came from outside.
    Origin,
    /// The log passes through its own last durable state.
    LatestCheckpoint,
    /// All events are covered by a checkpoint.
    Sealed,
    /// The writer ended in order.
    CleanEnd,
    /// This is the latest state.
    Freshness,
}

/// Name in the report, and what it says when nothing else is said.
const PROPERTIES: [(Property, &str, &str); 15] = [
    (Property::Structure, "structure", "every byte of every segment is accounted for"),
    (Property::Segments, "segments", "no segment is missing, swapped or of another log"),
    (Property::Chain, "chain", "batches and events are numbered densely and each batch names the one before"),
    (Property::Contents, "contents", "every event hashes to its batch's root"),
    (Property::Signatures, "signatures", "every checkpoint is signed by the log's key and fits the tree"),
    (Property::EpochKeys, "epoch_keys", ""),
    (Property::HmacChain, "hmac_chain", ""),
    (Property::Sm2, "sm2", ""),
    (Property::PersonalKeys, "personal_keys", ""),
    (Property::Retention, "retention", "nothing was pruned"),
    (Property::Origin, "origin", ""),
    (Property::LatestCheckpoint, "latest_checkpoint", ""),
    (Property::Sealed, "sealed", "every event is covered by a checkpoint"),
    (Property::CleanEnd, "clean_end", ""),
    (Property::Freshness, "freshness", ""),
];

/// Told only of logs that have them.
const OPTIONAL: [Property; 3] = [Property::HmacChain, Property::Sm2, Property::PersonalKeys];

/// The books.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) segments: u64,
    pub(super) batches: u64,
    pub(super) events: u64,
    pub(super) lost: u64,
    /// Events in batches that are encrypted and were not opened.
    pub(super) unopened: u64,
    pub(super) sealed_events: u64,
    pub(super) checkpoints: u64,
    pub(super) head: Option<(u64, Hash)>,
    verdict: Option<Verdict>,
    /// Segment and offset of `first_bad`; the log as a whole comes last.
    first_at: Option<(u64, u64)>,
    first_bad: Option<BadPlace>,
    failed: Vec<(Property, String)>,
    notes: Vec<(Property, String)>,
}

impl Books {
    /// Something is wrong, at (segment, offset), in (batch, event).
    pub(super) fn fault(
        &mut self,
        property: Property,
        place: Option<(u64, u64)>,
        batch: Option<(u64, u64)>,
        fault: &Fault,
    ) {
        let verdict = match fault.kind {
            FaultKind::Tampered => Verdict::Tampered,
            FaultKind::Damaged => Verdict::Damaged,
            FaultKind::Unsupported => Verdict::Incomplete,
        };
        self.worsen(verdict);
        self.fail(property, fault.what.clone());
        let at = place.unwrap_or((u64::MAX, u64::MAX));
        if self.first_at.is_none_or(|first| at < first) {
            self.first_at = Some(at);
            self.first_bad = Some(BadPlace {
                segment: place.map(|(segment, _)| segment),
                offset: place.map(|(_, offset)| offset),
                batch: batch.map(|(batch, _)| batch),
                event: batch.map(|(_, event)| event),
                what: fault.what.clone(),
            });
        }
    }

    /// Something should be there and is not: the verdict is at best incomplete.
    pub(super) fn lack(&mut self, property: Property, detail: String) {
        self.worsen(Verdict::Incomplete);
        self.fail(property, detail);
    }

    /// Something is not proven, which by itself is no fault.
    pub(super) fn unproven(&mut self, property: Property, detail: String) {
        self.fail(property, detail);
    }

    /// What a proven property rests on.
    pub(super) fn note(&mut self, property: Property, detail: String) {
        self.notes.push((property, detail));
    }

    fn worsen(&mut self, verdict: Verdict) {
        self.verdict = self.verdict.max(Some(verdict));
    }

    fn fail(&mut self, property: Property, detail: String) {
        if !self.failed.iter().any(|(failed, _)| *failed == property) {
            self.failed.push((property, detail));
        }
    }

    /// Whether something is damaged or was changed.
    pub(super) fn has_fault(&self) -> bool {
        self.verdict > Some(Verdict::Incomplete)
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_good(&self) -> bool {
        self.verdict.is_none()
    }

    /// The report.
    pub(super) fn report(mut self, log: String, freshness: Freshness, opened: bool, restarts: u64) -> Report {
        let unsealed = self.events - self.sealed_events;
        if unsealed > 0 {
            self.unproven(Property::Sealed, format!("{unsealed} events come after the last checkpoint"));
        }
        if !opened {
            self.unproven(
                Property::Contents,
                "payloads were not opened: only their bytes are checked".to_owned(),
            );
        }
        if self.checkpoints == 0 && self.events == 0 && self.is_good() {
            self.worsen(Verdict::Incomplete);
            self.unproven(Property::Signatures, "there is no checkpoint".to_owned());
        }
        if restarts > 0 {
            let detail =
                format!("no segment is missing, swapped or of another log; {restarts} ended without order");
            self.note(Property::Segments, detail);
        }
        let checks = PROPERTIES.iter().filter_map(|(property, name, default)| {
            let failed = self.failed.iter().find(|(failed, _)| failed == property);
            let note = self.notes.iter().find(|(noted, _)| noted == property);
            let said = failed.or(note).map(|(_, detail)| detail.clone());
            if said.is_none() && OPTIONAL.contains(property) {
                return None;
            }
            Some(Check { name, ok: failed.is_none(), detail: said.unwrap_or_else(|| (*default).to_owned()) })
        });
        Report {
            verdict: self.verdict.unwrap_or(Verdict::Ok),
            log,
            segments: self.segments,
            batches: self.batches,
            events: self.events,
            lost: self.lost,
            not_run: 0,
            probes_taken_away: 0,
            sealed_events: self.sealed_events,
            unsealed_events: unsealed,
            unopened_events: self.unopened,
            root: self.head.map(|(_, root)| BASE64.encode(root)),
            size: self.head.map_or(0, |(size, _)| size),
            freshness,
            checks: checks.collect(),
            first_bad: self.first_bad,
        }
    }
}
