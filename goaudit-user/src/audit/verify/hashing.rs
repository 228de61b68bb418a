//! The thread that hashes what is stored: the file of a segment, and beside it the payload of each batch, which is in the
//! file. So the bytes of both are at hand, and two hashes side by side take a third less time (`audit::lanes`).

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use crate::audit::format::Hash;
use crate::audit::frame::Frame;
use crate::audit::lanes::Stream;

/// Frames that wait: bounds memory.
pub(super) const DEPTH: usize = 8;

/// What the thread is told.
enum Told {
    /// A file begins.
    Begin,
    /// A part of it; where in the part a payload lies, and the hash that the payload must have.
    Part(Vec<u8>, Option<(Range<usize>, Hash)>),
    /// It ends.
    End,
}

/// A payload that was hashed.
struct Hashed {
    as_said: bool,
    /// To be used again.
    buffer: Vec<u8>,
}

/// The thread's other end.
pub(super) struct Hashing {
    todo: SyncSender<Told>,
    payloads: Receiver<Hashed>,
    files: Receiver<Hash>,
    spare: Vec<Vec<u8>>,
}

impl Hashing {
    /// Starts it.
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> Self {
        let (todo, told) = sync_channel(DEPTH);
        // Whoever asks for hashes has sent what they are of: they are few.
        let (hashed_payloads, payloads) = channel();
        let (hashed_files, files) = channel();
        scope.spawn(move || hash(&told, &hashed_payloads, &hashed_files));
        Self { todo, payloads, files, spare: Vec::new() }
    }

    /// Begins with another file.
    pub(super) fn begin(&mut self) {
        // An end of the thread shows when its answers are asked for.
        self.todo.send(Told::Begin).ok();
    }

    /// Takes in a part of the file that has no payload to be hashed.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.send(bytes, None);
    }

    /// Takes in the frame of a batch whose payload must have this hash.
    pub(super) fn pass_payload(&mut self, frame: &Frame<'_>, hash: Hash) {
        self.send(frame.bytes, Some((frame.body_range(), hash)));
    }

    fn send(&mut self, bytes: &[u8], payload: Option<(Range<usize>, Hash)>) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.todo.send(Told::Part(buffer, payload)).ok();
    }

    /// Whether the next payload, in the order in which they were passed, has the hash that it must have. None: the thread
    /// ended.
    pub(super) fn payload(&mut self) -> Option<bool> {
        let Hashed { as_said, buffer } = self.payloads.recv().ok()?;
        self.spare.push(buffer);
        Some(as_said)
    }

    /// The hash of the file, which ends here. None: the thread ended.
    pub(super) fn file(&mut self) -> Option<Hash> {
        self.todo.send(Told::End).ok()?;
        self.files.recv().ok()
    }
}

fn hash(told: &Receiver<Told>, payloads: &Sender<Hashed>, files: &Sender<Hash>) {
    let mut stream = Stream::default();
    for told in told {
        let wanted = match told {
            Told::Begin => {
                stream = Stream::default();
                true
            }
            Told::Part(bytes, None) => {
                stream.update(&bytes);
                true
            }
            Told::Part(bytes, Some((body, said))) => {
                let found = stream.update_beside(&bytes, bytes.get(body).unwrap_or_default());
                payloads.send(Hashed { as_said: found == said, buffer: bytes }).is_ok()
            }
            Told::End => files.send(stream.finish()).is_ok(),
        };
        if !wanted {
            return;
        }
    }
}
