//! Bodies that are not stored: passed through a bounded window, to those who read them.

use std::time::Duration;

use crate::common::{begin, find, key, pattern, plain, put, read_all, wait};
use anypop_store::body::FRAGMENT;
use anypop_store::{AbortReason, BodyError, FillOutcome, Limits, Store, WindowLimits, WriteError};
use bytes::Bytes;
use tokio::time::Instant;

const WINDOW: usize = 4 * FRAGMENT;
const STALL: Duration = Duration::from_secs(10);

fn store(max_object: u64) -> Store {
    Store::new(Limits {
        memory: 64 << 20,
        max_object,
        window: WindowLimits {
            bytes: WINDOW as u64,
            stall: STALL,
        },
        ..Limits::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_body_that_overruns_goes_on_for_its_readers() {
    let store = store(100_000);
    let body = Bytes::from(pattern(20 * FRAGMENT));
    let mut writer = begin(&store, &key("/a")).store(plain(None));
    let object = find(&store, &key("/a")).unwrap().object;
    let readers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(read_all(object.body().reader())))
        .collect();
    let mut most = 0;
    for part in body.chunks(30_000) {
        writer.write(Bytes::copy_from_slice(part)).await.unwrap();
        most = most.max(store.stats().window_bytes);
        assert_eq!(
            find(&store, &key("/a")).is_some(),
            writer.written() <= 100_000
        );
    }
    assert!(
        most <= WINDOW as u64,
        "{most} bytes in a window of {WINDOW}"
    );
    writer.finish(None).unwrap();
    for reader in readers {
        assert!(reader.await.unwrap().unwrap() == body);
    }
    // Late readers are told.
    assert_eq!(object.body().reader().next().await, Err(BodyError::Gone));
    drop(object);
    let stats = store.stats();
    assert_eq!(
        (stats.bytes, stats.objects, stats.window_bytes, stats.fills),
        (0, 0, 0, 0)
    );
    assert_eq!(stats.overruns, 1);
}

#[tokio::test(start_paused = true)]
async fn a_declared_giant_is_never_in_the_index() {
    let store = store(100_000);
    let body = Bytes::from(pattern(10 * FRAGMENT));
    let permit = begin(&store, &key("/a"));
    let waiter = wait(&store, &key("/a"));
    let waiter = tokio::spawn(async move {
        match waiter.outcome().await {
            FillOutcome::Stored(object) => read_all(object.body().reader()).await,
            other => panic!("{other:?}"),
        }
    });
    let mut writer = permit.store(plain(Some(body.len() as u64)));
    assert!(find(&store, &key("/a")).is_none());
    // More than the window: the writer waits until the waiter has come to read.
    writer.write(body.clone()).await.unwrap();
    writer.finish(None).unwrap();
    assert!(waiter.await.unwrap().unwrap() == body);
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_to_read() {
    let store = store(100_000);
    let mut writer = begin(&store, &key("/a")).store(plain(Some(10 * FRAGMENT as u64)));
    let began = Instant::now();
    let written = writer.write(Bytes::from(pattern(10 * FRAGMENT))).await;
    assert_eq!(written, Err(WriteError::Aborted(AbortReason::Abandoned)));
    assert_eq!(began.elapsed(), STALL);
    drop(writer);
    assert_eq!(store.stats().window_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_reader_takes_the_body_along() {
    let store = store(100_000);
    let mut writer = begin(&store, &key("/a")).store(plain(Some(10 * FRAGMENT as u64)));
    let mut reader = writer.object().body().reader();
    writer.write(Bytes::from(pattern(WINDOW))).await.unwrap();
    reader.next().await.unwrap().unwrap();
    let began = Instant::now();
    let (written, ()) = tokio::join!(writer.write(Bytes::from(pattern(WINDOW))), async {
        drop(reader)
    });
    assert_eq!(written, Err(WriteError::Aborted(AbortReason::Abandoned)));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(writer.finish(None).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_and_the_others_go_on() {
    let store = store(100_000);
    let body = Bytes::from(pattern(30 * FRAGMENT));
    let mut writer = begin(&store, &key("/a")).store(plain(Some(body.len() as u64)));
    let object = writer.object().clone();
    let mut stuck = object.body().reader();
    let good = tokio::spawn(read_all(object.body().reader()));
    let began = Instant::now();
    writer.write(body.clone()).await.unwrap();
    assert_eq!(began.elapsed(), STALL, "waited for the stuck reader once");
    writer.finish(None).unwrap();
    assert!(good.await.unwrap().unwrap() == body);
    assert_eq!(stuck.next().await, Err(BodyError::TooSlow));
    assert_eq!(stuck.next().await, Err(BodyError::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn a_dripping_reader_cannot_starve_the_others() {
    let store = store(100_000);
    let body = Bytes::from(pattern(60 * FRAGMENT));
    let mut writer = begin(&store, &key("/a")).store(plain(Some(body.len() as u64)));
    let object = writer.object().clone();
    let good = tokio::spawn(read_all(object.body().reader()));
    let mut drip = object.body().reader();
    let drip = tokio::spawn(async move {
        loop {
            tokio::time::sleep(STALL - Duration::from_secs(1)).await;
            match drip.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    });
    let began = Instant::now();
    writer.write(body.clone()).await.unwrap();
    assert!(began.elapsed() <= 2 * STALL, "{:?}", began.elapsed());
    writer.finish(None).unwrap();
    assert!(good.await.unwrap().unwrap() == body);
    assert_eq!(drip.await.unwrap(), Err(BodyError::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_alone_sets_the_pace() {
    let store = store(100_000);
    let body = Bytes::from(pattern(20 * FRAGMENT));
    let mut writer = begin(&store, &key("/a")).store(plain(Some(body.len() as u64)));
    let mut slow = writer.object().body().reader();
    let slow = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(bytes) = slow.next().await? {
            all.extend_from_slice(&bytes);
            tokio::time::sleep(STALL - Duration::from_secs(1)).await;
        }
        Ok::<_, BodyError>(all)
    });
    writer.write(body.clone()).await.unwrap();
    writer.finish(None).unwrap();
    assert!(slow.await.unwrap().unwrap() == body);
}

#[tokio::test(start_paused = true)]
async fn a_short_body_outside_the_store_waits_for_late_readers() {
    let store = store(100_000);
    let body = Bytes::from(pattern(150_000));
    let mut writer = begin(&store, &key("/a")).store(plain(Some(150_000)));
    writer.write(body.clone()).await.unwrap();
    let object = writer.finish(None).unwrap();
    assert!(read_all(object.body().reader()).await.unwrap() == body);
    assert!(read_all(object.body().reader()).await.unwrap() == body);
    assert!(find(&store, &key("/a")).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_aborted_window_is_an_error() {
    let store = store(100_000);
    let mut writer = begin(&store, &key("/a")).store(plain(Some(10 * FRAGMENT as u64)));
    let mut reader = writer.object().body().reader();
    writer.write(Bytes::from(pattern(FRAGMENT))).await.unwrap();
    writer.abort("reset".into());
    assert!(matches!(reader.next().await, Err(BodyError::Aborted(_))));
    assert_eq!(store.stats().window_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_giant_supersedes_what_was_stored() {
    let store = store(100_000);
    put(&store, &key("/a"), plain(None), b"old").await;
    let mut writer = begin(&store, &key("/a")).store(plain(None));
    let reader = tokio::spawn(read_all(writer.object().body().reader()));
    writer.write(Bytes::from(pattern(100_001))).await.unwrap();
    assert!(
        find(&store, &key("/a")).is_none(),
        "an older response than the origin's last is served"
    );
    writer.finish(None).unwrap();
    assert_eq!(reader.await.unwrap().unwrap().len(), 100_001);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_is_evicted_goes_on_for_its_readers() {
    let store = Store::new(Limits {
        memory: 1 << 20,
        max_object: 1 << 20,
        ..Limits::default()
    });
    let body = pattern(100_000);
    let mut writer = begin(&store, &key("/a")).store(plain(None));
    let reader = tokio::spawn(read_all(writer.object().body().reader()));
    writer
        .write(Bytes::copy_from_slice(&body[..50_000]))
        .await
        .unwrap();
    // Fills of others, none of which can be evicted gently.
    let mut others = Vec::new();
    for other in 0..20 {
        let mut writer = begin(&store, &key(&format!("/{other}"))).store(plain(None));
        writer.write(Bytes::from(pattern(100_000))).await.unwrap();
        assert!(store.stats().bytes <= 1 << 20);
        others.push(writer);
    }
    assert!(find(&store, &key("/a")).is_none());
    writer
        .write(Bytes::copy_from_slice(&body[50_000..]))
        .await
        .unwrap();
    writer.finish(None).unwrap();
    assert!(reader.await.unwrap().unwrap() == body);
}
