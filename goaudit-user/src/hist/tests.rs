//! Histograms of events: groups, what is counted beside them, and every form they are told in.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use goaudit_ebpf::units::Ktime;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Value as Json, json};

use super::diff::{Diff, Verdict};
use super::report::Report;
use super::*;
use crate::event::control::{Calibration, Probe};
use crate::event::{Authz, Process};

const WALL_NS: i64 = 1_795_262_400_000_000_000;

/// A call that took `ns`.
fn call(probe: &str, ns: u64) -> Event {
    let call = GoCall {
        probe: probe.into(),
        function: format!("main.{probe}"),
        start_ktime_ns: Some(1_000_000),
        end_ktime_ns: Some(1_000_000 + ns),
        ..GoCall::default()
    };
    let process = Process { tgid: 7, exe: Some("/srv/shop".into()), ..Process::default() };
    Event {
        ktime: Ktime(1_000_000 + ns),
        source: None,
        process: Some(process),
        payload: Payload::GoCall(Box::new(call)),
        missing: Vec::new(),
        sealed: None,
    }
}

fn authz(subject: Option<&str>, decision: Option<bool>, ns: u64) -> Event {
    let Payload::GoCall(made) = call("casbin.enforce", ns).payload else { unreachable!("a call") };
    let authz = Authz {
        call: *made,
        library: "casbin".into(),
        subject_id: subject.map(Into::into),
        decision,
        error: decision.is_none().then(|| "refused".into()),
        ..Authz::default()
    };
    Event { payload: Payload::Authz(Box::new(authz)), ..call("", ns) }
}

fn ended(outcome: Outcome, end: Option<u64>) -> Event {
    let Payload::GoCall(mut made) = call("f", 500).payload else { unreachable!("a call") };
    (made.outcome, made.end_ktime_ns) = (outcome, end);
    Event { payload: Payload::GoCall(made), ..call("", 500) }
}

fn feed(config: Config, events: &[Event]) -> Histograms {
    let mut histograms = Histograms::new(config);
    let origin = Origin { realtime_minus_boottime_ns: WALL_NS, ..Origin::default() };
    for event in events {
        histograms.feed(event, &origin, || true);
    }
    histograms
}

fn start() -> Event {
    Event::control(Ktime(1), Control::Start(crate::event::control::Start::default()))
}

fn probe(name: &str, stepped: bool) -> Event {
    let probe = Probe {
        hook: "go".into(),
        program: name.into(),
        attach_point: format!("uprobe/srv/shop pid 7: main.{name} entry 0x10 (emulated)"),
        attached: true,
        reason: None,
        not_seen: None,
        entry_stepped: Some(stepped),
    };
    Event::control(Ktime(1), Control::Probe(probe))
}

fn costs(emulated_ns: u64, stepped_ns: u64) -> Event {
    let costs = Calibration { emulated_ns, stepped_ns, record_ns: None, value_ns: None };
    Event::control(Ktime(1), Control::Calibration(costs))
}

fn by(by: &[By]) -> Config {
    Config { by: by.to_vec(), ..Config::default() }
}

fn report(histograms: &Histograms) -> Json {
    serde_json::to_value(Report::new(histograms)).unwrap()
}

