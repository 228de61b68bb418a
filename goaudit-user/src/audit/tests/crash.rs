//! What a crash, a full disk or a failing disk leaves behind: nothing sealed is lost, what is lost is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::audit::format::SEGMENT_HEADER_LEN;

fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("keys")).unwrap();
    for name in ["keys/log.key", "keys/log.vkey", "keys/epoch.key", "checkpoint"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    for path in segments(from) {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A log whose writer is gone without an end; events as (sealed, all).
fn killed_log(dir: &Path) -> (u64, u64) {
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir, config(), clock.now()).unwrap();
    for n in 0..4_u8 {
        writer.append(&[n; 30], clock.0, true, clock.now()).unwrap();
        writer.seal(clock.now()).unwrap();
        clock.forward_ms(10);
    }
    // Two more batches that no checkpoint covers.
    for n in 4..6_u8 {
        writer.append(&[n; 30], clock.0, false, clock.now()).unwrap();
        let mut stepped = clock.now();
        stepped.realtime_ns += 1_000_000_000 * u64::from(n);
        writer.clock(stepped).unwrap();
    }
    (4, 6)
}

#[test]
fn a_killed_log_is_incomplete_until_it_goes_on() {
    let dir = fast_dir();
    let (sealed, all) = killed_log(dir.path());
    let report = check(dir.path());
    assert_eq!(report.verdict, Verdict::Incomplete, "{report:#?}");
    assert_eq!((report.sealed_events, report.unsealed_events), (sealed, all - sealed));
    let clock = Clock(9_000_000_000);
    let (mut writer, opened) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert!(!opened.clean && opened.torn.is_none() && opened.damage.is_none());
    assert_eq!((opened.next_seq, opened.adopted_batches), (all, 2));
    writer.append(b"again", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    let report = check(dir.path());
    assert_eq!(
        (report.verdict, report.events, report.unsealed_events),
        (Verdict::Ok, all + 1, 0),
        "{report:#?}"
    );
    assert!(report.checks.iter().any(|check| check.detail.contains("1 ended without order")));
}

#[test]
fn a_log_cut_at_every_byte_goes_on_and_keeps_what_was_whole() {
    let original = fast_dir();
    killed_log(original.path());
    std::fs::remove_file(original.path().join("checkpoint")).unwrap();
    let path = segments(original.path()).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let mut bounds = vec![SEGMENT_HEADER_LEN];
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
        bounds.push(frame.offset as usize + frame.bytes.len());
    }
    let first = bounds[bounds.len() - 4];
    // The keys as they are before anything is sealed: seeds are counted, so they are those of the same log.
    let begun = fast_dir();
    drop(Writer::open(begun.path(), config(), Clock(1).now()).unwrap());
    for cut in (first..=bytes.len()).chain([0, 1, 100, 4095, 4096, 4097]) {
        let dir = fast_dir();
        copy_log(original.path(), dir.path());
        let path = dir.path().join(path.file_name().unwrap());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        if cut < first {
            std::fs::copy(begun.path().join("keys/epoch.key"), dir.path().join("keys/epoch.key")).unwrap();
        }
        let clock = Clock(9_000_000_000);
        let (mut writer, opened) = Writer::open(dir.path(), config(), clock.now()).unwrap();
        let whole = bounds.iter().rev().find(|bound| **bound <= cut).copied().unwrap_or(0);
        match &opened.torn {
            Some(torn) => {
                assert_eq!((torn.offset, torn.bytes), (whole as u64, (cut - whole) as u64), "cut at {cut}");
                let kept = std::fs::read(&torn.path).unwrap();
                assert_eq!(kept, bytes[whole..cut]);
                let sum: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&kept).into();
                assert_eq!(torn.sha256, recover::hex(&sum));
            }
            None => assert_eq!(whole, cut),
        }
        assert!(!opened.clean && opened.damage.is_none(), "cut at {cut}: {opened:?}");
        writer.append(b"again", clock.0, false, clock.now()).unwrap();
        writer.close(clock.now()).unwrap();
        let report = check(dir.path());
        assert_eq!(report.verdict, Verdict::Ok, "cut at {cut}: {report:#?}");
        assert_eq!(report.events, opened.next_seq + 1);
        assert_eq!(read_all(dir.path()).last().unwrap(), b"again");
    }
}

