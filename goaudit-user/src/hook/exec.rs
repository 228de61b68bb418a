//! execve and execveat: arguments from the committed mm, or the caller's memory for a failed call.
//!
//! Needs the tracepoint `sched_process_exec` for successes, `sys_enter`/`sys_exit` of both calls for failures
//! and for the view at entry. For scripts the arguments are what the interpreter got.

use goaudit_ebpf::hook::exec::{self as wire, flags, missing};
use goaudit_ebpf::wire::{Kind, Section};

use super::Hook;
use crate::correlate::assemble::{Path, Pieces, Value};
use crate::correlate::env::EnvNames;
use crate::correlate::phantom::{self, Verdict, View};
use crate::event::{ArgsTrust, Capabilities, Exec, FileId, Missing, Namespaces, Text};

/// This hook.
pub const HOOK: Hook = Hook {
    name: "exec",
    kinds: &[Kind::Exec, Kind::Text],
    sees: "every execve and execveat, failed ones too: arguments, chosen environment, file, credentials",
    needs: "raw tracepoint sched_process_exec; without sys_enter/sys_exit no failed calls and no args_changed",
};

/// Why a text is not there although it was sent.
const LOST: &str = "its text was lost (see the loss events of this CPU)";

/// Device numbers as the kernel keeps them: minor in the low 20 bits.
const MINOR_BITS: u32 = 20;

/// An exec record with its pieces, read.
pub(crate) struct Read {
    /// The payload; `previous_exe` is the correlator's.
    pub(crate) exec: Exec,
    /// Path of the new binary.
    pub(crate) exe: Option<Text>,
}

/// Reads a record and its pieces.
pub(crate) fn read(
    record: &wire::Exec,
    pieces: Option<Pieces>,
    env: &EnvNames,
    gone: &mut Vec<Missing>,
) -> Read {
    let mut pieces = pieces.unwrap_or_default();
    let absent = if pieces.arrived < record.texts.into() {
        LOST
    } else {
        "the kernel side did not read it for this call"
    };
    let failed = record.header.flags & flags::FAILED != 0;
    let mut exec = Exec {
        ret: record.ret,
        at: record.header.flags & flags::EXECVEAT != 0,
        argv_complete: true,
        caller_tid: (record.old_tid != 0 && record.old_tid != record.header.tid.0).then_some(record.old_tid),
        ..Exec::default()
    };
    exec.cwd = path(pieces.take(Section::Cwd), "exec.cwd", has(record, missing::CWD).then_some(absent), gone);
    if failed {
        caller_view(&mut exec, record, &mut pieces, absent, gone);
        credentials(&mut exec, record, gone);
        return Read { exec, exe: None };
    }
    exec.filename = string(pieces.take(Section::Filename), "exec.filename", absent, gone);
    let interp = pieces.take(Section::Interp).map(|value| Text::from(first_string(&value.bytes)));
    exec.interpreter = interp.filter(|interp| exec.filename.as_ref().is_some_and(|name| name != interp));
    if !has(record, missing::BPRM) {
        gone.push(Missing::new("exec.interpreter", NO_BPRM));
    }
    committed_view(&mut exec, record, &mut pieces, env, gone);
    entry_view(&mut exec, record, &mut pieces, gone);
    credentials(&mut exec, record, gone);
    let exe =
        path(pieces.take(Section::Exe), "process.exe", has(record, missing::EXE).then_some(absent), gone);
    Read { exec, exe }
}

/// Why what is only in the kernel's account of an exec is not there.
const NO_BPRM: &str = "the kernel's linux_binprm could not be read";

/// Whether the program could read what `bit` stands for.
const fn has(record: &wire::Exec, bit: u32) -> bool {
    record.header.missing & bit == 0
}

