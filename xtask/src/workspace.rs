//! Where things are: the tree, cargo's target directory, the download cache.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

/// The Rust target of everything that runs in the kernel lab.
pub(crate) const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the end-to-end tests lie.
pub(crate) const END_TO_END: &str = "tests/tests";

/// Root of the work tree.
pub(crate) fn root() -> PathBuf {
    // Cargo sets it for `cargo run`; the compiled-in value serves a binary that is started directly.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo's target directory, as cargo itself would choose it for this workspace.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Downloads that outlive `cargo clean` and are shared by work trees: `$GOAUDIT_CACHE`, else
/// `$XDG_CACHE_HOME/goaudit`, else `~/.cache/goaudit`.
pub(crate) fn cache() -> PathBuf {
    if let Some(dir) = env::var_os("GOAUDIT_CACHE") {
        return PathBuf::from(dir);
    }
    if let Some(dir) = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir).join("goaudit");
    }
    env::var_os("HOME").map_or_else(target, |home| PathBuf::from(home).join(".cache")).join("goaudit")
}

/// The cargo that started us, else the one on `PATH`.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Names of the tests in a folder, sorted, files and folders with a `main.rs`; none where there is no such folder.
pub(crate) fn test_files(dir: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let dir = root().join(dir);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&dir).with_context(|| format!("failed to read {}", dir.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| test_name(&entry.ok()?)).filter(|name| wanted(name)).collect();
    names.sort();
    Ok(names)
}

/// What cargo calls the test that an entry of a tests folder is; none if it is no test.
fn test_name(entry: &fs::DirEntry) -> Option<String> {
    let name = entry.file_name();
    let name = name.to_str()?;
    if entry.path().join("main.rs").is_file() {
        return Some(name.to_owned());
    }
    name.strip_suffix(".rs").map(str::to_owned)
}

/// Finds a program on `PATH`, see [`reach_cargo_bin`].
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A path of its own is looked for as it is.
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Starts us again with a wider `PATH` where it lacks the directory that `cargo install` puts programs in, or
/// those of the system's daemons: what setup installs must be found by us and by all that we run.
pub(crate) fn reach_cargo_bin() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let Some(wider) = wider(&path) else { return Ok(()) };
    let program = env::current_exe().context("failed to find the running program")?;
    let error = Command::new(program).args(env::args_os().skip(1)).env("PATH", wider).exec();
    Err(error).context("failed to start again with a wider PATH")
}

/// `PATH` with what it lacks at its end; `None` when it lacks nothing.
fn wider(path: &OsString) -> Option<OsString> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let mut dirs: Vec<PathBuf> = env::split_paths(path).collect();
    let before = dirs.len();
    let wanted = env::var_os("CARGO_INSTALL_ROOT").map(PathBuf::from).into_iter().chain(cargo_home);
    for dir in wanted.map(|root| root.join("bin")).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    // A directory with a colon in its name cannot be on a PATH.
    if dirs.len() == before { None } else { env::join_paths(dirs).ok() }
}

/// Whether we are root (effective uid 0).
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this is Debian itself: its package names and suites are what setup knows.
pub(crate) fn is_debian() -> bool {
    std::fs::read_to_string("/etc/os-release")
        .is_ok_and(|text| text.lines().any(|line| matches!(line, "ID=debian" | "ID=\"debian\"")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_path_is_widened_once() {
        let once = wider(&OsString::from("/usr/bin")).unwrap();
        assert!(env::split_paths(&once).any(|dir| dir == Path::new("/usr/sbin")));
        assert_eq!(wider(&once), None);
    }
}
