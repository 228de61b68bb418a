//! The release build that is measured.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, run};
use crate::workspace::target;

/// Builds goaudit and the workloads as users would.
pub(super) fn build() -> Result<()> {
    run(cargo().args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "goaudit-user",
        "--package",
        "goaudit-tests",
        "--bins",
    ]))
}

/// Path of a built program.
pub(super) fn program(name: &str) -> PathBuf {
    target().join("release").join(name)
}
