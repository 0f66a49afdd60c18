//! Bodies that memory cannot keep: to disk as they come, followed by readers, with bounded memory.

use bytes::Bytes;

use crate::common::{begin, key, limits, plain, read_all, wait};
use crate::setup::{MIB, always, body_of, find, get, open_with, put_pattern};
use anypop_store::{AbortReason, BodyError, FillOutcome, Store};

/// Memory for bodies of 128 KiB at most.
fn small_memory(path: &std::path::Path) -> Store {
    open_with(path, limits(MIB), always(), 256 * MIB)
}

#[tokio::test]
async fn readers_follow_a_large_fill_and_find_it_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = small_memory(folder.path());
    let key = key("/film");
    let length = 20 * MIB as usize + 12_345;
    let body = body_of(&key, length);
    for declared in [Some(length as u64), None] {
        let permit = begin(&store, &key);
        let watch = wait(&store, &key);
        let mut writer = permit.store(plain(declared));
        let FillOutcome::Stored(object) = watch.outcome().await else {
            panic!("not stored")
        };
        let follower = tokio::spawn(read_all(object.body().reader()));
        let mut behind = object.body().reader();
        for piece in body.chunks(100_000) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
            assert!(store.stats().bytes <= MIB);
            assert!(store.stats().window_bytes <= 2 * MIB, "bounded memory");
        }
        // A reader at the start, and a range in the middle, while it is not complete.
        assert_eq!(behind.next().await.unwrap().unwrap(), body[..65_536]);
        let range = 5_000_001..5_300_000;
        let bytes = read_all(object.body().range(range.start as u64..range.end as u64)).await;
        assert_eq!(bytes.unwrap(), &body[range]);
        // Others find it and follow, as soon as it is known to be large.
        let found = find(&store, &key)
            .await
            .expect("it is found while it is filled");
        writer.finish(None).unwrap();
        assert!(follower.await.unwrap().unwrap() == body);
        assert!(read_all(found.object.body().reader()).await.unwrap() == body);
        store.flush();
        assert_eq!(store.stats().objects, 0);
        assert!(get(&store, &key).await.unwrap() == body);
        let found = find(&store, &key).await.unwrap();
        store.remove(&found.object);
    }
    put_pattern(&store, &key, length).await;
    store.close();
    let store = small_memory(folder.path());
    assert!(get(&store, &key).await.unwrap() == body);
    let found = find(&store, &key).await.unwrap();
    assert_eq!(found.object.body().length(), Some(length as u64));
    let mut reader = found.object.body().range(0..10);
    assert_eq!(reader.next().await.unwrap().unwrap(), &body[..10]);
    reader.seek(length as u64 - 5..length as u64);
    assert_eq!(reader.next().await.unwrap().unwrap(), &body[length - 5..]);
    assert_eq!(reader.next().await.unwrap(), None);
    reader.seek(0..length as u64 + 1);
    let end = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Err(BodyError::OutOfRange { .. })), "{end:?}");
}

#[tokio::test]
async fn an_aborted_large_fill_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = small_memory(folder.path());
    let key = key("/film");
    let mut writer = begin(&store, &key).store(plain(Some(10 * MIB)));
    let mut reader = writer.object().body().reader();
    writer
        .write(Bytes::from(vec![7; 3 * MIB as usize]))
        .await
        .unwrap();
    assert!(reader.next().await.unwrap().is_some());
    writer.abort(AbortReason::from("the origin is gone"));
    let error = read_all(reader).await.unwrap_err();
    assert!(matches!(error, BodyError::Aborted(_)), "{error:?}");
    assert!(find(&store, &key).await.is_none());
    store.close();
    let store = small_memory(folder.path());
    assert!(find(&store, &key).await.is_none());
    assert_eq!(store.disk_use("shop").objects, 0);
}

#[tokio::test]
async fn a_purge_during_a_large_fill_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = small_memory(folder.path());
    let key = key("/film");
    let mut writer = begin(&store, &key).store(plain(Some(2 * MIB)));
    writer
        .write(Bytes::from(vec![7; MIB as usize]))
        .await
        .unwrap();
    let request = anypop_store::PurgeRequest {
        scope: anypop_store::PurgeScope::Everything,
        soft: false,
    };
    store.purge_durably(&request, crate::common::NOW).unwrap();
    writer
        .write(Bytes::from(vec![7; MIB as usize]))
        .await
        .unwrap();
    writer.finish(None).unwrap();
    store.flush();
    assert!(find(&store, &key).await.is_none());
    assert_eq!(store.disks()[0].objects, 0);
}

#[tokio::test]
async fn a_part_that_is_gone_makes_the_whole_gone() {
    let folder = tempfile::tempdir().unwrap();
    // Segments of a megabyte.
    let store = open_with(folder.path(), limits(MIB), always(), 8 * MIB);
    put_pattern(&store, &key("/film"), 3 * MIB as usize).await;
    store.flush();
    assert!(find(&store, &key("/film")).await.is_some());
    let mut gone = false;
    for number in 0..400 {
        put_pattern(&store, &key(&format!("/{number}")), 20_000).await;
        store.flush();
        match get(&store, &key("/film")).await {
            Some(body) => assert!(!gone && body == body_of(&key("/film"), 3 * MIB as usize)),
            None => gone = true,
        }
    }
    assert!(gone);
    assert_eq!(find(&store, &key("/film")).await.map(|_| ()), None);
}

#[tokio::test]
async fn what_no_disk_takes_passes_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(folder.path(), limits(MIB), always(), 8 * MIB);
    let key = key("/film");
    assert!(!store.keeps(&key, 5 * MIB) && store.keeps(&key, 3 * MIB));
    for declared in [Some(6 * MIB), None] {
        let mut writer = begin(&store, &key).store(plain(declared));
        let reader = tokio::spawn(read_all(writer.object().body().reader()));
        for _ in 0..6 {
            writer
                .write(Bytes::from(vec![7; MIB as usize]))
                .await
                .unwrap();
        }
        writer.finish(None).unwrap();
        assert_eq!(reader.await.unwrap().unwrap().len(), 6 * MIB as usize);
        store.flush();
        assert!(find(&store, &key).await.is_none());
    }
}