#[test]
fn calls_and_decisions_are_grouped() {
    let events = [
        authz(Some("alice"), Some(true), 1_000),
        authz(Some("alice"), Some(false), 3_000),
        authz(Some("alice"), Some(true), 2_000),
        authz(Some("bob"), None, 9_000),
        authz(None, Some(true), 4_000),
        call("main.f", 50),
    ];
    let told = report(&feed(by(&[By::Subject, By::Library]), &events));
    assert_eq!(told["by"], json!(["subject", "library"]));
    assert_eq!((&told["calls"], &told["measured"]), (&json!(6), &json!(6)));
    assert_eq!(told["from"], "2026-11-21T12:00:00.001000050Z");
    assert_eq!(told["to"], "2026-11-21T12:00:00.001009000Z");
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 4);
    let alice = &groups[0];
    assert_eq!(alice["key"], json!({ "subject": "alice", "library": "casbin" }));
    assert_eq!(alice["count"], 3);
    assert_eq!((&alice["min_ns"], &alice["p50_ns"]), (&json!(1_000), &json!(2_000)));
    assert_eq!((&alice["max_ns"], &alice["mean_ns"]), (&json!(3_000), &json!(2_000)));
    assert_eq!(alice["decisions"], json!({ "allow": 2, "deny": 1, "error": 0, "none": 0 }));
    assert_eq!(alice["deny_ratio"], json!(1.0 / 3.0));
    assert_eq!(alice["buckets"], json!([[1_000, 1], [2_000, 1], [3_001, 1]]));
    let keys: Vec<&Json> = groups.iter().map(|group| &group["key"]).collect();
    assert!(keys.contains(&&json!({ "subject": null, "library": "casbin" })), "{keys:?}");
    assert!(keys.contains(&&json!({ "subject": null, "library": null })), "a call is no decision: {keys:?}");
    assert!(groups.iter().any(|group| group["decisions"].is_null() && group["deny_ratio"].is_null()));

    let told = report(&feed(by(&[By::Process, By::Decision]), &events));
    let keys: Vec<&Json> = told["groups"].as_array().unwrap().iter().map(|group| &group["key"]).collect();
    let process = json!({ "tgid": 7, "start_ktime_ns": null, "exe": "/srv/shop" });
    for decision in [json!("allow"), json!("deny"), json!("error"), Json::Null] {
        assert!(keys.contains(&&json!({ "process": process, "decision": decision })), "{keys:?}");
    }
}

#[test]
fn every_word_has_its_value() {
    let event = Event {
        payload: Payload::Authz(Box::new(Authz {
            call: GoCall { probe: "p".into(), function: "f".into(), ..GoCall::default() },
            library: "l".into(),
            policy_id: Some("pol".into()),
            subject_id: Some("s".into()),
            object: Some("o".into()),
            action: Some("a".into()),
            decision: Some(true),
            ..Authz::default()
        })),
        ..call("", 1)
    };
    let all = By::NAMES.map(|row| row.0);
    let told = report(&feed(by(&all), &[event]));
    assert_eq!(
        told["groups"][0]["key"],
        json!({
            "probe": "p", "function": "f", "policy": "pol", "decision": "allow", "subject": "s", "object": "o",
            "action": "a", "process": { "tgid": 7, "start_ktime_ns": null, "exe": "/srv/shop" }, "library": "l",
        })
    );
    for (word, name) in By::NAMES {
        assert_eq!(name.parse(), Ok(word));
    }
    let unknown = "user".parse::<By>().unwrap_err().to_string();
    assert!(unknown.contains("`user`") && unknown.contains("subject"), "{unknown}");
}

#[test]
fn calls_without_both_ends_are_counted_and_not_measured() {
    let events = [
        ended(Outcome::Returned, Some(1_000_700)),
        ended(Outcome::Panicked, Some(1_000_800)),
        ended(Outcome::Goexit, Some(1_000_900)),
        // The process ended: how long the call would have taken is not known.
        ended(Outcome::Crashed, Some(9_000_000)),
        ended(Outcome::Lost, None),
        ended(Outcome::Open, None),
        // An end before its beginning is no latency.
        ended(Outcome::Returned, Some(1)),
    ];
    let histograms = feed(by(&[By::Probe]), &events);
    let told = report(&histograms);
    assert_eq!((&told["calls"], &told["measured"]), (&json!(7), &json!(3)));
    assert_eq!(told["unmeasured"], json!({ "returned": 1, "crashed": 1, "lost": 1, "open": 1 }));
    let group = &told["groups"][0];
    assert_eq!(group["outcomes"], json!({ "returned": 1, "panicked": 1, "goexit": 1 }));
    assert_eq!((&group["min_ns"], &group["max_ns"]), (&json!(700), &json!(900)));
    let text = table::text(&histograms);
    assert!(
        text.contains(
            "7 calls, 3 with a latency; both ends were not seen of 1 returned, 1 crashed, 1 lost, 1 open"
        ),
        "{text}"
    );

    let none = feed(by(&[By::Probe]), &[ended(Outcome::Open, None)]);
    let told = report(&none);
    assert!(told["groups"][0]["p50_ns"].is_null());
    assert_eq!(told["groups"][0]["probe_cost_reason"], "no call has a latency");
    assert!(table::text(&none).contains("1 calls, 0 with a latency"));
}

