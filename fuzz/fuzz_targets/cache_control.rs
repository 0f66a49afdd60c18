//! `Cache-Control` of requests and responses (RFC 9111 §5.2).
#![no_main]

use anypop_cache::directives::{MAX_DELTA, RequestDirectives, ResponseDirectives};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines = || data.split(|byte| *byte == b'\n');
    let response = ResponseDirectives::parse_lines(lines());
    for delta in [
        response.max_age,
        response.s_maxage,
        response.stale_while_revalidate,
        response.stale_if_error,
    ]
    .into_iter()
    .flatten()
    {
        assert!(delta.as_secs() <= u64::from(MAX_DELTA));
    }
    // A further line may forbid more, never less.
    let stricter = ResponseDirectives::parse_lines(lines().chain([&b"no-store"[..]]));
    assert!(stricter.no_store);
    assert!(stricter.must_revalidate >= response.must_revalidate);
    let _ = RequestDirectives::parse_lines(lines());
});
