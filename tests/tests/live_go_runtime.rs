//! Everything that makes entries and returns hard to pair: recursion, panics, `Goexit`, stacks that move, goroutines
//! that change threads, very many goroutines. The program counts what really happened.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::fs;

use goaudit_tests::go_capture::{GoRecording, count, text};
use goaudit_tests::go_cases::{self, Endings};
use goaudit_tests::go_fixture::{Build, Toolchain, each_version, newest_version};
use goaudit_tests::go_service::Truth;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

/// Records `runtime-cases` with these arguments.
fn record(toolchain: &Toolchain, arguments: &[&str]) -> GoRecording {
    let program = toolchain.build(&Build::of("runtime-cases").flags(&["-ldflags=-s -w"])).unwrap();
    let folder = LogDir::new();
    let profile = go_cases::profile(&folder);
    let arguments = [&["-now"], arguments].concat();
    GoRecording::of(&["--profile", &profile], &program, &arguments)
}

/// How often each function ended in each way, as the program says.
fn truth(recording: &GoRecording) -> Endings {
    go_cases::truth(&recording.truth())
}

/// The same, as the events say.
fn told(recording: &GoRecording) -> Endings {
    go_cases::told(recording.calls())
}

/// The open calls of goroutines nest: whatever lies in a call began later, ended earlier, and is deeper.
fn assert_nested(recording: &GoRecording) {
    let mut goroutines: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for call in recording.calls() {
        goroutines.entry(count(call, "/goid")).or_default().push(call);
    }
    for calls in goroutines.values_mut() {
        calls.sort_by_key(|call| count(call, "/start_ktime_ns"));
        let mut open: Vec<&Value> = Vec::new();
        for call in calls {
            let (start, end) = (count(call, "/start_ktime_ns"), count(call, "/end_ktime_ns"));
            assert!(start <= end, "{call}");
            assert_eq!(count(call, "/latency_ns"), end - start, "{call}");
            while open.last().is_some_and(|outer| count(outer, "/end_ktime_ns") < start) {
                open.pop();
            }
            if let Some(outer) = open.last() {
                assert!(count(outer, "/end_ktime_ns") >= end, "{outer}\n{call}");
                assert!(count(outer, "/depth") < count(call, "/depth"), "{outer}\n{call}");
            }
            open.push(call);
        }
    }
}

/// The kernel side counted every probe's entries and returns as they were.
fn assert_counted(recording: &GoRecording) {
    let oddities = recording.oddities();
    let truth = truth(recording);
    let counted = |what: &str, probe: &str| oddities.get(&format!("probe_{what}:{probe}")).copied();
    for (function, probe) in
        [("main.work", "cases.work"), ("main.guard", "cases.guard"), ("main.sum", "cases.sum")]
    {
        let of = truth.iter().filter(|((name, _), _)| name == function);
        let entered: u64 = of.clone().map(|(_, calls)| calls).sum();
        let returned = of.filter(|((_, outcome), _)| outcome == "returned").map(|(_, calls)| calls).sum();
        let expected = (entered > 0).then_some((entered, returned));
        assert_eq!(counted("entries", probe).zip(counted("returns", probe)), expected, "{oddities:?}");
    }
    let odd = oddities.keys().find(|name| name.starts_with("probe_implausible"));
    assert!(odd.is_none(), "{oddities:?}");
}

/// What makes cases hard did happen: with 8 calls each of 4 goroutines, one of them locked to its thread.
fn assert_hard(truth: &Truth) {
    let of = |case: &str, figure: &str| {
        let lines = truth.calls.iter().filter(|line| text(line, "/case") == case);
        let figures = lines.filter_map(|line| line.pointer(figure)?.as_u64()).collect::<Vec<_>>();
        figures.first().copied().unwrap_or_default()
    };
    assert!(of("stack-growth", "/moved") > 0, "no stack grew");
    assert_eq!(of("stack-shrink", "/moved"), 8 * 4, "stacks that became smaller");
    assert_eq!(of("migration", "/migrated"), 8 * 3, "goroutines that changed threads");
    assert!(of("collector", "/collections") > 0, "nothing was collected");
}

