//! The memory tier never holds more than its limit, and counts what it holds.

use anypop_store::{BodyWriter, Lookup, PurgeRequest, PurgeScope, Store};
use bytes::Bytes;
use proptest::prelude::*;

use crate::common::{
    NOW, find, headers, key, key_of, limits, meta_of, pattern, plain, put, response_of,
};

const MEMORY: u64 = 4 << 20;

#[tokio::test]
async fn full_is_full() {
    let store = Store::new(limits(MEMORY));
    for number in 0..3000 {
        put(
            &store,
            &key(&format!("/{number}")),
            plain(None),
            &pattern(4000),
        )
        .await;
        assert!(store.stats().bytes <= MEMORY);
    }
    let stats = store.stats();
    assert!(
        stats.bytes > MEMORY - 10_000 && stats.evictions > 2000,
        "{stats:?}"
    );
    assert_eq!(stats.objects, 3000 - stats.evictions);
    let found = (0..3000)
        .filter(|number| find(&store, &key(&format!("/{number}"))).is_some())
        .count();
    assert_eq!(found as u64, stats.objects, "index and memory agree");
}

#[tokio::test]
async fn everything_is_counted() {
    let store = Store::new(limits(MEMORY));
    put(&store, &key("/a"), plain(None), b"").await;
    let bare = store.stats().bytes;
    assert!(
        (400..2000).contains(&bare),
        "{bare} bytes for an empty object"
    );
    let grown = |before: u64| store.stats().bytes - before;
    put(&store, &key("/b"), plain(None), &pattern(100_000)).await;
    assert_eq!(grown(bare), bare + 100_000);
    let before = store.stats().bytes;
    put(
        &store,
        &key(&format!("/{}", "c".repeat(100))),
        plain(None),
        b"",
    )
    .await;
    assert_eq!(grown(before), bare + 99);
    let before = store.stats().bytes;
    let response = response_of(
        &http::HeaderMap::new(),
        headers(&[("x-header", &"v".repeat(1000))]),
        None,
    );
    put(&store, &key("/d"), response, b"").await;
    assert!(grown(before) >= bare + 1008);
    store.for_each(&anypop_store::Filter::default(), |found| {
        assert!(store.remove(&found.object));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((store.stats().bytes, store.stats().objects), (0, 0));
    assert!(store.sites_use().is_empty());
}

#[tokio::test]
async fn a_hot_object_survives_a_scan() {
    let store = Store::new(limits(MEMORY));
    put(&store, &key("/hot"), plain(None), &pattern(10_000)).await;
    for number in 0..5000 {
        if number % 50 == 0 {
            assert!(find(&store, &key("/hot")).is_some(), "gone after {number}");
        }
        put(
            &store,
            &key(&format!("/{number}")),
            plain(None),
            &pattern(4000),
        )
        .await;
    }
}

#[tokio::test]
async fn a_purge_of_everything_gives_the_memory_back() {
    let store = Store::new(limits(MEMORY));
    for number in 0..800 {
        let key = key(&format!("/{number}"));
        put(&store, &key, plain(None), &pattern(4000)).await;
        (0..3).for_each(|_| drop(find(&store, &key)));
    }
    store.purge(
        &PurgeRequest {
            scope: PurgeScope::Everything,
            soft: false,
        },
        NOW,
    );
    for number in 0..200 {
        put(
            &store,
            &key(&format!("/new/{number}")),
            plain(None),
            &pattern(4000),
        )
        .await;
    }
    let stats = store.stats();
    assert_eq!(stats.objects, 200, "{stats:?}");
    assert_eq!(stats.purged + stats.evictions, 800);
    assert!((0..200).all(|number| find(&store, &key(&format!("/new/{number}"))).is_some()));
}

#[tokio::test]
async fn many_purges_of_others_take_nothing_away() {
    let purges = anypop_store::PurgeLimits {
        per_site: 100,
        total: 1000,
    };
    let store = Store::new(anypop_store::Limits {
        purges,
        ..limits(MEMORY)
    });
    put(&store, &key("/a"), plain(None), b"a").await;
    for number in 0..1000 {
        let scope = PurgeScope::Url {
            site: "shop".into(),
            host: "www.shop.example".into(),
            path: format!("/{number}"),
            query: None,
        };
        store.purge(&PurgeRequest { scope, soft: false }, NOW);
        assert!(store.stats().purge_clocks <= 100);
    }
    assert!(find(&store, &key("/a")).is_some_and(|found| found.purged.is_none()));
}

#[derive(Debug, Clone)]
enum Step {
    Begin {
        name: u8,
        site: bool,
        length: usize,
    },
    Write {
        which: prop::sample::Index,
        bytes: usize,
    },
    Finish(prop::sample::Index),
    Abort(prop::sample::Index),
    Look(u8, bool),
    Refresh(u8, bool),
    Remove(u8, bool),
    Purge(u8, bool),
    PurgeSite(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let name = || (0_u8..40, any::<bool>());
    let step = prop_oneof![
        6 => (name(), 0_usize..3000).prop_map(|((name, site), length)| Step::Begin { name, site, length }),
        12 => (which(), 0_usize..40_000).prop_map(|(which, bytes)| Step::Write { which, bytes }),
        5 => which().prop_map(Step::Finish),
        1 => which().prop_map(Step::Abort),
        6 => name().prop_map(|(name, site)| Step::Look(name, site)),
        2 => name().prop_map(|(name, site)| Step::Refresh(name, site)),
        1 => name().prop_map(|(name, site)| Step::Remove(name, site)),
        1 => name().prop_map(|(name, site)| Step::Purge(name, site)),
        1 => any::<bool>().prop_map(Step::PurgeSite),
    ];
    prop::collection::vec(step, 0..200)
}

fn named(name: u8, site: bool) -> anypop_cache::key::CacheKey {
    key_of(
        if site { "shop" } else { "blog" },
        "a.example",
        &format!("/{name}"),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is filled, read, refreshed, purged and evicted: bytes stay within the limit and add up, and what is
    /// found is what was written.
    #[test]
    fn memory_adds_up(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
            let limit = 200_000;
            let store = Store::new(anypop_store::Limits { max_object: 20_000, memory: limit, ..limits(limit) });
            let mut writers: Vec<BodyWriter> = Vec::new();
            for step in steps {
                match step {
                    Step::Begin { name, site, length } => {
                        let response = response_of(
                            &http::HeaderMap::new(), headers(&[("x-pad", &"p".repeat(length))]), None,
                        );
                        writers.push(store.begin(&named(name, site)).store(response));
                    }
                    Step::Write { which, bytes } => if !writers.is_empty() {
                        let at = which.index(writers.len());
                        let writer = &mut writers[at];
                        let offset = writer.written() as usize;
                        let bytes = Bytes::from(pattern(offset + bytes)).slice(offset..);
                        if writer.write(bytes).await.is_err() {
                            drop(writers.remove(at));
                        }
                    },
                    Step::Finish(which) => if !writers.is_empty() {
                        writers.remove(which.index(writers.len())).finish(None).ok();
                    },
                    Step::Abort(which) => if !writers.is_empty() {
                        writers.remove(which.index(writers.len())).abort("test".into());
                    },
                    Step::Look(name, site) => {
                        if let Lookup::Found(found) = store.lookup(&named(name, site), |object| object.body().is_complete()) {
                            let whole = found.object.body().try_complete().unwrap().fragments().concat();
                            assert!(whole == pattern(whole.len()));
                        }
                    }
                    Step::Refresh(name, site) => {
                        let key = named(name, site);
                        if let Some(found) = find(&store, &key) {
                            let fresh = headers(&[("x-fresh", "1")]);
                            let meta = meta_of(&http::HeaderMap::new(), &fresh);
                            store.begin(&key).refresh(&found.object, &fresh, meta).ok();
                        }
                    }
                    Step::Remove(name, site) => {
                        if let Some(found) = find(&store, &named(name, site)) {
                            store.remove(&found.object);
                        }
                    }
                    Step::Purge(name, site) => {
                        let key = named(name, site);
                        let scope = PurgeScope::Url {
                            site: key.site().into(), host: key.host().into(), path: key.path().into(), query: None,
                        };
                        store.purge(&PurgeRequest { scope, soft: false }, NOW);
                        assert!(find(&store, &key).is_none());
                    }
                    Step::PurgeSite(site) => {
                        let scope = PurgeScope::Site { site: named(0, site).site().into() };
                        store.purge(&PurgeRequest { scope, soft: false }, NOW);
                    }
                }
                let stats = store.stats();
                assert!(stats.bytes <= limit, "{stats:?}");
                assert_eq!(stats.fills, writers.len() as u64);
                let sites = store.sites_use();
                assert_eq!(sites.iter().map(|(_, usage)| usage.bytes).sum::<u64>(), stats.bytes);
                assert_eq!(sites.iter().map(|(_, usage)| usage.objects).sum::<u64>(), stats.objects);
            }
            drop(writers);
            store.for_each(&anypop_store::Filter::default(), |found| {
                assert!(found.object.body().is_complete());
                store.remove(&found.object);
                std::ops::ControlFlow::Continue(())
            });
            // What is left was purged, and goes when it is touched.
            for name in 0..40 {
                assert!(find(&store, &named(name, true)).is_none() && find(&store, &named(name, false)).is_none());
            }
            let stats = store.stats();
            assert_eq!((stats.bytes, stats.objects, stats.window_bytes, stats.fills), (0, 0, 0, 0));
        });
    }
}

#[tokio::test]
async fn the_epoch_tells_of_whatever_a_lookup_would_notice() {
    let store = Store::new(limits(1 << 20));
    let (one, other) = (key("/one"), key("/other"));
    let empty = store.epoch(&one);
    assert_eq!(store.epoch(&one), empty, "asking changes nothing");
    put(&store, &one, plain(None), b"1").await;
    let stored = store.epoch(&one);
    assert_ne!(stored, empty);
    let found = find(&store, &one).unwrap();
    assert_eq!(store.epoch(&one), stored, "nor does finding");
    store.touch(&found.object, 2);
    assert_eq!(store.epoch(&one), stored);
    assert_eq!(store.stats().hits, 3);
    put(&store, &one, plain(None), b"2").await;
    let replaced = store.epoch(&one);
    assert_ne!(replaced, stored);
    for soft in [true, false] {
        let before = store.epoch(&one);
        let scope = PurgeScope::Everything;
        store.purge(&PurgeRequest { scope, soft }, NOW);
        assert_ne!(store.epoch(&one), before);
        assert_ne!(store.epoch(&other), before);
    }
    put(&store, &one, plain(None), b"3").await;
    let last = store.epoch(&one);
    assert!(store.remove(&find(&store, &one).unwrap().object));
    assert_ne!(store.epoch(&one), last);
}
