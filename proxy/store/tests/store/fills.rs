//! Fills: one fetch for many, whoever leaves.

use std::sync::Arc;
use std::time::Duration;

use anypop_cache::tags::Tag;
use anypop_store::{
    FillError, FillOutcome, Join, Lookup, PurgeRequest, PurgeScope, RefreshRefused, Store,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::common::{
    NOW, begin, find, headers, key, limits, meta_of, plain, put, read_all, response_of, wait,
};

fn store() -> Store {
    Store::new(limits(64 << 20))
}

fn purge(scope: PurgeScope, soft: bool) -> PurgeRequest {
    PurgeRequest { scope, soft }
}

fn url(path: &str) -> PurgeScope {
    PurgeScope::Url {
        site: "shop".into(),
        host: "www.shop.example".into(),
        path: path.into(),
        query: None,
    }
}

fn tag(text: &str) -> PurgeScope {
    PurgeScope::Tag {
        site: "shop".into(),
        tag: Tag::new(text).unwrap(),
    }
}

fn tagged(text: &str) -> anypop_store::Response {
    response_of(&HeaderMap::new(), headers(&[("surrogate-key", text)]), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_make_one_fill() {
    let store = store();
    let permit = begin(&store, &key("/a"));
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let watch = wait(&store, &key("/a"));
            tokio::spawn(async move {
                match watch.outcome().await {
                    FillOutcome::Stored(object) => read_all(object.body().reader()).await.unwrap(),
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    assert!(
        matches!(store.lookup(&key("/a"), |_| true), Lookup::Missed(missed) if missed.fills == 1)
    );
    let mut writer = permit.store(plain(None));
    // With the header in, requests find the object and need not wait.
    assert!(matches!(
        store.join_or_begin(&key("/a"), None, |_| true),
        Join::Ready(_)
    ));
    writer.write(Bytes::from_static(b"hello ")).await.unwrap();
    writer.write(Bytes::from_static(b"world")).await.unwrap();
    writer.finish(None).unwrap();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), b"hello world");
    }
    let stats = store.stats();
    assert_eq!(
        (stats.joined, stats.stored, stats.fills, stats.objects),
        (100, 1, 0, 1)
    );
}

#[tokio::test]
async fn waiters_stream_before_the_body_is_whole() {
    let store = store();
    let permit = begin(&store, &key("/a"));
    let watch = wait(&store, &key("/a"));
    let mut writer = permit.store(plain(None));
    let FillOutcome::Stored(object) = watch.outcome().await else {
        panic!()
    };
    let mut reader = object.body().reader();
    writer.write(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "first");
    drop(writer);
    assert!(reader.next().await.is_err());
}

#[tokio::test]
async fn every_outcome_releases_all_waiters() {
    let store = store();
    let watches = |store: &Store| [wait(store, &key("/a")), wait(store, &key("/a"))];

    let permit = begin(&store, &key("/a"));
    let waiting = watches(&store);
    drop(permit);
    for watch in waiting {
        assert!(matches!(
            watch.outcome().await,
            FillOutcome::Failed(FillError::Dropped)
        ));
    }

    let permit = begin(&store, &key("/a"));
    let waiting = watches(&store);
    permit.fail(StatusCode::GATEWAY_TIMEOUT, "connection_timeout");
    for watch in waiting {
        let FillOutcome::Failed(FillError::Origin { status, reason }) = watch.outcome().await
        else {
            panic!()
        };
        assert_eq!(
            (status, &*reason),
            (StatusCode::GATEWAY_TIMEOUT, "connection_timeout")
        );
    }

    let permit = begin(&store, &key("/a"));
    let waiting = watches(&store);
    permit.uncacheable(Duration::from_secs(10));
    for watch in waiting {
        assert!(matches!(watch.outcome().await, FillOutcome::Uncacheable));
    }
    assert_eq!(store.stats().fills, 0);
}

#[tokio::test(start_paused = true)]
async fn the_uncacheable_is_remembered_for_a_while() {
    let store = store();
    let passes = |store: &Store| matches!(store.lookup(&key("/a"), |_| true), Lookup::Missed(missed) if missed.pass);
    assert!(!passes(&store));
    begin(&store, &key("/a")).uncacheable(Duration::from_secs(10));
    assert!(passes(&store));
    // Nobody waits for anybody.
    let (one, other) = (begin(&store, &key("/a")), begin(&store, &key("/a")));
    drop((one, other));
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!passes(&store));
    let one = begin(&store, &key("/a"));
    wait(&store, &key("/a"));
    drop(one);

    begin(&store, &key("/a")).uncacheable(Duration::from_secs(10));
    put(&store, &key("/a"), plain(None), b"cacheable after all").await;
    assert!(!passes(&store));
}

#[tokio::test]
async fn hints_keep_apart_who_cannot_share() {
    let store = store();
    let hint = |language: &str| {
        meta_of(
            &headers(&[("accept-language", language)]),
            &headers(&[("vary", "accept-language")]),
        )
        .vary_key
    };
    let join = |language| store.join_or_begin(&key("/a"), Some(&hint(language)), |_| false);
    let Join::Begin(_german) = join("de") else {
        panic!()
    };
    let Join::Begin(_english) = join("en") else {
        panic!()
    };
    assert!(matches!(join("de"), Join::Wait(_)));
    assert!(matches!(join("en"), Join::Wait(_)));
}

#[tokio::test]
async fn a_304_makes_a_new_object_over_the_same_body() {
    let store = store();
    put(
        &store,
        &key("/a"),
        response_of(&HeaderMap::new(), headers(&[("etag", "\"1\"")]), None),
        b"body",
    )
    .await;
    let old = find(&store, &key("/a")).unwrap().object;
    let before = store.stats().bytes;
    let permit = begin(&store, &key("/a"));
    let watch = wait(&store, &key("/a"));
    let fresh = headers(&[("etag", "\"1\""), ("x-new", "yes")]);
    let object = permit
        .refresh(&old, &fresh, meta_of(&HeaderMap::new(), &fresh))
        .unwrap();
    let FillOutcome::Refreshed(seen) = watch.outcome().await else {
        panic!()
    };
    assert!(Arc::ptr_eq(&seen, &object));
    let found = find(&store, &key("/a")).unwrap().object;
    assert!(Arc::ptr_eq(&found, &object));
    assert!(found.body().is_same(old.body()));
    assert_eq!(found.headers()["x-new"], "yes");
    assert_eq!(store.variants(&key("/a")).len(), 1);
    let stats = store.stats();
    assert_eq!((stats.objects, stats.refreshed), (1, 1));
    assert!(stats.bytes > before && stats.bytes < before + 1000);

    // Evicted meanwhile: it comes back.
    assert!(store.remove(&found));
    assert_eq!(store.stats().bytes, 0);
    begin(&store, &key("/a"))
        .refresh(&found, &fresh, meta_of(&HeaderMap::new(), &fresh))
        .unwrap();
    assert_eq!(store.stats().bytes, stats.bytes);
    assert_eq!(
        find(&store, &key("/a"))
            .unwrap()
            .object
            .body()
            .try_complete()
            .unwrap()
            .contiguous()
            .unwrap(),
        "body"
    );
}

#[tokio::test]
async fn a_head_updates_without_hiding_a_purge() {
    let store = store();
    put(&store, &key("/a"), tagged("news"), b"body").await;
    let old = find(&store, &key("/a")).unwrap().object;
    store.purge(&purge(tag("news"), true), NOW);
    let object = store
        .update(&old, old.headers(), old.meta().clone())
        .unwrap();
    let found = find(&store, &key("/a")).unwrap();
    assert!(Arc::ptr_eq(&found.object, &object));
    assert_eq!(found.purged, Some(NOW), "the body is as old as it was");
    store.purge(&purge(tag("news"), false), NOW);
    assert!(
        store
            .update(&object, old.headers(), old.meta().clone())
            .is_none()
    );
}

#[tokio::test]
async fn a_purge_hits_what_is_in_flight() {
    let store = store();
    let permit = begin(&store, &key("/a"));
    let before = wait(&store, &key("/a"));
    store.purge(&purge(url("/a"), false), NOW);
    // Who comes after the purge does not join a fill from before it.
    let Join::Begin(newer) = store.join_or_begin(&key("/a"), None, |_| true) else {
        panic!()
    };
    let after = wait(&store, &key("/a"));
    let mut old = permit.store(plain(None));
    assert!(matches!(
        before.outcome().await,
        FillOutcome::Failed(FillError::Purged)
    ));
    assert!(find(&store, &key("/a")).is_none());
    // Its own reader goes on: it asked before the purge.
    let reader = tokio::spawn(read_all(old.object().body().reader()));
    tokio::task::yield_now().await;
    let mut new = newer.store(plain(None));
    new.write(Bytes::from_static(b"new")).await.unwrap();
    new.finish(None).unwrap();
    old.write(Bytes::from_static(b"old")).await.unwrap();
    old.finish(None).unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), b"old");
    let FillOutcome::Stored(object) = after.outcome().await else {
        panic!()
    };
    assert_eq!(read_all(object.body().reader()).await.unwrap(), b"new");
    let found = find(&store, &key("/a")).unwrap().object;
    assert_eq!(
        found.body().try_complete().unwrap().contiguous().unwrap(),
        "new",
        "old bytes came back"
    );
}

