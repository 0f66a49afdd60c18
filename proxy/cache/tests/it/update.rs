//! 304, HEAD, and unsafe methods.

use anypop_cache::invalidate::{Target, is_safe, targets};
use anypop_cache::key::Scheme;
use anypop_cache::policy::{Policy, SetCookie};
use anypop_cache::update::{HeadEffect, freshen, head_effect, merge, select};
use anypop_cache::validators::Validators;
use http::{Method, StatusCode};

use crate::support::{NOW, dated, headers, secs};

#[test]
fn selection() {
    let of = |lines: &[&str]| Validators::of(&dated(lines), NOW);
    let offered = [
        of(&["etag: \"a\"", "last-modified: {-100}"]),
        of(&["etag: W/\"b\"", "last-modified: {-100}"]),
        of(&["etag: \"b\""]),
    ];
    let by = |lines: &[&str]| select(&offered, &of(lines));
    assert_eq!(by(&["etag: \"a\""]), Some(0));
    assert_eq!(
        by(&["etag: \"b\""]),
        Some(2),
        "the strong match before the weak one"
    );
    assert_eq!(by(&["etag: W/\"b\""]), Some(1));
    assert_eq!(
        by(&["etag: \"c\"", "last-modified: {-100}"]),
        None,
        "a strong validator that nobody has updates nothing"
    );
    assert_eq!(by(&["last-modified: {-100}"]), Some(0));
    assert_eq!(by(&["last-modified: {-99}"]), None);
    assert_eq!(by(&[]), None, "which of three?");
    assert_eq!(select(&offered[..1], &of(&[])), Some(0));
    assert_eq!(
        select(&offered[1..2], &of(&["etag: \"b\""])),
        Some(0),
        "compressed by nginx"
    );
    assert_eq!(select([], &of(&["etag: \"a\""])), None);
}

#[test]
fn merging() {
    let mut stored = headers(&[
        "a: 1",
        "a: 2",
        "b: 1",
        "content-length: 5",
        "content-encoding: gzip",
        "content-type: text/plain",
        "etag: W/\"x\"",
        "date: Wed, 01 Jan 2020 00:00:00 GMT",
        "cache-control: max-age=1",
    ]);
    let new = headers(&[
        "a: 3",
        "c: 1",
        "content-length: 10",
        "content-encoding: br",
        "content-md5: x",
        "content-range: x",
        "content-type: text/html",
        "etag: \"x\"",
        "age: 9",
        "connection: named",
        "named: 1",
        "keep-alive: x",
        "transfer-encoding: chunked",
        "proxy-authenticate: x",
        "set-cookie: a=b",
        "cache-control: max-age=2, private=\"secret\"",
        "secret: 1",
    ]);
    merge(&mut stored, &new, &Policy::default(), NOW);
    let expected = dated(&[
        "a: 3",
        "b: 1",
        "c: 1",
        "content-length: 5",
        "content-encoding: gzip",
        "content-type: text/html",
        "etag: W/\"x\"",
        "date: {0}",
        "cache-control: max-age=2, private=\"secret\"",
    ]);
    assert_eq!(stored, expected);
    let storing = Policy {
        set_cookie: SetCookie::Store,
        ..Policy::default()
    };
    merge(&mut stored, &new, &storing, NOW);
    assert_eq!(stored["set-cookie"], "a=b");
}

#[test]
fn freshening() {
    let mut stored = dated(&["cache-control: max-age=60", "date: {-1000}", "etag: \"a\""]);
    let clock = freshen(
        StatusCode::OK,
        &mut stored,
        &dated(&["date: {0}", "age: 5"]),
        &Policy::default(),
        NOW.minus(secs(1)),
        NOW,
    );
    assert_eq!(
        (clock.received, clock.initial_age, clock.lifetime.fresh_for),
        (NOW, secs(6), secs(60))
    );
    let clock = freshen(
        StatusCode::OK,
        &mut stored,
        &headers(&["cache-control: max-age=7"]),
        &Policy::default(),
        NOW,
        NOW.plus(secs(100)),
    );
    assert_eq!(
        (clock.initial_age, clock.lifetime.fresh_for),
        (secs(100), secs(7)),
        "without Date only the delay counts"
    );
    let mut targeted = dated(&["anypop-cache-control: max-age=9", "date: {0}"]);
    let clock = freshen(
        StatusCode::OK,
        &mut targeted,
        &headers(&["cache-control: no-store"]),
        &Policy::default(),
        NOW,
        NOW,
    );
    assert_eq!(
        clock.lifetime.fresh_for,
        secs(9),
        "the stored targeted field still counts"
    );
}

