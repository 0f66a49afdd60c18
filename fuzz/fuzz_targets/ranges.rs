//! `Range` (RFC 9110 §14.2): the first eight bytes are the length of what is stored.
#![no_main]

use anypop_cache::range::{Limits, Selection, parse, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((length, value)) = data.split_first_chunk::<8>() else {
        return;
    };
    let length = u64::from_be_bytes(*length);
    let limits = Limits::default();
    let Some(specs) = parse(value, limits.max_ranges) else {
        return;
    };
    assert!(specs.len() <= limits.max_ranges);
    match resolve(&specs, length, &limits) {
        Selection::Whole | Selection::Unsatisfiable => {}
        Selection::Single(range) => assert!(range.first() <= range.last() && range.last() < length),
        Selection::Multi(ranges) => {
            assert!(ranges.len() >= 2);
            let mut sorted = ranges.clone();
            sorted.sort_unstable_by_key(|range| range.first());
            let mut end = 0;
            for range in &sorted {
                assert!(
                    range.first() >= end && range.first() <= range.last() && range.last() < length
                );
                end = range.last() + 1;
            }
        }
    }
});
