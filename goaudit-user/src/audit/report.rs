//! What `verify` found, in the shape of `verify --json`.

use schemars::JsonSchema;
use serde::Serialize;

/// The result of verifying a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The sum of it.
    pub verdict: Verdict,
    /// What was verified: the directory or the first file.
    pub log: String,
    /// Segments looked at.
    pub segments: u64,
    /// Batches whose place in the chain holds.
    pub batches: u64,
    /// Events in these batches.
    pub events: u64,
    /// Events that the log itself says are lost (sum over batch headers).
    pub lost: u64,
    /// Calls that the log itself says nobody saw, because the kernel skipped a program.
    pub not_run: u64,
    /// Times that the log itself says probes of Go functions were taken away while they were needed: later calls are
    /// missing.
    pub probes_taken_away: u64,
    /// Events that a verified checkpoint covers.
    pub sealed_events: u64,
    /// Events after the last verified checkpoint.
    pub unsealed_events: u64,
    /// Events that are encrypted and were not looked at, for want of a content key: only their bytes were.
    pub unopened_events: u64,
    /// Root of the last verified checkpoint, base64 as in the checkpoint; none if there is none.
    pub root: Option<String>,
    /// Size of the last verified checkpoint: batches that it covers.
    pub size: u64,
    /// The first place where something is wrong.
    pub first_bad: Option<BadPlace>,
    /// Whether it is proven that this is the latest state of the log.
    pub freshness: Freshness,
    /// What is proven and what is not, by name. Not all that is unproven is wrong: the verdict says.
    pub checks: Vec<Check>,
}

/// The sum of a verification. Worse ones win: tampered, damaged, incomplete, ok.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong, and everything that should be there is there.
    Ok,
    /// Nothing is wrong, but not everything can be shown: no orderly end, no key, another version.
    Incomplete,
    /// Checksums or structure are broken.
    Damaged,
    /// Checksums hold, but hashes, signatures or the chain do not: somebody changed the log.
    Tampered,
}

/// Whether this is the latest state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// A checkpoint from outside was given and the log contains it.
    Proven,
    /// Nothing from outside was given: an older copy of the whole directory would look the same.
    NotProven,
}

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BadPlace {
    /// Number of the segment; none for the log as a whole.
    pub segment: Option<u64>,
    /// Byte in the segment.
    pub offset: Option<u64>,
    /// Number of the batch.
    pub batch: Option<u64>,
    /// Number of the (first) event.
    pub event: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// One property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether it is proven.
    pub ok: bool,
    /// What that rests on, or why it is not proven.
    pub detail: String,
}
