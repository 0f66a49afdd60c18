//! Variants.

use anypop_cache::encoding::{AcceptEncoding, Coding};
use anypop_cache::vary::{Normalise, Vary, VaryKey};
use http::header;
use proptest::prelude::*;

use crate::support::{field_value, headers, listish};

fn same(vary: &str, a: &[&str], b: &[&str], rules: &Normalise) -> bool {
    let vary = Vary::parse(&headers(&[&format!("vary: {vary}")]));
    let names = vary.names().unwrap();
    VaryKey::new(names, &headers(a), rules) == VaryKey::new(names, &headers(b), rules)
}

#[test]
fn lists() {
    let names = |lines: &[&str]| {
        Vary::parse(&headers(lines))
            .names()
            .map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        names(&["vary: Foo, bar", "vary: foo"]).unwrap(),
        ["bar", "foo"]
    );
    assert_eq!(names(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(names(&["vary: ", "vary: ,"]).unwrap(), Vec::<String>::new());
    for any in [
        &["vary: *"][..],
        &["vary: *, *"],
        &["vary: ", "vary: *"],
        &["vary: , *"],
        &["vary: foo, *"],
        &["vary: foo bar"],
        &["vary: \"foo\""],
    ] {
        assert_eq!(names(any), None, "{any:?}");
    }
}

#[test]
fn matches() {
    let plain = Normalise::default();
    for (vary, a, b, expected) in [
        ("foo", &["foo: 1"][..], &["foo: 1", "other: 3"][..], true),
        ("foo", &["foo: 1"], &["foo: 2"], false),
        ("foo", &["foo: 1"], &[], false),
        ("foo", &["foo:"], &[], false),
        ("foo, bar", &["foo: 1"], &["foo: 1"], true),
        ("foo, bar", &["foo: 1", "bar: abc"], &["foo: 1"], false),
        ("foo, bar", &["foo: 1"], &["bar: 1"], false),
        ("foo", &["foo: 1, 2"], &["foo: 1", "foo: 2"], true),
        ("foo", &["foo: 1,2"], &["foo:  1,  2 "], true),
        ("foo", &["foo: \"1, 2\""], &["foo: \"1,2\""], false),
        ("foo", &["foo: 12"], &["foo: 1, 2"], false),
        ("foo", &["foo: a"], &["foo: A"], false),
        (
            "user-agent",
            &["user-agent: a, b"],
            &["user-agent: a,b"],
            false,
        ),
        ("cookie", &["cookie: a=1, b"], &["cookie: a=1,b"], false),
        (
            "accept-language",
            &["accept-language: en, de"],
            &["accept-language: eN,De"],
            true,
        ),
        (
            "accept-language",
            &["accept-language: en;q=1, de"],
            &["accept-language: en; q=1 , de"],
            true,
        ),
        (
            "accept-language",
            &["accept-language: en, de"],
            &["accept-language: de, en"],
            false,
        ),
    ] {
        assert_eq!(same(vary, a, b, &plain), expected, "{vary} {a:?} {b:?}");
    }
    let order = Normalise {
        ignore_language_order: true,
        ..Normalise::default()
    };
    assert!(same(
        "accept-language",
        &["accept-language: en, de"],
        &["accept-language: de, en"],
        &order
    ));
}

#[test]
fn encodings() {
    let all = [Coding::Br, Coding::Zstd, Coding::Gzip];
    for (value, expected) in [
        (None, "identity"),
        (Some(""), "identity"),
        (Some("gzip, deflate, br, zstd"), "br, zstd, gzip"),
        (Some("GZIP"), "gzip"),
        (Some("x-gzip"), "gzip"),
        (Some("deflate"), "identity"),
        (Some("*"), "br, zstd, gzip"),
        (Some("*;q=0"), "identity"),
        (Some("br;q=0, *"), "zstd, gzip"),
        (Some("br;q=0.0, gzip;q=0.001"), "gzip"),
        (Some("br; q=1.000, gzip;q=1"), "br, gzip"),
        (Some("br;q=2, gzip;q=x, zstd;q="), "identity"),
        (Some("gzip, identity;q=0"), "gzip, identity;q=0"),
        (Some("gzip, *;q=0"), "gzip, identity;q=0"),
        (Some("identity;q=0"), "identity"),
        (Some("gzip;foo=bar"), "gzip"),
    ] {
        let request = match value {
            Some(value) => headers(&[&format!("accept-encoding: {value}")]),
            None => headers(&[]),
        };
        let found = AcceptEncoding::normalise(&request, &all);
        assert_eq!(found.as_str(), expected, "{value:?}");
        assert_eq!(found.header_value(), expected);
    }
    assert_eq!(
        AcceptEncoding::normalise(&headers(&["accept-encoding: br, gzip"]), &[Coding::Gzip])
            .as_str(),
        "gzip"
    );
}

#[test]
fn encodings_select_variants() {
    let key = |value: &str| {
        let request = headers(&[&format!("accept-encoding: {value}")]);
        let rules = Normalise {
            accept_encoding: Some(AcceptEncoding::normalise(
                &request,
                &[Coding::Br, Coding::Gzip],
            )),
            ..Normalise::default()
        };
        VaryKey::new(&[header::ACCEPT_ENCODING], &request, &rules)
    };
    assert_eq!(key("gzip, br;q=0.5, deflate"), key("br,gzip"));
    assert_ne!(key("gzip"), key("br,gzip"));
    assert_ne!(key("gzip").hash(), key("br,gzip").hash());
}

proptest! {
    /// At most 2^(n+1) variants, and what goes to the origin means the same when read again.
    #[test]
    fn normalising_is_idempotent(value in prop_oneof![field_value(), listish()]) {
        let all = [Coding::Br, Coding::Zstd, Coding::Gzip];
        let mut request = http::HeaderMap::new();
        request.append(header::ACCEPT_ENCODING, value);
        let once = AcceptEncoding::normalise(&request, &all);
        request.insert(header::ACCEPT_ENCODING, once.header_value());
        prop_assert_eq!(AcceptEncoding::normalise(&request, &all), once);
    }

    #[test]
    fn any_vary_parses(value in prop_oneof![field_value(), listish()], other in field_value()) {
        let mut map = http::HeaderMap::new();
        map.append(header::VARY, value);
        map.append("foo", other);
        if let Vary::Fields(names) = Vary::parse(&map) {
            let key = VaryKey::new(&names, &map, &Normalise::default());
            prop_assert_eq!(key.is_empty(), names.is_empty());
        }
    }

    /// Two requests that differ in the members of a listed field are two variants.
    #[test]
    fn members_stay_apart(a in proptest::collection::vec("[a-c]{1,2}", 0..4), b in proptest::collection::vec("[a-c]{1,2}", 0..4)) {
        let request = |members: &[String]| headers(&[&format!("foo: {}", members.join(", "))]);
        let key = |members: &[String]| VaryKey::new(&["foo".parse().unwrap()], &request(members), &Normalise::default());
        prop_assert_eq!(a == b, key(&a) == key(&b));
    }
}
