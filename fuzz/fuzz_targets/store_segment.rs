//! A segment as it is found on a disk: whatever its bytes are, opening it ends, and finds nothing that is not there.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let found = anypop_store::disk::check_segment_bytes(data, 1);
    assert!(found <= data.len(), "a record takes more than a byte");
});
