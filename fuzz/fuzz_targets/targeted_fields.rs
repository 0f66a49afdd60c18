//! Targeted cache control (RFC 9213), structured fields (RFC 9651), and `Surrogate-Control`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = anypop_cache::targeted::parse(data);
    let _ = anypop_cache::surrogate::parse(data);
});