#[test]
fn groups_are_bounded_and_the_rest_is_told_together() {
    let events: Vec<Event> = (0..50)
        .flat_map(|at| {
            let subject = format!("subject {at}");
            [authz(Some(&subject), Some(true), 100), authz(Some(&subject), Some(false), 300)]
        })
        .collect();
    let config = Config { by: vec![By::Subject], groups: 20, ..Config::default() };
    let histograms = feed(config, &events);
    let told = report(&histograms);
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 21);
    assert!(groups[..20].iter().all(|group| group["other"] == false && group["count"] == 2));
    let other = &groups[20];
    assert_eq!((&other["other"], &other["key"], &other["count"]), (&json!(true), &json!({}), &json!(60)));
    assert_eq!(other["decisions"]["deny"], 30);
    assert_eq!((&told["calls_in_other"], &told["calls"]), (&json!(60), &json!(100)));
    let text = table::text(&histograms);
    assert!(text.contains("60 calls beyond the first 20 groups are told together as (other)"), "{text}");
}

#[test]
fn losses_and_clamped_values_are_told() {
    let loss = Loss { cpu: Some(0), program: None, cause: "ring_full".into(), count: 5, range: None };
    let events = [Event::control(Ktime(1), Control::Loss(loss)), call("f", latencies::MAX_NS + 1)];
    let histograms = feed(by(&[By::Probe]), &events);
    let told = report(&histograms);
    assert_eq!((&told["lost_records"], &told["clamped"]), (&json!(5), &json!(1)));
    assert_eq!(told["groups"][0]["max_ns"], latencies::MAX_NS + 1);
    let text = table::text(&histograms);
    assert!(text.contains("5 kernel records were lost") && text.contains("1 latencies of more than an hour"));
}

