//! The log of purges as it is found on a disk.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    anypop_store::purge::check_journal_bytes(data);
});
