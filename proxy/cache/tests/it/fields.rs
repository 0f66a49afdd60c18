//! What is stored and forwarded of a header.

use anypop_cache::fields::{
    combined, connection_named, prepare_for_storage, set_browser_ttl, strip_for_client,
    strip_hop_by_hop,
};
use anypop_cache::policy::{Policy, SetCookie};
use anypop_cache::tags::{Limits, SURROGATE_KEY, Tag, TagHash, Tags};
use proptest::prelude::*;

use crate::support::{NOW, control, dated, field_value, headers, secs};

#[test]
fn hop_by_hop() {
    let mut map = headers(&[
        "connection: a, B",
        "connection: close, Cache-Control, CDN-Loop, bad name",
        "a: 1",
        "b: 2",
        "c: 3",
        "keep-alive: x",
        "te: x",
        "transfer-encoding: chunked",
        "upgrade: x",
        "proxy-connection: x",
        "proxy-authenticate: x",
        "proxy-authorization: x",
        "proxy-authentication-info: x",
        "cache-control: no-store",
        "trailer: x",
    ]);
    assert_eq!(connection_named(&map).len(), 3, "a, b, close");
    strip_hop_by_hop(&mut map);
    assert_eq!(
        map,
        headers(&["c: 3", "cache-control: no-store", "trailer: x"]),
        "nobody names away what makes a response private"
    );
}

#[test]
fn storage() {
    let response = &[
        "cache-control: max-age=1, no-cache=\"x\", private=\"y, z\"",
        "x: 1",
        "y: 1",
        "z: 1",
        "a: 1",
        "age: 7",
        "set-cookie: a=b",
        "connection: close",
    ];
    let stored = |policy: &Policy| {
        let mut map = headers(response);
        let control = control(&map);
        prepare_for_storage(&mut map, &control, policy, NOW);
        map
    };
    let plain = stored(&Policy::default());
    assert_eq!(
        plain,
        dated(&[
            "cache-control: max-age=1, no-cache=\"x\", private=\"y, z\"",
            "a: 1",
            "date: {0}"
        ])
    );
    assert!(
        stored(&Policy {
            set_cookie: SetCookie::Store,
            ..Policy::default()
        })
        .contains_key("set-cookie")
    );
    assert!(
        stored(&Policy {
            ignore_origin: true,
            ..Policy::default()
        })
        .contains_key("y")
    );
}

#[test]
fn clients() {
    let mut map = headers(&[
        "anypop-cache-control: max-age=1",
        "cdn-cache-control: max-age=2",
        "surrogate-key: a",
        "cache-tag: b",
    ]);
    strip_for_client(&mut map);
    assert_eq!(map, headers(&["cdn-cache-control: max-age=2"]));

    let mut map = dated(&[
        "cache-control: public, MAX-AGE=9, s-maxage=1",
        "cache-control: x=\"a, max-age=1\"",
        "expires: {+9}",
    ]);
    set_browser_ttl(&mut map, secs(60), secs(5));
    assert_eq!(
        map,
        headers(&["cache-control: max-age=65, public, x=\"a, max-age=1\""])
    );

    let map = headers(&["a: 1", "a: 2"]);
    assert_eq!(combined(&map, &"a".parse().unwrap()).unwrap(), "1, 2");
    assert_eq!(combined(&map, &"b".parse().unwrap()), None);
}

#[test]
fn tags() {
    let map = headers(&[
        "surrogate-key: a b  a",
        "surrogate-key: c,d e",
        "cache-tag: f, g ,h i,,a",
    ]);
    let found = Tags::of(&map, &Limits::default());
    assert_eq!(
        found.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        ["a", "b", "e", "f", "g"]
    );
    assert_eq!(found.refused, 2, "c,d and `h i`");
    let few = Tags::of(
        &map,
        &Limits {
            count: 3,
            length: 1,
        },
    );
    assert_eq!((few.tags.len(), few.refused), (3, 4));
    let tag = Tag::new("a").unwrap();
    assert_ne!(TagHash::new("one", &tag), TagHash::new("two", &tag));
    assert_ne!(
        TagHash::new("on", &Tag::new("ea").unwrap()),
        TagHash::new("one", &tag)
    );
    assert_eq!(found.hashes("one")[0], TagHash::new("one", &tag));
    for bad in ["", "a b", "a,b", "ä", &"x".repeat(1025)] {
        assert!(Tag::new(bad).is_err());
    }
}

proptest! {
    #[test]
    fn any_tags_parse(value in field_value()) {
        let mut map = http::HeaderMap::new();
        map.append(SURROGATE_KEY, value.clone());
        map.append("cache-tag", value.clone());
        map.append("connection", value);
        let found = Tags::of(&map, &Limits { count: 5, length: 9 });
        prop_assert!(found.tags.len() <= 5);
        for tag in &found.tags {
            prop_assert!(Tag::new(tag.as_str()).is_ok());
        }
        strip_hop_by_hop(&mut map);
        prop_assert!(!map.contains_key("connection"));
    }
}
