//! execve and execveat on a running kernel: every hard case, events against the truth field by field.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use goaudit_tests::capture::{Capture, Shared};
use goaudit_tests::compare::{self, at, cut, find, is_script, same};
use goaudit_tests::needs;
use serde_json::{Value, json};

/// Every case of this file, in one recording.
static CASES: Shared = Shared::new(&[
    "exec-plain",
    "exec-binary-junk",
    "exec-empty-strings",
    "exec-directory",
    "exec-user",
    "exec-thread",
    "exec-vfork",
    "exec-posix-spawn",
    "exec-fd",
    "exec-dirfd",
    "exec-symlink",
    "exec-set-uid",
    "exec-long-argument",
    "exec-two-mebibytes",
    "exec-many-arguments",
    "exec-failures",
    "namespaces",
    "tree",
    "exec-empty-argv",
    "exec-shebang",
    "exec-environment",
    "exec-deleted",
    "exec-memfd",
    "exec-phantom",
    "exec-beyond-limit",
]);

/// A case, recorded without loss; everything that happened is compared.
fn recorded(case: &str) -> Capture {
    let capture = CASES.case(case);
    capture.assert_sound();
    compare::everything(&capture);
    capture
}

/// A test that needs no more than the comparison.
macro_rules! cases {
    ($($(#[$doc:meta])* $test:ident: $case:literal,)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $test() {
                needs!(Root, Bpf, Btf);
                let capture = recorded($case);
                let _ = capture.truth.skipped(stringify!($test));
            }
        )*
    };
}

cases! {
    plain_arguments: "exec-plain",
    arguments_of_every_byte: "exec-binary-junk",
    empty_strings_among_the_arguments: "exec-empty-strings",
    directories_odd_and_removed: "exec-directory",
    other_users: "exec-user",
    a_thread_that_is_not_the_leader: "exec-thread",
    vfork: "exec-vfork",
    posix_spawn: "exec-posix-spawn",
    by_descriptor: "exec-fd",
    by_directory_descriptor: "exec-dirfd",
    a_symbolic_link: "exec-symlink",
    a_set_uid_binary: "exec-set-uid",
    an_argument_of_128_kibibytes: "exec-long-argument",
    two_mebibytes_in_all: "exec-two-mebibytes",
    twenty_thousand_arguments: "exec-many-arguments",
    every_way_to_fail: "exec-failures",
    namespaces: "namespaces",
    three_generations: "tree",
}

#[test]
fn an_empty_argv_is_told_as_the_kernel_made_it() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-empty-argv");
    let told = find(&capture.truth, |exec| exec.pointer("/intended/argv") == Some(&json!([])));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    // 5.18 and later make it one empty string; before, there is none.
    assert!([json!([]), json!([""])].contains(at(event, "/exec/argv")), "{event}");
    same(event, "/exec/args_changed", &json!(false), "an empty argv");
}

#[test]
fn scripts_with_their_interpreters() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-shebang");
    let scripts = capture
        .truth
        .execs
        .values()
        .flatten()
        .filter(|exec| !exec["intended"].is_null() && is_script(exec))
        .count();
    assert_eq!(scripts, 5, "the case executes five scripts");
}

#[test]
fn only_the_asked_environment_is_recorded() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-environment");
    let env = |argument: &str| {
        let told = find(&capture.truth, |exec| exec["argv"] == json!([argument]));
        at(capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap(), "/exec/env").clone()
    };
    assert_eq!(env("with"), json!({"GODEBUG": "madvdontneed=1", "LD_LIBRARY_PATH": "/nowhere"}));
    assert_eq!(env("without"), json!({}));
    // The first of two is what getenv finds; a value that is not UTF-8 keeps its bytes.
    assert_eq!(env("twice"), json!({"GODEBUG": "first", "LD_PRELOAD": {"b64": "//4="}}));
    let whole = String::from_utf8_lossy(&capture.live).into_owned();
    assert!(!whole.contains("do not record"), "a variable that was not asked for is in the log");
}

