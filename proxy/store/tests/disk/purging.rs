//! Purges outlive the process, and what they hit stays gone.

use std::sync::Arc;

use anypop_cache::key::CacheKey;
use anypop_cache::tags::Tag;
use anypop_store::{Limits, PurgeLimits, PurgeRequest, PurgeScope, Store};
use http::HeaderMap;
use proptest::prelude::*;

use crate::common::{NOW, headers, key_of, limits, put, response_of};
use crate::faulty::{Faults, Faulty};
use crate::setup::{MIB, always, body_of, disk, find, get, open, open_on, put_pattern};

fn hard(scope: PurgeScope) -> PurgeRequest {
    PurgeRequest { scope, soft: false }
}

fn site(name: &str) -> PurgeScope {
    PurgeScope::Site {
        site: name.to_owned(),
    }
}

/// Each scope, with a key that it hits.
fn scopes() -> Vec<(PurgeScope, CacheKey)> {
    let (host, path) = ("www.example".to_owned(), "/a/b".to_owned());
    let of = |site: &str| (site.to_owned(), host.clone());
    let hit = |name: &str| key_of(name, "www.example", "/a/b");
    let (url, prefix, tagged, hosted) = (of("url"), of("prefix"), of("tag"), of("host"));
    vec![
        (
            PurgeScope::Url {
                site: url.0,
                host: url.1,
                path,
                query: None,
            },
            hit("url"),
        ),
        (
            PurgeScope::Prefix {
                site: prefix.0,
                host: prefix.1,
                prefix: "/a".to_owned(),
            },
            hit("prefix"),
        ),
        (
            PurgeScope::Tag {
                site: tagged.0,
                tag: Tag::new("red").unwrap(),
            },
            hit("tag"),
        ),
        (
            PurgeScope::Host {
                site: hosted.0,
                host: hosted.1,
            },
            hit("host"),
        ),
        (site("site"), hit("site")),
    ]
}

async fn put_tagged(store: &Store, key: &CacheKey) {
    let fields = headers(&[("cache-tag", "red")]);
    let mut response = response_of(&HeaderMap::new(), fields.clone(), None);
    // Tags are hashed with their site.
    let tags = anypop_cache::tags::Tags::of(&fields, &anypop_cache::tags::Limits::default());
    response.meta.tags = tags.hashes(key.site());
    put(store, key, response, &body_of(key, 1000)).await;
}

#[tokio::test]
async fn every_scope_holds_after_a_kill() {
    for soft in [false, true] {
        let disk = Faulty::default();
        let store = open_on(Arc::new(disk.clone()), 64 * MIB);
        let other = key_of("other", "www.example", "/a/b");
        put_tagged(&store, &other).await;
        for (scope, key) in scopes() {
            put_tagged(&store, &key).await;
            store.flush();
            store
                .purge_durably(&PurgeRequest { scope, soft }, NOW)
                .unwrap();
        }
        let disk = disk.copy();
        let again = open_on(Arc::new(disk.clone()), 64 * MIB);
        assert_eq!(find(&again, &other).await.unwrap().purged, None);
        for (scope, key) in scopes() {
            let found = find(&again, &key).await;
            if soft {
                assert_eq!(found.unwrap().purged, Some(NOW), "{scope:?}");
            } else {
                assert!(found.is_none(), "{scope:?}");
            }
        }
        // What is fetched after the restart is later than all of them, and the next purge later still.
        for (scope, key) in scopes() {
            put_tagged(&again, &key).await;
            assert_eq!(find(&again, &key).await.unwrap().purged, None);
            again.purge_durably(&hard(scope), NOW).unwrap();
            assert!(find(&again, &key).await.is_none());
        }
        again
            .purge_durably(&hard(PurgeScope::Everything), NOW)
            .unwrap();
        again.flush();
        let last = open_on(Arc::new(disk.copy()), 64 * MIB);
        assert!(find(&last, &other).await.is_none());
    }
}

