//! The threads that check payloads: one hashes what is stored, others open it and hash the events. Batches go round from one
//! of them to the next and come back in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::Scope;

use super::Visitor;
use super::books::{Books, Property};
use super::hashing::{self, Hashing};
use crate::audit::batch::{Events, PayloadReader};
use crate::audit::content::ContentKey;
use crate::audit::error::AuditError;
use crate::audit::fault::Fault;
use crate::audit::format::{BatchHeader, Hash};
use crate::audit::frame::Frame;
use crate::audit::hmac::{HmacKey, HmacSchedule};
use crate::audit::reader::BatchInfo;

/// Batches that wait at each worker: bounds memory.
const DEPTH: usize = 3;

/// What cannot be, as far as we know.
const ENDED: &str = "a thread that checks what is stored ended";

/// The payload of a batch, to be checked.
pub(super) struct Payload {
    pub(super) info: BatchInfo,
    pub(super) header: BatchHeader,
    /// Opens it, if it is encrypted. Without it only its bytes are checked.
    pub(super) key: Option<Arc<ContentKey>>,
}

/// A batch to be opened.
struct Job {
    info: BatchInfo,
    header: BatchHeader,
    stored: Vec<u8>,
    plain: Vec<u8>,
    /// Opens it, if it is encrypted.
    key: Option<Arc<ContentKey>>,
}

struct Done {
    job: Job,
    result: Result<(), (Property, Fault)>,
}

struct Worker {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
}

/// A batch whose results are due.
struct Due {
    info: BatchInfo,
    /// Who opens it, if anybody does.
    worker: Option<usize>,
}

/// The pool.
pub(super) struct Workers<'scope, 'v> {
    hashing: Hashing,
    /// Those that open payloads; nobody does where only bytes are checked.
    pool: Vec<Worker>,
    next: usize,
    /// In order.
    due: VecDeque<Due>,
    /// Buffers to use again.
    spare: Vec<(Vec<u8>, Vec<u8>)>,
    visitor: Option<&'v mut Visitor<'v>>,
    _scope: std::marker::PhantomData<&'scope ()>,
}

impl<'scope, 'v> Workers<'scope, 'v> {
    /// Starts them.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        threads: usize,
        bytes_only: bool,
        hmac: Option<&HmacKey>,
        visitor: Option<&'v mut Visitor<'v>>,
    ) -> Result<Self, AuditError> {
        let mut pool = Vec::new();
        for _ in 0..if bytes_only { 0 } else { threads } {
            let mut payloads = PayloadReader::new().map_err(AuditError::Compress)?;
            let mut hmac = hmac.map(HmacSchedule::new);
            let (jobs, todo) = sync_channel::<Job>(DEPTH);
            // Never more than the batches that are due.
            let (finished, done) = channel();
            scope.spawn(move || {
                for mut job in todo {
                    let result = open(&mut job, &mut payloads)
                        .map_err(|fault| (Property::Contents, fault))
                        .and_then(|()| check_hmac(&job, hmac.as_mut()).map_err(|f| (Property::HmacChain, f)));
                    if finished.send(Done { job, result }).is_err() {
                        break;
                    }
                }
            });
            pool.push(Worker { jobs, done });
        }
        Ok(Self {
            hashing: Hashing::start(scope),
            pool,
            next: 0,
            due: VecDeque::new(),
            spare: Vec::new(),
            visitor,
            _scope: std::marker::PhantomData,
        })
    }

    /// Begins with a segment's file.
    pub(super) fn begin(&mut self) {
        self.hashing.begin();
    }

    /// Takes in a part of it that has no payload to be checked.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.hashing.pass(bytes);
    }

    /// Takes in the frame of a batch and has its payload checked.
    pub(super) fn check(&mut self, frame: &Frame<'_>, payload: Payload, books: &mut Books) {
        if self.due.len() >= hashing::DEPTH.max(self.pool.len() * DEPTH) {
            self.collect(books);
        }
        let Payload { info, header, key } = payload;
        self.hashing.pass_payload(frame, header.payload_hash);
        let opens = !header.is_encrypted() || key.is_some();
        let worker = self.pool.get(self.next).filter(|_| opens);
        let mut due = Due { info, worker: None };
        if let Some(worker) = worker {
            let (mut stored, plain) = self.spare.pop().unwrap_or_default();
            stored.clear();
            stored.extend_from_slice(frame.body);
            if worker.jobs.send(Job { info, header, stored, plain, key }).is_ok() {
                due.worker = Some(self.next);
            } else {
                books.lack(Property::Contents, ENDED.to_owned());
            }
            self.next = (self.next + 1) % self.pool.len();
        }
        self.due.push_back(due);
    }

    /// The hash of the segment's file, which ends here.
    pub(super) fn file(&mut self, books: &mut Books) -> Option<Hash> {
        let hash = self.hashing.file();
        if hash.is_none() {
            books.lack(Property::Segments, ENDED.to_owned());
        }
        hash
    }

    /// Waits for all of them.
    pub(super) fn finish(&mut self, books: &mut Books) {
        while !self.due.is_empty() {
            self.collect(books);
        }
    }

    fn collect(&mut self, books: &mut Books) {
        let Some(Due { info, worker }) = self.due.pop_front() else { return };
        let opened = worker.and_then(|index| self.pool.get(index)).map(|worker| worker.done.recv());
        let result = match (self.hashing.payload(), &opened) {
            (None, _) | (_, Some(Err(_))) => return books.lack(Property::Contents, ENDED.to_owned()),
            (Some(false), _) => {
                let what = "the stored payload does not hash to what its header says";
                Err((Property::Contents, Fault::tampered(what)))
            }
            (Some(true), None) => Ok(()),
            (Some(true), Some(Ok(done))) => done.result.clone(),
        };
        if let Err((property, fault)) = &result {
            let place = Some((info.segment_no, info.offset));
            books.fault(*property, place, Some((info.batch_no, info.first_seq)), fault);
        }
        let Some(Ok(Done { job, .. })) = opened else { return };
        if result.is_ok()
            && let Some(visitor) = &mut self.visitor
        {
            for (index, event) in Events::new(&job.plain).enumerate() {
                visitor(&job.info, index, event);
            }
        }
        self.spare.push((job.stored, job.plain));
    }
}

/// Opens a payload and hashes its events.
fn open(job: &mut Job, payloads: &mut PayloadReader) -> Result<(), Fault> {
    payloads.use_key(job.key.clone());
    payloads.open(&job.header, &job.stored, &mut job.plain)?;
    payloads.check_root(&job.header, &job.plain)
}

/// Checks the last signature of a batch, if it has a place in an HMAC chain whose key is here.
fn check_hmac(job: &Job, schedule: Option<&mut HmacSchedule>) -> Result<(), Fault> {
    let (Some(schedule), Some(place)) = (schedule, &job.info.hmac) else { return Ok(()) };
    if schedule.signatures(place, Events::new(&job.plain)).last() != Some(job.header.hmac_tail) {
        return Err(Fault::tampered(
            "the signatures of the events do not follow from the key of the HMAC chain",
        ));
    }
    Ok(())
}
