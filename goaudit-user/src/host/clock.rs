//! Boot time and wall time, read together.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::audit::Now;

/// Both clocks now. Boot time is read before and after wall time and their middle taken, so that an
/// interruption between the reads does not look like a clock step.
pub fn now() -> Now {
    let before = nanoseconds(clock_gettime(ClockId::Boottime));
    let realtime_ns = nanoseconds(clock_gettime(ClockId::Realtime));
    let after = nanoseconds(clock_gettime(ClockId::Boottime));
    Now { realtime_ns, boottime_ns: before + (after - before) / 2 }
}

fn nanoseconds(time: Timespec) -> u64 {
    // Neither clock of a running host is before its epoch.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
