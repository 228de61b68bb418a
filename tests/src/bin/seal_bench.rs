//! Speed of the sealed log: events a second and core through the writer, bytes an event, speed of `verify`.
//!
//! `seal_bench [EVENTS] [DIR]`; without DIR a directory in memory is used and nothing is synced, so that the figures
//! are those of the code. Events are 200 bytes like a CBOR exec event: mostly repeated, a few numbers that are new.
#![expect(clippy::print_stdout, reason = "the figures are its output")]
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a benchmark over data of its own making"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use goaudit_user::audit::{Now, VerifyOptions, Writer, WriterConfig, verify};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of an event.
const EVENT: usize = 200;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let events: u64 = arguments.next().map_or(Ok(2_000_000), |text| text.parse())?;
    let disk = arguments.next().map(PathBuf::from);
    let dir = tempfile::tempdir_in(disk.clone().unwrap_or_else(|| "/dev/shm".into()))?;
    let mut config = WriterConfig::new("example.org/goaudit/bench/audit", [0; 16], [0; 16]);
    if disk.is_none() {
        config.sync = Arc::new(|_| Ok(()));
    }
    let started = Instant::now();
    let now = || {
        let boottime_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { realtime_ns: 1_700_000_000_000_000_000 + boottime_ns, boottime_ns }
    };
    let (mut writer, opened) = Writer::open(dir.path(), config, now())?;
    let mut event = sample();
    let mut random = 1_u64;
    let cpu = cpu_time(ClockId::ThreadCPUTime);
    let wall = Instant::now();
    let mut time = now();
    for n in 0..events {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A time, a process id, 24 bytes that nothing predicts.
        event[4..12].copy_from_slice(&(n * 1000).to_le_bytes());
        event[20..24].copy_from_slice(&(n as u32 / 3).to_le_bytes());
        for at in [40, 48, 56] {
            event[at..at + 8].copy_from_slice(&random.rotate_left(at as u32).to_le_bytes());
            random ^= random << 7 ^ random >> 9;
        }
        if n % 64 == 0 {
            time = now();
        }
        writer.append(&event, time.boottime_ns, false, time)?;
    }
    writer.close(now())?;
    rate("write", events, wall.elapsed(), cpu_time(ClockId::ThreadCPUTime).checked_sub(cpu).unwrap());
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir.path())? {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    println!("disk      {:.1} bytes an event, {} MB in all", bytes as f64 / events as f64, bytes / 1_000_000);
    let key = goaudit_user::audit::note::VerifyKey::parse(&opened.vkey)?;
    let mut seen = 0_u64;
    for (name, bytes_only, threads, visit) in [
        ("verify, 1 thread", false, Some(1), false),
        ("verify, all CPUs", false, None, false),
        ("verify, visitor", false, None, true),
        ("bytes only, 1 thread", true, Some(1), false),
    ] {
        let options =
            VerifyOptions { log_key: Some(key.clone()), bytes_only, threads, ..VerifyOptions::default() };
        let mut visitor = |_: &_, _: usize, event: &[u8]| seen += event.len() as u64;
        let cpu = cpu_time(ClockId::ProcessCPUTime);
        let wall = Instant::now();
        let report =
            verify(&[dir.path().to_owned()], &options, if visit { Some(&mut visitor) } else { None })?;
        rate(
            name,
            report.events,
            wall.elapsed(),
            cpu_time(ClockId::ProcessCPUTime).checked_sub(cpu).unwrap(),
        );
        println!(
            "          {:?}; {:.2} GB/s of segments",
            report.verdict,
            bytes as f64 / 1e9 / wall.elapsed().as_secs_f64()
        );
    }
    anyhow::ensure!(seen == events * EVENT as u64, "the visitor saw {seen} bytes");
    Ok(())
}

fn sample() -> Vec<u8> {
    let mut event =
        b"\xa5\x00\x1b\x00ktimektime\x01\xa5\x00\x02\x01\x1a....\x02\x00\x03\x00\x02\xb1argv:".to_vec();
    event.extend(b"/usr/bin/curl --silent --max-time 10 https://example.org/api/v1/policies/check ".iter());
    event.extend(b"/system.slice/example.service/payload root bash container 0123456789abcdef".iter());
    event.resize(EVENT, b'.');
    event
}

fn rate(name: &str, events: u64, wall: Duration, cpu: Duration) {
    let per_second = |time: Duration| events as f64 / time.as_secs_f64() / 1e6;
    let each = cpu.as_nanos() as f64 / events as f64;
    println!(
        "{name:<21} {:.2} M events/s wall, {:.2} M events/s of CPU time ({each:.0} ns an event)",
        per_second(wall),
        per_second(cpu)
    );
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
