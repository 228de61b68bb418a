//! Every place: out of an event and back, with the key; without it nothing of it is left but its name.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use goaudit_ebpf::units::Ktime;

use super::places::PLACES;
use super::*;
use crate::audit::personal::Personal;
use crate::audit::{ContentKeys, Now, Writer, WriterConfig};
use crate::event::go::{Field, Value};
use crate::event::{Authz, Event, Exec, GoCall, GoPanic, Payload, Process};

/// In no field but personal ones.
const SECRET: &str = "Tr0ub4dor";
const DAY_NS: u64 = 86_400_000_000_000;

struct Log {
    dir: tempfile::TempDir,
    identity: PathBuf,
    writer: Writer,
    vault: Vault,
}

fn now(day: u64) -> Now {
    Now { realtime_ns: day * DAY_NS + 5, boottime_ns: day * 1_000_000 }
}

fn log(classes: &[Class]) -> Log {
    use age::secrecy::ExposeSecret as _;
    let dir = tempfile::tempdir().unwrap();
    let secret = age::x25519::Identity::generate();
    let identity = dir.path().join("identity");
    std::fs::write(&identity, secret.to_string().expose_secret()).unwrap();
    let personal = Personal {
        classes: classes.iter().map(|class| class.name().to_owned()).collect(),
        recipients: vec![secret.to_public().to_string()],
        shred_after_days: 2,
    };
    let mut config = WriterConfig::new("example.org/personal", [1; 16], [2; 16]);
    config.personal = Some(personal);
    let (writer, opened) = Writer::open(&dir.path().join("log"), config, now(20_000)).unwrap();
    let vault = Vault::new(&opened.personal.unwrap()).unwrap();
    Log { dir, identity, writer, vault }
}

impl Log {
    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn opener(&self) -> Opener {
        Opener::new(&self.path(), ContentKeys::load(&self.identity).unwrap())
    }

    fn seal(&mut self, event: &Event, day: u64) -> Event {
        self.vault.seal(event, &mut self.writer, now(day)).unwrap()
    }
}

fn fields() -> Vec<Field> {
    let value = Value::Text(SECRET.into());
    vec![Field { name: "sub".into(), value, dynamic_type: None, total: None }]
}

/// One of each kind that has personal fields, with all of them.
fn events() -> Vec<Event> {
    let text = || Some(SECRET.into());
    let authz = Authz {
        call: GoCall { probe: "p".into(), fields: fields(), ..GoCall::default() },
        subject_id: text(),
        subject_type: Some("user".into()),
        object: text(),
        context_hash: Some(SECRET.into()),
        subject_fingerprint: Some(SECRET.into()),
        error: text(),
        decision: Some(true),
        ..Authz::default()
    };
    let exec = Exec {
        argv: vec!["sh".into(), SECRET.into()],
        entry_argv: vec![SECRET.into()],
        env: vec![("HOME".into(), SECRET.into())],
        cwd: text(),
        filename: text(),
        ..Exec::default()
    };
    let panic = GoPanic { message: text(), traceback: text(), ..GoPanic::default() };
    let call = GoCall { probe: "q".into(), fields: fields(), ..GoCall::default() };
    let payloads = [
        Payload::Authz(Box::new(authz)),
        Payload::Exec(Box::new(exec)),
        Payload::GoPanic(Box::new(panic)),
        Payload::GoCall(Box::new(call)),
    ];
    let event = |(payload, ktime): (Payload, u64)| Event {
        ktime: Ktime(ktime),
        source: None,
        process: Some(Process { tgid: 9, comm: "sh".into(), user: text(), ..Process::default() }),
        payload,
        missing: Vec::new(),
        sealed: None,
    };
    payloads.into_iter().zip(1..).map(event).collect()
}

fn all() -> Vec<Class> {
    Class::NAMES.iter().map(|(class, ..)| *class).collect()
}

fn stored(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    bytes
}

