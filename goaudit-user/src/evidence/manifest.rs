//! `manifest.json`: what is in a package, of which log, and what made log and package.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::audit::Seq;
use crate::audit::checkpoint::Checkpoint;

/// Name and version of the form.
pub(super) const SCHEMA: &str = "goaudit.evidence/1";

/// The manifest. Nothing in it depends on when or where the package was made.
#[derive(Debug, Serialize)]
pub struct Manifest<'a> {
    /// Name and version of this form.
    pub schema: &'static str,
    /// Name of the log.
    pub origin: &'a str,
    /// The log's verification key, as it was used: compare it with one from another hand.
    pub log_key: String,
    /// What the proofs lead to.
    pub checkpoint: Head,
    /// `log` or `events`.
    pub scope: &'static str,
    /// First and last number of each run of events; none of a whole log.
    pub events: Option<Vec<[Seq; 2]>>,
    /// Runs of the recorder.
    pub configs: Vec<Config>,
    /// Events that the tool could not read; their bytes are in the segments.
    pub not_read: u64,
    /// What made the package.
    pub tool: &'a Tool,
    /// The members before this one.
    pub files: Vec<Member>,
}

/// A checkpoint.
#[derive(Debug, Serialize)]
pub struct Head {
    /// Batches.
    pub size: u64,
    /// Root over them, base64.
    pub root: String,
}

impl Head {
    /// Of a checkpoint.
    pub fn new(checkpoint: &Checkpoint) -> Self {
        Self { size: checkpoint.size, root: BASE64.encode(checkpoint.root) }
    }
}

/// A run of the recorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Number of the event that tells of it.
    pub seq: Seq,
    /// Hash of that event as stored, hex.
    pub sha256: String,
    /// The command line.
    pub command: Vec<String>,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Hash of its file, hex.
    pub sha256: String,
}

/// A file of the package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash, hex.
    pub sha256: String,
}

/// Numbers as runs from one to another.
pub(super) fn ranges(events: &BTreeSet<Seq>) -> Vec<[Seq; 2]> {
    let mut ranges: Vec<[Seq; 2]> = Vec::new();
    for &seq in events {
        match ranges.last_mut() {
            Some([_, last]) if *last + 1 == seq => *last = seq,
            _ => ranges.push([seq, seq]),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_of_numbers_are_told_by_their_ends() {
        let ranges = super::ranges(&[3, 4, 5, 9, 11, 12].into());
        assert_eq!(ranges, [[3, 5], [9, 9], [11, 12]]);
        assert!(super::ranges(&[].into()).is_empty());
    }
}
