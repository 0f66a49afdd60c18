//! Lifetimes, ages and their verdicts.

use std::time::Duration;

use anypop_cache::directives::RequestDirectives;
use anypop_cache::freshness::{Because, Clock, Freshness, Lifetime, Source, initial_age, lifetime};
use anypop_cache::policy::{Heuristic, Policy, StatusTtl};
use anypop_cache::time::Timestamp;
use http::StatusCode;
use proptest::prelude::*;

use crate::support::{NOW, control, dated, headers, secs};

fn life(status: u16, lines: &[&str], policy: &Policy) -> Lifetime {
    lifetime(
        StatusCode::from_u16(status).unwrap(),
        &control(&dated(lines)),
        policy,
    )
}

fn clock(lines: &[&str], policy: &Policy) -> Clock {
    let control = control(&dated(lines));
    Clock {
        received: NOW,
        initial_age: initial_age(&control, NOW, NOW),
        lifetime: lifetime(StatusCode::OK, &control, policy),
    }
}

fn at(clock: &Clock, request: &str, after: u64) -> Freshness {
    let request = RequestDirectives::parse(&headers(&[&format!("cache-control: {request}")]));
    clock.evaluate(&request, NOW.plus(secs(after)), None)
}

#[test]
fn precedence() {
    let policy = Policy::default();
    for (status, lines, expected, source) in [
        (
            200,
            &["cache-control: max-age=1, s-maxage=3600"][..],
            3600,
            Source::SMaxage,
        ),
        (
            200,
            &["cache-control: max-age=0, s-maxage=3600", "expires: {-10}"],
            3600,
            Source::SMaxage,
        ),
        (
            200,
            &[
                "cache-control: max-age=3600",
                "expires: {-7200}",
                "date: {0}",
            ],
            3600,
            Source::MaxAge,
        ),
        (
            200,
            &["cache-control: max-age=0", "expires: {3600}", "date: {0}"],
            0,
            Source::MaxAge,
        ),
        (
            200,
            &["cdn-cache-control: max-age=5", "cache-control: s-maxage=9"],
            5,
            Source::Targeted,
        ),
        (200, &["expires: {+60}", "date: {0}"], 60, Source::Expires),
        (
            200,
            &["expires: {+60}", "date: {-40}"],
            100,
            Source::Expires,
        ),
        (200, &["expires: {+60}"], 60, Source::Expires),
        (200, &["expires: {-60}", "date: {0}"], 0, Source::Expires),
        (
            200,
            &["expires: 0", "last-modified: {-100000}"],
            0,
            Source::Expires,
        ),
        (599, &["cache-control: max-age=7"], 7, Source::MaxAge),
        (
            200,
            &["last-modified: {-1000}", "date: {0}"],
            100,
            Source::Heuristic,
        ),
        (
            200,
            &["last-modified: {-10000000}", "date: {0}"],
            86_400,
            Source::Heuristic,
        ),
        (
            200,
            &["last-modified: {+1000}", "date: {0}"],
            0,
            Source::Heuristic,
        ),
        (
            403,
            &["last-modified: {-1000}", "date: {0}"],
            0,
            Source::None,
        ),
        (
            599,
            &[
                "last-modified: {-1000}",
                "date: {0}",
                "cache-control: public",
            ],
            100,
            Source::Heuristic,
        ),
        (200, &[], 0, Source::None),
    ] {
        let found = life(status, lines, &policy);
        assert_eq!(
            (found.fresh_for, found.source),
            (secs(expected), source),
            "{status} {lines:?}"
        );
    }
}

#[test]
fn heuristically_cacheable_statuses() {
    for status in 200..600 {
        let found = life(
            status,
            &["last-modified: {-1000}", "date: {0}"],
            &Policy::default(),
        );
        let expected = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status);
        assert_eq!(found.source == Source::Heuristic, expected, "{status}");
    }
}

