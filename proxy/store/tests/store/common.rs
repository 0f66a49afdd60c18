//! What the tests of the store share.

use anypop_cache::control::Control;
use anypop_cache::key::{CacheKey, Scheme};
use anypop_cache::meta::{Receipt, StoredMeta};
use anypop_cache::policy::Policy;
use anypop_cache::tags::{Limits as TagLimits, Tags};
use anypop_cache::time::Timestamp;
use anypop_cache::vary::Normalise;
use anypop_store::{BodyError, BodyReader, Found, Join, Limits, Lookup, Response, Store};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A moment; nothing in the store depends on it.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);

pub(crate) fn key_of(site: &str, host: &str, path: &str) -> CacheKey {
    CacheKey::builder(site, Scheme::Https, host)
        .target(path, None)
        .build()
}

pub(crate) fn key(path: &str) -> CacheKey {
    key_of("shop", "www.shop.example", path)
}

pub(crate) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

/// Metadata of a response with these fields, to a request with those.
pub(crate) fn meta_of(request: &HeaderMap, response: &HeaderMap) -> StoredMeta {
    let policy = Policy::default();
    let control = Control::read(response, &policy.targets, NOW);
    let receipt = Receipt {
        site: "shop",
        request,
        normalise: &Normalise::default(),
        status: StatusCode::OK,
        response,
        requested: NOW,
        received: NOW,
        purge_seq: 0,
    };
    let tags = Tags::of(response, &TagLimits::default());
    StoredMeta::new(&receipt, &control, &tags, &policy).unwrap()
}

pub(crate) fn response_of(
    request: &HeaderMap,
    headers: HeaderMap,
    length: Option<u64>,
) -> Response {
    Response {
        status: StatusCode::OK,
        meta: meta_of(request, &headers),
        headers,
        length,
    }
}

/// A response without fields.
pub(crate) fn plain(length: Option<u64>) -> Response {
    response_of(&HeaderMap::new(), HeaderMap::new(), length)
}

pub(crate) fn limits(memory: u64) -> Limits {
    Limits {
        memory,
        ..Limits::default()
    }
}

/// Bytes that differ from offset to offset.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

/// Stores a whole response.
pub(crate) async fn put(store: &Store, key: &CacheKey, response: Response, body: &[u8]) {
    let mut writer = store.begin(key).store(response);
    writer.write(Bytes::copy_from_slice(body)).await.unwrap();
    writer.finish(None).unwrap();
}

/// Reads to the end.
pub(crate) async fn read_all(mut reader: BodyReader) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await? {
        assert!(
            !bytes.is_empty(),
            "an empty piece looks like an end to some writers"
        );
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

pub(crate) fn find(store: &Store, key: &CacheKey) -> Option<Found> {
    match store.lookup(key, |_| true) {
        Lookup::Found(found) => Some(found),
        Lookup::Missed(_) => None,
    }
}

/// The permit of a key that nobody fills.
pub(crate) fn begin(store: &Store, key: &CacheKey) -> anypop_store::FillPermit {
    match store.join_or_begin(key, None, |_| false) {
        Join::Begin(permit) => permit,
        other => panic!("expected to begin, got {other:?}"),
    }
}

/// The wait for a key that somebody fills.
pub(crate) fn wait(store: &Store, key: &CacheKey) -> anypop_store::FillWatch {
    match store.join_or_begin(key, None, |_| false) {
        Join::Wait(watch) => watch,
        other => panic!("expected to wait, got {other:?}"),
    }
}
