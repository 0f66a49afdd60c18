//! What goes to disk, what comes back, and what goes for good.

use anypop_store::{Admission, TierSettings};

use crate::common::{key, key_of, limits};
use crate::setup::{MIB, always, body_of, disk, find, get, open_with, put_pattern};
use anypop_store::Store;

#[tokio::test]
async fn what_is_asked_for_once_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let tier = TierSettings::default();
    let store = open_with(folder.path(), limits(64 * MIB), tier, 64 * MIB);
    for number in 0..10 {
        put_pattern(&store, &key(&format!("/{number}")), 1000).await;
    }
    store.flush();
    assert_eq!(store.disks()[0].written, 0);
    // A hit is the second request; more hits write nothing more.
    for _ in 0..3 {
        assert!(crate::common::find(&store, &key("/1")).is_some());
        store.flush();
    }
    assert_eq!(store.disks()[0].written, 1);
    // So is a second fill, and a hit that was answered without a lookup.
    put_pattern(&store, &key("/2"), 1000).await;
    let found = find(&store, &key("/3")).await.unwrap();
    store.touch(&found.object, 1);
    store.flush();
    assert_eq!(store.disks()[0].written, 3);
    store.close();
    let store = open_with(folder.path(), limits(64 * MIB), tier, 64 * MIB);
    for number in 0..10 {
        let key = key(&format!("/{number}"));
        let there = get(&store, &key).await.is_some();
        assert_eq!(there, (1..=3).contains(&number), "{number}");
    }
}

#[tokio::test]
async fn what_is_found_on_disk_comes_back_to_memory_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(folder.path(), limits(64 * MIB), always(), 64 * MIB);
    put_pattern(&store, &key("/a"), 50_000).await;
    put_pattern(&store, &key("/big"), 1_500_000).await;
    store.close();
    let store = open_with(folder.path(), limits(64 * MIB), always(), 64 * MIB);
    let key = key("/a");
    let reads = futures_join(&store, &key).await;
    assert!(reads.iter().all(|body| *body == body_of(&key, 50_000)));
    assert_eq!(store.stats().recalled, 1, "a crowd reads it once");
    assert_eq!(store.stats().objects, 1);
    // What is too big to come back is read from disk each time.
    for _ in 0..2 {
        let key = crate::common::key("/big");
        assert_eq!(get(&store, &key).await, Some(body_of(&key, 1_500_000)));
    }
    assert_eq!(store.stats().objects, 1);
    assert_eq!(store.stats().recalled, 3);
}

async fn futures_join(store: &Store, key: &anypop_cache::key::CacheKey) -> Vec<Vec<u8>> {
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (store, key) = (store.clone(), key.clone());
        tasks.push(tokio::spawn(
            async move { get(&store, &key).await.unwrap() },
        ));
    }
    let mut bodies = Vec::new();
    for task in tasks {
        bodies.push(task.await.unwrap());
    }
    bodies
}

#[tokio::test]
async fn memory_evicts_and_disk_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(folder.path(), limits(MIB), always(), 64 * MIB);
    for number in 0..200 {
        put_pattern(&store, &key(&format!("/{number}")), 20_000).await;
        store.flush();
    }
    assert!(store.stats().evictions > 100);
    for number in 0..200 {
        let key = key(&format!("/{number}"));
        assert_eq!(
            get(&store, &key).await,
            Some(body_of(&key, 20_000)),
            "{number}"
        );
    }
    assert!(store.stats().bytes <= MIB);
}

#[tokio::test]
async fn the_oldest_go_and_the_hot_stay() {
    let folder = tempfile::tempdir().unwrap();
    let size = 8 * MIB;
    // Next to no memory: every hit is one of the disk.
    let store = open_with(folder.path(), limits(256 * 1024), always(), size);
    put_pattern(&store, &key("/hot"), 20_000).await;
    for number in 0..2000 {
        put_pattern(&store, &key(&format!("/{number}")), 20_000).await;
        store.flush();
        if number % 10 == 0 {
            assert!(find(&store, &key("/hot")).await.is_some(), "at {number}");
        }
        let stats = &store.disks()[0];
        assert!(stats.used <= size, "{} bytes of {size}", stats.used);
    }
    let stats = store.disks().remove(0);
    assert!(stats.evicted > 1000 && stats.reinserted > 0, "{stats:?}");
    assert!(stats.objects > 150, "{stats:?}");
    assert_eq!(get(&store, &key("/0")).await, None);
    assert_eq!(get(&store, &key("/1999")).await.unwrap().len(), 20_000);
    // The counters agree with what is listed, then and after a restart.
    let usage = store.disk_use("shop");
    assert_eq!(usage.objects, stats.objects);
    let mut listed = 0;
    store.for_each_on_disk(&anypop_store::Filter::default(), |object| {
        listed += object.stored;
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(usage.bytes, listed);
    store.close();
    let store = open_with(folder.path(), limits(256 * 1024), always(), size);
    assert_eq!(store.disk_use("shop"), usage);
    assert!(get(&store, &key("/hot")).await.is_some());
}

#[tokio::test]
async fn a_reader_keeps_what_is_evicted_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let tier = TierSettings {
        promote: 0,
        ..always()
    };
    let store = open_with(folder.path(), limits(256 * 1024), tier, 8 * MIB);
    let key = key("/read");
    put_pattern(&store, &key, 30_000).await;
    for number in 0..20 {
        put_pattern(
            &store,
            &crate::common::key(&format!("/before/{number}")),
            30_000,
        )
        .await;
    }
    store.flush();
    let found = find(&store, &key).await.unwrap();
    for number in 0..600 {
        put_pattern(&store, &crate::common::key(&format!("/{number}")), 30_000).await;
        store.flush();
    }
    assert!(store.disks()[0].evicted > 100);
    let body = crate::common::read_all(found.object.body().reader())
        .await
        .unwrap();
    assert_eq!(body, body_of(&key, 30_000));
}

#[tokio::test]
async fn a_site_keeps_to_its_quota_and_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(folder.path(), limits(64 * MIB), always(), 64 * MIB);
    store.set_disk_quota("shop", Some(500_000));
    for number in 0..100 {
        put_pattern(&store, &key_of("blog", "b", &format!("/{number}")), 10_000).await;
        put_pattern(&store, &key_of("shop", "a", &format!("/{number}")), 10_000).await;
        store.flush();
    }
    let (shop, blog) = (store.disk_use("shop"), store.disk_use("blog"));
    assert!(shop.bytes <= 550_000 && shop.bytes > 300_000, "{shop:?}");
    assert_eq!(blog.objects, 100);
    assert_eq!(store.disk_sites_use().len(), 2);
}

#[tokio::test]
async fn keys_are_shared_out_over_the_disks() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let open = || {
        let disks = folders.iter().map(|folder| disk(folder.path(), 64 * MIB));
        Store::open(limits(64 * MIB), always(), disks.collect())
    };
    let store = open();
    for number in 0..200 {
        put_pattern(&store, &key(&format!("/{number}")), 1000).await;
    }
    store.close();
    let store = open();
    let objects: Vec<u64> = store.disks().iter().map(|disk| disk.objects).collect();
    assert!(objects.iter().all(|objects| *objects > 50), "{objects:?}");
    for number in 0..200 {
        let key = key(&format!("/{number}"));
        assert_eq!(get(&store, &key).await, Some(body_of(&key, 1000)));
    }
}

#[tokio::test]
async fn admission_is_what_it_says() {
    assert_eq!(TierSettings::default().admission, Admission::SecondHit);
}
