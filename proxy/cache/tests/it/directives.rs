//! `Cache-Control`, `Pragma`, and targeted fields.

use anypop_cache::control::{Control, Expires, Origin};
use anypop_cache::directives::{
    MAX_DELTA, MaxStale, Qualified, RequestDirectives, ResponseDirectives,
};
use anypop_cache::targeted;
use http::header;
use proptest::prelude::*;

use crate::support::{NOW, control, dated, field_value, headers, listish, secs};

fn parse(lines: &[&str]) -> ResponseDirectives {
    ResponseDirectives::parse_lines(lines.iter().map(|line| line.as_bytes()))
}

#[test]
fn lifetimes() {
    for (line, expected) in [
        ("max-age=3600", Some(3600)),
        ("MaX-aGe=3600", Some(3600)),
        ("max-age=\"3600\"", Some(3600)),
        ("max-age=003600", Some(3600)),
        ("foobar, max-age=3600", Some(3600)),
        ("max-age=2147483648", Some(u64::from(MAX_DELTA))),
        (
            "max-age=99999999999999999999999",
            Some(u64::from(MAX_DELTA)),
        ),
        // Broken arguments are stale at once.
        ("max-age", Some(0)),
        ("max-age=", Some(0)),
        ("max-age=-3600", Some(0)),
        ("max-age='3600'", Some(0)),
        ("max-age=3600.0", Some(0)),
        ("max-age=a3600", Some(0)),
        ("max-age=3600a", Some(0)),
        ("max-age =3600", Some(0)),
        ("max-age= 3600", Some(0)),
        ("max-age=\"36\\00\"", Some(0)),
        // Of two the smaller counts.
        ("max-age=3600, max-age=1800", Some(1800)),
        ("max-age=1, max-age=1800", Some(1)),
        // Inside other directives' strings nothing counts.
        ("extension=\"max-age=3600\", max-age=1", Some(1)),
        ("max-age=1, extension=\"max-age=3600\"", Some(1)),
        ("extension=\"max-age=3600\"", None),
        ("extension=\"a\\\", max-age=3600\"", None),
        ("xmax-age=3600", None),
        ("=3600, max-age", Some(0)),
        ("", None),
    ] {
        assert_eq!(parse(&[line]).max_age, expected.map(secs), "{line}");
    }
    assert_eq!(parse(&["max-age=1800", "max-age=1"]).max_age, Some(secs(1)));
}

#[test]
fn what_restricts_counts_in_any_form_and_what_permits_only_in_its_own() {
    let found = parse(&[
        "No-StOrE=1, must-revalidate;x, public x, proxy-revalidate=\"",
        "immutable",
    ]);
    assert!(
        found.no_store
            && found.must_revalidate
            && found.proxy_revalidate
            && found.immutable
            && !found.public
    );
    assert!(
        found.no_cache.is_whole(),
        "an open string hides the rest of its line"
    );
}

#[test]
fn qualified_forms() {
    let names = |q: &Qualified| {
        q.fields()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&parse(&["no-cache=\"a, b\"", "max-age=3600"]).no_cache),
        ["a", "b"]
    );
    assert_eq!(
        names(&parse(&["private=\"Set-Cookie\", private=\"x\""]).private),
        ["set-cookie", "x"]
    );
    for whole in [
        "private",
        "private=",
        "private=\"\"",
        "private=\"a b\"",
        "private=a",
        "private=\"a\", private",
        "private, private=\"a\"",
    ] {
        assert!(parse(&[whole]).private.is_whole(), "{whole}");
    }
}

#[test]
fn requests() {
    let parse = |lines: &[&str]| RequestDirectives::parse(&headers(lines));
    assert_eq!(
        parse(&["cache-control: max-stale"]).max_stale,
        Some(MaxStale::Any)
    );
    assert_eq!(
        parse(&["cache-control: max-stale=5, max-stale"]).max_stale,
        Some(MaxStale::Within(secs(5)))
    );
    assert_eq!(
        parse(&["cache-control: max-stale=x"]).max_stale,
        Some(MaxStale::Within(secs(0)))
    );
    assert_eq!(
        parse(&["cache-control: min-fresh=x"]).min_fresh,
        Some(secs(MAX_DELTA.into()))
    );
    assert_eq!(
        parse(&["cache-control: max-age=x, only-if-cached"]).max_age,
        Some(secs(0))
    );
    assert!(parse(&["pragma: x, No-Cache"]).no_cache);
    assert!(
        !parse(&["pragma: no-cache", "cache-control: max-age=1"]).no_cache,
        "Pragma counts only alone"
    );
    assert!(!parse(&["pragma: foo"]).no_cache);
}

