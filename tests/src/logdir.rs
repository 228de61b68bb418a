//! Folders for audit logs: a real file system where there is one, removed at the end.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A new folder that is removed with the value; kept, and named on standard error, when the test panics.
#[derive(Debug)]
pub struct LogDir {
    dir: Option<TempDir>,
}

impl LogDir {
    /// # Panics
    /// When no folder can be made in the system's place for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    #[expect(clippy::expect_used, reason = "a test without its folder has failed")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("goaudit-test-")
            .tempdir()
            .expect("a temporary folder can be made");
        Self { dir: Some(dir) }
    }

    /// The folder itself, which exists.
    ///
    /// # Panics
    /// Never: the folder is only taken away when the value is dropped.
    #[must_use]
    #[expect(clippy::expect_used, reason = "held until drop")]
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("held until drop").path()
    }

    /// A path in it that does not exist yet, for programs that make their own folder.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for LogDir {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            let kept = dir.keep();
            writeln!(std::io::stderr(), "kept for inspection: {}", kept.display()).ok();
        }
    }
}
