//! Has witnesses cosign a log while it is written, in a thread of its own that nobody waits for but at the end.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{AnchorError, Anchored, WitnessAt, cosign};
use crate::audit::keys;

/// How long a witness may take while the log is written.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take when recording has ended and somebody waits for it.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// Is told of each attempt: which witness, and what came of it.
pub type Tell = dyn Fn(&WitnessAt, Result<Anchored, AnchorError>) + Send;

/// The thread.
#[derive(Debug)]
pub struct Follower {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Follower {
    /// Starts it: each witness is asked `every` so long, and once more at the end.
    pub fn start(
        log: &Path,
        witnesses: Vec<WitnessAt>,
        every: Duration,
        tell: Box<Tell>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let log = log.to_owned();
        let thread = std::thread::Builder::new()
            .name("witnesses".to_owned())
            .spawn(move || follow(&log, &witnesses, every, &stopped, &*tell))?;
        Ok(Self { stop, thread })
    }

    /// Asks each witness once more and ends the thread: call it when the log is ended.
    pub fn finish(self) {
        drop(self.stop);
        // A panic of it was told on standard error; the log is not concerned.
        let _ = self.thread.join();
    }
}

fn follow(log: &Path, witnesses: &[WitnessAt], every: Duration, stopped: &Receiver<()>, tell: &Tell) {
    loop {
        let ended = match stopped.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        };
        let patience = if ended { LAST_PATIENCE } else { PATIENCE };
        for witness in witnesses {
            let result = keys::load_public(log)
                .map_err(AnchorError::from)
                .and_then(|key| cosign(log, &key, witness, patience));
            tell(witness, result);
        }
        if ended {
            return;
        }
    }
}
