//! HTTP dates, strictly: the three forms of RFC 9110 §5.6.7 and nothing else.
//!
//! A cache that reads a broken date leniently extends somebody's lifetime by guessing. Everything
//! that is not exactly one of the three forms (wrong case, wrong weekday, missing `GMT`, a day that
//! does not exist, extra spaces) is no date; what that means is the caller's: an invalid `Expires`
//! has expired (RFC 9111 §5.3), an invalid `If-Modified-Since` is ignored.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use crate::time::Timestamp;

const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_DAYS: [&[u8]; 7] = [
    b"Monday",
    b"Tuesday",
    b"Wednesday",
    b"Thursday",
    b"Friday",
    b"Saturday",
    b"Sunday",
];
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Parses an HTTP date. `now` resolves the two-digit year of the RFC 850 form: a year that would
/// lie more than 50 years ahead is the most recent past year with those digits. Dates before 1970
/// are valid and become [`Timestamp::EPOCH`].
#[must_use]
pub fn parse(value: &[u8], now: Timestamp) -> Option<Timestamp> {
    imf_fixdate(value)
        .or_else(|| rfc850(value, now))
        .or_else(|| asctime(value))
}

/// Parses a field that may occur once: `None` if it is absent, `Some(None)` if it is repeated or no
/// date.
#[must_use]
pub fn parse_field(
    headers: &http::HeaderMap,
    name: http::header::HeaderName,
    now: Timestamp,
) -> Option<Option<Timestamp>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some(None);
    }
    Some(parse(first.as_bytes(), now))
}

/// Formats as IMF-fixdate; clamps to the year 9999.
#[must_use]
pub fn format(time: Timestamp) -> String {
    let clamped = time.min(Timestamp::LAST_HTTP_DATE);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(clamped.as_secs()))
}

