//! Where things are: the tree, cargo's target directory, the download cache.

use std::env;
use std::path::{Path, PathBuf};

/// The Rust target of everything that runs in the kernel lab.
pub(crate) const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

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

/// Finds a program on `PATH`, in cargo's own bin directory (where `cargo install` puts things, on `PATH` or
/// not), or in the system directories that an ordinary user's `PATH` lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(env::var_os("CARGO_INSTALL_ROOT").map(|root| PathBuf::from(root).join("bin")))
        .chain(cargo_home.map(|home| home.join("bin")))
        .chain(["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
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
