//! `goaudit trace`: calls of functions that no profile names, against what the program counted; and `doctor` and
//! `inspect --calibrate`, which try Go probing on goaudit's own code.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use goaudit_tests::ability::tell_skip;
use goaudit_tests::capture::{lines, replay, until};
use goaudit_tests::go_fixture::{self, Build};
use goaudit_tests::go_service::{Service, Truth};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// The stripped `runtime-cases` of the newest Go version; none, telling so, where it or Go probing is not to be had.
fn program() -> Option<PathBuf> {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let go = &doctor()["go"];
    if go["ok"] != true {
        tell_skip(&test, "Go probing", go["error"].as_str().unwrap_or_default());
        return None;
    }
    let newest = go_fixture::versions().pop().unwrap_or_default();
    match go_fixture::toolchain(&newest) {
        Ok(toolchain) => {
            Some(toolchain.build(&Build::of("runtime-cases").flags(&["-ldflags=-s -w"])).unwrap())
        }
        Err(why) => {
            tell_skip(&test, &format!("go toolchain {newest}"), &why);
            None
        }
    }
}

fn doctor() -> Value {
    let told = goaudit().args(["doctor", "--json"]).output().unwrap();
    serde_json::from_slice(&told.stdout).unwrap()
}

fn trace(folder: &LogDir, arguments: &[&str]) -> Command {
    let mut command = goaudit();
    command.arg("trace").arg("-w").arg(folder.join("log")).args(arguments);
    command
}

fn calls(folder: &LogDir) -> Vec<Value> {
    let told = lines(&replay(&folder.join("log"), &["--only", "go"]));
    told.into_iter().filter(|event| event["kind"] == "go_call").collect()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Number of the table's line of a function.
fn in_table(table: &str, function: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.starts_with(&format!("{function} ")))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_command_is_traced_from_its_first_call_with_arguments_and_results() {
    needs!(Root, Bpf);
    let Some(program) = program() else { return };
    let folder = LogDir::new();
    let signature = "func(n int, s string) (done int, err error)";
    let output =
        trace(&folder, &["main.work", "--signature", signature, "--field", "n=n", "--field", "text=s"])
            .args(["--field", "done=done", "-o", "compact", "--"])
            .arg(&program)
            .args(["-now", "-case", "recursion", "-calls", "3", "-goroutines", "1"])
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    let entered = shown.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["entered"].as_u64()
    });
    let entered = entered.unwrap();
    let calls = calls(&folder);
    assert_eq!(calls.len() as u64, entered);
    assert_eq!(in_table(&shown, "main.work"), Some(entered), "{shown}");
    for call in &calls {
        let call = &call["go_call"];
        assert_eq!(call["outcome"], "returned");
        assert!(call["latency_ns"].as_u64().is_some_and(|ns| ns > 0), "{call}");
        let field = |name: &str| call["fields"][name].clone();
        // What the function does with no work left: it returns 1, and each level above one more.
        assert_eq!(field("done").as_i64(), field("n").as_i64().map(|n| n + 1), "{call}");
        assert_eq!(field("text"), "");
    }
}

#[test]
fn a_running_process_is_traced_until_it_ends() {
    needs!(Root, Bpf);
    let Some(program) = program() else { return };
    let folder = LogDir::new();
    let mut service =
        Service::start(&program, &["-case", "recursion", "-calls", "4", "-goroutines", "2"]).unwrap();
    let pid = service.pid().to_string();
    let tracer = trace(&folder, &["main.work", "main.guard", "-p", &pid, "-o", "none"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the probes of the process", || {
        // Refused until the log has begun.
        let told = goaudit().args(["replay", "-o", "json"]).arg(folder.join("log")).output().unwrap();
        lines(&told.stdout).iter().any(|event| {
            event["control"]["program"] == "trace.main.work" && event["control"]["attached"] == true
        })
    });
    let Truth { functions, .. } = service.work().unwrap();
    assert!(service.end().unwrap());
    let output = tracer.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("the process ended"), "{}", told(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(in_table(&table, "main.work"), functions.get("main.work").copied(), "{table}");
    assert_eq!(in_table(&table, "main.guard"), None, "it was not called: {table}");
}

#[test]
fn what_cannot_be_traced_is_told_and_no_log_is_begun() {
    needs!(Root, Bpf);
    let Some(program) = program() else { return };
    let folder = LogDir::new();
    let program = program.to_str().unwrap();
    for (arguments, code, reason) in [
        (&["main.tiny", "--", program, "-now"][..], 4, "inlined every call"),
        (&["main.worc", "--", program, "-now"], 4, "nearest: main.work"),
        (&["runtime.mallocgc", "--", program, "-now"], 4, "belongs to the Go runtime"),
        (&["main.work", "main.tiny", "--", program, "-now"], 4, "nothing was attached"),
        (&["main.work", "--", "/bin/true"], 1, "not built by the Go compiler"),
        (&["main.work", "--", "/nonexistent"], 1, "No such file"),
        (&["main.work", "-p", "4000000"], 1, "no process has the number"),
    ] {
        let output = trace(&folder, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(reason), "{arguments:?}: {}", told(&output));
        assert!(!folder.join("log").exists(), "{arguments:?}: a log was begun");
    }
}

#[test]
fn costs_are_measured_on_our_own_code() {
    needs!(Root, Bpf);
    let Some(program) = program() else { return };
    let go = &doctor()["go"];
    assert_eq!(go["error"], Value::Null);
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    assert!(go["emulated_ns"].as_u64().is_some_and(|ns| ns > 0), "{go}");
    let output = goaudit()
        .args(["inspect", "--json", "--calibrate", "--function", "main.work"])
        .arg(&program)
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cost = |name: &str| view["costs"][name].as_u64().unwrap();
    // Entered at `push`, which is emulated, left at `ret`, which is not.
    let predicted = view["probes"][0]["predicted_ns_per_call"].as_u64();
    // Both hits make a record; what values cost is told apart.
    let sites = cost("emulated_ns") + cost("stepped_ns");
    assert_eq!(predicted, Some(sites + 2 * cost("record_ns")), "{view}");
    assert!(cost("record_ns") > 0 && cost("value_ns") > 0, "{view}");
}
