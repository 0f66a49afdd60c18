//! Keys, queries and cookies.

use anypop_cache::cookies;
use anypop_cache::key::{CacheKey, ExtraKind, Scheme};
use anypop_cache::query::{QueryMode, QueryRules};
use proptest::prelude::*;

use crate::support::headers;

type Parts = (
    String,
    bool,
    String,
    String,
    Option<String>,
    Vec<(u8, Vec<u8>, Option<Vec<u8>>)>,
);

fn build(parts: &Parts) -> CacheKey {
    let (site, secure, host, path, query, extras) = parts;
    let scheme = if *secure { Scheme::Https } else { Scheme::Http };
    let mut key = CacheKey::builder(site, scheme, host).target(path, query.as_deref());
    for (kind, name, value) in extras {
        let kind = [
            ExtraKind::Header,
            ExtraKind::Cookie,
            ExtraKind::Plugin,
            ExtraKind::Variant,
        ][usize::from(*kind)];
        key = key.extra(kind, name, value.as_deref());
    }
    key.build()
}

fn parts() -> impl Strategy<Value = Parts> {
    let text = "[a-c/?|:]{0,3}";
    let bytes = || proptest::collection::vec(0u8..3, 0..3);
    (
        text,
        any::<bool>(),
        "[a-c]{0,2}",
        text,
        proptest::option::of(text),
        proptest::collection::vec((0u8..4, bytes(), proptest::option::of(bytes())), 0..3),
    )
}

#[test]
fn parts_come_back() {
    let key = CacheKey::builder("shop", Scheme::Https, "WWW.Shop.Example:8443")
        .path_and_query("/A?b=1?c")
        .extra(ExtraKind::Header, b"x-device", Some(b"phone"))
        .extra(ExtraKind::Cookie, b"lang", None)
        .build();
    assert_eq!(
        (key.site(), key.scheme(), key.host()),
        ("shop", Scheme::Https, "www.shop.example:8443")
    );
    assert_eq!((key.path(), key.query()), ("/A", Some("b=1?c")));
    assert_eq!(
        key.to_string(),
        "shop|https://www.shop.example:8443/A?b=1?c|Header:x-device=phone|Cookie:lang"
    );
    let none = CacheKey::builder("s", Scheme::Http, "h")
        .path_and_query("/a")
        .build();
    let empty = CacheKey::builder("s", Scheme::Http, "h")
        .path_and_query("/a?")
        .build();
    assert_eq!((none.query(), empty.query()), (None, Some("")));
    assert_ne!(none, empty);
}

#[test]
fn the_hash_is_stable() {
    // It is on disks: a change here is a change of the format.
    let key = CacheKey::builder("shop", Scheme::Https, "www.shop.example")
        .path_and_query("/a?b=c")
        .build();
    assert_eq!(key.hash().to_string().len(), 32);
    assert_eq!(
        key.hash(),
        CacheKey::try_from(key.encoding()).unwrap().hash()
    );
}

#[test]
fn other_bytes_are_no_keys() {
    let key = CacheKey::builder("s", Scheme::Http, "h")
        .path_and_query("/")
        .extra(ExtraKind::Cookie, b"a", None)
        .build();
    let good = key.encoding();
    for cut in 0..good.len() {
        let cut = CacheKey::try_from(&good[..cut]);
        assert!(cut.is_err() || cut.is_ok_and(|shorter| shorter.extras().count() == 0));
    }
    for at in 0..2 {
        let mut other = good.to_vec();
        other[at] = 9;
        assert!(CacheKey::try_from(&*other).is_err());
    }
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<CacheKey>(&json).unwrap(), key);
}

