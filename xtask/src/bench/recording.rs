//! goaudit with arguments of the benchmark's own: started, ended in order or killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::program;
use super::contestant::{interrupt, spawn};
use crate::command::wait_within;

const LIMIT: Duration = Duration::from_mins(1);

/// A recorder at work; dropped, it is killed.
pub(super) struct Recording(Child);

impl Recording {
    /// Starts `goaudit record --quiet ARGUMENTS` into `log` below `dir`, and waits until it says that it records.
    pub(super) fn start(dir: &Path, arguments: &[&str]) -> Result<Self> {
        let mut record = Command::new(program("goaudit"));
        record.args(["record", "--quiet"]).args(arguments).arg("-w").arg(dir.join("log"));
        let mut recording = Self(spawn(record, dir)?);
        let began = Instant::now();
        loop {
            let told = fs::read(dir.join("stderr")).unwrap_or_default();
            let told = String::from_utf8_lossy(&told);
            if let Some(status) = recording.0.try_wait().context("failed to look after goaudit")? {
                bail!("goaudit ended before it was measured, with {status}: {told}");
            }
            if told.contains("recording into") {
                return Ok(recording);
            }
            if began.elapsed() > LIMIT {
                bail!("goaudit did not say that it records: {told}");
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends it in order.
    pub(super) fn end(mut self) -> Result<()> {
        interrupt(&self.0)?;
        if wait_within(&mut self.0, LIMIT)?.is_none() {
            bail!("goaudit did not end");
        }
        Ok(())
    }

    /// Ends it as SIGKILL does.
    pub(super) fn kill(mut self) -> Result<()> {
        self.0.kill().context("failed to kill goaudit")?;
        self.0.wait().context("failed to wait for goaudit")?;
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}
