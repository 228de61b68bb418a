//! The writer's thread on disks that are full, fail, and recover: nothing is lost that the log does not tell of.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::panic,
    reason = "tests fail by panicking and say what they skip"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use goaudit_ebpf::units::Ktime;

use super::sealer::{Sealer, WhenFull};
use super::{Stop, Summary};
use crate::audit::{self, AuditError, RoomConfig, Verdict, VerifyOptions, Writer, WriterConfig};
use crate::conservation;
use crate::correlate::conservation::Conservation;
use crate::event::control::{Counters, Start, Stop as Stopped};
use crate::event::{Control, Event, Exec, Payload, Source};
use crate::host::clock;

/// A tmpfs; none where mounting is not permitted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "goaudit-test"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: needs the ability to mount a tmpfs");
        None
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }

    /// Somebody else's file that leaves only so many bytes.
    fn fill_up_to(&self, left: u64) {
        let found = rustix::fs::statvfs(self.0.path()).unwrap();
        let free = found.f_bavail * found.f_frsize;
        let bytes = usize::try_from(free.saturating_sub(left)).unwrap();
        std::fs::write(self.0.path().join("somebody"), vec![1; bytes]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("somebody")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A recording without a kernel: two CPUs' records, counted by whoever sends them.
struct Recording {
    sender: SyncSender<Vec<Event>>,
    stop: Arc<Stop>,
    sealer: std::thread::JoinHandle<Result<Summary, AuditError>>,
    sent: [u64; 2],
    noise: u64,
}

impl Recording {
    fn start(dir: &Path, config: WriterConfig, when_full: WhenFull) -> Self {
        let (writer, _) = Writer::open(dir, config, clock::now()).unwrap();
        let stop = Arc::new(Stop::default());
        let sealer = Sealer::new(writer, None, dir, when_full, Arc::clone(&stop));
        let (sender, receiver) = sync_channel(4);
        let sealer = std::thread::spawn(move || sealer.run(&receiver));
        let mut recording = Self { sender, stop, sealer, sent: [0; 2], noise: 1 };
        recording.control(Control::Start(Start { cpus: 2, clean: true, ..Start::default() }));
        recording
    }

    fn control(&mut self, control: Control) {
        let _ = self.sender.send(vec![Event::control(Ktime(clock::now().boottime_ns), control)]);
    }

    fn counters(&self) -> Counters {
        Counters { seen: self.sent.to_vec(), stored: self.sent.to_vec(), ..Counters::default() }
    }

    /// So many events of about a kilobyte that cannot be compressed.
    fn events(&mut self, count: u64) {
        let mut events = Vec::new();
        for n in 0..count {
            let cpu = u32::try_from(n % 2).unwrap();
            let sent = &mut self.sent[usize::from(cpu == 1)];
            // Every fifth event stands for two records.
            let records = if n % 5 == 0 { 2 } else { 1 };
            let source =
                Source { cpu, first: *sent + 1, records, lost_before: 0, repeats: None, more: Vec::new() };
            *sent += records;
            let argument: Vec<u8> = (0..1000)
                .map(|_| {
                    self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    self.noise.to_be_bytes()[0]
                })
                .collect();
            let exec = Exec { argv: vec![argument.as_slice().into()], ..Exec::default() };
            events.push(Event {
                ktime: Ktime(clock::now().boottime_ns),
                source: Some(source),
                process: None,
                payload: Payload::Exec(Box::new(exec)),
                missing: Vec::new(),
                sealed: None,
            });
        }
        let _ = self.sender.send(events);
    }

    fn finish(mut self) -> Result<Summary, AuditError> {
        let counters = self.counters();
        self.control(Control::Stop(Stopped { reason: "test".into(), counters }));
        drop(self.sender);
        self.sealer.join().unwrap()
    }
}

fn config(room: RoomConfig) -> WriterConfig {
    let mut config = WriterConfig::new("example.org/sealer", [7; 16], [8; 16]);
    config.room = room;
    config.batch_age = Duration::from_millis(50);
    config
}

/// What `verify` says of the log, books included.
fn judged(dir: &Path) -> audit::Report {
    let mut books = Conservation::default();
    let mut visit =
        |_: &audit::BatchInfo, _: usize, stored: &[u8]| books.feed(&Event::decode(stored).unwrap());
    let mut report = audit::verify(&[dir.to_owned()], &VerifyOptions::default(), Some(&mut visit)).unwrap();
    conservation::judge(&mut report, &books.finish(), None);
    report
}

/// Records lost by this cause, as the log's own events tell.
fn losses(dir: &Path, cause: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let mut visit = |_: &audit::BatchInfo, _: usize, stored: &[u8]| {
        if let Payload::Control(control) = Event::decode(stored).unwrap().payload
            && let Control::Loss(loss) = *control
            && loss.cause == cause
        {
            found.push(loss.count);
        }
    };
    audit::verify(&[dir.to_owned()], &VerifyOptions::default(), Some(&mut visit)).unwrap();
    found
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const ROOM: RoomConfig = RoomConfig { ballast: 512 << 10, keep_free: 512 << 10 };

#[test]
fn drop_leaves_out_what_does_not_fit_and_tells_how_much() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let mut recording = Recording::start(&disk.log(), config(ROOM), WhenFull::Drop);
    let ballast = disk.log().join("ballast");
    wait_until("the ballast is laid", || ballast.metadata().is_ok_and(|laid| laid.len() == ROOM.ballast));
    recording.events(100);
    std::thread::sleep(Duration::from_millis(300));
    disk.fill_up_to(ROOM.keep_free / 2);
    wait_until("the ballast is given up", || !ballast.exists());
    for _ in 0..20 {
        recording.events(100);
    }
    // The log says so while it lasts.
    wait_until("the log tells", || !losses(&disk.log(), "no_space").is_empty());
    // A heartbeat in between has books that agree.
    let counters = recording.counters();
    recording.control(Control::Heartbeat(counters));
    disk.make_room();
    wait_until("the ballast is laid again", || ballast.exists());
    recording.events(100);
    let sent: u64 = recording.sent.iter().sum();
    let summary = recording.finish().unwrap();
    assert!(!summary.halted && !ballast.exists(), "an orderly end takes the ballast away");
    let report = judged(&disk.log());
    assert_eq!(report.verdict, Verdict::Incomplete, "{report:#?}");
    assert!(report.checks.iter().any(|check| check.name == "conservation" && check.ok), "{report:#?}");
    let told: u64 = losses(&disk.log(), "no_space").iter().sum();
    assert_eq!(told, report.lost);
    assert_eq!(summary.counters.lost, [("no_space".to_owned(), told)]);
    assert!(told > 0 && told < sent, "{told} of {sent}");
    let kept: u64 = summary.counters.stored.iter().sum();
    assert_eq!(kept + told, sent);
    assert!(kept >= 200, "what came before and after is there: {kept}");
}

#[test]
fn a_disk_without_any_room_is_borne_until_there_is_some() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let mut recording = Recording::start(&disk.log(), config(RoomConfig::default()), WhenFull::Drop);
    recording.events(50);
    std::thread::sleep(Duration::from_millis(300));
    disk.fill_up_to(0);
    for _ in 0..60 {
        recording.events(100);
    }
    disk.make_room();
    std::thread::sleep(Duration::from_millis(700));
    recording.events(10);
    let sent: u64 = recording.sent.iter().sum();
    let summary = recording.finish().unwrap();
    let report = judged(&disk.log());
    assert_eq!(report.verdict, Verdict::Incomplete, "{report:#?}");
    assert!(report.checks.iter().any(|check| check.name == "conservation" && check.ok), "{report:#?}");
    assert!(report.lost > 0);
    assert_eq!(summary.counters.stored.iter().sum::<u64>() + report.lost, sent);
}

#[test]
fn block_waits_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let mut recording = Recording::start(&disk.log(), config(ROOM), WhenFull::Block);
    disk.fill_up_to(ROOM.keep_free / 2);
    wait_until("the ballast is given up", || !disk.log().join("ballast").exists());
    let at = disk.0.path().to_owned();
    let helper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        std::fs::remove_file(at.join("somebody")).unwrap();
    });
    let begun = Instant::now();
    for _ in 0..10 {
        recording.events(100);
    }
    assert!(begun.elapsed() > Duration::from_millis(400), "it did not wait");
    helper.join().unwrap();
    recording.finish().unwrap();
    let report = judged(&disk.log());
    assert_eq!((report.verdict, report.lost), (Verdict::Ok, 0), "{report:#?}");
}

