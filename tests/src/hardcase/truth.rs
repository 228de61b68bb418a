//! The truth file: one JSON object a line, appended by every process of a workload.
//!
//! Its descriptor is inherited under a fixed number, so that processes of other users, namespaces and roots
//! can write, too. A text is a JSON string if it is UTF-8 and `{"b64": ...}` otherwise, as in goaudit's
//! events (docs/events.md), so that values can be compared without decoding either.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use serde_json::{Value, json};

use super::call;

/// Environment variable that says what an executed workload is: `report` or `quit`.
pub(super) const ROLE: &str = "GOAUDIT_HARDCASE_ROLE";

/// The truth file in every process of a workload.
pub(super) const DESCRIPTOR: i32 = 200;

/// What this process was executed to be.
pub(super) fn role() -> Option<OsString> {
    std::env::var_os(ROLE)
}

/// Opens the truth file for this process and all that come from it.
pub(super) fn open(path: &Path) -> anyhow::Result<()> {
    let file = File::options().append(true).create(true).open(path).context("cannot open the truth file")?;
    call::duplicate_to(file.as_raw_fd(), DESCRIPTOR)
}

/// Goes on in a truth file of its own, beside the one that is open.
pub(super) fn open_another(index: usize) -> anyhow::Result<()> {
    let Ok(first) = std::fs::read_link(format!("/proc/self/fd/{DESCRIPTOR}")) else { return Ok(()) };
    let mut name = first.into_os_string();
    name.push(format!(".{index}"));
    open(name.as_ref())
}

/// Tells that a case begins in this process, which nobody executed.
pub(super) fn begins() -> anyhow::Result<()> {
    let (pid, tid) = ids()?;
    let own = Status::read()?;
    tell(&json!({
        "call": "begins", "pid": pid, "tid": tid, "uid": own.uids.first(), "euid": own.uids.get(1),
        "suid": own.uids.get(2), "gid": own.gids.first(), "egid": own.gids.get(1), "namespaces": namespaces()?,
    }))
}

/// Appends a line. Without a truth file (a person runs a case by hand) nothing is told.
pub(super) fn tell(line: &Value) -> anyhow::Result<()> {
    tell_bytes(&prepared(line))
}

/// A line ready to be written: for a process that may do nothing but write.
pub(super) fn prepared(line: &Value) -> Vec<u8> {
    let mut bytes = line.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// Appends a prepared line, in one system call: appends of several processes do not mix.
pub(super) fn tell_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    match call::write(DESCRIPTOR, bytes) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(written) => anyhow::bail!("{written} of {} bytes written to the truth file", bytes.len()),
        Err(libc::EBADF) => Ok(()),
        Err(errno) => anyhow::bail!("cannot write the truth file: errno {errno}"),
    }
}

/// A text as events show it.
pub(super) fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "b64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

/// Several texts.
pub(super) fn texts<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Value {
    all.into_iter().map(text).collect()
}

/// Process and thread id of the caller in the pid namespace of `/proc`, which is the one goaudit speaks of.
pub(super) fn ids() -> anyhow::Result<(u32, u32)> {
    let link = std::fs::read_link("/proc/thread-self").context("/proc is not mounted")?;
    let mut parts = link.to_str().context("odd /proc")?.split("/task/");
    let mut number = || anyhow::Ok(parts.next().context("odd /proc/thread-self")?.parse()?);
    Ok((number()?, number()?))
}

/// Tells what this process is right after an exec, from its own point of view.
pub(super) fn executed() -> anyhow::Result<()> {
    let status = Status::read()?;
    let (pid, tid) = ids()?;
    let argv: Vec<Vec<u8>> = std::env::args_os().map(OsString::into_vec).collect();
    let environment = call::environment();
    tell(&json!({
        "call": "executed", "pid": pid, "tid": tid, "ppid": status.ppid,
        "argv": texts(argv.iter().map(Vec::as_slice)),
        "argc": argv.len(),
        "argv_bytes": argv.iter().map(|argument| argument.len() + 1).sum::<usize>(),
        "envc": environment.len(),
        "env_bytes": environment.iter().map(|variable| variable.len() + 1).sum::<usize>(),
        "cwd": link_text("/proc/self/cwd")?,
        "exe": link_text("/proc/self/exe")?,
        "comm": status.comm,
        "uid": status.uids.first(), "euid": status.uids.get(1), "suid": status.uids.get(2),
        "gid": status.gids.first(), "egid": status.gids.get(1),
        "capabilities": status.capabilities,
        "namespaces": namespaces()?,
        "ns_pid": status.ns_pid,
    }))
}