#[tokio::test]
async fn a_purged_fill_does_not_supersede_its_successor() {
    let store = store();
    let old = store.begin(&key("/a"));
    store.purge(&purge(url("/a"), false), NOW);
    put(&store, &key("/a"), plain(None), b"new").await;
    let mut old = old.store(plain(None));
    let _reader = old.object().body().reader();
    old.write(Bytes::from_static(b"old")).await.unwrap();
    old.finish(None).unwrap();
    let found = find(&store, &key("/a")).unwrap().object;
    assert_eq!(
        found.body().try_complete().unwrap().contiguous().unwrap(),
        "new"
    );
}

#[tokio::test]
async fn a_tag_purge_hits_a_fill_whose_tags_are_not_known_yet() {
    let store = store();
    let permit = begin(&store, &key("/a"));
    store.purge(&purge(tag("news"), false), NOW);
    // Its tags being unknown, it is joined; what it brings is not given out.
    let watch = wait(&store, &key("/a"));
    let mut writer = permit.store(tagged("sport news"));
    assert!(matches!(
        watch.outcome().await,
        FillOutcome::Failed(FillError::Purged)
    ));
    writer.write(Bytes::from_static(b"old")).await.ok();
    writer.finish(None).ok();
    assert!(find(&store, &key("/a")).is_none());
}

