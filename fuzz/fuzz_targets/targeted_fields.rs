//! Targeted cache control (RFC 9213), structured fields (RFC 9651).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = anypop_cache::targeted::parse(data);
});