#[test]
fn damage_in_the_middle_is_told_and_never_touched() {
    // Frames: the log's first record; batch and checkpoint by turns, four times, the first one with the record of an
    // epoch; then two batches without a checkpoint.
    let cases: [(&str, &[(usize, usize)], usize, Option<u64>); 6] = [
        ("a batch's header: the next batch names its leaf", &[(4, 50)], 12, Some(6)),
        ("a checkpoint", &[(5, 20)], 12, Some(6)),
        ("a batch and its checkpoint", &[(6, 300), (7, 20)], 12, Some(6)),
        ("the last sealed batch's body: the checkpoint proves its header", &[(8, 300)], 10, Some(4)),
        ("the last sealed batch's header: its leaf is lost", &[(8, 50)], 10, None),
        ("two batches in a row", &[(4, 50), (6, 50)], 12, None),
    ];
    for (name, changes, keep, next_seq) in cases {
        let dir = fast_dir();
        killed_log(dir.path());
        let path = segments(dir.path()).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let mut places = Vec::new();
        let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
        while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
            places.push(usize::try_from(frame.offset).unwrap());
        }
        assert_eq!(places.len(), 12);
        places.push(bytes.len());
        bytes.truncate(places[keep]);
        for (frame, at) in changes {
            bytes[places[*frame] + at] ^= 1;
        }
        let first = places[changes[0].0] as u64;
        std::fs::write(&path, &bytes).unwrap();
        let opened = Writer::open(dir.path(), config(), Clock(9_000_000_000).now());
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}: the damaged segment is not touched");
        let Some(next_seq) = next_seq else {
            let error = opened.err().unwrap();
            assert!(matches!(error, AuditError::Unrecoverable { .. }), "{name}: {error}");
            continue;
        };
        let (mut writer, opened) = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        let damage = opened.damage.unwrap();
        assert_eq!((damage.segment_no, damage.offset), (0, first), "{name}");
        assert_eq!(opened.next_seq, next_seq, "{name}");
        writer.append(b"again", 1, false, Clock(9_000_000_001).now()).unwrap();
        writer.close(Clock(9_000_000_001).now()).unwrap();
        let report = check(dir.path());
        assert_eq!(report.verdict, Verdict::Damaged, "{name}: {report:#?}");
        assert_eq!(report.first_bad.unwrap().offset, Some(first));
    }
}

#[test]
fn a_log_that_lost_sealed_batches_is_not_continued() {
    let dir = fast_dir();
    sample(dir.path(), 1, 3, 2);
    let path = segments(dir.path()).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..SEGMENT_HEADER_LEN]).unwrap();
    let error = Writer::open(dir.path(), config(), Clock(1).now()).err().unwrap();
    assert!(error.to_string().contains("sealed batches are missing"), "{error}");
    std::fs::write(&path, &bytes).unwrap();
    std::fs::remove_file(dir.path().join("keys/log.key")).unwrap();
    let error = Writer::open(dir.path(), config(), Clock(1).now()).err().unwrap();
    assert!(error.to_string().contains("key"), "{error}");
    std::fs::write(dir.path().join("keys/log.key"), b"PRIVATE+KEY+half").unwrap();
    let error = Writer::open(dir.path(), config(), Clock(1).now()).err().unwrap();
    assert!(matches!(error, AuditError::Key { .. }), "{error}");
}

/// Name of the environment variable that makes the test below the child.
const CHILD_DIR: &str = "GOAUDIT_TEST_KILLED_WRITER";

