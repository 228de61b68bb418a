//! Verifying one segment: its header against the log before it, then frame by frame.

use std::fs::File;
use std::io::{BufReader, Read as _};

use zerocopy::FromBytes as _;

use super::books::Property;
use super::content::Lock;
use super::workers::Payload;
use super::{PinnedSegment, SegmentEnding, Verifier};
use crate::audit::chain::{Chain, parse_batch_header};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::error::AuditError;
use crate::audit::fault::{Fault, FaultKind};
use crate::audit::format::{EndReason, FrameKind, SEGMENT_END_MAGIC, SEGMENT_HEADER_LEN, SegmentEnd};
use crate::audit::frame::{BadFrame, Frame, FrameReader, Step};
use crate::audit::reader::BatchInfo;
use crate::audit::segment::SegmentHeader;

/// Bytes read from a segment at once.
const READ_AHEAD: usize = 256 << 10;

/// What is known of the segment that is walked.
pub(super) struct Here {
    segment_no: u64,
    boot_id: [u8; 16],
    batches: u64,
    events: u64,
    last_note: Vec<u8>,
    ending: SegmentEnding,
    pub(super) lock: Lock,
}

impl Here {
    pub(super) fn new(header: &SegmentHeader) -> Self {
        Self {
            segment_no: header.segment_no,
            boot_id: header.boot_id,
            lock: Lock::of(header),
            batches: 0,
            events: 0,
            last_note: Vec::new(),
            ending: SegmentEnding::Open,
        }
    }
}