#[test]
fn what_a_probe_costs_is_taken_off_where_it_is_known() {
    let unknown = feed(by(&[By::Probe]), &[call("a", 1_000)]);
    assert!(report(&unknown)["groups"][0]["corrected"].is_null());
    assert!(report(&unknown)["groups"][0]["probe_cost_ns"].is_null());
    assert!(table::text(&unknown).contains("no measured cost"));

    // The calibration is told behind the first calls.
    let told_late = [
        probe("a", false),
        probe("b", true),
        call("a", 1_000),
        costs(300, 400),
        call("a", 200),
        call("b", 2_000),
    ];
    let known = feed(by(&[By::Function]), &told_late);
    let told = report(&known);
    let group = &told["groups"][0];
    assert_eq!((&group["probe_cost_ns"], &group["probe_cost_reason"]), (&json!(300), &Json::Null));
    assert_eq!((&group["min_ns"], &group["corrected"]["min_ns"]), (&json!(200), &json!(0)));
    assert_eq!((&group["max_ns"], &group["corrected"]["max_ns"]), (&json!(1_000), &json!(700)));
    let text = table::text(&known);
    assert!(text.contains("less 300ns of the probe") && text.contains("less 400ns of the probe"), "{text}");

    // One program's probe may differ from another's of the same name: then no cost is the call's.
    let both = [probe("a", false), probe("a", true), costs(300, 400), call("a", 1)];
    let told = report(&feed(by(&[By::Probe]), &both));
    let reason = told["groups"][0]["probe_cost_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("no measured cost"), "{reason}");
}

#[test]
fn each_call_is_corrected_by_its_own_probe_and_run() {
    // Two probes of one group.
    let events = [
        probe("a", false),
        probe("b", true),
        costs(300, 400),
        call("a", 1_000),
        call("b", 2_000),
        call("b", 350),
    ];
    let told = report(&feed(by(&[By::Process]), &events));
    let group = &told["groups"][0];
    assert_eq!((&group["probe_cost_ns"], &group["probe_cost_reason"]), (&Json::Null, &Json::Null));
    assert_eq!(group["probe_cost_range_ns"], json!([300, 400]));
    assert_eq!(
        (&group["min_ns"], &group["p50_ns"], &group["max_ns"]),
        (&json!(350), &json!(1_000), &json!(2_000))
    );
    let corrected = &group["corrected"];
    assert_eq!((&corrected["min_ns"], &corrected["p50_ns"]), (&json!(0), &json!(700)));
    assert_eq!((&corrected["max_ns"], &corrected["mean_ns"]), (&json!(1_600), &json!((700 + 1_550) / 3)));

    // Two runs of one probe: the difference between the calls is that of the costs, and the corrected are the same.
    let mut events = Vec::new();
    for cost in [720, 716] {
        events.extend([start(), costs(cost, 4_000), probe("a", false)]);
        events.extend((0..1_000).map(|_| call("a", 2_000 + cost)));
    }
    let runs = feed(by(&[By::Probe]), &events);
    let told = report(&runs);
    let group = &told["groups"][0];
    assert_eq!((&group["count"], &group["probe_cost_range_ns"]), (&json!(2_000), &json!([716, 720])));
    assert_eq!((&group["min_ns"], &group["max_ns"]), (&json!(2_716), &json!(2_720)));
    for figure in ["min_ns", "p50_ns", "p99_ns", "max_ns", "mean_ns"] {
        assert_eq!(group["corrected"][figure], 2_000, "{figure}");
    }
    let counts = group["buckets"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 2_000);
    let text = table::text(&runs);
    assert!(text.contains("less 716ns to 720ns of the probe") && !text.contains("--by"), "{text}");
}

#[test]
fn what_was_told_before_the_first_event_counts_for_the_costs_only() {
    let origin = Origin { realtime_minus_boottime_ns: WALL_NS, ..Origin::default() };
    let loss = Loss { cpu: Some(0), program: None, cause: "ring_full".into(), count: 5, range: None };
    let before = [start(), costs(300, 400), probe("a", false), Event::control(Ktime(1), Control::Loss(loss))];
    let told = |forget: bool| {
        let mut histograms = Histograms::new(by(&[By::Probe]));
        for event in &before {
            histograms.feed_before(event);
        }
        if forget {
            histograms.forget_run();
        }
        histograms.feed(&call("a", 1_000), &origin, || true);
        assert_eq!((histograms.events(), histograms.lost()), (1, 0));
        report(&histograms)["groups"][0].clone()
    };
    assert_eq!(told(false)["corrected"]["max_ns"], 700);
    assert!(told(true)["corrected"].is_null(), "the costs may be those of another run");
}

#[test]
fn many_costs_need_no_more_memory_and_are_taken_off_as_well() {
    let mut events = Vec::new();
    for run in 0..100 {
        // Every other run tells its cost behind its first call.
        let late =
            [start(), call("a", 5_000 + run), costs(run, 0), probe("a", false), call("a", 5_000 + run)];
        let early =
            [start(), costs(run, 0), probe("a", false), call("a", 5_000 + run), call("a", 5_000 + run)];
        events.extend(if run % 2 == 0 { late } else { early });
    }
    let histograms = feed(by(&[By::Probe]), &events);
    let told = report(&histograms);
    let group = &told["groups"][0];
    assert_eq!((&group["count"], &group["probe_cost_range_ns"]), (&json!(200), &json!([0, 99])));
    for figure in ["min_ns", "p50_ns", "p999_ns", "max_ns", "mean_ns"] {
        assert_eq!(group["corrected"][figure], 5_000, "{figure}");
    }
    assert_eq!((&group["min_ns"], &group["max_ns"]), (&json!(5_000), &json!(5_099)));
    // One call whose cost is never told, and none of them can be corrected.
    events.extend([start(), call("a", 5_000)]);
    let told = report(&feed(by(&[By::Probe]), &events));
    let group = &told["groups"][0];
    assert_eq!((&group["count"], &group["corrected"]), (&json!(201), &Json::Null));
    assert!(group["probe_cost_reason"].as_str().unwrap().contains("no measured cost"));
}

#[test]
fn the_table_is_aligned_and_safe_for_a_terminal() {
    let long = "x".repeat(200);
    let events = [
        authz(Some("al\u{1b}[2Jice"), Some(true), 12_345),
        authz(Some(&long), Some(false), 2_000_000),
        authz(None, Some(true), 40),
    ];
    let text = table::text(&feed(by(&[By::Subject]), &events));
    assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
    assert!(text.contains(r"al\x1b[2Jice") && !text.contains(&long), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let column = lines[0].find("count").unwrap() + "count".len();
    for line in &lines[1..4] {
        assert_eq!(line.chars().nth(column - 1), Some('1'), "{text}");
    }
    assert!(text.contains("12.3µs") && text.contains("100.0") && text.contains('█'), "{text}");
    assert!(text.contains("bars: 40ns to 2.00ms, logarithmic"), "{text}");
}

#[test]
fn an_interval_log_comes_back_as_it_was() {
    let mut events: Vec<Event> =
        (0..5_000).map(|at| authz(Some("a,b c;%"), Some(true), 100 + at * 37)).collect();
    events.extend((0..40).map(|at| authz(Some("bob"), Some(false), at)));
    events.push(ended(Outcome::Open, None));
    let histograms = feed(by(&[By::Subject, By::Decision]), &events);
    let mut bytes = Vec::new();
    assert_eq!(export::interval_log(&histograms, &mut bytes).unwrap(), 2, "no interval without a latency");
    assert!(bytes.starts_with(b"#[Histogram log format version 1.3]\n"));
    let mut read = Vec::new();
    for entry in IntervalLogIterator::new(&bytes) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let payload = STANDARD.decode(interval.encoded_histogram()).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut payload.as_slice()).unwrap();
        let seconds = Duration::from_nanos(WALL_NS.unsigned_abs()).as_secs();
        assert_eq!(interval.start_timestamp().as_secs(), seconds);
        read.push((interval.tag().unwrap().as_str().to_owned(), histogram, interval.max()));
    }
    assert_eq!(read[0].0, "subject=a%2Cb%20c%3B%25;decision=allow");
    assert_eq!(read[1].0, "subject=bob;decision=deny");
    for ((_, histogram, max), group) in read.iter().zip(histograms.groups()) {
        assert_eq!(histogram, group.latencies.raw().histogram().as_ref());
        let told = group.latencies.raw().figures().max_ns.unwrap() as f64 / 1e6;
        assert!((max - told).abs() <= told * latencies::RELATIVE_ERROR + 0.001, "{max} ms for {told}");
    }
}

