//! `goaudit hist` on logs made for it: table, JSON, selections, comparison, export, and what is no such log.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::path::Path;
use std::process::{Command, Output};

use goaudit_ebpf::units::Ktime;
use goaudit_tests::go_module;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::{Now, Writer, WriterConfig};
use goaudit_user::event::control::{Calibration, Genesis, Host, Loss, Probe, Start};
use goaudit_user::event::go::Outcome;
use goaudit_user::event::{Authz, Control, Event, GoCall, Payload, Process};
use serde_json::{Value as Json, json};

fn run(arguments: &[&str]) -> (Output, String) {
    let output = goaudit().arg("hist").args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("panicked"), "{arguments:?}: {told}");
    (output, told)
}

fn result(arguments: &[&str]) -> String {
    let (output, told) = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(arguments: &[&str]) -> Json {
    serde_json::from_str(&result(&[arguments, &["--json"]].concat())).unwrap()
}

/// A log of these events, behind those that every log begins with.
fn log(directory: &Path, events: &[Event]) {
    let host = Host { name: "made".into(), ..Host::default() };
    let now = |ktime: u64| Now {
        boottime_ns: ktime,
        realtime_ns: 1_795_262_400_000_000_000_u64.saturating_add(ktime),
    };
    let config = WriterConfig::new("goaudit/made/hist", [0; 16], [1; 16]);
    let (mut writer, opened) = Writer::open(directory, config, now(1)).unwrap();
    let genesis = Genesis {
        origin: "goaudit/made/hist".into(),
        verification_key: opened.vkey,
        agent: String::new(),
        host: host.clone(),
    };
    let first = [
        Event::control(Ktime(1), Control::Genesis(genesis)),
        Event::control(Ktime(1), Control::Start(Start { host, ..Start::default() })),
    ];
    let mut bytes = Vec::new();
    for event in first.iter().chain(events) {
        bytes.clear();
        event.encode(&mut bytes);
        writer.append(&bytes, event.ktime.0, false, now(event.ktime.0)).unwrap();
    }
    writer.close(now(u64::from(u32::MAX))).unwrap();
}

/// Every call is longer by a nanosecond than the one before.
fn decision(at: u64, subject: &str, decision: Option<bool>, base_ns: u64) -> Event {
    let start = 1_000_000 + at * 1_000;
    let call = GoCall {
        probe: "casbin.enforce".into(),
        function: "github.com/casbin/casbin/v2.(*Enforcer).enforce".into(),
        start_ktime_ns: Some(start),
        end_ktime_ns: Some(start + base_ns + at),
        ..GoCall::default()
    };
    let authz = Authz {
        call,
        library: "casbin".into(),
        subject_id: Some(subject.into()),
        decision,
        ..Authz::default()
    };
    Event {
        ktime: Ktime(start + base_ns + at),
        source: None,
        process: Some(Process { tgid: 9, exe: Some("/srv/shop".into()), ..Process::default() }),
        payload: Payload::Authz(Box::new(authz)),
        missing: Vec::new(),
        sealed: None,
    }
}

fn decisions(count: u64, base_ns: u64) -> Vec<Event> {
    (0..count)
        .map(|at| decision(at, if at % 4 == 0 { "bob" } else { "alice" }, Some(at % 4 != 0), base_ns))
        .collect()
}

fn open_call() -> Event {
    let call = GoCall { probe: "main.f".into(), outcome: Outcome::Open, ..GoCall::default() };
    Event { payload: Payload::GoCall(Box::new(call)), ..decision(0, "", None, 0) }
}

#[test]
fn a_log_s_latencies_are_told() {
    let folder = LogDir::new();
    let loss = Loss { cpu: Some(0), cause: "ring_full".into(), count: 3, range: None, program: None };
    let mut events = decisions(4_000, 20_000);
    events.push(open_call());
    events.push(Event::control(Ktime(9_000_000), Control::Loss(loss)));
    log(&folder.join("log"), &events);
    let path = folder.join("log");
    let path = path.to_str().unwrap();

    let told = json_of(&[path]);
    assert_eq!(told["schema"], "goaudit.hist/1");
    assert_eq!((&told["calls"], &told["measured"]), (&json!(4_001), &json!(4_000)));
    assert_eq!((&told["unmeasured"], &told["lost_records"]), (&json!({ "open": 1 }), &json!(3)));
    let group = &told["groups"][0];
    assert_eq!(group["key"], json!({ "probe": "casbin.enforce" }));
    assert_eq!((&group["min_ns"], &group["max_ns"]), (&json!(20_000), &json!(23_999)));
    for (name, exact) in
        [("p50_ns", 21_999.0), ("p90_ns", 23_599.0), ("p99_ns", 23_959.0), ("p999_ns", 23_995.0)]
    {
        let told = group[name].as_f64().unwrap();
        assert!((0.0..=0.001).contains(&(told / exact - 1.0)), "{name}: {told} for {exact}");
    }
    assert_eq!(group["deny_ratio"], 0.25);
    let counts = group["buckets"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 4_000);

    let told = json_of(&[path, "--by", "subject,decision"]);
    let keys: Vec<&Json> = told["groups"].as_array().unwrap().iter().map(|group| &group["key"]).collect();
    assert_eq!(keys[0], &json!({ "subject": "alice", "decision": "allow" }));
    assert_eq!(keys[1], &json!({ "subject": "bob", "decision": "deny" }));

    let told = json_of(&[path, "--where", "authz.authz_subject_id == 'bob'"]);
    assert_eq!(told["calls"], 1_000);
    // The log's first two events are the recorder's own.
    assert_eq!(json_of(&[path, "--from", "12", "--to", "21"])["calls"], 10);

    let table = result(&[path]);
    assert!(
        table.contains("casbin.enforce") && table.contains("22.0µs") && table.contains("25.0"),
        "{table}"
    );
    assert!(table.contains("4001 calls, 4000 with a latency; both ends were not seen of 1 open"), "{table}");
    assert!(table.contains("3 kernel records were lost"), "{table}");
}

/// What a recorder tells of a probe when it starts.
fn started(emulated_ns: u64) -> [Event; 3] {
    let costs = Calibration { emulated_ns, stepped_ns: 4_000, record_ns: None, value_ns: None };
    let controls = [
        Control::Start(Start::default()),
        Control::Calibration(costs),
        Control::Probe(Probe { attached: true, reason: None, entry_stepped: Some(false), ..removed("") }),
    ];
    controls.map(|control| Event::control(Ktime(1_000_000), control))
}

/// A probe that was taken away during a recording.
fn removed(reason: &str) -> Probe {
    Probe {
        hook: "go".into(),
        program: "casbin.enforce".into(),
        attach_point: "uprobe/srv/shop".into(),
        attached: false,
        reason: Some(reason.into()),
        not_seen: Some("its calls from now on".into()),
        entry_stepped: None,
    }
}

#[test]
fn each_run_of_the_recorder_has_its_own_cost_of_the_probes() {
    let folder = LogDir::new();
    let path = folder.join("log");
    // The log's first two events; then numbers 2 to 4 and calls from 5 on, 1005 to 1007 and calls from 1008 on.
    let (first, second) = (decisions(1_000, 20_720), decisions(1_000, 20_716));
    let away = Event::control(Ktime(1_000_000), Control::Probe(removed("too dear: taken away")));
    let events = [&started(720)[..], &first, &started(716), &second, &[away]].concat();
    log(&path, &events);
    let text = path.to_str().unwrap();
    let group = |arguments: &[&str]| json_of(&[&[text], arguments].concat())["groups"][0].clone();
    let both = group(&[]);
    assert_eq!((&both["count"], &both["probe_cost_ns"]), (&json!(2_000), &Json::Null));
    assert_eq!(both["probe_cost_range_ns"], json!([716, 720]));
    assert_eq!(
        (&both["corrected"]["min_ns"], &both["corrected"]["max_ns"]),
        (&json!(20_000), &json!(20_999))
    );
    let table = result(&[text]);
    assert!(table.contains("less 716ns to 720ns of the probe"), "{table}");
    assert!(table.contains("1 times probes were taken away") && table.contains("too dear"), "{table}");
    assert_eq!(json_of(&[text])["removals"][0]["attach_point"], "uprobe/srv/shop");

    // What was told before the first event that is asked for counts, of the run that it is in.
    for (from, count, cost) in [("1100", 908, 716), ("1008", 1_000, 716), ("1006", 1_000, 716)] {
        let told = group(&["--from", from]);
        assert_eq!((&told["count"], &told["probe_cost_ns"]), (&json!(count), &json!(cost)), "from {from}");
    }
    let told = group(&["--from", "500", "--to", "600"]);
    assert_eq!((&told["count"], &told["probe_cost_ns"]), (&json!(101), &json!(720)));
    let table = result(&[text, "--from", "1100"]);
    assert!(table.contains("less 716ns of the probe") && !table.contains("no measured cost"), "{table}");
}

#[test]
fn two_logs_and_two_selections_are_compared() {
    let folder = LogDir::new();
    let (before, after) = (folder.join("before"), folder.join("after"));
    log(&before, &decisions(4_000, 20_000));
    log(&after, &decisions(4_000, 40_000));
    let (before, after) = (before.to_str().unwrap(), after.to_str().unwrap());
    let told = json_of(&["--diff", before, after, "--by", "process"]);
    let row = &told["groups"][0];
    assert_eq!(row["key"], json!({ "process": "/srv/shop" }));
    assert_eq!((&row["p50"]["verdict"], &row["p99"]["verdict"]), (&json!("higher"), &json!("higher")));
    assert_eq!((&row["a_count"], &row["b_count"]), (&json!(4_000), &json!(4_000)));
    let table = result(&["--diff", after, before]);
    assert!(table.contains("lower") && !table.contains("higher "), "{table}");

    let (alice, bob) = ("authz.authz_subject_id == 'alice'", "authz.authz_subject_id == 'bob'");
    let told = json_of(&[before, "--diff-where", alice, bob]);
    let row = &told["groups"][0];
    assert_eq!((&row["a_count"], &row["b_count"]), (&json!(3_000), &json!(1_000)));
    assert_eq!(row["p50"]["verdict"], "unclear");
    let told = json_of(&[before, "--where", "authz.authz_decision == true", "--diff-where", alice, bob]);
    assert_eq!(told["b_calls"], 0);
}

#[test]
fn an_interval_log_is_written() {
    let folder = LogDir::new();
    log(&folder.join("log"), &decisions(100, 1_000));
    let (path, file) = (folder.join("log"), folder.join("out.hlog"));
    let path = path.to_str().unwrap();
    let table = result(&[path, "--by", "subject", "--export", "hdr", file.to_str().unwrap()]);
    assert!(table.contains("alice"), "the table is shown as well");
    let written = std::fs::read_to_string(&file).unwrap();
    let tags: Vec<&str> = written.lines().filter_map(|line| line.split(',').next()).collect();
    assert!(tags.contains(&"Tag=subject=alice") && tags.contains(&"Tag=subject=bob"), "{written}");
    assert!(written.lines().all(|line| line.starts_with('#') || line.contains(",HIST")), "{written}");
    assert_eq!(result(&[path, "--by", "subject", "--export", "hdr", "-"]), written);
}

#[test]
fn an_export_destroys_nothing() {
    let folder = LogDir::new();
    let (path, other) = (folder.join("log"), folder.join("other"));
    log(&path, &decisions(20, 1_000));
    log(&other, &decisions(20, 1_000));
    let segment = path.join("seg-00000000000000000000.gal");
    let before = std::fs::read(&segment).unwrap();
    std::fs::create_dir_all(path.join("keys")).unwrap();
    let (link, to_folder) = (folder.join("link.hlog"), folder.join("to-log"));
    std::os::unix::fs::symlink(&segment, &link).unwrap();
    std::os::unix::fs::symlink(&path, &to_folder).unwrap();
    for (read, target, named) in [
        (&path, segment.clone(), "within a log"),
        (&path, path.join("new.hlog"), "within a log"),
        (&path, path.join("keys/new.hlog"), "within a log"),
        (&path, to_folder.join("new.hlog"), "within a log"),
        (&path, other.join("seg-00000000000000000000.gal"), "within a log"),
        (&segment, path.join("new.hlog"), "within a log"),
        (&path, link, "no regular file"),
        (&path, "/dev/null".into(), "no regular file"),
        (&path, "/".into(), "folder"),
    ] {
        let (output, told) = run(&[read.to_str().unwrap(), "--export", "hdr", target.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{}: {told}", target.display());
        assert!(told.contains(named) && told.contains("name a"), "{}: {told}", target.display());
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read(&segment).unwrap(), before);
    assert!(!path.join("new.hlog").exists());

    // A file that is there is replaced; what else has its content (here: the segment's second name) keeps it.
    let named_twice = folder.join("twice.hlog");
    std::fs::hard_link(&segment, &named_twice).unwrap();
    result(&[path.to_str().unwrap(), "--export", "hdr", named_twice.to_str().unwrap()]);
    assert!(std::fs::read(&named_twice).unwrap().starts_with(b"#[Histogram log"));
    assert_eq!(std::fs::read(&segment).unwrap(), before);
    let left = std::fs::read_dir(folder.join(".")).unwrap();
    assert!(left.into_iter().all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".part")));
}

/// A tag as the key of a group in JSON.
fn key_of(tag: &str) -> Json {
    let part = |part: &str| {
        let (by, value) = part.split_once('=').unwrap();
        let (mut bytes, mut rest) = (Vec::new(), value.bytes());
        while let Some(byte) = rest.next() {
            bytes.push(if byte == b'%' {
                let digits = String::from_utf8(rest.by_ref().take(2).collect()).unwrap();
                u8::from_str_radix(&digits, 16).unwrap()
            } else {
                byte
            });
        }
        (by.to_owned(), Json::from(String::from_utf8(bytes).unwrap()))
    };
    Json::Object(tag.split(';').map(part).collect())
}

#[test]
fn hdrhistograms_own_library_reads_the_interval_log() {
    let Some(program) = go_module::program("hdrhistograms_own_library_reads_the_interval_log", "hdr") else {
        return;
    };
    let folder = LogDir::new();
    // From 2 us to 1.8 s; one subject asks often, one now and then, and one is what a tag cannot have.
    let subjects = ["alice", "alice", "Zoë, admin; 100 % = \"all\"", "alice"];
    let mut events: Vec<Event> = (0..4_000)
        .map(|at: u64| {
            let subject = if at % 80 == 79 { "bob" } else { subjects[usize::try_from(at % 4).unwrap()] };
            decision(at, subject, Some(!at.is_multiple_of(4)), 2_000 * (1 + at % 97).pow(3))
        })
        .collect();
    events.sort_unstable_by_key(|event| event.ktime);
    let ends = [&events[0], &events[3_999]].map(|event| 1_795_262_400_000 + event.ktime.0 / 1_000_000);
    let (path, file) = (folder.join("log"), folder.join("out.hlog"));
    log(&path, &events);
    let path = path.to_str().unwrap();
    for (by, groups) in [("subject", 3), ("probe,decision", 2), ("function", 1)] {
        result(&[path, "--by", by, "--export", "hdr", file.to_str().unwrap()]);
        let output = Command::new(&program).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).unwrap();
        let intervals: Vec<Json> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ours = json_of(&[path, "--by", by]);
        let ours = ours["groups"].as_array().unwrap();
        assert_eq!((ours.len(), intervals.len()), (groups, groups), "{told}");
        for (interval, group) in intervals.iter().zip(ours) {
            let (theirs, own) = (|name: &str| interval[name].as_u64(), |name: &str| group[name].as_u64());
            assert_eq!(key_of(interval["tag"].as_str().unwrap()), group["key"]);
            assert_eq!(theirs("count"), own("count"), "{interval}");
            assert_eq!(interval["buckets"], group["buckets"]);
            // Ours are exact, theirs the ends of the buckets that they are in.
            let (min, max) = (own("min_ns").unwrap(), own("max_ns").unwrap());
            assert!((min - min / 1_000..=min).contains(&theirs("min").unwrap()), "{interval} {min}");
            assert!((max..=max + max / 1_000).contains(&theirs("max").unwrap()), "{interval} {max}");
            for (quantile, figure) in [("p50", "p50_ns"), ("p90", "p90_ns"), ("p99", "p99_ns")] {
                assert_eq!(theirs(quantile).map(|ns| ns.min(max)), own(figure), "{quantile} of {interval}");
            }
            // Seconds with three digits, which they make milliseconds of.
            for (end, name) in ends.into_iter().zip(["start_ms", "end_ms"]) {
                assert!(theirs(name).unwrap().abs_diff(end) <= 2, "{name} of {interval}: {end}");
            }
        }
    }
}

