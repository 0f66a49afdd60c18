//! What is on disk is there after a restart, clean or not.

use std::fs;

use anypop_store::Filter;
use http::HeaderMap;

use crate::common::{headers, key, key_of, meta_of, put, read_all, response_of};
use crate::setup::{body_of, find, get, open, put_pattern};

/// Sizes around every bound: of blocks, of fragments, of what is promoted.
const SIZES: [usize; 11] = [
    0, 1, 15, 4096, 65_535, 65_536, 65_537, 1_048_575, 1_048_577, 2_097_152, 3_000_001,
];

#[tokio::test]
async fn every_size_survives_a_clean_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for size in SIZES {
        put_pattern(&store, &key(&format!("/{size}")), size).await;
    }
    store.close();
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.stats().objects, 0, "memory begins empty");
    for size in SIZES {
        let key = key(&format!("/{size}"));
        assert_eq!(get(&store, &key).await, Some(body_of(&key, size)), "{size}");
        // From memory or from disk, ranges are right.
        if size > 10 {
            let found = find(&store, &key).await.unwrap();
            let range = (size as u64 / 3)..(size as u64 - 2);
            let bytes = read_all(found.object.body().range(range.clone()))
                .await
                .unwrap();
            assert_eq!(
                bytes,
                body_of(&key, size)[range.start as usize..range.end as usize]
            );
        }
    }
    assert_eq!(store.disks()[0].objects, SIZES.len() as u64);
}

#[tokio::test]
async fn what_was_not_sealed_is_scanned() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for number in 0..50 {
        put_pattern(&store, &key(&format!("/{number}")), 10_000 + number).await;
    }
    store.flush();
    // As after a kill: the files as they are now, without the end that a clean close writes.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let again = open(copy.path());
    for number in 0..50 {
        let key = key(&format!("/{number}"));
        assert_eq!(
            get(&again, &key).await,
            Some(body_of(&key, 10_000 + number))
        );
    }
}

#[tokio::test]
async fn headers_metadata_and_trailers_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let key = key("/page");
    let request = headers(&[("accept-language", "de")]);
    let fields = headers(&[
        ("content-type", "text/html"),
        ("vary", "accept-language"),
        ("cache-tag", "a, b"),
        ("etag", "\"x\""),
    ]);
    let response = response_of(&request, fields.clone(), None);
    let meta = response.meta.clone();
    let mut writer = store.begin(&key).store(response);
    writer.write("hello".into()).await.unwrap();
    writer
        .finish(Some(headers(&[("server-timing", "x")])))
        .unwrap();
    store.close();
    let store = open(folder.path());
    let found = find(&store, &key).await.unwrap();
    assert_eq!(found.object.headers(), &fields);
    assert_eq!(found.object.meta(), &meta);
    let mut reader = found.object.body().reader();
    assert_eq!(reader.next().await.unwrap().unwrap(), "hello");
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(reader.trailers().unwrap()["server-timing"], "x");
}

#[tokio::test]
async fn the_newest_version_comes_back_and_what_was_removed_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put_pattern(&store, &key("/a"), 100).await;
    put_pattern(&store, &key("/a"), 200).await;
    put_pattern(&store, &key("/b"), 100).await;
    store.flush();
    let found = find(&store, &key("/b")).await.unwrap();
    assert!(store.remove(&found.object));
    assert_eq!(get(&store, &key("/b")).await, None);
    store.close();
    let store = open(folder.path());
    assert_eq!(get(&store, &key("/a")).await.unwrap().len(), 200);
    assert_eq!(get(&store, &key("/b")).await, None);
    assert_eq!(store.disks()[0].objects, 1);
}

#[tokio::test]
async fn a_304_changes_the_head_and_keeps_the_body() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [0, 1000, 2_500_000];
    let store = open(folder.path());
    for size in sizes {
        put_pattern(&store, &key(&format!("/{size}")), size).await;
    }
    store.flush();
    let mut store = store;
    // First they are in memory, then on disk only.
    for round in ["one", "two"] {
        let used = store.disk_use("shop").bytes;
        for size in sizes {
            let key = key(&format!("/{size}"));
            let found = find(&store, &key).await.unwrap();
            let fields = headers(&[("x-round", round)]);
            let meta = meta_of(&HeaderMap::new(), &fields);
            store
                .begin(&key)
                .refresh(&found.object, &fields, meta)
                .unwrap();
        }
        store.close();
        store = open(folder.path());
        for size in sizes {
            let key = key(&format!("/{size}"));
            let found = find(&store, &key).await.unwrap();
            assert_eq!(found.object.headers()["x-round"], round);
            assert_eq!(get(&store, &key).await, Some(body_of(&key, size)));
        }
        let grown = store.disk_use("shop").bytes - used;
        assert!(grown < 10_000, "the bodies were not written again: {grown}");
    }
}

#[tokio::test]
async fn variants_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let key = key("/page");
    for language in ["de", "fr"] {
        let request = headers(&[("accept-language", language)]);
        let fields = headers(&[("vary", "accept-language"), ("content-language", language)]);
        put(
            &store,
            &key,
            response_of(&request, fields, None),
            language.as_bytes(),
        )
        .await;
    }
    store.close();
    let store = open(folder.path());
    assert_eq!(store.find_variants(&key).await.len(), 2);
    for language in ["de", "fr"] {
        let request = headers(&[("accept-language", language)]);
        let found = store
            .find(&key, |object| {
                object
                    .meta()
                    .matches(&request, &anypop_cache::vary::Normalise::default())
            })
            .await;
        let anypop_store::Lookup::Found(found) = found else {
            panic!("{language} is not there")
        };
        assert_eq!(found.object.headers()["content-language"], language);
    }
}

#[tokio::test]
async fn the_disk_is_listed_verified_and_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for site in ["shop", "blog"] {
        for number in 0..10 {
            let path = format!("/img/{number}");
            put_pattern(&store, &key_of(site, "www.example", &path), 5000).await;
        }
    }
    put_pattern(&store, &key("/other"), 1_500_000).await;
    store.flush();
    let count = |filter: &Filter| {
        let mut count = 0;
        store.for_each_on_disk(filter, |listed| {
            assert!(listed.stored > listed.length);
            count += 1;
            std::ops::ControlFlow::Continue(())
        });
        count
    };
    let shop = Filter {
        site: Some("shop".to_owned()),
        prefix: Some("/img/".to_owned()),
        ..Filter::default()
    };
    assert_eq!(count(&Filter::default()), 21);
    assert_eq!(count(&shop), 10);
    let mut steps = 0;
    let verified = store.verify(|_| {
        steps += 1;
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((verified.right, verified.damaged, steps), (21, 0, 21));
    let before = store.disk_use("blog");
    assert_eq!(before.objects, 10);
    assert!(before.bytes > 50_000);
    store.drop_matching(&shop);
    assert_eq!(count(&Filter::default()), 11);
    assert_eq!(store.disk_use("blog"), before);
    assert_eq!(store.disk_use("shop").objects, 1);
    store.close();
    let store = open(folder.path());
    assert_eq!(store.disk_use("blog"), before);
    assert_eq!(store.disk_use("shop").objects, 1);
}
