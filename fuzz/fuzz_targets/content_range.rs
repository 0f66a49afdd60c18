//! `Content-Range` (RFC 9110 §14.4).
#![no_main]

use anypop_cache::range::ContentRange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(range) = ContentRange::parse(data) {
        assert_eq!(
            ContentRange::parse(range.to_string().as_bytes()),
            Some(range)
        );
    }
});
