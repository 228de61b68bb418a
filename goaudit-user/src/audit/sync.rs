//! The thread that makes data durable, so that appending does not wait for the disk.
//!
//! It takes one request at a time; a newer one replaces an older one that has not begun, because syncing a file
//! covers everything written to it before. After an error it does nothing more: asking again would not tell
//! whether the data is on the disk (the kernel may have dropped it and report success).

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::directory::replace_file;

/// The `checkpoint` file is not written more often than that while the log is written.
const NOTE_GAP: Duration = Duration::from_secs(1);

/// How a file's data is made durable; replaced in tests that need it to fail.
pub type SyncFn = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// What is to be made durable.
struct Request {
    file: Arc<File>,
    /// Number of the request.
    mark: u64,
    /// Content of the `checkpoint` file once the data is durable.
    note: String,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state machine")]
struct State {
    waiting: Option<Request>,
    busy: bool,
    done: u64,
    error: Option<io::Error>,
    failed: bool,
    /// A durable note that is not yet in the `checkpoint` file, and since when that file has been as it is.
    late_note: Option<String>,
    note_written: Option<Instant>,
    /// Write the note now: somebody waits for it.
    flush: bool,
    stop: bool,
}

/// What the thread does next.
enum Task {
    Sync(Request),
    Note(String),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl State {
    fn synced(&mut self, request: Request, result: io::Result<()>) {
        match result {
            Ok(()) => {
                self.done = request.mark;
                if !request.note.is_empty() {
                    self.late_note = Some(request.note);
                }
            }
            Err(error) => {
                self.error = Some(error);
                self.failed = true;
                self.waiting = None;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain values: a panic elsewhere cannot have left it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of the thread.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread. `checkpoint` is the file that gets the notes.
    pub(super) fn start(sync: SyncFn, checkpoint: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("goaudit-sync".into()).spawn(move || {
            while let Some(task) = next(&theirs) {
                match task {
                    Task::Sync(request) => {
                        let result = sync(&request.file);
                        theirs.lock().synced(request, result);
                    }
                    Task::Note(note) => {
                        // A copy for humans and for pinning; the segment holds the same note, so failing here (disk
                        // full) loses nothing and the next checkpoint tries again.
                        let _ = replace_file(&checkpoint, note.as_bytes(), 0o644);
                    }
                }
                theirs.lock().busy = false;
                theirs.changed.notify_all();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for a sync of `file`; `mark` grows with each request.
    pub(super) fn request(&self, file: Arc<File>, mark: u64, note: String) {
        let mut state = self.shared.lock();
        if !state.failed {
            state.waiting = Some(Request { file, mark, note });
            self.shared.changed.notify_all();
        }
    }

    /// The newest durable mark, or the error that ended syncing (told once).
    pub(super) fn poll(&self) -> Result<u64, io::Error> {
        let mut state = self.shared.lock();
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.done),
        }
    }

    /// Waits until `mark` is durable or syncing has failed; then [`Self::poll`] tells.
    pub(super) fn wait_for(&self, mark: u64) {
        let mut state = self.shared.lock();
        while state.done < mark && !state.failed {
            state = self.shared.wait(state);
        }
    }

    /// Takes note that everything up to `mark` is durable by other means: nobody waits for it any more.
    pub(super) fn durable(&self, mark: u64) {
        let mut state = self.shared.lock();
        state.done = state.done.max(mark);
    }

    /// Waits until nothing is under way, the `checkpoint` file included.
    pub(super) fn wait_idle(&self) {
        let mut state = self.shared.lock();
        state.flush = true;
        self.shared.changed.notify_all();
        while state.busy || state.waiting.is_some() || state.late_note.is_some() {
            state = self.shared.wait(state);
        }
        state.flush = false;
    }

    /// Goes on after a failure, with another file.
    pub(super) fn reset(&self) {
        self.wait_idle();
        let mut state = self.shared.lock();
        state.failed = false;
        state.error = None;
    }
}

/// The next task; none when the writer has gone and everything asked for is done.
fn next(shared: &Shared) -> Option<Task> {
    let mut state = shared.lock();
    loop {
        if let Some(request) = state.waiting.take() {
            state.busy = true;
            return Some(Task::Sync(request));
        }
        // A storm of urgent events must not become a storm of small files: data first, the copy now and then.
        let patience = state.note_written.map_or(Duration::ZERO, |at| NOTE_GAP.saturating_sub(at.elapsed()));
        if state.late_note.is_some() && (patience.is_zero() || state.flush || state.stop) {
            state.busy = true;
            state.note_written = Some(Instant::now());
            return state.late_note.take().map(Task::Note);
        }
        if state.stop {
            return None;
        }
        state = if state.late_note.is_some() {
            shared.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
        } else {
            shared.wait(state)
        };
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic; if it did there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