#[test]
fn every_call_ends_as_it_really_ended() {
    needs!(Root, Bpf, GoUprobes);
    each_version("every_call_ends_as_it_really_ended", |toolchain| {
        let version = toolchain.version();
        let recording = record(toolchain, &["-calls", "8"]);
        assert_eq!(recording.status.code(), Some(0), "{version}: {}", recording.told);
        assert_eq!(told(&recording), truth(&recording), "{version}: {}", recording.report());
        assert_nested(&recording);
        recording.assert_sound();
        let total: u64 = told(&recording).values().sum();
        println!("go {version}: {total} calls, each with its own end");
        assert_counted(&recording);
        assert_hard(&recording.truth());
        // Whatever became of a panic, it did not end a program that ended well.
        let fatal = recording.all("go_panic").find(|event| event["go_panic"]["fatal"] == true);
        assert!(fatal.is_none(), "{version}: {fatal:?}");
        // What is inlined everywhere is told, with what can be done.
        let tiny = recording.probes().find(|probe| text(probe, "/program") == "cases.tiny").unwrap();
        assert_eq!(tiny["attached"], false, "{tiny}");
        assert!(text(tiny, "/reason").contains("inlined"), "{tiny}");
    });
}

#[test]
fn recursion_has_a_latency_for_each_depth() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("recursion_has_a_latency_for_each_depth", |toolchain| {
        let recording = record(toolchain, &["-case", "recursion", "-calls", "5", "-goroutines", "2"]);
        recording.assert_sound();
        // 21 calls within each other, told from the innermost on.
        let calls: Vec<&Value> = recording.calls().collect();
        assert_eq!(calls.len(), 2 * 5 * 21, "{}", recording.report());
        let mut goroutines: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for call in calls {
            goroutines.entry(count(call, "/goid")).or_default().push(call);
        }
        assert_eq!(goroutines.len(), 2);
        for calls in goroutines.values() {
            for one in calls.chunks(21) {
                for (n, call) in (0u64..).zip(one) {
                    assert_eq!(count(call, "/fields/n"), n, "{call}");
                    assert_eq!(count(call, "/fields/done"), n + 1, "{call}");
                    assert_eq!(count(call, "/nested_in"), 20 - n, "{call}");
                }
                for pair in one.windows(2) {
                    assert!(count(pair[0], "/latency_ns") < count(pair[1], "/latency_ns"), "{pair:?}");
                    assert!(
                        count(pair[0], "/start_ktime_ns") > count(pair[1], "/start_ktime_ns"),
                        "{pair:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn latencies_are_those_that_the_program_measured() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("latencies_are_those_that_the_program_measured", |toolchain| {
        let recording = record(toolchain, &["-case", "timed", "-calls", "100"]);
        recording.assert_sound();
        let truth = recording.truth();
        let measured = truth.calls[0]["latencies_ns"].as_array().unwrap();
        let calls: Vec<&Value> = recording.calls().collect();
        assert_eq!(calls.len(), measured.len());
        for (call, measured) in calls.iter().zip(measured) {
            let (told, measured) = (count(call, "/latency_ns"), measured.as_u64().unwrap());
            // It sleeps for 200 us. What lies between is the probes' own time, and whatever ran instead.
            assert!((200_000..=measured).contains(&told), "{call} {measured}");
        }
        let sum = |values: &mut dyn Iterator<Item = u64>| values.sum::<u64>() / 100;
        let told = sum(&mut calls.iter().map(|call| count(call, "/latency_ns")));
        let measured = sum(&mut measured.iter().filter_map(Value::as_u64));
        println!("go {}: mean latency {told} ns, seen from outside {measured} ns", toolchain.version());
    });
}

#[test]
fn values_are_read_from_registers_and_from_the_stack() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("values_are_read_from_registers_and_from_the_stack", |toolchain| {
        let recording = record(toolchain, &["-case", "stack-arguments", "-calls", "3", "-goroutines", "1"]);
        recording.assert_sound();
        let calls: Vec<&Value> = recording.calls().collect();
        assert_eq!(calls.len(), 3, "{}", recording.report());
        for (i, call) in (0u64..).zip(calls) {
            let fields = [1, 8, i, 36 + i];
            assert_eq!(["a", "h", "i", "sum"].map(|name| count(call, &format!("/fields/{name}"))), fields);
            assert_eq!(text(call, "/fields/s"), "on the stack", "{call}");
            assert_eq!(text(call, "/fields/same"), "on the stack", "{call}");
        }
        let recording = record(toolchain, &["-case", "value-receiver", "-calls", "2", "-goroutines", "1"]);
        recording.assert_sound();
        let scaled: Vec<[u64; 3]> = recording
            .calls()
            .map(|call| ["x", "w", "by"].map(|name| count(call, &format!("/fields/{name}"))))
            .collect();
        // Each call is made directly, and then through the compiler's wrapper.
        assert_eq!(scaled, [[0, 2, 3], [1, 4, 2], [0, 2, 3], [1, 4, 2]], "{}", recording.report());
    });
}

#[test]
fn instances_of_generic_functions_have_their_own_values() {
    needs!(Root, Bpf, GoUprobes);
    // The oldest one that has them names instances in another way.
    each_version("instances_of_generic_functions_have_their_own_values", |toolchain| {
        if toolchain.minor() < 18 {
            return;
        }
        let recording = record(toolchain, &["-case", "generic", "-calls", "3", "-goroutines", "1"]);
        recording.assert_sound();
        assert_eq!(told(&recording), truth(&recording), "{}", recording.report());
        let fields = |probe: &str| -> Vec<&Value> {
            let of = recording.calls().filter(|call| text(call, "/probe") == probe);
            of.map(|call| &call["fields"]).collect()
        };
        let (sums, puts, slots) = (fields("cases.sum"), fields("cases.put"), fields("cases.slot"));
        assert_eq!((sums.len(), puts.len(), slots.len()), (9, 6, 3), "{}", recording.report());
        for call in 0..3_u64 {
            // Of integers, texts and floating-point numbers; the profile's signature is that of the first.
            let of_call = |all: &[&Value], name: &str, each: usize, nth: usize| {
                all.chunks(each).nth(usize::try_from(call).unwrap()).unwrap()[nth][name].clone()
            };
            let lengths = [0, 1, 2].map(|nth| of_call(&sums, "n", 3, nth));
            assert_eq!(lengths, [2, 2, 1], "{sums:?}");
            assert_eq!(
                (of_call(&sums, "first", 3, 0), of_call(&sums, "total", 3, 0)),
                (0.into(), call.into())
            );
            let values = [0, 1].map(|nth| (of_call(&puts, "n", 2, nth), of_call(&puts, "value", 2, nth)));
            assert_eq!(values, [(call.into(), "in".into()), (call.into(), "bytes".into())], "{puts:?}");
            let slot = ["held", "n", "value", "sum"].map(|name| of_call(&slots, name, 1, 0));
            assert_eq!(slot, [7, call, 8, call + 2], "{slots:?}");
        }
    });
}

#[test]
fn errors_are_told_and_nil_is_nil() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("errors_are_told_and_nil_is_nil", |toolchain| {
        let recording = record(toolchain, &["-case", "error", "-calls", "1", "-goroutines", "1"]);
        recording.assert_sound();
        let call = recording.calls().next().unwrap();
        assert_eq!(call["fields"]["n"], -1, "{call}");
        assert_eq!(text(call, "/fields/err"), "n is negative", "{call}");
        let recording = record(toolchain, &["-case", "plain", "-calls", "1", "-goroutines", "1"]);
        let call = recording.calls().next().unwrap();
        assert_eq!(call["fields"]["err"], Value::Null, "{call}");
    });
}

#[test]
fn recovered_panics_are_told_with_their_values() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("recovered_panics_are_told_with_their_values", |toolchain| {
        let recording = record(toolchain, &["-case", "panic-values"]);
        recording.assert_sound();
        let truth = recording.truth();
        let values = truth.calls[0]["panics"].as_array().unwrap();
        let panics: Vec<&Value> = recording.all("go_panic").collect();
        assert_eq!(panics.len(), values.len(), "{panics:?}");
        for (event, value) in panics.iter().zip(values) {
            let panic = &event["go_panic"];
            let (kind, message) = value.as_str().unwrap().split_once(": ").unwrap();
            assert_eq!(panic["recovered"], true, "{panic}");
            assert_eq!(panic["fatal"], false, "{panic}");
            // work(1), which called work(0).
            assert_eq!(panic["calls_unwound"], 2, "{panic}");
            let functions: Vec<&str> =
                panic["stack"].as_array().unwrap().iter().map(|frame| text(frame, "/function")).collect();
            assert!(functions.iter().filter(|function| **function == "main.work").count() == 2, "{panic}");
            assert_eq!(reason(event, "go_panic.stack"), "", "{event}");
            // What only the running program could say is absent, with the reason that is true of it.
            let why = match kind {
                "main.code" | "main.noted" => "one of its own",
                "main.custom" | "int" | "runtime.boundsError" => "neither a string nor an error",
                "<nil>" => "panic(nil)",
                _ => "",
            };
            assert!(reason(event, "go_panic.message").contains(why), "{event}");
            let absent = !why.is_empty();
            assert_eq!(panic["message"].as_str(), (!absent).then_some(message), "{event}");
            assert_eq!(reason(event, "go_panic.message").is_empty(), !absent, "{event}");
            let of_nil = kind == "<nil>";
            assert_eq!(panic["type"].as_str(), (!of_nil).then_some(kind), "{event}");
            assert_eq!(reason(event, "go_panic.type").contains("panic(nil)"), of_nil, "{event}");
        }
    });
}