#[tokio::test]
async fn a_purge_during_a_revalidation_is_not_undone_by_its_304() {
    let store = store();
    put(&store, &key("/a"), plain(None), b"old").await;
    let old = find(&store, &key("/a")).unwrap().object;
    let permit = begin(&store, &key("/a"));
    store.purge(&purge(url("/a"), false), NOW);
    let RefreshRefused(permit) = permit
        .refresh(&old, old.headers(), old.meta().clone())
        .unwrap_err();
    assert!(find(&store, &key("/a")).is_none());
    // Asked again after the purge, the same permit's response is good, and can be waited for.
    let watch = wait(&store, &key("/a"));
    let mut writer = permit.store(plain(None));
    writer.write(Bytes::from_static(b"new")).await.unwrap();
    writer.finish(None).unwrap();
    assert!(matches!(watch.outcome().await, FillOutcome::Stored(_)));
    assert!(find(&store, &key("/a")).is_some_and(|found| found.purged.is_none()));
}

#[tokio::test]
async fn a_soft_purge_leaves_it_stale_until_it_is_validated() {
    let store = store();
    put(&store, &key("/a"), tagged("news"), b"body").await;
    store.purge(&purge(tag("news"), true), NOW);
    let found = find(&store, &key("/a")).unwrap();
    assert_eq!(found.purged, Some(NOW));
    begin(&store, &key("/a"))
        .refresh(
            &found.object,
            found.object.headers(),
            found.object.meta().clone(),
        )
        .unwrap();
    assert_eq!(find(&store, &key("/a")).unwrap().purged, None);
}

#[tokio::test]
async fn an_aborted_fill_leaves_what_was_stored_before() {
    let store = store();
    put(&store, &key("/a"), plain(None), b"old").await;
    let mut writer = begin(&store, &key("/a")).store(plain(Some(100)));
    writer.write(Bytes::from_static(b"ne")).await.unwrap();
    assert!(
        !find(&store, &key("/a"))
            .unwrap()
            .object
            .body()
            .is_complete(),
        "the newest is found first"
    );
    writer.abort("reset".into());
    let found = find(&store, &key("/a")).unwrap().object;
    assert_eq!(
        found.body().try_complete().unwrap().contiguous().unwrap(),
        "old",
        "needed for stale-if-error"
    );
    put(&store, &key("/a"), plain(None), b"new").await;
    assert_eq!(store.variants(&key("/a")).len(), 1);
}