fn tells(event: &Event, text: &str) -> bool {
    stored(event).windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn numbers_of_places_are_unique_and_stay() {
    let numbers: Vec<u32> = PLACES.iter().map(|place| place.number).collect();
    assert_eq!(numbers, (0..15).collect::<Vec<_>>());
    let paths: BTreeSet<&str> = PLACES.iter().map(|place| place.path).collect();
    assert_eq!(paths.len(), PLACES.len());
}

#[test]
fn every_place_goes_out_and_comes_back() {
    let mut log = log(&all());
    let mut opener = log.opener();
    let mut seen = BTreeSet::new();
    for event in events() {
        let sealed = log.seal(&event, 20_000);
        assert!(tells(&event, SECRET) && !tells(&sealed, SECRET), "{sealed:?}");
        seen.extend(sealed.sealed.iter().flatten().flat_map(|sealed| sealed.places.clone()));
        // As the log has it.
        let mut opened = Event::decode(&stored(&sealed)).unwrap();
        assert_eq!(opened, sealed);
        opener.open(&mut opened);
        assert_eq!(opened, event);
    }
    assert_eq!(seen.len(), PLACES.len(), "{seen:?}");
}

#[test]
fn without_the_key_each_field_is_named() {
    let mut log = log(&[Class::Subject, Class::User]);
    let event = &events()[0];
    let sealed = log.seal(event, 20_000);
    let missing = |mut opener: Opener| {
        let mut opened = sealed.clone();
        opener.open(&mut opened);
        assert!(opened.sealed.is_none());
        opened.missing
    };
    let told = missing(Opener::new(&log.path(), ContentKeys::default()));
    let fields: Vec<&str> = told.iter().map(|missing| missing.field.as_ref()).collect();
    let wanted = [
        "authz.authz_subject_id",
        "authz.subject_fingerprint",
        "authz.call.fields",
        "authz.authz_error",
        "process.user",
    ];
    assert_eq!(fields.iter().collect::<BTreeSet<_>>(), wanted.iter().collect());
    assert_eq!(told[0].reason, "personal (subject-2024-10-04-0): encrypted; give --content-key");
    assert!(missing(Opener::default())[0].reason.ends_with(": encrypted"));
    // What is not of these classes stays in clear.
    let Payload::Authz(authz) = &sealed.payload else { unreachable!("it is one") };
    assert_eq!(authz.object, Some(SECRET.into()));
    // The file of the key is gone.
    std::fs::remove_file(log.path().join("personal/subject-2024-10-04-0.age")).unwrap();
    assert!(missing(log.opener())[0].reason.contains("its key is not in the log's directory"));
}

#[test]
fn a_changed_value_is_not_shown() {
    let mut log = log(&all());
    let event = &events()[1];
    let good = log.seal(event, 20_000);
    let other = log.seal(&Event { ktime: Ktime(99), ..event.clone() }, 20_000);
    let list = |event: &Event| event.sealed.clone().unwrap();
    let change = |index: usize, change: &dyn Fn(&mut Sealed)| {
        let mut changed = good.clone();
        change(&mut changed.sealed.as_mut().unwrap()[index]);
        changed
    };
    let names: Vec<String> = list(&good).into_iter().map(|sealed| sealed.key).collect();
    assert_eq!(names, ["arguments-2024-10-04-0", "user-2024-10-04-0"]);
    let changed = [
        change(0, &|sealed| sealed.bytes[0] ^= 1),
        change(0, &|sealed| sealed.number += 1),
        change(0, &|sealed| sealed.places.reverse()),
        change(0, &|sealed| sealed.places.push(7_000)),
        change(0, &|sealed| sealed.key = "user-2024-10-04-0".into()),
        change(0, &|sealed| sealed.bytes.truncate(3)),
        // Taken from another event.
        Event { sealed: other.sealed.clone(), ..good.clone() },
    ];
    for (which, changed) in changed.into_iter().enumerate() {
        let mut opened = changed;
        log.opener().open(&mut opened);
        let Payload::Exec(exec) = &opened.payload else { unreachable!("it is one") };
        assert!(exec.argv.is_empty(), "change {which}");
        let reason = opened.missing[0].reason.to_string();
        assert!(reason.contains("does not open with its key"), "change {which}: {reason}");
    }
    for name in
        ["", "subject", "../../etc/passwd", "Subject-2024-10-04-0", "user-2024-10-4-0", "user-2024-10-04-00"]
    {
        let mut opened = change(0, &|sealed| name.clone_into(&mut sealed.key));
        log.opener().open(&mut opened);
        assert!(opened.missing[0].reason.contains("no proper name"), "{name}: {:?}", opened.missing);
    }
}

#[test]
fn each_day_has_a_key_and_old_ones_are_destroyed() {
    let mut log = log(&[Class::Arguments]);
    let event = events().remove(1);
    let days: Vec<Event> = (20_000..20_004).map(|day| log.seal(&event, day)).collect();
    let keys: BTreeSet<String> =
        days.iter().flat_map(|event| event.sealed.clone().unwrap()).map(|sealed| sealed.key).collect();
    assert_eq!(keys.len(), 4);
    log.vault.shred(&mut log.writer, now(20_004)).unwrap();
    // Two days are kept beside today.
    let mut opener = log.opener();
    let opened: Vec<bool> = days
        .into_iter()
        .map(|mut event| {
            opener.open(&mut event);
            let destroyed = event
                .missing
                .first()
                .is_some_and(|missing| missing.reason.ends_with("its key was destroyed"));
            assert_eq!(destroyed, !event.missing.is_empty(), "{:?}", event.missing);
            event.missing.is_empty()
        })
        .collect();
    assert_eq!(opened, [false, false, true, true]);
    // A clock that was set back does not bring an old key back.
    let again = log.seal(&event, 20_000).sealed.unwrap().remove(0);
    assert_eq!((again.key.as_str(), again.number), ("arguments-2024-10-04-1", 0));
}

#[test]
fn a_class_of_another_version_is_refused() {
    let personal = Personal { classes: vec!["shoe".into()], recipients: Vec::new(), shred_after_days: 0 };
    let error = Vault::new(&personal).unwrap_err().to_string();
    assert!(error.contains("\"shoe\""), "{error}");
    for (class, name, _) in Class::NAMES {
        assert_eq!((Class::of(name), class.name()), (Some(class), name));
        assert!(crate::audit::personal::is_class(name));
    }
}
