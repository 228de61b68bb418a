//! What time stamps say about a log: that what they are of is in it, and that it claims no later times than they do.

use std::collections::BTreeMap;
use std::path::Path;

use zerocopy::FromBytes as _;

use super::{Stamped, stamped};
use crate::audit::error::AuditError;
use crate::audit::format::{BatchHeader, Hash};
use crate::audit::leaves;
use crate::audit::merkle::Frontier;
use crate::audit::note::VerifyKey;
use crate::audit::prove::ProveError;
use crate::audit::report::{BadPlace, Check, Report, Verdict};

/// How far a recorder's clock may be ahead of an authority's.
const CLOCK_DIFFERENCE_S: u64 = 120;
/// Name of the property in the report.
const PROPERTY: &str = "timestamps";

/// Adds the property to the report of the log in `log`, if there are time stamps beside it.
pub fn judge(log: &Path, key: &VerifyKey, report: &mut Report) -> Result<(), AuditError> {
    let stamps = stamped(log, key)?;
    if stamps.is_empty() {
        return Ok(());
    }
    let (mut good, mut bad) = (Vec::new(), None);
    for stamp in stamps {
        match stamp {
            Ok(stamp) => good.push(stamp),
            Err(what) => {
                bad.get_or_insert((Verdict::Incomplete, what));
            }
        }
    }
    match heads(log, key, &good) {
        Ok(heads) => {
            for stamp in &good {
                if let Some(worse) = compare(stamp, heads.get(&stamp.checkpoint.size))
                    && bad.as_ref().is_none_or(|(verdict, _)| *verdict < worse.0)
                {
                    bad = Some(worse);
                }
            }
        }
        Err(error) => {
            bad.get_or_insert((Verdict::Incomplete, format!("could not be compared: {error}")));
        }
    }
    let detail = match (&bad, good.last()) {
        (Some((_, what)), _) => what.clone(),
        // The signature is not looked at, so nothing is proven yet.
        (None, Some(last)) => format!(
            "{} fit the log; the last says that its first {} batches existed at {} s after 1970. The authority's \
             signature is not checked here: openssl ts -verify -data NOTE -in {} -CAfile CA, with the .note beside it",
            good.len(),
            last.checkpoint.size,
            last.time,
            last.file.display()
        ),
        (None, None) => "there are none that are good".to_owned(),
    };
    if let Some((verdict, what)) = bad {
        report.verdict = report.verdict.max(verdict);
        if verdict > Verdict::Incomplete && report.first_bad.is_none() {
            report.first_bad = Some(BadPlace { segment: None, offset: None, batch: None, event: None, what });
        }
    }
    report.checks.push(Check { name: PROPERTY, ok: false, detail });
    Ok(())
}

/// The log at the sizes of these stamps: its root, and the latest wall clock time that it had claimed until then.
fn heads(log: &Path, key: &VerifyKey, stamps: &[Stamped]) -> Result<BTreeMap<u64, (Hash, u64)>, ProveError> {
    let mut heads = BTreeMap::new();
    let mut tree = Frontier::default();
    let mut latest = 0;
    let (checkpoint, _) = leaves::last_checkpoint(log, key)?;
    leaves::each_leaf(log, &checkpoint, |leaf| {
        tree.push(leaf.hash);
        let header = leaf.header.and_then(|bytes| BatchHeader::read_from_bytes(bytes).ok());
        latest = latest.max(header.map_or(0, |header| header.realtime_last_ns.get()));
        if stamps.iter().any(|stamp| stamp.checkpoint.size == tree.size()) {
            heads.insert(tree.size(), (tree.root(), latest));
        }
        Ok(())
    })?;
    Ok(heads)
}

/// What is wrong between a stamp and the log at its size.
fn compare(stamp: &Stamped, head: Option<&(Hash, u64)>) -> Option<(Verdict, String)> {
    let size = stamp.checkpoint.size;
    let file = stamp.file.display();
    let Some((root, latest)) = head else {
        let what = format!(
            "{file} is of {size} batches, and there are fewer: sealed batches are missing at the end"
        );
        return Some((Verdict::Tampered, what));
    };
    if *root != stamp.checkpoint.root {
        let what = format!("the first {size} batches are not those of {file}: history was replaced");
        return Some((Verdict::Tampered, what));
    }
    let claimed = latest / 1_000_000_000;
    (claimed > stamp.time.saturating_add(CLOCK_DIFFERENCE_S)).then(|| {
        let what = format!(
            "{file} is of {} s after 1970, and batches before it claim {claimed} s: the recorder's clock was ahead",
            stamp.time
        );
        (Verdict::Incomplete, what)
    })
}