#[test]
fn site_rules() {
    let defaults = Policy {
        default_ttl: Some(secs(30)),
        status_ttls: [
            StatusTtl {
                first: 404,
                last: 404,
                ttl: secs(5),
            },
            StatusTtl {
                first: 500,
                last: 599,
                ttl: secs(1),
            },
        ]
        .into_iter()
        .collect(),
        stale_while_revalidate: secs(11),
        stale_if_error: secs(22),
        ..Policy::default()
    };
    let of = |status, lines: &[&str]| {
        let found = life(status, lines, &defaults);
        (found.fresh_for.as_secs(), found.source)
    };
    assert_eq!(of(200, &[]), (30, Source::Default));
    assert_eq!(of(200, &["last-modified: {-1000}"]), (30, Source::Default));
    assert_eq!(of(404, &[]), (5, Source::StatusDefault));
    assert_eq!(of(503, &[]), (1, Source::StatusDefault));
    assert_eq!(
        of(404, &["cache-control: max-age=60"]),
        (60, Source::MaxAge)
    );
    assert_eq!(
        of(302, &[]),
        (0, Source::None),
        "defaults are not for any status"
    );

    let rule = Policy {
        ttl: Some(secs(600)),
        max_ttl: Some(secs(300)),
        ..Policy::default()
    };
    let found = life(200, &["cache-control: max-age=1, no-cache"], &rule);
    assert_eq!(
        (found.fresh_for, found.source, found.no_cache),
        (secs(300), Source::Rule, true)
    );

    let ignoring = Policy {
        ignore_origin: true,
        ..defaults.clone()
    };
    let found = life(
        200,
        &["cache-control: max-age=1, no-cache, must-revalidate"],
        &ignoring,
    );
    assert_eq!(
        (found.fresh_for, found.no_cache, found.must_revalidate),
        (secs(30), false, false)
    );

    let no_heuristic = Policy {
        heuristic: None,
        ..Policy::default()
    };
    assert_eq!(
        life(200, &["last-modified: {-1000}"], &no_heuristic).source,
        Source::None
    );
    let fifth = Policy {
        heuristic: Some(Heuristic {
            percent: 20,
            cap: secs(1_000_000),
        }),
        ..Policy::default()
    };
    assert_eq!(
        life(200, &["last-modified: {-1000}"], &fifth).fresh_for,
        secs(200)
    );
}

#[test]
fn stale_grants() {
    let site = Policy {
        stale_while_revalidate: secs(11),
        stale_if_error: secs(22),
        ..Policy::default()
    };
    let of = |line: &str| {
        let found = life(200, &[&format!("cache-control: {line}")], &site);
        (
            found.stale_while_revalidate.as_secs(),
            found.stale_if_error.as_secs(),
            found.must_revalidate,
        )
    };
    assert_eq!(of("max-age=1"), (11, 22, false));
    assert_eq!(
        of("max-age=1, stale-while-revalidate=5, stale-if-error=0"),
        (5, 0, false)
    );
    assert_eq!(
        of("max-age=1, must-revalidate, stale-if-error=9"),
        (0, 0, true)
    );
    assert_eq!(of("max-age=1, proxy-revalidate"), (0, 0, true));
    assert_eq!(
        of("s-maxage=1"),
        (0, 0, true),
        "s-maxage implies proxy-revalidate"
    );
    assert_eq!(
        of("s-maxage=1, stale-while-revalidate=5"),
        (5, 0, true),
        "what the origin grants in so many words counts, and only that"
    );
    let rule = Policy {
        ttl: Some(secs(5)),
        ..site.clone()
    };
    let found = life(200, &["cache-control: s-maxage=1"], &rule);
    assert_eq!(
        (found.stale_if_error, found.must_revalidate),
        (secs(22), false),
        "the rule takes its place"
    );
}

#[test]
fn ages() {
    let of = |lines: &[&str], delay: u64| {
        initial_age(&control(&dated(lines)), NOW.minus(secs(delay)), NOW)
    };
    assert_eq!(of(&["date: {0}"], 0), secs(0));
    assert_eq!(of(&["date: {-100}"], 0), secs(100), "apparent age");
    assert_eq!(
        of(&["date: {+100}"], 0),
        secs(0),
        "an origin whose clock is ahead"
    );
    assert_eq!(
        of(&["date: {0}", "age: 30"], 2),
        secs(32),
        "the delay counts"
    );
    assert_eq!(of(&["date: {-100}", "age: 30"], 2), secs(100));
    assert_eq!(of(&["age: 30"], 0), secs(30), "without Date");
    let late = NOW.plus(Duration::from_millis(900));
    assert_eq!(
        initial_age(&control(&dated(&["date: {0}"])), late, late),
        Duration::ZERO,
        "Date has whole seconds"
    );
}