/// Why a field of an event is missing, or not whole; empty if the event does not say so.
fn reason<'a>(event: &'a Value, field: &str) -> &'a str {
    let missing = event["missing"].as_array().unwrap();
    missing.iter().find(|missing| missing["field"] == field).map_or("", |missing| text(missing, "/reason"))
}

#[test]
fn a_stack_that_is_cut_says_so() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("a_stack_that_is_cut_says_so", |toolchain| {
        let recording = record(toolchain, &["-case", "panic-deep", "-calls", "1", "-goroutines", "1"]);
        recording.assert_sound();
        let event = recording.all("go_panic").next().unwrap();
        let stack = event["go_panic"]["stack"].as_array().unwrap();
        assert!(stack.len() >= 64 && text(&stack[63], "/function") == "main.work", "{event}");
        assert!(reason(event, "go_panic.stack").contains("innermost 64"), "{event}");
    });
}

#[test]
fn a_program_that_exits_while_it_panics_did_not_die_of_the_panic() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("a_program_that_exits_while_it_panics_did_not_die_of_the_panic", |toolchain| {
        let recording = record(toolchain, &["-case", "none", "-fatal", "exit"]);
        recording.assert_sound();
        assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
        assert_eq!(told(&recording), truth(&recording), "{}", recording.report());
        let event = recording.all("go_panic").next().unwrap();
        let panic = &event["go_panic"];
        assert_eq!((&panic["fatal"], &panic["recovered"]), (&Value::Bool(false), &Value::Bool(false)));
        assert_eq!(text(panic, "/message"), "on the way out", "{event}");
        assert!(reason(event, "go_panic.fatal").contains("status 0"), "{event}");
    });
}