#[test]
fn the_environment_on_request() {
    needs!(Root, Bpf, Btf);
    let capture = Capture::with(&["--env", "SECRET,EMPTY,NOEQUALS"], &["exec-environment"]);
    capture.assert_sound();
    let told = find(&capture.truth, |exec| exec["argv"] == json!(["with"]));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    // A string without `=` is a name without a value.
    let expected = json!({"SECRET": "do not record", "EMPTY": "", "NOEQUALS": ""});
    same(event, "/exec/env", &expected, "--env");
    let capture = Capture::with(&["--env", "*"], &["exec-environment"]);
    let told = find(&capture.truth, |exec| exec["argv"] == json!(["without"]));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    same(event, "/exec/env", &json!({"GOAUDIT_HARDCASE_ROLE": "report"}), "--env '*'");
}

#[test]
fn a_deleted_binary_keeps_its_name() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-deleted");
    let told = find(&capture.truth, |exec| exec["argv"] == json!(["deleted"]));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    assert!(at(event, "/process/exe").as_str().unwrap().ends_with("/deleted (deleted)"), "{}", cut(event));
}

#[test]
fn a_binary_that_is_only_in_memory() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-memfd");
    let told = find(&capture.truth, |exec| exec["argv"] == json!(["from", "memory"]));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    same(event, "/process/exe", &json!("/memfd:in-memory (deleted)"), "a memfd");
}

#[test]
fn more_than_is_kept_is_cut_with_its_length_stated() {
    needs!(Root, Bpf, Btf);
    let capture = CASES.case("exec-beyond-limit");
    capture.assert_sound();
    let told = find(&capture.truth, |exec| exec["argc"] == json!(40));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    for (path, name) in [("/exec/argc", "argc"), ("/exec/argv_bytes", "argv_bytes"), ("/exec/envc", "envc")] {
        same(event, path, &told[name], "5 MiB of arguments");
    }
    let (kept, all) = (at(event, "/exec/argv").as_array().unwrap(), told["argv"].as_array().unwrap());
    if at(event, "/exec/argv_complete") == &json!(true) {
        assert!(kept == all, "told as complete and is not");
        return;
    }
    let reasons = at(event, "/missing").as_array().unwrap();
    assert!(reasons.iter().any(|missing| missing["field"] == "exec.argv"), "{}", compare::cut(event));
    let bytes: usize = kept.iter().map(|argument| argument.as_str().unwrap().len() + 1).sum();
    assert!(bytes >= 2 << 20, "only {bytes} bytes were kept");
    for (index, argument) in kept.iter().enumerate() {
        let (got, expected) = (argument.as_str().unwrap(), all[index].as_str().unwrap());
        let last = index + 1 == kept.len();
        assert!(got == expected || last && expected.starts_with(got), "argument {index} differs");
    }
}

#[test]
fn arguments_that_change_during_the_call_are_told_with_both_views() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-phantom");
    if capture.truth.skipped("arguments_that_change_during_the_call_are_told_with_both_views") {
        return;
    }
    let told = find(&capture.truth, |exec| exec["argv"] == json!(["phantom", "malicious-command"]));
    let event = capture.by("exec", told["pid"].as_u64().unwrap()).next().unwrap();
    same(event, "/exec/args_changed", &json!(true), "a phantom exec");
    same(event, "/exec/argv", &json!(["phantom", "malicious-command"]), "a phantom exec");
    same(event, "/exec/entry_argv", &json!(["phantom", "innocent-argument"]), "a phantom exec");
    let changed: Vec<&Value> =
        capture.kind("exec").filter(|event| at(event, "/exec/args_changed") == &json!(true)).collect();
    assert_eq!(changed.len(), 1, "only one call was raced: {changed:?}");
}

#[test]
fn failures_by_their_errno() {
    needs!(Root, Bpf, Btf);
    let capture = recorded("exec-failures");
    let mut errnos: Vec<&str> =
        capture.kind("exec").filter_map(|event| at(event, "/exec/errno").as_str()).collect();
    errnos.sort_unstable();
    errnos.dedup();
    for expected in [
        "E2BIG",
        "EACCES",
        "EBADF",
        "EFAULT",
        "EINVAL",
        "ELOOP",
        "ENAMETOOLONG",
        "ENOENT",
        "ENOEXEC",
        "ENOTDIR",
    ] {
        assert!(errnos.contains(&expected), "no exec failed with {expected}; there are {errnos:?}");
    }
}
