//! Quantiles of `goaudit hist` beside those of the services' own clocks. Services decide within microseconds when they
//! have a dozen policies; these have thousands, and so take what large services take.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use goaudit_tests::go_capture::{GoRecording, count, log_of, text};
use goaudit_tests::go_cases;
use goaudit_tests::go_fixture::{Build, newest_version};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// The quantiles: their names, and how many of a hundred calls take no longer.
const QUANTILES: [(&str, usize); 3] = [("p50_ns", 50), ("p90_ns", 90), ("p99_ns", 99)];

/// Compares the quantiles of every function with those of `measured`, which are the program's own figures.
fn assert_quantiles(name: &str, recording: &GoRecording, mut measured: BTreeMap<String, Vec<u64>>) {
    let output = goaudit()
        .args(["hist", "--by", "function", "--json"])
        .arg(log_of(&recording.folder))
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["groups"].as_array().unwrap().len(), measured.len(), "{name}: {told}");
    for group in told["groups"].as_array().unwrap() {
        let function = text(group, "/key/function");
        let measured = measured.get_mut(function).unwrap();
        measured.sort_unstable();
        assert_eq!(count(group, "/count"), measured.len() as u64, "{name}: {group}");
        for (quantile, percent) in QUANTILES {
            let (told, rank) =
                (count(group, &format!("/{quantile}")), (measured.len() * percent).div_ceil(100) - 1);
            println!("{name} {function}: {quantile} {told}, by the program's own clock {}", measured[rank]);
            // A call that something else interrupts between the two clocks is longer for one of them only. It trades
            // places with others: one such call is put up with.
            let (least, most) = (measured[rank.saturating_sub(1)], measured[rank + 1]);
            assert!(
                least - least / 100 <= told && told <= most + most / 100,
                "{quantile}: {told}, {least} to {most}"
            );
        }
    }
}

/// Times of a service's decisions, by the function that decided: the outermost one.
fn measured(recording: &GoRecording) -> BTreeMap<String, Vec<u64>> {
    let mut measured: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for call in &recording.truth().calls {
        measured.entry(text(call, "/functions/0").to_owned()).or_default().push(count(call, "/latency_ns"));
    }
    measured
}

/// A service with so many policies that one call takes milliseconds.
fn decisions_of(test: &str, fixture: &str, options: &[&str]) {
    needs!(Root, Bpf, GoUprobes);
    newest_version(test, |toolchain| {
        let program = toolchain.build(&Build::of(fixture).flags(&["-ldflags=-s -w"])).unwrap();
        let arguments = [&["-now", "-calls", "300", "-goroutines", "1"], options].concat();
        let recording = GoRecording::of(&[], &program, &arguments);
        recording.assert_sound();
        assert_quantiles(&format!("go {} {fixture}", toolchain.version()), &recording, measured(&recording));
    });
}

#[test]
fn casbin() {
    decisions_of(
        "casbin",
        "authz-casbin",
        &["-library", "v3", "-via", "Enforcer.Enforce", "-policies", "20000"],
    );
}

#[test]
fn opa() {
    decisions_of("opa", "authz-opa", &["-policies", "20000"]);
}

#[test]
fn kubernetes() {
    decisions_of("kubernetes", "authz-k8s", &["-policies", "400000"]);
}

#[test]
fn cedar() {
    decisions_of("cedar", "authz-cedar", &["-policies", "50000"]);
}

#[test]
fn a_function_of_its_own() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("a_function_of_its_own", |toolchain| {
        let program = toolchain.build(&Build::of("runtime-cases").flags(&["-ldflags=-s -w"])).unwrap();
        let folder = LogDir::new();
        let profile = go_cases::profile(&folder);
        let arguments = ["-now", "-case", "spread", "-calls", "400"];
        let recording = GoRecording::of(&["--profile", &profile], &program, &arguments);
        recording.assert_sound();
        let case = &recording.truth().calls[0];
        // Measured from within by the program, from just outside by the probes.
        let latencies = case["latencies_ns"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        let measured = BTreeMap::from([(text(case, "/function").to_owned(), latencies)]);
        assert_quantiles(&format!("go {}", toolchain.version()), &recording, measured);
    });
}
