//! Points in time as text: RFC 3339 in UTC with microseconds, written without allocation.

use std::time::{SystemTime, UNIX_EPOCH};

/// The length of a stamp, `2026-02-03T04:05:06.123456Z`.
pub(super) const LENGTH: usize = 27;

/// The last second that four digits of year can show, 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes `time` as `2026-02-03T04:05:06.123456Z` (RFC 3339 §5.6). Times before 1970 or after 9999 become the nearest one that can be
/// written.
pub(super) fn rfc3339(time: SystemTime) -> [u8; LENGTH] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().min(LAST_SECOND);
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut out = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut out[0..4], year);
    digits(&mut out[5..7], month);
    digits(&mut out[8..10], day);
    digits(&mut out[11..13], of_day / 3600);
    digits(&mut out[14..16], of_day / 60 % 60);
    digits(&mut out[17..19], of_day % 60);
    digits(&mut out[20..26], u64::from(since.subsec_micros()));
    out
}

/// Writes `value` right-aligned into `field`, which holds zeros where digits are missing.
fn digits(field: &mut [u8], mut value: u64) {
    for place in field.iter_mut().rev() {
        // The remainder is below ten, so that it fits the byte.
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of the day `days` after 1970-01-01 in the Gregorian calendar. Counting years from March puts the leap day last, so
/// that a month's first day is a linear function of its number.
fn civil(days: u64) -> (u64, u64, u64) {
    // 719 468 days lie between 0000-03-01 and 1970-01-01; 146 097 days are 400 years.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )]
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_stamps() {
        for (seconds, micros, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000001Z"),
            (1_709_251_199, 999_999, "2024-02-29T23:59:59.999999Z"),
            (1_735_689_600, 123_456, "2025-01-01T00:00:00.123456Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
            (LAST_SECOND + 5, 0, "9999-12-31T23:59:59.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
            assert_eq!(std::str::from_utf8(&rfc3339(time)).unwrap(), text);
        }
        assert!(rfc3339(UNIX_EPOCH - Duration::from_secs(9)).starts_with(b"1970-01-01T00:00:00"));
    }
}
