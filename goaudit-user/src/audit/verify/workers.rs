//! The threads that open and hash payloads. Batches go round from one to the next and come back in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use sha2::{Digest as _, Sha256};

use super::Visitor;
use super::books::{Books, Property};
use crate::audit::batch::{Events, PayloadReader};
use crate::audit::error::AuditError;
use crate::audit::fault::Fault;
use crate::audit::format::BatchHeader;
use crate::audit::hmac::{HmacKey, HmacSchedule};
use crate::audit::reader::BatchInfo;

/// Batches that wait at each worker: bounds memory.
const DEPTH: usize = 3;

struct Job {
    info: BatchInfo,
    header: BatchHeader,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

struct Done {
    job: Job,
    result: Result<(), (Property, Fault)>,
}

struct Worker {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
}

/// The pool.
pub(super) struct Workers<'scope, 'v> {
    pool: Vec<Worker>,
    next: usize,
    /// Workers whose results are due, in order.
    due: VecDeque<usize>,
    /// Buffers to use again.
    spare: Vec<(Vec<u8>, Vec<u8>)>,
    bytes_only: bool,
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
        for _ in 0..threads {
            let mut payloads = PayloadReader::new().map_err(AuditError::Compress)?;
            let mut hmac = hmac.filter(|_| !bytes_only).map(HmacSchedule::new);
            let (jobs, todo) = sync_channel::<Job>(DEPTH);
            let (finished, done) = sync_channel(DEPTH);
            scope.spawn(move || {
                for mut job in todo {
                    let result = check(&mut job, &mut payloads, bytes_only)
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
            pool,
            next: 0,
            due: VecDeque::new(),
            spare: Vec::new(),
            bytes_only,
            visitor,
            _scope: std::marker::PhantomData,
        })
    }

    /// Has a payload checked.
    pub(super) fn check(&mut self, info: BatchInfo, header: BatchHeader, stored: &[u8], books: &mut Books) {
        if self.due.len() >= self.pool.len() * DEPTH {
            self.collect(books);
        }
        let (mut copy, plain) = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(stored);
        if let Some(worker) = self.pool.get(self.next)
            && worker.jobs.send(Job { info, header, stored: copy, plain }).is_ok()
        {
            self.due.push_back(self.next);
            self.next = (self.next + 1) % self.pool.len();
        }
    }

    /// Waits for all of them.
    pub(super) fn finish(&mut self, books: &mut Books) {
        while !self.due.is_empty() {
            self.collect(books);
        }
    }

    fn collect(&mut self, books: &mut Books) {
        let Some(worker) = self.due.pop_front().and_then(|index| self.pool.get(index)) else {
            return;
        };
        let Ok(Done { job, result }) = worker.done.recv() else {
            books.lack(Property::Contents, "a thread that checks payloads ended".to_owned());
            return;
        };
        match result {
            Ok(()) if self.bytes_only => {}
            Ok(()) => {
                if let Some(visitor) = &mut self.visitor {
                    for (index, event) in Events::new(&job.plain).enumerate() {
                        visitor(&job.info, index, event);
                    }
                }
            }
            Err((property, fault)) => {
                let info = &job.info;
                let place = Some((info.segment_no, info.offset));
                books.fault(property, place, Some((info.batch_no, info.first_seq)), &fault);
            }
        }
        self.spare.push((job.stored, job.plain));
    }
}

fn check(job: &mut Job, payloads: &mut PayloadReader, bytes_only: bool) -> Result<(), Fault> {
    let hash: [u8; 32] = Sha256::digest(&job.stored).into();
    if hash != job.header.payload_hash {
        return Err(Fault::tampered("the stored payload does not hash to what its header says"));
    }
    if bytes_only {
        return Ok(());
    }
    payloads.open(&job.header, &job.stored, &mut job.plain)?;
    payloads.check_root(&job.header, &job.plain)
}

/// Checks the last signature of a batch whose payload is open, if it has a place in an HMAC chain whose key is here.
fn check_hmac(job: &Job, schedule: Option<&mut HmacSchedule>) -> Result<(), Fault> {
    let (Some(schedule), Some(place)) = (schedule, &job.info.hmac) else { return Ok(()) };
    if schedule.signatures(place, Events::new(&job.plain)).last() != Some(job.header.hmac_tail) {
        return Err(Fault::tampered(
            "the signatures of the events do not follow from the key of the HMAC chain",
        ));
    }
    Ok(())
}