fn side(probe: &str, count: u64, ns: impl Fn(u64) -> u64) -> Histograms {
    let config = Config { by: vec![By::Probe, By::Process], across_runs: true, ..Config::default() };
    feed(config, &(0..count).map(|at| call(probe, ns(at))).collect::<Vec<_>>())
}

#[test]
fn two_sides_are_compared() {
    // The same spread, the second side 30 % slower; far enough apart for the median and, at 5000 calls, p99.
    let before = side("f", 5_000, |at| 10_000 + at % 1_000);
    let slower = side("f", 5_000, |at| 13_000 + at % 1_000);
    let verdicts = |a: &Histograms, b: &Histograms| {
        let diff = Diff::new(("A", a), ("B", b));
        let (p50, p99) = diff.rows()[0].changes();
        (p50.verdict(), p99.verdict())
    };
    assert_eq!(verdicts(&before, &slower), (Verdict::Higher, Verdict::Higher));
    assert_eq!(verdicts(&slower, &before), (Verdict::Lower, Verdict::Lower));
    let same = side("f", 5_000, |at| 10_000 + (at * 7) % 1_000);
    assert_eq!(verdicts(&before, &same), (Verdict::Unclear, Verdict::Unclear));
    let few = side("f", 60, |at| 13_000 + at);
    assert_eq!(verdicts(&before, &few), (Verdict::Higher, Verdict::TooFew), "60 calls have no p99");

    let told = serde_json::to_value(Diff::new(("A", &before), ("B", &slower))).unwrap();
    let row = &told["groups"][0];
    assert_eq!(row["key"], json!({ "probe": "f", "process": "/srv/shop" }));
    let (a, b) = (row["p50"]["a_ns"].as_i64().unwrap(), row["p50"]["b_ns"].as_i64().unwrap());
    assert_eq!(row["p50"]["change_ns"], b - a);
    let ratio = row["p50"]["change_ratio"].as_f64().unwrap();
    assert!((0.25..0.31).contains(&ratio), "{ratio}");
    let text = Diff::new(("A", &before), ("B", &slower)).text();
    assert!(text.contains("higher") && text.contains("+28.") && text.contains("5000"), "{text}");
}

