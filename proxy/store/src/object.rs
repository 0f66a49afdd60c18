//! A stored response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anypop_cache::key::CacheKey;
use anypop_cache::meta::StoredMeta;
use anypop_cache::tags::TagHash;
use http::{HeaderMap, StatusCode};

use crate::body::{BODY_OVERHEAD, Body};
use crate::disk::head::Head;
use crate::headers;
use crate::purge::{Checked, PurgeSeq, Purges, Target, Verdict};
use crate::s3fifo::{NODE_OVERHEAD, Resident};

/// A response as a fill brings it.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Header section, without what is never stored (RFC 9111 §3.1).
    pub headers: HeaderMap,
    /// What the cache's rules want to know of it later.
    pub meta: StoredMeta,
    /// Bytes the body will have, where the response declares them. A body of any other length is aborted.
    pub length: Option<u64>,
}

/// One stored response, or one variant of it (`Vary`): immutable but for its body, which may still be on its way.
///
/// New metadata (a 304, a HEAD) make a new object that shares the body.
#[derive(Debug)]
pub struct Object {
    key: CacheKey,
    status: StatusCode,
    headers: HeaderMap,
    meta: StoredMeta,
    body: Body,
    began: PurgeSeq,
    checked: Checked,
    heat: AtomicU8,
    /// [`Whereabouts`].
    whereabouts: AtomicU8,
}

/// What is known of an object and the disk tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Whereabouts {
    /// Nothing is left to do: there is no disk, or the object is where it belongs.
    Settled,
    /// In memory only, and not asked for since it came.
    Memory,
    /// It is to be written, but the queue had no room.
    Wanted,
    /// It waits to be written.
    Queued,
    /// On disk too, and not asked for since it was written.
    Written,
    /// It was taken out of the store.
    Removed,
}

impl Whereabouts {
    fn of(code: u8) -> Self {
        [
            Self::Settled,
            Self::Memory,
            Self::Wanted,
            Self::Queued,
            Self::Written,
            Self::Removed,
        ]
        .into_iter()
        .find(|state| *state as u8 == code)
        .unwrap_or(Self::Settled)
    }
}

/// Bytes counted for an object besides its key, headers, metadata and body: the structures of the store around it.
pub(crate) fn overhead() -> usize {
    size_of::<Object>() + 16 + BODY_OVERHEAD + NODE_OVERHEAD + crate::index::ENTRY_OVERHEAD
}

/// The hottest.
const HOTTEST: u8 = 3;

impl Object {
    pub(crate) fn new(key: CacheKey, response: Response, began: PurgeSeq) -> Self {
        let Response {
            status,
            headers,
            meta,
            length,
        } = response;
        Self::with_body(key, status, &headers, meta, Body::begin(length), began)
    }

    /// An object that was found on disk.
    pub(crate) fn recalled(head: Head, body: Body, began: PurgeSeq) -> Self {
        let object = Self::with_body(head.key, head.status, &head.headers, head.meta, body, began);
        object.set_whereabouts(Whereabouts::Written);
        object
    }

    /// An object with new headers and metadata over the same body.
    pub(crate) fn refreshed(
        base: &Self,
        headers: &HeaderMap,
        meta: StoredMeta,
        began: PurgeSeq,
    ) -> Self {
        let object = Self::with_body(
            base.key.clone(),
            base.status,
            headers,
            meta,
            base.body.clone(),
            began,
        );
        object
            .heat
            .store(base.heat.load(Ordering::Relaxed), Ordering::Relaxed);
        object
    }

    fn with_body(
        key: CacheKey,
        status: StatusCode,
        headers: &HeaderMap,
        meta: StoredMeta,
        body: Body,
        began: PurgeSeq,
    ) -> Self {
        Self {
            headers: headers::compact(headers),
            checked: Checked::new(began),
            heat: AtomicU8::new(0),
            whereabouts: AtomicU8::new(Whereabouts::Settled as u8),
            key,
            status,
            meta,
            body,
            began,
        }
    }

