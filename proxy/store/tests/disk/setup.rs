//! Stores on disks of their own.

use std::path::Path;
use std::sync::Arc;

use anypop_cache::key::CacheKey;
use anypop_store::disk::volume::Volume;
use anypop_store::{Admission, DiskSettings, Found, Limits, Lookup, Store, TierSettings};

use crate::common::{limits, pattern, plain, put, read_all};

pub(crate) const MIB: u64 = 1024 * 1024;

pub(crate) fn always() -> TierSettings {
    TierSettings {
        admission: Admission::Always,
        ..TierSettings::default()
    }
}

pub(crate) fn disk(path: &Path, size: u64) -> DiskSettings {
    DiskSettings {
        readers: 2,
        claim_timeout: std::time::Duration::ZERO,
        ..DiskSettings::new(path, size)
    }
}

/// A store that writes everything to a disk of 64 MiB.
pub(crate) fn open(path: &Path) -> Store {
    open_with(path, limits(64 * MIB), always(), 64 * MIB)
}

pub(crate) fn open_with(path: &Path, limits: Limits, tier: TierSettings, size: u64) -> Store {
    let store = Store::open(limits, tier, vec![disk(path, size)]);
    assert!(
        store
            .disks()
            .iter()
            .all(|disk| disk.state == anypop_store::DiskState::Online),
        "{:?}",
        store.disks()
    );
    store
}

pub(crate) fn open_on(volume: Arc<dyn Volume>, size: u64) -> Store {
    let settings = disk(Path::new("faulty"), size);
    Store::open_on(limits(64 * MIB), always(), vec![(settings, volume)])
}

/// Stores a body that tells its key, so that a mix-up shows.
pub(crate) async fn put_pattern(store: &Store, key: &CacheKey, length: usize) {
    put(
        store,
        key,
        plain(Some(length as u64)),
        &body_of(key, length),
    )
    .await;
}

pub(crate) fn body_of(key: &CacheKey, length: usize) -> Vec<u8> {
    let mark = key.hash().0 as u8;
    pattern(length)
        .into_iter()
        .map(|byte| byte ^ mark)
        .collect()
}

pub(crate) async fn find(store: &Store, key: &CacheKey) -> Option<Found> {
    match store.find(key, |_| true).await {
        Lookup::Found(found) => Some(found),
        Lookup::Missed(_) => None,
    }
}

/// The body under a key, wherever it is.
pub(crate) async fn get(store: &Store, key: &CacheKey) -> Option<Vec<u8>> {
    let found = find(store, key).await?;
    Some(read_all(found.object.body().reader()).await.unwrap())
}
