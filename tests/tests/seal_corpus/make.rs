//! Makes the corpus: the log out of the demo's real events, with counted seeds and a clock of its own; the cases by
//! attacking it.

use std::path::Path;

use goaudit_ebpf::units::Ktime;
use goaudit_tests::age_key::IDENTITY;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::epoch::{self, EpochKeys};
use goaudit_user::audit::format::FrameKind;
use goaudit_user::audit::note::{Note, SignKey, VerifyKey};
use goaudit_user::audit::{Now, ReadOptions, Reader, Writer, WriterConfig, keys};
use goaudit_user::event::control::{ClockStep, Genesis, Host, Start, Stop};
use goaudit_user::event::{Control, Event, Payload};
use serde_json::{Value, json};

use super::attacker::{
    Segment, Stolen, apart, change_frame, change_segment_header, name, places, rechain, together,
};
use super::patch::{self, Files};
use super::{anchors, chain, content};

/// What an attacker does to segments in parts.
type Change<'a> = &'a dyn Fn(&mut Vec<Segment>);

const CALLED: &str = "goaudit.example/corpus";
/// Nanoseconds in a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// A counted seed.
pub(super) fn seed(count: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&count.to_le_bytes());
    seed
}

/// A writer's configuration with seeds that are counted from `first`.
pub(super) fn config(first: u64) -> WriterConfig {
    let mut config = WriterConfig::new(CALLED, [7; 16], [8; 16]);
    let mut count = first;
    config.seeds = Box::new(move |bytes| {
        count += 1;
        *bytes = seed(count);
        Ok(())
    });
    "goaudit corpus".clone_into(&mut config.agent);
    config.opener = Some(Box::new(|new| {
        let mut bytes = Vec::new();
        let host = Host { name: "corpus".to_owned(), ..Host::default() };
        Event::control(Ktime(new.now.boottime_ns), Control::Segment(host)).encode(&mut bytes);
        bytes
    }));
    config
}

fn now(boottime_ns: u64) -> Now {
    Now { realtime_ns: 1_700_000_000 * SECOND + boottime_ns, boottime_ns }
}

/// Real events, as the demo makes them.
fn demo_events(folder: &LogDir) -> Vec<Event> {
    let log = folder.join("demo");
    assert!(goaudit().args(["demo", "-o", "none", "-w"]).arg(&log).output().unwrap().status.success());
    let mut reader = Reader::open(&log, ReadOptions::default()).unwrap();
    let mut events = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        events.extend(batch.events().map(|event| Event::decode(event).unwrap()));
    }
    events
}

/// Writes a run into a log: these events, a batch each few, a segment each few batches. A log that begins gets its identity
/// first.
fn run(dir: &Path, events: &[Event], seeds: u64, from: u64, steps: bool) {
    run_with(dir, config(seeds), events, from, steps);
}

/// As [`run`], with this configuration.
pub(super) fn run_with(dir: &Path, config: WriterConfig, events: &[Event], from: u64, steps: bool) {
    let mut time = from;
    let (mut writer, opened) = Writer::open(dir, config, now(time)).unwrap();
    let mut back = 0;
    for (number, event) in events.iter().enumerate() {
        let mut event = event.clone();
        if let Payload::Control(control) = &mut event.payload
            && let Control::Genesis(genesis) = control.as_mut()
        {
            *genesis = Genesis {
                origin: opened.origin.clone(),
                verification_key: opened.vkey.clone(),
                agent: "corpus".to_owned(),
                host: genesis.host.clone(),
            };
        }
        let at = Now { realtime_ns: now(time).realtime_ns - back, boottime_ns: time };
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        writer.append(&bytes, time, false, at).unwrap();
        if number % 5 == 4 {
            time += 4 * SECOND;
            writer.tick(Now { realtime_ns: now(time).realtime_ns - back, boottime_ns: time }).unwrap();
            if number % 20 == 19 {
                writer.force_roll();
            }
            if steps && number == 9 {
                // Somebody sets the clock back a day.
                back = 86_400 * SECOND;
                let at = Now { realtime_ns: now(time).realtime_ns - back, boottime_ns: time };
                let delta_ns = writer.clock(at).unwrap().unwrap();
                let mut bytes = Vec::new();
                Event::control(Ktime(time), Control::ClockStep(ClockStep { delta_ns })).encode(&mut bytes);
                writer.append(&bytes, time, false, at).unwrap();
            }
        } else {
            time += SECOND / 100;
        }
    }
    writer.close(Now { realtime_ns: now(time).realtime_ns - back, boottime_ns: time }).unwrap();
}

