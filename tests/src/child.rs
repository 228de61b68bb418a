//! Running this test binary again as another process: the process that is to be observed.
//!
//! A test that needs a process with a certain behaviour starts *itself* in a role, so that workload and
//! assertion stand in one file:
//! ```text
//! #[test]
//! fn prctl_name_is_recorded() {
//!     if child::role().as_deref() == Some("rename") { set_name("renamed"); return; }
//!     let child = child::again("rename").spawn().unwrap();
//! ```

use std::process::{Command, Stdio};

/// Names the role in the child's environment.
const ROLE: &str = "GOAUDIT_TEST_ROLE";

/// The role this process was started in; `None` in the test proper.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A command that runs the *current test* (libtest names the thread after it) in this role, alone, with its
/// output uncaptured.
///
/// # Panics
/// Outside a test's own thread.
pub fn again(role: &str) -> Command {
    #![expect(clippy::expect_used, reason = "a test that cannot find itself has failed")]
    let thread = std::thread::current();
    // With one test thread libtest runs tests on the main thread, whose name is "main".
    let test =
        thread.name().filter(|name| *name != "main").expect("`again` is called on a test's own thread");
    of_test(test, role)
}

/// Like [`again`], for the test of this full name (`module::name`).
///
/// # Panics
/// When the path of the running program cannot be had.
pub fn of_test(test: &str, role: &str) -> Command {
    #![expect(clippy::expect_used, reason = "a test that cannot find itself has failed")]
    let mut command = Command::new(std::env::current_exe().expect("the running program has a path"));
    command
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        // Two, because with one libtest runs the test on its main thread, which has no name of a test.
        .arg("--test-threads=2")
        .env(ROLE, role)
        .stdin(Stdio::null());
    command
}