#[test]
fn a_group_of_one_side_is_shown() {
    let (a, b) = (side("f", 10, |at| at), side("g", 10, |at| at));
    let told = serde_json::to_value(Diff::new(("A", &a), ("B", &b))).unwrap();
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert!(groups.iter().all(|group| group["p50"]["change_ns"].is_null()));
    assert!(groups.iter().all(|group| group["p50"]["verdict"] == "too_few"));
    let text = Diff::new(("A", &a), ("B", &b)).text();
    assert!(text.contains("f  ") && text.contains("g  "), "{text}");
}

#[test]
fn both_sides_have_the_same_groups() {
    // The sides see their subjects in opposite orders, and more of them than groups are asked for.
    let subjects: Vec<String> = (0..10).map(|at| format!("s{at}")).collect();
    let calls = |subject: &String, ns| vec![authz(Some(subject), Some(true), ns); 200];
    let one: Vec<Event> = subjects.iter().flat_map(|subject| calls(subject, 1_000)).collect();
    let two: Vec<Event> = subjects.iter().rev().flat_map(|subject| calls(subject, 3_000)).collect();
    for (groups, others) in [(4, 1_200), (10, 0), (20, 0)] {
        let a = feed(Config { by: vec![By::Subject], groups, across_runs: true }, &one);
        let mut b = Histograms::beside(&a);
        let origin = Origin { realtime_minus_boottime_ns: WALL_NS, ..Origin::default() };
        for event in &two {
            b.feed(event, &origin, || true);
        }
        let diff = Diff::new(("A", &a), ("B", &b));
        let told = serde_json::to_value(&diff).unwrap();
        assert_eq!((&told["a_calls_in_other"], &told["b_calls_in_other"]), (&json!(others), &json!(others)));
        let rows = told["groups"].as_array().unwrap();
        assert_eq!(rows.len(), groups.min(10) + usize::from(others > 0));
        for row in rows.iter().filter(|row| row["other"] == false) {
            assert_eq!((&row["a_count"], &row["b_count"]), (&json!(200), &json!(200)));
            assert_eq!(row["p50"]["verdict"], "higher");
        }
        let text = diff.text();
        assert_eq!(
            text.contains("1200 calls of A and 1200 of B are beyond the first 4 groups"),
            others > 0,
            "{text}"
        );
        if others > 0 {
            let last = rows.last().unwrap();
            assert_eq!((&last["other"], &last["a_count"]), (&json!(true), &json!(1_200)));
            assert_eq!(
                (&last["p50"]["verdict"], &last["p99"]["verdict"]),
                (&json!("not_compared"), &json!("not_compared"))
            );
            assert!(last["p50"]["change_ns"].is_null() && last["p50"]["a_ns"].is_u64());
            assert!(text.contains("not compared"), "{text}");
        }
    }
}

