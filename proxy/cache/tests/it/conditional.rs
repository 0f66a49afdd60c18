//! Conditions, validators, validations.

use anypop_cache::conditional::{
    Outcome, evaluate, is_conditional, not_modified_headers, set_completion, set_validation,
    strip_conditions,
};
use anypop_cache::range::ByteRange;
use anypop_cache::validators::{ETag, Validators};
use http::{Method, header};
use proptest::prelude::*;

use crate::support::{NOW, dated, field_value, headers, listish};

fn stored(lines: &[&str]) -> Validators {
    Validators::of(&dated(lines), NOW)
}

#[test]
fn entity_tags() {
    let tag = |text: &str| ETag::parse(text.as_bytes());
    assert!(!tag("\"abc\"").unwrap().is_weak());
    assert!(tag("W/\"abc\"").unwrap().is_weak());
    assert_eq!(tag("\"\"").unwrap().opaque(), b"");
    assert_eq!(tag("\"a,\\b\"").unwrap().opaque(), b"a,\\b");
    for bad in [
        "abc",
        "w/\"abc\"",
        "W\"abc\"",
        "W\\\"abc\"",
        "\"abc",
        "abc\"",
        "\"a\"b\"",
        "\"a b\"",
        "\"a\" ,",
        "",
        "*",
    ] {
        assert_eq!(tag(bad), None, "{bad}");
    }
    // RFC 9110 §8.8.3.2.
    for (a, b, strong, weak) in [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
    ] {
        let (a, b) = (tag(a).unwrap(), tag(b).unwrap());
        assert_eq!((a.strong_eq(&b), a.weak_eq(&b)), (strong, weak));
    }
    assert_eq!(tag("W/\"1\"").unwrap().header_value().unwrap(), "W/\"1\"");
}

#[test]
fn outcomes() {
    use Outcome::{NotModified, PreconditionFailed, Proceed};
    let tagged = &["etag: \"a\"", "last-modified: {-100}", "date: {0}"][..];
    let weak = &["etag: W/\"a\"", "date: {0}"][..];
    let dated_only = &["last-modified: {-100}", "date: {0}"][..];
    let bare = &["date: {-50}"][..];
    for (response, request, expected) in [
        (tagged, &[][..], Proceed),
        (tagged, &["if-none-match: \"a\""], NotModified),
        (tagged, &["if-none-match: W/\"a\""], NotModified),
        (tagged, &["if-none-match: \"b\", \"a\", \"c\""], NotModified),
        (
            tagged,
            &["if-none-match: \"b\"", "if-none-match: \"a\""],
            NotModified,
        ),
        (tagged, &["if-none-match: *"], NotModified),
        (bare, &["if-none-match: *"], NotModified),
        (tagged, &["if-none-match: \"b\""], Proceed),
        (tagged, &["if-none-match: a"], Proceed),
        (tagged, &["if-none-match: \"b\" \"a\""], Proceed),
        (tagged, &["if-none-match: x, \"a\""], Proceed),
        (bare, &["if-none-match: \"a\""], Proceed),
        (weak, &["if-none-match: W/\"a\""], NotModified),
        // If-None-Match overrules If-Modified-Since.
        (
            tagged,
            &["if-none-match: \"b\"", "if-modified-since: {0}"],
            Proceed,
        ),
        (
            tagged,
            &["if-none-match: \"a\"", "if-modified-since: {-1000}"],
            NotModified,
        ),
        (dated_only, &["if-modified-since: {-100}"], NotModified),
        (dated_only, &["if-modified-since: {-99}"], NotModified),
        (dated_only, &["if-modified-since: {-101}"], Proceed),
        (dated_only, &["if-modified-since: yesterday"], Proceed),
        (
            dated_only,
            &["if-modified-since: {0}", "if-modified-since: {0}"],
            Proceed,
        ),
        // Without Last-Modified, Date counts.
        (bare, &["if-modified-since: {-50}"], NotModified),
        (bare, &["if-modified-since: {-51}"], Proceed),
        (tagged, &["if-match: \"a\""], Proceed),
        (tagged, &["if-match: \"b\""], PreconditionFailed),
        (tagged, &["if-match: *"], Proceed),
        (weak, &["if-match: W/\"a\""], PreconditionFailed),
        (tagged, &["if-unmodified-since: {-100}"], Proceed),
        (tagged, &["if-unmodified-since: {-101}"], PreconditionFailed),
        (tagged, &["if-unmodified-since: x"], Proceed),
        (bare, &["if-unmodified-since: {-1000}"], Proceed),
        // If-Match overrules If-Unmodified-Since, and comes before If-None-Match.
        (
            tagged,
            &["if-match: \"a\"", "if-unmodified-since: {-1000}"],
            Proceed,
        ),
        (
            tagged,
            &["if-match: \"a\"", "if-none-match: \"a\""],
            NotModified,
        ),
        (
            tagged,
            &["if-match: \"b\"", "if-none-match: \"a\""],
            PreconditionFailed,
        ),
    ] {
        assert_eq!(
            evaluate(&Method::GET, &dated(request), &stored(response), NOW),
            expected,
            "{response:?} {request:?}"
        );
        assert_eq!(
            evaluate(&Method::HEAD, &dated(request), &stored(response), NOW),
            expected
        );
    }
    assert_eq!(
        evaluate(
            &Method::PUT,
            &headers(&["if-none-match: *"]),
            &stored(tagged),
            NOW
        ),
        PreconditionFailed
    );
    assert_eq!(
        evaluate(
            &Method::POST,
            &dated(&["if-modified-since: {0}"]),
            &stored(tagged),
            NOW
        ),
        Proceed
    );
}