#[test]
fn the_stacks_of_two_thousand_goroutines_are_told_whole() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("the_stacks_of_two_thousand_goroutines_are_told_whole", |toolchain| {
        let folder = LogDir::new();
        let file = folder.join("stderr");
        let path = file.to_str().unwrap();
        let recording = record(toolchain, &["-case", "none", "-fatal", "crowd", "-stderr", path]);
        recording.assert_sound();
        let event = recording.all("go_panic").next().unwrap();
        let (written, told) = (fs::read_to_string(&file).unwrap(), text(event, "/go_panic/traceback"));
        assert!(written.len() > 128 << 10 && written.matches("main.crowd.func1").count() >= 2000);
        assert_eq!(
            count(event, "/go_panic/traceback_lost_bytes"),
            0,
            "{}",
            reason(event, "go_panic.traceback")
        );
        assert!(told == written, "{} of {} bytes", told.len(), written.len());
        assert_eq!(reason(event, "go_panic.traceback"), "");
        println!("go {}: {} bytes of traceback are told", toolchain.version(), told.len());
    });
}

/// Goroutines and heap at the end are those that the program counted right before.
fn assert_figures(recording: &GoRecording, panic: &Value, toolchain: &Toolchain) {
    let truth = recording.truth();
    let end = truth.calls.last().unwrap();
    assert_eq!(panic["goroutines"], end["goroutines"], "{panic}");
    let reasons: Vec<&str> = recording
        .all("go_panic")
        .flat_map(|event| event["missing"].as_array().unwrap())
        .filter(|missing| missing["field"] == "go_panic.heap_alloc_bytes")
        .map(|missing| text(missing, "/reason"))
        .collect();
    // Up to Go 1.18 the function that tells where it is was inlined.
    if toolchain.minor() < 19 && panic["heap_alloc_bytes"].is_null() {
        assert!(
            reasons.iter().all(|reason| reason.contains("does not tell")) && !reasons.is_empty(),
            "{reasons:?}"
        );
        return;
    }
    // Counted by spans rather than by objects, and after a collection nothing else is in it.
    let (told, counted) = (count(panic, "/heap_alloc_bytes"), count(end, "/heap_alloc"));
    assert!(counted > 32 << 20 && told.abs_diff(counted) < counted / 20, "{told} {counted}");
}

