//! strace as an independent witness: the same run, seen by strace and by goaudit, call by call.
#![expect(clippy::print_stdout, reason = "a failed unwrap, index or panic is a failed test")]

use std::collections::BTreeMap;

use goaudit_tests::capture::{self, Capture};
use goaudit_tests::compare::at;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_tests::strace::{self, Call, Outcome};

/// What both must agree on.
fn comparable(call: Call, other: &Call) -> Call {
    match (call, other) {
        (Call::Exec { argv, path, at, result }, Call::Exec { argv: seen, path: seen_path, .. }) => {
            Call::Exec {
                // What one of them could not read cannot be compared; the truth says what there was.
                argv: argv.filter(|_| seen.is_some()).map(normal),
                // The kernel names a file of execveat after its descriptor.
                path: path.filter(|_| !at && seen_path.is_some()),
                at,
                result,
            }
        }
        (call, _) => call,
    }
}

/// Since 5.18 an empty argv is one empty string after the call, and none before it.
fn normal(argv: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if argv.is_empty() { vec![Vec::new()] } else { argv }
}

/// Runs a case below strace below goaudit; all calls of all its threads must be the same.
fn agree(words: &[&str]) {
    let folder = LogDir::new();
    let output = folder.join("strace");
    let command = strace::below(&output, capture::case(&folder, words));
    let capture = Capture::command(folder, &["--only", "exec,prctl,ptrace,control"], &command);
    capture.assert_sound();
    let witness = strace::read(&output);
    let mut events: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    for event in &capture.events {
        let Some(tid) = at(event, "/process/tid").as_u64().filter(|tid| witness.contains_key(tid)) else {
            continue;
        };
        for _ in 0..at(event, "/repeats/count").as_u64().unwrap_or(1) {
            events.entry(tid).or_default().extend(strace::of_event(event));
        }
    }
    let mut compared = 0;
    for (tid, seen) in &witness {
        // A call that ends its process has no result for strace (and none for the kernel).
        let told = events.remove(tid).unwrap_or_default();
        assert_eq!(
            told.len(),
            seen.len(),
            "thread {tid}: goaudit has {} calls and strace {}:\n{told:?}\n{seen:?}",
            told.len(),
            seen.len()
        );
        for (told, seen) in told.into_iter().zip(seen) {
            let expected = comparable(seen.clone(), &told);
            let got = comparable(told, seen);
            assert!(got == expected, "thread {tid}: goaudit\n  {got:?}\nstrace\n  {expected:?}");
            compared += 1;
        }
    }
    // The case itself is executed, at least.
    assert!(compared > 0, "strace saw nothing");
    let failed = witness.values().flatten().filter(|call| {
        matches!(
            call,
            Call::Exec { result: Outcome::Error(_), .. } | Call::Raw { result: Outcome::Error(_), .. }
        )
    });
    println!("{}: {compared} calls agree, {} of them failed", words.join(" "), failed.count());
}

macro_rules! witnessed {
    ($($test:ident: $case:literal,)*) => {
        $(
            #[test]
            fn $test() {
                needs!(Root, Bpf, Btf, Strace);
                agree(&[$case]);
            }
        )*
    };
}

witnessed! {
    exec_plain: "exec-plain",
    exec_binary_junk: "exec-binary-junk",
    exec_empty_argv: "exec-empty-argv",
    exec_empty_strings: "exec-empty-strings",
    exec_thread: "exec-thread",
    exec_vfork: "exec-vfork",
    exec_fd: "exec-fd",
    exec_dirfd: "exec-dirfd",
    exec_long_argument: "exec-long-argument",
    exec_two_mebibytes: "exec-two-mebibytes",
    exec_failures: "exec-failures",
    prctl_table: "prctl-table",
    prctl_unprivileged: "prctl-unprivileged",
    prctl_name: "prctl-name",
    prctl_values: "prctl-values",
    prctl_seccomp_filter: "prctl-seccomp-filter",
    prctl_mm: "prctl-mm",
    ptrace_errors: "ptrace-errors",
}

/// Everything that a process tree does, in one go.
#[test]
fn a_tree_of_processes() {
    needs!(Root, Bpf, Btf, Strace);
    agree(&["tree"]);
}