#[test]
fn targeted_fields_overrule() {
    let read = |lines: &[&str]| control(&dated(lines));
    let both = read(&[
        "anypop-cache-control: max-age=10",
        "cdn-cache-control: max-age=20",
        "cache-control: max-age=30, no-store",
        "expires: {+40}",
    ]);
    assert_eq!(
        both.origin,
        Origin::Targeted(targeted::ANYPOP_CACHE_CONTROL)
    );
    assert_eq!(
        (both.directives.max_age, both.directives.no_store),
        (Some(secs(10)), false)
    );
    assert_eq!(both.expires, Expires::Absent);
    for ignored in [
        "",
        "max-age=",
        "max-age=1,",
        "Max-Age=1",
        "=",
        "a b",
        "max-age=1;",
    ] {
        let line = format!("anypop-cache-control: {ignored}");
        let read = read(&[&line, "cdn-cache-control: max-age=20"]);
        assert_eq!(read.directives.max_age, Some(secs(20)), "{ignored:?}");
    }
    let lines = read(&[
        "cdn-cache-control: max-age=1",
        "cdn-cache-control: max-age=2, no-cache",
    ]);
    assert_eq!(
        lines.directives.max_age,
        Some(secs(2)),
        "of a repeated key the last counts"
    );
    assert!(lines.directives.no_cache.is_whole());
}

#[test]
fn targeted_types() {
    let max_age = |text: &str| targeted::parse(text.as_bytes()).unwrap().max_age;
    assert_eq!(max_age("max-age=60;ext=1"), Some(secs(60)));
    assert_eq!(max_age("max-age=99999999999"), Some(secs(MAX_DELTA.into())));
    for zero in [
        "max-age",
        "max-age=\"60\"",
        "max-age=60.0",
        "max-age=-1",
        "max-age=(60)",
        "max-age=abc",
    ] {
        assert_eq!(max_age(zero), Some(secs(0)), "{zero}");
    }
    let found =
        targeted::parse(b"no-store=?0, private=\"a, b\", must-understand, no-cache=1, public=1")
            .unwrap();
    assert!(!found.no_store && found.must_understand && found.no_cache.is_whole() && !found.public);
    assert_eq!(found.private.fields().len(), 2);
    assert_eq!(
        targeted::parse(b"unknown").unwrap(),
        ResponseDirectives::default()
    );
}

#[test]
fn singletons() {
    let read = |lines: &[&str]| control(&dated(lines));
    assert_eq!(read(&["expires: 0"]).expires, Expires::Invalid);
    assert_eq!(
        read(&["expires: {+1}", "expires: {+1}"]).expires,
        Expires::Invalid
    );
    assert_eq!(
        read(&["expires: {+1}"]).expires,
        Expires::At(NOW.plus(secs(1)))
    );
    assert_eq!(read(&["date: nonsense"]).date, NOW);
    for (age, expected) in [
        ("7200", 7200),
        ("7200,0", 7200),
        ("0,7200", 0),
        ("abc", 0),
        ("-1", 0),
        ("7200.0", 0),
        ("7200;a=b", 0),
        ("", 0),
        ("99999999999", u64::from(MAX_DELTA)),
    ] {
        assert_eq!(read(&[&format!("age: {age}")]).age, secs(expected), "{age}");
    }
}

proptest! {
    #[test]
    fn any_value_parses_to_something(values in proptest::collection::vec(prop_oneof![field_value(), listish()], 0..4)) {
        let mut map = http::HeaderMap::new();
        for value in values {
            for name in [header::CACHE_CONTROL, header::PRAGMA, header::EXPIRES, header::AGE, header::DATE, targeted::CDN_CACHE_CONTROL] {
                map.append(name, value.clone());
            }
        }
        let _ = RequestDirectives::parse(&map);
        let control = Control::read(&map, &targeted::TARGETS, NOW);
        for lifetime in [control.directives.max_age, control.directives.s_maxage, Some(control.age)].into_iter().flatten() {
            prop_assert!(lifetime <= secs(MAX_DELTA.into()));
        }
    }

    /// Whatever an origin adds can only make the response less reusable.
    #[test]
    fn more_text_never_lengthens_a_lifetime(tail in "[a-z0-9=\", -]{0,40}", age in 0u64..10_000) {
        let clean = format!("max-age={age}");
        let longer = format!("{clean}, {tail}");
        let (short, long) = (parse(&[&clean]), parse(&[&longer]));
        prop_assert!(long.max_age.unwrap() <= short.max_age.unwrap());
        let restricted = parse(&[&format!("no-store, {tail}")]);
        prop_assert!(restricted.no_store);
    }
}
