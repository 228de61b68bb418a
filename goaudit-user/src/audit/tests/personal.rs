//! Keys of personal fields beside a log: named before they are used, destroyed only after the log has said so.

use super::encryption::Person;
use super::*;
use crate::audit::content::NamedKey;
use crate::audit::day::Day;
use crate::audit::personal::{NamedPersonalKey, Personal, PersonalDir, PersonalKeyId};
use crate::audit::record::Record;

fn personal(person: &Person) -> Personal {
    Personal {
        classes: vec!["subject".to_owned(), "user".to_owned()],
        recipients: vec![person.recipient.clone()],
        shred_after_days: 30,
    }
}

/// A log that uses two keys on each of two days; the names of the keys.
fn write(dir: &Path, person: &Person) -> Vec<PersonalKeyId> {
    let mut clock = Clock(5_000_000_000);
    let mut ids = Vec::new();
    for day in 0..2 {
        // An existing log says itself how its personal fields are encrypted.
        let asked = (day == 0).then(|| personal(person));
        let (mut writer, opened) =
            Writer::open(dir, WriterConfig { personal: asked, ..config() }, clock.now()).unwrap();
        assert_eq!(
            (opened.personal.as_ref(), writer.personal()),
            (Some(&personal(person)), Some(&personal(person)))
        );
        for class in ["subject", "user"] {
            ids.push(writer.new_personal_key(class, clock.now()).unwrap().id);
            writer.append(class.as_bytes(), clock.0, false, clock.now()).unwrap();
        }
        writer.close(clock.now()).unwrap();
        clock.forward_ms(86_400_000);
    }
    ids
}

fn keys(report: &Report) -> (bool, String) {
    let check = report.checks.iter().find(|check| check.name == "personal_keys").unwrap();
    (check.ok, check.detail.clone())
}

fn file(dir: &Path, id: &PersonalKeyId, suffix: &str) -> PathBuf {
    dir.join("personal").join(format!("{id}.{suffix}"))
}

fn shred(dir: &Path, before: Day, class: Option<&str>) -> Vec<PersonalKeyId> {
    let now = Clock(3 * 86_400_000_000_000).now();
    let (mut writer, _) = Writer::open(dir, config(), now).unwrap();
    let ids = writer.shred(before, class, now).unwrap();
    writer.close(now).unwrap();
    ids
}

#[test]
fn the_log_names_its_keys_and_says_what_it_destroys() {
    let (dir, person) = (fast_dir(), Person::new());
    let dir = dir.path();
    let ids = write(dir, &person);
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["subject-2023-11-14-0", "user-2023-11-14-0", "subject-2023-11-15-0", "user-2023-11-15-0"]
    );
    let report = check(dir);
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!(keys(&report), (true, "the log names 4 keys of personal fields, and destroyed 0".to_owned()));
    // With the identity each is held against what the log committed to.
    let options = VerifyOptions { content_keys: person.keys(), ..VerifyOptions::default() };
    let report = verify(&[dir.to_owned()], &options, None).unwrap();
    assert!(keys(&report).1.ends_with("the identities that were given open 4"), "{report:#?}");

    assert_eq!(shred(dir, ids[2].day, Some("user")), [ids[1].clone()]);
    assert_eq!(shred(dir, ids[2].day, Some("user")), []);
    assert_eq!(shred(dir, ids[2].day, None), [ids[0].clone()]);
    let report = check(dir);
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!(keys(&report), (true, "the log names 4 keys of personal fields, and destroyed 2".to_owned()));
    assert_eq!(std::fs::read(file(dir, &ids[0], "shredded")).unwrap(), b"");
    assert!(!file(dir, &ids[0], "age").exists() && file(dir, &ids[2], "age").exists());
    // A key of a day whose first key is gone has another name.
    let mut clock = Clock(3 * 86_400_000_000_000);
    let (mut writer, _) = Writer::open(dir, config(), clock.now()).unwrap();
    clock.0 = 5_000_000_000;
    assert_eq!(writer.new_personal_key("user", clock.now()).unwrap().id.to_string(), "user-2023-11-14-1");
    writer.close(clock.now()).unwrap();
    assert_eq!(check(dir).verdict, Verdict::Ok);
}

