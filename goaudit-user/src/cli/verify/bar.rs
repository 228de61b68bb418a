//! A line on a terminal that tells how far a verification is. Nothing where standard error is no terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::audit::Progress;

/// How often it is drawn; what ends before the first time shows none.
const EVERY: Duration = Duration::from_millis(250);
/// Characters of the bar.
const WIDTH: u64 = 30;

/// The line, until [`Bar::end`].
pub(super) struct Bar {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to draw what the verification will tell.
pub(super) fn start() -> (Option<Arc<Progress>>, Bar) {
    let ended = Arc::new(AtomicBool::new(false));
    if !std::io::stderr().is_terminal() {
        return (None, Bar { ended, thread: None });
    }
    let progress = Arc::new(Progress::default());
    let (theirs, stop) = (Arc::clone(&progress), Arc::clone(&ended));
    let thread =
        std::thread::Builder::new().name("progress".to_owned()).spawn(move || draw(&theirs, &stop)).ok();
    (Some(progress), Bar { ended, thread })
}

fn draw(progress: &Progress, ended: &AtomicBool) {
    let begun = Instant::now();
    let mut drawn = false;
    loop {
        std::thread::park_timeout(EVERY);
        let mut out = std::io::stderr().lock();
        if ended.load(Ordering::Acquire) {
            if drawn {
                let _ = write!(out, "\r\x1b[K");
            }
            return;
        }
        let (done, total) = (progress.done.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
        drawn = true;
        // Nothing is left to tell if standard error is gone.
        let _ = write!(out, "\r{}\x1b[K", line(done, total, begun.elapsed()));
        let _ = out.flush();
    }
}

/// The line for so many bytes of so many, after that time.
fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let done = done.min(total);
    let filled = usize::try_from(WIDTH * done / total.max(1)).unwrap_or(0);
    let percent = 100 * done / total.max(1);
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let speed = done / 1000 / millis;
    let width = usize::try_from(WIDTH).unwrap_or(0);
    format!("verify [{:<width$}] {percent:>3}%  {speed} MB/s", "#".repeat(filled))
}

impl Bar {
    /// Takes the line away.
    pub(super) fn end(mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does not panic; if it did a line is left over.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn the_line_grows_with_what_is_done() {
        let second = Duration::from_secs(1);
        assert_eq!(line(0, 0, second), format!("verify [{}]   0%  0 MB/s", " ".repeat(30)));
        assert_eq!(
            line(500_000_000, 1_000_000_000, second),
            format!("verify [{}{}]  50%  500 MB/s", "#".repeat(15), " ".repeat(15))
        );
        assert!(line(9, 7, second).contains("100%"));
    }
}