/// Tells that this process now ends by itself.
pub(super) fn ends(code: i32) -> anyhow::Result<()> {
    let (pid, _) = ids()?;
    tell(&json!({"call": "exit", "pid": pid, "code": code & 0xff, "signal": null, "core": false}))
}

/// Tells that the workload itself failed: tests fail on such a line.
pub(super) fn broken(error: &anyhow::Error) {
    // Without a truth file there is nobody to tell.
    let _ = tell(&json!({"call": "broken", "why": format!("{error:#}")}));
    let _ = call::write(2, format!("hardcase: {error:#}\n").as_bytes());
}

/// Tells that this machine cannot do a case, and why: tests skip by that name.
pub(super) fn unable(ability: &str, why: &str) -> anyhow::Result<()> {
    tell(&json!({"call": "unable", "ability": ability, "why": why}))
}

/// A symbolic link's text, in the form of events.
pub(super) fn link_text(path: &str) -> anyhow::Result<Value> {
    let target = std::fs::read_link(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text(target.as_os_str().as_bytes()))
}

/// Inode numbers of this process's namespaces.
fn namespaces() -> anyhow::Result<Value> {
    let mut all = serde_json::Map::new();
    for name in ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"] {
        let Ok(link) = std::fs::read_link(format!("/proc/self/ns/{name}")) else { continue };
        let text = link.to_string_lossy().into_owned();
        let inode = text.split(['[', ']']).nth(1).context("odd namespace link")?;
        all.insert(name.to_owned(), json!(inode.parse::<u32>()?));
    }
    Ok(Value::Object(all))
}

/// `/proc/self/status`, as far as it is needed.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// Thread name.
    pub(super) comm: Value,
    /// Parent, in the namespace of `/proc`.
    pub(super) ppid: u32,
    /// Real, effective, saved, file-system user ids.
    pub(super) uids: Vec<u32>,
    /// The same of groups.
    pub(super) gids: Vec<u32>,
    /// Process ids from the outermost to the innermost pid namespace.
    pub(super) ns_pid: Vec<u32>,
    /// Inheritable, permitted, effective, bounding, ambient as hexadecimal.
    pub(super) capabilities: Value,
}

impl Status {
    /// Reads that of this process.
    pub(super) fn read() -> anyhow::Result<Self> {
        let bytes = std::fs::read("/proc/self/status").context("cannot read /proc/self/status")?;
        let text = String::from_utf8_lossy(&bytes);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
                .unwrap_or_default()
        };
        let numbers = |name: &str| -> Vec<u32> {
            field(name).split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        Ok(Self {
            // The status file escapes odd bytes; the plain form is in comm.
            comm: comm("/proc/thread-self/comm")?,
            ppid: field("PPid").parse()?,
            uids: numbers("Uid"),
            gids: numbers("Gid"),
            ns_pid: numbers("NSpid"),
            capabilities: json!({
                "inheritable": field("CapInh"), "permitted": field("CapPrm"), "effective": field("CapEff"),
                "bounding": field("CapBnd"), "ambient": field("CapAmb"),
            }),
        })
    }
}

/// A thread's name, in the form of events.
pub(super) fn comm(path: &str) -> anyhow::Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
}

/// Name of an errno as the kernel's headers have it; tests compare it with the event's.
pub(super) fn errno_name(ret: i64) -> Value {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::ERANGE, "ERANGE"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ELOOP, "ELOOP"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    ];
    if ret >= 0 {
        return Value::Null;
    }
    NAMES
        .iter()
        .find(|(number, _)| i64::from(*number) == -ret)
        .map_or_else(|| json!(format!("unnamed {}", -ret)), |(_, name)| json!(name))
}

/// This workload's own binary.
pub(super) fn own_binary() -> anyhow::Result<std::path::PathBuf> {
    std::fs::read_link("/proc/self/exe").context("cannot find the workload's own binary")
}

/// As bytes.
pub(super) fn bytes_of(path: &Path) -> &[u8] {
    OsStr::as_bytes(path.as_os_str())
}
