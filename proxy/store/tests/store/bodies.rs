//! Bodies: readers get exactly the bytes, or an error.

use crate::common::{begin, find, headers, key, limits, pattern, plain, put, read_all};
use anypop_store::body::FRAGMENT;
use anypop_store::{AbortReason, BodyError, Store, WriteError};
use bytes::Bytes;
use proptest::prelude::*;

fn store() -> Store {
    Store::new(limits(512 << 20))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_follow_the_writer() {
    let store = store();
    let body = pattern(3 * FRAGMENT + 17);
    let mut writer = begin(&store, &key("/a")).store(plain(Some(body.len() as u64)));
    let object = find(&store, &key("/a")).unwrap().object;
    assert!(!object.body().is_complete());
    let readers: Vec<_> = (0..20)
        .map(|_| tokio::spawn(read_all(object.body().reader())))
        .collect();
    let range = tokio::spawn(read_all(object.body().range(100_000..150_000)));
    for part in body.chunks(1000) {
        writer.write(Bytes::copy_from_slice(part)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let late = object.body().reader();
    writer.finish(Some(headers(&[("x-sum", "1")]))).unwrap();
    for reader in readers {
        assert!(reader.await.unwrap().unwrap() == body);
    }
    assert!(read_all(late).await.unwrap() == body);
    assert!(range.await.unwrap().unwrap() == body[100_000..150_000]);
    let complete = object.body().try_complete().unwrap();
    assert_eq!(complete.trailers().unwrap()["x-sum"], "1");
    assert_eq!(complete.fragments().len(), 4);
    assert!(complete.contiguous().is_none());
}

#[tokio::test]
async fn the_first_byte_is_read_before_the_second_comes() {
    let store = store();
    let mut writer = begin(&store, &key("/a")).store(plain(Some(2)));
    let mut reader = find(&store, &key("/a")).unwrap().object.body().reader();
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "x");
    writer.write(Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "y");
    writer.finish(None).unwrap();
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_small_body_is_one_slice() {
    let store = store();
    for length in [0, 1, 1000, FRAGMENT - 1, FRAGMENT] {
        let body = pattern(length);
        let mut writer = begin(&store, &key("/a")).store(plain(None));
        for part in body.chunks(777) {
            writer.write(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let object = writer.finish(None).unwrap();
        assert!(object.body().try_complete().unwrap().contiguous().unwrap() == body);
        assert_eq!(object.body().length(), Some(length as u64));
    }
}

#[tokio::test]
async fn an_aborted_fill_is_an_error_for_everyone() {
    let store = store();
    let mut writer = begin(&store, &key("/a")).store(plain(None));
    let object = find(&store, &key("/a")).unwrap().object;
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    let mut ahead = object.body().reader();
    assert_eq!(ahead.next().await.unwrap().unwrap(), "half");
    let waiting = tokio::spawn(async move { ahead.next().await });
    tokio::task::yield_now().await;
    writer.abort("origin reset".into());
    let error = BodyError::Aborted(AbortReason::Fill("origin reset".into()));
    assert_eq!(waiting.await.unwrap(), Err(error.clone()));
    assert_eq!(object.body().reader().next().await, Err(error));
    assert!(find(&store, &key("/a")).is_none());
    let stats = store.stats();
    assert_eq!(
        (stats.bytes, stats.objects, stats.fills, stats.aborted),
        (0, 0, 0, 1)
    );
}

#[tokio::test]
async fn a_dropped_writer_aborts() {
    let store = store();
    let writer = begin(&store, &key("/a")).store(plain(None));
    let mut reader = find(&store, &key("/a")).unwrap().object.body().reader();
    drop(writer);
    assert_eq!(
        reader.next().await,
        Err(BodyError::Aborted(AbortReason::Dropped))
    );
    assert_eq!(store.stats().bytes, 0);
}

#[tokio::test]
async fn the_declared_length_holds() {
    let store = store();
    let mut short = begin(&store, &key("/a")).store(plain(Some(10)));
    let mut reader = find(&store, &key("/a")).unwrap().object.body().reader();
    short.write(Bytes::from_static(b"nine byte")).await.unwrap();
    let reason = AbortReason::Length {
        declared: 10,
        written: 9,
    };
    assert_eq!(
        short.finish(None).unwrap_err(),
        WriteError::Aborted(reason.clone())
    );
    assert_eq!(reader.next().await, Err(BodyError::Aborted(reason)));

    let mut long = begin(&store, &key("/a")).store(plain(Some(3)));
    let reason = AbortReason::Length {
        declared: 3,
        written: 4,
    };
    assert_eq!(
        long.write(Bytes::from_static(b"four")).await,
        Err(WriteError::Aborted(reason))
    );
    assert!(find(&store, &key("/a")).is_none());
    drop(long);
    let stats = store.stats();
    assert_eq!(
        (stats.bytes, stats.objects, stats.fills, stats.aborted),
        (0, 0, 0, 2)
    );
}

#[tokio::test]
async fn a_range_waits_for_its_bytes_and_no_more() {
    let store = store();
    let mut writer = begin(&store, &key("/a")).store(plain(None));
    let mut reader = find(&store, &key("/a")).unwrap().object.body().range(2..5);
    writer.write(Bytes::from_static(b"01234567")).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "234");
    assert_eq!(reader.next().await.unwrap(), None);
    reader.seek(6..20);
    assert_eq!(reader.next().await.unwrap().unwrap(), "67");
    writer.finish(None).unwrap();
    // Its response has promised more than there is: no clean end.
    assert_eq!(
        reader.next().await,
        Err(BodyError::OutOfRange { length: 8 })
    );
    reader.seek(0..1);
    assert_eq!(reader.next().await.unwrap().unwrap(), "0");
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_outlives_eviction() {
    let store = store();
    let body = pattern(200_000);
    put(&store, &key("/a"), plain(None), &body).await;
    let object = find(&store, &key("/a")).unwrap().object;
    let mut reader = object.body().reader();
    let first = reader.next().await.unwrap().unwrap();
    assert!(store.remove(&object));
    assert!(!store.remove(&object));
    assert_eq!(store.stats().bytes, 0);
    let mut all = first.to_vec();
    all.extend(read_all(reader).await.unwrap());
    assert!(all == body);
}

#[tokio::test]
async fn network_buffers_are_not_pinned() {
    let store = store();
    let network = Bytes::from(pattern(FRAGMENT));
    let fields =
        http::HeaderValue::from_maybe_shared(Bytes::from(vec![b'v'; FRAGMENT]).slice(..4)).unwrap();
    let mut response = plain(None);
    response.headers.insert("x-a", fields);
    let mut writer = begin(&store, &key("/a")).store(response);
    writer.write(network.slice(10..20)).await.unwrap();
    let object = writer.finish(None).unwrap();
    let stored = object.body().try_complete().unwrap().contiguous().unwrap();
    assert_eq!(stored, network.slice(10..20));
    assert!(!network.as_ptr_range().contains(&stored.as_ptr()));
    assert!(
        network.is_unique(),
        "the store holds on to the network's buffer"
    );
    assert_eq!(object.headers()["x-a"], "vvvv");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the bytes come and whenever readers begin, each reads its range of exactly those bytes.
    #[test]
    fn bytes_come_out_as_they_went_in(
        parts in prop::collection::vec(0_usize..70_000, 0..12),
        tiny in prop::collection::vec(1_usize..4, 0..200),
        from in 0.0..1.0_f64,
        to in 0.0..1.0_f64,
        start in 0_usize..12,
    ) {
        run(async {
            let store = store();
            let sizes: Vec<usize> = tiny.into_iter().chain(parts).collect();
            let body = pattern(sizes.iter().sum());
            let (a, b) = ((body.len() as f64 * from) as u64, (body.len() as f64 * to) as u64);
            let range = a.min(b)..a.max(b);
            let mut writer = begin(&store, &key("/a")).store(plain(None));
            let object = writer.object().clone();
            let early = tokio::spawn(read_all(object.body().reader()));
            let mut middle = None;
            let mut rest = Bytes::from(body.clone());
            for (step, size) in sizes.iter().enumerate() {
                if step == start {
                    middle = Some(tokio::spawn(read_all(object.body().range(range.clone()))));
                }
                writer.write(rest.split_to(*size)).await.unwrap();
                if step % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            writer.finish(None).unwrap();
            assert!(early.await.unwrap().unwrap() == body);
            if let Some(middle) = middle {
                assert!(middle.await.unwrap().unwrap() == body[range.start as usize..range.end as usize]);
            }
            let complete = object.body().try_complete().unwrap();
            assert!(complete.fragments().concat() == body);
            let (last, whole) = complete.fragments().split_last().map_or((0, &[][..]), |(last, whole)| (last.len(), whole));
            assert!(whole.iter().all(|fragment| fragment.len() == FRAGMENT) && last <= FRAGMENT);
        });
    }
}