impl Verifier<'_, '_> {
    /// Verifies a segment; `live`: a writer may be at work at its end.
    pub(super) fn segment(
        &mut self,
        segment: &PinnedSegment,
        live: bool,
        last: bool,
    ) -> Result<(), AuditError> {
        let io = || AuditError::io("read", &segment.path);
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_LEN);
        let header_size = segment.size.min(SEGMENT_HEADER_LEN as u64);
        (&segment.file).take(header_size).read_to_end(&mut bytes).map_err(io())?;
        if live && bytes.len() < SEGMENT_HEADER_LEN {
            // It is being made.
            return Ok(());
        }
        let Some(header) = self.header(segment, &bytes) else { return Ok(()) };
        let mut here = Here::new(&header);
        let source = BufReader::with_capacity(READ_AHEAD, &segment.file);
        let mut frames = FrameReader::new(source, SEGMENT_HEADER_LEN as u64, segment.size);
        self.pass_watches(segment.number, 0);
        self.workers.begin();
        self.workers.pass(&bytes);
        let whole = loop {
            match frames.next_frame().map_err(io())? {
                Step::Frame(frame) => {
                    match self.frame(&mut here, &frame) {
                        Ok(None) => self.workers.pass(frame.bytes),
                        Ok(Some(payload)) => self.workers.check(&frame, payload, &mut self.books),
                        Err((property, fault)) => {
                            let batch =
                                self.chain.as_ref().map(|chain| (chain.frontier.size(), chain.next_seq));
                            let place = Some((segment.number, frame.offset));
                            self.books.fault(property, place, batch, &fault);
                            self.leave(here.ending, segment.number);
                            return Ok(());
                        }
                    }
                    self.pass_watches(segment.number, frame.offset);
                }
                Step::Skipped => {}
                Step::End => break true,
                Step::Bad(bad) => {
                    if !Self::is_live_tail(live, bad, &mut frames).map_err(io())? {
                        self.bad(segment, last, bad);
                        return Ok(());
                    }
                    break false;
                }
            }
        };
        if here.ending == SegmentEnding::Open && !last {
            self.restarts += 1;
        }
        self.end = here.ending;
        self.prev_hash = self.workers.file(&mut self.books).filter(|_| whole);
        Ok(())
    }

    /// A frame that is being written: cut short at the end of a live log, and nothing follows it.
    fn is_live_tail(
        live: bool,
        bad: BadFrame,
        frames: &mut FrameReader<BufReader<&File>>,
    ) -> std::io::Result<bool> {
        Ok(live && bad.cut_short && !frames.find_next(bad.offset + 8)?)
    }

    fn bad(&mut self, segment: &PinnedSegment, last: bool, bad: BadFrame) {
        let left = segment.size - bad.offset;
        let what = if bad.cut_short && last {
            format!("torn tail of {left} bytes: {}", bad.what)
        } else {
            bad.what.to_owned()
        };
        let batch = self.chain.as_ref().map(|chain| (chain.frontier.size(), chain.next_seq));
        self.books.fault(
            Property::Structure,
            Some((segment.number, bad.offset)),
            batch,
            &Fault::damaged(what),
        );
        self.leave(SegmentEnding::Open, segment.number);
    }

    /// Begins a segment by its header; none, and the segment is given up, if it is not as it should be.
    pub(super) fn header(&mut self, segment: &PinnedSegment, bytes: &[u8]) -> Option<SegmentHeader> {
        self.books.segments += 1;
        match SegmentHeader::parse(bytes).and_then(|header| self.begin(segment, header)) {
            Ok(header) => Some(header),
            Err(fault) => {
                let property =
                    if fault.kind == FaultKind::Damaged { Property::Structure } else { Property::Segments };
                self.books.fault(property, Some((segment.number, 0)), None, &fault);
                self.leave(SegmentEnding::Open, segment.number);
                None
            }
        }
    }

    /// Gives the rest of a segment up; the next one begins from its own header.
    pub(super) fn leave(&mut self, ending: SegmentEnding, segment: u64) {
        for property in [Property::Structure, Property::Chain, Property::Contents] {
            let detail = format!("what follows the first bad place in segment {segment} was not looked at");
            self.books.unproven(property, detail);
        }
        self.end = ending;
        self.prev_hash = None;
        self.intact = false;
        self.chain = None;
        self.epochs.forget();
    }

    /// Compares a segment's header with the log before it, and begins the segment.
    pub(super) fn begin(
        &mut self,
        segment: &PinnedSegment,
        header: SegmentHeader,
    ) -> Result<SegmentHeader, Fault> {
        if header.segment_no != segment.number {
            let (name, found) = (segment.number, header.segment_no);
            return Err(Fault::tampered(format!(
                "the file is named segment {name} and holds segment {found}"
            )));
        }
        let id = *self.id.get_or_insert(header.log_id);
        if header.log_id != id {
            return Err(Fault::tampered("the segment is of another log, or the key is of another log"));
        }
        if header.segment_no == 0 {
            if header.prev_seg_hash != [0; 32] || header.first_batch_no() != 0 || header.first_seq != 0 {
                return Err(Fault::tampered("segment 0 does not begin a log"));
            }
            self.chain = Some(Chain::new(id));
            self.intact = true;
        }
        if let Some(hash) = self.prev_hash
            && hash != header.prev_seg_hash
        {
            return Err(Fault::tampered("the segment before is not the one that this segment continues"));
        }
        if self.chain.is_none() {
            // Begun in the middle.
            self.epochs.hmac.forget();
        }
        let chain = self
            .chain
            .get_or_insert_with(|| Chain::from_middle(id, header.frontier.clone(), header.first_seq));
        if chain.frontier != header.frontier || chain.next_seq != header.first_seq {
            return Err(Fault::tampered(
                "the segment begins with another tree than the log before it ends with",
            ));
        }
        Ok(header)
    }

    /// Checks a frame; what is left to check is the payload that is returned.
    fn frame(&mut self, here: &mut Here, frame: &Frame<'_>) -> Result<Option<Payload>, (Property, Fault)> {
        if here.ending != SegmentEnding::Open {
            return Err((Property::Structure, Fault::tampered("frames follow the segment's end")));
        }
        match frame.kind {
            FrameKind::Batch => self.batch(here, frame).map_err(|fault| (Property::Chain, fault)),
            FrameKind::Checkpoint => self.checkpoint(here, frame).map(|()| None),
            FrameKind::SegmentEnd => {
                self.segment_end(here, frame).map(|()| None).map_err(|fault| (Property::Structure, fault))
            }
            FrameKind::Gap => {
                Err((Property::Structure, Fault::tampered("a gap in a segment that was not pruned")))
            }
        }
    }

    /// Checks a batch, but for the payload of events that it may have.
    pub(super) fn batch(&mut self, here: &mut Here, frame: &Frame<'_>) -> Result<Option<Payload>, Fault> {
        let header = parse_batch_header(frame.header, frame.body.len())?;
        let Some(chain) = &mut self.chain else {
            return Err(Fault::tampered("a batch without a chain"));
        };
        chain.check(&header)?;
        if header.boot_id != here.boot_id {
            return Err(Fault::tampered("the batch is of another boot than its segment"));
        }
        self.epochs.batch(&header, frame.body, self.key.as_ref())?;
        let place = if header.is_records() {
            None
        } else {
            self.epochs.hmac.batch(&header, self.epochs.genesis.as_ref())?
        };
        chain.push(&header);
        here.batches += 1;
        here.events += header.numbered_events();
        self.books.batches += 1;
        self.books.events += header.numbered_events();
        self.books.lost += u64::from(header.lost_events.get());
        if header.is_records() {
            return Ok(None);
        }
        let key = self.content_key(here, &header, self.opens)?;
        let mut info = BatchInfo::new(here.segment_no, frame.offset, &header);
        info.hmac = place.filter(|_| self.has_hmac_key());
        Ok(Some(Payload { info, header, key }))
    }

    pub(super) fn checkpoint(&mut self, here: &mut Here, frame: &Frame<'_>) -> Result<(), (Property, Fault)> {
        here.last_note = frame.body.to_vec();
        self.books.checkpoints += 1;
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let Some(key) = &self.key else {
            // Nothing is claimed about signatures; the report says so.
            chain.seal();
            return Ok(());
        };
        let bad = |fault| (Property::Signatures, fault);
        let checkpoint =
            Checkpoint::open(frame.body, key).map_err(|error| bad(Fault::tampered(error.to_string())))?;
        chain.check_head(checkpoint.size, &checkpoint.root).map_err(bad)?;
        let signer = self.epochs.key.clone();
        let broken = self
            .epochs
            .checkpoint(frame.body, key, chain.turn)
            .map_err(|fault| (Property::EpochKeys, fault))?;
        chain.seal();
        self.check_sm2_line(frame.body)?;
        self.books.head = Some((checkpoint.size, checkpoint.root));
        self.last_head = Some((frame.body.to_vec(), checkpoint.size));
        self.books.sealed_events = self.books.events;
        let place = Some((here.segment_no, frame.offset));
        if let Some(why) = broken {
            let what = format!(
                "key chain broken at size {}: {why}; what follows is sealed by new keys that only the log's key vouches for",
                checkpoint.size
            );
            self.books.fault(Property::EpochKeys, place, None, &Fault::damaged(what));
        } else if let Some(signer) = signer {
            self.check_watch_lines(checkpoint.size, &signer, here.segment_no, frame.offset);
        }
        Ok(())
    }

    fn segment_end(&mut self, here: &mut Here, frame: &Frame<'_>) -> Result<(), Fault> {
        let end = SegmentEnd::read_from_bytes(frame.header)
            .map_err(|_| Fault::damaged("segment end of a wrong length"))?;
        let reason = EndReason::from_code(end.reason.get());
        if end.magic != SEGMENT_END_MAGIC || end.reserved != [0; 16] {
            return Err(Fault::unsupported("segment end with unknown contents"));
        }
        let tree = self.chain.as_ref().map(|chain| (chain.frontier.size(), chain.next_seq));
        let said = (end.next_batch_no.get(), end.next_seq.get());
        if end.segment_no.get() != here.segment_no
            || end.batches.get() != here.batches
            || end.events.get() != here.events
            || tree != Some(said)
        {
            return Err(Fault::tampered("the counts in the segment's end are not those of the segment"));
        }
        if frame.body != here.last_note {
            return Err(Fault::tampered("the segment's end does not repeat its last checkpoint"));
        }
        if here.batches > 0 && self.key.is_some() && self.books.sealed_events != self.books.events {
            return Err(Fault::tampered("the segment ends in order, but its last batches are not sealed"));
        }
        here.ending = match reason {
            Some(EndReason::Roll) => SegmentEnding::Rolled,
            Some(EndReason::Stop) => SegmentEnding::Stopped,
            None => return Err(Fault::unsupported("segment end with an unknown reason")),
        };
        Ok(())
    }
}
