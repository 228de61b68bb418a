//! Sources of Go modules: published test data and test cases, as Go's module proxy has them.
//!
//! Nothing of it lies in this tree. A fixture's go.mod names the version and its go.sum the hash, which Go checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ability::tell_skip;
use crate::go_fixture::{Build, Toolchain, fixtures, toolchain};

/// The Go that fixtures with modules are built with.
const VERSION: &str = "1.26.8";

/// Folder of the module's source, in the version that the fixture needs. Fails where the module proxy is not reachable.
pub fn source(toolchain: &Toolchain, fixture: &str, module: &str) -> Result<PathBuf> {
    let output = toolchain
        .go()
        .current_dir(fixtures().join(fixture))
        .args(["mod", "download", "-json", module])
        .output()
        .context("go did not start")?;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let word = |name: &str| told.get(name).and_then(Value::as_str);
    match word("Dir") {
        Some(dir) if output.status.success() => Ok(PathBuf::from(dir)),
        _ => bail!(
            "go mod download {module}: {} {}",
            word("Error").unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}

/// Fetches what a fixture needs, if it is not there. Fails where the module proxy is not reachable.
pub fn fetch(toolchain: &Toolchain, fixture: &str) -> Result<()> {
    let output = toolchain
        .go()
        .current_dir(fixtures().join(fixture))
        .args(["mod", "download"])
        .output()
        .context("go did not start")?;
    if !output.status.success() {
        bail!("go mod download: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The program of a fixture that needs modules; none, telling so, where it cannot be had.
///
/// # Panics
/// When it does not build.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its program has failed")]
pub fn program(test: &str, fixture: &str) -> Option<PathBuf> {
    let toolchain =
        toolchain(VERSION).map_err(|why| tell_skip(test, &format!("go toolchain {VERSION}"), &why)).ok()?;
    fetch(&toolchain, fixture)
        .map_err(|why| tell_skip(test, "the Go module proxy", &format!("{why:#}")))
        .ok()?;
    Some(toolchain.build(&Build::of(fixture)).expect("the fixture builds"))
}

/// Copies a folder, so that it can be changed: the module cache cannot.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            // Not fs::copy: files of the module cache are read-only, and their mode would come along.
            fs::write(&target, fs::read(&path)?)?;
        }
    }
    Ok(())
}