#[test]
fn verdicts() {
    let policy = Policy::default();
    let plain = clock(&["cache-control: max-age=100", "date: {0}"], &policy);
    let stale = Freshness::MustRevalidate {
        because: Because::Stale,
    };
    let asked = Freshness::MustRevalidate {
        because: Because::Request,
    };
    assert_eq!(at(&plain, "", 0), Freshness::Fresh { ttl: secs(100) });
    assert_eq!(at(&plain, "", 99), Freshness::Fresh { ttl: secs(1) });
    assert_eq!(
        at(&plain, "", 100),
        stale,
        "fresh while the age is below the lifetime"
    );
    assert_eq!(at(&plain, "no-cache", 1), asked);
    assert_eq!(at(&plain, "max-age=0", 1), asked);
    // However young it is: `max-age=0` is how clients ask for validation.
    assert_eq!(at(&plain, "max-age=0", 0), asked);
    assert_eq!(at(&plain, "max-age=50", 51), asked);
    assert_eq!(
        at(&plain, "min-fresh=50", 50),
        Freshness::Fresh { ttl: secs(50) }
    );
    assert_eq!(at(&plain, "min-fresh=50", 51), asked);
    assert_eq!(
        at(&plain, "max-stale=10", 110),
        Freshness::StaleServable {
            staleness: secs(10)
        }
    );
    assert_eq!(at(&plain, "max-stale=10", 111), stale);
    assert_eq!(
        at(&plain, "max-stale", 1_000_000),
        Freshness::StaleServable {
            staleness: secs(999_900)
        }
    );
    assert_eq!(at(&plain, "max-stale, max-age=50", 110), asked);

    let strict = clock(
        &[
            "cache-control: max-age=100, must-revalidate, stale-while-revalidate=50, stale-if-error=50",
            "date: {0}",
        ],
        &policy,
    );
    assert_eq!(at(&strict, "max-stale", 101), stale);
    assert!(!strict.may_serve_on_error(&RequestDirectives::default(), NOW.plus(secs(101)), None));

    let shared = clock(
        &[
            "cache-control: s-maxage=100, stale-while-revalidate=50, stale-if-error=60",
            "date: {0}",
        ],
        &policy,
    );
    assert_eq!(
        at(&shared, "max-stale", 149),
        Freshness::StaleWhileRevalidate {
            staleness: secs(49)
        }
    );
    assert_eq!(
        at(&shared, "max-stale", 150),
        stale,
        "s-maxage forbids what the origin did not grant itself"
    );
    let client = RequestDirectives::parse(&headers(&["cache-control: stale-if-error=1000"]));
    assert!(shared.may_serve_on_error(&client, NOW.plus(secs(159)), None));
    assert!(!shared.may_serve_on_error(&client, NOW.plus(secs(160)), None));

    let grace = clock(
        &[
            "cache-control: max-age=100, stale-while-revalidate=50, stale-if-error=500",
            "date: {0}",
        ],
        &policy,
    );
    assert_eq!(
        at(&grace, "", 149),
        Freshness::StaleWhileRevalidate {
            staleness: secs(49)
        }
    );
    assert_eq!(at(&grace, "", 150), stale);
    assert!(grace.may_serve_on_error(&RequestDirectives::default(), NOW.plus(secs(599)), None));
    assert!(!grace.may_serve_on_error(&RequestDirectives::default(), NOW.plus(secs(600)), None));

    let never = clock(
        &[
            "cache-control: max-age=100, no-cache, stale-if-error=500",
            "date: {0}",
        ],
        &policy,
    );
    assert_eq!(
        at(&never, "", 0),
        Freshness::MustRevalidate {
            because: Because::NoCache
        }
    );
    assert!(!never.may_serve_on_error(&RequestDirectives::default(), NOW, None));

    let client = RequestDirectives::parse(&headers(&["cache-control: stale-if-error=60"]));
    assert!(plain.may_serve_on_error(&client, NOW.plus(secs(150)), None));
}