/// Arguments and environment of the new program.
fn committed_view(
    exec: &mut Exec,
    record: &wire::Exec,
    pieces: &mut Pieces,
    env: &EnvNames,
    gone: &mut Vec<Missing>,
) {
    exec.args_trust = ArgsTrust::Committed;
    if has(record, missing::BPRM) {
        exec.argc = Some(record.argc);
        exec.envc = Some(record.envc);
    } else {
        for field in ["exec.argc", "exec.envc"] {
            gone.push(Missing::new(field, NO_BPRM));
        }
    }
    if !has(record, missing::MM) {
        exec.argv_complete = false;
        for field in ["exec.argv", "exec.argv_bytes", "exec.env", "exec.env_bytes"] {
            gone.push(Missing::new(field, "the kernel's mm could not be read"));
        }
        return;
    }
    exec.argv_bytes = Some(record.arg_bytes.into());
    exec.env_bytes = Some(record.env_bytes.into());
    let whole = u64::from(record.arg_bytes).saturating_add(record.env_bytes.into());
    let value = pieces.take(Section::ArgsEnv).unwrap_or_default();
    let reason = value.cut.map_or(LOST, |cut| cut.reason());
    let args_end = usize::try_from(record.arg_bytes).unwrap_or(usize::MAX).min(value.bytes.len());
    let (args, rest) = value.bytes.split_at_checked(args_end).unwrap_or((&value.bytes, &[]));
    exec.argv = strings(args).map(Text::from).collect();
    let count = u32::try_from(exec.argv.len()).unwrap_or(u32::MAX);
    if u64::try_from(args.len()) != Ok(record.arg_bytes.into()) {
        exec.argv_complete = false;
        gone.push(Missing::new("exec.argv", reason));
    } else if exec.argc.is_some_and(|argc| argc != count) {
        exec.argv_complete = false;
        let argc = record.argc;
        gone.push(Missing::new(
            "exec.argv",
            format!("the argument area holds {count} strings, the kernel committed {argc}: changed since"),
        ));
    }
    let have = u64::try_from(value.bytes.len()).unwrap_or(u64::MAX);
    if have < whole {
        gone.push(Missing::new("exec.env", reason));
    }
    let env_end = usize::try_from(record.env_bytes).unwrap_or(usize::MAX).min(rest.len());
    exec.env = env.pick(strings(rest.get(..env_end).unwrap_or_default()), have >= whole);
}

/// Arguments of a failed call, from the caller's memory.
fn caller_view(
    exec: &mut Exec,
    record: &wire::Exec,
    pieces: &mut Pieces,
    absent: &'static str,
    gone: &mut Vec<Missing>,
) {
    exec.args_trust = ArgsTrust::UserRacy;
    exec.filename = string(pieces.take(Section::UserFilename), "exec.filename", absent, gone);
    let (args, why) = user_args(record, pieces);
    exec.argv = strings(&args).map(Text::from).collect();
    match why {
        None => {
            exec.argc = Some(record.user_argc);
            exec.argv_bytes = u64::try_from(args.len()).ok();
        }
        Some(reason) => {
            exec.argv_complete = false;
            for field in ["exec.argv", "exec.argc", "exec.argv_bytes"] {
                gone.push(Missing::new(field, reason));
            }
        }
    }
    for field in ["exec.envc", "exec.env", "exec.args_changed"] {
        gone.push(Missing::new(field, "the call failed: nothing was committed"));
    }
}

/// The view at entry against the committed one.
fn entry_view(exec: &mut Exec, record: &wire::Exec, pieces: &mut Pieces, gone: &mut Vec<Missing>) {
    const FIELD: &str = "exec.args_changed";
    if record.header.flags & flags::ENTRY_SEEN == 0 {
        gone.push(Missing::new(FIELD, "the call's entry was not observed"));
        return;
    }
    let (args, why) = user_args(record, pieces);
    let entry: Vec<&[u8]> = strings(&args).collect();
    let committed: Vec<&[u8]> = exec.argv.iter().map(Text::as_bytes).collect();
    let verdict = phantom::compare(
        View { args: &entry, complete: why.is_none() },
        View { args: &committed, complete: exec.argv_complete },
        exec.interpreter.is_some(),
    );
    match verdict {
        Verdict::Same => exec.args_changed = Some(false),
        // The kernel itself rewrites a script's arguments.
        Verdict::Changed if !has(record, missing::BPRM) => {
            gone.push(Missing::new(
                FIELD,
                format!("they differ, but an interpreter may be the reason: {NO_BPRM}"),
            ));
        }
        Verdict::Changed => {
            exec.args_changed = Some(true);
            exec.entry_argv = entry.into_iter().map(Text::from).collect();
            if let Some(reason) = why {
                gone.push(Missing::new("exec.entry_argv", reason));
            }
        }
        Verdict::Unknown => {
            let reason = why.unwrap_or("the committed arguments are not whole");
            gone.push(Missing::new(FIELD, format!("no difference in what is there, but: {reason}")));
        }
    }
}