#[test]
fn block_ends_when_it_is_asked_to_although_there_is_no_room() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let mut recording = Recording::start(&disk.log(), config(ROOM), WhenFull::Block);
    disk.fill_up_to(ROOM.keep_free / 2);
    wait_until("the ballast is given up", || !disk.log().join("ballast").exists());
    recording.events(100);
    recording.stop.ask("test");
    let sent: u64 = recording.sent.iter().sum();
    recording.finish().unwrap();
    let report = judged(&disk.log());
    assert_eq!((report.verdict, report.lost), (Verdict::Incomplete, sent), "{report:#?}");
    assert!(report.checks.iter().any(|check| check.name == "conservation" && check.ok), "{report:#?}");
}

#[test]
fn halt_ends_in_order() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let mut recording = Recording::start(&disk.log(), config(ROOM), WhenFull::Halt);
    recording.events(100);
    std::thread::sleep(Duration::from_millis(300));
    disk.fill_up_to(ROOM.keep_free / 2);
    wait_until("the ballast is given up", || !disk.log().join("ballast").exists());
    recording.events(7);
    let stop = Arc::clone(&recording.stop);
    wait_until("it asks to stop", || stop.asked());
    assert_eq!(stop.reason(), "disk full");
    let summary = recording.finish().unwrap();
    assert!(summary.halted);
    let report = judged(&disk.log());
    assert!(report.checks.iter().any(|check| check.name == "conservation" && check.ok), "{report:#?}");
    assert!(report.checks.iter().any(|check| check.name == "clean_end" && check.ok), "{report:#?}");
    assert_eq!(report.lost, 9, "seven events, two of them of two records");
}

