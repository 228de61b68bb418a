//! Directories that are not what a writer expects: links, other owners, copies, other versions, clocks that went back.
//! Each has a verdict that names cause and fix, and nothing is thrown away.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::audit::format::SEGMENT_HEADER_LEN;

fn open(dir: &Path) -> Result<Opened, AuditError> {
    Writer::open(dir, config(), Clock(9_000_000_000).now()).map(|(_, opened)| opened)
}

/// What refuses to open it, and that nothing was written because of it.
fn refused(dir: &Path) -> AuditError {
    let before = segments(dir).len();
    let error = open(dir).unwrap_err();
    assert_eq!(segments(dir).len(), before, "{error}");
    error
}

#[test]
fn links_in_the_directory_are_refused() {
    for name in ["lock", "place", "checkpoint", "keys/log.key", "keys", "torn", "pruned"] {
        let (dir, elsewhere) = (fast_dir(), fast_dir());
        sample(dir.path(), 1, 2, 2);
        let path = dir.path().join(name);
        // The same content, behind a link.
        let target = elsewhere.path().join("target");
        if path.exists() {
            std::fs::rename(&path, &target).unwrap();
        } else {
            std::fs::create_dir(&target).unwrap();
        }
        symlink(&target, &path).unwrap();
        let error = refused(dir.path());
        assert!(
            matches!(
                error,
                AuditError::NotAFile(_) | AuditError::NotOurs { .. } | AuditError::Unrecoverable { .. }
            ),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("link") && error.to_string().contains(name), "{name}: {error}");
    }
    // The last segment behind a link, also for readers.
    let (dir, elsewhere) = (fast_dir(), fast_dir());
    sample(dir.path(), 1, 2, 2);
    let path = segments(dir.path()).remove(0);
    let target = elsewhere.path().join("target");
    std::fs::rename(&path, &target).unwrap();
    symlink(&target, &path).unwrap();
    assert!(matches!(refused(dir.path()), AuditError::NotAFile(_)));
    assert!(matches!(
        verify(&[dir.path().to_owned()], &VerifyOptions::default(), None),
        Err(AuditError::NotAFile(_))
    ));
}

