//! Executing programs: arguments, environment, directory, user, and which thread calls.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use serde_json::{Value, json};

use super::call::{Image, Strings};
use super::child::{self, Child};
use super::{Case, call, truth};

/// Environment of an executed program that reports what it sees.
pub(super) fn reporting() -> anyhow::Result<Strings> {
    reporting_with(&[])
}

/// The same with more variables.
pub(super) fn reporting_with(more: &[&str]) -> anyhow::Result<Strings> {
    let role = format!("{}=report", truth::ROLE);
    Strings::new([role.as_str()].iter().chain(more).map(|text| text.as_bytes().to_vec()))
}

/// This workload's own binary, as execve takes it.
pub(super) fn own() -> anyhow::Result<CString> {
    Ok(CString::new(truth::own_binary()?.as_os_str().as_bytes())?)
}

/// Tells that an exec is about to be tried; the executed program tells the rest.
pub(super) fn intend(filename: &[u8], argv: &Strings, at: bool) -> anyhow::Result<()> {
    let (pid, tid) = truth::ids()?;
    truth::tell(&json!({
        "call": "exec", "pid": pid, "tid": tid, "filename": truth::text(filename),
        "argv": truth::texts(argv.bytes()), "at": at,
        "previous_exe": truth::link_text("/proc/self/exe")?,
        "cwd": truth::link_text("/proc/self/cwd")?,
    }))
}

/// Tells that the intended exec failed.
pub(super) fn failed(ret: i64) -> anyhow::Result<()> {
    let (pid, tid) = truth::ids()?;
    truth::tell(
        &json!({"call": "exec_failed", "pid": pid, "tid": tid, "ret": ret, "errno": truth::errno_name(ret)}),
    )
}

/// Executes in the calling process; only a failure returns.
pub(super) fn replace(path: &CString, argv: &Strings, envp: &Strings) -> anyhow::Result<i32> {
    intend(path.as_bytes(), argv, false)?;
    failed(call::execve(path, argv, envp))?;
    Ok(98)
}

/// Executes this workload in a child with given arguments and waits.
pub(super) fn run<B: Into<Vec<u8>>>(argv: impl IntoIterator<Item = B>, envp: &Strings) -> anyhow::Result<()> {
    let argv = Strings::new(argv)?;
    ok(child::fork(|| replace(&own()?, &argv, envp))?)
}

/// Waits for a child that must end well.
pub(super) fn ok(child: Child) -> anyhow::Result<()> {
    let status = child.wait()?;
    anyhow::ensure!(status.code == Some(0), "an executed program ended with {status:?}");
    Ok(())
}

/// Plain arguments.
pub(super) fn plain(_: &Case) -> anyhow::Result<i32> {
    run(["hardcase", "one", "two words", "--flag=value", "äöü €", "tab\tquote\"backslash\\"], &reporting()?)?;
    Ok(0)
}

/// Arguments of every byte but NUL: invalid UTF-8, control characters, newlines, quotes.
pub(super) fn binary_junk(_: &Case) -> anyhow::Result<i32> {
    let every: Vec<u8> = (1..=255).collect();
    let backwards: Vec<u8> = (1..=255).rev().collect();
    let junk: Vec<Vec<u8>> = vec![
        b"\xff\xfe workload".to_vec(),
        every,
        backwards,
        b"\n".to_vec(),
        b"line one\nline two\r\n".to_vec(),
        b"'single' \"double\" `back` $(dollar)".to_vec(),
        b"\x1b[31mred\x1b[0m\x07".to_vec(),
        // Truncated, overlong and surrogate forms.
        b"\xe2\x82".to_vec(),
        b"\xc0\xaf".to_vec(),
        b"\xed\xa0\x80".to_vec(),
        "\u{feff}\u{202e}\u{0}".trim_end_matches('\0').as_bytes().to_vec(),
        b"{\"b64\":\"bm90IG1l\"}".to_vec(),
    ];
    run(junk, &reporting()?)?;
    Ok(0)
}

/// No argument at all. Since 5.18 the kernel makes it one empty string.
pub(super) fn empty_argv(_: &Case) -> anyhow::Result<i32> {
    run(Vec::<Vec<u8>>::new(), &reporting()?)?;
    Ok(0)
}

/// Arguments that are empty strings, at the beginning, in the middle, at the end.
pub(super) fn empty_strings(_: &Case) -> anyhow::Result<i32> {
    for argv in [&[""][..], &["", ""], &["", "a", "", "", "b", ""], &["a", ""]] {
        run(argv.iter().copied(), &reporting()?)?;
    }
    Ok(0)
}

/// Environments: variables that goaudit records, others, odd ones, none but the role.
pub(super) fn environment(_: &Case) -> anyhow::Result<i32> {
    let more = [
        "GODEBUG=madvdontneed=1",
        "LD_LIBRARY_PATH=/nowhere",
        "SECRET=do not record",
        "=odd",
        "NOEQUALS",
        "EMPTY=",
    ];
    run(["with"], &reporting_with(&more)?)?;
    run(["without"], &reporting()?)?;
    // The variable twice, and a value that is not UTF-8.
    let role = format!("{}=report", truth::ROLE);
    let odd: [&[u8]; 4] = [role.as_bytes(), b"GODEBUG=first", b"GODEBUG=second", b"LD_PRELOAD=\xff\xfe"];
    run(["twice"], &Strings::new(odd)?)?;
    Ok(0)
}

