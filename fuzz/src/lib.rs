//! What the fuzz targets share: hostile bytes as header fields, and a fixed clock.

use anypop_cache::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

/// 2026-01-01T00:00:00Z: a target must do the same with the same bytes tomorrow.
pub const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Each line of `data` as one line of the field `name`; what the listener would have refused (controls) is left out.
#[must_use]
pub fn field_lines(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// All of `data` as header fields, one `name: value` a line; lines that are none are left out.
#[must_use]
pub fn fields(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value[1..].trim_ascii()),
        ) {
            headers.append(name, value);
        }
    }
    headers
}