#[test]
fn queries() {
    let rules = |mode, sort| QueryRules { mode, sort };
    let allow = || QueryMode::Allow(vec!["v".into(), "my_size".into()]);
    let deny = || QueryMode::Deny(vec!["utm".into()]);
    for (rule, query, expected) in [
        (rules(QueryMode::All, false), "b=2&a=1&&", Some("b=2&a=1&&")),
        (rules(QueryMode::All, false), "", Some("")),
        (rules(QueryMode::None, false), "a=1", None),
        (
            rules(allow(), false),
            "v=1&x=2&my_size=3",
            Some("v=1&my_size=3"),
        ),
        (rules(allow(), false), "x=2", None),
        (rules(allow(), false), "v", Some("v")),
        // What an origin may read as an allowed name stays.
        (rules(allow(), false), "%76=1&x=1", Some("%76=1")),
        (rules(allow(), false), "V=1&x=1", Some("V=1")),
        (
            rules(allow(), false),
            "v[]=1&v%5Ba%5D=2&x=1",
            Some("v[]=1&v%5Ba%5D=2"),
        ),
        (
            rules(allow(), false),
            "my.size=1&my+size=2&my%20size=3&x=1",
            Some("my.size=1&my+size=2&my%20size=3"),
        ),
        (rules(allow(), false), "x=1;v=2&y=1", Some("x=1;v=2")),
        (rules(allow(), false), "vv=1&%7=1&v%00=1", None),
        // Only exactly a denied name goes.
        (rules(deny(), false), "utm=1&a=1&utm", Some("a=1")),
        (
            rules(deny(), false),
            "UTM=1&%75tm=1&utm;a=1&utm[]=1",
            Some("UTM=1&%75tm=1&utm;a=1&utm[]=1"),
        ),
        (rules(deny(), false), "utm=1", None),
        (rules(QueryMode::All, true), "b=2&a=1", Some("a=1&b=2")),
        (
            rules(QueryMode::All, true),
            "b=2&a=2&a=1",
            Some("a=2&a=1&b=2"),
        ),
        (
            rules(QueryMode::All, true),
            "b=1&%61=1&a=2",
            Some("%61=1&a=2&b=1"),
        ),
        (
            rules(QueryMode::All, true),
            "b=1&a=2&%61=1",
            Some("a=2&%61=1&b=1"),
        ),
        (
            rules(QueryMode::All, true),
            "b=1;c=2&a=1",
            Some("b=1;c=2&a=1"),
        ),
        (
            rules(allow(), true),
            "x=1&v=2&my_size=1",
            Some("my_size=1&v=2"),
        ),
    ] {
        assert_eq!(
            rule.apply(Some(query)).as_deref(),
            expected,
            "{rule:?} {query}"
        );
    }
    assert_eq!(rules(QueryMode::All, true).apply(None), None);
}

#[test]
fn cookie_values() {
    let request = headers(&["cookie: a=1; b=2;c", "cookie: a=3;  d = 4 "]);
    let value = |name| cookies::value(&request, name).map(|v| String::from_utf8(v).unwrap());
    assert_eq!(value("a").as_deref(), Some("1;3"));
    assert_eq!(value("c").as_deref(), Some(""));
    assert_eq!(value("d").as_deref(), Some("4"));
    assert_eq!(value("A"), None);
    let mut kept = request.clone();
    cookies::retain(&mut kept, |name| name == b"b" || name == b"d");
    assert_eq!(
        kept.get_all("cookie").iter().collect::<Vec<_>>(),
        ["b=2; d = 4"]
    );
    cookies::retain(&mut kept, |_| false);
    assert!(kept.is_empty());
}

proptest! {
    /// Different parts, different encodings: nobody's key is another's.
    #[test]
    fn keys_are_injective(a in parts(), b in parts()) {
        let (key_a, key_b) = (build(&a), build(&b));
        prop_assert_eq!(a == b, key_a.encoding() == key_b.encoding());
        prop_assert_eq!(a == b, key_a == key_b);
        prop_assert_eq!(key_a.hash() == key_b.hash(), key_a == key_b);
    }

    #[test]
    fn keys_survive_the_disk(a in parts()) {
        let key = build(&a);
        let read = CacheKey::try_from(key.encoding()).unwrap();
        prop_assert_eq!(read.to_string(), key.to_string());
        prop_assert_eq!(read, key);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        if let Ok(key) = CacheKey::try_from(&*bytes) {
            prop_assert_eq!(key.encoding(), &*bytes);
        }
    }

    /// Sorting loses nothing and is done once.
    #[test]
    fn sorting_is_a_stable_permutation(query in "[ab%61&=;.\\[]{0,20}") {
        let rules = QueryRules { mode: QueryMode::All, sort: true };
        let sorted = rules.apply(Some(&query)).unwrap();
        let pieces = |text: &str| { let mut all: Vec<String> = text.split('&').map(str::to_owned).collect(); all.sort(); all };
        prop_assert_eq!(pieces(&sorted), pieces(&query));
        prop_assert_eq!(rules.apply(Some(&sorted)).unwrap(), &*sorted);
    }

    /// Filters only ever drop whole parameters, and keep the order of the rest.
    #[test]
    fn filters_keep_a_subsequence(query in "[abv%76&=;]{0,20}") {
        for mode in [QueryMode::Allow(vec!["v".into()]), QueryMode::Deny(vec!["v".into()])] {
            let kept = QueryRules { mode, sort: false }.apply(Some(&query)).map(std::borrow::Cow::into_owned);
            let mut all = query.split('&');
            for parameter in kept.iter().flat_map(|kept| kept.split('&')) {
                prop_assert!(all.any(|p| p == parameter));
            }
        }
    }
}