#[test]
fn strong_dates() {
    assert!(
        stored(&["last-modified: {-1}", "date: {0}"])
            .strong_last_modified()
            .is_some()
    );
    assert!(
        stored(&["last-modified: {0}", "date: {0}"])
            .strong_last_modified()
            .is_none()
    );
    let a = stored(&["etag: \"a\"", "last-modified: {-100}"]);
    assert!(a.same_strong(&a));
    assert!(!a.same_strong(&stored(&["last-modified: {-100}"])));
    assert!(!stored(&["etag: W/\"a\""]).same_strong(&stored(&["etag: W/\"a\""])));
}

#[test]
fn validation_requests() {
    let mut request = headers(&[
        "if-none-match: \"mine\"",
        "if-range: \"x\"",
        "range: bytes=0-1",
        "if-match: *",
        "accept: a",
    ]);
    assert!(is_conditional(&request));
    let first = headers(&[
        "etag: \"a\"",
        "last-modified: Wed, 01 Jan 2020 00:00:00 GMT",
    ]);
    let second = headers(&["etag: W/\"b\""]);
    assert!(set_validation(&mut request, [&first, &second]));
    assert_eq!(
        request,
        headers(&[
            "accept: a",
            "if-none-match: \"a\", W/\"b\"",
            "if-modified-since: Wed, 01 Jan 2020 00:00:00 GMT"
        ])
    );
    assert!(!set_validation(&mut request, [&headers(&[])]));
    assert_eq!(request, headers(&["accept: a"]));
    for (tag, sent) in [
        ("abc", true),
        ("\"a\", \"b\"", false),
        ("*", false),
        ("w/\"a\"", false),
    ] {
        assert_eq!(
            set_validation(&mut request, [&headers(&[&format!("etag: {tag}")])]),
            sent,
            "{tag}"
        );
    }
    let mut miss = dated(&["if-modified-since: {0}", "range: bytes=0-1"]);
    strip_conditions(&mut miss);
    assert_eq!(miss, headers(&["range: bytes=0-1"]));
}

#[test]
fn completions() {
    let missing = |a, b| ByteRange::new(a, b).unwrap();
    let tagged = stored(&["etag: \"a\""]);
    let mut request = headers(&["if-none-match: \"a\"", "range: bytes=0-"]);
    assert!(set_completion(&mut request, &tagged, missing(5, 9), 10));
    assert_eq!(request, headers(&["range: bytes=5-", "if-range: \"a\""]));
    assert!(set_completion(&mut request, &tagged, missing(5, 8), 10));
    assert_eq!(request, headers(&["range: bytes=5-8", "if-range: \"a\""]));
    assert!(!set_completion(
        &mut request,
        &stored(&["etag: W/\"a\""]),
        missing(5, 8),
        10
    ));
    assert!(request.is_empty());
}

#[test]
fn fields_of_a_304() {
    let with = headers(&[
        "etag: \"a\"",
        "last-modified: x",
        "content-type: a",
        "content-length: 1",
        "cache-control: a",
        "cache-control: b",
        "vary: a",
        "x-other: 1",
        "access-control-allow-origin: *",
        "content-location: /a",
        "expires: 0",
        "date: d",
    ]);
    let found = not_modified_headers(&with);
    for name in [
        "etag",
        "vary",
        "content-location",
        "expires",
        "date",
        "access-control-allow-origin",
    ] {
        assert!(found.contains_key(name), "{name}");
    }
    for name in ["last-modified", "content-type", "content-length", "x-other"] {
        assert!(!found.contains_key(name), "{name}");
    }
    assert_eq!(found.get_all(header::CACHE_CONTROL).iter().count(), 2);
    assert!(not_modified_headers(&headers(&["last-modified: x"])).contains_key("last-modified"));
}

proptest! {
    #[test]
    fn any_conditions_evaluate(value in prop_oneof![field_value(), listish()]) {
        let mut request = http::HeaderMap::new();
        for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::IF_RANGE, header::ETAG] {
            request.append(name, value.clone());
        }
        let _ = evaluate(&Method::GET, &request, &stored(&["etag: \"a\""]), NOW);
        let own = Validators::of(&request, NOW);
        let _ = set_validation(&mut request, [&headers(&["etag: \"a\""])]);
        if let Some(tag) = own.etag {
            prop_assert_eq!(ETag::parse(tag.header_value().unwrap().as_bytes()).unwrap(), tag);
        }
    }
}
