//! The consumer of the ring: sleeps until something matters, then takes what is there.
//!
//! Waking a sleeping reader is the dearest thing a program does, so it is done once: the reader says in the
//! map `READER` that it sleeps, and the first program that wants it awake takes that note away. When wake-ups
//! come close together, the reader rests a moment before it reads, so that a storm is read in batches; the
//! delay that this costs is bounded by [`REST`].

use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the reader rests in a storm before it reads: the most that a record waits for the sake of
/// batching.
pub const REST: Duration = Duration::from_millis(2);
/// Wake-ups closer than this are a storm.
const STORM: Duration = Duration::from_millis(10);

/// The reading end.
pub(super) struct Ring {
    records: RingBuf<MapData>,
    reader: Array<MapData, u32>,
    last_wake: Option<Instant>,
}

impl Ring {
    /// Takes the maps out of `ebpf`.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        let missing = |name: &str| MapError::InvalidName { name: name.into() };
        let records = RingBuf::try_from(ebpf.take_map("EVENTS").ok_or_else(|| missing("EVENTS"))?)?;
        let reader = Array::try_from(ebpf.take_map("READER").ok_or_else(|| missing("READER"))?)?;
        Ok(Self { records, reader, last_wake: None })
    }

    /// Hands everything that is there to `f`; the number of records.
    pub(super) fn drain_ready(&mut self, budget: usize, f: &mut dyn FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < budget
            && let Some(record) = self.records.next()
        {
            f(&record);
            count += 1;
        }
        count
    }

    /// As [`Self::drain_ready`], but waits up to `timeout` when there is nothing.
    pub(super) fn drain(
        &mut self,
        timeout: Duration,
        budget: usize,
        f: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, MapError> {
        let count = self.drain_ready(budget, f);
        if count > 0 || timeout.is_zero() {
            return Ok(count);
        }
        self.reader.set(0, 1, 0)?;
        let woken = self.wait(timeout);
        self.reader.set(0, 0, 0)?;
        if woken {
            let storm = self.last_wake.is_some_and(|last| last.elapsed() < STORM);
            if storm {
                std::thread::sleep(REST);
            }
            self.last_wake = Some(Instant::now());
        }
        Ok(self.drain_ready(budget, f))
    }

    /// Sleeps until woken; false on timeout or signal. The kernel looks for data itself before it sleeps.
    fn wait(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(&self.records, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        matches!(poll(&mut fds, Some(&timeout)), Ok(ready) if ready > 0)
    }
}