#[test]
fn a_log_without_calls_says_so() {
    let folder = LogDir::new();
    log(&folder.join("none"), &[]);
    log(&folder.join("some"), &decisions(3, 10));
    let none = folder.join("none");
    let (output, told) = run(&[none.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["groups"], &json["calls"]), (&json!([]), &json!(0)));
    assert!(told.contains("no call of a Go function among the 2 events"), "{told}");
    let some = folder.join("some");
    let (output, told) = run(&[some.to_str().unwrap(), "--where", "authz.library == 'opa'"]);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("none of the 3 calls"), "{told}");
    // Its events are 0 to 4, the calls 2 to 4.
    for (arguments, because) in [
        (&["--from", "99999999"][..], "no event of"),
        (&["--from", "5", "--to", "6"], "in the range --from 5 --to 6: its last event is 4"),
        (&["--to", "1"], "among the 2 events of"),
        (&["--from", "0", "--to", "1"], "in the range --from 0 --to 1"),
    ] {
        let (output, told) = run(&[&[some.to_str().unwrap()], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains(because) && !told.contains("was probed"), "{told}");
    }
}

#[test]
fn a_torn_log_is_read_as_far_as_it_goes() {
    let folder = LogDir::new();
    let path = folder.join("log");
    log(&path, &decisions(4_000, 20_000));
    let segment = path.join("seg-00000000000000000000.gal");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 40]).unwrap();
    let (output, told) = run(&[path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("ends within a frame"), "{told}");
    assert!(serde_json::from_slice::<Json>(&output.stdout).unwrap()["calls"].is_u64());
}

#[test]
fn usage_errors_name_the_mistake() {
    for (arguments, named) in [
        (&["d", "--by", "user"][..], "subject"),
        (&["d", "--by", ""], "--by"),
        (&["d", "--groups", "0"], "--groups"),
        (&["d", "--from", "20", "--to", "10"], "--from 20 --to 10"),
        (&["d", "--where", "authz.decision == true"], "authz_decision"),
        (&["d", "--diff-where", "authz.decision == true", "true"], "authz_decision"),
        (&["d", "--diff-where", "true) || (true", "true"], "column"),
        (&["d", "--export", "csv", "x"], "hdr"),
        (&["--diff", "one"], "--diff"),
        (&["d", "--diff", "a", "b"], "--diff"),
        (&["--diff", "a", "b", "--from", "3"], "--from"),
    ] {
        let (output, told) = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(named), "{arguments:?} does not name {named}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    }
}
