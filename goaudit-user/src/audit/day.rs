//! Days (UTC), in which segments, and keys of personal fields, end. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::ToSpan as _;
use jiff::civil::Date;

/// Nanoseconds of a day.
pub(super) const DAY_NS: u64 = 86_400_000_000_000;
/// Day 0.
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// A day (UTC), counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// The day of a time of the wall clock.
    pub fn of(realtime_ns: u64) -> Self {
        Self(u32::try_from(realtime_ns / DAY_NS).unwrap_or(u32::MAX))
    }

    /// So many days before; the first day at least.
    #[must_use]
    pub fn back(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(i64::from(self.0).days()) {
            Ok(date) => date.fmt(f),
            // Beyond the calendar.
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let date: Date = text.parse().map_err(|_| ())?;
        let days = EPOCH.until(date).map_err(|_| ())?.get_days();
        let day = Self(u32::try_from(days).map_err(|_| ())?);
        // One way to write each.
        if day.to_string() == text { Ok(day) } else { Err(()) }
    }
}
