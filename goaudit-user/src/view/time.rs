//! Wall times as text, written straight into a buffer: RFC 3339 in UTC with nanoseconds, and clock times.

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

/// `2026-11-21T12:00:00.123456789Z`.
pub fn rfc3339(wall_ns: i64) -> String {
    let Civil { year, month, day, hour, minute, second, nanosecond } = civil(wall_ns);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z")
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
