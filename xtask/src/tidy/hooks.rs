//! The rule that a hook is complete: one name on the kernel side, the user side and in the live tests.

use super::File;

const KERNEL_SIDE: &str = "goaudit-ebpf/src/hook/";
const USER_SIDE: &str = "goaudit-user/src/hook/";
const LIVE_TESTS: &str = "tests/tests/live_";

pub(super) fn complete(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for hook in files.iter().filter_map(|file| stem(&file.path, KERNEL_SIDE)) {
        if !files.iter().any(|file| stem(&file.path, USER_SIDE) == Some(hook)) {
            breaches.push(format!("{KERNEL_SIDE}{hook}.rs: no {USER_SIDE}{hook}.rs"));
        }
        let tested = files.iter().any(|file| file.path.starts_with(LIVE_TESTS) && file.text().contains(hook));
        if !tested {
            breaches.push(format!("{KERNEL_SIDE}{hook}.rs: no {LIVE_TESTS}*.rs names it"));
        }
    }
    breaches
}

/// `exec` of `PREFIXexec.rs`; not of files further down.
fn stem<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_suffix(".rs").filter(|stem| !stem.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_half_hook_is_found() {
        let mut files =
            vec![file("goaudit-ebpf/src/hook/exec.rs", ""), file("goaudit-ebpf/src/hook/exec/a.rs", "")];
        assert_eq!(complete(&files).len(), 2);
        files.push(file("goaudit-user/src/hook/exec.rs", ""));
        files.push(file("tests/tests/live_exec.rs", "exec"));
        assert!(complete(&files).is_empty());
    }
}
