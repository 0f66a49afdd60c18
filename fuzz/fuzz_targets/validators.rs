//! Entity tags and lists of them (RFC 9110 §8.8.3, §13.1).
#![no_main]

use anypop_cache::validators::{ETag, matches};
use anypop_fuzz::field_lines;
use http::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (first, rest) = data.split_at(
        data.iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(data.len()),
    );
    let stored = ETag::parse(first);
    if let Some(tag) = &stored {
        let value = tag
            .header_value()
            .and_then(|value| ETag::parse(value.as_bytes()));
        assert!(value.is_none_or(|again| again == *tag));
    }
    let request = field_lines(&header::IF_NONE_MATCH, rest);
    let weak = matches(&request, &header::IF_NONE_MATCH, stored.as_ref(), false);
    let strong = matches(&request, &header::IF_NONE_MATCH, stored.as_ref(), true);
    assert!(
        weak || !strong,
        "what compares equal strongly does so weakly"
    );
});
