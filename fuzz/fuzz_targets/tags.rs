//! `Surrogate-Key` and `Cache-Tag`.
#![no_main]

use anypop_cache::tags::{CACHE_TAG, Limits, SURROGATE_KEY, Tags, strip};
use anypop_fuzz::field_lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for name in [SURROGATE_KEY, CACHE_TAG] {
        let mut headers = field_lines(&name, data);
        let tags = Tags::of(&headers, &Limits::default());
        assert!(tags.hashes("site").len() <= Limits::default().count);
        strip(&mut headers);
        assert!(headers.is_empty());
    }
});
