//! HTTP dates (RFC 9110 §5.6.7).
#![no_main]

use anypop_cache::{date, time::Timestamp};
use anypop_fuzz::NOW;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(time) = date::parse(data, NOW) {
        assert!(time <= Timestamp::LAST_HTTP_DATE);
        let text = date::format(time);
        assert_eq!(date::parse(text.as_bytes(), NOW), Some(time), "{text}");
    }
});