#[test]
fn an_origin_cannot_fill_the_map() {
    let mut stored = headers(&[]);
    for round in 0..40_000u32 {
        let name = http::HeaderName::try_from(format!("x-{round}")).unwrap();
        let _ = stored.try_append(name, http::HeaderValue::from_static("1"));
    }
    merge(
        &mut stored,
        &headers(&["one-more: 1", "date: x"]),
        &Policy::default(),
        NOW,
    );
    merge(
        &mut stored,
        &headers(&["another: 1"]),
        &Policy::default(),
        NOW,
    );
}

#[test]
fn heads() {
    let stored = dated(&["etag: \"a\"", "last-modified: {-100}"]);
    let effect = |lines: &[&str]| {
        head_effect(
            &Method::HEAD,
            StatusCode::OK,
            &dated(lines),
            NOW,
            &stored,
            Some(10),
        )
    };
    assert_eq!(
        effect(&["etag: \"a\"", "last-modified: {-100}", "content-length: 10"]),
        HeadEffect::Update
    );
    assert_eq!(effect(&[]), HeadEffect::Update);
    for other in [
        "etag: \"b\"",
        "etag: W/\"a\"",
        "etag: b",
        "last-modified: {-99}",
        "content-length: 11",
        "content-length: x",
    ] {
        assert_eq!(effect(&[other]), HeadEffect::Invalidate, "{other}");
    }
    let none = headers(&[]);
    assert_eq!(
        head_effect(&Method::GET, StatusCode::OK, &none, NOW, &stored, None),
        HeadEffect::Ignore
    );
    assert_eq!(
        head_effect(
            &Method::HEAD,
            StatusCode::NOT_FOUND,
            &none,
            NOW,
            &stored,
            None
        ),
        HeadEffect::Ignore
    );
}

#[test]
fn invalidation() {
    let request = Target {
        scheme: Scheme::Http,
        host: "h.example:8080".into(),
        path_and_query: "/dir/a?b".into(),
    };
    let of = |method: &str, status: u16, lines: &[&str]| -> Vec<String> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        targets(
            &method,
            StatusCode::from_u16(status).unwrap(),
            &request,
            &headers(lines),
        )
        .into_iter()
        .map(|t| t.path_and_query)
        .collect()
    };
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "UNKNOWN"] {
        assert_eq!(of(method, 200, &[]), ["/dir/a?b"]);
        assert_eq!(of(method, 303, &[]), ["/dir/a?b"]);
        assert!(of(method, 500, &[]).is_empty());
        assert!(of(method, 404, &[]).is_empty());
    }
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
        assert!(is_safe(&Method::from_bytes(method.as_bytes()).unwrap()));
        assert!(of(method, 200, &["location: /x"]).is_empty());
    }
    for (line, expected) in [
        ("location: b", &["/dir/a?b", "/dir/b"][..]),
        ("location: /b?c#d", &["/dir/a?b", "/b?c"]),
        (
            "content-location: http://h.example:8080/c",
            &["/dir/a?b", "/c"],
        ),
        ("location: http://H.EXAMPLE:8080/c", &["/dir/a?b", "/c"]),
        ("location: //h.example:8080/c", &["/dir/a?b", "/c"]),
        ("location: https://h.example:8080/c", &["/dir/a?b"]),
        ("location: http://h.example/c", &["/dir/a?b"]),
        ("location: http://other.example:8080/c", &["/dir/a?b"]),
        (
            "location: http://h.example:8080@other.example/c",
            &["/dir/a?b"],
        ),
        ("location: mailto:a@b", &["/dir/a?b"]),
        ("location: http://[", &["/dir/a?b"]),
        ("location: ?b", &["/dir/a?b"]),
    ] {
        assert_eq!(of("POST", 201, &[line]), expected, "{line}");
    }
    assert_eq!(
        of("POST", 201, &["location: /x", "content-location: /y"]),
        ["/dir/a?b", "/x", "/y"]
    );
}