/// A short run after the real one: it begins and ends, and has nothing else to tell.
pub(super) fn short_run(what: &str) -> Vec<Event> {
    let start = Start { agent: what.to_owned(), clean: true, ..Start::default() };
    let stop = Stop { reason: what.to_owned(), counters: goaudit_user::event::control::Counters::default() };
    let mut events = vec![Event::control(Ktime(1), Control::Start(start))];
    events.extend((0..12).map(|n| {
        let program = goaudit_user::event::control::Calibration {
            emulated_ns: n,
            stepped_ns: n,
            record_ns: None,
            value_ns: None,
        };
        Event::control(Ktime(1), Control::Calibration(program))
    }));
    events.push(Event::control(Ktime(1), Control::Stop(stop)));
    events
}

/// The log as it stood after this many checkpoints of all; the `checkpoint` file is that of then if `then`.
fn cut(files: &Files, checkpoints: usize, then: bool) -> Files {
    let mut cut = files.clone();
    let mut left = checkpoints;
    for name in files.keys().filter(|name| name.starts_with("seg-")) {
        if left == 0 {
            cut.remove(name);
            continue;
        }
        let bytes = &files[name];
        let places = places(bytes);
        for (number, (kind, _)) in places.iter().enumerate() {
            if *kind == FrameKind::Checkpoint {
                left -= 1;
                if left == 0 {
                    let end = places.get(number + 1).map_or(bytes.len(), |(_, place)| *place);
                    cut.insert(name.clone(), bytes[..end].to_vec());
                    break;
                }
            }
        }
    }
    if then {
        cut.insert("checkpoint".to_owned(), last_note(&cut));
    }
    cut
}

fn last_note(files: &Files) -> Vec<u8> {
    let segments = apart(files);
    let mut parts = segments.iter().flat_map(|segment| &segment.parts);
    parts.rfind(|part| part.kind == FrameKind::Checkpoint).unwrap().body.clone()
}