/// [`format()`] as a field value.
#[must_use]
pub fn header_value(time: Timestamp) -> HeaderValue {
    // An IMF-fixdate is ASCII letters, digits, spaces, commas and colons, so the conversion cannot
    // fail.
    HeaderValue::try_from(format(time))
        .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(v: &[u8]) -> Option<Timestamp> {
    if v.len() != 29
        || v.get(3..5)? != b", "
        || *v.get(7)? != b' '
        || *v.get(11)? != b' '
        || *v.get(16)? != b' '
    {
        return None;
    }
    if v.get(25..29)? != b" GMT" {
        return None;
    }
    let weekday = index_of(&DAYS, v.get(0..3)?)?;
    let day = digits(v.get(5..7)?)?;
    let month = index_of(&MONTHS, v.get(8..11)?)?;
    let year = digits(v.get(12..16)?)?;
    assemble(year, month, day, v.get(17..25)?, weekday)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(v: &[u8], now: Timestamp) -> Option<Timestamp> {
    let comma = v.iter().position(|b| *b == b',')?;
    let weekday = index_of(&LONG_DAYS, v.get(..comma)?)?;
    let v = v.get(comma..)?;
    if v.len() != 24
        || v.get(0..2)? != b", "
        || *v.get(4)? != b'-'
        || *v.get(8)? != b'-'
        || *v.get(11)? != b' '
    {
        return None;
    }
    if v.get(20..24)? != b" GMT" {
        return None;
    }
    let day = digits(v.get(2..4)?)?;
    let month = index_of(&MONTHS, v.get(5..8)?)?;
    let two = digits(v.get(9..11)?)?;
    let (this_year, _, _) = civil(i64::try_from(now.as_secs() / 86_400).ok()?);
    let mut year = this_year - this_year.rem_euclid(100) + two;
    // The most recent of the candidates that is at most 50 years ahead (RFC 9110 §5.6.7).
    if year + 100 <= this_year + 50 {
        year += 100;
    } else if year > this_year + 50 {
        year -= 100;
    }
    assemble(year, month, day, v.get(12..20)?, weekday)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(v: &[u8]) -> Option<Timestamp> {
    if v.len() != 24
        || *v.get(3)? != b' '
        || *v.get(7)? != b' '
        || *v.get(10)? != b' '
        || *v.get(19)? != b' '
    {
        return None;
    }
    let weekday = index_of(&DAYS, v.get(0..3)?)?;
    let month = index_of(&MONTHS, v.get(4..7)?)?;
    let day = match *v.get(8)? {
        b' ' => digits(v.get(9..10)?)?,
        _ => digits(v.get(8..10)?)?,
    };
    let year = digits(v.get(20..24)?)?;
    assemble(year, month, day, v.get(11..19)?, weekday)
}

fn index_of(names: &[&[u8]], name: &[u8]) -> Option<i64> {
    names
        .iter()
        .position(|n| *n == name)
        .and_then(|i| i64::try_from(i).ok())
}

fn digits(v: &[u8]) -> Option<i64> {
    if v.is_empty() || v.len() > 4 {
        return None;
    }
    v.iter().try_fold(0i64, |n, b| {
        b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'))
    })
}

/// `month` counts from 0, `weekday` from Monday = 0; all numbers have at most four digits, so that
/// nothing here can overflow.
fn assemble(year: i64, month: i64, day: i64, clock: &[u8], weekday: i64) -> Option<Timestamp> {
    if clock.len() != 8 || *clock.get(2)? != b':' || *clock.get(5)? != b':' {
        return None;
    }
    let (hour, minute, second) = (
        digits(clock.get(0..2)?)?,
        digits(clock.get(3..5)?)?,
        digits(clock.get(6..8)?)?,
    );
    // 60 is a leap second, which RFC 9110 allows.
    if hour > 23 || minute > 59 || second > 60 || day < 1 {
        return None;
    }
    let days = days_from_civil(year, month + 1, day);
    if civil(days) != (year, month + 1, day) || (days + 3).rem_euclid(7) != weekday {
        return None;
    }
    let secs = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(u64::try_from(secs).map_or(Timestamp::EPOCH, Timestamp::from_secs))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_from_civil`]: year, month from 1, day from 1.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000); // September 2026
    const RFC: Timestamp = Timestamp::from_secs(784_111_777);

    #[test]
    fn the_three_forms() {
        for form in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(form.as_bytes(), NOW), Some(RFC), "{form}");
        }
        assert_eq!(format(RFC), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            parse(b"Fri, 31 Dec 9999 23:59:59 GMT", NOW),
            Some(Timestamp::LAST_HTTP_DATE)
        );
        assert_eq!(
            parse(b"Sat, 31 Dec 2016 23:59:60 GMT", NOW),
            Some(Timestamp::from_secs(1_483_228_800))
        );
        assert_eq!(
            parse(b"Tue, 29 Feb 2000 00:00:00 GMT", NOW),
            Some(Timestamp::from_secs(951_782_400))
        );
        assert_eq!(
            parse(b"Wed, 31 Dec 1969 23:59:59 GMT", NOW),
            Some(Timestamp::EPOCH)
        );
    }

    #[test]
    fn two_digit_years_are_at_most_fifty_years_ahead() {
        // 2076 is exactly 50 years ahead of 2026, 2077 would be 51: 1977.
        let at = |text: &str| parse(text.as_bytes(), NOW);
        assert_eq!(
            at("Wednesday, 01-Jan-76 00:00:00 GMT"),
            parse(b"Wed, 01 Jan 2076 00:00:00 GMT", NOW)
        );
        assert_eq!(
            at("Saturday, 01-Jan-77 00:00:00 GMT"),
            parse(b"Sat, 01 Jan 1977 00:00:00 GMT", NOW)
        );
        assert_eq!(
            at("Thursday, 18-Aug-50 02:01:18 GMT"),
            parse(b"Thu, 18 Aug 2050 02:01:18 GMT", NOW)
        );
        let in_2090 = parse(b"Sun, 01 Jan 2090 00:00:00 GMT", NOW).unwrap();
        assert_eq!(
            parse(b"Friday, 01-Jan-10 00:00:00 GMT", in_2090),
            None,
            "the weekday belongs to 2010, the year is 2110"
        );
        assert_eq!(
            parse(b"Wednesday, 01-Jan-10 00:00:00 GMT", in_2090),
            parse(b"Wed, 01 Jan 2110 00:00:00 GMT", NOW)
        );
    }

    #[test]
    fn everything_else_is_no_date() {
        for bad in [
            "",
            "0",
            "-1",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 gMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49:+7 GMT",
            "Fri, 30 Feb 2024 00:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37",
            "Sun Nov 06 08:49:37 1994 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(bad.as_bytes(), NOW), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(secs in 0u64..253_402_300_800) {
            let time = Timestamp::from_secs(secs);
            prop_assert_eq!(parse(format(time).as_bytes(), NOW), Some(time));
        }

        #[test]
        fn formatting_takes_any_time(millis: u64) {
            let _ = header_value(Timestamp::from_millis(millis));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, now: u64) {
            let _ = parse(&bytes, Timestamp::from_millis(now));
        }

        #[test]
        fn almost_dates_never_panic(text in "[A-Z][a-z]{2,8},? [ 0-9]{2}[- ][A-Z][a-z]{2}[- ][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", now: u64) {
            let _ = parse(text.as_bytes(), Timestamp::from_millis(now));
        }
    }
}
