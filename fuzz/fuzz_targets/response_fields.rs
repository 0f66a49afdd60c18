//! Everything that is read from an origin's response fields, together: age, lifetime, storability, and what follows as time goes on.
#![no_main]

use std::time::Duration;

use anypop_cache::{
    control::Control,
    directives::RequestDirectives,
    freshness::{Clock, Freshness, initial_age, lifetime},
    policy::Policy,
};
use anypop_fuzz::{NOW, fields};
use http::{HeaderName, StatusCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((status, data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let status =
        StatusCode::from_u16(200 + u16::from_be_bytes(*status) % 400).unwrap_or(StatusCode::OK);
    let targets = [
        HeaderName::from_static("anypop-cache-control"),
        HeaderName::from_static("cdn-cache-control"),
    ];
    let control = Control::read(&fields(data), &targets, NOW);
    let clock = Clock {
        received: NOW,
        initial_age: initial_age(&control, NOW, NOW),
        lifetime: lifetime(status, &control, &Policy::default()),
    };
    let fresh = |after: u64| {
        let now = NOW.plus(Duration::from_secs(after));
        matches!(
            clock.evaluate(&RequestDirectives::default(), now, None),
            Freshness::Fresh { .. }
        )
    };
    // What is stale does not become fresh by waiting.
    let over_time = [0, 1, 60, 3600, 86_400, 1 << 31, u64::from(u32::MAX)].map(fresh);
    assert!(
        over_time.is_sorted_by(|earlier, later| earlier >= later),
        "{over_time:?}"
    );
    assert!(!(clock.lifetime.no_cache && over_time[0]));
});
