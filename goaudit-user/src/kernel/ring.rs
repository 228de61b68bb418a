//! The consumer of the ring: sleeps until something matters, then takes what is there.
//!
//! Waking a sleeping reader is the dearest thing a program does, and being woken the dearest thing the reader
//! does. So the reader says in the map `READER` that it sleeps, and the first program that wants it awake takes
//! that note away. After a look at the ring that found something it rests, so that what comes in a row is read
//! together: for [`PAUSE`] nothing wakes it, then for at most [`REST`] only something urgent or a lot of records.
//! When nothing came meanwhile, the next prompt record (an exec) wakes it at once.

use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError, RingBuf};
use goaudit_ebpf::wire::reader::{AWAKE, RESTS, SLEEPS, URGED};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::maps::own;

/// How long the reader rests: the most that a record waits for the sake of batching.
pub const REST: Duration = Duration::from_millis(25);
/// The most that an urgent record waits: a storm of them must not wake the reader for each.
const PAUSE: Duration = Duration::from_millis(1);

/// The reading end.
pub(super) struct Ring {
    records: RingBuf<MapData>,
    reader: Array<MapData, u32>,
    /// Tells wake-ups, not whether there is data (edge-triggered): a reader that rests is not to be told of what
    /// came while it was awake.
    woken: OwnedFd,
    /// The last look found something.
    busy: bool,
    /// The last look ended before the ring did.
    behind: bool,
}

impl Ring {
    /// That of the loaded programs.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self, MapError> {
        let map = |name: &str| own(ebpf, name)?.ok_or_else(|| MapError::InvalidName { name: name.into() });
        let (records, reader) = (RingBuf::try_from(map("EVENTS")?)?, Array::try_from(map("READER")?)?);
        let woken = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&woken, &records, epoll::EventData::new_u64(0), edges).map_err(std::io::Error::from)?;
        Ok(Self { records, reader, woken, busy: false, behind: false })
    }

    /// Hands everything that is there to `f`; the number of records.
    fn drain_ready(&mut self, budget: usize, f: &mut dyn FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < budget
            && let Some(record) = self.records.next()
        {
            f(&record);
            count += 1;
        }
        self.behind = count == budget;
        self.busy = count > 0;
        count
    }

    /// Hands what is there, up to `budget` records, to `f`; their number. Unless there is more than the last call
    /// could take, it rests or waits before that, up to `timeout`.
    pub(super) fn drain(
        &mut self,
        timeout: Duration,
        budget: usize,
        f: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, MapError> {
        if self.behind || timeout.is_zero() {
            return Ok(self.drain_ready(budget, f));
        }
        if self.busy {
            std::thread::sleep(timeout.min(PAUSE));
            // An urgent record that is sent between these two calls waits for the rest to end, 25 ms at most.
            if self.reader.get(&0, 0)? != URGED {
                self.reader.set(0, RESTS, 0)?;
                self.wait(timeout.min(REST));
            }
        } else {
            self.reader.set(0, SLEEPS, 0)?;
            // What came before the note was made wakes nobody.
            let count = self.drain_ready(budget, f);
            if count > 0 {
                self.reader.set(0, AWAKE, 0)?;
                return Ok(count);
            }
            self.wait(timeout);
        }
        self.reader.set(0, AWAKE, 0)?;
        Ok(self.drain_ready(budget, f))
    }

    /// Sleeps until woken, or for `timeout`, or until a signal.
    fn wait(&self, timeout: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut events = Vec::with_capacity(1);
        // Whatever the reason to go on is: the caller looks at the ring.
        let _ = epoll::wait(&self.woken, spare_capacity(&mut events), Some(&timeout));
    }
}
