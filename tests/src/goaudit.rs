//! The built `goaudit` program, as users run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::ability;

/// Where programs lie in a lab guest.
const LAB_BIN: &str = "/bin";

/// A command that runs `goaudit`, freshly built, without standard input and with no settings of this machine.
///
/// # Panics
/// When it cannot be built or found.
#[must_use]
pub fn goaudit() -> Command {
    let mut command = Command::new(program("goaudit"));
    command.stdin(Stdio::null()).env_remove("NO_COLOR").env("TZ", "UTC");
    command
}

/// Path of a program of this workspace: `goaudit`, or one of this package's own in `src/bin`.
///
/// `GOAUDIT_BIN_DIR` names a folder to take it from instead (an installed release, say).
///
/// # Panics
/// When it cannot be built or found.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = if let Some(dir) = std::env::var_os("GOAUDIT_BIN_DIR") {
        PathBuf::from(dir).join(name)
    } else if ability::lab_kernel().is_some() {
        Path::new(LAB_BIN).join(name)
    } else {
        built().join(name)
    };
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// Folder of the built programs. Cargo builds a package's programs only for that package's own tests, so the
/// first one who asks has them built: a stale program would make tests lie.
#[expect(clippy::expect_used, reason = "a test without its program has failed")]
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/PROFILE/deps/TEST-HASH
        let test = std::env::current_exe().expect("the running program has a path");
        let dir =
            test.parent().and_then(Path::parent).expect("cargo puts tests into PROFILE/deps").to_owned();
        if let Some(cargo) = std::env::var_os("CARGO") {
            let profile =
                dir.file_name().and_then(|name| name.to_str()).expect("the profile's folder has a name");
            let profile = if profile == "debug" { "dev" } else { profile };
            let output = Command::new(cargo)
                .args(["build", "--quiet", "--profile", profile, "--package", "goaudit-user", "--package"])
                .args(["goaudit-tests", "--bins"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .expect("cargo starts");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "building goaudit ended with {}:\n{told}", output.status);
        }
        dir
    })
}