/// Makes the corpus in `dir`.
#[expect(clippy::too_many_lines, reason = "one case after another")]
pub(crate) fn bless(dir: &Path) {
    let folder = LogDir::new();
    let events = demo_events(&folder);
    let log = folder.join("log");
    run(&log, &events, 0, 5 * SECOND, false);
    // What a snapshot of the host had before the second run, and what a verifier remembered then.
    let snapshot = patch::read(&log);
    let state = folder.join("state");
    let key = keys::load_public(&log).unwrap();
    let verify = |log: &Path, state: &Path| {
        let mut command = goaudit();
        command.args(["verify", "--log-key", &key.text(), "--state"]).arg(state).arg(log);
        assert!(command.output().unwrap().status.success());
    };
    verify(&log, &state);
    run(&log, &short_run("second run"), 1000, 900 * SECOND, false);
    let base = patch::read(&log);
    let _ = std::fs::remove_dir_all(dir);
    patch::write(&base, &dir.join("log"));
    verify(&log, &state);
    let stranger = SignKey::from_seed("goaudit.example/other", &[3; 32]).unwrap();
    std::fs::write(dir.join("state.json"), std::fs::read(&state).unwrap()).unwrap();
    std::fs::write(dir.join("log.vkey"), format!("{}\n", key.text())).unwrap();
    let both = format!("# keys of two logs\n{}\n{}\n", stranger.public().text(), key.text());
    std::fs::write(dir.join("keys.txt"), both).unwrap();
    std::fs::write(dir.join("expected.note"), &base["checkpoint"]).unwrap();
    std::fs::write(dir.join("content.key"), IDENTITY).unwrap();
    std::fs::write(dir.join("README.md"), README).unwrap();
    let mut cases = Cases { base: base.clone(), all: Vec::new() };
    let stolen = Stolen::from(&base);

    cases.add("none", "untouched", &base, "ok", "in an unbroken chain").proven();
    cases
        .add("none", "untouched-and-expected", &base, "ok", "contains the expected checkpoint")
        .expected()
        .fresh();
    cases.add("none", "untouched-and-verified-before", &base, "ok", "was verified before").state().fresh();
    cases.add("none", "untouched-but-no-key-is-pinned", &base, "ok", "the key is NOT pinned").unpinned();

    // An event of the first segment.
    let edited = |segments: &mut Vec<Segment>| {
        let part = segments[0].parts.iter_mut().filter(|part| part.is_events()).nth(1).unwrap();
        *part = part.with_events(|events| {
            let last = events[1].len() - 1;
            events[1][last] ^= 1;
        });
    };
    let attack = |change: Change<'_>, sign: &dyn Fn(&Checkpoint) -> String| {
        let mut segments = apart(&base);
        change(&mut segments);
        let note = rechain(&mut segments, sign);
        let mut files = together(&segments, &base);
        files.insert("checkpoint".to_owned(), note.into_bytes());
        files
    };
    let mut segments = apart(&base);
    edited(&mut segments);
    cases.add(
        "edit",
        "edit",
        &together(&segments, &base),
        "tampered",
        "do not hash to the checkpoint's root",
    );
    let old_notes = |head: &Checkpoint| {
        let all = apart(&base);
        let parts = all.iter().flat_map(|segment| &segment.parts);
        let note = parts
            .filter(|part| part.kind == FrameKind::Checkpoint)
            .map(|part| String::from_utf8(part.body.clone()).unwrap())
            .find(|note| {
                Checkpoint::parse_text(Note::parse(note.as_bytes()).unwrap().text()).unwrap().size
                    == head.size
            });
        note.unwrap_or_default()
    };
    let files = attack(&|segments| edited(segments), &old_notes);
    cases.add("edit", "edit-and-rechain", &files, "tampered", "do not hash to the checkpoint's root");
    let (newest, log_only, made_up) = (stolen.newest(), stolen.log_only(), stolen.made_up());
    for (name, sign, says) in [
        ("newest-key", &newest as &dyn Fn(&Checkpoint) -> String, "sealed anew"),
        ("log-key-only", &log_only, "only the log's key signed it"),
        ("made-up-key", &made_up, "by another key than that of epoch 0"),
    ] {
        let files = attack(&|segments| edited(segments), sign);
        cases.add("reseal", &format!("edit-rechain-and-reseal-with-{name}"), &files, "tampered", says);
    }
    let files = attack(&|_| {}, &newest);
    cases.add("reseal", "reseal-without-a-change", &files, "tampered", "sealed anew");
    let nth = |segments: &[Segment], n: usize| {
        let batches = segments[0].parts.iter().enumerate().filter(|(_, part)| part.is_events());
        batches.map(|(place, _)| place).nth(n).unwrap()
    };
    let changes: [(&str, &str, Change<'_>); 3] = [
        ("delete", "after 3 batches", &|segments| {
            let at = nth(segments, 1);
            segments[0].parts.remove(at);
        }),
        ("insert", "where batch", &|segments| {
            let at = nth(segments, 1);
            let copy = segments[0].parts[at].with_events(|events| events.truncate(1));
            segments[0].parts.insert(at, copy);
        }),
        ("reorder", "where batch", &|segments| {
            let (a, b) = (nth(segments, 1), nth(segments, 2));
            segments[0].parts.swap(a, b);
        }),
    ];
    for (name, says, change) in changes {
        let mut segments = apart(&base);
        change(&mut segments);
        cases.add(name, name, &together(&segments, &base), "tampered", says);
        let files = attack(change, &newest);
        cases.add(name, &format!("{name}-rechain-and-reseal"), &files, "tampered", "sealed anew");
    }
    let mut files = base.clone();
    let first = places(&files[&name(0)])[1].1;
    change_frame(files.get_mut(&name(0)).unwrap(), first, |frame| frame[300] ^= 1);
    cases.add(
        "edit",
        "edit-of-stored-bytes-with-a-right-checksum",
        &files,
        "tampered",
        "does not hash to what",
    );

    let all =
        apart(&base).iter().flat_map(|s| s.parts.clone()).filter(|p| p.kind == FrameKind::Checkpoint).count();
    cases.add(
        "truncate",
        "truncate",
        &cut(&base, all - 1, false),
        "tampered",
        "sealed batches are missing at the end",
    );
    let files = cut(&base, all - 1, true);
    cases.add("truncate", "truncate-and-replace-the-checkpoint-file", &files, "incomplete", "no orderly end");
    cases
        .add("truncate", "truncate-but-expected", &files, "tampered", "sealed batches are missing at the end")
        .expected();
    cases
        .add("truncate", "truncate-but-verified-before", &files, "tampered", "sealed batches are missing")
        .state();
    let half = cut(&base, all / 2, true);
    cases
        .add(
            "truncate",
            "truncate-by-half-but-verified-before",
            &half,
            "tampered",
            "sealed batches are missing",
        )
        .state();

    cases.add(
        "rollback",
        "rollback",
        &snapshot,
        "ok",
        "an older copy of the whole directory would look the same",
    );
    cases
        .add("rollback", "rollback-but-expected", &snapshot, "tampered", "sealed batches are missing")
        .expected();
    cases
        .add("rollback", "rollback-but-verified-before", &snapshot, "tampered", "sealed batches are missing")
        .state();

    let fork = folder.join("fork");
    patch::write(&snapshot, &fork);
    let mut other = short_run("another second run");
    other.extend(short_run("and a third"));
    run(&fork, &other, 2000, 900 * SECOND, false);
    let files = patch::read(&fork);
    cases.add("fork", "fork", &files, "ok", "an older copy of the whole directory would look the same");
    cases.add("fork", "fork-but-expected", &files, "tampered", "history was replaced").expected();
    cases.add("fork", "fork-but-verified-before", &files, "tampered", "history was replaced").state();

    let last = apart(&base).len() as u64 - 1;
    let mut files = base.clone();
    files.remove(&name(1));
    cases.add(
        "drop-middle-segment",
        "drop-a-middle-segment",
        &files,
        "tampered",
        "segments 1 to 1 are missing",
    );
    for number in 2..=last {
        let bytes = files.remove(&name(number)).unwrap();
        files.insert(name(number - 1), bytes);
    }
    cases.add(
        "drop-middle-segment",
        "drop-a-middle-segment-and-rename",
        &files,
        "tampered",
        "and holds segment",
    );
    let mut files = base.clone();
    files.remove(&name(0));
    cases.add(
        "drop-oldest-segment",
        "drop-the-oldest-segment",
        &files,
        "tampered",
        "segments 0 to 0 are missing",
    );
    let mut files = base.clone();
    files.remove(&name(last));
    cases.add(
        "truncate",
        "drop-the-newest-segment",
        &files,
        "tampered",
        "sealed batches are missing at the end",
    );

    // Another log in place of this one.
    let swapped = folder.join("swapped");
    run(&swapped, &events, 5000, 5 * SECOND, false);
    let files = patch::read(&swapped);
    cases.add("replace-log", "replace-the-whole-log", &files, "tampered", "of another log");
    cases
        .add("replace-log", "replace-the-whole-log-unpinned", &files, "ok", "the key is NOT pinned")
        .unpinned();
    // With the stolen log key, and epoch keys of the thief's own.
    let made = folder.join("made");
    let first = SignKey::from_seed(&epoch::name(key.name(), 0), &[66; 32]).unwrap();
    let text = EpochKeys::text(&first, None);
    let begun = Files::from([
        ("keys/log.key".to_owned(), base["keys/log.key"].clone()),
        ("keys/log.vkey".to_owned(), base["keys/log.vkey"].clone()),
        ("keys/epoch.key".to_owned(), text.as_bytes().to_vec()),
    ]);
    patch::write(&begun, &made);
    run(&made, &events, 6000, 5 * SECOND, false);
    let files = patch::read(&made);
    cases.add("replace-log", "replace-the-log-with-the-stolen-key", &files, "tampered", "commits to");

    let mut segments = apart(&base);
    let place = segments[0].parts.iter().position(|part| part.kind == FrameKind::Checkpoint).unwrap();
    segments[0].parts.remove(place);
    cases.add(
        "strip-seal",
        "strip-a-checkpoint",
        &together(&segments, &base),
        "tampered",
        "a checkpoint was taken out",
    );
    let mut segments = apart(&base);
    for segment in &mut segments {
        segment.parts.retain(|part| part.kind == FrameKind::Batch);
    }
    let mut files = together(&segments, &base);
    files.remove("checkpoint");
    cases.add("strip-seal", "strip-all-seals", &files, "tampered", "a checkpoint was taken out");
    for (line, name, says) in [(0, "log", "no signature by"), (1, "epoch", "only the log's key signed it")] {
        let mut segments = apart(&base);
        let part = segments[0].parts.iter_mut().find(|part| part.kind == FrameKind::Checkpoint).unwrap();
        let note = String::from_utf8(part.body.clone()).unwrap();
        let (head, lines) = note.rsplit_once("\n\n").unwrap();
        let kept: Vec<&str> =
            lines.lines().enumerate().filter(|(n, _)| *n != line).map(|(_, line)| line).collect();
        part.body = format!("{head}\n\n{}\n", kept.join("\n")).into_bytes();
        let name = format!("strip-the-line-of-the-{name}-key");
        cases.add("strip-seal", &name, &together(&segments, &base), "tampered", says);
    }
    let mut files = base.clone();
    files.remove("keys/log.vkey");
    cases.add("strip-seal", "strip-the-key-unpinned", &files, "incomplete", "no verification key").unpinned();

    for (place, name, says) in [
        (8, "version", "format version"),
        (12, "hash", "hash algorithm"),
        (13, "signature", "signature algorithm"),
        (14, "compression", "compression algorithm"),
        (15, "encryption", "encryption algorithm"),
    ] {
        let mut files = base.clone();
        for (_, bytes) in files.iter_mut().filter(|(name, _)| name.starts_with("seg-")) {
            change_segment_header(bytes, |header| header[place] = 9);
        }
        let name = format!("unknown-{name}");
        cases.add("unknown-algorithm", &name, &files, "incomplete", says);
    }
    for (place, name) in [(4, "hash"), (5, "kind"), (7, "flag")] {
        let mut files = base.clone();
        let at = places(&files[&super::attacker::name(last)])[0].1;
        change_frame(files.get_mut(&super::attacker::name(last)).unwrap(), at, |frame| frame[place] = 0x40);
        let name = format!("unknown-batch-{name}");
        cases.add("unknown-algorithm", &name, &files, "incomplete", "batch ");
    }

    let stepped = folder.join("stepped");
    patch::write(&snapshot, &stepped);
    let mut day = short_run("a day back");
    day.extend(short_run("and on"));
    run(&stepped, &day, 3000, 900 * SECOND, true);
    cases.add("clock", "clock-set-back-a-day", &patch::read(&stepped), "ok", "the wall clock jumped 1 times");
    let mut segments = apart(&base);
    let at = nth(&segments, 1);
    let mut batch = segments[0].parts[at].batch();
    batch.realtime_first_ns = (batch.realtime_first_ns.get() - 3600 * SECOND).into();
    batch.realtime_last_ns = (batch.realtime_last_ns.get() - 3600 * SECOND).into();
    segments[0].parts[at].set_batch(&batch);
    cases.add(
        "clock",
        "times-of-a-batch-changed",
        &together(&segments, &base),
        "tampered",
        "do not hash to the checkpoint's root",
    );

    let mut files = base.clone();
    let bytes = files.get_mut(&name(last)).unwrap();
    let end = places(bytes).last().unwrap().1;
    bytes.truncate(end);
    cases.add("kill", "killed-without-an-end", &files, "incomplete", "no orderly end");
    for (number, at, what) in
        [(0, 100, "segment-header"), (0, first_batch_body(&base), "payload"), (1, 5000, "second-segment")]
    {
        let mut files = base.clone();
        files.get_mut(&name(number)).unwrap()[at] ^= 0x10;
        cases.add("bit-rot", &format!("bit-rot-in-a-{what}"), &files, "damaged", "checksum");
    }
    let mut files = base.clone();
    files.insert("checkpoint".to_owned(), b"half a no".to_vec());
    cases.add("bit-rot", "garbage-in-the-checkpoint-file", &files, "damaged", "the checkpoint file");
    for (name_of, bytes) in [("zeros", vec![0; 4096]), ("garbage", (0..=255).collect::<Vec<u8>>())] {
        let mut files = base.clone();
        files.get_mut(&name(last)).unwrap().extend(bytes);
        cases.add("torn-write", &format!("{name_of}-at-the-end"), &files, "damaged", "");
    }
    let mut files = base.clone();
    let bytes = files.get_mut(&name(last)).unwrap();
    bytes.truncate(bytes.len() - 9);
    cases.add("torn-write", "torn-write", &files, "damaged", "torn tail");

    let lost = folder.join("lost");
    patch::write(&base, &lost);
    std::fs::remove_file(lost.join("keys/epoch.key")).unwrap();
    run(&lost, &short_run("after the key was lost"), 4000, 1900 * SECOND, false);
    cases.add(
        "lost-key",
        "the-epoch-key-file-was-lost",
        &patch::read(&lost),
        "damaged",
        "key chain broken at size",
    );
    let mut segments = apart(&base);
    segments[0].parts.remove(0);
    cases.add(
        "replace-log",
        "the-first-record-taken-out",
        &together(&segments, &base),
        "tampered",
        "where batch 0 belongs",
    );

    content::add(&mut cases, &events, &folder);
    chain::add(&mut cases, dir, &folder);
    anchors::add(&mut cases, dir, &key);

    let document = json!({
        "about": "Each case: make a copy of `log`, apply `changes` (per file: replace `delete` bytes at `at` by `insert`, base64; \
                  or remove the file), verify with `arguments` (names of files beside this one, or options). `says` is part of what \
                  goaudit tells; `state` is a file for --state.",
        "log_key": key.text(),
        "cases": cases.all,
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap();
    text.push('\n');
    std::fs::write(dir.join("cases.json"), text).unwrap();
    assert_eq!(VerifyKey::parse(&key.text()).unwrap(), key);
}

/// A place in the payload of the second batch.
fn first_batch_body(files: &Files) -> usize {
    places(&files[&name(0)])[1].1 + 16 + 256 + 20
}

pub(super) struct Cases {
    pub(super) base: Files,
    all: Vec<Value>,
}

impl Cases {
    /// A case; `says` stands in what is not proven, and freshness is not.
    pub(super) fn add(
        &mut self,
        threat: &str,
        name: &str,
        files: &Files,
        verdict: &str,
        says: &str,
    ) -> Case<'_> {
        let exit = match verdict {
            "ok" => 0,
            "incomplete" => 4,
            _ => 3,
        };
        self.all.push(json!({
            "name": name,
            "threat": threat,
            "changes": patch::between(&self.base, files),
            "arguments": ["--log-key", "log.vkey"],
            "verdict": verdict,
            "exit": exit,
            "freshness": "not_proven",
            "says": says,
        }));
        Case(self.all.last_mut().unwrap())
    }
}

/// The case that was just added.
pub(super) struct Case<'a>(&'a mut Value);