#[tokio::test]
async fn the_log_is_folded_and_nothing_is_forgotten() {
    let disk = Faulty::default();
    let small = Limits {
        purges: PurgeLimits {
            per_site: 200_000,
            total: 200_000,
        },
        ..limits(64 * MIB)
    };
    let settings = || crate::setup::disk(std::path::Path::new("faulty"), 64 * MIB);
    let store = Store::open_on(small, always(), vec![(settings(), Arc::new(disk.clone()))]);
    let key = |number: u32| key_of("shop", "h", &format!("/products/pictures/{number}"));
    for number in 0..10 {
        put_pattern(&store, &key(number * 10_000), 100).await;
    }
    put_pattern(&store, &key_of("shop", "h", "/kept"), 100).await;
    store.flush();
    for number in 0..100_000 {
        let url = PurgeScope::Url {
            site: "shop".to_owned(),
            host: "h".to_owned(),
            path: format!("/products/pictures/{number}"),
            query: None,
        };
        store.purge_durably(&hard(url), NOW).unwrap();
    }
    assert!(disk.names().iter().any(|name| name == "purges.base"));
    let again = Store::open_on(small, always(), vec![(settings(), Arc::new(disk.copy()))]);
    assert_eq!(again.purges().now(), store.purges().now());
    assert_eq!(again.stats().purge_clocks, store.stats().purge_clocks);
    for number in 0..10 {
        assert!(find(&again, &key(number * 10_000)).await.is_none());
    }
    assert!(find(&again, &key_of("shop", "h", "/kept")).await.is_some());
}

#[tokio::test]
async fn a_purge_that_no_disk_wrote_down_holds_and_says_so() {
    let disk = Faulty::default();
    let store = open_on(Arc::new(disk.clone()), 64 * MIB);
    let key = key_of("shop", "h", "/a");
    put_pattern(&store, &key, 100).await;
    store.flush();
    Faults::set(&disk.faults.syncs, true);
    store.purge_durably(&hard(site("shop")), NOW).unwrap_err();
    store.purge_durably(&hard(site("shop")), NOW).unwrap_err();
    assert!(find(&store, &key).await.is_none());
    // The disk is marked, so what it held is not believed after a restart.
    store.flush();
    Faults::set(&disk.faults.syncs, false);
    let again = open_on(Arc::new(disk.copy()), 64 * MIB);
    assert!(find(&again, &key).await.is_none());
}

#[tokio::test]
async fn one_disk_of_two_is_enough() {
    let disks = [Faulty::default(), Faulty::default()];
    let open = |disks: &[Faulty; 2]| {
        let disks = disks.iter().zip(["one", "two"]).map(|(volume, name)| {
            let volume: Arc<dyn anypop_store::disk::volume::Volume> = Arc::new(volume.clone());
            (disk(std::path::Path::new(name), 64 * MIB), volume)
        });
        Store::open_on(limits(64 * MIB), always(), disks.collect())
    };
    let store = open(&disks);
    let keys: Vec<CacheKey> = (0..40)
        .map(|number| key_of("shop", "h", &format!("/{number}")))
        .collect();
    for key in &keys {
        put_pattern(&store, key, 100).await;
    }
    store.flush();
    Faults::set(&disks[0].faults.syncs, true);
    store.purge_durably(&hard(site("shop")), NOW).unwrap();
    store.flush();
    let again = open(&[disks[0].copy(), disks[1].copy()]);
    for key in &keys {
        assert!(find(&again, key).await.is_none());
    }
}

#[tokio::test]
async fn a_torn_last_purge_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for number in 0..3 {
        store
            .purge_durably(&hard(site(&format!("site{number}"))), NOW)
            .unwrap();
    }
    store.close();
    let log = folder.path().join("purges.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.truncate(bytes.len() - 3);
    std::fs::write(&log, bytes).unwrap();
    let store = open(folder.path());
    assert_eq!(store.purges().now().0, 2);
    store.purge_durably(&hard(site("site3")), NOW).unwrap();
    store.close();
    assert_eq!(open(folder.path()).purges().now().0, 3);
}

