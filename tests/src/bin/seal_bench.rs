//! Speed of the sealed log, for the benchmarks B6, B7, B8 and B11: one measurement, told as one JSON object.
//!
//! `seal_bench WHAT`, where WHAT is
//! - `hash EVENTS`: hashes 200-byte events, and nothing else: what no sealed log can be faster than,
//! - `write EVENTS [CAPTURE [DIR]]`: the events of a stored capture over and over, without one made-up events of 200
//!   bytes, through the writer into a new log; without DIR in memory. Nothing is synced,
//! - `verify DIR THREADS`: a whole verification with the log's pinned key; THREADS 0 is all CPUs,
//! - `check DIR`: bytes, chain and signatures only, without a pinned key,
//! - `seal DIR COUNT`: single events in a new log in DIR, each sealed and durable before the next one; the first one,
//!   before which the file is empty, is not counted.
//!
//! CPU time is the process's, of all its threads, without what was prepared before.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark over data of its own making"
)]

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use goaudit_user::audit::merkle::leaf_hash;
use goaudit_user::audit::note::VerifyKey;
use goaudit_user::audit::{Now, ReadOptions, Reader, Verdict, VerifyOptions, Writer, WriterConfig, verify};
use goaudit_user::event::{Event, Payload};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Bytes of a made-up event.
const EVENT: usize = 200;
/// Events that a batch holds at most.
const BATCH: usize = 4096;
const ORIGIN: &str = "example.org/goaudit/bench/audit";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = match words.as_slice() {
        ["hash", events] => hash(events.parse()?),
        ["write", events, rest @ ..] => {
            let events = events.parse()?;
            let (capture, dir) = match rest {
                [] => (None, None),
                [capture] => (Some(*capture), None),
                [capture, dir] => (Some(*capture), Some(*dir)),
                _ => bail!("write takes at most a capture and a directory"),
            };
            let source = capture.map(|capture| stored(Path::new(capture))).transpose()?;
            if let Some(dir) = dir {
                write(events, source.as_ref(), Path::new(dir))?
            } else {
                write(events, source.as_ref(), tempfile::tempdir_in("/dev/shm")?.path())?
            }
        }
        ["verify", dir, threads] => check(Path::new(dir), Some(threads.parse()?))?,
        ["check", dir] => check(Path::new(dir), None)?,
        ["seal", dir, count] => seal(Path::new(dir), count.parse()?)?,
        _ => bail!("usage: seal_bench hash|write|verify|check|seal ARGUMENTS..."),
    };
    writeln!(std::io::stdout(), "{told}").context("failed to tell the result")
}

fn hash(events: u64) -> Value {
    let mut made = MadeUp::default();
    let took = Took::from_now();
    for n in 0..events {
        black_box(leaf_hash(made.next(n)));
    }
    took.told(events)
}

fn write(events: u64, source: Option<&Source>, dir: &Path) -> Result<Value> {
    let mut config = WriterConfig::new(ORIGIN, [0; 16], [0; 16]);
    config.sync = Arc::new(|_| Ok(()));
    let started = Instant::now();
    let now = || now_since(started);
    let (mut writer, opened) = Writer::open(dir, config, now())?;
    let mut made = MadeUp::default();
    let mut raw_bytes = 0;
    let took = Took::from_now();
    let mut time = now();
    for n in 0..events {
        let event = match source {
            Some(source) => source.event(n),
            None => made.next(n),
        };
        raw_bytes += event.len() as u64;
        if n % 64 == 0 {
            time = now();
        }
        writer.append(event, time.boottime_ns, false, time)?;
    }
    writer.close(now())?;
    let mut told = took.told(events);
    told["raw_bytes"] = raw_bytes.into();
    told["bytes"] = segment_bytes(dir)?.into();
    told["vkey"] = opened.vkey.into();
    Ok(told)
}

