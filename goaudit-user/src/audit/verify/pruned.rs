//! Verifying a pruned segment, and that the log had a right to prune it.

use std::io::{BufReader, Read as _};

use zerocopy::FromBytes as _;

use super::books::Property;
use super::segment::Here;
use super::{PinnedSegment, SegmentEnding, Verifier};
use crate::audit::day::DAY_NS;
use crate::audit::error::AuditError;
use crate::audit::fault::Fault;
use crate::audit::format::{BatchHeader, FrameKind, Hash, SEGMENT_HEADER_LEN};
use crate::audit::frame::{Frame, FrameReader, Step};

/// A pruned segment that was walked.
pub(super) struct Walked {
    number: u64,
    /// Number after its last event.
    next_seq: u64,
    /// Wall clock of the latest event that the kept headers tell of.
    newest_ns: u64,
}

impl Verifier<'_, '_> {
    /// Verifies a pruned segment.
    pub(super) fn pruned(&mut self, segment: &PinnedSegment) -> Result<(), AuditError> {
        let io = || AuditError::io("read", &segment.path);
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_LEN);
        (&segment.file).take(SEGMENT_HEADER_LEN as u64).read_to_end(&mut bytes).map_err(io())?;
        let Some(header) = self.header(segment, &bytes) else { return Ok(()) };
        let mut here = Here::new(&header);
        let mut newest_ns = 0;
        let mut frames =
            FrameReader::new(BufReader::new(&segment.file), SEGMENT_HEADER_LEN as u64, segment.size);
        self.pass_watches(segment.number, 0);
        loop {
            let (offset, result) = match frames.next_frame().map_err(io())? {
                Step::Frame(frame) => (frame.offset, self.kept(&mut here, &frame, &mut newest_ns)),
                Step::Skipped => continue,
                Step::End => break,
                Step::Bad(bad) => (bad.offset, Err((Property::Structure, Fault::damaged(bad.what)))),
            };
            if let Err((property, fault)) = result {
                self.books.fault(property, Some((segment.number, offset)), None, &fault);
                self.leave(SegmentEnding::Open, segment.number);
                return Ok(());
            }
            self.pass_watches(segment.number, offset);
        }
        self.end = SegmentEnding::Rolled;
        // The segment after it names the hash of the whole one; that it continues the same tree is checked.
        self.prev_hash = None;
        let next_seq = self.chain.as_ref().map_or(0, |chain| chain.next_seq);
        self.walked.push(Walked { number: segment.number, next_seq, newest_ns });
        Ok(())
    }

    fn kept(
        &mut self,
        here: &mut Here,
        frame: &Frame<'_>,
        newest_ns: &mut u64,
    ) -> Result<(), (Property, Fault)> {
        match frame.kind {
            FrameKind::Gap => self.gap(frame, newest_ns).map_err(|fault| (Property::Chain, fault)),
            FrameKind::Batch => {
                let records =
                    BatchHeader::read_from_bytes(frame.header).is_ok_and(|header| header.is_records());
                if !records {
                    return Err((Property::Structure, Fault::tampered("events in a pruned segment")));
                }
                self.batch(here, frame).map(|_| ()).map_err(|fault| (Property::Chain, fault))
            }
            FrameKind::Checkpoint => self.checkpoint(here, frame),
            FrameKind::SegmentEnd => {
                Err((Property::Structure, Fault::tampered("a segment's end in a pruned segment")))
            }
        }
    }

    /// Takes a run of batches in that is known by its subtrees and its last header.
    fn gap(&mut self, frame: &Frame<'_>, newest_ns: &mut u64) -> Result<(), Fault> {
        let last = BatchHeader::read_from_bytes(frame.header)
            .map_err(|_| Fault::damaged("a gap of a wrong length"))?;
        let (roots, rest): (&[Hash], _) = frame.body.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(Fault::damaged("a gap of a wrong length"));
        }
        let Some(chain) = &mut self.chain else {
            return Err(Fault::tampered("a gap without a chain"));
        };
        let (batches, events) = (chain.frontier.size(), chain.next_seq);
        chain.skip(roots, &last)?;
        self.gaps.push((batches, chain.frontier.size()));
        self.epochs.hmac.skip(chain.frontier.size() - batches, &last);
        self.books.batches += chain.frontier.size() - batches;
        self.books.events += chain.next_seq - events;
        *newest_ns = last.realtime_last_ns.get().max(*newest_ns);
        Ok(())
    }

    /// Whether the log had a right to what it pruned.
    pub(super) fn check_pruned(&mut self) {
        let Some(last) = self.walked.last() else { return };
        let (number, next_seq) = (last.number, last.next_seq);
        let Some(genesis) = &self.epochs.genesis else {
            self.books.lack(
                Property::Retention,
                "segments were pruned, and for how long they had to be kept is not known".to_owned(),
            );
            return;
        };
        let keep = genesis.retention_ns;
        let mut newest_ns = 0;
        let mut faults = Vec::new();
        for walked in &self.walked {
            newest_ns = walked.newest_ns.max(newest_ns);
            let said =
                self.epochs.prunes.iter().find(|(_, prune)| {
                    prune.last_segment >= walked.number && prune.next_seq >= walked.next_seq
                });
            let what = match said {
                _ if keep == 0 => "was pruned, but the log is to be kept for ever".to_owned(),
                None => "was pruned, and the log does not say so: its events were taken away".to_owned(),
                Some((when, prune)) => {
                    let age = when.saturating_sub(newest_ns.max(prune.newest_ns));
                    if age >= keep {
                        continue;
                    }
                    format!(
                        "was pruned when it was {} s old, but must be kept for {} s",
                        age / 1_000_000_000,
                        keep / 1_000_000_000
                    )
                }
            };
            faults.push((walked.number, Fault::tampered(format!("segment {} {what}", walked.number))));
        }
        if faults.is_empty() {
            self.books.note(
                Property::Retention,
                format!(
                    "segments 0 to {number} (events before {next_seq}) were pruned as the log said before, not younger \
                     than its {} days",
                    keep / DAY_NS
                ),
            );
        }
        for (number, fault) in faults {
            self.books.fault(Property::Retention, Some((number, 0)), None, &fault);
        }
    }
}