#[test]
fn a_comparison_tells_what_the_probes_cost_on_each_side() {
    let of = |cost: u64| [start(), costs(cost, 4_000), probe("a", false), call("a", 2_000 + cost)];
    let config = Config { across_runs: true, ..by(&[By::Probe]) };
    let (a, b) = (feed(config.clone(), &of(720)), feed(config.clone(), &[of(700), of(716)].concat()));
    let none = feed(config, &[call("a", 2_000)]);
    let diff = Diff::new(("A", &a), ("B", &b));
    let row = serde_json::to_value(&diff).unwrap()["groups"][0].clone();
    assert_eq!((&row["a_probe"]["cost_ns"], &row["a_probe"]["cost_range_ns"]), (&json!(720), &Json::Null));
    assert_eq!(
        (&row["b_probe"]["cost_ns"], &row["b_probe"]["cost_range_ns"]),
        (&Json::Null, &json!([700, 716]))
    );
    for side in ["a_probe", "b_probe"] {
        assert_eq!(
            (&row[side]["corrected"]["p50_ns"], &row[side]["cost_reason"]),
            (&json!(2_000), &Json::Null)
        );
    }
    assert!(diff.text().contains("in A 720ns, in B 700ns to 716ns"), "{}", diff.text());
    assert!(Diff::new(("A", &a), ("B", &none)).text().contains("in B not told by the log"));
}

#[test]
fn probes_that_were_taken_away_are_told() {
    let origin = Origin { realtime_minus_boottime_ns: WALL_NS, ..Origin::default() };
    let told_of = |program: &str, reason: &str, not_seen: &str| {
        let probe = Probe {
            hook: "go".into(),
            program: program.into(),
            attach_point: "uprobe/srv/shop".into(),
            attached: false,
            reason: Some(reason.into()),
            not_seen: Some(not_seen.into()),
            entry_stepped: None,
        };
        Event::control(Ktime(1), Control::Probe(probe))
    };
    let away = |program| told_of(program, "it cost 9.0 % of a CPU: taken\u{1b} away", Probe::FROM_NOW_ON);
    let never = told_of("c", "the code was changed", "its calls");
    let ended = told_of("all", "process 7 ended before its probes were there", "what it did");
    let histograms =
        feed(by(&[By::Probe]), &[start(), never.clone(), call("a", 5), away("a"), away("all"), ended]);
    let told = report(&histograms);
    assert_eq!(told["probes_taken_away"], 2);
    assert_eq!((&told["removals"][0]["probe"], &told["removals"][1]["probe"]), (&json!("a"), &json!("all")));
    let text = table::text(&histograms);
    assert!(text.contains("2 times probes were taken away") && text.contains("(a: it cost 9.0 %"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("was changed") && !text.contains("7 ended"), "{text}");
    let diff = Diff::new(("A", &histograms), ("B", &histograms));
    assert!(diff.text().contains("B: 2 times probes were taken away"), "{}", diff.text());

    let none = feed(by(&[By::Probe]), &[start(), never, call("a", 5)]);
    assert_eq!(report(&none)["probes_taken_away"], 0);
    assert!(!table::text(&none).contains("taken away"));

    // Before the first event that is asked for: it counts in the same run, not in one that is over.
    for (first, count) in [(call("a", 5), 1), (start(), 0)] {
        let mut later = Histograms::new(by(&[By::Probe]));
        for event in [start(), away("a")] {
            later.feed_before(&event);
        }
        later.feed(&first, &origin, || true);
        assert_eq!(later.removed(), count);
    }
}
