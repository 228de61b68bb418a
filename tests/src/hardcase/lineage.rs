//! Who comes from whom: trees, process ids used again, namespaces.

use serde_json::json;

use super::call::Strings;
use super::child::{self, Child};
use super::exec::{ok, own, replace, reporting, run};
use super::{Case, call, truth};

/// A process id that is used again for another process.
pub(super) fn pid_reuse(_: &Case) -> anyhow::Result<i32> {
    let first = child::fork(|| replace(&own()?, &Strings::new(["first", "user"])?, &reporting()?))?;
    let pid = first.pid;
    ok(first)?;
    for round in 0..3 {
        let ret = call::fork_with_pid(pid);
        if ret == 0 {
            child::end((|| {
                replace(&own()?, &Strings::new(["again".to_owned(), round.to_string()])?, &reporting()?)
            })());
        }
        if ret < 0 {
            truth::unable("choosing a process id", &format!("clone3 with set_tid: errno {}", -ret))?;
            return Ok(0);
        }
        let (own, tid) = truth::ids()?;
        truth::tell(&json!({"call": "fork", "pid": own, "tid": tid, "child": pid, "thread": false}))?;
        ok(Child { pid })?;
    }
    Ok(0)
}

/// Three generations, each executing; the middle one ends before its child does.
pub(super) fn tree(_: &Case) -> anyhow::Result<i32> {
    ok(child::fork(|| {
        run(["grandchild"], &reporting()?)?;
        ok(child::fork(|| {
            run(["great-grandchild"], &reporting()?)?;
            Ok(0)
        })?)?;
        replace(&own()?, &Strings::new(["child"])?, &reporting()?)
    })?)?;
    Ok(0)
}

/// New user, pid, mount (and other) namespaces, alone and together.
pub(super) fn namespaces(_: &Case) -> anyhow::Result<i32> {
    let kinds = [
        ("pid", libc::CLONE_NEWPID),
        ("mount", libc::CLONE_NEWNS),
        ("uts", libc::CLONE_NEWUTS),
        ("user", libc::CLONE_NEWUSER),
        ("user and pid and mount", libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS),
    ];
    for (name, flags) in kinds {
        ok(child::fork(|| {
            let ret = call::unshare(flags);
            if ret != 0 {
                truth::unable(&format!("unshare {name}"), &format!("errno {}", -ret))?;
                return Ok(0);
            }
            // A new pid namespace begins with the next child.
            run(["in namespace", name], &reporting()?)?;
            Ok(0)
        })?)?;
    }
    Ok(0)
}