    /// The key it is stored under.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Stored header section.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What the cache's rules know of it.
    pub fn meta(&self) -> &StoredMeta {
        &self.meta
    }

    /// The body, complete or being filled.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Hashes of its tags.
    pub fn tags(&self) -> &[TagHash] {
        &self.meta.tags
    }

    /// The purge sequence when its fill, or its last revalidation, began.
    pub fn began(&self) -> PurgeSeq {
        self.began
    }

    /// Whether this response, having come later, leaves nothing to select the other for: both answer the same selecting
    /// request headers (RFC 9111 §4.1), and this one is whole or the same part.
    pub fn supersedes(&self, other: &Self) -> bool {
        let (new, old) = (&self.meta, &other.meta);
        let same_request = new.vary == old.vary && new.vary_key == old.vary_key;
        same_request && (new.partial.is_none() || new.partial == old.partial)
    }

    /// Bytes of the object without its body.
    pub(crate) fn head_weight(&self) -> u64 {
        let spilled_tags = if self.meta.tags.spilled() {
            size_of_val(&*self.meta.tags)
        } else {
            0
        };
        let vary = self.meta.vary_key.encoding().len() + size_of_val(&*self.meta.vary);
        let parts =
            self.key.encoding().len() + headers::weight(&self.headers) + spilled_tags + vary;
        (overhead() + parts) as u64
    }

    pub(crate) fn verdict(&self, purges: &Purges) -> Verdict {
        purges.check(self.began, &self.checked, || target(&self.key, self.tags()))
    }

    pub(crate) fn whereabouts(&self) -> Whereabouts {
        Whereabouts::of(self.whereabouts.load(Ordering::Relaxed))
    }

    /// Whether a hit has nothing to tell the disk tier.
    pub(crate) fn is_settled(&self) -> bool {
        self.whereabouts.load(Ordering::Relaxed) == Whereabouts::Settled as u8
    }

    pub(crate) fn set_whereabouts(&self, whereabouts: Whereabouts) {
        self.whereabouts.store(whereabouts as u8, Ordering::Relaxed);
    }

    /// Tells variants under one key apart: what is equal here supersedes each other.
    pub(crate) fn variant(&self) -> u32 {
        let mut hasher = blake3::Hasher::new();
        for name in &self.meta.vary {
            hasher.update(name.as_str().as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(&[0]);
        hasher.update(self.meta.vary_key.encoding());
        for range in self
            .meta
            .partial
            .iter()
            .flat_map(|partial| partial.stored.ranges())
        {
            hasher.update(&range.first().to_le_bytes());
            hasher.update(&range.last().to_le_bytes());
        }
        let hash = hasher.finalize();
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Counts a hit.
    pub(crate) fn warm(&self) {
        let heat = self.heat.load(Ordering::Relaxed);
        // Most hits find it hot and write nothing: the line stays shared between the cores.
        if heat < HOTTEST {
            self.heat.store(heat + 1, Ordering::Relaxed);
        }
    }
}

/// The purge scopes of a key and tags.
pub(crate) fn target<'a>(key: &'a CacheKey, tags: &'a [TagHash]) -> Target<'a> {
    Target {
        site: key.site(),
        host: key.host(),
        path: key.path(),
        query: key.query(),
        tags,
    }
}

impl Resident for Arc<Object> {
    fn heat(&self) -> u8 {
        self.heat.load(Ordering::Relaxed)
    }

    fn set_heat(&self, heat: u8) {
        self.heat.store(heat, Ordering::Relaxed);
        if self.is_settled() {
            // It has earned another round in memory. Should it be hit again, the disk is to hear of it.
            self.set_whereabouts(Whereabouts::Written);
        }
    }

    fn busy(&self) -> bool {
        !self.body.is_complete()
    }
}
