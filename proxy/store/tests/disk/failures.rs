//! Disks that fail: the node goes on, no wrong byte is served, and nothing old comes back.

use std::path::Path;
use std::sync::Arc;

use anypop_store::disk::check_segment_bytes;
use anypop_store::{DiskState, PurgeRequest, PurgeScope, Store};
use proptest::prelude::*;

use crate::common::{NOW, begin, key, limits, plain, read_all};
use crate::faulty::{Faults, Faulty};
use crate::setup::{MIB, always, body_of, disk, find, get, open_on, put_pattern};

fn is_online(store: &Store) -> bool {
    store.disks()[0].state == DiskState::Online
}

async fn filled(disk: &Faulty, objects: usize) -> Store {
    let store = open_on(Arc::new(disk.clone()), 64 * MIB);
    for number in 0..objects {
        put_pattern(&store, &key(&format!("/{number}")), 10_000).await;
    }
    put_pattern(&store, &key("/big"), 2 * MIB as usize).await;
    store.flush();
    store
}

/// A store on the same disk, with nothing in memory.
async fn reopened(disk: &Faulty, objects: usize) -> Store {
    filled(disk, objects).await.close();
    open_on(Arc::new(disk.clone()), 64 * MIB)
}

#[tokio::test]
async fn what_is_not_in_the_page_cache_is_read_by_the_pool() {
    let disk = Faulty::default();
    let store = reopened(&disk, 20).await;
    Faults::set(&disk.faults.cold, true);
    for number in 0..20 {
        let key = key(&format!("/{number}"));
        assert_eq!(get(&store, &key).await, Some(body_of(&key, 10_000)));
    }
    let big = key("/big");
    assert!(get(&store, &big).await.unwrap() == body_of(&big, 2 * MIB as usize));
}

#[tokio::test]
async fn a_flipped_byte_is_found_before_anybody_sees_it() {
    let disk = Faulty::default();
    let store = reopened(&disk, 100).await;
    // Every 5000th byte: all of the small objects are hit, or their neighbours' headers.
    disk.damage(|bytes| {
        let records = bytes.len().min(1_100_000);
        for at in (64..records).step_by(5000) {
            bytes[at] ^= 0x10;
        }
    });
    let mut lost = 0;
    for number in 0..100 {
        let key = key(&format!("/{number}"));
        match get(&store, &key).await {
            None => lost += 1,
            Some(body) => assert_eq!(body, body_of(&key, 10_000)),
        }
    }
    assert!(lost > 90, "{lost}");
    assert_eq!(store.disks()[0].damaged, lost);
    assert!(is_online(&store), "damage is not a failure");
    // What is fetched again is stored again.
    put_pattern(&store, &key("/1"), 10_000).await;
    assert!(get(&store, &key("/1")).await.is_some());
}

#[tokio::test]
async fn damage_within_a_large_body_breaks_the_response_and_forgets_the_object() {
    let disk = Faulty::default();
    let store = reopened(&disk, 0).await;
    let key = key("/big");
    disk.damage(|bytes| bytes[1_500_000] ^= 1);
    let found = find(&store, &key).await.unwrap();
    let error = read_all(found.object.body().reader()).await.unwrap_err();
    assert_eq!(error, anypop_store::BodyError::Damaged);
    assert!(find(&store, &key).await.is_none());
}

#[tokio::test]
async fn verification_finds_damage_and_forgets_it() {
    let disk = Faulty::default();
    let store = reopened(&disk, 10).await;
    disk.damage(|bytes| {
        bytes[5000] ^= 1;
        bytes[1_500_000] ^= 1;
    });
    let go_on = |_| std::ops::ControlFlow::Continue(());
    let verified = store.verify(go_on);
    assert_eq!((verified.right, verified.damaged), (9, 2));
    assert_eq!(store.verify(go_on).right, 9);
    assert_eq!(store.disk_use("shop").objects, 9);
}