/// `threads` of a whole verification; none: bytes only.
fn check(dir: &Path, threads: Option<usize>) -> Result<Value> {
    let key = match threads {
        Some(_) => {
            let text =
                std::fs::read_to_string(dir.join("keys/log.vkey")).context("failed to read the key")?;
            Some(VerifyKey::parse(text.trim())?)
        }
        None => None,
    };
    let options = VerifyOptions {
        log_key: key,
        bytes_only: threads.is_none(),
        threads: threads.filter(|threads| *threads > 0),
        ..VerifyOptions::default()
    };
    let took = Took::from_now();
    let report = verify(&[dir.to_owned()], &options, None)?;
    let mut told = took.told(report.events);
    ensure!(
        matches!(report.verdict, Verdict::Ok) && report.events > 0,
        "the log is not whole: {:?}",
        report.first_bad
    );
    told["bytes"] = segment_bytes(dir)?.into();
    Ok(told)
}

/// How long single events wait for the disk.
fn seal(dir: &Path, count: u64) -> Result<Value> {
    let started = Instant::now();
    let dir = tempfile::tempdir_in(dir)?;
    let config = WriterConfig::new(ORIGIN, [0; 16], [0; 16]);
    let (mut writer, _) = Writer::open(dir.path(), config, now_since(started))?;
    let mut made = MadeUp::default();
    let mut each = Vec::new();
    let took = Took::from_now();
    for n in 0..=count {
        let began = Instant::now();
        let now = now_since(started);
        writer.append(made.next(n), now.boottime_ns, false, now)?;
        writer.seal(now)?;
        each.push(u64::try_from(began.elapsed().as_nanos())?);
    }
    each.remove(0);
    let mut told = took.told(count);
    writer.close(now_since(started))?;
    told["each_ns"] = each.into();
    Ok(told)
}

/// Events of a stored capture: the first one, which says whose log it is, then all that the kernel told of.
struct Source(Vec<Vec<u8>>);

impl Source {
    fn event(&self, n: u64) -> &[u8] {
        let repeated = self.0.len() as u64 - 1;
        let at = if n == 0 { 0 } else { 1 + (n - 1) % repeated };
        &self.0[at as usize]
    }
}

fn stored(dir: &Path) -> Result<Source> {
    let mut reader = Reader::open(dir, ReadOptions::default())?;
    let mut events: Vec<Vec<u8>> = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        for event in batch.events() {
            let control = matches!(Event::decode(event)?.payload, Payload::Control(_));
            if events.is_empty() || !control {
                events.push(event.to_vec());
            }
        }
    }
    // Fewer would be repeated within a batch, and be compressed away.
    ensure!(events.len() > BATCH, "{} holds {} events, too few to be repeated", dir.display(), events.len());
    Ok(Source(events))
}

/// 200 bytes like a CBOR exec event: mostly repeated, a few numbers that are new.
struct MadeUp {
    event: Vec<u8>,
    random: u64,
}

impl Default for MadeUp {
    fn default() -> Self {
        let mut event =
            b"\xa5\x00\x1b\x00ktimektime\x01\xa5\x00\x02\x01\x1a....\x02\x00\x03\x00\x02\xb1argv:".to_vec();
        event.extend(b"/usr/bin/curl --silent --max-time 10 https://example.org/api/v1/policies/check ");
        event.extend(b"/system.slice/example.service/payload root bash container 0123456789abcdef");
        event.resize(EVENT, b'.');
        Self { event, random: 1 }
    }
}

impl MadeUp {
    /// A time, a process id, 24 bytes that nothing predicts.
    fn next(&mut self, n: u64) -> &[u8] {
        let random = &mut self.random;
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.event[4..12].copy_from_slice(&(n * 1000).to_le_bytes());
        self.event[20..24].copy_from_slice(&(n as u32 / 3).to_le_bytes());
        for at in [40, 48, 56] {
            self.event[at..at + 8].copy_from_slice(&random.rotate_left(at as u32).to_le_bytes());
            *random ^= *random << 7 ^ *random >> 9;
        }
        &self.event
    }
}

fn now_since(started: Instant) -> Now {
    let boottime_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Now { realtime_ns: 1_700_000_000_000_000_000 + boottime_ns, boottime_ns }
}

fn segment_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "gal") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Since when.
struct Took {
    wall: Instant,
    cpu: Duration,
}

impl Took {
    fn from_now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    fn told(&self, events: u64) -> Value {
        let (wall, cpu) = (self.wall.elapsed(), cpu_time().saturating_sub(self.cpu));
        json!({"events": events, "wall_ns": wall.as_nanos() as u64, "cpu_ns": cpu.as_nanos() as u64})
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