#[tokio::test]
async fn a_damaged_log_is_not_taken_for_a_torn_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let key = key_of("shop", "h", "/a");
    put_pattern(&store, &key, 100).await;
    store.flush();
    for name in ["other", "shop", "another"] {
        store.purge_durably(&hard(site(name)), NOW).unwrap();
    }
    store.close();
    let log = folder.path().join("purges.log");
    let whole = std::fs::read(&log).unwrap();
    // Any byte of the second purge, its length included.
    let second = whole.len() / 3 + 2;
    for at in second..second + 10 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(&log, bytes).unwrap();
        let settings = disk(folder.path(), 64 * MIB);
        let store = Store::open(limits(64 * MIB), always(), vec![settings]);
        assert!(find(&store, &key).await.is_none(), "{at}");
        assert_ne!(store.disks()[0].state, anypop_store::DiskState::Online);
        store.close();
        std::fs::write(&log, &whole).unwrap();
    }
}

#[tokio::test]
async fn a_closed_store_touches_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    first.purge_durably(&hard(site("a")), NOW).unwrap();
    first.close();
    let second = open(folder.path());
    second.purge_durably(&hard(site("b")), NOW).unwrap();
    first.purge_durably(&hard(site("c")), NOW).unwrap_err();
    second.purge_durably(&hard(site("d")), NOW).unwrap();
    second.close();
    assert_eq!(open(folder.path()).purges().now().0, 3);
}

#[derive(Debug, Clone)]
enum Act {
    Put(u8),
    Purge(u8, bool),
    PurgeAll,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0u8..6).prop_map(Act::Put),
        3 => (0u8..6, any::<bool>()).prop_map(|(key, soft)| Act::Purge(key, soft)),
        1 => Just(Act::PurgeAll),
        2 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Beside a map that is told everything: after any number of kills, what is found is the newest and not purged.
    #[test]
    fn purges_and_objects_agree_with_a_model(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut disk = Faulty::default();
            let mut store = open_on(Arc::new(disk.clone()), 64 * MIB);
            // Length of the body, and whether it is softly purged.
            let mut model: std::collections::HashMap<u8, (usize, bool)> = std::collections::HashMap::new();
            let key = |number: u8| key_of("shop", "h", &format!("/{number}"));
            for (time, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Put(number) => {
                        put_pattern(&store, &key(number), 100 + time).await;
                        model.insert(number, (100 + time, false));
                    }
                    Act::Purge(number, soft) => {
                        let scope = PurgeScope::Url {
                            site: "shop".to_owned(),
                            host: "h".to_owned(),
                            path: format!("/{number}"),
                            query: None,
                        };
                        store.purge_durably(&PurgeRequest { scope, soft }, NOW).unwrap();
                        if soft {
                            model.entry(number).and_modify(|entry| entry.1 = true);
                        } else {
                            model.remove(&number);
                        }
                    }
                    Act::PurgeAll => {
                        store.purge_durably(&hard(PurgeScope::Everything), NOW).unwrap();
                        model.clear();
                    }
                    Act::Restart => {
                        store.flush();
                        disk = disk.copy();
                        store = open_on(Arc::new(disk.clone()), 64 * MIB);
                    }
                }
                for number in 0..6 {
                    let found = find(&store, &key(number)).await;
                    let seen = found.as_ref().map(|found| {
                        (found.object.body().length().unwrap_or(0) as usize, found.purged.is_some())
                    });
                    prop_assert_eq!(seen, model.get(&number).copied(), "{} at {}", number, time);
                }
                if let Some((length, _)) = model.get(&0) {
                    prop_assert_eq!(get(&store, &key(0)).await, Some(body_of(&key(0), *length)));
                }
            }
            Ok(())
        })?;
    }
}
