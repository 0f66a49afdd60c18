//! Short forms that all tables use.

use std::time::Duration;

use anypop_cache::control::Control;
use anypop_cache::date;
use anypop_cache::policy::Policy;
use anypop_cache::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

/// September 2026.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A header from `name: value` lines.
pub(crate) fn headers(lines: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        map.append(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::from_bytes(value.trim().as_bytes()).unwrap(),
        );
    }
    map
}

/// A header with dates in it: `{+60}` becomes the date 60 seconds from [`NOW`].
pub(crate) fn dated(lines: &[&str]) -> HeaderMap {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| match line.split_once('{') {
            Some((head, rest)) => {
                let (offset, tail) = rest.split_once('}').unwrap();
                let offset: i64 = offset.parse().unwrap();
                let by = secs(offset.unsigned_abs());
                let at = if offset < 0 {
                    NOW.minus(by)
                } else {
                    NOW.plus(by)
                };
                format!("{head}{}{tail}", date::format(at))
            }
            None => (*line).to_owned(),
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    headers(&lines)
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A response's control as received at [`NOW`] under the default targets.
pub(crate) fn control(response: &HeaderMap) -> Control {
    Control::read(response, &Policy::default().targets, NOW)
}

/// Bytes that are a valid field value.
pub(crate) fn field_value() -> impl Strategy<Value = HeaderValue> {
    proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20u8..0x7f, 0x80u8..=0xff], 0..60)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

/// Text that looks like list syntax often enough to get somewhere.
pub(crate) fn listish() -> impl Strategy<Value = HeaderValue> {
    const PIECES: &[&str] = &[
        "max-age",
        "s-maxage",
        "no-cache",
        "private",
        "no-store",
        "public",
        "max-stale",
        "min-fresh",
        "bytes",
        "=",
        "=",
        "\"",
        "\\",
        ",",
        ", ",
        ";",
        " ",
        "*",
        "W/",
        "0",
        "1",
        "60",
        "99999999999999999999",
        "-",
        "/",
        "q=0",
        "gzip",
        "br",
        "identity",
        "a",
        "%",
        "[",
        "&",
    ];
    proptest::collection::vec(proptest::sample::select(PIECES), 0..16)
        .prop_map(|pieces| HeaderValue::from_bytes(pieces.concat().as_bytes()).unwrap())
}
