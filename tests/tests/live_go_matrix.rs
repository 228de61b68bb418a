//! Every way of building a Go program: what is told of it is what it did.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use goaudit_tests::ability::tell_skip;
use goaudit_tests::capture::{Agent, lines, replay_so_far, until};
use goaudit_tests::go_capture::{GoRecording, call, log_of, text};
use goaudit_tests::go_cases;
use goaudit_tests::go_fixture::{self, Build, FEW, FLAVOURS, STATIC_PIE, Toolchain, newest_version};
use goaudit_tests::go_service::Service;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

#[test]
fn every_build_is_told_as_it_is() {
    needs!(Root, Bpf, GoUprobes);
    // All versions where all are asked for.
    newest_version("every_build_is_told_as_it_is", |toolchain| {
        for (name, flavour) in FLAVOURS.iter().filter(|(name, _)| go_fixture::all() || FEW.contains(name)) {
            one(toolchain, name, &Build { fixture: "runtime-cases", ..*flavour });
        }
    });
}

fn one(toolchain: &Toolchain, name: &str, build: &Build<'_>) {
    let what = format!("go {} {name}", toolchain.version());
    if name == STATIC_PIE && toolchain.minor() < 21 {
        let why = "such programs of Go before 1.21 end with SIGTRAP by themselves, before main";
        return tell_skip("every_build_is_told_as_it_is", &what, why);
    }
    let program = match toolchain.build(build) {
        Ok(program) => program,
        // No C compiler, or no static C library.
        Err(error) if build.cgo => {
            return tell_skip("every_build_is_told_as_it_is", &what, &format!("{error:#}"));
        }
        Err(error) => panic!("{what}: {error:#}"),
    };
    let folder = LogDir::new();
    let profile = go_cases::profile(&folder);
    // It waits: a static position-independent program can be probed only once it runs.
    let mut service = Service::start(&program, &["-calls", "2", "-goroutines", "2"]).unwrap();
    let pid = service.pid();
    let options = ["--only", "go", "--probe-budget", "10000", "--profile", &profile];
    let agent = Agent::start(&log_of(&folder), &options);
    let attached = |event: &Value| {
        text(event, "/control/program") == "cases.wide"
            && text(event, "/control/attach_point").contains(&format!(" pid {pid}: "))
    };
    until("the probes of the process", || lines(&replay_so_far(&log_of(&folder), &[])).iter().any(attached));
    let truth = service.work().unwrap();
    assert!(service.end().unwrap(), "{what}");
    let recording = GoRecording::after(folder, agent.interrupt());
    let own = recording.events.iter().filter(|event| event.pointer("/process/tgid") == Some(&pid.into()));
    assert_eq!(
        go_cases::told(own.clone().filter_map(call)),
        go_cases::truth(&truth),
        "{what}: {}",
        recording.report()
    );
    // No panic is told as fatal of a program that ended well.
    assert_eq!(
        own.filter(|event| event.pointer("/go_panic/fatal") == Some(&true.into())).count(),
        0,
        "{what}"
    );
    recording.assert_complete();
    println!("{what}: {} calls as they were", truth.functions.values().sum::<u64>());
}