/// The caller's argument strings, and why they are not all (none if they are).
fn user_args(record: &wire::Exec, pieces: &mut Pieces) -> (Vec<u8>, Option<&'static str>) {
    let value = pieces.take(Section::UserArgs).unwrap_or_default();
    let count = u32::try_from(strings(&value.bytes).count()).unwrap_or(u32::MAX);
    let why = if record.header.flags & flags::USER_ARGS_FAULT != 0 {
        Some("user memory was not resident when it was read")
    } else if record.header.flags & flags::USER_ARGS_CUT != 0 {
        Some("more or longer arguments than a program reads from user memory")
    } else if let Some(cut) = value.cut {
        Some(cut.reason())
    } else if count != record.user_argc {
        Some(LOST)
    } else {
        None
    };
    (value.bytes, why)
}

fn credentials(exec: &mut Exec, record: &wire::Exec, gone: &mut Vec<Missing>) {
    if has(record, missing::CAPS) {
        let wire::Capabilities { effective, permitted, inheritable, bounding, ambient } = record.capabilities;
        exec.capabilities = Some(Capabilities { effective, permitted, inheritable, bounding, ambient });
    } else {
        gone.push(Missing::new("exec.capabilities", "the kernel's credentials could not be read"));
    }
    if record.header.missing & goaudit_ebpf::wire::missing::CRED == 0 {
        exec.suid = Some(record.suid);
    } else {
        gone.push(Missing::new("exec.suid", "the kernel's credentials could not be read"));
    }
    if has(record, missing::NAMESPACES) {
        let wire::Namespaces { user, pid, mnt, net, uts, ipc, cgroup, tgid } = record.namespaces;
        exec.namespaces = Some(Namespaces { user, pid, mnt, net, uts, ipc, cgroup, tgid });
    } else {
        gone.push(Missing::new("exec.namespaces", "the kernel's namespaces could not be read"));
    }
    if record.header.flags & flags::FAILED != 0 {
        gone.push(Missing::new("exec.file", "the call failed: nothing was committed"));
    } else if has(record, missing::EXE) {
        let device = record.exe_device;
        exec.file = Some(FileId {
            inode: record.exe_inode,
            major: device >> MINOR_BITS,
            minor: device & ((1 << MINOR_BITS) - 1),
        });
    } else {
        gone.push(Missing::new("exec.file", "the kernel's mm->exe_file could not be read"));
    }
}

/// The strings of an area where each ends with NUL; an unterminated rest counts as one.
fn strings(area: &[u8]) -> impl Iterator<Item = &[u8]> {
    let terminated = area.strip_suffix(b"\0").unwrap_or(area);
    let mut rest = (!area.is_empty()).then_some(terminated);
    std::iter::from_fn(move || {
        let area = rest?;
        let end = memchr::memchr(0, area);
        rest = end.and_then(|end| area.get(end.saturating_add(1)..));
        area.get(..end.unwrap_or(area.len()))
    })
}

fn first_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn string(
    value: Option<Value>,
    field: &'static str,
    absent: &'static str,
    gone: &mut Vec<Missing>,
) -> Option<Text> {
    let Some(value) = value else {
        gone.push(Missing::new(field, absent));
        return None;
    };
    if let Some(cut) = value.cut {
        gone.push(Missing::new(field, cut.reason()));
        // Nothing at all was read: that is no empty string.
        if value.bytes.is_empty() {
            return None;
        }
    }
    Some(first_string(&value.bytes).into())
}

/// `absent`: why it may not have come; none if the program could not read it.
fn path(
    value: Option<Value>,
    field: &'static str,
    absent: Option<&'static str>,
    gone: &mut Vec<Missing>,
) -> Option<Text> {
    let Some(value) = value.filter(|_| absent.is_some()) else {
        gone.push(Missing::new(field, absent.unwrap_or("the kernel's path could not be read")));
        return None;
    };
    if value.cut.is_some() {
        gone.push(Missing::new(
            field,
            "only its last names are known: deeper than a program follows, or lost",
        ));
    }
    Some(Path::from_leaf_first(&value).bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_an_area() {
        let of = |area: &'static [u8]| strings(area).collect::<Vec<_>>();
        assert_eq!(of(b""), [] as [&[u8]; 0]);
        assert_eq!(of(b"\0"), [b"" as &[u8]]);
        assert_eq!(of(b"a\0\0b\0"), [b"a" as &[u8], b"", b"b"]);
        assert_eq!(of(b"a\0cut"), [b"a" as &[u8], b"cut"]);
        assert_eq!(of(b"\0\0"), [b"" as &[u8], b""]);
    }
}
