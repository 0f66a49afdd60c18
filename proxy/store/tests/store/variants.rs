//! Several objects under one key, and walking through all.

use std::ops::ControlFlow;

use anypop_cache::tags::Tag;
use anypop_store::{Filter, Limits, Lookup, Object, PurgeRequest, PurgeScope, Response, Store};
use http::HeaderMap;

use crate::common::{NOW, find, headers, key, key_of, limits, plain, put, response_of};

fn in_language(language: &str) -> Response {
    let request = headers(&[("accept-language", language)]);
    response_of(
        &request,
        headers(&[("vary", "accept-language"), ("content-language", language)]),
        None,
    )
}

fn speaks(object: &Object, language: &str) -> bool {
    object
        .headers()
        .get("content-language")
        .is_some_and(|value| value == language)
}

#[tokio::test]
async fn each_variant_is_found_and_replaced_on_its_own() {
    let store = Store::new(limits(64 << 20));
    for (language, body) in [("de", "eins"), ("en", "one"), ("fr", "un"), ("en", "uno")] {
        put(&store, &key("/a"), in_language(language), body.as_bytes()).await;
    }
    assert_eq!(store.variants(&key("/a")).len(), 3);
    for (language, body) in [("de", "eins"), ("en", "uno"), ("fr", "un")] {
        let Lookup::Found(found) = store.lookup(&key("/a"), |object| speaks(object, language))
        else {
            panic!()
        };
        assert_eq!(
            found
                .object
                .body()
                .try_complete()
                .unwrap()
                .contiguous()
                .unwrap(),
            body
        );
    }
    let Lookup::Missed(missed) = store.lookup(&key("/a"), |object| speaks(object, "it")) else {
        panic!()
    };
    assert_eq!(missed.others.len(), 3);
    assert_eq!((store.stats().hits, store.stats().misses), (3, 1));
}

#[tokio::test]
async fn variants_are_capped() {
    let store = Store::new(Limits {
        max_variants: 3,
        ..limits(64 << 20)
    });
    for number in 0..10 {
        put(&store, &key("/a"), in_language(&format!("l{number}")), b"x").await;
    }
    let kept: Vec<_> = store
        .variants(&key("/a"))
        .into_iter()
        .map(|found| found.object)
        .collect();
    assert_eq!(kept.len(), 3);
    assert!(speaks(&kept[0], "l9") && speaks(&kept[2], "l7"));
    assert_eq!(store.stats().objects, 3);
}

#[tokio::test]
async fn what_is_stored_can_be_listed() {
    let store = Store::new(limits(64 << 20));
    let tagged = || response_of(&HeaderMap::new(), headers(&[("cache-tag", "news")]), None);
    put(&store, &key_of("shop", "a.example", "/x/1"), tagged(), b"1").await;
    put(
        &store,
        &key_of("shop", "a.example", "/x/2"),
        plain(None),
        b"22",
    )
    .await;
    put(
        &store,
        &key_of("shop", "b.example", "/y"),
        plain(None),
        b"333",
    )
    .await;
    put(
        &store,
        &key_of("blog", "c.example", "/x/1"),
        plain(None),
        b"4444",
    )
    .await;
    let list = |filter: Filter| {
        let mut paths = Vec::new();
        store.for_each(&filter, |found| {
            paths.push(format!(
                "{}{}",
                found.object.key().host(),
                found.object.key().path()
            ));
            ControlFlow::Continue(())
        });
        paths.sort();
        paths
    };
    let site = Some("shop".to_owned());
    assert_eq!(list(Filter::default()).len(), 4);
    assert_eq!(
        list(Filter {
            site: site.clone(),
            ..Filter::default()
        })
        .len(),
        3
    );
    let prefix = Some("/x".to_owned());
    assert_eq!(
        list(Filter {
            prefix,
            ..Filter::default()
        }),
        ["a.example/x/1", "a.example/x/2", "c.example/x/1"]
    );
    let tag = Some(Tag::new("news").unwrap());
    assert_eq!(
        list(Filter {
            tag,
            ..Filter::default()
        }),
        ["a.example/x/1"]
    );
    let host = Some("b.example".to_owned());
    assert_eq!(
        list(Filter {
            site,
            host,
            ..Filter::default()
        }),
        ["b.example/y"]
    );

    let mut seen = 0;
    store.for_each(&Filter::default(), |_| {
        seen += 1;
        ControlFlow::Break(())
    });
    assert_eq!(seen, 1);

    let uses = store.sites_use();
    assert_eq!(
        uses.iter().map(|(_, usage)| usage.bytes).sum::<u64>(),
        store.stats().bytes
    );
    assert_eq!(store.site_use("shop").objects, 3);
    let scope = PurgeScope::Site {
        site: "shop".into(),
    };
    store.purge(&PurgeRequest { scope, soft: false }, NOW);
    assert_eq!(list(Filter::default()), ["c.example/x/1"]);
    assert!(find(&store, &key_of("shop", "b.example", "/y")).is_none());
    assert_eq!(store.site_use("shop").objects, 2, "memory goes on touch");
    assert_eq!(store.stats().purged, 1);
}