impl Case<'_> {
    fn expected(self) -> Self {
        let arguments = self.0["arguments"].as_array_mut().unwrap();
        arguments.extend([json!("--expect"), json!("expected.note")]);
        self
    }

    fn state(self) -> Self {
        self.0["state"] = json!("state.json");
        self
    }

    pub(super) fn with_key(self) -> Self {
        let arguments = self.0["arguments"].as_array_mut().unwrap();
        arguments.extend([json!("--content-key"), json!("content.key")]);
        self
    }

    fn unpinned(self) -> Self {
        self.0["arguments"] = json!([]);
        self
    }

    /// With these arguments and no others.
    pub(super) fn with(self, arguments: &[&str]) -> Self {
        self.0["arguments"] = json!(arguments);
        self
    }

    pub(super) fn fresh(self) {
        self.0["freshness"] = json!("proven");
        self.proven();
    }

    /// What it says is something that is proven.
    pub(super) fn proven(self) {
        self.0["proven"] = json!(true);
    }
}

const README: &str = "\
# The attack corpus of the sealed log

`log` is a small log of real events (of `goaudit demo`): two runs, several segments, several epochs; its secret keys lie in it, as
on a host whose root is an attacker. `cases.json` has what attackers, failing disks and honest people do to it, as changes of
bytes, and what a verifier must say of each: verdict, exit code, freshness. `log.vkey` is the key from outside, `expected.note` a
checkpoint that was kept elsewhere, `state.json` what `goaudit verify --state` had remembered, `keys.txt` a file of several keys. Some cases
are of another log, with an HMAC chain: `chain.vkey` is its key from outside, `hmac.key` the first key of its chain. `policy` is
that of the witness whose cosignatures some cases have. Under the threat `encryption` are cases of a log with the same keys whose
events are encrypted to `content.key`.

The format is docs/audit-format.md. Cases with the verdict `ok` under a threat are the ones that no verifier can find without
something from outside of the log; each of them is there again with such a thing, and is found.

`cargo test -p goaudit-tests --test seal_corpus` runs goaudit over all of them; with `GOAUDIT_BLESS=1` it makes them anew. Keys
and seeds are counted numbers, not random (but for wrapped keys, which are others each time): nothing here is a secret.
";
