//! Calls of execve and execveat that fail, each for its own reason.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::call::Strings;
use super::exec::{failed, intend, own, replace, reporting};
use super::exec_file::{executable, replace_by_descriptor};
use super::exec_size::{LONGEST, pattern};
use super::{Case, call, child, truth};

/// All of them, one after the other in one child.
pub(super) fn all(case: &Case) -> anyhow::Result<i32> {
    let directory = &case.directory;
    let file = directory.join("not-executable");
    std::fs::write(&file, b"#!/nowhere\n")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let noise = directory.join("no-format");
    executable(&noise, b"\x01\x02\x03 not a program\n")?;
    let empty = directory.join("empty");
    executable(&empty, b"")?;
    let orphan = directory.join("no-interpreter");
    executable(&orphan, b"#!/nowhere/interpreter option\n")?;
    let circle = directory.join("circle");
    std::os::unix::fs::symlink(&circle, &circle)?;
    let too_long = directory.join("n".repeat(300));
    let child = child::fork(|| {
        let argv = Strings::new(["failing", "with \n newline", ""])?;
        let junk = Strings::new([b"\xff\xfe".to_vec(), (1..=255).collect()])?;
        let envp = reporting()?;
        for path in [
            directory.join("nothing-here"),
            file.join("below-a-file"),
            file.clone(),
            directory.clone(),
            noise,
            empty,
            orphan,
            circle,
            too_long,
            std::path::PathBuf::new(),
        ] {
            replace(&CString::new(truth::bytes_of(&path))?, &argv, &envp)?;
        }
        replace(&CString::new(b"/nowhere/\xff\xfe\n".as_slice())?, &junk, &envp)?;
        // E2BIG: one argument too long; all together too long.
        replace(&own()?, &Strings::new([b"big".to_vec(), pattern(LONGEST + 1, 1)])?, &envp)?;
        let limit = call::raise_limit(libc::RLIMIT_STACK, 8 << 20)?;
        let pieces = usize::try_from(limit / 4)? / LONGEST + 2;
        replace(&own()?, &Strings::new((0..pieces).map(|index| pattern(LONGEST, index)))?, &envp)?;
        // Bad descriptor; bad addresses.
        replace_by_descriptor(-1, "", &argv, &envp)?;
        let path = own()?;
        intend(path.as_bytes(), &argv, true)?;
        failed(call::execveat(-1, &path, &argv, &envp, 0x4000_0000))?;
        let (pid, tid) = truth::ids()?;
        for (path, argv) in [(8, 0), (path.as_ptr() as u64, 8)] {
            truth::tell(&json!({
                "call": "exec", "pid": pid, "tid": tid, "filename": null, "argv": null, "at": false,
                "previous_exe": truth::link_text("/proc/self/exe")?, "cwd": truth::link_text("/proc/self/cwd")?,
            }))?;
            failed(call::execve_at_addresses(path, argv, 0))?;
        }
        Ok(0)
    })?;
    super::exec::ok(child)?;
    Ok(0)
}