#[test]
fn a_pipe_as_checkpoint_file_does_not_block_and_is_told() {
    let dir = fast_dir();
    sample(dir.path(), 1, 2, 2);
    let path = dir.path().join("checkpoint");
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(check(dir.path()).verdict, Verdict::Damaged);
    assert!(refused(dir.path()).to_string().contains("checkpoint is a link or no file"));
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that the host does not allow says so")]
fn directories_of_others_are_refused() {
    let dir = fast_dir();
    sample(dir.path(), 1, 1, 1);
    for (path, mode) in [(dir.path().to_owned(), 0o777), (dir.path().join("keys"), 0o720)] {
        let before = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(dir.path());
        assert!(
            error.to_string().contains("others may write") && error.to_string().contains("chmod"),
            "{error}"
        );
        std::fs::set_permissions(&path, before).unwrap();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to give a directory away");
        return;
    }
    let link = dir.path().with_extension("link");
    symlink(dir.path(), &link).unwrap();
    open(&link).unwrap();
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    let error = open(&link).unwrap_err();
    std::fs::remove_file(&link).unwrap();
    assert!(error.to_string().contains("link that user 12345 laid"), "{error}");
    std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
    let error = refused(dir.path());
    assert!(
        error.to_string().contains("belongs to user 12345") && error.to_string().contains("chown"),
        "{error}"
    );
}

/// All files of a directory, copied.
fn copy_all(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_copy_is_verified_but_not_continued_until_told_to() {
    let place = fast_dir();
    let (dir, copy) = (place.path().join("log"), place.path().join("copy"));
    sample(&dir, 1, 2, 2);
    copy_all(&dir, &copy);
    assert_eq!(check(&copy).verdict, Verdict::Ok);
    let error = refused(&copy);
    assert!(matches!(error, AuditError::Copied { .. }), "{error}");
    assert!(
        error.to_string().contains("copy of another directory")
            && error.to_string().contains("remove the file")
    );
    // The original goes on, also under another name.
    let renamed = place.path().join("renamed");
    std::fs::rename(&dir, &renamed).unwrap();
    open(&renamed).unwrap();
    // Who knows better says so.
    std::fs::remove_file(copy.join("place")).unwrap();
    open(&copy).unwrap();
    // Another host.
    let mut other = config();
    other.host_id = [9; 16];
    let error = Writer::open(&renamed, other, Clock(9_000_000_000).now()).err().unwrap();
    assert!(error.to_string().contains("another host"), "{error}");
}

#[test]
fn a_log_put_back_from_a_snapshot_does_not_pass_for_the_latest() {
    let place = fast_dir();
    let (dir, old) = (place.path().join("log"), place.path().join("old"));
    sample(&dir, 1, 2, 2);
    copy_all(&dir, &old);
    std::fs::remove_file(old.join("place")).unwrap();
    let clock = Clock(50_000_000_000);
    let (mut writer, _) = Writer::open(&dir, config(), clock.now()).unwrap();
    writer.append(b"later", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    let pinned = std::fs::read_to_string(dir.join("checkpoint")).unwrap();
    assert_eq!(check(&old).freshness, Freshness::NotProven);
    let options = VerifyOptions { expect: Some(pinned), threads: Some(1), ..VerifyOptions::default() };
    let report = verify(std::slice::from_ref(&old), &options, None).unwrap();
    assert_eq!((report.verdict, report.freshness), (Verdict::Tampered, Freshness::NotProven), "{report:#?}");
    // A snapshot whose checkpoint file is newer than its segments is not continued.
    std::fs::copy(dir.join("checkpoint"), old.join("checkpoint")).unwrap();
    assert!(refused(&old).to_string().contains("sealed batches are missing"));
}

#[test]
fn another_version_is_foreign_and_not_damaged() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change); 3] = [
        ("version 2", |bytes| bytes[8] = 2),
        ("encryption algorithm 9", |bytes| bytes[15] = 9),
        ("hash algorithm 7", |bytes| bytes[12] = 7),
    ];
    for (what, change) in cases {
        let dir = fast_dir();
        sample(dir.path(), 2, 2, 2);
        let path = segments(dir.path()).remove(1);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER_LEN - 4]);
        bytes[SEGMENT_HEADER_LEN - 4..SEGMENT_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, AuditError::Foreign { .. }), "{error}");
        assert!(
            error.to_string().contains(what) && error.to_string().contains("goaudit that wrote it"),
            "{error}"
        );
        let report = check(dir.path());
        assert_eq!(report.verdict, Verdict::Incomplete, "{report:#?}");
        assert!(report.checks.iter().any(|check| !check.ok && check.detail.contains(what)), "{report:#?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_clock_set_back_a_day_is_told_and_the_log_goes_on() {
    let dir = fast_dir();
    let day = 86_400_000_000_000;
    let mut clock = Clock(5_000_000_000);
    let (mut writer, opened) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert_eq!(opened.clock_behind_ns, None);
    writer.append(b"today", clock.0, false, clock.now()).unwrap();
    // Within a run.
    let back = |clock: Clock| Now { realtime_ns: clock.now().realtime_ns - day, ..clock.now() };
    clock.forward_ms(5);
    assert_eq!(writer.clock(back(clock)).unwrap(), Some(-i64::try_from(day).unwrap()));
    writer.append(b"yesterday", clock.0, false, back(clock)).unwrap();
    clock.forward_ms(2000);
    writer.tick(back(clock)).unwrap();
    assert_eq!(writer.clock(clock.now()).unwrap(), Some(i64::try_from(day).unwrap()));
    writer.append(b"today again", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    // Between two runs.
    clock.forward_ms(1000);
    let (mut writer, opened) = Writer::open(dir.path(), config(), back(clock)).unwrap();
    assert_eq!(opened.clock_behind_ns, Some(day - 1_000_000_000));
    writer.append(b"the day before", clock.0, false, back(clock)).unwrap();
    writer.close(back(clock)).unwrap();
    assert_eq!(read_all(dir.path()), [&b"today"[..], b"yesterday", b"today again", b"the day before"]);
    assert_eq!(check(dir.path()).verdict, Verdict::Ok);
}

#[test]
fn repair_sets_aside_and_deletes_nothing() {
    let dir = fast_dir();
    sample(dir.path(), 1, 3, 2);
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(repair(dir.path(), None).unwrap(), Repaired { torn: None, damage: None, checkpoint: None });
    // The end was cut off within its last frame, and the checkpoint file is torn.
    let cut = &whole[..whole.len() - 20];
    std::fs::write(&path, cut).unwrap();
    std::fs::write(dir.path().join("checkpoint"), b"half a no").unwrap();
    assert_eq!(check(dir.path()).verdict, Verdict::Damaged);
    let repaired = repair(dir.path(), None).unwrap();
    let torn = repaired.torn.unwrap();
    let mut together = std::fs::read(&path).unwrap();
    assert_eq!(torn.offset as usize, together.len());
    together.extend(std::fs::read(&torn.path).unwrap());
    assert_eq!(together, cut, "every byte is still there");
    assert_eq!(repaired.checkpoint, Some(check(dir.path()).size));
    assert_eq!(std::fs::read(dir.path().join("torn/checkpoint.0")).unwrap(), b"half a no");
    let report = check(dir.path());
    assert_eq!((report.verdict, report.sealed_events), (Verdict::Incomplete, 6), "{report:#?}");
    // The next run still records what was set aside before it.
    let opened = open(dir.path()).unwrap();
    assert_eq!(opened.torn, Some(torn));
    // Damage in the middle is evidence.
    let mut damaged = whole.clone();
    damaged[SEGMENT_HEADER_LEN + 40] ^= 1;
    let second = fast_dir();
    copy_all(&dir.path().join("keys"), second.path());
    let path = second.path().join(path.file_name().unwrap());
    std::fs::write(&path, &damaged).unwrap();
    let repaired = repair(second.path(), None).unwrap();
    assert!(repaired.torn.is_none() && repaired.damage.is_some(), "{repaired:?}");
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
}

#[test]
fn what_was_set_aside_is_never_overwritten() {
    let dir = fast_dir();
    let torn_at = |bytes: &[u8]| {
        let next = segments(dir.path()).len();
        std::fs::write(dir.path().join(format!("seg-{next:020}.gal")), bytes).unwrap();
        repair(dir.path(), None).unwrap().torn.unwrap()
    };
    sample(dir.path(), 1, 1, 1);
    let (first, second) = (torn_at(b"half a header"), torn_at(b"another half"));
    assert_ne!(first.path, second.path);
    assert_eq!(std::fs::read(first.path).unwrap(), b"half a header");
    assert_eq!(std::fs::read(&second.path).unwrap(), b"another half");
    let opened = open(dir.path()).unwrap();
    assert_eq!((opened.torn, opened.clean, opened.segment_no), (Some(second), false, 1));
}

#[test]
fn a_log_that_is_written_is_not_repaired() {
    let dir = fast_dir();
    let clock = Clock(1);
    let (writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert!(matches!(repair(dir.path(), None), Err(AuditError::Locked(_))));
    writer.close(clock.now()).unwrap();
    let empty = fast_dir();
    std::fs::create_dir(empty.path().join("keys")).unwrap();
    std::fs::copy(dir.path().join("keys/log.vkey"), empty.path().join("keys/log.vkey")).unwrap();
    assert!(matches!(repair(empty.path(), None), Err(AuditError::Empty(_))));
}
