//! A stored response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anypop_cache::key::CacheKey;
use anypop_cache::meta::StoredMeta;
use anypop_cache::tags::TagHash;
use http::{HeaderMap, StatusCode};

use crate::body::{BODY_OVERHEAD, Body};
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
    }

    fn busy(&self) -> bool {
        !self.body.is_complete()
    }
}