#[tokio::test]
async fn a_disk_that_gives_errors_is_taken_out_of_service() {
    let disk = Faulty::default();
    let store = reopened(&disk, 30).await;
    Faults::set(&disk.faults.reads, true);
    for number in 0..30 {
        assert_eq!(get(&store, &key(&format!("/{number}"))).await, None);
    }
    assert!(!is_online(&store), "{:?}", store.disks());
    // The node goes on, in memory.
    put_pattern(&store, &key("/1"), 10_000).await;
    assert!(get(&store, &key("/1")).await.is_some());
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_taken_out_of_service() {
    for fault in [
        |faults: &Faults| Faults::set(&faults.writes, true),
        |faults: &Faults| Faults::set(&faults.read_only, true),
    ] {
        let disk = Faulty::default();
        let store = filled(&disk, 5).await;
        fault(&disk.faults);
        put_pattern(&store, &key("/new"), 10_000).await;
        store.flush();
        assert!(!is_online(&store));
        for path in ["/new", "/1"] {
            assert!(get(&store, &key(path)).await.is_some(), "memory has {path}");
        }
    }
}

#[tokio::test]
async fn a_half_written_record_is_not_found_again() {
    let disk = Faulty::default();
    let store = filled(&disk, 5).await;
    Faults::set(&disk.faults.writes, true);
    put_pattern(&store, &key("/torn"), 100_000).await;
    store.flush();
    let again = open_on(Arc::new(disk.copy()), 64 * MIB);
    assert!(get(&again, &key("/torn")).await.is_none());
}

#[tokio::test]
async fn a_large_fill_goes_on_when_its_disk_fails() {
    let disk = Faulty::default();
    let settings = disk_settings();
    let store = Store::open_on(
        limits(MIB),
        always(),
        vec![(settings, Arc::new(disk.clone()))],
    );
    let key = key("/film");
    let body = body_of(&key, 4 * MIB as usize);
    let mut writer = begin(&store, &key).store(plain(Some(body.len() as u64)));
    let reader = tokio::spawn(read_all(writer.object().body().reader()));
    for (at, piece) in body.chunks(100_000).enumerate() {
        if at == 20 {
            Faults::set(&disk.faults.writes, true);
        }
        writer
            .write(bytes::Bytes::copy_from_slice(piece))
            .await
            .unwrap();
    }
    writer.finish(None).unwrap();
    assert!(reader.await.unwrap().unwrap() == body);
    assert!(find(&store, &key).await.is_none());
    assert_eq!(store.stats().window_bytes, 0);
}

fn disk_settings() -> anypop_store::DiskSettings {
    disk(Path::new("faulty"), 64 * MIB)
}

#[tokio::test]
async fn a_full_file_system_is_used_as_far_as_it_goes() {
    let disk = Faulty::default();
    let store = open_on(Arc::new(disk.clone()), 8 * MIB);
    for number in 0..200 {
        put_pattern(&store, &key(&format!("/{number}")), 20_000).await;
        store.flush();
        Faults::set(&disk.faults.full, number > 100);
    }
    // Its own oldest segments make room, until there is none left: the file system gives nothing back here.
    assert!(!is_online(&store));
    let DiskState::Offline(reason) = store.disks().remove(0).state else {
        panic!("in service")
    };
    assert!(reason.contains("beginning a segment"), "{reason}");
}

#[tokio::test]
async fn a_failed_disk_returns_empty() {
    let disk = Faulty::default();
    let store = filled(&disk, 5).await;
    Faults::set(&disk.faults.writes, true);
    put_pattern(&store, &key("/new"), 10_000).await;
    store.flush();
    assert!(!is_online(&store));
    assert!(
        disk.names().iter().any(|name| name == "failed"),
        "it is marked"
    );
    // After a restart.
    let again = open_on(Arc::new(disk.copy()), 64 * MIB);
    assert_eq!((is_online(&again), again.disks()[0].objects), (true, 0));
    // And in the same process.
    Faults::set(&disk.faults.writes, false);
    store.revive_disk("faulty").unwrap();
    assert!(is_online(&store));
    put_pattern(&store, &key("/again"), 10_000).await;
    store.flush();
    assert_eq!(store.disks()[0].objects, 1);
    let everything = PurgeRequest {
        scope: PurgeScope::Everything,
        soft: false,
    };
    store.purge_durably(&everything, NOW).unwrap();
    let again = open_on(Arc::new(disk.copy()), 64 * MIB);
    assert!(get(&again, &key("/again")).await.is_none());
}

#[tokio::test]
async fn a_missing_disk_is_out_of_service_and_the_store_works() {
    let missing = disk(Path::new("/nonexistent/of/anypop/disk"), 64 * MIB);
    let store = Store::open(limits(64 * MIB), always(), vec![missing]);
    assert!(!is_online(&store));
    put_pattern(&store, &key("/a"), 1000).await;
    assert!(get(&store, &key("/a")).await.is_some());
    assert!(store.revive_disk("/nonexistent/of/anypop/disk").is_err());
    assert!(store.revive_disk("/another").is_err());
}

#[tokio::test]
async fn two_processes_do_not_share_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let first = crate::setup::open(folder.path());
    let settings = disk(folder.path(), 64 * MIB);
    let second = Store::open(limits(64 * MIB), always(), vec![settings]);
    assert_eq!(
        second.disks()[0].state,
        DiskState::Offline("another process has it".to_owned())
    );
    // Who waits for it gets it as soon as it is free.
    let settings = anypop_store::DiskSettings {
        claim_timeout: std::time::Duration::from_secs(60),
        ..disk(folder.path(), 64 * MIB)
    };
    let waiting =
        std::thread::spawn(move || Store::open(limits(64 * MIB), always(), vec![settings]));
    first.close();
    assert!(is_online(&waiting.join().unwrap()));
}

