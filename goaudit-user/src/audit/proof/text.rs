//! The text of a proof: C2SP tlog-proofs, one after another.
//!
//! Each reads alone, too: a file with events of one batch is one tlog-proof, byte for byte. There is one way to write a
//! proof, so what is parsed and written again is what was read.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::opening::{self, Opening};
use super::{BatchProof, Proof, ProofError};
use crate::audit::format::{Hash, MAX_FRONTIER};

/// First line of a tlog-proof.
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// Where one ends and the next one begins: notes end in a signature line, which never reads like this.
const NEXT: &str = "\nc2sp.org/tlog-proof@v1\n";

impl Proof {
    /// Reads a proof file; nothing is verified yet but its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let bad = ProofError::Malformed;
        let text = std::str::from_utf8(bytes).map_err(|_| bad("not UTF-8"))?;
        let mut rest = text
            .strip_prefix(FIRST_LINE)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or(bad("the first line is not `c2sp.org/tlog-proof@v1`"))?;
        let mut batches: Vec<BatchProof> = Vec::new();
        let mut certificate = None;
        let mut checkpoint = None;
        loop {
            let (this, next) = match rest.find(NEXT) {
                // The newline before the next proof is the last one of this.
                Some(end) => (
                    rest.get(..=end).unwrap_or_default(),
                    Some(rest.get(end + NEXT.len()..).unwrap_or_default()),
                ),
                None => (rest, None),
            };
            let (batch, epoch, note) = one(this)?;
            if batches.last().is_some_and(|last| last.index >= batch.index) {
                return Err(bad("the batches are not in order"));
            }
            if checkpoint.is_some_and(|first: &str| first != note) {
                return Err(bad("the batches have different checkpoints"));
            }
            if certificate.as_ref().is_some_and(|first: &BatchProof| *first != epoch) {
                return Err(bad("the batches have different records of the epoch"));
            }
            checkpoint = Some(note);
            certificate = Some(epoch);
            batches.push(batch);
            let Some(next) = next else { break };
            rest = next;
        }
        let certificate = certificate.ok_or(bad("it has no batch"))?;
        Ok(Self { batches, certificate, checkpoint: checkpoint.unwrap_or_default().to_owned() })
    }

    /// The proof file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for batch in &self.batches {
            let extra = BASE64.encode(opening::encode(&batch.header, &batch.events, &self.certificate));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{FIRST_LINE}\nextra {extra}\nindex {}", batch.index);
            for hash in &batch.path {
                let _ = writeln!(text, "{}", BASE64.encode(hash));
            }
            let _ = write!(text, "\n{}", self.checkpoint);
        }
        text
    }
}

/// Reads one tlog-proof without its first line: the batch, the record of the epoch, and the checkpoint's note.
fn one(text: &str) -> Result<(BatchProof, BatchProof, &str), ProofError> {
    let bad = ProofError::Malformed;
    let (extra, rest) = text
        .strip_prefix("extra ")
        .and_then(|rest| rest.split_once('\n'))
        .ok_or(bad("no line `extra`: it has the events"))?;
    let (index, mut rest) =
        rest.strip_prefix("index ").and_then(|rest| rest.split_once('\n')).ok_or(bad("no line `index`"))?;
    let extra = BASE64.decode(extra).map_err(|_| bad("`extra` is not base64"))?;
    let Opening { header, events, certificate } = opening::decode(&extra)?;
    let index = number(index).ok_or(bad("`index` is not a number"))?;
    let mut path = Vec::new();
    loop {
        let (line, after) = rest.split_once('\n').ok_or(bad("it ends before the checkpoint"))?;
        rest = after;
        if line.is_empty() {
            break;
        }
        let hash = BASE64.decode(line).ok().and_then(|hash| Hash::try_from(hash).ok());
        path.push(hash.ok_or(bad("a line of the path is not a hash"))?);
        if path.len() > MAX_FRONTIER {
            return Err(bad("the path is longer than any log's"));
        }
    }
    Ok((BatchProof { index, path, header, events }, certificate, rest))
}

/// A decimal number without leading zeros.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
