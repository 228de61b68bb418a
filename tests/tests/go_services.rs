//! The Go services that other tests probe: that they do what they say, and that the plan for the functions that they
//! count is what docs/go-profiles.md says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use goaudit_tests::go_fixture::each_version;
use goaudit_tests::go_service::{KINDS, Service};
use goaudit_user::golang::{Program, Verdict, Wanted};
use serde_json::Value;

/// The compiler may inline every call of these.
const INLINED: &str = "main.tiny";

#[test]
fn services_tell_a_truth_that_adds_up() {
    each_version("services_tell_a_truth_that_adds_up", |toolchain| {
        for kind in KINDS.iter().filter(|kind| kind.wanted(toolchain.minor())) {
            let program = toolchain.build(&kind.build()).unwrap();
            // 156 requests are all that there are.
            let mut service = Service::start(&program, &["-calls", "156", "-goroutines", "2"]).unwrap();
            let truth = service.work().unwrap();
            assert!(service.end().unwrap());
            let name = program.display();
            let mut counted: BTreeMap<String, u64> = BTreeMap::new();
            for call in &truth.calls {
                if let Some(functions) = call.get("functions").and_then(Value::as_array) {
                    for function in functions {
                        *counted.entry(function.as_str().unwrap().to_owned()).or_default() += 1;
                    }
                    assert!(call.get("latency_ns").and_then(Value::as_i64).unwrap() > 0, "{name}: {call}");
                    assert!(call.get("goid").and_then(Value::as_u64).unwrap() > 0, "{name}: {call}");
                } else {
                    let number = |key: &str| call.get(key).and_then(Value::as_u64).unwrap();
                    let ended = ["returned", "panicked", "goexit", "crashed"].map(number).iter().sum::<u64>();
                    assert_eq!(number("entered"), ended, "{name}: {call}");
                    *counted
                        .entry(call.get("function").unwrap().as_str().unwrap().to_owned())
                        .or_default() += number("entered");
                }
            }
            assert_eq!(counted, truth.functions, "{name}");
            if kind.fixture != "runtime-cases" {
                // Allowed, denied and failed calls are all among them.
                let decisions: BTreeSet<_> =
                    truth.calls.iter().map(|call| call.get("allow").unwrap().to_string()).collect();
                assert!(decisions.contains("true") && decisions.contains("false"), "{name}: {decisions:?}");
                let failed = |call: &&Value| call.get("error").is_some() || call.get("panicked").is_some();
                assert!(truth.calls.iter().any(|call| failed(&call)), "{name}");
                let longest =
                    truth.calls.iter().map(|call| call.get("subject").unwrap().as_str().unwrap().len()).max();
                assert_eq!(longest, Some(300), "{name}");
            }
        }
    });
}

#[test]
fn every_counted_function_can_be_probed_in_stripped_services() {
    each_version("every_counted_function_can_be_probed_in_stripped_services", |toolchain| {
        for kind in KINDS.iter().filter(|kind| kind.wanted(toolchain.minor())) {
            let flags = [kind.flags, &["-ldflags=-s -w"]].concat();
            let path = toolchain.build(&kind.build().flags(&flags)).unwrap();
            let mut service = Service::start(&path, &["-quiet"]).unwrap();
            let truth = service.work().unwrap();
            assert!(service.end().unwrap());
            let data = fs::read(&path).unwrap();
            let program = Program::parse(&data).unwrap();
            for function in truth.functions.keys() {
                let probes = program.plan(&[Wanted::new(function)], None);
                for probe in &probes {
                    let fits = match &probe.verdict {
                        Verdict::Present => function != INLINED,
                        Verdict::InlinedOnly => function == INLINED,
                        Verdict::InlinedAt | Verdict::Absent | Verdict::Refused => false,
                    };
                    assert!(fits, "{}: {function}: {}", path.display(), probe.reason);
                }
                assert!(!probes.is_empty());
            }
        }
    });
}