/// Writes as fast as it can until it is killed; prints the number of events that are sealed.
#[test]
#[expect(clippy::print_stdout, reason = "the child tells its parent what is sealed")]
fn child_writes_until_killed() {
    use std::io::Write as _;
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let started = Instant::now();
    let now = || Clock(u64::try_from(started.elapsed().as_nanos()).unwrap()).now();
    let mut config = config();
    config.seeds = WriterConfig::new("x", [0; 16], [0; 16]).seeds;
    config.segment_bytes = 100_000;
    config.hmac = Some(super::hmac::key());
    let (mut writer, _) = Writer::open(Path::new(&dir), config, now()).unwrap();
    for n in 0_u64.. {
        let now = now();
        writer.append(&n.to_le_bytes().repeat(20), now.boottime_ns, n % 1000 == 7, now).unwrap();
        if n % 500 == 0 {
            writer.seal(now).unwrap();
            println!("sealed {}", writer.next_seq());
            std::io::stdout().flush().unwrap();
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_was_sealed() {
    use std::io::BufRead as _;
    let dir = fast_dir();
    let mut sealed = 0;
    for round in 0..8_u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::tests::crash::child_writes_until_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = 0;
        let until = Instant::now() + Duration::from_millis(100 + round * 37);
        while let Some(Ok(line)) = lines.next() {
            if let Some(number) = line.strip_prefix("sealed ") {
                sealed = number.parse().unwrap();
                told += 1;
            }
            if told > 0 && Instant::now() > until {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it told between our last look and the kill counts, too.
        for line in lines.map_while(Result::ok) {
            sealed = line.strip_prefix("sealed ").and_then(|number| number.parse().ok()).unwrap_or(sealed);
        }
        assert!(told > 0, "the child never sealed anything");
        let report = check(dir.path());
        assert!(matches!(report.verdict, Verdict::Incomplete | Verdict::Damaged), "{report:#?}");
        assert!(report.sealed_events >= sealed, "{sealed} were sealed: {report:#?}");
        let now = Clock(u64::MAX / 4).now();
        let (mut writer, opened) = Writer::open(dir.path(), config(), now).unwrap();
        assert!(opened.next_seq >= sealed && !opened.clean);
        writer.append(b"again", now.boottime_ns, false, now).unwrap();
        writer.close(now).unwrap();
        let report = check(dir.path());
        assert_eq!(report.verdict, Verdict::Ok, "round {round}: {report:#?}");
        assert_eq!(super::hmac::proven(dir.path()), (Verdict::Ok, true), "round {round}");
    }
}

#[test]
fn a_read_only_directory_is_named() {
    let error = Writer::open(Path::new("/proc/goaudit"), config(), Clock(1).now()).err().unwrap();
    assert!(error.to_string().starts_with("make directory /proc/goaudit"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Writer::open(file.path(), config(), Clock(1).now()).err().unwrap();
    assert!(matches!(error, AuditError::Io { .. }), "{error}");
}

/// A tmpfs of that size; none where mounting is not permitted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "goaudit-test"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount_read_only(&self) {
        let status =
            std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that the host does not allow says so")]
fn a_full_disk_is_told_and_writing_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount("600k") else {
        eprintln!("skipped: needs the ability to mount a tmpfs");
        return;
    };
    let dir = disk.path().join("log");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 200_000]).unwrap();
    let mut clock = Clock(1_000_000_000);
    let mut config = config();
    config.segment_bytes = 100_000;
    let (mut writer, _) = Writer::open(&dir, config, clock.now()).unwrap();
    let mut stored = Vec::new();
    let mut refused = 0;
    let mut state = 1_u64;
    let mut full = None;
    for n in 0..3000_u32 {
        // Incompressible, so that the disk fills.
        let event: Vec<u8> = (0..250)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        clock.forward_ms(20);
        match writer.append(&event, clock.0, n % 50 == 0, clock.now()) {
            Ok(_) => stored.push(event),
            Err(error) => {
                refused += 1;
                full.get_or_insert(error.to_string());
                writer.add_lost(1, format::lost::NO_SPACE);
            }
        }
        if let Err(error) = writer.tick(clock.now()) {
            full.get_or_insert(error.to_string());
        }
        if n == 2000 {
            assert!(full.is_some(), "the disk never filled");
            let report = check(&dir);
            assert_eq!(report.verdict, Verdict::Ok, "while the disk is full: {report:#?}");
            std::fs::remove_file(&ballast).unwrap();
        }
        if n == 2020 {
            break;
        }
    }
    let full = full.unwrap();
    assert!(full.contains("No space left") && full.contains("free space"), "{full}");
    writer.close(clock.now()).unwrap();
    let read: Vec<_> = read_all(&dir).into_iter().filter(|event| !event.starts_with(b"segment ")).collect();
    assert_eq!(read.len(), stored.len());
    assert!(read == stored, "every event that was taken is there, in order");
    let report = check(&dir);
    assert_eq!((report.verdict, report.lost), (Verdict::Ok, refused), "{report:#?}");
    disk.remount_read_only();
    let error = Writer::open(&dir, super::config(), clock.now()).err().unwrap();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(check(&dir).verdict, Verdict::Ok);
}

#[test]
fn a_failed_sync_is_not_repeated_on_the_same_file_and_loses_nothing() {
    use std::os::fd::AsRawFd as _;
    use std::sync::Mutex;
    let dir = fast_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let failed: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let mut config = config();
    let (flag, list) = (Arc::clone(&broken), Arc::clone(&failed));
    config.sync = Arc::new(move |file| {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut failed = list.lock().unwrap();
        assert!(!failed.contains(&path), "asked again for {}", path.display());
        if flag.swap(false, Ordering::SeqCst) {
            failed.push(path);
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    });
    let mut clock = Clock(1_000_000_000);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    let mut stored = Vec::new();
    for n in 0..60_u32 {
        clock.forward_ms(400);
        if n % 20 == 10 {
            broken.store(true, Ordering::SeqCst);
        }
        let event = n.to_le_bytes().to_vec();
        writer.append(&event, clock.0, n % 7 == 0, clock.now()).unwrap();
        stored.push(event);
        if n % 5 == 0 {
            writer.seal(clock.now()).unwrap();
        }
    }
    writer.close(clock.now()).unwrap();
    assert_eq!(failed.lock().unwrap().len(), 3);
    assert_eq!(segments(dir.path()).len(), 4);
    let read: Vec<_> =
        read_all(dir.path()).into_iter().filter(|event| !event.starts_with(b"segment ")).collect();
    assert_eq!(read, stored);
    let report = check(dir.path());
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
}

#[test]
fn whichever_sync_or_write_fails_the_log_ends_in_order() {
    use std::io::Write as _;
    use std::sync::atomic::AtomicU64;
    // With a first event in each segment and without: then the one that follows a failed end has nothing of its own.
    for (opener, errno) in
        [(true, libc::EIO), (false, libc::EIO), (true, libc::ENOSPC), (false, libc::ENOSPC)]
    {
        for failing in 0..40_u64 {
            let dir = fast_dir();
            let mut config = config();
            if !opener {
                config.opener = None;
            }
            let calls = Arc::new(AtomicU64::new(0));
            let fails = Arc::new(move || calls.fetch_add(1, Ordering::SeqCst) == failing);
            let (of_sync, of_write) = (Arc::clone(&fails), fails);
            config.sync = Arc::new(move |file| {
                if of_sync() { Err(std::io::Error::from_raw_os_error(errno)) } else { file.sync_data() }
            });
            config.write = Arc::new(move |mut file, bytes| {
                if of_write() { Err(std::io::Error::from_raw_os_error(errno)) } else { file.write_all(bytes) }
            });
            let mut clock = Clock(1_000_000_000);
            let Ok((mut writer, _)) = Writer::open(dir.path(), config, clock.now()) else { continue };
            for n in 0..6_u8 {
                clock.forward_ms(400);
                writer.append(&[n; 30], clock.0, true, clock.now()).unwrap();
            }
            // One call failed: what is tried again goes through.
            if writer.seal(clock.now()).is_err() {
                clock.forward_ms(400);
                writer.seal(clock.now()).unwrap();
            }
            writer.close(clock.now()).unwrap();
            let report = check(dir.path());
            assert_eq!(
                report.verdict,
                Verdict::Ok,
                "opener {opener}, call {failing} fails with {errno}: {report:#?}"
            );
        }
    }
}

#[test]
fn a_disk_that_never_syncs_again_ends_the_writer_with_a_clear_error() {
    let dir = fast_dir();
    let mut config = config();
    config.sync = Arc::new(|_| Err(std::io::Error::from_raw_os_error(5)));
    let clock = Clock(1);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    writer.append(b"one", 1, false, clock.now()).unwrap();
    let error = writer.seal(clock.now()).unwrap_err();
    assert!(
        matches!(error, AuditError::Sync { .. }) && error.to_string().contains("another disk"),
        "{error}"
    );
    assert!(matches!(writer.append(b"two", 1, false, clock.now()), Err(AuditError::Closed)));
}

#[test]
fn too_much_that_is_not_durable_makes_the_writer_wait() {
    let dir = fast_dir();
    let mut config = config();
    config.max_unsynced = 20_000;
    config.sync = Arc::new(|file| {
        std::thread::sleep(Duration::from_millis(5));
        file.sync_data()
    });
    let clock = Clock(1);
    let (mut writer, _) = Writer::open(dir.path(), config, clock.now()).unwrap();
    let mut most = 0;
    for n in 0..40_000_u64 {
        writer.append(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(), 1, false, clock.now()).unwrap();
        most = most.max(writer.unsynced_bytes());
    }
    assert!(most > 0 && most < 20_000 + 100_000, "{most}");
    writer.close(clock.now()).unwrap();
    let report = check(dir.path());
    assert_eq!((report.verdict, report.events), (Verdict::Ok, 40_000));
}
