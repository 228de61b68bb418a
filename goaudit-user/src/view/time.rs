//! Wall times as text, written straight into a buffer: RFC 3339 in UTC with nanoseconds, and clock times.

use serde::{Serialize, Serializer};

const DAY_S: i64 = 86_400;
const SECOND_NS: i64 = 1_000_000_000;

/// A wall time in nanoseconds since 1970, split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanosecond: u32,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "remainders of small divisors")]
fn civil(wall_ns: i64) -> Civil {
    let seconds = wall_ns.div_euclid(SECOND_NS);
    let days = seconds.div_euclid(DAY_S);
    let second_of_day = seconds.rem_euclid(DAY_S);
    // Days of the proleptic Gregorian calendar in 400-year eras that begin on 1 March.
    let since_era_zero = days + 719_468;
    let era = since_era_zero.div_euclid(146_097);
    let day_of_era = since_era_zero.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: month as u32,
        day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
        hour: (second_of_day / 3_600) as u32,
        minute: (second_of_day / 60 % 60) as u32,
        second: (second_of_day % 60) as u32,
        nanosecond: wall_ns.rem_euclid(SECOND_NS) as u32,
    }
}

/// A wall time in nanoseconds since 1970, shown as `2026-11-21T12:00:00.123456789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub i64);

impl Rfc3339 {
    /// The text, into `buffer`. The years of such times have four digits: 1677 to 2262.
    fn write(self, buffer: &mut [u8; 30]) -> &str {
        *buffer = *b"0000-00-00T00:00:00.000000000Z";
        let Civil { year, month, day, hour, minute, second, nanosecond } = civil(self.0);
        let year = u32::try_from(year).unwrap_or(0);
        let parts =
            [(3, year), (6, month), (9, day), (12, hour), (15, minute), (18, second), (28, nanosecond)];
        for (last, mut number) in parts {
            for digit in buffer.iter_mut().take(last + 1).rev() {
                if number == 0 {
                    break;
                }
                // Of the remainder only the low byte is there.
                *digit = b'0' + (number % 10).to_le_bytes()[0];
                number /= 10;
            }
        }
        std::str::from_utf8(buffer).unwrap_or_default()
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 30]))
    }
}

/// `2026-11-21T12:00:00.123456789Z`.
pub fn rfc3339(wall_ns: i64) -> String {
    Rfc3339(wall_ns).write(&mut [0; 30]).to_owned()
}

/// `12:00:00.123`, shifted by an offset from UTC in seconds.
pub fn clock(wall_ns: i64, utc_offset_s: i32) -> String {
    let shifted = wall_ns.saturating_add(i64::from(utc_offset_s).saturating_mul(SECOND_NS));
    let Civil { hour, minute, second, nanosecond, .. } = civil(shifted);
    format!("{hour:02}:{minute:02}:{second:02}.{:03}", nanosecond / 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(clock(0, 3_600), "01:00:00.000");
    }

    proptest! {
        #[test]
        fn as_a_calendar_library_says(wall_ns in any::<i64>()) {
            let peer = jiff::Timestamp::from_nanosecond(wall_ns.into()).ok();
            prop_assert_eq!(Some(rfc3339(wall_ns)), peer.map(|time| format!("{time:.9}")));
        }
    }
}
