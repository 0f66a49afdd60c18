//! Many threads at once: the promises hold, whatever the order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anypop_store::{FillOutcome, Join, Lookup, Object, PurgeRequest, PurgeScope, Store};
use bytes::Bytes;
use http::HeaderMap;

use crate::common::{NOW, headers, key, limits, read_all, response_of};

/// The origin's content: a version, which goes up before each purge.
fn version_of(object: &Object) -> u64 {
    object.headers()["x-version"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

async fn fetch(
    store: &Store,
    key: &anypop_cache::key::CacheKey,
    origin: &AtomicU64,
) -> Option<Arc<Object>> {
    for _ in 0..1000 {
        if let Lookup::Found(found) = store.lookup(key, |_| true) {
            return Some(found.object);
        }
        match store.join_or_begin(key, None, |_| true) {
            Join::Ready(found) => return Some(found.object),
            Join::Wait(watch) => match watch.outcome().await {
                FillOutcome::Stored(object) => return Some(object),
                _ => continue,
            },
            Join::Begin(permit) => {
                let version = origin.load(Ordering::SeqCst);
                tokio::task::yield_now().await;
                let fields = headers(&[("x-version", &version.to_string())]);
                let mut writer = permit.store(response_of(&HeaderMap::new(), fields, None));
                let object = writer.object().clone();
                let reader = object.body().reader();
                let write = async {
                    for _ in 0..4 {
                        writer.write(Bytes::from(vec![b'x'; 10_000])).await.ok();
                        tokio::task::yield_now().await;
                    }
                    writer.finish(None).ok();
                };
                let (read, ()) = tokio::join!(read_all(reader), write);
                assert_eq!(read.unwrap().len(), 40_000);
                return Some(object);
            }
        }
    }
    None
}

/// Who asks after a purge was acknowledged never gets what was fetched before it, with fills, waiters, eviction and
/// purges all at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_purged_comes_back() {
    let store = Store::new(limits(1 << 20));
    let origin = Arc::new(AtomicU64::new(1));
    // The version that the last acknowledged purge made the oldest allowed.
    let oldest = Arc::new(AtomicU64::new(0));
    let purger = {
        let (store, origin, oldest) = (store.clone(), origin.clone(), oldest.clone());
        tokio::spawn(async move {
            for round in 0..300 {
                let version = origin.fetch_add(1, Ordering::SeqCst) + 1;
                let scope = match round % 3 {
                    0 => PurgeScope::Site {
                        site: "shop".into(),
                    },
                    1 => PurgeScope::Prefix {
                        site: "shop".into(),
                        host: "www.shop.example".into(),
                        prefix: "/".into(),
                    },
                    _ => PurgeScope::Everything,
                };
                store.purge(&PurgeRequest { scope, soft: false }, NOW);
                oldest.store(version, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        })
    };
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (store, origin, oldest) = (store.clone(), origin.clone(), oldest.clone());
            tokio::spawn(async move {
                for round in 0..300 {
                    let key = key(&format!("/{}", (client + round) % 40));
                    let allowed = oldest.load(Ordering::SeqCst);
                    if let Some(object) = fetch(&store, &key, &origin).await {
                        let version = version_of(&object);
                        assert!(
                            version >= allowed,
                            "version {version} after a purge of all before {allowed}"
                        );
                    }
                    assert!(store.stats().bytes <= 1 << 20);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    purger.await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.fills, stats.window_bytes), (0, 0), "{stats:?}");
    let index: u64 = (0..40)
        .map(|path| store.variants(&key(&format!("/{path}"))).len() as u64)
        .sum();
    // The lookups just now have reclaimed what was purged.
    assert_eq!(store.stats().objects, index);
}

/// Eight fills of big bodies in a memory that holds two: some lose their place, and all their readers get all bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_fills_that_lose_their_place_get_every_byte() {
    let store = Store::new(limits(4 << 20));
    let fills: Vec<_> = (0..8)
        .map(|fill| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..10 {
                    let key = key(&format!("/{fill}/{round}"));
                    let mut writer = store.begin(&key).store(crate::common::plain(None));
                    let readers: Vec<_> = (0..4)
                        .map(|_| tokio::spawn(read_all(writer.object().body().reader())))
                        .collect();
                    let body = crate::common::pattern(500_000 + fill * 1000 + round);
                    for part in body.chunks(20_000) {
                        writer.write(Bytes::copy_from_slice(part)).await.unwrap();
                        assert!(store.stats().bytes <= 4 << 20);
                    }
                    writer.finish(None).unwrap();
                    for reader in readers {
                        assert!(reader.await.unwrap().unwrap() == body);
                    }
                }
            })
        })
        .collect();
    for fill in fills {
        fill.await.unwrap();
    }
    let stats = store.stats();
    assert_eq!(
        (stats.fills, stats.window_bytes, stats.aborted),
        (0, 0, 0),
        "{stats:?}"
    );
    assert!(stats.evictions > 0);
}