/// The only fatal panic of a recording.
fn fatal_panic(recording: &GoRecording) -> &Value {
    let panics: Vec<&Value> = recording.all("go_panic").map(|event| &event["go_panic"]).collect();
    let [panic] = panics.as_slice() else { panic!("{panics:?}\n{}", recording.told) };
    assert_eq!(panic["fatal"], true, "{panic}");
    panic
}

#[test]
fn what_the_runtime_writes_about_a_fatal_panic_is_told_wherever_it_goes() {
    needs!(Root, Bpf, GoUprobes);
    each_version("what_the_runtime_writes_about_a_fatal_panic_is_told_wherever_it_goes", |toolchain| {
        let folder = LogDir::new();
        let file = folder.join("stderr");
        let path = file.to_str().unwrap();
        for fatal in ["panic", "nil", "inlined"] {
            let recording = record(toolchain, &["-case", "none", "-fatal", fatal, "-stderr", path]);
            recording.assert_sound();
            let panic = fatal_panic(&recording);
            let written = fs::read_to_string(&file).unwrap();
            assert!(written.contains("goroutine 1 [running]"), "{written}");
            assert_eq!(text(panic, "/traceback"), written, "go {}", toolchain.version());
            assert_eq!(panic["traceback_lost_bytes"], 0, "{panic}");
        }
        // The same where nobody could ever read it.
        let recording = record(toolchain, &["-case", "none", "-fatal", "inlined", "-stderr", "/dev/null"]);
        let told = text(fatal_panic(&recording), "/traceback").to_owned();
        assert_eq!(traceback(&told), traceback(&fs::read_to_string(&file).unwrap()), "{told}");
        // More at once than is taken at once: the rest is counted, and the beginning is right.
        let recording = record(toolchain, &["-case", "none", "-fatal", "long", "-stderr", path]);
        let panic = fatal_panic(&recording);
        let (written, told) = (fs::read_to_string(&file).unwrap(), text(panic, "/traceback"));
        let lost = usize::try_from(count(panic, "/traceback_lost_bytes")).unwrap();
        assert_eq!(told.len() + lost, written.len(), "{told}");
        assert!(lost > 0 && written.starts_with(&told[..1024]), "{told}");
        assert!(told.contains("main.work") && written.ends_with(&told[told.len() - 200..]), "{told}");
        let event = recording.all("go_panic").next().unwrap();
        let why = format!("{lost} bytes of it are not there: {lost} behind the first 2048 of one write");
        assert_eq!(reason(event, "go_panic.traceback"), why);
        assert_eq!(reason(event, "go_panic.message"), "only the first 512 of its 10000 bytes were taken");
        println!("go {}: what the runtime wrote is told to the byte", toolchain.version());
    });
}

