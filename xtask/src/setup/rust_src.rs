//! The source of `core`, which is compiled for the BPF target (cargo's build-std).
//!
//! rustup has it as a component. Where rustup cannot fetch it, Debian's package `rust-src` of exactly the same
//! version serves: another version's `core` does not compile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::archive::Suite;
use crate::command::{capture, command, run, run_within};
use crate::workspace::find_program;

/// Debian suites that carry several compiler versions, newest packages last.
const SUITES: [&str; 2] = ["trixie-backports", "sid"];

/// rustup says no at once when it says no; this is for a network that says nothing.
const RUSTUP_LIMIT: Duration = Duration::from_mins(4);

pub(super) fn present() -> Option<String> {
    let library = library().ok()?;
    library.join("core/src/lib.rs").is_file().then(|| library.display().to_string())
}

/// Where cargo's build-std looks for it.
fn library() -> Result<PathBuf> {
    let sysroot = capture(command("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library"))
}

/// The compiler's version without date and channel, as in "1.95.0".
fn version() -> Result<String> {
    let told = capture(command("rustc").arg("--version"))?;
    told.split_whitespace().nth(1).map(str::to_owned).context("`rustc --version` told no version")
}

pub(super) fn install() -> Result<()> {
    if find_program("rustup").is_some() {
        match run_within(command("rustup").args(["component", "add", "rust-src"]), RUSTUP_LIMIT) {
            Ok(()) => return Ok(()),
            Err(error) => {
                println!("setup: rust-src: rustup cannot bring it ({error:#}); trying Debian's package");
            }
        }
    }
    from_debian()
}

fn from_debian() -> Result<()> {
    let version = version()?;
    for suite in SUITES {
        let suite_lists = match Suite::open(suite) {
            Ok(lists) => lists,
            Err(error) => {
                println!("setup: rust-src: no lists of {suite}: {error:#}");
                continue;
            }
        };
        let wanted = format!("{version}+");
        let carried = suite_lists.versions("rust-src")?;
        let Some(exact) = carried.iter().find(|carried| carried.starts_with(&wanted)) else {
            println!("setup: rust-src: {suite} carries {}, not {version}", carried.join(", "));
            continue;
        };
        let unpacked = suite_lists.unpack(&format!("rust-src={exact}"))?;
        let placed = place(&unpacked.join(format!("usr/src/rustc-{version}/library")));
        Suite::discard(&unpacked);
        return placed;
    }
    bail!("neither rustup nor Debian has rust-src {version}")
}

/// Copies the library folder into the compiler's sysroot.
fn place(source: &Path) -> Result<()> {
    let library = library()?;
    let parent = library.parent().context("the sysroot has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| {
        format!(
            "failed to create {}: the compiler's folder is not ours to write; run setup as its owner",
            parent.display()
        )
    })?;
    // A link left from an earlier, removed source would be followed.
    if library.is_symlink() {
        fs::remove_file(&library)?;
    }
    run(command("cp").arg("-a").arg("--no-target-directory").arg(source).arg(&library))
}