#[test]
fn writes_and_syncs_that_fail_now_and_then_lose_nothing() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let log = dir.path().join("log");
    let mut config = config(RoomConfig::default());
    config.batch_age = Duration::from_millis(10);
    let (writes, syncs) = (AtomicU64::new(0), AtomicU64::new(0));
    config.write = Arc::new(move |mut file, bytes| {
        use std::io::Write as _;
        match writes.fetch_add(1, Ordering::Relaxed) % 13 {
            // A part of it gets through.
            3 => {
                file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
                Err(std::io::Error::from_raw_os_error(5))
            }
            9 => Err(std::io::Error::from_raw_os_error(5)),
            _ => file.write_all(bytes),
        }
    });
    config.sync = Arc::new(move |file| {
        if syncs.fetch_add(1, Ordering::Relaxed) % 7 == 5 {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    });
    let mut recording = Recording::start(&log, config, WhenFull::Drop);
    for _ in 0..40 {
        recording.events(20);
        std::thread::sleep(Duration::from_millis(15));
    }
    let sent: u64 = recording.sent.iter().sum();
    let ended = recording.finish();
    let report = judged(&log);
    assert!(report.segments > 3, "{report:#?}");
    assert!(report.verdict <= Verdict::Incomplete, "{report:#?}");
    let Ok(summary) = ended else { panic!("{ended:?}") };
    assert_eq!(summary.counters.stored.iter().sum::<u64>() + report.lost, sent, "{report:#?}");
    assert!(report.checks.iter().any(|check| check.name == "conservation" && check.ok), "{report:#?}");
}

#[test]
fn writes_that_fail_for_a_while_are_told_as_loss() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let log = dir.path().join("log");
    let mut config = config(RoomConfig::default());
    let broken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&broken);
    config.write = Arc::new(move |mut file, bytes| {
        use std::io::Write as _;
        if flag.load(Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.write_all(bytes)
    });
    let mut recording = Recording::start(&log, config, WhenFull::Drop);
    recording.events(100);
    std::thread::sleep(Duration::from_millis(300));
    broken.store(true, Ordering::SeqCst);
    for _ in 0..40 {
        recording.events(100);
    }
    broken.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(600));
    recording.events(100);
    let sent: u64 = recording.sent.iter().sum();
    let summary = recording.finish().unwrap();
    let report = judged(&log);
    let told: u64 = losses(&log, "write_error").iter().sum();
    assert!(told > 0 && told == report.lost, "{told} {report:#?}");
    assert_eq!(summary.counters.stored.iter().sum::<u64>() + told, sent);
    assert_eq!(report.verdict, Verdict::Incomplete, "{report:#?}");
}

#[test]
fn who_read_the_log_is_sealed_before_the_note_is_gone() {
    use crate::reads::{Asked, leave};
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("log");
    let mut recording = Recording::start(&dir, config(RoomConfig::default()), WhenFull::Drop);
    recording.events(10);
    let asked = Asked { command: "prove", from: Some(2), to: Some(7), follow: false };
    let reader = asked.by_this_process(clock::now());
    assert!(leave(&dir, &reader).unwrap());
    let folder = dir.join("reads");
    std::fs::write(folder.join("junk"), "no note").unwrap();
    wait_until("the note is gone", || std::fs::read_dir(&folder).unwrap().count() == 1);
    // While the recorder goes on: what is gone here is durable there.
    let mut reads = Vec::new();
    let mut visit = |_: &audit::BatchInfo, _: usize, stored: &[u8]| {
        if let Payload::Control(control) = Event::decode(stored).unwrap().payload
            && let Control::Read(read) = *control
        {
            reads.push((read.reader, read.error));
        }
    };
    audit::verify(std::slice::from_ref(&dir), &VerifyOptions::default(), Some(&mut visit)).unwrap();
    recording.events(10);
    // Another look, which finds nothing new.
    std::thread::sleep(Duration::from_millis(1_100));
    let summary = recording.finish().unwrap();
    reads.sort_by_key(|(reader, _)| reader.is_none());
    assert_eq!(reads.first(), Some(&(Some(reader), None)));
    assert!(reads.get(1).is_none_or(|(_, error)| error.as_deref() == Some("it is not named as a note")));
    // Start, 20 events, the note, what is none, stop.
    assert_eq!(summary.events, 24);
    assert_eq!(std::fs::read(folder.join("junk")).unwrap(), b"no note");
    assert_eq!(judged(&dir).verdict, Verdict::Ok);
}
