//! Events against the truth: every call that was made is there, once, with its arguments and result, and
//! nothing else is.
//!
//! All functions panic with both sides when they differ.
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "comparing is what these functions are for")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::capture::Capture;
use crate::truth::{Truth, number};

/// A field by its path, null if it is not there.
#[must_use]
pub fn at<'a>(event: &'a Value, path: &str) -> &'a Value {
    event.pointer(path).unwrap_or(&Value::Null)
}

/// Asserts one field; long values are cut in the message.
#[track_caller]
pub fn same(event: &Value, path: &str, expected: &Value, context: &str) {
    let got = at(event, path);
    assert!(
        got == expected,
        "{context}: {path} is\n  {}\nbut the truth is\n  {}\nin {}",
        cut(got),
        cut(expected),
        cut(event)
    );
}

/// A value as text, at most some hundred characters of it.
#[must_use]
pub fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(1500) {
        None => text,
        Some((end, _)) => format!("{}... ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

/// Everything: execs, prctls, ptraces, forks, exits.
pub fn everything(capture: &Capture) {
    execs(capture);
    prctls(capture);
    ptraces(capture);
    forks(capture);
    exits(capture);
}

/// Every exec, in order by process, field by field.
pub fn execs(capture: &Capture) {
    let truth = &capture.truth;
    let kernel_skips = capture.is_relieved();
    for (pid, told) in &truth.execs {
        let events: Vec<_> = capture.by("exec", *pid).collect();
        assert_eq!(
            events.len(),
            told.len(),
            "process {pid} made {} execs:\n{}\nevents:\n{}",
            told.len(),
            told.iter().map(cut).collect::<Vec<_>>().join("\n"),
            events.iter().map(|event| cut(event)).collect::<Vec<_>>().join("\n")
        );
        for (event, told) in events.into_iter().zip(told) {
            if told.get("call").and_then(Value::as_str) == Some("executed") {
                succeeded(event, told, kernel_skips);
            } else {
                failed(event, told);
            }
        }
    }
    // Short-lived processes tell nothing themselves; their own test compares them.
    let short: std::collections::BTreeSet<u64> =
        truth.short_lived.iter().filter_map(|child| child.get(0)?.as_u64()).collect();
    only_from(capture, "exec", |pid| truth.execs.contains_key(&pid) || short.contains(&pid));
}

/// No process of the case made a call of this kind that the truth does not have. (In a recording of the whole
/// host other processes make calls, too.)
fn only_from(capture: &Capture, kind: &str, known: impl Fn(u64) -> bool) {
    let pids = capture.truth.pids();
    for event in capture.kind(kind) {
        let pid = at(event, "/process/tgid").as_u64().unwrap_or(0);
        if pids.contains(&pid) {
            assert!(known(pid), "the truth has no {kind} of process {pid}: {}", cut(event));
        }
    }
}

/// What a kernel that preempts programs may have skipped for an exec, and the event then says it lacks: why, the fields.
const SKIPPED_PARTS: [(&str, &[&str]); 2] = [
    (
        "linux_binprm could not be read",
        &["/exec/argc", "/exec/envc", "/exec/interpreter", "/exec/args_changed", "/exec/entry_argv"],
    ),
    ("the call's entry was not observed", &["/exec/args_changed", "/exec/entry_argv"]),
];

/// Whether the event says that the kernel's skipping took this field.
fn was_skipped(event: &Value, path: &str) -> bool {
    let of = |why: &str| {
        let mut missing = at(event, "/missing").as_array().into_iter().flatten();
        missing.any(|missing| at(missing, "/reason").as_str().is_some_and(|is| is.contains(why)))
    };
    SKIPPED_PARTS.iter().any(|(why, fields)| fields.contains(&path) && of(why))
}

/// An exec that succeeded, against the executed program's own view.
fn succeeded(event: &Value, told: &Value, kernel_skips: bool) {
    let context = "a successful exec";
    let skipped = |path: &str| kernel_skips && was_skipped(event, path);
    let is = |path: &str, expected: &Value| {
        if !skipped(path) {
            same(event, path, expected, context);
        }
    };
    let own = |name: &str| at(told, &format!("/{name}"));
    let meant = at(told, "/intended");
    for (path, name) in [
        ("/process/tgid", "pid"),
        ("/process/tid", "tid"),
        ("/process/ppid", "ppid"),
        ("/process/uid", "uid"),
        ("/process/euid", "euid"),
        ("/process/gid", "gid"),
        ("/process/egid", "egid"),
        ("/process/comm", "comm"),
        ("/exec/argv", "argv"),
        ("/exec/argc", "argc"),
        ("/exec/argv_bytes", "argv_bytes"),
        ("/exec/envc", "envc"),
        ("/exec/env_bytes", "env_bytes"),
        ("/exec/suid", "suid"),
        ("/exec/capabilities", "capabilities"),
    ] {
        is(path, own(name));
    }
    is_path(event, "/process/exe", own("exe"));
    is_path(event, "/exec/cwd", own("cwd"));
    for name in ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"] {
        is(&format!("/exec/namespaces/{name}"), at(told, &format!("/namespaces/{name}")));
    }
    let inner = own("ns_pid").as_array().and_then(|pids| pids.last()).unwrap_or(&Value::Null);
    is("/exec/namespaces/tgid", inner);
    is("/exec/argv_complete", &json!(true));
    is("/exec/ret", &json!(0));
    is("/exec/errno", &Value::Null);
    is("/exec/args_trust", &json!("committed"));
    if meant.is_null() {
        return;
    }
    is("/exec/filename", at(meant, "/filename"));
    is("/exec/execveat", at(meant, "/at"));
    is("/exec/previous_exe", at(meant, "/previous_exe"));
    let caller = at(meant, "/tid");
    is("/exec/caller_tid", if caller == own("pid") { &Value::Null } else { caller });
    // The kernel rewrites the arguments of scripts, and of an empty argv since 5.18.
    let script = is_script(told);
    is("/exec/interpreter", if script { at(told, "/argv/0") } else { &Value::Null });
    let empty = at(meant, "/argv").as_array().is_some_and(Vec::is_empty);
    let changed = !script && !empty && own("argv") != at(meant, "/argv");
    if skipped("/exec/args_changed") {
        return;
    }
    if at(event, "/exec/args_changed").is_null() {
        let len = own("argv_bytes").as_u64().unwrap_or(0);
        assert!(
            len > SHORT as u64 && !changed,
            "{context}: not known whether {len} bytes changed: {}",
            cut(event)
        );
    } else {
        is("/exec/args_changed", &json!(changed));
    }
    is("/exec/entry_argv", if changed { at(meant, "/argv") } else { &Value::Null });
}

/// Asserts a path against `/proc`, ` (deleted)` behind removed files included.
#[track_caller]
fn is_path(event: &Value, path: &str, proc: &Value) {
    same(event, path, proc, "a path");
}

/// Whether the executed file was a script: its program found an interpreter's path in front of the arguments.
#[must_use]
pub fn is_script(told: &Value) -> bool {
    let len = |value: &Value| value.as_array().map_or(0, Vec::len);
    let (own, meant) = (at(told, "/argv"), at(told, "/intended/argv"));
    len(own) > len(meant).max(1)
}

/// An exec that failed, against what its caller meant.
fn failed(event: &Value, told: &Value) {
    let context = "a failed exec";
    let is = |path: &str, expected: &Value| same(event, path, expected, context);
    let meant = at(told, "/intended");
    is("/process/tgid", at(told, "/pid"));
    is("/process/tid", at(told, "/tid"));
    is("/process/exe", at(meant, "/previous_exe"));
    is("/exec/ret", at(told, "/ret"));
    is("/exec/errno", at(told, "/errno"));
    is("/exec/execveat", at(meant, "/at"));
    is("/exec/args_trust", &json!("user-racy"));
    is_path(event, "/exec/cwd", at(meant, "/cwd"));
    let argv = at(meant, "/argv");
    if argv.is_null() {
        // Bad addresses: nothing can be read, and that must be said.
        assert_ne!(
            at(event, "/exec/argv_complete"),
            &json!(true),
            "{context}: unreadable arguments told as complete: {}",
            cut(event)
        );
    } else if at(event, "/exec/argv_complete") == &json!(true) {
        is("/exec/argv", argv);
        is("/exec/argc", &json!(argv.as_array().map_or(0, Vec::len)));
    } else {
        // Too long for what a program may read: what is there must be the beginning.
        assert!(
            bytes(argv) > SHORT,
            "{context}: {} bytes of arguments were cut: {}",
            bytes(argv),
            cut(event)
        );
        begins(at(event, "/exec/argv"), argv, event);
    }
    // execveat's kernel-side name is made from descriptor and path; the caller gave the path.
    let filename = at(meant, "/filename");
    if at(meant, "/at") == &json!(false) && (!filename.is_null() || argv == &json!([])) {
        is("/exec/filename", filename);
    }
}

/// Arguments up to this many bytes must be complete also when a call fails.
const SHORT: usize = 1024;

fn bytes(argv: &Value) -> usize {
    argv.as_array().into_iter().flatten().map(|argument| argument.as_str().map_or(0, str::len) + 1).sum()
}

/// Every argument is the truth's, the last one perhaps cut.
fn begins(part: &Value, whole: &Value, event: &Value) {
    let (part, whole) =
        (part.as_array().cloned().unwrap_or_default(), whole.as_array().cloned().unwrap_or_default());
    assert!(part.len() <= whole.len(), "more arguments than there were: {}", cut(event));
    for (index, (got, expected)) in part.iter().zip(&whole).enumerate() {
        let last = index + 1 == part.len();
        let fits = got == expected
            || last
                && got
                    .as_str()
                    .zip(expected.as_str())
                    .is_some_and(|(got, expected)| expected.starts_with(got));
        assert!(fits, "argument {index} is {} and not {}", cut(got), cut(expected));
    }
}

/// An event as often as it stands for calls.
fn repeats(event: &Value) -> u64 {
    at(event, "/repeats/count").as_u64().unwrap_or(1)
}

/// Every prctl of every thread, in order.
pub fn prctls(capture: &Capture) {
    let mut events: BTreeMap<(u64, u64), Vec<Value>> = BTreeMap::new();
    let pids = capture.truth.pids();
    let storms: Vec<_> =
        capture.truth.storms.iter().map(|storm| (number(storm, "pid"), number(storm, "option"))).collect();
    for event in capture.kind("prctl") {
        let thread = (
            at(event, "/process/tgid").as_u64().unwrap_or(0),
            at(event, "/process/tid").as_u64().unwrap_or(0),
        );
        let stormy = storms.contains(&(thread.0, at(event, "/prctl/option").as_u64().unwrap_or(0)));
        if pids.contains(&thread.0) && !stormy {
            for _ in 0..repeats(event) {
                events.entry(thread).or_default().push(event.clone());
            }
        }
    }
    assert_eq!(
        counts(&events),
        counts(&capture.truth.prctls),
        "prctl calls by process and thread, events against truth"
    );
    for (thread, told) in &capture.truth.prctls {
        for (event, told) in events.remove(thread).unwrap_or_default().iter().zip(told) {
            for name in ["option", "name", "args", "ret", "errno"] {
                same(event, &format!("/prctl/{name}"), at(told, &format!("/{name}")), "a prctl");
            }
        }
    }
}

fn counts(calls: &BTreeMap<(u64, u64), Vec<Value>>) -> BTreeMap<(u64, u64), usize> {
    calls.iter().map(|(thread, calls)| (*thread, calls.len())).collect()
}

/// Every ptrace call of every thread, in order: request, arguments, result, target.
pub fn ptraces(capture: &Capture) {
    let mut events: BTreeMap<(u64, u64), Vec<Value>> = BTreeMap::new();
    let pids = capture.truth.pids();
    for event in capture.kind("ptrace") {
        let thread = (
            at(event, "/process/tgid").as_u64().unwrap_or(0),
            at(event, "/process/tid").as_u64().unwrap_or(0),
        );
        if pids.contains(&thread.0) {
            events.entry(thread).or_default().push(event.clone());
        }
    }
    assert_eq!(
        counts(&events),
        counts(&capture.truth.ptraces),
        "ptrace calls by process and thread, events against truth"
    );
    for (thread, told) in &capture.truth.ptraces {
        for (event, told) in events.remove(thread).unwrap_or_default().iter().zip(told) {
            let is = |path: &str, expected: &Value| same(event, path, expected, "a ptrace");
            for name in ["request", "name", "addr", "data", "ret", "errno"] {
                is(&format!("/ptrace/{name}"), at(told, &format!("/{name}")));
            }
            is("/ptrace/pid", at(told, "/target_pid"));
            let target = at(told, "/target");
            // Who asks to be traced names nobody.
            if at(told, "/request") == &json!(0) {
                is("/ptrace/target", &Value::Null);
            } else if at(told, "/ret").as_i64().is_some_and(|ret| ret >= 0) && !target.is_null() {
                for name in ["tgid", "tid", "uid", "comm"] {
                    is(&format!("/ptrace/target/{name}"), at(target, &format!("/{name}")));
                }
                is("/ptrace/denied_by", &Value::Null);
            }
        }
    }
}

/// Every new process and thread, exactly once.
pub fn forks(capture: &Capture) {
    let pids = capture.truth.pids();
    let mut told: Vec<_> = capture
        .truth
        .forks
        .iter()
        .map(|fork| {
            (
                number(fork, "pid"),
                number(fork, "tid"),
                number(fork, "child"),
                fork.get("thread") == Some(&json!(true)),
            )
        })
        .collect();
    let mut seen: Vec<_> = capture
        .kind("fork")
        .filter(|event| at(event, "/process/tgid").as_u64().is_some_and(|pid| pids.contains(&pid)))
        .map(|event| {
            let get = |path: &str| at(event, path).as_u64().unwrap_or(0);
            let thread = at(event, "/fork/thread") == &json!(true);
            let child = get("/fork/child/tid");
            let tgid = get("/fork/child/tgid");
            assert_eq!(tgid, if thread { get("/process/tgid") } else { child }, "{}", cut(event));
            (get("/process/tgid"), get("/process/tid"), child, thread)
        })
        .collect();
    if !capture.truth.short_lived.is_empty() {
        told.extend(capture.truth.short_lived.iter().map(|child| {
            (capture.truth.pid, capture.truth.pid, child.get(0).and_then(Value::as_u64).unwrap_or(0), false)
        }));
    }
    told.sort_unstable();
    seen.sort_unstable();
    assert!(
        told == seen,
        "forks (process, thread, child, is a thread): the truth has {} and events {}\nonly in the truth: {:?}\nonly in events: {:?}",
        told.len(),
        seen.len(),
        told.iter().filter(|fork| !seen.contains(fork)).take(20).collect::<Vec<_>>(),
        seen.iter().filter(|fork| !told.contains(fork)).take(20).collect::<Vec<_>>()
    );
}

/// Every end of a process, exactly once.
pub fn exits(capture: &Capture) {
    let pids = capture.truth.pids();
    let small = |value: &Value| value.as_u64();
    let mut told: Vec<_> = capture
        .truth
        .exits
        .iter()
        .map(|exit| {
            (
                number(exit, "pid"),
                small(at(exit, "/code")),
                small(at(exit, "/signal")),
                at(exit, "/core") == &json!(true),
            )
        })
        .collect();
    told.extend(capture.truth.short_lived.iter().map(|child| {
        (child.get(0).and_then(Value::as_u64).unwrap_or(0), child.get(2).and_then(Value::as_u64), None, false)
    }));
    let mut seen: Vec<_> = capture
        .kind("exit")
        .filter(|event| at(event, "/process/tgid").as_u64().is_some_and(|pid| pids.contains(&pid)))
        .map(|event| {
            (
                at(event, "/process/tgid").as_u64().unwrap_or(0),
                small(at(event, "/exit/code")),
                small(at(event, "/exit/signal")),
                at(event, "/exit/core_dumped") == &json!(true),
            )
        })
        .collect();
    told.sort_unstable();
    seen.sort_unstable();
    assert!(
        told == seen,
        "ends of processes (process, code, signal, core): the truth has {} and events {}\nonly in the truth: {:?}\nonly in events: {:?}",
        told.len(),
        seen.len(),
        told.iter().filter(|exit| !seen.contains(exit)).take(20).collect::<Vec<_>>(),
        seen.iter().filter(|exit| !told.contains(exit)).take(20).collect::<Vec<_>>()
    );
}

/// The storms: the sum over events is the workload's own count.
pub fn storms(capture: &Capture) -> Vec<(u64, u64)> {
    capture
        .truth
        .storms
        .iter()
        .map(|storm| {
            let stored = capture
                .by("prctl", number(storm, "pid"))
                .filter(|event| at(event, "/prctl/option") == at(storm, "/option"))
                .map(|event| {
                    same(event, "/prctl/ret", at(storm, "/ret"), "a storm");
                    repeats(event)
                })
                .sum();
            (number(storm, "count"), stored)
        })
        .collect()
}

/// The only execs of the truth that meet a condition, for tests of one field.
pub fn find(truth: &Truth, mut wanted: impl FnMut(&Value) -> bool) -> &Value {
    let found: Vec<_> = truth.execs.values().flatten().filter(|exec| wanted(exec)).collect();
    match found.as_slice() {
        [one] => one,
        other => panic!("{} execs meet the condition", other.len()),
    }
}

/// Every call whose refusal the truth blames on somebody, with its event.
#[must_use]
pub fn blamed(capture: &Capture) -> Vec<(&Value, &Value)> {
    let mut pairs = Vec::new();
    for ((pid, tid), told) in &capture.truth.ptraces {
        let events: Vec<&Value> =
            capture.by("ptrace", *pid).filter(|event| at(event, "/process/tid") == *tid).collect();
        assert_eq!(events.len(), told.len());
        pairs.extend(events.into_iter().zip(told).filter(|(_, told)| !told["refused_by"].is_null()));
    }
    assert!(!pairs.is_empty(), "the case was refused nowhere");
    pairs
}

/// Where the checks are observed each refusal is blamed on the right one; where not it says that it does not
/// know, and why. A seccomp filter shows in any case: the kernel never enters the call.
pub fn attributed(capture: &Capture) {
    let observed = capture.sees_checks();
    for (event, told) in blamed(capture) {
        let (by, detail) = (at(event, "/ptrace/denied_by"), at(event, "/ptrace/denied_detail"));
        assert!(
            detail.as_str().is_some_and(|detail| !detail.is_empty()),
            "a refusal without a reason: {}",
            cut(event)
        );
        let truth = &told["refused_by"];
        if observed || truth == "seccomp" {
            // The kernel's checks do not tell an ending task from one that is traced.
            let accepted: &[&str] = match truth.as_str().unwrap_or_default() {
                "ended" => &["already_traced", "unknown"],
                other => &[other],
            };
            assert!(
                accepted.iter().any(|accepted| by == accepted),
                "refused by {truth}, told as {by} ({detail})\nin {}\ntruth {told}",
                cut(event)
            );
        } else {
            assert_eq!(by, "unknown", "nothing was observed, so nothing can be blamed: {}", cut(event));
        }
    }
}