/// Executing in other directories, one of them odd, one removed, by a relative path.
pub(super) fn directory(case: &Case) -> anyhow::Result<i32> {
    let odd = case.directory.join("with space\nand newline");
    let gone = case.directory.join("gone");
    for path in [&odd, &gone] {
        std::fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    std::os::unix::fs::symlink(truth::own_binary()?, odd.join("relative"))?;
    let argv = Strings::new(["in directory"])?;
    for path in [std::path::Path::new("/"), &case.directory, &odd] {
        ok(child::fork(|| {
            std::env::set_current_dir(path)?;
            replace(&own()?, &argv, &reporting()?)
        })?)?;
    }
    ok(child::fork(|| {
        std::env::set_current_dir(&odd)?;
        replace(&CString::new("./relative")?, &argv, &reporting()?)
    })?)?;
    ok(child::fork(|| {
        std::env::set_current_dir(&gone)?;
        std::fs::remove_dir(&gone)?;
        replace(&own()?, &argv, &reporting()?)
    })?)?;
    Ok(0)
}

/// Other users: real, effective and saved ids all different.
pub(super) fn user(_: &Case) -> anyhow::Result<i32> {
    let argv = Strings::new(["as", "user"])?;
    for (real, effective, saved) in [(1000, 0, 0), (1000, 1000, 1000), (1001, 1002, 1003)] {
        ok(child::fork(|| {
            // The binary may lie in a directory that only root may enter: execute it by descriptor.
            let binary = std::fs::File::open("/proc/self/exe").context("own binary")?;
            let descriptor = std::os::fd::IntoRawFd::into_raw_fd(binary);
            call::duplicate_to(descriptor, EXEC_DESCRIPTOR)?;
            call::become_user(real, effective, saved)?;
            super::exec_file::replace_by_descriptor(EXEC_DESCRIPTOR, "", &argv, &reporting()?)
        })?)?;
    }
    Ok(0)
}

/// Descriptor number of programs that are executed by descriptor.
pub(super) const EXEC_DESCRIPTOR: i32 = 201;

/// A thread that is not the leader executes: it becomes the leader.
pub(super) fn from_thread(_: &Case) -> anyhow::Result<i32> {
    ok(child::fork(|| {
        threaded(|| {
            let argv = Strings::new(["from", "a", "thread"])?;
            // A failure first: the process stays, with this thread as the caller.
            let nowhere = CString::new("/nowhere/at/all")?;
            replace(&nowhere, &argv, &reporting()?)?;
            replace(&own()?, &argv, &reporting()?)
        })
    })?)?;
    Ok(0)
}

/// Runs `body` in a second thread, whose beginning is told; its end is not (no process ends by it).
pub(super) fn threaded(body: impl FnOnce() -> anyhow::Result<i32> + Send) -> anyhow::Result<i32> {
    let (pid, parent) = truth::ids()?;
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                let (_, tid) = truth::ids()?;
                truth::tell(&thread_line(pid, parent, tid))?;
                body()
            })
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}

/// Truth about a new thread.
pub(super) fn thread_line(pid: u32, creator: u32, tid: u32) -> Value {
    json!({"call": "fork", "pid": pid, "tid": creator, "child": tid, "thread": true})
}

/// A child on borrowed memory executes.
pub(super) fn vfork(_: &Case) -> anyhow::Result<i32> {
    spawned("vfork", call::vfork_exec)
}

/// The C library's posix_spawn.
pub(super) fn posix_spawn(_: &Case) -> anyhow::Result<i32> {
    spawned("posix_spawn", call::posix_spawn)
}

/// The child cannot tell its intention (it runs on its parent's memory): the parent does when it has its id.
fn spawned(name: &str, spawn: fn(&Image<'_>) -> anyhow::Result<i32>) -> anyhow::Result<i32> {
    let (path, argv, envp) = (own()?, Strings::new([name, "spawned"])?, reporting()?);
    let pid = spawn(&Image { path: &path, argv: &argv, envp: &envp })?;
    let child = child::begun(pid)?;
    truth::tell(&json!({
        "call": "exec", "pid": pid, "tid": pid, "filename": truth::text(path.as_bytes()),
        "argv": truth::texts(argv.bytes()), "at": false,
        "previous_exe": truth::link_text("/proc/self/exe")?, "cwd": truth::link_text("/proc/self/cwd")?,
    }))?;
    ok(child)?;
    Ok(0)
}

/// Drops privileges and becomes another program (for tests of what goaudit does without them):
/// `drop-and-run MODE PROGRAM ARGS...` with MODE `user` (uid 65534) or `caps` (root without capabilities).
pub(super) fn drop_and_run(case: &Case) -> anyhow::Result<i32> {
    let (mode, rest) = case.arguments.split_first().context("no mode")?;
    let (program, _) = rest.split_first().context("no program")?;
    let binary = std::fs::File::open(program).with_context(|| format!("cannot open {program}"))?;
    call::duplicate_to(std::os::fd::AsRawFd::as_raw_fd(&binary), EXEC_DESCRIPTOR)?;
    match mode.as_str() {
        "user" => call::become_user(65534, 65534, 65534)?,
        "caps" => {
            for capability in 0..64 {
                // Dropped from the bounding set, too, or root gets them back by executing.
                if call::prctl(24, [capability, 0, 0, 0]) == -i64::from(libc::EINVAL) {
                    break;
                }
            }
            let ret = call::set_capabilities(0, 0, 0);
            anyhow::ensure!(ret == 0, "capset: errno {}", -ret);
        }
        _ => anyhow::bail!("no mode `{mode}`"),
    }
    let argv = Strings::new(rest.iter().map(String::as_bytes))?;
    let envp = Strings::new(
        std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()),
    )?;
    let ret = call::execveat(EXEC_DESCRIPTOR, &CString::default(), &argv, &envp, libc::AT_EMPTY_PATH);
    anyhow::bail!("cannot execute {program}: errno {}", -ret)
}
