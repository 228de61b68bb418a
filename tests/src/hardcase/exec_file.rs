//! Executing files in other ways than by their path, and files that are no binaries.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::call::Strings;
use super::exec::{EXEC_DESCRIPTOR, failed, intend, ok, own, replace, reporting};
use super::{Case, call, child, truth};

/// `execveat`; the kernel's name for the file is then `/dev/fd/N` or `/dev/fd/N/PATH`.
pub(super) fn replace_by_descriptor(
    descriptor: i32,
    path: &str,
    argv: &Strings,
    envp: &Strings,
) -> anyhow::Result<i32> {
    let (name, flags) = if path.is_empty() {
        (format!("/dev/fd/{descriptor}"), libc::AT_EMPTY_PATH)
    } else {
        (format!("/dev/fd/{descriptor}/{path}"), 0)
    };
    intend(name.as_bytes(), argv, true)?;
    failed(call::execveat(descriptor, &CString::new(path)?, argv, envp, flags))?;
    Ok(98)
}

/// fexecve: a binary by its descriptor.
pub(super) fn by_descriptor(_: &Case) -> anyhow::Result<i32> {
    let argv = Strings::new(["by", "descriptor"])?;
    ok(child::fork(|| {
        let binary = std::fs::File::open(truth::own_binary()?)?;
        call::duplicate_to(binary.as_raw_fd(), EXEC_DESCRIPTOR)?;
        replace_by_descriptor(EXEC_DESCRIPTOR, "", &argv, &reporting()?)
    })?)?;
    Ok(0)
}

/// A binary by its name in an open directory, and by an absolute path, which ignores the directory.
pub(super) fn by_directory(_: &Case) -> anyhow::Result<i32> {
    let argv = Strings::new(["by", "directory"])?;
    let binary = truth::own_binary()?;
    let name = binary.file_name().and_then(|name| name.to_str()).context("own name")?;
    ok(child::fork(|| {
        let directory = std::fs::File::open(binary.parent().context("own directory")?)?;
        call::duplicate_to(directory.as_raw_fd(), EXEC_DESCRIPTOR)?;
        replace_by_descriptor(EXEC_DESCRIPTOR, name, &argv, &reporting()?)
    })?)?;
    ok(child::fork(|| {
        let path = own()?;
        intend(path.as_bytes(), &argv, true)?;
        failed(call::execveat(-1, &path, &argv, &reporting()?, 0))?;
        Ok(98)
    })?)?;
    Ok(0)
}

/// Writes a script with `interpreter` in its first line.
fn script(case: &Case, name: &str, interpreter: &[u8]) -> anyhow::Result<PathBuf> {
    let path = case.directory.join(name);
    executable(&path, &[b"#!", interpreter, b"\nthis is not read\n"].concat())?;
    Ok(path)
}

/// Writes an executable file.
pub(super) fn executable(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Scripts: plain, with an option, nested, by descriptor.
pub(super) fn shebang(case: &Case) -> anyhow::Result<i32> {
    // A first line takes at most 127 bytes before 5.1 and 255 since: a short name for the interpreter.
    let interpreter = case.directory.join("i");
    std::os::unix::fs::symlink(truth::own_binary()?, &interpreter)?;
    let interpreter = interpreter.as_os_str().as_bytes();
    let plain = script(case, "plain", interpreter)?;
    let option = script(case, "option", &[interpreter, b" -x  one option with blanks \t"].concat())?;
    let nested = script(case, "nested", &[plain.as_os_str().as_bytes(), b" nested-option"].concat())?;
    let argv = Strings::new(["replaced", "first", "second argument"])?;
    for path in [&plain, &option, &nested] {
        ok(child::fork(|| replace(&CString::new(truth::bytes_of(path))?, &argv, &reporting()?))?)?;
    }
    // Without arguments the kernel has nothing to replace.
    let none = Strings::new(Vec::<Vec<u8>>::new())?;
    ok(child::fork(|| replace(&CString::new(truth::bytes_of(&plain))?, &none, &reporting()?))?)?;
    ok(child::fork(|| {
        let file = std::fs::File::open(&option)?;
        call::duplicate_to(file.as_raw_fd(), EXEC_DESCRIPTOR)?;
        replace_by_descriptor(EXEC_DESCRIPTOR, "", &argv, &reporting()?)
    })?)?;
    Ok(0)
}

/// A symbolic link: the file name is the link's, the binary the target's.
pub(super) fn symlink(case: &Case) -> anyhow::Result<i32> {
    let link = case.directory.join("link");
    std::os::unix::fs::symlink(truth::own_binary()?, &link)?;
    let argv = Strings::new(["by link"])?;
    ok(child::fork(|| replace(&CString::new(truth::bytes_of(&link))?, &argv, &reporting()?))?)?;
    Ok(0)
}

/// A copy of this workload.
fn copy(case: &Case, name: &str) -> anyhow::Result<PathBuf> {
    let path = case.directory.join(name);
    std::fs::copy(truth::own_binary()?, &path).context("cannot copy the workload")?;
    Ok(path)
}

/// A set-user-id binary: the effective user changes by the exec.
pub(super) fn set_uid(case: &Case) -> anyhow::Result<i32> {
    let path = copy(case, "set-uid")?;
    std::os::unix::fs::chown(&path, Some(1001), Some(1001))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755))?;
    let argv = Strings::new(["set-uid"])?;
    ok(child::fork(|| replace(&CString::new(truth::bytes_of(&path))?, &argv, &reporting()?))?)?;
    Ok(0)
}

/// A binary that never was in a file system: a memfd.
pub(super) fn memfd(_: &Case) -> anyhow::Result<i32> {
    let argv = Strings::new(["from", "memory"])?;
    ok(child::fork(|| {
        let memory = rustix::fs::memfd_create("in-memory", rustix::fs::MemfdFlags::empty())?;
        let mut file = std::fs::File::from(memory);
        std::io::copy(&mut std::fs::File::open(truth::own_binary()?)?, &mut file)?;
        call::duplicate_to(file.as_raw_fd(), EXEC_DESCRIPTOR)?;
        // A file that is open for writing cannot be executed; the copy is read through /proc.
        let read = std::fs::File::open(format!("/proc/self/fd/{EXEC_DESCRIPTOR}"))?;
        call::close(EXEC_DESCRIPTOR);
        drop(file);
        call::duplicate_to(read.as_raw_fd(), EXEC_DESCRIPTOR)?;
        drop(read);
        replace_by_descriptor(EXEC_DESCRIPTOR, "", &argv, &reporting()?)
    })?)?;
    Ok(0)
}

/// A binary whose file is gone when it is executed.
pub(super) fn deleted(case: &Case) -> anyhow::Result<i32> {
    let path = copy(case, "deleted")?;
    let argv = Strings::new(["deleted"])?;
    ok(child::fork(|| {
        let binary = std::fs::File::open(&path)?;
        call::duplicate_to(binary.as_raw_fd(), EXEC_DESCRIPTOR)?;
        std::fs::remove_file(&path)?;
        replace_by_descriptor(EXEC_DESCRIPTOR, "", &argv, &reporting()?)
    })?)?;
    Ok(0)
}