#[test]
fn what_was_done_to_the_files_is_told() {
    let person = Person::new();
    let told = |change: &dyn Fn(&Path, &[PersonalKeyId])| {
        let dir = fast_dir();
        let ids = write(dir.path(), &person);
        change(dir.path(), &ids);
        let report = check(dir.path());
        (report.verdict, keys(&report))
    };
    let (verdict, (ok, what)) = told(&|dir, ids| std::fs::remove_file(file(dir, &ids[0], "age")).unwrap());
    assert_eq!((verdict, ok), (Verdict::Ok, false));
    assert!(what.ends_with("1 are not in the log's directory"), "{what}");
    let (verdict, (ok, what)) = told(&|dir, ids| PersonalDir::of(dir).destroy(&ids[0]).unwrap());
    assert_eq!((verdict, ok), (Verdict::Incomplete, false));
    assert_eq!(what, "subject-2023-11-14-0 was destroyed, and the log does not say so");
    let (verdict, (ok, what)) = told(&|dir, ids| {
        std::fs::copy(file(dir, &ids[0], "age"), file(dir, &ids[1], "age")).unwrap();
    });
    assert_eq!((verdict, ok), (Verdict::Tampered, false));
    assert_eq!(what, "the file of the key user-2023-11-14-0 is not the one that the log named");
    let (verdict, (ok, what)) = told(&|dir, ids| {
        let kept = std::fs::read(file(dir, &ids[0], "age")).unwrap();
        shred(dir, ids[2].day, None);
        std::fs::write(file(dir, &ids[0], "age"), kept).unwrap();
    });
    assert_eq!((verdict, ok), (Verdict::Incomplete, false));
    assert!(what.contains("subject-2023-11-14-0 was to be destroyed, and it is there"), "{what}");
    // Whatever lies there besides is no key.
    let (verdict, (ok, _)) = told(&|dir, _| {
        for name in ["x.age", "subject-2023-11-14-9.age.tmp", "SUBJECT-2023-11-14-0.age", ".age"] {
            std::fs::write(dir.join("personal").join(name), b"?").unwrap();
        }
        assert_eq!(shreddable(dir, Day(u32::MAX), None).unwrap().len(), 4);
    });
    assert_eq!((verdict, ok), (Verdict::Ok, true));
    let (verdict, (ok, what)) = told(&|dir, ids| {
        let path = file(dir, &ids[0], "age");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    });
    assert_eq!((verdict, ok), (Verdict::Incomplete, false));
    assert!(what.contains("not a regular file"), "{what}");
}

#[test]
fn a_link_is_not_destroyed_in_place_of_a_key() {
    let (dir, person) = (fast_dir(), Person::new());
    let ids = write(dir.path(), &person);
    let victim = dir.path().join("victim");
    std::fs::write(&victim, b"precious").unwrap();
    let path = file(dir.path(), &ids[0], "age");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    let now = Clock(3 * 86_400_000_000_000).now();
    let (mut writer, _) = Writer::open(dir.path(), config(), now).unwrap();
    let error = writer.shred(Day(u32::MAX), None, now).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    writer.close(now).unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn records_have_one_form() {
    let id: PersonalKeyId = "subject-2026-11-22-3".parse().unwrap();
    assert_eq!((id.day, id.number), (Day(20_779), 3));
    let key = NamedKey { wrapped_sha256: [0x12; 32], commitment: [0xef; 32] };
    let named = NamedPersonalKey { id: id.clone(), key };
    let named = Record::PersonalKey(named);
    let text = format!(
        "goaudit-record/1 personal-key\nkey subject-2026-11-22-3\nwrapped-sha256 {}\nkey-commitment {}\n",
        "12".repeat(32),
        "ef".repeat(32)
    );
    assert_eq!(named.text(), text);
    assert_eq!(Record::parse(text.as_bytes()).unwrap(), named);
    let shred = Record::PersonalShred(vec![id.clone(), PersonalKeyId { number: 4, ..id }]);
    let said = "goaudit-record/1 personal-shred\nkey subject-2026-11-22-3\nkey subject-2026-11-22-4\n";
    assert_eq!(shred.text(), said);
    assert_eq!(Record::parse(said.as_bytes()).unwrap(), shred);
    for (from, to) in [
        ("subject", "Subject"),
        ("2026-11-22", "2026-11-32"),
        ("2026-11-22", "20261122"),
        ("-3\n", "-03\n"),
        ("-3\n", "\n"),
        ("-3\n", "-3 \n"),
        ("key ", "Key "),
    ] {
        assert!(Record::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} {to}");
        assert!(Record::parse(said.replacen(from, to, 1).as_bytes()).is_err(), "{from} {to}");
    }
}

#[test]
fn a_log_without_personal_fields_has_no_keys_of_them() {
    let (dir, other, person) = (fast_dir(), fast_dir(), Person::new());
    // The records of one log in another: what its own first record does not allow.
    let now = Clock(5_000_000_000).now();
    let (mut writer, _) = Writer::open(dir.path(), config(), now).unwrap();
    assert!(writer.new_personal_key("subject", now).is_err());
    writer.close(now).unwrap();
    assert!(!check(dir.path()).checks.iter().any(|check| check.name == "personal_keys"));
    write(other.path(), &person);
    let bad = WriterConfig {
        personal: Some(Personal { recipients: vec!["age1nobody".to_owned()], ..personal(&person) }),
        ..config()
    };
    let third = fast_dir();
    assert!(Writer::open(third.path(), bad, now).is_err());
    // Of a log that has such keys the beginning is needed to go on.
    let first = segments(other.path()).remove(0);
    std::fs::remove_file(first).unwrap();
    let error = Writer::open(other.path(), config(), now).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("continue the log"), "{error}");
}
