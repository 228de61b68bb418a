//! Probes come and go, again and again, under a service at full speed, which must not notice.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use goaudit_tests::go_capture::{GoRecording, log_of};
use goaudit_tests::go_decisions::decided;
use goaudit_tests::go_fixture::{self, Build};
use goaudit_tests::go_service::Truth;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;

/// Seconds that it goes on, if not [`DEFAULT`].
const SECONDS: &str = "GOAUDIT_SOAK";
const DEFAULT: u64 = 20;

/// One run of the service from beginning to end, that must be as always: its decisions.
fn run(program: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the service ended with {}: {told}", output.status);
    let lines = String::from_utf8(output.stdout).unwrap();
    decided(&Truth::take(&mut lines.lines().skip(1).map(|line| Ok(line.to_owned()))).unwrap())
}

/// One recording of the whole host: how many decisions of the program were told.
fn record(program: &Path, time: &str) -> usize {
    let folder = LogDir::new();
    let output = goaudit()
        .args(["record", "-o", "none", "--only", "go", "--probe-budget", "10000", "-w"])
        .arg(log_of(&folder))
        .args(["--for", time])
        .output()
        .unwrap();
    let recording = GoRecording::after(folder, output);
    assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
    // Probes come in the middle of calls: returns without an entry may be there, and nothing else.
    let odd = recording.oddities();
    for oddity in ["go_goroutine_not_believed", "go_unknown_probe", "go_calls_given_up"] {
        assert_eq!(odd.get(oddity), None, "{odd:?}");
    }
    let own = program.display().to_string();
    let of_program = |event: &&serde_json::Value| {
        event.pointer("/process/exe").and_then(serde_json::Value::as_str) == Some(&own)
    };
    recording.all("authz").filter(of_program).count()
}

#[test]
fn a_service_at_full_speed_does_not_notice_that_probes_come_and_go() {
    needs!(Root, Bpf, GoUprobes);
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT);
    let version = go_fixture::versions().pop().unwrap_or_default();
    let toolchain = match go_fixture::toolchain(&version) {
        Ok(toolchain) => toolchain,
        Err(why) => {
            goaudit_tests::ability::tell_skip("soak", &format!("go toolchain {version}"), &why);
            return;
        }
    };
    let built = toolchain.build(&Build::of("authz-casbin").flags(&["-ldflags=-s -w"])).unwrap();
    let folder = LogDir::new();
    let program = folder.join("service");
    fs::copy(built, &program).unwrap();
    let arguments = ["-now", "-calls", "5000", "-goroutines", "4"];
    let alone = run(&program, &arguments);
    let until = Instant::now() + Duration::from_secs(seconds);
    let recorder = {
        let program = program.clone();
        std::thread::spawn(move || {
            let (mut recordings, mut decisions) = (0, 0);
            while Instant::now() < until {
                // On a busy host attaching takes seconds: some last long enough to see something.
                decisions += record(&program, if recordings % 3 == 2 { "6s" } else { "500ms" });
                recordings += 1;
            }
            (recordings, decisions)
        })
    };
    let mut runs = 0;
    // To the end of the last recording, so that every detaching hits a working service as well.
    while !recorder.is_finished() {
        assert_eq!(run(&program, &arguments), alone);
        runs += 1;
    }
    let (recordings, decisions) = recorder.join().unwrap();
    println!(
        "{recordings} recordings told {decisions} decisions; {runs} runs of {} calls as ever",
        alone.len()
    );
    assert!(recordings > 0 && runs > 0 && decisions > 0);
}
