//! Back-off and breaker, with time and chance given.

use std::time::{Duration, Instant};

use anypop_plugins::breaker::{Breaker, BreakerPolicy, Verdict};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn waits_double_with_jitter_up_to_the_most() {
    let start = Instant::now();
    for (chance, factor) in [(0.0, 0.5), (1.0, 1.0)] {
        let mut breaker = Breaker::new(
            BreakerPolicy {
                crashes: 100,
                ..BreakerPolicy::default()
            },
            false,
        );
        assert_eq!(breaker.verdict(start), Verdict::Go);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            breaker.crash(start, chance);
            assert_eq!(
                breaker.verdict(start),
                Verdict::Wait(start + (SECOND * seconds).mul_f64(factor))
            );
        }
        assert_eq!(breaker.verdict(start + SECOND * 30), Verdict::Go);
        assert_eq!(breaker.recent(), 7);
    }
}

#[test]
fn crashes_are_forgotten_after_the_window() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerPolicy::default(), false);
    for minute in 0..50 {
        let now = start + SECOND * 61 * minute;
        breaker.crash(now, 1.0);
        assert_eq!(breaker.verdict(now), Verdict::Wait(now + SECOND));
    }
}

#[test]
fn too_many_turn_it_off_for_a_while_and_then_it_starts_anew() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerPolicy::default(), true);
    breaker.crash(start, 1.0);
    assert_eq!(
        breaker.verdict(start),
        Verdict::Go,
        "the first is free under reload"
    );
    for _ in 1..10 {
        breaker.crash(start, 1.0);
    }
    let until = start + SECOND * 300;
    assert_eq!(breaker.verdict(start), Verdict::Off(until));
    assert_eq!(breaker.verdict(until), Verdict::Go);
    breaker.crash(until, 1.0);
    assert_eq!(breaker.verdict(until), Verdict::Go);
    breaker.crash(until, 1.0);
    assert_eq!(breaker.verdict(until), Verdict::Wait(until + SECOND * 2));
}