/// Names of the functions in the runtime's own report of a fatal error, innermost first.
fn traceback(told: &str) -> Vec<String> {
    let report = told.lines().skip_while(|line| !line.starts_with("goroutine ")).skip(1);
    let frames = report.take_while(|line| !line.is_empty());
    frames
        .filter(|line| !line.starts_with('\t') && !line.starts_with("created by"))
        .filter_map(|line| Some(line.get(..line.rfind('(')?)?.to_owned()))
        .collect()
}

#[test]
fn a_fatal_panic_is_told_with_the_stack_that_the_runtime_prints() {
    needs!(Root, Bpf, GoUprobes);
    each_version("a_fatal_panic_is_told_with_the_stack_that_the_runtime_prints", |toolchain| {
        for (fatal, message) in [
            ("panic", "wrapped: n is negative"),
            ("nil", "invalid memory address or nil pointer dereference"),
            ("inlined", "refused: fatal-inlined"),
        ] {
            let recording = record(toolchain, &["-case", "none", "-fatal", fatal]);
            assert!(recording.told.contains("the command ended with status 2"), "{}", recording.told);
            assert_eq!(told(&recording), truth(&recording), "{}", recording.report());
            recording.assert_sound();
            let panics: Vec<&Value> = recording.all("go_panic").map(|event| &event["go_panic"]).collect();
            let [panic] = panics.as_slice() else { panic!("{panics:?}\n{}", recording.told) };
            assert_eq!(panic["fatal"], true, "{panic}");
            assert_eq!(panic["recovered"], false, "{panic}");
            assert!(text(panic, "/message").contains(message), "{panic}");
            let stack: Vec<&str> =
                panic["stack"].as_array().unwrap().iter().map(|frame| text(frame, "/function")).collect();
            let printed = traceback(&recording.told);
            let printed: Vec<&str> = printed
                .iter()
                .map(String::as_str)
                .filter(|function| *function != "panic" && !function.starts_with("runtime."))
                .collect();
            assert!(printed.contains(&"main.work"), "{}", recording.told);
            let stack: Vec<&str> = stack
                .into_iter()
                // The runtime leaves out its own functions.
                .filter(|function| !function.starts_with("runtime."))
                .collect();
            assert_eq!(stack, printed, "{panic}\n{}", recording.told);
            // Two were inlined, the innermost first.
            let inlined: Vec<&str> = (panic["stack"].as_array().unwrap().iter())
                .filter(|frame| frame["inlined"] == true && text(frame, "/function").starts_with("main."))
                .map(|frame| text(frame, "/function"))
                .collect();
            let expected: &[&str] = if fatal == "inlined" { &["main.refuse", "main.deny"] } else { &[] };
            assert_eq!(inlined, expected, "{panic}");
            assert_figures(&recording, panic, toolchain);
        }
    });
}

#[test]
fn a_throw_is_told() {
    needs!(Root, Bpf, GoUprobes);
    each_version("a_throw_is_told", |toolchain| {
        let recording = record(toolchain, &["-case", "none", "-fatal", "throw"]);
        assert!(recording.told.contains("the command ended with status 2"), "{}", recording.told);
        assert_eq!(told(&recording), truth(&recording), "{}", recording.report());
        recording.assert_sound();
        let panics: Vec<&Value> = recording.all("go_panic").map(|event| &event["go_panic"]).collect();
        assert!(!panics.is_empty(), "{}", recording.report());
        for panic in panics {
            assert_eq!(panic["fatal"], true, "{panic}");
            assert!(text(panic, "/message").contains("concurrent map"), "{panic}");
            assert!(text(panic, "/traceback").starts_with("fatal error: concurrent map"), "{panic}");
        }
    });
}