#[tokio::test]
async fn short_reads_are_no_bytes_at_all() {
    let disk = Faulty::default();
    let store = reopened(&disk, 5).await;
    Faults::set(&disk.faults.short, true);
    for number in 0..5 {
        assert_eq!(get(&store, &key(&format!("/{number}"))).await, None);
    }
}

/// A segment as it is on disk.
fn segment(sealed: bool) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let disk = Faulty::default();
    let store = runtime.block_on(filled(&disk, 20));
    if sealed {
        store.close();
    }
    let mut all = Vec::new();
    disk.damage(|bytes| all = bytes.clone());
    all.truncate(400_000);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However a disk is torn and its bits flipped, it opens, and what it serves is right.
    #[test]
    fn a_torn_disk_serves_right_bytes_or_none(
        flips in proptest::collection::vec((0usize..300_000, 1u8..), 0..20),
        cut in 0usize..400_000,
        sealed: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = Faulty::default();
            let store = filled(&disk, 20).await;
            if sealed {
                store.close();
            }
            let torn = disk.copy();
            torn.damage(|bytes| {
                for (at, mask) in &flips {
                    if let Some(byte) = bytes.get_mut(*at) {
                        *byte ^= mask;
                    }
                }
                // Bytes that were never written read as zeros.
                if !sealed && let Some(rest) = bytes.get_mut(cut..) {
                    rest.fill(0);
                }
            });
            let again = open_on(Arc::new(torn), 64 * MIB);
            prop_assert!(is_online(&again));
            for number in 0..20 {
                let key = key(&format!("/{number}"));
                if let Some(body) = get(&again, &key).await {
                    prop_assert_eq!(body, body_of(&key, 10_000));
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_bytes_make_the_reader_of_segments_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        check_segment_bytes(&bytes, 1);
        anypop_store::purge::check_journal_bytes(&bytes);
    }
}

#[test]
fn whole_segments_are_read_as_such() {
    assert!(check_segment_bytes(&segment(false), 1) >= 20);
    assert!(check_segment_bytes(&segment(true), 1) >= 20);
    assert_eq!(
        check_segment_bytes(&segment(false), 2),
        0,
        "another segment's bytes"
    );
}