#[test]
fn soft_purges_make_stale_from_then_on() {
    let grace = clock(
        &[
            "cache-control: max-age=1000, stale-while-revalidate=50, stale-if-error=500",
            "date: {0}",
        ],
        &Policy::default(),
    );
    let none = RequestDirectives::default();
    let purged = Some(NOW.plus(secs(100)));
    let now = |after| NOW.plus(secs(after));
    assert_eq!(
        grace.evaluate(&none, now(140), purged),
        Freshness::StaleWhileRevalidate {
            staleness: secs(40)
        }
    );
    assert_eq!(
        grace.evaluate(&none, now(150), purged),
        Freshness::MustRevalidate {
            because: Because::Stale
        }
    );
    let any = RequestDirectives::parse(&headers(&["cache-control: max-stale"]));
    assert_eq!(
        grace.evaluate(&any, now(200), purged),
        Freshness::MustRevalidate {
            because: Because::Stale
        }
    );
    assert!(grace.may_serve_on_error(&none, now(599), purged));
    assert!(!grace.may_serve_on_error(&none, now(600), purged));
}

#[test]
fn what_is_told() {
    let clock = clock(
        &["cache-control: max-age=100", "age: 30", "date: {0}"],
        &Policy::default(),
    );
    assert_eq!(
        (
            clock.age_field(NOW.plus(secs(5))),
            clock.ttl_seconds(NOW.plus(secs(5)))
        ),
        (35, 65)
    );
    assert_eq!(clock.ttl_seconds(NOW.plus(secs(80))), -10);
    assert_eq!(clock.fresh_until(), NOW.plus(secs(70)));
}

proptest! {
    /// What is stale stays stale, and ages and staleness never shrink.
    #[test]
    fn time_only_makes_older(
        max_age in 0u64..10_000, age in 0u64..10_000, swr in 0u64..1000, initial: u32, a: u32, b: u32,
        date in 0u64..4_000_000_000,
    ) {
        let lines = [format!("cache-control: max-age={max_age}, stale-while-revalidate={swr}"), format!("age: {age}"),
            format!("date: {}", anypop_cache::date::format(Timestamp::from_secs(date)))];
        let response = headers(&[&lines[0], &lines[1], &lines[2]]);
        let control = control(&response);
        let clock = Clock {
            received: NOW,
            initial_age: initial_age(&control, NOW.minus(Duration::from_millis(initial.into())), NOW),
            lifetime: lifetime(StatusCode::OK, &control, &Policy::default()),
        };
        let rank = |verdict| match verdict {
            Freshness::Fresh { .. } => 0,
            Freshness::StaleWhileRevalidate { .. } => 1,
            Freshness::StaleServable { .. } | Freshness::MustRevalidate { .. } => 2,
        };
        let (early, late) = (NOW.plus(Duration::from_millis(a.min(b).into())), NOW.plus(Duration::from_millis(a.max(b).into())));
        let none = RequestDirectives::default();
        prop_assert!(clock.age(early) <= clock.age(late));
        prop_assert!(clock.age(early) >= secs(age));
        prop_assert!(rank(clock.evaluate(&none, early, None)) <= rank(clock.evaluate(&none, late, None)));
        prop_assert!(clock.staleness(early, None) <= clock.staleness(late, None));
        prop_assert_eq!(clock.staleness(early, None).is_none(), early < clock.fresh_until());
    }

    /// Client directives can only demand fresher answers, `max-stale` aside.
    #[test]
    fn demands_never_relax(after in 0u64..300, max_age in 0u64..300, min_fresh in 0u64..300) {
        let clock = clock(&["cache-control: max-age=100, stale-while-revalidate=50", "date: {0}"], &Policy::default());
        let demanding = at(&clock, &format!("max-age={max_age}, min-fresh={min_fresh}"), after);
        if !matches!(demanding, Freshness::MustRevalidate { .. }) {
            prop_assert_eq!(demanding, at(&clock, "", after));
        }
    }

    #[test]
    fn extreme_values_never_panic(received: u64, now: u64, purged: Option<u64>, initial: u64, fresh: u64, swr: u64) {
        let clock = Clock {
            received: Timestamp::from_millis(received),
            initial_age: secs(initial),
            lifetime: Lifetime {
                fresh_for: secs(fresh), source: Source::Rule, stale_while_revalidate: secs(swr), stale_if_error: secs(swr),
                must_revalidate: false, no_cache: false,
            },
        };
        let (now, purged) = (Timestamp::from_millis(now), purged.map(Timestamp::from_millis));
        let none = RequestDirectives::default();
        let _ = (clock.evaluate(&none, now, purged), clock.may_serve_on_error(&none, now, purged));
        let _ = (clock.age_field(now), clock.ttl_seconds(now), clock.fresh_until());
    }
}
